"""`StoredJob`: a job as a store knows it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from procjob.errors import JobCancelledError, JobError, JobTimeoutError, RemoteError, RemoteTraceback, StoreError
from procjob.jobv1 import JobV1
from procjob.metrics import JobMetrics
from procjob.pool import checks
from procjob.status import JOB_FINAL_STATES, JobStatus
from procjob.store.jobs import COLUMNS, JobTable
from procjob.store.values import blamed, check_times, decode

#: Columns of times.
_TIMES = ("created", "queue_seconds", "run_seconds", "cpu_seconds")
#: Seconds between two looks at a job that another process runs: SQLite tells nobody that something was written.
_LOOK_EVERY = 0.1


class StoredJob(JobV1):
    """A job as it is known from a store, of this or another process, alive or not. Made by `Store.job` and `Store.jobs`.

    Its status is that of `procjob`, also if the job was one of Qiskit's. While it is not final, each call of a method
    looks into the store again.

    Attributes:
        tags: words to find it by.
        backend_name: what it ran on.
    """

    def __init__(self, table: JobTable, row: tuple[Any, ...], backend: Any, *, allow_pickle: bool) -> None:
        self._table = table
        self._allow_pickle = allow_pickle
        self._metadata: dict[str, Any] | None = None
        self._row = _checked(row)
        super().__init__(backend, self._row["job_id"])
        self.tags: tuple[str, ...] = tuple(json.loads(self._row["tags"]))
        self.backend_name: str | None = self._row["backend"]

    @property
    def metadata(self) -> dict[str, Any]:  # decoded when it is asked for: it may be a pickle
        """What was kept with the job.

        Raises:
            StoreError: it cannot be read: it was not kept, or is a pickle that may not be loaded.
        """
        if self._metadata is None:
            with blamed(f"the metadata of job {self._job_id}"):
                self._metadata = self._decoded("metadata")
        return self._metadata or {}

    @metadata.setter
    def metadata(self, _: Any) -> None:
        """`JobV1` has nothing to say about it."""

    def submit(self) -> None:
        """Raise: it was submitted where it was made.

        Raises:
            JobError: always.
        """
        raise JobError(f"job {self._job_id} is known from a store and cannot be submitted again")

    def status(self) -> JobStatus:
        """Return the `JobStatus`; that of the last look if the store cannot be read any more."""
        with contextlib.suppress(StoreError):
            self._look()
        return JobStatus[self._row["status"]]

    def result(self, timeout: float | None = None) -> Any:
        """Return the result, once there is one.

        Args:
            timeout: seconds to wait at most for a job that another process runs; None waits for ever.

        Raises:
            JobTimeoutError: the wait ran out.
            JobCancelledError: the job was cancelled.
            RemoteError: the job failed; the text is type and text of its own exception, with its traceback as the cause.
            StoreError: the result cannot be read: it was not kept, or is a pickle that may not be loaded.
        """
        self.wait_for_final_state(timeout)
        row, status = self._row, self.status()
        if status is JobStatus.CANCELLED:
            raise JobCancelledError(f"job {self._job_id} was cancelled and has no result")
        if row["result"] is None:
            error = RemoteError(f"job {self._job_id} failed: {row['error']}")
            raise error from None if row["traceback"] is None else RemoteTraceback(row["traceback"])
        with blamed(f"the result of job {self._job_id}"):
            return self._decoded("result")

    def cancel(self) -> bool:
        """Return False: it is final, or another process holds it."""
        return False

    def wait_for_final_state(
        self,
        timeout: float | None = None,
        wait: float | None = 5,
        callback: Callable[[str, JobStatus, Any], object] | None = None,
    ) -> None:
        """Block until the job is final in the store.

        Args:
            timeout: seconds to wait at most; None waits for ever.
            wait: seconds between two calls of ``callback``; None calls it at each change of status that is seen.
            callback: called as ``callback(job_id, status, job)`` at once and then again while the job is not final.

        Raises:
            JobTimeoutError: the job was not final after ``timeout`` seconds.
            StoreError: it was deleted meanwhile.
        """
        timeout, wait = checks.seconds("timeout", timeout), checks.seconds("wait", wait)
        if callback is not None:
            checks.call("callback", callback)
        now = time.monotonic()
        deadline, call_at, told = None if timeout is None else now + timeout, now, None
        while (status := self._look()) not in JOB_FINAL_STATES:
            now = time.monotonic()
            if deadline is not None and now >= deadline:
                raise JobTimeoutError(
                    f"job {self._job_id} is {status.name} after waiting for {timeout:g} s; another process runs it"
                )
            if callback is not None and (status is not told if wait is None else now >= call_at):
                callback(self._job_id, status, self)
                told, call_at = status, now + (wait or 0.0)
            time.sleep(_LOOK_EVERY if deadline is None else max(0.0, min(_LOOK_EVERY, deadline - now)))

    def errored(self) -> bool:
        """Return whether the job failed: its status is ERROR."""
        return self.status() is JobStatus.ERROR

    def error_message(self) -> str | None:
        """Return type and text of the exception of an ERROR job, or that it was interrupted; None for any other."""
        return self._row["error"] if self.errored() else None

    def metrics(self) -> JobMetrics:
        """Return times and costs as they were written last: how long it has run, or was queued, once that has ended."""
        self.status()
        row = self._row
        return JobMetrics(
            timestamps=MappingProxyType({JobStatus[name]: moment for name, moment in json.loads(row["times"]).items()}),
            queue_seconds=row["queue_seconds"],
            run_seconds=row["run_seconds"],
            attempts=row["attempts"],
            worker_pid=row["worker_pid"],
            host=row["host"],
            cpu_seconds=row["cpu_seconds"],
            peak_rss=row["peak_rss"],
            threads=row["threads"],
        )

    def inputs(self) -> str | None:
        """Return a short text for what was passed to ``run``; the store keeps no more of it."""
        text: str | None = self._row["inputs"]
        return text

    @property
    def creation_date(self) -> datetime:
        """When the job was made, in UTC."""
        return datetime.fromtimestamp(self._row["created"], UTC)

    def __repr__(self) -> str:
        """One true line."""
        seconds = self._row["run_seconds"]
        parts = [self._job_id[:8], self.status().name, *([] if seconds is None else [f"{seconds:.1f} s"])]
        return f"<StoredJob {' '.join([*parts, *filter(None, [self.backend_name])])}>"

    def _look(self) -> JobStatus:
        """Look into the store again unless the job is final; return its status.

        Raises:
            StoreError: the store cannot be read, or the job was deleted.
        """
        status = JobStatus[self._row["status"]]
        if status in JOB_FINAL_STATES:
            return status
        row = self._table.get(self._job_id)
        if row is None:
            raise StoreError(f"job {self._job_id} was deleted from the store while it was {status.name}")
        self._row = _checked(row)
        return JobStatus[self._row["status"]]

    def _decoded(self, column: str) -> Any:
        row: Mapping[str, Any] = self._row
        owner = f"job {self._job_id} {column}"
        return decode(row[column], row[f"{column}_data"], owner, allow_pickle=self._allow_pickle)


def _checked(row: tuple[Any, ...]) -> dict[str, Any]:
    """Return a row by column.

    Raises:
        StoreError: it is damaged.
    """
    fields = dict(zip(COLUMNS, row, strict=True))
    check_times(f"job {fields['job_id']}", fields, _TIMES)
    try:
        sound = isinstance(json.loads(fields["tags"]), list) and JobStatus.__members__.keys() >= json.loads(
            fields["times"]
        ).keys() | {fields["status"]}
    except (TypeError, ValueError, AttributeError):
        sound = False
    if not sound:
        raise StoreError(f"job {fields['job_id']} is damaged: its status, times or tags are none")
    return fields
