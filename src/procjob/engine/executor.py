"""Tasks on somebody else's executor: what travels there and back is `_execute` and `_Remote`."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from socket import gethostname
from threading import get_ident
from typing import Any

from procjob.engine.protocol import Capabilities, Task
from procjob.engine.workerless import Callbacks, WorkerlessEngine, capture
from procjob.errors import RemoteError, WorkerDiedError
from procjob.events import Event, EventSink, Started, Usage
from procjob.pool import checks, foreign, session
from procjob.pool.environment import default_workers
from procjob.pool.futures import TaskFuture
from procjob.pool.pickling import add_note, dumps, dumps_call, loads, pack_exception, unpack_exception
from procjob.pool.relay import named
from procjob.pool.verdicts import origin

logger = logging.getLogger("procjob")


class ExecutorEngine(WorkerlessEngine):
    """Tasks run on any `concurrent.futures.Executor`, which stays its owner's to shut down.

    What it cannot do, because the executor cannot: stop a running task, keep limits, say truthfully what runs (many
    call a task running as soon as it is in a queue), deliver events before the task ends, or survive a dead worker.

    Args:
        executor: where to submit.
        workers: number of tasks it executes at once; None asks its ``_max_workers``, else takes the cores granted.

    Raises:
        TypeError: ``executor`` is none, or ``workers`` no whole number.
        ValueError: ``workers`` is less than 1.
    """

    capabilities = Capabilities(
        can_interrupt=False,
        can_kill=False,
        truthful_running=False,
        live_events=False,
        captures_output=False,
        survives_crash=False,
    )
    _name = "an executor engine"
    _cannot_keep = ("time_limit", "memory_limit", "retries")

    def __init__(self, executor: Executor, *, workers: int | None = None) -> None:
        super().__init__()
        if not isinstance(executor, Executor):
            raise TypeError(f"executor must be a concurrent.futures.Executor, not {executor!r}")
        self._executor = executor
        known = getattr(executor, "_max_workers", None) or default_workers()
        self.workers = checks.whole("workers", known if workers is None else workers, lowest=1)

    def submit(self, task: Task, sink: EventSink) -> Future[Any]:
        """See `Engine.submit`."""
        self._check(task.limits)
        pickled = dumps_call(task.fn, task.args, dict(task.kwargs))
        accepted = time.monotonic()  # before it can begin
        inner = self._executor.submit(_execute, pickled)
        future = _ExecutorFuture(inner, self._callbacks)

        def finish(_: object) -> None:
            self._finish(future, sink, task.describe)

        try:
            self._accept(future, sink, accepted)
            inner.add_done_callback(finish)
        except BaseException:  # a Ctrl-C: nobody gets the future, but `close` waits for it, and perhaps a job has it
            inner.cancel()
            inner.add_done_callback(finish)
            raise
        return future

    def _finish(self, future: _ExecutorFuture, sink: EventSink, describe: Callable[[], str] | None) -> None:
        # Once; but the thread that a Ctrl-C has struck, again.
        if future not in self._unfinished or future.__dict__.setdefault("_finisher", get_ident()) != get_ident():
            return
        usage, result, exception, cancelled = None, None, None, True
        try:
            if not future.inner.cancelled():
                usage, result, exception = self._outcome(future.inner, sink, describe)
                cancelled = False
        finally:  # also after a Ctrl-C, in the caller's thread: nobody gets the future, but `close` waits for it
            self._settle(future, sink, usage, result, exception, cancelled=cancelled)

    def _outcome(
        self, inner: Future[Any], sink: EventSink, describe: Callable[[], str] | None
    ) -> tuple[Usage | None, Any, BaseException | None]:
        failure = inner.exception()  # the executor's own: that of the task is inside the result
        remote = inner.result() if failure is None else None
        if isinstance(remote, _Remote):
            for event in remote.unpack_events(time.monotonic()):
                sink(event)
            return remote.usage, *remote.unpack(describe)
        brought = f"it returned {foreign.short_repr(remote)} in place of what the call returns"
        told = brought if failure is None else foreign.describe(failure)
        exception = WorkerDiedError(f"the executor lost {named(describe)}: {told}")
        exception.__cause__ = failure
        return None, None, exception

    def ship(self, value: object, *, label: str) -> Any:
        """Check that ``value`` can be pickled and return it: it travels with each task."""
        dumps(value, label=label)
        return value


class _ExecutorFuture(TaskFuture[Any]):
    """Follows a future of somebody else's executor."""

    def __init__(self, inner: Future[Any], callbacks: Callbacks) -> None:
        super().__init__(callbacks, 0)
        self.inner = inner

    def running(self) -> bool:
        """Whether the executor calls it running."""
        inner = self.inner  # final a moment before this one is: still running then, not queued again
        return not self.done() and (inner.running() or (inner.done() and not inner.cancelled()))

    def cancel(self) -> bool:
        """Cancel it if the executor has not begun it."""
        return self.inner.cancel()


@dataclass(frozen=True, slots=True)
class _Remote:
    """What an execution on somebody else's executor brings back, in plain bytes so that nothing there can trip."""

    returned: bool
    value: bytes
    started: Started
    events: list[bytes]
    ended: float
    usage: Usage

    def unpack_events(self, now: float) -> Iterator[Event]:
        """Yield `started` and what the task reported; what cannot be unpickled is logged."""
        # Processes of one machine share their clock. That of another is set so that the task has ended just now.
        shift = 0.0 if self.started.host == gethostname() else now - self.ended
        yield replace(self.started, time=self.started.time + shift)
        for pickled in self.events:
            try:
                event: Event = loads(pickled, what="an event of a task")
            except (RemoteError, MemoryError) as exc:
                logger.warning("%s", exc)
            else:
                yield replace(event, time=event.time + shift)

    def unpack(self, describe: Callable[[], str] | None) -> tuple[Any, BaseException | None]:
        """Return the result or the exception."""
        if self.returned:
            try:
                return loads(self.value, what=f"the result of {named(describe)}"), None
            except Exception as exc:  # noqa: BLE001  (that job's own error)
                return None, exc
        exception = unpack_exception(self.value)
        add_note(exception, origin(describe, self.started.worker_pid, self.started.host))
        return None, exception


def _execute(pickled: bytes) -> _Remote:
    """Run a call wherever the executor has brought it."""
    started = Started(time.monotonic(), 0, os.getpid(), gethostname())
    events: list[bytes] = []
    execution = session.Session(events.append, session.dumps_event)
    began, cpu_began = time.perf_counter(), time.thread_time()
    try:
        with capture(execution):
            fn, args, kwargs = loads(pickled, what="the call")
            returned, value = True, dumps(fn(*args, **kwargs), label="result")
    except BaseException as exc:  # noqa: BLE001  (the task's own end, whatever it raised, is its outcome)
        returned, value = False, pack_exception(exc)
    usage = Usage(time.perf_counter() - began, time.thread_time() - cpu_began)
    return _Remote(returned, value, started, events, time.monotonic(), usage)
