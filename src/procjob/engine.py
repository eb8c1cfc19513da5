"""Engines execute tasks. `Engine` is the one seam between jobs and whatever runs them.

    Job.submit ──> Engine.submit(task, sink) ──> Future       and, to the sink:
                   Accepted, Started, Progressed | Logged ..., Finished     (then the future is final)

The sink is called by the engine's threads and must not block; callbacks of the user go through `Engine.post`.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from socket import gethostname
from typing import Any, Protocol

from procjob.errors import JobError, RemoteError, WorkerDiedError
from procjob.events import Accepted, Event, EventSink, Finished, Started, Usage
from procjob.pool import checks, session
from procjob.pool.constants import Constant, referenced
from procjob.pool.dispatcher import Dispatcher, run_logged
from procjob.pool.environment import default_workers
from procjob.pool.futures import TaskFuture
from procjob.pool.pickling import add_note, dumps, dumps_call, loads, pack_exception, unpack_exception
from procjob.pool.pool import NO_LIMITS, Pool
from procjob.pool.relay import named
from procjob.pool.scheduler import Limits

logger = logging.getLogger("procjob")


@dataclass(frozen=True, slots=True)
class Task:
    """One call to execute.

    Attributes:
        fn: the callable, or what `Engine.ship` returned for it.
        args: its positional arguments.
        kwargs: its keyword arguments.
        limits: what it may use.
        describe: names the task in error messages and logs; called only when needed.
    """

    fn: Any
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits = NO_LIMITS
    describe: Callable[[], str] | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can honestly do.

    Attributes:
        can_interrupt: a running task can be stopped.
        can_kill: a running task can be stopped even if it never returns to the interpreter.
        truthful_running: a future is running only when its task is.
        live_events: events arrive while the task runs, not only when it ends.
        captures_output: what a task prints and warns about is in its job's logs.
        survives_crash: a task that ends its process costs only itself.
    """

    can_interrupt: bool
    can_kill: bool
    truthful_running: bool
    live_events: bool
    captures_output: bool
    survives_crash: bool


class Engine(Protocol):
    """What a job needs of whatever executes it."""

    @property
    def capabilities(self) -> Capabilities:
        """What this engine can do."""

    @property
    def workers(self) -> int:
        """Number of tasks that can execute at once; 0: in the caller."""

    def submit(self, task: Task, sink: EventSink) -> Future[Any]:
        """Take a task: pickle it here and now, then queue it.

        Raises:
            NotPicklableError: the call cannot be pickled.
            JobError: a limit is set that this engine cannot keep.
            RuntimeError: the engine is closed.
        """

    def ship(self, value: object, *, label: str) -> Any:
        """Return what stands for ``value`` in tasks so that it travels to each worker at most once."""

    def queue_position(self, future: Future[Any]) -> int | None:
        """Return how many tasks are queued before this one; None if it is not queued or nobody knows."""

    def post(self, fn: Callable[..., object], *args: Any) -> None:
        """Run a callback of the user in the engine's dispatcher thread."""

    def close(self, *, wait: bool = True, cancel: bool = False) -> None:
        """Accept nothing more. ``cancel``: stop what is queued or runs. ``wait``: return when nothing is left."""


# ---------------------------------------------------------------- worker processes


