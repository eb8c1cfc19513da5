"""The pool: what any thread may ask of it, in front of the one thread that serves it.

    caller ── Inbox ──> Loop (pool thread) ──> Scheduler ──> pipes, signals ──> workers
       ^                 │   │    ^                                               │
       └── TaskFuture <──┘   │    └────── messages, output, exit descriptors ─────┘
                             ├──> Dispatcher thread: the user's callbacks
                             └──> Dispatcher thread: relayed output, which no callback may hold up

Invariants:
- What only the pool thread may touch is behind `Loop`; callers tell its inbox. `_calls` alone is shared: whoever submits
  enters a call, the loop takes it out, each in one step.
- There is a loop from the first submit on, in the process that made it. A copy of that made by fork leaves it alone.
- Here no lock is held: a signal handler may submit, cancel, close and wait wherever it interrupts a thread that does so.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, InvalidStateError
from functools import partial
from typing import Any

from procjob.events import Accepted, EventSink, Finished
from procjob.pool import checks
from procjob.pool.actions import NO_LIMITS, Limits, TaskSpec
from procjob.pool.constants import Constant
from procjob.pool.dispatcher import EXIT_PATIENCE, ended_by_ctrl_c, run_logged
from procjob.pool.environment import worker_environment
from procjob.pool.futures import SteadyFuture, TaskFuture
from procjob.pool.loop import LARGEST_AHEAD, Loop
from procjob.pool.payload import Payload
from procjob.pool.pickling import dumps_call
from procjob.pool.process import WorkerProcess
from procjob.pool.records import Call
from procjob.pool.relay import captured_level
from procjob.pool.threads import start_thread
from procjob.pool.verdicts import refusal
from procjob.pool.watching import wait_for
from procjob.pool.worker import initialize


class Pool:
    """The process pool behind `ProcessPoolExecutor` and the process engine.

    Args:
        workers: most processes that execute at the same time.
        initializer: called in each worker first.
        initargs: its arguments.
        threads_per_worker: for the numerical libraries in the workers; None shares the cores granted.
        environment: further variables for the workers.
        warmup: names of modules that each worker imports first. The workers, and a spare, start now; None: when needed.
        finish_at_exit: at interpreter exit, finish what was submitted (as concurrent.futures does) or stop it.
    """

    _loop: Loop | None = None
    #: The thread that serves the loop: the first that comes to do so, unless somebody has ended the pool without one before.
    _server: threading.Thread | None = None

    def __init__(
        self,
        workers: int,
        *,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        threads_per_worker: int | None = None,
        environment: Mapping[str, str] | None = None,
        warmup: Iterable[str] | None = None,
        finish_at_exit: bool = True,
    ) -> None:
        checks.worker_settings(initializer, initargs, threads_per_worker, environment)
        modules = checks.modules("warmup", warmup)
        self.workers = workers
        self.finish_at_exit = finish_at_exit
        words = ("initializer", "initargs")
        first = b"" if initializer is None else dumps_call(initializer, tuple(initargs), {}, words=words)
        self._initializer = dumps_call(initialize, (modules, first), {}) if modules else first
        self._environment = {**worker_environment(workers, threads_per_worker), **(environment or {})}
        captured_level()  # a wrong PROCJOB_LOG_LEVEL is told here, not by a worker
        self._ids = itertools.count(1)
        self._shut = False
        # No Event: struck by a Ctrl-C as somebody waits for it, its lock may stay taken.
        self._ended: SteadyFuture[None] = SteadyFuture()
        self._calls: dict[int, Call] = {}
        if warmup is not None:
            try:
                loop = self._served()
                loop.inbox.tell(loop.warm_up)
            except BaseException:  # nobody gets the pool
                self.close(stop_running=True)
                raise

    def _served(self) -> Loop:
        """Return the loop, and see to it that a thread serves it.

        Threads that come here at once, or a signal handler in the midst of it, may make a loop each, and start a thread
        each: the first loop stays, and the first thread serves it. Where none can be started, the next call tries again; unless
        the pool was closed meanwhile, by somebody who found no loop to end.
        """
        loop = self._loop
        if loop is None:
            made = self._made()
            loop = self.__dict__.setdefault("_loop", made)  # in one step
            if loop is not made:
                made.close()
        try:
            if not loop.begun:
                if self._shut:
                    self._leave(loop)
                start_thread("procjob-pool", self._run, loop)
                _pools.add(self)
                loop.begun = True
        except BaseException:
            if self._shut:
                self.close()
            raise
        return loop

    def _made(self) -> Loop:
        if getattr(sys, "frozen", False):  # the executable takes no -m: it would run the script, which starts workers
            raise RuntimeError(
                "an application frozen by PyInstaller or the like cannot start workers: each would be the whole application "
                "again; take workers=0, or engine=procjob.engine.ExecutorEngine(executor) with an executor of threads"
            )
        spawn = partial(WorkerProcess, self._environment, captured_level(), self._initializer)
        self._owner_pid = os.getpid()
        return Loop(self._calls, self.workers, spawn)

    def _run(self, loop: Loop) -> None:
        """The pool thread; it keeps the pool from being garbage before it has ended."""
        me = threading.current_thread()
        if self.__dict__.setdefault("_server", me) is not me:  # in one step
            return
        try:
            loop.run()
        finally:
            _pools.discard(self)
            self._has_ended()

    def submit(
        self,
        payload: Payload,
        constants: Iterable[Constant] = (),
        limits: Limits = NO_LIMITS,
        sink: EventSink | None = None,
        describe: Callable[[], str] | None = None,
        *,
        group: int | None = None,
    ) -> TaskFuture[Any]:
        """Queue a call.

        Args:
            payload: what `procjob.pool.constants.pack_call` made.
            constants: those that the call refers to.
            limits: what the task may use.
            sink: gets the task's events, in the pool thread; must not block.
            describe: names the task in error messages.
            group: see `procjob.pool.actions.TaskSpec`.

        Raises:
            RuntimeError: the pool is shut down, or belongs to another process, or the application is frozen.
            WorkerDiedError: workers of this pool cannot start.
        """
        tiny = limits.memory_limit is None and len(payload) <= LARGEST_AHEAD
        spec = TaskSpec(next(self._ids), limits, prefetch=tiny, group=group)
        future: TaskFuture[Any] = TaskFuture(self, spec.id)
        call = Call(spec, payload, tuple(constants), future, sink, describe)
        self.check_open()
        loop = self._served()
        try:
            if sink is not None:
                sink(Accepted(time.monotonic(), future))
            self._calls[spec.id] = call
            if not loop.inbox.tell(loop.submit, spec, is_task=True):  # closed since then
                del self._calls[spec.id]
                if sink is not None:
                    sink(Finished(time.monotonic(), 0))
                future.settle(cancelled=True)
        except BaseException:  # a Ctrl-C: nobody gets the future, and the loop may know nothing of it
            future.cancel()
            future.settle(cancelled=True)
            raise
        return future

    def check_open(self) -> None:
        """Raise what `submit` would raise for the state of the pool."""
        if self._foreign():
            raise RuntimeError(
                f"this pool belongs to process {self._owner_pid} and was copied by fork into {os.getpid()}; "
                "make a new one here"
            )
        if _exiting:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")
        loop = self._loop
        if self._shut or (loop is not None and loop.inbox.over):
            raise RuntimeError("cannot schedule new futures after shutdown")
        if loop is not None and loop.broken is not None:
            raise refusal(loop.broken)

    def post(self, fn: Callable[..., object], *args: Any) -> None:
        """Run a callback of the user in the dispatcher thread; in the caller's before the first submit."""
        if self._loop is None:
            run_logged(fn, *args)
        else:
            self._loop.callbacks.post(fn, *args)

    def has_begun(self, task: int) -> bool:
        """Whether a worker has begun a task and has not let go of it; safe to call from any thread."""
        call = self._calls.get(task)
        return call is not None and call.has_begun()

    def request_stop(self, task: int) -> bool:
        """Have a task stopped, and its future settled; False: nobody does that any more, or in a copy made by fork."""
        loop = self._loop
        return loop is not None and not self._foreign() and loop.inbox.tell(loop.stop, task)

    def queue_position(self, future: Future[Any]) -> int | None:
        """Return how many tasks are queued before the one of ``future``; None if it is not queued."""
        before = 0
        for call in list(self._calls.values()):
            if call.future is future:
                return before if call.future.waiting() else None
            before += call.future.waiting()
        return None

    def worker_pids(self) -> list[int]:
        """Return the pids of the processes that live now, the spare included."""
        return [] if self._loop is None else self._loop.pids()

    def close(self, *, cancel_queued: bool = False, stop_running: bool = False) -> None:
        """Accept nothing more; the workers leave when nothing is left to do. Does not wait. May be called again."""
        if self._foreign():
            return
        self._shut = True
        loop = self._loop
        if loop is not None:
            self._leave(loop, cancel_queued=cancel_queued, stop_running=stop_running)
            # Not begun by a call that this one interrupts, that was struck by a Ctrl-C, or that got no thread: it has no task,
            # but for one that comes after this was told. This, too, may be struck, or interrupted by another close.
            if not loop.begun and self.__dict__.setdefault("_server", None) is None and not self._ended.done():
                loop.end()
                self._has_ended()

    def _has_ended(self) -> None:
        with contextlib.suppress(InvalidStateError):  # somebody else has said so
            self._ended.set_result(None)

    def _leave(self, loop: Loop, *, cancel_queued: bool = False, stop_running: bool = False) -> None:
        loop.inbox.closed = True
        loop.inbox.tell(loop.leave, cancel_queued, stop_running)

    def join(self, timeout: float | None = None) -> bool:
        """Wait until a closed pool has ended: no process, no thread, every callback run. False: ``timeout`` ran out."""
        loop = self._loop
        if loop is None or self._foreign() or threading.current_thread() is self._server:
            return True
        deadline = None if timeout is None else time.monotonic() + timeout
        wait_for([self._ended], timeout)
        if not self._ended.done():
            return False
        if self._server is not None:
            self._server.join()
        for dispatcher in (loop.relays, loop.callbacks):
            dispatcher.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        return True

    def _foreign(self) -> bool:
        """Whether this is a copy made by fork, without the threads and with somebody else's workers."""
        return self._loop is not None and self._owner_pid != os.getpid()


# ---------------------------------------------------------------- interpreter exit

_pools: weakref.WeakSet[Pool] = weakref.WeakSet()
_exiting = False


def _close_all() -> None:
    """At exit: finish or stop what runs, so that the interpreter neither hangs nor leaves a process behind."""
    global _exiting  # noqa: PLW0603  (a process exits once)
    _exiting = True
    pools = [pool for pool in list(_pools) if not pool._foreign()]
    finishing = [pool for pool in pools if pool.finish_at_exit and not ended_by_ctrl_c()]
    try:
        for pool in pools:
            stop = pool not in finishing
            pool.close(cancel_queued=stop, stop_running=stop)
        wait_for([pool._ended for pool in finishing])
    finally:  # a Ctrl-C while waiting stops the rest
        for pool in pools:
            pool.close(cancel_queued=True, stop_running=True)
        deadline = time.monotonic() + EXIT_PATIENCE
        wait_for([pool._ended for pool in pools], max(0.0, deadline - time.monotonic()))


atexit.register(_close_all)
