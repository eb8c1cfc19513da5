"""Progress bars: `track` for many jobs, `show` for one, and the `Bar` that a sweep moves itself.

That of `track` asks the jobs themselves, at a fixed rate and in a thread of its own, so it tells the truth also while nothing
ends and while the caller is busy with a job that it was given.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from procjob.events import Progressed
from procjob.job import Job
from procjob.pool.threads import start_thread
from procjob.status import JOB_FINAL_STATES, JobStatus
from procjob.waiting import as_completed, checked_jobs

#: Seconds between two drawings of the bar.
REDRAW_EVERY = 0.2


def track(jobs: Iterable[Job], *, desc: str | None = None, disable: bool | None = None) -> Iterator[Job]:
    """Yield jobs as they become final, whatever their final state; duplicates once. Show a progress bar meanwhile.

    The bar stands on stderr. It counts the jobs that are final, and as a part of one each running job that reports
    its progress; behind it stand the numbers of jobs that run, have failed and were cancelled.

    Args:
        jobs: submitted jobs.
        desc: text in front of the bar.
        disable: True: no bar; False: a bar; None: as ``PROCJOB_PROGRESS`` (0 or 1) says, else if stderr is a terminal
            (which it is not in a notebook).

    Raises:
        TypeError: one of ``jobs`` is not a job, or an argument has the wrong type.
        JobError: one was not submitted.
        ValueError: ``PROCJOB_PROGRESS`` is neither 0 nor 1.

    Example:
        >>> import procjob
        >>> with procjob.Backend(abs, workers=2) as backend:
        ...     sorted(job.result() for job in track([backend.run(-n) for n in range(3)]))
        [0, 1, 2]
    """
    if desc is not None and not isinstance(desc, str):
        raise TypeError(f"desc must be a string or None, not {desc!r}")
    found = checked_jobs(jobs)
    completed = as_completed(found)
    return _behind_a_bar(completed, list(dict.fromkeys(found)), desc) if is_shown(disable) else completed


def is_shown(disable: bool | None) -> bool:
    """Whether a bar is wanted.

    Raises:
        TypeError: ``disable`` is none of True, False and None.
        ValueError: ``PROCJOB_PROGRESS`` is neither 0 nor 1.
    """
    if disable is not None:
        if not isinstance(disable, bool):
            raise TypeError(f"disable must be True, False or None, not {disable!r}")
        return not disable
    text = os.environ.get("PROCJOB_PROGRESS", "").strip()
    if text not in {"", "0", "1"}:
        raise ValueError(f"PROCJOB_PROGRESS must be 0 or 1, not {text!r}; unset it or correct it")
    return text == "1" if text else _is_terminal(sys.stderr)


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # None, one of the user's own that can only be written to, or a closed one
        return False


def is_wanted(progress: bool | None) -> bool:
    """Whether an argument ``progress=`` asks for a bar; None: as `is_shown` of None.

    Raises:
        TypeError: it is none of True, False and None.
        ValueError: ``PROCJOB_PROGRESS`` is neither 0 nor 1.
    """
    if progress is not None and not isinstance(progress, bool):
        raise TypeError(f"progress must be True, False or None, not {progress!r}")
    return is_shown(None if progress is None else not progress)


def _tqdm(**options: Any) -> Any:
    from tqdm.auto import tqdm

    return tqdm(file=_Lossy(sys.stderr if _can_be_flushed() else None), **options)


def _can_be_flushed() -> bool:
    """Whether tqdm, which flushes both streams at the begin of a bar on standard error, would survive it."""
    try:
        for stream in (sys.stderr, sys.stdout):
            getattr(stream, "flush", bool)()
    except (OSError, ValueError):  # the disk is full, the stream is closed
        return False
    return True


class _Lossy:
    """A stream that loses what cannot be written (it is closed, the disk is full): tqdm would raise, and keep its lock for ever."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __eq__(self, other: object) -> bool:  # `tqdm.write` clears the bars of a stream
        return bool(self._stream == getattr(other, "_stream", other))

    __hash__ = None  # type: ignore[assignment]

    def write(self, text: str) -> None:
        with contextlib.suppress(AttributeError, OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(AttributeError, OSError, ValueError):
            self._stream.flush()


def _behind_a_bar(completed: Iterator[Job], jobs: list[Job], desc: str | None) -> Iterator[Job]:
    bar = _Bar(jobs, desc)
    try:
        yield from completed
    finally:
        bar.close()


class _Bar:
    """Draws itself until it is closed."""

    def __init__(self, jobs: list[Job], desc: str | None) -> None:
        self._open = jobs
        self._ended: Counter[JobStatus] = Counter()
        self._bar = _tqdm(total=len(jobs), desc=desc, unit="job")
        self._closing = threading.Event()
        self._thread = start_thread("procjob-progress", self._redraw)
        # A daemon thread that writes while the interpreter ends can abort it.
        atexit.register(self.close)

    def close(self) -> None:
        """Draw the bar a last time and leave it on the screen."""
        atexit.unregister(self.close)
        self._closing.set()
        self._thread.join()
        self._draw()
        self._bar.close()

    def _redraw(self) -> None:
        while True:
            self._draw()
            if self._closing.wait(REDRAW_EVERY):
                return

    def _draw(self) -> None:
        statuses = [(job, JobStatus[job.status().name]) for job in self._open]  # adapters have their own type
        self._ended.update(status for _, status in statuses if status in JOB_FINAL_STATES)
        self._open = [job for job, status in statuses if status not in JOB_FINAL_STATES]
        running = [job for job, status in statuses if status is JobStatus.RUNNING]
        reports = [job.progress() for job in running]
        parts = sum(report.fraction for report in reports if report is not None)
        self._bar.n = self._ended.total() + (round(parts, 1) or 0)
        words = {
            "running": len(running),
            "failed": self._ended[JobStatus.ERROR],
            "cancelled": self._ended[JobStatus.CANCELLED],
        }
        self._bar.set_postfix_str(", ".join(f"{count} {word}" for word, count in words.items() if count))


class Bar:
    """A bar on stderr, or in a notebook, that somebody moves.

    Args:
        total: its end; None: nobody knows.
        desc: text in front of it.
        unit: what it counts.
    """

    def __init__(self, total: int | None, desc: str, unit: str) -> None:
        self._bar = _tqdm(total=total, desc=desc, unit=unit, smoothing=0.1, dynamic_ncols=True)

    def show(self, done: float, *, total: float | None = None, initial: int = 0, **counts: int) -> None:
        """Move it to ``done``, of which ``initial`` cost no time; counts that are not 0 stand behind it."""
        self._bar.initial = initial
        self._bar.total = self._bar.total if total is None else total
        text = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
        if text != (self._bar.postfix or ""):
            self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Draw it a last time and leave it on the screen."""
        self._bar.refresh()
        self._bar.close()


def show(job: Job) -> None:
    """Show a bar for one job until it is final: of what it reports, or of the pieces that it is divided into.

    It is drawn in the dispatcher thread of the job's engine.
    """
    bar = Bar(None, str(getattr(job.backend(), "name", "job")), "step")

    def on_progress(report: Progressed) -> None:
        bar.show(int(report.done) if report.done == int(report.done) else round(report.done, 1), total=report.total)

    def on_end(ended: Job) -> None:
        report = ended.progress()
        if report is not None:
            on_progress(report)
        bar.close()

    job.on_progress(on_progress)
    job.add_done_callback(on_end)
