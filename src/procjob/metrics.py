"""What a job has cost: `JobMetrics`, and the `History` of a job, from which they are made."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType

from procjob.events import Finished, Started
from procjob.status import JOB_FINAL_STATES, JobStatus


@dataclass(frozen=True, slots=True)
class JobMetrics:
    """What a job has cost so far. Seconds, bytes, and Unix times; None: not known, or not yet.

    Attributes:
        timestamps: Unix time at which each status was entered; the keys are what ``status()`` of the job returns.
        queue_seconds: from QUEUED to RUNNING, or until now or the end if it never ran.
        run_seconds: that the last execution took in its worker; while it runs, since it began. Of a job that is divided: from
            the beginning of its first piece to the end of its last.
        attempts: executions begun.
        worker_pid: process of the last execution.
        host: machine of the last execution.
        cpu_seconds: CPU time of the task's process during the last execution, all threads; on somebody else's executor
            that of the task's own thread. Of a job that is divided: of all its pieces.
        peak_rss: highest resident memory of that process by the end of the task, earlier tasks included; None where it
            is no worker process of procjob's.
        threads: how many the simulator was told to use in each worker; None: it was told nothing.
    """

    timestamps: Mapping[JobStatus, float]
    queue_seconds: float | None = None
    run_seconds: float | None = None
    attempts: int = 0
    worker_pid: int | None = None
    host: str | None = None
    cpu_seconds: float | None = None
    peak_rss: int | None = None
    threads: int | None = None


_clock = 0.0


def _shared_clock() -> float:
    """Return what makes Unix times of monotonic ones: the same float as last time, unless the clock has been set."""
    global _clock  # noqa: PLW0603  (a property of the machine)
    now = time.time() - time.monotonic()
    if abs(now - _clock) > 0.000_01:  # more than two looks differ by, unless the thread was interrupted between them
        _clock = now
    return _clock


@dataclass(slots=True)
class History:
    """What a job notes for its metrics. Times are `time.monotonic` seconds. There may be very many of these: small.

    Attributes:
        made: when the job became INITIALIZING.
        validating: when it became that; likewise the others.
        queued: see ``validating``.
        running: see ``validating``.
        final: when a look found it final, on the clock of its end.
        started: the beginning of the last execution.
        finished: the end of the task.
        clock: what makes Unix times of the others.
    """

    made: float = field(default_factory=time.monotonic)
    validating: float | None = None
    queued: float | None = None
    running: float | None = None
    final: float | None = None
    started: Started | None = None
    finished: Finished | None = None
    clock: float = field(default_factory=_shared_clock)

    @property
    def creation_date(self) -> datetime:
        """When the job was made, in UTC."""
        return datetime.fromtimestamp(self.made + self.clock, UTC)

    def metrics(self, status: JobStatus, shown: Callable[[JobStatus], JobStatus]) -> JobMetrics:
        """Return times and costs so far; ``status`` is that of the job now, ``shown`` says how its user knows each."""
        started, finished = self.started, self.finished
        until = time.monotonic() if finished is None else finished.time
        if status in JOB_FINAL_STATES:  # from the first look on its numbers stand still
            self.final = until = until if self.final is None else self.final
        queued, ran = self.queued, self.running
        entered = {
            JobStatus.INITIALIZING: self.made,
            JobStatus.VALIDATING: self.validating,
            JobStatus.QUEUED: queued,
            JobStatus.RUNNING: ran,
        }
        if self.final is not None and status in JOB_FINAL_STATES:  # another thread may know more than the caller
            entered[status] = self.final
        usage = finished.usage if finished is not None else None
        return JobMetrics(
            timestamps=MappingProxyType({shown(s): t + self.clock for s, t in entered.items() if t is not None}),
            queue_seconds=None if queued is None else (until if ran is None else ran) - queued,
            run_seconds=usage.run_seconds if usage else None if started is None else until - started.time,
            attempts=finished.attempts if finished is not None else 0 if started is None else started.attempt + 1,
            worker_pid=None if started is None else started.worker_pid,
            host=None if started is None else started.host,
            cpu_seconds=usage.cpu_seconds if usage else None,
            peak_rss=(usage.peak_rss or None) if usage else None,
        )
