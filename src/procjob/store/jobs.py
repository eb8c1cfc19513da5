"""Jobs in a store: their rows."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from procjob.errors import JobError
from procjob.pool.foreign import type_name
from procjob.store.database import Database
from procjob.store.processes import Processes
from procjob.store.query import JobQuery
from procjob.store.values import Encoded, encode_or_say_why, storable

if TYPE_CHECKING:
    from procjob.job import Job

COLUMNS = (
    "job_id", "backend", "status", "created", "times", "queue_seconds", "run_seconds", "attempts", "worker_pid", "host",
    "cpu_seconds", "peak_rss", "threads", "error_type", "error", "traceback", "tags", "metadata", "metadata_data",
    "inputs", "result", "result_data",
)  # fmt: skip

#: The id is taken by the first process that uses it; its own later records of the job replace the earlier ones.
_PUT = f"""
    INSERT INTO jobs ({", ".join(COLUMNS)}, process_id) VALUES ({", ".join("?" * len(COLUMNS))}, ?)
    ON CONFLICT (job_id) DO UPDATE SET {", ".join(f"{name}=excluded.{name}" for name in COLUMNS[1:])}
    WHERE jobs.process_id = excluded.process_id
"""
_UPDATE = f"UPDATE jobs SET {', '.join(f'{name}=?' for name in COLUMNS)} WHERE job_id = ? AND process_id = ?"
_CLAIM = """
    INSERT OR IGNORE INTO jobs (job_id, backend, status, created, times, attempts, tags, metadata, process_id)
    VALUES (?, ?, 'INITIALIZING', ?, '{}', 0, '[]', '{}', ?)
"""


def job_row(job: Job, inputs: str) -> tuple[Any, ...]:
    """Return the row of a live job as it is now."""
    status, metrics = job.status().name, job.metrics()
    owner = f"job {job.job_id()}"
    error_type = error = traceback = None
    result = Encoded(None)
    if status in ("DONE", "ERROR"):
        exception = job.future.exception()
        error = job.error_message()
        if exception is None:
            result = encode_or_say_why(job._given(job.future.result()), f"{owner} result", label="result")
        else:
            error_type = type_name(exception)
            traceback = getattr(exception.__cause__, "text", None)
    metadata = encode_or_say_why(dict(job.metadata), f"{owner} metadata", label="metadata")
    return (
        job.job_id(),
        getattr(job.backend(), "name", None),
        status,
        job.creation_date.timestamp(),
        json.dumps({status.name: moment for status, moment in metrics.timestamps.items()}),
        None if status == "QUEUED" else metrics.queue_seconds,  # what grows would be read later, and be wrong
        None if status == "RUNNING" else metrics.run_seconds,
        metrics.attempts,
        metrics.worker_pid,
        metrics.host,
        metrics.cpu_seconds,
        metrics.peak_rss,
        metrics.threads,
        error_type,
        error and storable(error),
        traceback and storable(traceback),
        storable(json.dumps(job.tags, ensure_ascii=False)),
        *metadata,
        storable(inputs),
        *result,
    )


class JobTable:
    """The jobs in a store.

    Args:
        database: the file.
        processes: who writes to it.
    """

    def __init__(self, database: Database, processes: Processes) -> None:
        self._database = database
        self._processes = processes

    def get(self, job_id: str) -> tuple[Any, ...] | None:
        """Return the row of a job; None if there is none."""
        found = self._select("WHERE job_id = ?", [job_id])
        return found[0] if found else None

    def find(self, query: JobQuery) -> list[tuple[Any, ...]]:
        """Return the rows that are asked for."""
        return self._select(*query.sql())

    def _select(self, terms: str, given: Sequence[Any]) -> list[tuple[Any, ...]]:
        source = self._processes.up_to_date("jobs", COLUMNS)
        with self._database.read() as connection:
            return connection.execute(f"SELECT {', '.join(COLUMNS)} FROM {source} {terms}", given).fetchall()

    def put(self, rows: Sequence[tuple[tuple[Any, ...], bool]]) -> None:
        """Write rows, each with whether it is there already; one that was deleted meanwhile is not made again."""
        me = self._processes.this()
        with self._database.write() as connection:
            for row, known in rows:
                if known:
                    connection.execute(_UPDATE, (*row, row[0], me))
                else:
                    connection.execute(_PUT, (*row, me))

    def claim(self, job_id: str, backend_name: str) -> None:
        """Take an id, before anything is spent on its job.

        Raises:
            JobError: it is taken.
        """
        row = (job_id, backend_name, time.time(), self._processes.this())
        with self._database.write() as connection:
            taken = connection.execute(_CLAIM, row).rowcount == 0
        if taken:
            raise JobError(
                f"there is a job {job_id!r} in {self._database.path} already; choose another job_id, or delete that one "
                f"with store.delete({job_id!r})"
            )

    def release(self, job_id: str) -> None:
        """Give back an id whose job was not accepted."""
        row = (job_id, self._processes.this())
        with self._database.write() as connection:
            connection.execute("DELETE FROM jobs WHERE job_id = ? AND process_id = ? AND status = 'INITIALIZING'", row)

    def delete(self, job_ids: Iterable[str]) -> int:
        """Delete jobs; return how many there were."""
        with self._database.write() as connection:
            return sum(connection.execute("DELETE FROM jobs WHERE job_id = ?", (one,)).rowcount for one in job_ids)
