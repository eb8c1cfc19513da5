"""`Job`: a task on an engine, behind the contract of `JobV1`.

The job keeps no state that its future already has: `Job.status` maps the future, so the two can never disagree. Events
of the engine bring the rest (times, progress, logs). Callbacks run in the engine's dispatcher thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future
from datetime import datetime
from typing import TYPE_CHECKING, Any, Never, Protocol

from procjob.errors import JobCancelledError, JobError, JobTimeoutError
from procjob.events import Accepted, Event, Finished, Logged, Progressed, Started
from procjob.forks import SharedLock
from procjob.jobv1 import JobV1
from procjob.metrics import History, JobMetrics
from procjob.parts import Parts, WholeFuture, submit_parts
from procjob.pool import checks
from procjob.pool.dispatcher import run_logged
from procjob.pool.foreign import text_of
from procjob.pool.futures import SteadyFuture
from procjob.pool.watching import wait_for, watch
from procjob.status import JOB_FINAL_STATES, JobStatus

if TYPE_CHECKING:
    from procjob.engine import Engine, Task

__all__ = ["Job", "JobMetrics", "JobV1"]

#: Pieces of output that a job keeps; older ones are dropped.
LOGS_KEPT = 10_000
#: Of all jobs, which hold it for a few lines; one for each would take 88 bytes. Nothing is called meanwhile: signal handlers
#: and finalizers run when a call begins or ends, and one that waits for another job would wait for ever.
_shared = SharedLock()


class Observer(Protocol):
    """Who else is told what happens to a job, and may ask for a moment after its end: a store that keeps its result."""

    def on_event(self, event: Event) -> None:
        """Take note of an event, after the job has; must not block."""

    def unsettled(self) -> Future[None] | None:
        """Return what is done some time after the job is final, when nothing is left to do about it; None: do not wait."""

    def wait(self, timeout: float | None) -> None:
        """Wait for that, for ``timeout`` seconds at most and never for ever."""


class Job(JobV1):
    """One ``run`` call. Made by `procjob.Backend.run`; all its methods may be called from any thread.

    Args:
        backend: what it runs on, or None.
        job_id: unique id.
        task: the call, or the calls that it is made of.
        engine: what executes it.
        inputs: what the user passed to ``run``; kept for `inputs`.
        tags: words to find it by.
        **metadata: kept in ``metadata``.
    """

    # What an adapter to another package's job class replaces: its own types for statuses and errors.
    _error_type = JobError
    _timeout_type = JobTimeoutError
    _cancelled_type = JobCancelledError

    def __init__(
        self,
        backend: Any,
        job_id: str,
        *,
        task: Task | Parts,
        engine: Engine,
        inputs: Any = None,
        tags: Iterable[str] = (),
        **metadata: Any,
    ) -> None:
        super().__init__(backend, job_id, **metadata)
        self._metadata: dict[str, Any] | None = metadata or None  # an empty dictionary takes 64 bytes
        self.tags = tuple(tags)
        self._task: Task | Parts | None = task
        self._engine = engine
        self._inputs = inputs
        self._phase = JobStatus.INITIALIZING
        self._future: Future[Any] | None = None
        self._history = History()
        self._progress: Progressed | None = None
        self._logs: deque[Logged] | None = None  # an empty one takes 700 bytes, and jobs may be many
        self._on_status: tuple[Callable[[JobStatus], object], ...] = ()
        self._on_progress: tuple[Callable[[Progressed], object], ...] = ()
        self._change: Future[None] | None = None
        #: Set by the backend before the job is submitted.
        self._observer: Observer | None = None

    # ------------------------------------------------------------ JobV1

    @property
    def metadata(self) -> dict[str, Any]:
        """What the user keeps with the job."""
        if self._metadata is None:
            self._metadata = {}
        return self._metadata

    @metadata.setter
    def metadata(self, value: dict[str, Any]) -> None:
        self._metadata = value

    def submit(self) -> None:
        """Validate and pickle the call here, then queue it. `procjob.Backend.run` has already done so.

        Raises:
            JobError: it was submitted before, or its engine cannot keep one of its limits.
            NotPicklableError: its input cannot be pickled.
            WorkerDiedError: no worker can start; its initializer fails, say.
            RuntimeError: the engine is closed.

        A job that is refused is INITIALIZING again.
        """
        now, task = time.monotonic(), None
        try:
            with _shared.lock:
                task = self._task if self._phase is JobStatus.INITIALIZING else None
                if task is not None:
                    self._phase, self._history.validating = JobStatus.VALIDATING, now
            if task is None:
                raise self._error_type(f"job {self._job_id} was submitted before; make another with backend.run")
            if isinstance(task, Parts):
                submit_parts(self._engine, task, self._on_event)
            else:
                self._engine.submit(task, self._on_event)
        finally:
            with _shared.lock:
                if self._future is not None:
                    self._task = None
                elif task is not None:
                    self._phase = JobStatus.INITIALIZING

    def status(self) -> JobStatus:
        """Return the `JobStatus`; never blocks, never raises."""
        return self._shown(self._state())

    def _state(self) -> JobStatus:
        future = self._future
        if future is None:
            return self._phase
        # In this order a state that changes between the two looks is reported as it was at one of them, never older
        # than what anybody has been told before.
        running = future.running()
        if future.done():
            return self._final_state(future)
        return JobStatus.RUNNING if running else JobStatus.QUEUED

    def _final_state(self, future: Future[Any]) -> JobStatus:
        if future.cancelled():
            return JobStatus.CANCELLED
        failed = future.exception() is not None or self._fault_of(future.result()) is not None
        return JobStatus.ERROR if failed else JobStatus.DONE

    def _shown(self, status: JobStatus) -> JobStatus:
        """Return a status as the user of this class knows it."""
        return status

    def _fault_of(self, result: Any) -> str | None:
        """Return what a result says that went wrong; None if it is one."""
        return None

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the result and return it.

        Args:
            timeout: seconds to wait at most; None waits for ever. The job itself is not touched by it.

        Raises:
            JobTimeoutError: the wait ran out; the job goes on.
            JobCancelledError: the job was cancelled.
            JobError: the job was not submitted.
            Exception: the job's own exception, of its original type, with the traceback of the worker as its cause.
        """
        future = self.future
        timeout = checks.seconds("timeout", timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        if not future.done():
            wait_for([future], timeout)
        if not future.done():
            raise self._timed_out(self._state(), timeout)
        self._wait_for_observer(deadline)
        if future.cancelled():
            raise self._cancelled_type(f"job {self._job_id} was cancelled and has no result")
        exception = future.exception()
        if exception is not None:
            try:
                raise exception
            finally:
                del exception, future  # they would hold this frame, and the job, through the traceback
        return self._given(future.result())

    def _given(self, result: Any) -> Any:
        """Return what the task has returned as `result` gives it."""
        return result

    def cancel(self) -> bool:
        """Stop the job; does not block.

        Returns:
            True: it will end CANCELLED, at once if no worker has begun it, else when the worker has let go.
            False: it is final already, or it runs on an engine that cannot stop it.

        Raises:
            JobError: the job was not submitted.
        """
        future = self.future
        return not future.done() and future.cancel()

    def wait_for_final_state(
        self,
        timeout: float | None = None,
        wait: float | None = 5,
        callback: Callable[[str, JobStatus, Job], object] | None = None,
    ) -> None:
        """Block until the job is final; returns as soon as it is.

        Args:
            timeout: seconds to wait at most; None waits for ever.
            wait: seconds between two calls of ``callback``; None calls it at each change of status.
            callback: called as ``callback(job_id, status, job)`` at once and then again and again while the job is
                not final; what it raises propagates.

        Raises:
            JobTimeoutError: the job was not final after ``timeout`` seconds.
            JobError: the job was not submitted.
        """
        self.future  # noqa: B018  (raises if there is nothing to wait for)
        timeout, wait = checks.seconds("timeout", timeout), checks.seconds("wait", wait)
        if callback is not None:
            checks.call("callback", callback)
        now, told = time.monotonic(), None
        deadline = math.inf if timeout is None else now + timeout
        call_at = math.inf if callback is None else now
        while True:
            futures = [self.future] if wait is not None else [self.future, self._next_change()]
            status = self._state()
            if status in JOB_FINAL_STATES:
                self._wait_for_observer(deadline)
                return
            now = time.monotonic()
            if now >= deadline:
                raise self._timed_out(status, timeout)
            if callback is not None and (now >= call_at or (wait is None and status is not told)):
                callback(self._job_id, self._shown(status), self)
                told = status
                call_at = math.inf if wait is None else time.monotonic() + wait
            else:
                seconds = min(deadline, call_at, now + threading.TIMEOUT_MAX) - now
                wait_for(futures, seconds, FIRST_COMPLETED)

    # ------------------------------------------------------------ more than JobV1

    @property
    def future(self) -> Future[Any]:
        """The `concurrent.futures.Future` that this job wraps.

        Raises:
            JobError: the job was not submitted.
        """
        if self._future is None:
            raise self._error_type(f"job {self._job_id} is {self._phase.name}: call submit() first")
        return self._future

    def errored(self) -> bool:
        """Return whether the job failed: its status is ERROR."""
        return self._state() is JobStatus.ERROR

    def error_message(self) -> str | None:
        """Return type and text of the exception of an ERROR job; None for any other."""
        if not self.errored():
            return None
        exception: Any = self.future.exception()
        if exception is None:
            return self._fault_of(self.future.result())
        return f"{type(exception).__name__}: {text_of(exception)}"

    def queue_position(self) -> int | None:
        """Return how many tasks are queued before this job, 0 if it is the next; None if it is not queued."""
        future = self._future
        if isinstance(future, WholeFuture):
            return future.queue_position(self._engine)
        return None if future is None else self._engine.queue_position(future)

    def progress(self) -> Progressed | None:
        """Return the last progress that the task reported; None if it has not."""
        return self._progress

    def logs(self) -> tuple[Logged, ...]:
        """Return what the task has logged, warned about and printed so far (the last 10,000 pieces)."""
        return tuple(self._logs or ())

    def metrics(self) -> JobMetrics:
        """Return times and costs so far."""
        return self._history.metrics(self._state(), self._shown)

    def inputs(self) -> Any:
        """Return what was passed to ``run``."""
        return self._inputs

    def circuits(self) -> Any:
        """Return what was passed to ``run``: the circuits, for a backend that runs circuits."""
        return self._inputs

    @property
    def creation_date(self) -> datetime:
        """When the job was made, in UTC."""
        return self._history.creation_date

    def add_done_callback(self, fn: Callable[[Job], object]) -> None:
        """Call ``fn(job)`` in the dispatcher thread once the job is final, or soon if it already is."""
        checks.call("fn", fn)
        self.future.add_done_callback(lambda _: run_logged(fn, self))

    def on_status(self, fn: Callable[[JobStatus], object]) -> None:
        """Call ``fn(status)`` in the dispatcher thread at each change of status from now on, QUEUED first, or soon if it is final."""
        checks.call("fn", fn)
        with _shared.lock:
            self._on_status += (fn,)
            submitted = self._future is not None
        if submitted:
            self._call_at_end(fn)

    def on_progress(self, fn: Callable[[Progressed], object]) -> None:
        """Call ``fn(progress)`` in the dispatcher thread at each report of progress from now on."""
        checks.call("fn", fn)
        with _shared.lock:
            self._on_progress += (fn,)

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for the result without blocking the event loop; cancelling the waiting task cancels the job."""
        return self._wait_async().__await__()

    def __reduce__(self) -> Never:
        raise TypeError(f"job {self._job_id} belongs to this process and cannot be copied or pickled; its result can")

    def __repr__(self) -> str:
        """One true line."""
        status = self._state()
        parts = [self._job_id[:8], status.name]
        if self._progress is not None and self._progress.total is not None and status is JobStatus.RUNNING:
            parts.append(f"{self._progress.fraction:.0%}")
        seconds = self.metrics().run_seconds
        if seconds is not None:
            parts.append(f"{seconds:.1f} s")
        if self._backend is not None:
            parts.append(str(getattr(self._backend, "name", self._backend)))
        return f"<{type(self).__name__} {' '.join(parts)}>"

    def _repr_html_(self) -> str:
        metrics = self.metrics()
        rows = {
            "job": self._job_id,
            "status": self._state().name,
            "backend": getattr(self._backend, "name", self._backend),
            "ran for": "" if metrics.run_seconds is None else f"{metrics.run_seconds:.3g} s",
            "error": self.error_message() or "",
        }
        cells = "".join(f"<tr><th>{k}</th><td>{html.escape(str(v))}</td></tr>" for k, v in rows.items() if v)
        return f"<table>{cells}</table>"

    # ------------------------------------------------------------ pieces

    def _on_event(self, event: Event) -> None:
        """The engine's sink: note what happened, pass it on, never block."""
        match event:
            case Progressed():
                self._progress = event
                for listener in self._on_progress:
                    self._engine.post(listener, event)
            case Logged():
                if self._logs is None:
                    self._logs = deque(maxlen=LOGS_KEPT)
                self._logs.append(event)
            case Accepted(now, future):
                self._history.queued = now
                with _shared.lock:
                    self._future, listeners = future, self._on_status
                for fn in listeners:
                    self._engine.post(fn, self._shown(JobStatus.QUEUED))
                    self._call_at_end(fn)
            case Started(now):
                self._history.started = event
                if self._history.running is None:  # a further attempt is no change of status
                    self._history.running = now
                    self._announce_running()
            case Finished():
                self._history.finished = event
        if self._observer is not None:
            self._observer.on_event(event)

    def _wait_for_observer(self, deadline: float | None) -> None:
        """Let the observer of a final job finish, until a deadline that is None or a time of the monotonic clock."""
        if self._observer is not None:
            self._observer.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))

    def _announce_running(self) -> None:
        for fn in self._on_status:
            self._engine.post(fn, self._shown(JobStatus.RUNNING))
        with _shared.lock:
            change, self._change = self._change, None
        if change is not None:
            change.set_result(None)

    def _next_change(self) -> Future[None]:
        change: Future[None] = SteadyFuture()
        with _shared.lock:
            if self._change is None:
                self._change = change
            return self._change

    def _call_at_end(self, fn: Callable[[JobStatus], object]) -> None:
        self.future.add_done_callback(lambda _: run_logged(fn, self.status()))

    def _timed_out(self, status: JobStatus, timeout: float | None) -> JobTimeoutError:
        return self._timeout_type(
            f"job {self._job_id} is {status.name} after waiting for {timeout:g} s; wait again or cancel it"
        )

    async def _wait_async(self) -> Any:
        try:
            await _ended(self.future)
        except asyncio.CancelledError:
            self.cancel()
            raise
        unsettled = None if self._observer is None else self._observer.unsettled()
        if unsettled is not None:
            await _ended(unsettled)
        return self.result()


async def _ended(future: Future[Any]) -> None:
    """Wait for a future, told by whoever ends it: the dispatcher may be busy with a callback that waits for what awaits this."""
    loop, final = asyncio.get_running_loop(), asyncio.Event()

    def tell(_: object) -> None:
        with contextlib.suppress(Exception):  # a loop that was closed meanwhile, say, must not disturb whoever ends it
            loop.call_soon_threadsafe(final.set)

    end = watch(future, tell)
    try:
        await final.wait()
    finally:
        end()
