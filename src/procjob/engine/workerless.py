"""What `InlineEngine` and `ExecutorEngine` share: no workers of their own, but limits to refuse and callbacks to run."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from procjob.errors import JobError
from procjob.events import Accepted, EventSink, Finished, Usage
from procjob.pool import session
from procjob.pool.actions import NO_LIMITS, Limits
from procjob.pool.dispatcher import Dispatcher, run_logged
from procjob.pool.futures import SteadyFuture, TaskFuture
from procjob.pool.watching import wait_for


class WorkerlessEngine:
    """Base of the engines whose tasks execute in what is somebody else's: the caller's thread, or an executor."""

    #: How messages call the engine.
    _name: str
    #: Names of the limits that it has to refuse.
    _cannot_keep: tuple[str, ...]

    def __init__(self) -> None:
        self._callbacks = Callbacks()
        weakref.finalize(self, self._callbacks.close, wait=False).atexit = False
        self._closed = False
        #: Futures that are not settled yet, each with the thread that executes its task where that is known, and with what ends
        #: when its callbacks are posted, too. Changed in single steps.
        self._unfinished: dict[Future[Any], tuple[int | None, SteadyFuture[None]]] = {}

    def queue_position(self, future: Future[Any]) -> int | None:
        """Return None: inline nothing is ever queued, and an executor does not tell."""
        return None

    def post(self, fn: Callable[..., object], *args: Any) -> None:
        """See `Engine.post`."""
        self._callbacks.post(fn, *args)

    def close(self, *, wait: bool = True, cancel: bool = False) -> None:
        """See `Engine.close`; a task that cannot be stopped is waited for, but for one that has called this itself."""
        self._closed = True
        if cancel:
            for future in list(self._unfinished):
                future.cancel()
        if wait:
            me = threading.get_ident()
            while left := [
                ended for thread, ended in list(self._unfinished.values()) if thread != me and not ended.done()
            ]:
                wait_for(left)
        if wait or not self._unfinished:  # else the last task does this
            self._callbacks.close(wait=wait)

    def _check(self, limits: Limits) -> None:
        """Raise unless the engine is open and can keep the limits of a task."""
        if self._closed:
            raise RuntimeError("the engine is closed; make a new one")
        for name in self._cannot_keep:
            value = getattr(limits, name)
            if value != getattr(NO_LIMITS, name):
                raise JobError(
                    f"{self._name} cannot keep {name}={value!r}; drop it, or use worker processes (workers=1 or more)"
                )

    def _accept(self, future: Future[Any], sink: EventSink, now: float, thread: int | None = None) -> None:
        self._unfinished[future] = thread, SteadyFuture()
        sink(Accepted(now, future))

    def _settle(
        self,
        future: TaskFuture[Any],
        sink: EventSink,
        usage: Usage | None,
        result: Any,
        exception: BaseException | None,
        *,
        cancelled: bool,
    ) -> None:
        """End a task; ``usage`` is None if it has not been executed. May be called again, if a Ctrl-C has struck."""
        try:
            sink(Finished(time.monotonic(), int(usage is not None), usage))
        finally:  # also after a Ctrl-C
            try:
                future.settle(result, exception, cancelled=cancelled)
            finally:  # only now may `close` return
                _, ended = self._unfinished.get(future, (None, None))
                if ended is not None:  # else a Ctrl-C has struck before it was accepted
                    if not ended.done():
                        ended.set_result(None)
                    self._unfinished.pop(future, None)
        if self._closed and not self._unfinished:
            self._callbacks.close(wait=False)


class Callbacks:
    """The user's callbacks: a dispatcher that is started at its first use and ends with its engine.

    The futures of the engine have it as their owner: the engine itself they would keep alive.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._dispatcher: Dispatcher | None = None
        self._closed = False

    def request_stop(self, _: int) -> bool:
        """Return False: what a cancel can do, the futures of these engines do themselves."""
        return False

    def has_begun(self, _: int) -> bool:
        """Return False: the futures of these engines are told."""
        return False

    def post(self, fn: Callable[..., object], *args: Any) -> None:
        """Run a callback in the dispatcher thread; here if the engine was closed before it had one."""
        # Not made under the lock: a signal handler that waits meanwhile would have all threads wait.
        made = None if self._dispatcher is not None or self._closed else Dispatcher("procjob-callbacks")
        with self._lock:
            if not self._closed:
                self._dispatcher = self._dispatcher or made
            dispatcher = self._dispatcher
        if dispatcher is None:
            run_logged(fn, *args)
        else:
            dispatcher.post(fn, *args)

    def close(self, *, wait: bool) -> None:
        """End the dispatcher after what has been posted so far."""
        with self._lock:
            self._closed = True
            dispatcher = self._dispatcher
        if dispatcher is not None:
            dispatcher.close()
            if wait:
                dispatcher.join()


@contextmanager
def capture(execution: session.Session) -> Iterator[None]:
    """Bind a session to this context and send it the log records made inside."""
    handler = session.CaptureHandler()
    handler.addFilter(lambda _: session.current() is execution)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        with session.bind_context(execution):
            yield
    finally:
        root.removeHandler(handler)
        execution.flush()
