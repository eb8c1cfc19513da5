"""Tasks in the caller's own process: the engine of every backend with ``workers=0``, or inside a worker."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from socket import gethostname
from typing import Any

from procjob.engine.protocol import Capabilities, Task
from procjob.engine.workerless import Callbacks, WorkerlessEngine, capture
from procjob.errors import WorkerDiedError
from procjob.events import EventSink, Started, Usage
from procjob.pool import checks, foreign, session
from procjob.pool.futures import TaskFuture
from procjob.pool.pickling import add_note, dumps_call, loads
from procjob.pool.verdicts import origin


class InlineEngine(WorkerlessEngine):
    """Each task runs in the caller's thread, inside `submit`: for debuggers, coverage and pools within workers.

    Arguments are copied by pickling, as for a worker. A task cannot be interrupted; `stop_requested` tells it of a
    cancel from another thread, and a job so cancelled ends CANCELLED when the task returns.

    Args:
        initializer: called in this process before the first task; if it raises, again before the next one.
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
    _name = "the inline engine (workers=0, or inside a worker)"
    _cannot_keep = ("time_limit", "memory_limit")  # retries it keeps: no worker dies here

    def __init__(self, *, initializer: Callable[..., object] | None = None, initargs: tuple[Any, ...] = ()) -> None:
        super().__init__()
        checks.worker_settings(initializer, initargs, None, None)
        self._initialize = None if initializer is None else partial(initializer, *initargs)
        self._initialize_lock = threading.RLock()

    def submit(self, task: Task, sink: EventSink) -> Future[Any]:
        """See `Engine.submit`; the future is final when it is returned."""
        self._check(task.limits)
        _, args, kwargs = loads(dumps_call(_copied, task.args, dict(task.kwargs)), what="the call")
        self._run_initializer()
        execution = session.Session(sink)
        future = _InlineFuture(execution, self._callbacks)
        future.claim()
        result, exception, usage, interrupted = None, None, None, True
        try:  # around all that follows: a Ctrl-C anywhere in it ends the job, too
            self._accept(future, sink, time.monotonic(), threading.get_ident())
            future.mark_running()
            sink(Started(time.monotonic(), 0, os.getpid(), gethostname()))
            began, cpu_began = time.perf_counter(), time.process_time()
            try:
                with capture(execution):
                    result = task.fn(*args, **kwargs)
                interrupted = False
            except (KeyboardInterrupt, session.TaskInterrupt):  # for the caller, who may be a task of a worker himself
                raise
            except BaseException as exc:  # noqa: BLE001  (the task's own end, whatever it raised, is its outcome)
                exception, interrupted = exc, False
                add_note(exc, origin(task.describe, os.getpid(), gethostname()))
            finally:
                usage = Usage(time.perf_counter() - began, time.process_time() - cpu_began)
        finally:
            self._settle(future, sink, usage, result, exception, cancelled=interrupted)
        return future

    def _run_initializer(self) -> None:
        with self._initialize_lock:
            try:
                if self._initialize is not None:
                    self._initialize()
            except Exception as exc:
                raise WorkerDiedError(f"the initializer failed: {foreign.describe(exc)}") from exc
            self._initialize = None

    def ship(self, value: object, *, label: str) -> Any:
        """Return ``value``: nothing travels."""
        return value


class _InlineFuture(TaskFuture[Any]):
    """A future whose cancel asks the task to stop."""

    def __init__(self, execution: session.Session, callbacks: Callbacks) -> None:
        super().__init__(callbacks, 0)
        self._execution = execution

    def cancel(self) -> bool:
        """Have it end CANCELLED, unless it is final."""
        try:
            return super().cancel()
        finally:  # also after a Ctrl-C in its middle
            self._execution.stop_requested = self._stop_accepted


def _copied(*args: Any, **kwargs: Any) -> None:
    """Stand for the callable where only its arguments are pickled."""
