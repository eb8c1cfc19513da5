"""`JobV1`: the contract that every job keeps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from procjob.errors import JobError
from procjob.status import JOB_FINAL_STATES, JobStatus


class JobV1(ABC):
    """The job interface of Qiskit's ``qiskit.providers.JobV1``, without Qiskit.

    Args:
        backend: what the job runs on, or None.
        job_id: unique among the jobs of the backend.
        **metadata: kept in ``metadata``.
    """

    version = 1

    def __init__(self, backend: Any, job_id: str, **metadata: Any) -> None:
        if not job_id or not isinstance(job_id, str):
            raise TypeError(f"job_id must be a non-empty string, not {job_id!r}")
        self._backend = backend
        self._job_id = job_id
        self.metadata = metadata

    def job_id(self) -> str:
        """Return the unique id."""
        return self._job_id

    def backend(self) -> Any:
        """Return the backend.

        Raises:
            JobError: the job was made without one.
        """
        if self._backend is None:
            raise JobError(f"job {self._job_id} has no backend: it was made with backend=None")
        return self._backend

    def done(self) -> bool:
        """Return whether the job has a result: its status is DONE."""
        return self.status() is JobStatus.DONE

    def running(self) -> bool:
        """Return whether a worker executes the job."""
        return self.status() is JobStatus.RUNNING

    def cancelled(self) -> bool:
        """Return whether the job was cancelled and nothing of it executes any more."""
        return self.status() is JobStatus.CANCELLED

    def in_final_state(self) -> bool:
        """Return whether the job is DONE, CANCELLED or ERROR."""
        return self.status() in JOB_FINAL_STATES

    @abstractmethod
    def submit(self) -> None:
        """Hand the job over for execution."""

    @abstractmethod
    def result(self) -> Any:
        """Wait for the result and return it."""

    @abstractmethod
    def cancel(self) -> bool:
        """Stop the job. True: it will end CANCELLED; False: it is final already."""

    @abstractmethod
    def status(self) -> JobStatus:
        """Return the status; never blocks, never raises."""

    @abstractmethod
    def wait_for_final_state(
        self,
        timeout: float | None = None,
        wait: float | None = 5,
        callback: Callable[[str, JobStatus, Any], object] | None = None,
    ) -> None:
        """Block until the job is final."""
