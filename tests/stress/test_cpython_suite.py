"""The interpreter's own executor tests pass on ours."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

RUNNER = Path(__file__).with_name("cpython_suite.py")
SHIPPED = sys.version_info >= (3, 12) and importlib.util.find_spec("test.test_concurrent_futures") is not None


@pytest.mark.skipif(not SHIPPED, reason="this interpreter does not ship its tests as a package (3.12 and later do)")
def test_the_interpreters_own_executor_tests_pass():
    """All suites at once: they mostly sleep."""
    names = ["executor", "wait", "as_completed", "shutdown", "init", "deadlock"]
    runs = {
        name: subprocess.Popen(
            [sys.executable, str(RUNNER), name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for name in names
    }
    try:
        outputs = {name: run.communicate(timeout=100)[0] for name, run in runs.items()}
    finally:
        for run in runs.values():
            run.kill()
            run.wait()
    failed = [f"--- {name}\n{outputs[name]}" for name, run in runs.items() if run.returncode != 0]
    assert not failed, "\n".join(failed)
