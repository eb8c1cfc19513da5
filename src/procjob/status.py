"""Job states: names and values of Qiskit's ``JobStatus``, and the one table of legal transitions."""

from __future__ import annotations

from enum import Enum


class JobStatus(Enum):
    """State of a job; names and values are those of ``qiskit.providers.JobStatus``."""

    INITIALIZING = "job is being initialized"
    QUEUED = "job is queued"
    VALIDATING = "job is being validated"
    RUNNING = "job is actively running"
    CANCELLED = "job has been cancelled"
    DONE = "job has successfully run"
    ERROR = "job incurred error"


JOB_FINAL_STATES = (JobStatus.DONE, JobStatus.CANCELLED, JobStatus.ERROR)

#: Where a job may go from each state. A task refused in ``submit()`` leaves its job INITIALIZING.
TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.INITIALIZING: frozenset({JobStatus.VALIDATING}),
    JobStatus.VALIDATING: frozenset({JobStatus.INITIALIZING, JobStatus.QUEUED}),
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.CANCELLED, JobStatus.ERROR}),
    JobStatus.RUNNING: frozenset(JOB_FINAL_STATES),
    JobStatus.DONE: frozenset(),
    JobStatus.CANCELLED: frozenset(),
    JobStatus.ERROR: frozenset(),
}
