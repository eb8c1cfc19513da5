"""Run the interpreter's own tests of executors against ProcessPoolExecutor; run as a script, one suite a call.

CPython ships these tests in its `test` package (as a package of mixins from 3.12 on). They are bound here to our class
through the same mixin that binds them to the standard executors. `mp_context`, which ours does not take, is left out.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import sys
import unittest
from pathlib import Path

from test import support
from test.test_concurrent_futures import executor, test_as_completed, test_deadlock, test_init, test_shutdown, test_wait
from test.test_concurrent_futures.util import BaseTestCase, ExecutorMixin

import procjob

SUITES = {
    "executor": executor.ExecutorTest,
    "wait": test_wait.WaitTests,
    "as_completed": test_as_completed.AsCompletedTests,
    "shutdown": test_shutdown.ExecutorShutdownTest,
    "init": test_init.InitializerMixin,
    "deadlock": test_deadlock.ExecutorDeadlockTest,
}
#: They read private attributes of the standard class; tests/behaviour has the same behaviour under the name given.
PRIVATE = {
    "test_shutdown_deadlock_pickle": "test_workers.py::test_a_queue_is_shut_down_in_time_with_a_pickling_error_in_it",
    "test_gh105829_should_not_deadlock_if_wakeup_pipe_full": "test_wakeup.py",
}


class ProcessPoolExecutor(procjob.ProcessPoolExecutor):
    def __init__(self, *args, mp_context=None, **kwargs):
        super().__init__(*args, **kwargs)


class Mixin(ExecutorMixin):
    executor_type = ProcessPoolExecutor

    def get_context(self):
        return None

    def create_event(self):
        """Asked for from 3.14 on."""
        manager = multiprocessing.Manager()
        self.addCleanup(manager.shutdown)
        return manager.Event()


def run_script(*args, original=test_shutdown.assert_python_ok, **environment):
    """The suite's scripts import the class by name from concurrent.futures: import it from procjob instead."""
    args = [re.sub(r"from concurrent\.futures import (\w+)", r"from procjob import \1", arg) for arg in args]
    environment["PYTHONPATH"] = os.pathsep.join([*filter(None, sys.path), str(Path(procjob.__file__).parents[1])])
    return original(*args, __isolated=False, **environment)


def main(name: str) -> int:
    support.use_resources = ["walltime", "cpu"]
    test_shutdown.assert_python_ok = run_script
    case = type(f"{name}_case", (SUITES[name], Mixin, BaseTestCase), {"__module__": __name__})
    globals()[case.__name__] = case
    names = [n for n in unittest.TestLoader().getTestCaseNames(case) if n not in PRIVATE]
    outcome = unittest.TextTestRunner(verbosity=2).run(unittest.TestSuite(case(n) for n in names))
    return 0 if outcome.wasSuccessful() and outcome.testsRun else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