class ProcessEngine:
    """Tasks run in killable worker processes; they start with the first task.

    Args:
        workers: number of processes; None takes PROCJOB_WORKERS or the cores granted.
        initializer: called in each worker before its first task.
        initargs: its arguments.
        threads_per_worker: threads of numerical libraries in each worker; None shares the cores granted.
        environment: variables to set in the workers.
    """

    capabilities = Capabilities(
        can_interrupt=True,
        can_kill=True,
        truthful_running=True,
        live_events=True,
        captures_output=True,
        survives_crash=True,
    )

    def __init__(
        self,
        workers: int | None = None,
        *,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        threads_per_worker: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.workers = default_workers() if workers is None else checks.whole("workers", workers, lowest=1)
        self._pool = Pool(
            self.workers,
            initializer=initializer,
            initargs=initargs,
            threads_per_worker=threads_per_worker,
            environment=environment,
            finish_at_exit=False,
        )

    def submit(self, task: Task, sink: EventSink) -> Future[Any]:
        """See `Engine.submit`."""
        self._pool.check_open()
        with referenced() as constants:
            pickled = dumps_call(task.fn, task.args, dict(task.kwargs))
        return self._pool.submit(pickled, constants, task.limits, sink, task.describe)

    def ship(self, value: object, *, label: str) -> Constant:
        """See `Engine.ship`."""
        return Constant(value, label=label)

    def queue_position(self, future: Future[Any]) -> int | None:
        """See `Engine.queue_position`."""
        return self._pool.queue_position(future)

    def worker_pids(self) -> list[int]:
        """Return the pids of the worker processes that live now."""
        return self._pool.worker_pids()

    def post(self, fn: Callable[..., object], *args: Any) -> None:
        """See `Engine.post`."""
        self._pool.post(fn, *args)

    def close(self, *, wait: bool = True, cancel: bool = False) -> None:
        """See `Engine.close`."""
        self._pool.close(cancel_queued=cancel, stop_running=cancel)
        if wait:
            self._pool.join()


# ---------------------------------------------------------------- the caller's own process


class _ThreadedPost:
    """A dispatcher that is started at its first use and ends with its engine."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._dispatcher: Dispatcher | None = None
        self._closed = False

    def request_stop(self, _: int) -> None:
        """Nothing can be stopped by default."""

    def has_begun(self, _: int) -> bool:
        """Futures of these engines are told."""
        return False

    def post(self, fn: Callable[..., object], *args: Any) -> None:
        with self._lock:
            if self._dispatcher is None and not self._closed:
                self._dispatcher = Dispatcher("procjob-callbacks")
            dispatcher = self._dispatcher
        if dispatcher is None:
            run_logged(fn, *args)
        else:
            dispatcher.post(fn, *args)

    def close(self, *, wait: bool) -> None:
        with self._lock:
            self._closed = True
            dispatcher = self._dispatcher
        if dispatcher is not None:
            dispatcher.close()
            if wait:
                dispatcher.join()


@dataclass(frozen=True, slots=True)
class _Inline:
    """The owner of the future of an inline task."""

    callbacks: _ThreadedPost
    execution: session.Session

    def request_stop(self, _: int) -> None:
        self.execution.stop_requested = True

    def has_begun(self, _: int) -> bool:
        return False

    def post(self, fn: Callable[..., object], *args: Any) -> None:
        self.callbacks.post(fn, *args)


class _Unfinished:
    """The futures that an engine has not settled yet."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._futures: dict[Future[Any], int | None] = {}

    def add(self, future: Future[Any], thread: int | None = None) -> None:
        """Note a task; ``thread`` is the one that executes it, where that is known."""
        with self._changed:
            self._futures[future] = thread

    def remove(self, future: Future[Any]) -> None:
        """Forget a task that has been settled, its callbacks posted."""
        with self._changed:
            del self._futures[future]
            self._changed.notify_all()

    def cancel(self) -> None:
        """Cancel all that can be."""
        for future in list(self._futures):
            future.cancel()

    def wait(self) -> None:
        """Wait until all are settled, but for one that the calling thread itself executes."""
        me = threading.get_ident()
        with self._changed:
            self._changed.wait_for(lambda: all(thread == me for thread in self._futures.values()))


class InlineEngine:
    """Each task runs in the caller's thread, inside `submit`: for debuggers, coverage and pools within workers.

    Arguments are copied by pickling, as for a worker. A task cannot be interrupted; `stop_requested` tells it of a
    cancel from another thread, and a job so cancelled ends CANCELLED when the task returns.

    Args:
        initializer: called once, in this process, before the first task.
        initargs: its arguments.
    """

    capabilities = Capabilities(
        can_interrupt=False,
        can_kill=False,
        truthful_running=True,
        live_events=True,
        captures_output=False,
        survives_crash=False,
    )
    workers = 0

    def __init__(self, *, initializer: Callable[..., object] | None = None, initargs: tuple[Any, ...] = ()) -> None:
        checks.worker_settings(initializer, initargs, None, None)
        self._initialize = None if initializer is None else partial(initializer, *initargs)
        self._initialize_lock = threading.RLock()
        self._callbacks = _ThreadedPost()
        weakref.finalize(self, self._callbacks.close, wait=False).atexit = False
        self._closed = False
        self._unfinished = _Unfinished()

    def submit(self, task: Task, sink: EventSink) -> Future[Any]:
        """See `Engine.submit`; the future is final when it is returned."""
        _check_open(self._closed)
        _refuse_limits(task.limits, "the inline engine (workers=0)", retries_too=False)
        _, args, kwargs = loads(dumps_call(_copied, task.args, dict(task.kwargs)), what="the call")
        self._run_initializer()
        execution = session.Session(sink)
        future: TaskFuture[Any] = TaskFuture(_Inline(self._callbacks, execution), 0)
        future.claim()
        self._unfinished.add(future, threading.get_ident())
        sink(Accepted(time.monotonic(), future))
        future.mark_running()
        sink(Started(time.monotonic(), 0, os.getpid(), gethostname()))
        began, cpu_began = time.perf_counter(), time.process_time()
        result, exception, interrupted = None, None, False
        try:
            with capture(execution):
                result = task.fn(*args, **kwargs)
        except (KeyboardInterrupt, session.TaskInterrupt):  # for the caller, who may be a task of a worker himself
            interrupted = True
            raise
        except BaseException as exc:  # noqa: BLE001  (the task's own end, whatever it raised, is its outcome)
            exception = exc
            add_note(exc, _origin(task.describe, os.getpid(), gethostname()))
        finally:
            usage = Usage(time.perf_counter() - began, time.process_time() - cpu_began)
            sink(Finished(time.monotonic(), 1, usage))
            future.settle(result, exception, cancelled=interrupted)
            self._unfinished.remove(future)
        return future

    def _run_initializer(self) -> None:
        with self._initialize_lock:
            try:
                if self._initialize is not None:
                    self._initialize()
            except Exception as exc:
                raise WorkerDiedError(f"the initializer failed: {type(exc).__name__}: {exc}") from exc
            self._initialize = None

    def ship(self, value: object, *, label: str) -> Any:
        """Return ``value``: nothing travels."""
        return value

    def queue_position(self, future: Future[Any]) -> int | None:
        """Return None: nothing is ever queued."""
        return None

    def post(self, fn: Callable[..., object], *args: Any) -> None:
        """See `Engine.post`."""
        self._callbacks.post(fn, *args)

    def close(self, *, wait: bool = True, cancel: bool = False) -> None:
        """See `Engine.close`; what ``cancel`` finds running ends CANCELLED once it returns."""
        self._closed = True
        if cancel:
            self._unfinished.cancel()
        if wait:
            self._unfinished.wait()
        self._callbacks.close(wait=wait)


# ---------------------------------------------------------------- somebody else's executor


class ExecutorEngine:
    """Tasks run on any `concurrent.futures.Executor`, which stays its owner's to shut down.

    What it cannot do, because the executor cannot: stop a running task, keep limits, say truthfully what runs (many
    call a task running as soon as it is in a queue), deliver events before the task ends, or survive a dead worker.

    Args:
        executor: where to submit.
        workers: number of tasks it executes at once; None asks its ``_max_workers``, else takes the cores granted.
    """

    capabilities = Capabilities(
        can_interrupt=False,
        can_kill=False,
        truthful_running=False,
        live_events=False,
        captures_output=False,
        survives_crash=False,
    )

    def __init__(self, executor: Executor, *, workers: int | None = None) -> None:
        if not isinstance(executor, Executor):
            raise TypeError(f"executor must be a concurrent.futures.Executor, not {executor!r}")
        self._executor = executor
        known = getattr(executor, "_max_workers", None) or default_workers()
        self.workers = checks.whole("workers", known if workers is None else workers, lowest=1)
        self._callbacks = _ThreadedPost()
        weakref.finalize(self, self._callbacks.close, wait=False).atexit = False
        self._closed = False
        self._unfinished = _Unfinished()

    def submit(self, task: Task, sink: EventSink) -> Future[Any]:
        """See `Engine.submit`."""
        _check_open(self._closed)
        _refuse_limits(task.limits, "an executor engine", retries_too=True)
        pickled = dumps_call(task.fn, task.args, dict(task.kwargs))
        accepted = time.monotonic()  # before it can begin
        inner = self._executor.submit(_execute, pickled)
        future = _ExecutorFuture(inner, self._callbacks)
        sink(Accepted(accepted, future))
        self._unfinished.add(future)
        inner.add_done_callback(lambda _: self._finish(future, sink, task.describe))
        return future

    def _finish(self, future: _ExecutorFuture, sink: EventSink, describe: Callable[[], str] | None) -> None:
        result, usage, cancelled = None, None, future.inner.cancelled()
        exception: BaseException | None = None
        if not cancelled:
            name = named(describe)
            try:
                remote: _Remote = future.inner.result()
            except Exception as exc:  # noqa: BLE001  (the executor's own: that of the task is inside the result)
                exception = WorkerDiedError(f"the executor lost {name}: {type(exc).__name__}: {exc}")
                exception.__cause__ = exc
            else:
                for event in remote.unpack_events(time.monotonic()):
                    sink(event)
                usage = remote.usage
                result, exception = remote.unpack(describe)
        sink(Finished(time.monotonic(), int(usage is not None), usage))
        future.settle(result, exception, cancelled=cancelled)
        self._unfinished.remove(future)

    def ship(self, value: object, *, label: str) -> Any:
        """Check that ``value`` can be pickled and return it: it travels with each task."""
        dumps(value, label=label)
        return value

    def queue_position(self, future: Future[Any]) -> int | None:
        """Return None: an executor does not tell."""
        return None

    def post(self, fn: Callable[..., object], *args: Any) -> None:
        """See `Engine.post`."""
        self._callbacks.post(fn, *args)

    def close(self, *, wait: bool = True, cancel: bool = False) -> None:
        """See `Engine.close`; the executor itself is left open."""
        self._closed = True
        if cancel:
            self._unfinished.cancel()
        if wait:
            self._unfinished.wait()
        self._callbacks.close(wait=wait)


class _ExecutorFuture(TaskFuture[Any]):
    """Follows a future of somebody else's executor."""

    def __init__(self, inner: Future[Any], callbacks: _ThreadedPost) -> None:
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
        add_note(exception, _origin(describe, self.started.worker_pid, self.started.host))
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
    execution.flush()
    return _Remote(
        returned,
        value,
        started,
        events,
        time.monotonic(),
        Usage(time.perf_counter() - began, time.thread_time() - cpu_began),
    )


# ---------------------------------------------------------------- shared pieces


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


def _copied(*args: Any, **kwargs: Any) -> None:
    """Stand for the callable where only its arguments are pickled."""


def _origin(describe: Callable[[], str] | None, worker_pid: int, host: str) -> str:
    return f"procjob: raised by {named(describe)} in worker {worker_pid} on {host}"


def _check_open(closed: bool) -> None:
    if closed:
        raise RuntimeError("the engine is closed; make a new one")


def _refuse_limits(limits: Limits, engine: str, *, retries_too: bool) -> None:
    asked = {"time_limit": limits.time_limit, "memory_limit": limits.memory_limit}
    if retries_too:
        asked["retries"] = limits.retries or None
    for name, value in asked.items():
        if value is not None:
            raise JobError(
                f"{engine} cannot keep {name}={value!r}; drop it, or use worker processes (workers=1 or more)"
            )
