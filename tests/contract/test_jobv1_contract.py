"""`JobV1Contract` on procjob's jobs of every engine, on Aer's own job, and on a small job made from Qiskit's class."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cloudpickle
import pytest
from qiskit.providers import JobStatus, JobV1

from procjob import Backend, Job
from procjob.engine import InlineEngine, Task
from procjob.testing import JobV1Contract

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers need not import tests


def simulate(kind, wanted):
    """Be quick, slow, failing, or endless while the file is wanted and nobody has asked to stop."""
    import procjob

    if kind == "slow":
        time.sleep(0.25)  # less than the contract says, to be quick
    elif kind == "failing":
        raise ZeroDivisionError("no shots")
    elif kind == "endless":
        while Path(wanted).exists() and not procjob.stop_requested():
            time.sleep(0.005)
    return kind


class OfProcjob(JobV1Contract):
    """Jobs of one engine. Those of the inline engine are submitted by a thread each, as they run where they are."""

    kind: str
    failure = ZeroDivisionError

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def on_engine(cls, open_engine):
        with open_engine(cls.kind) as engine:
            cls.backend = Backend(simulate, engine=engine)
            yield
            del cls.backend

    @pytest.fixture(autouse=True)
    def wanted(self, tmp_path):
        self.wanted_file = tmp_path / "endless jobs go on"
        self.wanted_file.touch()
        self.threads = []

    def release(self):
        self.wanted_file.unlink()
        for thread in self.threads:
            thread.join(self.patience)

    def unsubmitted_job(self, kind="quick"):
        task = Task(self.backend._shipped, (kind, str(self.wanted_file)))
        return Job(self.backend, uuid.uuid4().hex, task=task, engine=self.backend.engine)

    def submitted(self, kind):
        job = self.unsubmitted_job(kind)
        if not isinstance(self.backend.engine, InlineEngine):
            job.submit()
            return job
        self.threads.append(threading.Thread(target=job.submit))
        self.threads[-1].start()
        while job.status().name in ("INITIALIZING", "VALIDATING"):
            time.sleep(0.001)
        return job

    def quick_job(self):
        return self.submitted("quick")

    def slow_job(self):
        return self.submitted("slow")

    def failing_job(self):
        return self.submitted("failing")

    def endless_job(self):
        return self.submitted("endless")


class TestProcessEngine(OfProcjob):
    kind = "process"


class TestInlineEngine(OfProcjob):
    kind = "inline"


class TestThreadPoolExecutor(OfProcjob):
    kind = "threads"
    stops_running_jobs = False


class TestLokyExecutor(OfProcjob):
    """The same engine as above, so what is required is enough here."""

    kind = "loky"
    additions = False


# ---------------------------------------------------------------- other people's jobs


class SmallJob(JobV1):
    """About the least that Qiskit's abstract class asks for."""

    def __init__(self, executor, fn):
        super().__init__(None, uuid.uuid4().hex)
        self._executor, self._fn, self._future = executor, fn, None

    def submit(self):
        self._future = self._executor.submit(self._fn)

    def result(self):
        return self._future.result()

    def status(self):
        if self._future.running():
            return JobStatus.RUNNING
        if not self._future.done():
            return JobStatus.QUEUED
        return JobStatus.DONE if self._future.exception() is None else JobStatus.ERROR


class TestSmallJobOfQiskit(JobV1Contract):
    """The required part asks for nothing that such a job does not have."""

    additions = False

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def executor(cls):
        with ThreadPoolExecutor(2) as cls.threads:
            yield

    def unsubmitted_job(self, fn=int):
        return SmallJob(self.threads, fn)

    def submitted(self, fn):
        job = self.unsubmitted_job(fn)
        job.submit()
        return job

    def quick_job(self):
        return self.submitted(int)

    def slow_job(self):
        return self.submitted(lambda: time.sleep(0.25))

    def failing_job(self):
        return self.submitted(lambda: 1 / 0)


#: What AerJob of qiskit-aer 0.17 and 0.18 does not keep. Aer holds the interpreter while it simulates, so no timeout
#: passes meanwhile; and a simulation that fails gives a job that is done, with ``result().success`` False.
AER_MISSES = {
    "required: a failing job is not done",
    "required: callback gets job id status and job",
    "required: wait for final state raises at its timeout",
}


@pytest.fixture(scope="module", autouse=True)
def run_on_aer():
    """Begun with the module, as it takes a while, in a thread that reaps it."""
    command = [sys.executable, str(Path(__file__).with_name("aer_job_contract.py")), "-k", "required"]
    with ThreadPoolExecutor(1) as executor:
        yield executor.submit(subprocess.run, command, check=False, capture_output=True, text=True, timeout=100)


def test_what_aers_own_job_keeps_of_what_jobv1_requires_is_printed(run_on_aer, capsys):
    run = run_on_aer.result()
    outcomes = json.loads(run.stdout.splitlines()[-1])
    assert len(outcomes) > 15, run.stdout + run.stderr
    with capsys.disabled():
        print("\n  AerJob and what JobV1 requires (the additions: run aer_job_contract.py):")
        for name, outcome in sorted(outcomes.items()):
            print(f"    {outcome:<8} {name}")
    assert {name for name, outcome in outcomes.items() if outcome == "failed"} <= AER_MISSES
