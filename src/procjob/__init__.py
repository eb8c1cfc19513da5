"""procjob: every simulation is a job that tells the truth, stops when told, and never takes its neighbours down."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what type checkers and editors see; at run time a name is imported when it is first used
    from procjob.backend import Backend
    from procjob.errors import (
        JobCancelledError,
        JobError,
        JobTimeoutError,
        MemoryLimitExceeded,
        NotPicklableError,
        ProcjobError,
        RemoteError,
        StoreError,
        TimeLimitExceeded,
        WorkerDiedError,
    )
    from procjob.job import Job
    from procjob.jobv1 import JobV1
    from procjob.pool.constants import shared
    from procjob.pool.executor import ProcessPoolExecutor
    from procjob.pool.session import report_progress, stop_requested
    from procjob.simulators import Circuit, Parameter, Result, StatevectorSimulator
    from procjob.status import JOB_FINAL_STATES, JobStatus
    from procjob.store import Store
    from procjob.sweeps import Sweep, SweepResult, grid, sweep, vectorized, zipped
    from procjob.waiting import as_completed, wait

__all__ = [
    "JOB_FINAL_STATES",
    "Backend",
    "Circuit",
    "Job",
    "JobCancelledError",
    "JobError",
    "JobStatus",
    "JobTimeoutError",
    "JobV1",
    "MemoryLimitExceeded",
    "NotPicklableError",
    "Parameter",
    "ProcessPoolExecutor",
    "ProcjobError",
    "RemoteError",
    "Result",
    "StatevectorSimulator",
    "Store",
    "StoreError",
    "Sweep",
    "SweepResult",
    "TimeLimitExceeded",
    "WorkerDiedError",
    "as_completed",
    "grid",
    "report_progress",
    "shared",
    "stop_requested",
    "sweep",
    "vectorized",
    "wait",
    "zipped",
]
__version__ = "0.1.0"

#: The module of each name in ``__all__``.
_HOME = {
    "JOB_FINAL_STATES": "status",
    "Backend": "backend",
    "Circuit": "simulators",
    "Job": "job",
    "JobCancelledError": "errors",
    "JobError": "errors",
    "JobStatus": "status",
    "JobTimeoutError": "errors",
    "JobV1": "jobv1",
    "MemoryLimitExceeded": "errors",
    "NotPicklableError": "errors",
    "Parameter": "simulators",
    "ProcessPoolExecutor": "pool.executor",
    "ProcjobError": "errors",
    "RemoteError": "errors",
    "Result": "simulators",
    "StatevectorSimulator": "simulators",
    "Store": "store",
    "StoreError": "errors",
    "Sweep": "sweeps",
    "SweepResult": "sweeps",
    "TimeLimitExceeded": "errors",
    "WorkerDiedError": "errors",
    "as_completed": "waiting",
    "grid": "sweeps",
    "report_progress": "pool.session",
    "shared": "pool.constants",
    "stop_requested": "pool.session",
    "sweep": "sweeps",
    "vectorized": "sweeps",
    "wait": "waiting",
    "zipped": "sweeps",
}

if not TYPE_CHECKING:  # a type checker that sees it takes every misspelt name for one of ours

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module 'procjob' has no attribute {name!r}")
        value = getattr(import_module(f"procjob.{_HOME[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return [*{*globals(), *_HOME}]
