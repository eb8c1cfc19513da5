"""What a running task can reach: `report_progress`, `stop_requested`, and the capture of its logs and warnings.

A session belongs to one execution of one task. In a worker there is one at a time and every thread of the process sees
it; where tasks share a process (inline, threads) each context sees its own.
"""

from __future__ import annotations

import logging
import math
import pickle
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from multiprocessing import process
from numbers import Real
from typing import Any, TextIO

from procjob.events import Event, Logged, Progressed
from procjob.pool.checks import as_float

#: Seconds between two progress reports that travel; the last one always does.
PROGRESS_EVERY = 0.02


class TaskInterrupt(BaseException):
    """Raised in the task when its job is stopped. Let it pass; catching it only makes the stop ladder go on."""


def dumps_event(event: Event) -> bytes:
    """Pickle an event for another process."""
    return pickle.dumps(event, pickle.HIGHEST_PROTOCOL)


def _as_it_is(event: Event) -> Any:
    return event


class Session:
    """One execution: where its events go, and whether it has been asked to stop.

    Args:
        send: takes what ``pack`` has made of an event.
        pack: makes an event ready to travel; called by whoever reports it, who is told so if it cannot.
    """

    __slots__ = ("_held_back", "_next_progress", "_pack", "_send", "stop_requested")

    def __init__(self, send: Callable[[Any], object], pack: Callable[[Event], Any] = _as_it_is) -> None:
        self._send = send
        self._pack = pack
        self.stop_requested = False
        self._next_progress = 0.0
        self._held_back: Any = None

    def emit(self, event: Event) -> None:
        """Pass an event on."""
        self._send(self._pack(event))

    def progress(self, event: Progressed) -> None:
        """Pass a report on, or hold it back while the last one is fresh."""
        packed = self._pack(event)
        complete = event.total is not None and event.done >= event.total
        if complete or event.time >= self._next_progress:
            self._held_back = None
            self._next_progress = event.time + PROGRESS_EVERY
            self._send(packed)
        else:
            self._held_back = packed

    def flush(self) -> None:
        """Send the report that was held back, if any."""
        held_back, self._held_back = self._held_back, None
        if held_back is not None:
            self._send(held_back)


_of_context: ContextVar[Session | None] = ContextVar("procjob_session", default=None)
_of_process: Session | None = None
_is_worker = False


def current() -> Session | None:
    """Return the session of the calling task; None outside of any."""
    return _of_context.get() or _of_process


def become_worker() -> None:
    """Mark this process as a worker: pools made in it run inline."""
    global _is_worker  # noqa: PLW0603  (a property of the process)
    _is_worker = True


def in_worker() -> bool:
    """Return whether the caller is inside a worker of a pool, or inside a task that any other engine executes."""
    return _is_worker or _of_context.get() is not None


def runs_inline() -> bool:
    """Return whether a pool made here runs its tasks in place: so that pools do not multiply, or as none can be started.

    The workers of `multiprocessing.Pool` and of Dask are daemonic processes, which may not have children.
    """
    return in_worker() or process.current_process().daemon


def bind_process(session: Session | None) -> None:
    """Worker: make a session the one of the whole process, or end it."""
    global _of_process  # noqa: PLW0603  (a property of the process)
    _of_process = session


@contextmanager
def bind_context(session: Session) -> Iterator[None]:
    """Make a session the one of the calling context."""
    token = _of_context.set(session)
    try:
        yield
    finally:
        _of_context.reset(token)


def report_progress(done: float, total: float | None = None, **info: Any) -> None:
    """Tell the job how far the running task is.

    Args:
        done: units finished so far.
        total: units in all; None if unknown.
        **info: anything more to show; must be picklable.

    At most 50 reports a second travel, and the last one always does. Outside of a job the call checks its arguments
    and does nothing, so a simulator that uses it can still be called directly.

    Raises:
        TypeError: ``done`` or ``total`` is not a real number.
        ValueError: one of them is not finite, ``done`` is negative or ``total`` is not positive.

    Example:
        >>> def simulate(steps):
        ...     for step in range(steps):
        ...         report_progress(step + 1, steps, energy=-1.0)
        >>> simulate(3)
    """
    _check_number("done", done, lowest=0.0)
    if total is not None:
        _check_number("total", total, lowest=math.ulp(0.0))
    session = current()
    if session is not None:
        session.progress(Progressed(time.monotonic(), done, total, info))


def _check_number(name: str, value: object, *, lowest: float) -> None:
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"report_progress: {name} must be a real number, not {value!r}")
    if not math.isfinite(as_float(value)) or value < lowest:
        raise ValueError(f"report_progress: {name} must be finite and {'> 0' if lowest else '>= 0'}, not {value!r}")


def stop_requested() -> bool:
    """Return whether the running task has been asked to stop; False outside of a job.

    Python code is interrupted anyway; this is for code that must not be interrupted half-way and asks at safe points.
    """
    session = current()
    return session is not None and session.stop_requested


class CaptureHandler(logging.Handler):
    """Send every log record of the running task to its session."""

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one record on; outside of a task it is dropped. As ever, a wrong log call is reported and no more."""
        session = current()
        if session is None:
            return
        try:
            text = self.format(record)
        except Exception:  # noqa: BLE001  (a broken log call is told on stderr, as every handler does; it ends no task)
            self.handleError(record)
        else:
            session.emit(Logged(time.monotonic(), "log", text, record.levelno, record.name))


def capture_warnings() -> None:
    """Worker: send warnings to the session, each once per place; the parent's filters decide what is shown."""
    warnings.resetwarnings()
    warnings.simplefilter("default")
    warnings.showwarning = show_warning


def forget_warnings() -> None:
    """Worker: forget which places have warned, so that each job hears of its own; the filters stay as they are."""
    warnings.simplefilter("default", append=True)  # it is there, and is not put in twice


def show_warning(  # noqa: PLR0917  (the signature of the function that it replaces)
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001  (the signature is that of warnings.showwarning)
    line: str | None = None,  # noqa: ARG001  (likewise)
) -> None:
    """Stand in for `warnings.showwarning` in a worker."""
    session = current()
    if session is not None:
        name = f"{category.__module__}:{category.__qualname__}"
        session.emit(Logged(time.monotonic(), "warning", str(message), logging.WARNING, name, filename, lineno))
