"""`QiskitJob`: a job of procjob that is a job of Qiskit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from qiskit.providers import JobStatus as QiskitStatus
from qiskit.providers import JobV1
from qiskit.result import Result

from procjob.job import Job
from procjob.metrics import JobMetrics
from procjob.parts import WholeFuture
from procjob.pool import checks
from procjob.qiskit.errors import JobCancelledError as QiskitJobCancelledError
from procjob.qiskit.errors import JobError as QiskitJobError
from procjob.qiskit.errors import JobTimeoutError as QiskitJobTimeoutError
from procjob.qiskit.pieces import Run, not_run
from procjob.status import JobStatus


class QiskitJob(Job, JobV1):
    """One ``run`` call of a `ProcessBackend`.

    A ``qiskit.providers.JobV1`` with Qiskit's ``JobStatus`` and errors, and everything that `procjob.Job` has. A
    simulation that the simulator itself reports as failed has a result, with ``success`` False, and the status ERROR.
    """

    _error_type = QiskitJobError
    _timeout_type = QiskitJobTimeoutError
    _cancelled_type = QiskitJobCancelledError
    #: What the job was divided into, in order, and what makes one result of theirs; set by the backend.
    pieces: tuple[Run, ...] = ()
    join: Callable[[list[Any]], Result]
    #: Those that Aer was told to use in each worker.
    threads: int | None = None

    done, running, cancelled, in_final_state = JobV1.done, JobV1.running, JobV1.cancelled, JobV1.in_final_state

    def result(self, timeout: float | None = None, *, partial: bool = False) -> Result:
        """Wait for the result and return it.

        Args:
            timeout: seconds to wait at most; None waits for ever. The job itself is not touched by it.
            partial: if the job was cancelled, failed or lost its worker, return the circuits that had ended before
                instead of raising; the others are in their places, with ``success`` False and without data.

        Raises:
            JobTimeoutError: the wait ran out; the job goes on.
            JobCancelledError: the job was cancelled.
            JobError: the job was not submitted.
            Exception: the job's own exception, of its original type, with the traceback of the worker as its cause.
        """
        timeout = checks.seconds("timeout", timeout)
        try:
            result: Result = super().result(timeout)
        except Exception:
            if not (partial and self.in_final_state()):
                raise
            return self._given(self._partial())
        return result

    def metrics(self) -> JobMetrics:
        """Return times and costs so far; the keys of ``timestamps`` are Qiskit's statuses."""
        return replace(super().metrics(), threads=self.threads)

    def circuits(self) -> list[Any]:
        """Return the circuits that were passed to ``run``."""
        return list(self._inputs.circuits)

    def inputs(self) -> list[Any]:
        """Return the circuits that were passed to ``run``."""
        return self.circuits()

    def _partial(self) -> Result:
        """Return what the pieces that ended well have left, the experiments of the others marked."""
        future = self.future
        why = self.error_message() or self._state().name
        if not isinstance(future, WholeFuture):
            return _missing(self._inputs, self, why)
        ended = future.part_results()
        result = self.join([ended.get(index) or _missing(run, self, why) for index, run in enumerate(self.pieces)])
        result.status = f"PARTIAL: {why}"
        return result

    def _given(self, result: Result) -> Result:
        result.job_id = self._job_id
        if len(self.pieces) > 1:
            result._metadata["time_taken"] = self._seconds()
        return result

    def _seconds(self) -> float:
        entered = {status.name: time for status, time in self.metrics().timestamps.items()}
        return entered[self._state().name] - entered.get("RUNNING", entered["QUEUED"])

    def _shown(self, status: JobStatus) -> Any:
        return QiskitStatus[status.name]

    def _fault_of(self, result: Result) -> str | None:
        if result.success:
            return None
        faults = [
            f"circuit {index} ({circuit.name!r}): {experiment.status}"
            for (index, circuit), experiment in zip(self._inputs.numbered(), result.results, strict=False)
            if not experiment.success
        ]
        return "; ".join(faults) or str(result.status)


def _missing(run: Run, job: QiskitJob, why: str) -> Result:
    backend = job.backend()
    return Result.from_dict(  # which makes of a header what this version of Qiskit has for it
        {
            "backend_name": backend.name,
            "backend_version": backend.backend_version,
            "qobj_id": "",
            "job_id": job.job_id(),
            "success": False,
            "results": not_run(run, why),
            "status": f"PARTIAL: {why}",
        }
    )
