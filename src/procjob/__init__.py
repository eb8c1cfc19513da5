"""procjob: every simulation is a job that tells the truth, stops when told, and never takes its neighbours down."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "JOB_FINAL_STATES": "status",
    "Backend": "backend",
    "Job": "job",
    "JobCancelledError": "errors",
    "JobError": "errors",
    "JobStatus": "status",
    "JobTimeoutError": "errors",
    "JobV1": "job",
    "MemoryLimitExceeded": "errors",
    "NotPicklableError": "errors",
    "ProcessPoolExecutor": "pool.executor",
    "ProcjobError": "errors",
    "RemoteError": "errors",
    "TimeLimitExceeded": "errors",
    "WorkerDiedError": "errors",
    "as_completed": "waiting",
    "report_progress": "pool.session",
    "stop_requested": "pool.session",
    "wait": "waiting",
}

__all__ = sorted(_HOME)  # noqa: PLE0605  (the table above is the list)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'procjob' has no attribute {name!r}")
    value = getattr(import_module(f"procjob.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *_HOME]
