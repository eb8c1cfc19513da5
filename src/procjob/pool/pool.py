"""The pool: one thread that turns the scheduler's actions into pipes and signals.

    caller ── inbox + wake pipe ──> pool thread ──> Scheduler ──> pipes, signals ──> workers
       ^                                │  ^                                           │
       └──── TaskFuture <── settles ────┘  └────── messages, output, exit descriptors ─┘
                                        ├──> Dispatcher thread: the user's callbacks
                                        └──> Dispatcher thread: relayed output, which no callback may hold up

Invariants:
- Only the pool thread touches the scheduler, the workers and the selector. It never runs a callback of the user and
  never blocks but in `select`, until the next thing that can happen or the next deadline.
- Callers only append to the inbox (atomic) and then wake the thread, so a finalizer between any two of their bytecodes
  leaves nothing half-changed, and neither does a Ctrl-C (CPython answers one when a call ends, a function begins or a
  loop turns).
- After the gate is shut (`_over`) nothing enters the inbox, and what was in it has been settled.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import logging
import os
import selectors
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from contextvars import Context, copy_context
from dataclasses import dataclass, field, replace
from socket import gethostname
from typing import Any

from procjob.errors import (
    ProcjobError,
    RemoteError,
)
from procjob.events import Accepted, Event, EventSink, Finished, Logged, Started
from procjob.pool import checks, wire
from procjob.pool.constants import Constant
from procjob.pool.dispatcher import EXIT_PATIENCE, Dispatcher, ended_by_ctrl_c, run_logged
from procjob.pool.environment import worker_environment
from procjob.pool.futures import TaskFuture
from procjob.pool.pickling import dumps_call, loads, unpack_exception
from procjob.pool.process import OutputPipe, WorkerProcess, start_trackers
from procjob.pool.relay import captured_level, named, relay
from procjob.pool.scheduler import (
    SLOW,
    Action,
    Assign,
    Interrupt,
    Kill,
    Limits,
    Measure,
    Prefetch,
    Recall,
    Retire,
    Scheduler,
    Settle,
    StartWorker,
    Stopped,
    StopReason,
    TaskSpec,
)
from procjob.pool.threads import start_thread
from procjob.pool.verdicts import Death, outcome_of, refusal

logger = logging.getLogger("procjob")

#: Bytes of a worker's output that may wait for the dispatcher before its pipe is no longer read.
OUTPUT_BACKLOG = 1 << 20
#: Seconds after which the pool thread looks again at a deadline further away: selectors take 24 days at most.
LONGEST_SELECT = 86400.0
#: Bytes of a call that may be sent to a worker ahead of its turn. With `procjob.pool.scheduler.MOST_AHEAD` of them, the
#: pipe still takes an interrupt.
LARGEST_AHEAD = 2048


NO_LIMITS = Limits()


@dataclass(slots=True, eq=False)
class _Call:
    """A task as the pool thread knows it, until it is settled.

    What it prints is shown in the context that submitted it: a notebook shows it under that cell.
    """

    spec: TaskSpec
    pickled: bytes
    constants: tuple[Constant, ...]
    future: TaskFuture[Any]
    sink: EventSink | None
    describe: Callable[[], str] | None
    context: Context = field(default_factory=copy_context)
    held: tuple[WorkerProcess, int] | None = None  # by whom, and which attempt

    @property
    def unannounced(self) -> bool:
        """Whether nobody waits to be told that it has begun."""
        return self.sink is None and self.spec.limits is NO_LIMITS

    def has_begun(self) -> bool:
        """Whether the worker that holds it has begun it."""
        held = self.held
        return held is not None and held[0].has_begun(self.spec.id, held[1])


@dataclass(slots=True, eq=False)
class _Live:
    """A worker as the pool thread knows it."""

    process: WorkerProcess
    calls: deque[_Call] = field(default_factory=deque)  # the first one is its task, the others it holds ahead
    writing: bool = False
    unrelayed: int = 0
    start_failure: BaseException | None = None

    @property
    def call(self) -> _Call | None:
        """What it executes, or will execute next."""
        return self.calls[0] if self.calls else None


class Pool:
    """The process pool behind `ProcessPoolExecutor` and the process engine.

    Args:
        workers: most processes that execute at the same time.
        initializer: called in each worker first.
        initargs: its arguments.
        threads_per_worker: for the numerical libraries in the workers; None shares the cores granted.
        environment: further variables for the workers.
        finish_at_exit: at interpreter exit, finish what was submitted (as concurrent.futures does) or stop it.
    """

    def __init__(
        self,
        workers: int,
        *,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        threads_per_worker: int | None = None,
        environment: Mapping[str, str] | None = None,
        finish_at_exit: bool = True,
    ) -> None:
        checks.worker_settings(initializer, initargs, threads_per_worker, environment)
        self.workers = workers
        self.finish_at_exit = finish_at_exit
        self._initializer = b"" if initializer is None else dumps_call(initializer, tuple(initargs), {})
        self._environment = {**worker_environment(workers, threads_per_worker), **(environment or {})}
        captured_level()  # a wrong PROCJOB_LOG_LEVEL is told here, not by a worker
        self._host = gethostname()
        self._ids = itertools.count(1)
        self._gate = threading.RLock()  # re-entered by a finalizer that runs while its thread holds it
        self._shut = self._over = False
        self._ended = threading.Event()
        self._inbox: deque[tuple[Callable[..., list[Action]], tuple[Any, ...]]] = deque()
        self._asleep = False
        self._scheduler = Scheduler(workers)
        self._calls: dict[int, _Call] = {}
        self._live: dict[int, _Live] = {}
        self._owner_pid: int | None = None  # of the process that started the threads, at the first submit

    def _start_threads(self) -> None:
        self._log_level = captured_level()
        with contextlib.ExitStack() as undo:  # no thread to be had: leave nothing behind, the next submit may try again
            self._selector = selectors.DefaultSelector()
            undo.callback(self._selector.close)
            self._wake_read, self._wake_write = os.pipe()
            undo.callback(os.close, self._wake_read)
            undo.callback(os.close, self._wake_write)
            os.set_blocking(self._wake_read, False)
            os.set_blocking(self._wake_write, False)
            self._selector.register(self._wake_read, selectors.EVENT_READ, self._on_wake)
            self._dispatcher = Dispatcher("procjob-callbacks")
            undo.callback(self._dispatcher.close)
            self._relays = Dispatcher("procjob-output")
            undo.callback(self._relays.close)
            with contextlib.suppress(OSError):  # the first worker tries again, and its failure is told
                start_trackers()  # here, where a Ctrl-C may come
            self._thread = start_thread("procjob-pool", self._run)
            self._owner_pid = os.getpid()
            undo.pop_all()
        _pools.add(self)

    # ------------------------------------------------------------ any thread

    def submit(
        self,
        pickled: bytes,
        constants: Iterable[Constant] = (),
        limits: Limits = NO_LIMITS,
        sink: EventSink | None = None,
        describe: Callable[[], str] | None = None,
    ) -> TaskFuture[Any]:
        """Queue a pickled call.

        Args:
            pickled: what `procjob.pool.pickling.dumps_call` made.
            constants: those that the call refers to.
            limits: what the task may use.
            sink: gets the task's events, in the pool thread; must not block.
            describe: names the task in error messages.

        Raises:
            RuntimeError: the pool is shut down, or belongs to another process.
            WorkerDiedError: workers of this pool cannot start.
        """
        tiny = sink is None and limits is NO_LIMITS and not constants and len(pickled) <= LARGEST_AHEAD
        spec = TaskSpec(next(self._ids), limits, prefetch=tiny)
        future: TaskFuture[Any] = TaskFuture(self, spec.id)
        call = _Call(spec, pickled, tuple(constants), future, sink, describe)
        self._check_owner()  # first: in a copy made by fork, the gate may be shut for ever
        with self._gate:
            self._check_state()
            if self._owner_pid is None:
                self._start_threads()
            if sink is not None:
                sink(Accepted(time.monotonic(), future))
            self._calls[spec.id] = call
            try:
                self._put(self._scheduler.submit, spec)
            except BaseException:  # a Ctrl-C: nobody gets the future
                future.cancel()
                raise
        return future

    def check_open(self) -> None:
        """Raise what `submit` would raise for the state of the pool."""
        self._check_owner()
        self._check_state()

    def _check_owner(self) -> None:
        if self._foreign():
            raise RuntimeError(
                f"this pool belongs to process {self._owner_pid} and was copied by fork into {os.getpid()}; "
                "make a new one here"
            )

    def _check_state(self) -> None:
        if _exiting:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")
        if self._shut:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if self._scheduler.broken is not None:
            raise refusal(self._scheduler.broken)

    def post(self, fn: Callable[..., object], *args: Any) -> None:
        """Run a callback of the user in the dispatcher thread; in the caller's before the first submit."""
        if self._owner_pid is None:
            run_logged(fn, *args)
        else:
            self._dispatcher.post(fn, *args)

    def has_begun(self, task: int) -> bool:
        """Whether a worker has begun a task and has not let go of it; safe to call from any thread."""
        call = self._calls.get(task)
        return call is not None and call.has_begun()

    def request_stop(self, task: int) -> None:
        """Have a task stopped: it was cancelled."""
        self._tell(self._stop, task)

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
        return [live.process.pid for live in list(self._live.values())]

    def close(self, *, cancel_queued: bool = False, stop_running: bool = False) -> None:
        """Accept nothing more; the workers leave when nothing is left to do. Does not wait. May be called again."""
        if self._foreign():
            return
        with self._gate:
            self._shut = True
            if self._owner_pid is not None:
                self._tell(self._close, cancel_queued, stop_running)

    def join(self, timeout: float | None = None) -> bool:
        """Wait until a closed pool has ended: no process, no thread, every callback run. False: ``timeout`` ran out."""
        if self._owner_pid is None or self._foreign() or threading.current_thread() is self._thread:
            return True
        deadline = None if timeout is None else time.monotonic() + timeout
        if not self._ended.wait(timeout):
            return False
        self._thread.join()
        for dispatcher in (self._relays, self._dispatcher):
            dispatcher.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        return True

    def _foreign(self) -> bool:
        """Whether this is a copy made by fork, without the threads and with somebody else's workers."""
        return self._owner_pid is not None and self._owner_pid != os.getpid()

    def _tell(self, command: Callable[..., list[Action]], *args: Any) -> None:
        """Have the pool thread carry out the actions of ``command(*args)``."""
        with self._gate:
            if not self._over:
                self._put(command, *args)

    def _put(self, command: Callable[..., list[Action]], *args: Any) -> None:
        """Append to the inbox and wake the pool thread, unless it is awake and will look."""
        try:
            self._inbox.append((command, args))
        finally:  # also if a Ctrl-C strikes when `append` returns; until the write, nothing is called that it could strike
            if self._asleep:
                try:  # noqa: SIM105  (suppress() is a call, where a Ctrl-C could strike)
                    os.write(self._wake_write, b"\0")
                except BlockingIOError:
                    pass  # full: it is awake as soon as it looks

    # ------------------------------------------------------------ the pool thread

    def _run(self) -> None:
        try:
            while not self._scheduler.finished:
                self._step()
        except BaseException as exc:  # a defect of ours: nobody may wait for ever because of it
            logger.critical("the pool thread failed; its jobs are lost", exc_info=True)
            self._abandon(exc)
        finally:
            self._end()

    def _step(self) -> None:
        self._asleep = True
        deadline = self._scheduler.next_deadline()
        timeout = None if deadline is None else min(max(0.0, deadline - time.monotonic()), LONGEST_SELECT)
        ready = self._selector.select(0 if self._inbox else timeout)
        self._asleep = False
        for key, mask in ready:
            self._perform(key.data(mask))
        self._empty_inbox()
        if deadline is not None and (now := time.monotonic()) >= deadline:
            self._perform(self._scheduler.tick(now))

    def _empty_inbox(self) -> None:
        for _ in range(len(self._inbox)):
            command, args = self._inbox.popleft()
            self._perform(command(*args))

    def _perform(self, actions: list[Action]) -> None:
        """Carry actions out in order.

        Some are events in turn; what these ask for is put at the end, so that a worker is started before it is killed.
        """
        for action in actions:
            match action:
                case Assign(worker, task, _):
                    actions += self._assign(self._live[worker], worker, self._calls[task], action)
                case Prefetch():
                    actions += self._prefetch(self._live[action.worker], action)
                case Recall(worker):
                    actions += self._recall(worker)
                case Settle():
                    self._settle(self._calls[action.task], action)
                    del self._calls[action.task]
                case StartWorker(worker):
                    actions += self._start(worker)
                case Interrupt(worker, task, attempt):
                    self._live[worker].process.interrupt(task, attempt)
                    self._watch_writing(self._live[worker])
                case Kill(worker):
                    if worker in self._live:
                        self._live[worker].process.kill()
                case Retire(worker):
                    self._live[worker].process.send(wire.Leave())
                    self._watch_writing(self._live[worker])
                case Measure(worker):
                    rss = self._live[worker].process.tree_rss()
                    actions += self._scheduler.measured(worker, rss, time.monotonic())

    def _stop(self, task: int) -> list[Action]:
        return self._scheduler.stop(task, StopReason.CANCEL, time.monotonic())

    def _close(self, cancel_queued: bool, stop_running: bool) -> list[Action]:
        return self._scheduler.close(time.monotonic(), cancel_queued=cancel_queued, stop_running=stop_running)

    def _assign(self, live: _Live, worker: int, call: _Call, action: Assign) -> list[Action]:
        if not call.future.claim():
            return self._scheduler.declined(worker, action.task, time.monotonic())
        live.calls.append(call)
        call.held = live.process, action.attempt
        kind = wire.RunUnannounced if call.unannounced else wire.Run
        live.process.run(kind(action.task, action.attempt, call.pickled), call.constants)
        self._watch_writing(live)
        return []

    def _prefetch(self, live: _Live, action: Prefetch) -> list[Action]:
        messages: list[wire.RunAhead] = []
        declined: list[Action] = []
        for task, attempt in action.tasks:
            call = self._calls[task]
            if call.future.claim():
                live.calls.append(call)
                call.held = live.process, attempt
                messages.append(wire.RunAhead(task, attempt, call.pickled))
            else:
                declined += self._scheduler.declined(action.worker, task, time.monotonic())
        if messages:
            live.process.run_ahead(messages)
            self._watch_writing(live)
        return declined

    def _recall(self, worker: int) -> list[Action]:
        live = self._live[worker]
        count = live.process.recall()
        for _ in range(count):
            live.calls.pop().held = None
        return self._scheduler.recalled(worker, count, time.monotonic())

    # ------------------------------------------------------------ workers come and go

    def _start(self, worker: int) -> list[Action]:
        try:
            live = _Live(WorkerProcess(self._environment, self._log_level, self._initializer))
        except Exception as exc:  # noqa: BLE001  (whatever kept it from starting: the scheduler tries again or refuses)
            logger.warning("a worker process could not be started: %s", exc)
            return self._scheduler.worker_gone(worker, exc, time.monotonic())
        self._live[worker] = live
        process, watch = live.process, self._selector.register
        watch(process.channel_fd, selectors.EVENT_READ, lambda mask: self._on_channel(worker, mask))
        watch(process.exit_fd, selectors.EVENT_READ, lambda _: self._on_exit(worker))
        for output in process.outputs:
            watch(output.fd, selectors.EVENT_READ, self._output_reader(worker, output))
        return []

    def _on_channel(self, worker: int, mask: int) -> list[Action]:
        live = self._live.get(worker)
        if live is None:  # its exit was handled earlier in the same round
            return []
        if mask & selectors.EVENT_WRITE:
            live.process.flush()
            self._watch_writing(live)
        if not mask & selectors.EVENT_READ:
            return []
        messages, hung_up = live.process.receive()
        for message in messages:
            self._perform(self._on_message(worker, live, message))
        if hung_up:
            # Its end is closed: it is ending, or the task closed the descriptor. Either way it is of no use.
            self._forget(live.process.channel_fd)
            live.process.kill()
        return []

    def _on_message(self, worker: int, live: _Live, message: wire.Message) -> list[Action]:
        now = time.monotonic()
        match message:
            case wire.Finished(task, attempt, body):
                outcome = wire.unpack_outcome(body)
                for output in live.process.outputs if outcome.printed else ():
                    self._read_output(worker, output)
                if live.call is not None:
                    live.calls.popleft().held = None
                # Once a later one has begun, the tail may hold its last words: they can be read before this message.
                if live.process.stderr_tail and not any(call.has_begun() for call in live.calls):
                    live.process.stderr_tail = ""
                self._scheduler.started(worker, task, attempt, now)  # if it was not announced
                # One that prints counts as slow: with the next one held ahead, their output could not be told apart.
                seconds = SLOW if outcome.printed else outcome.usage.run_seconds
                return self._scheduler.finished_task(
                    worker, task, attempt, (outcome, live.process.pid), now, seconds=seconds
                )
            case wire.Started(task, attempt):
                if live.call is not None and self._scheduler.started(worker, task, attempt, now):
                    live.call.future.mark_running()  # before it is told, so that who is told finds it so
                    if live.call.sink is not None:
                        live.call.sink(Started(now, attempt, live.process.pid, self._host))
            case wire.Returned():
                self._scheduler.returned(worker)
            case wire.Report(_, _, body):
                self._on_report(live, body)
            case wire.Ready():
                return self._scheduler.worker_ready(worker, now)
            case wire.StartFailed(body):
                live.start_failure = unpack_exception(bytes(body))
        return []

    def _on_report(self, live: _Live, body: wire.Buffer) -> None:
        try:
            event: Event = loads(body, what="an event of a task")
        except (RemoteError, MemoryError) as exc:
            logger.warning("%s", exc)
            return
        if live.call is not None:
            self._emit(live.call, replace(event, time=time.monotonic()))  # in the parent's time, as all events

    def _on_exit(self, worker: int) -> list[Action]:
        live = self._live[worker]
        messages, _ = live.process.receive(everything=True)  # what it said before it ended counts
        for message in messages:
            self._perform(self._on_message(worker, live, message))
        for output in live.process.outputs:
            while self._read_output(worker, output):
                pass
        for fd in (live.process.channel_fd, live.process.exit_fd, *(o.fd for o in live.process.outputs)):
            self._forget(fd)
        call = live.call
        if call is not None and call.held is not None and call.unannounced and call.has_begun():
            self._scheduler.started(worker, call.spec.id, call.held[1], time.monotonic())
        while live.calls:
            live.calls.pop().held = None
        exitcode = live.process.exitcode()
        live.process.close()
        del self._live[worker]
        hopeless = live.start_failure is not None
        cause: Any = live.start_failure if hopeless else Death(live.process.pid, exitcode, live.process.stderr_tail)
        return self._scheduler.worker_gone(worker, cause, time.monotonic(), hopeless=hopeless)

    def _watch_writing(self, live: _Live) -> None:
        """Wait for the channel to take more exactly while something is unsent."""
        if live.writing is not live.process.unsent:
            live.writing = live.process.unsent
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if live.writing else 0)
            fd = live.process.channel_fd
            if fd in self._selector.get_map():
                self._selector.modify(fd, events, self._selector.get_key(fd).data)

    def _forget(self, fd: int) -> None:
        if fd in self._selector.get_map():
            self._selector.unregister(fd)

    # ------------------------------------------------------------ output and events

    def _output_reader(self, worker: int, output: OutputPipe) -> Callable[[int], list[Action]]:
        def read(_: int) -> list[Action]:
            if worker in self._live:
                self._read_output(worker, output)
            return []

        return read

    def _read_output(self, worker: int, output: OutputPipe) -> bool:
        """Pass on what a worker has written; whether there may be more."""
        live = self._live[worker]
        text = output.read()
        if text is None:
            self._forget(output.fd)
        if not text:
            return False
        if output.name == "stderr":
            live.process.note_stderr(text)
        event = Logged(time.monotonic(), "stderr" if output.name == "stderr" else "stdout", text)
        live.unrelayed += len(text)
        if live.unrelayed > OUTPUT_BACKLOG:
            self._forget(output.fd)  # the pipe fills and the worker waits, until the dispatcher has caught up
        if live.call is not None and live.call.sink is not None:
            live.call.sink(event)
        self._relays.post(self._relay_output, worker, event, live.call)
        return True

    def _relay_output(self, worker: int, event: Logged, call: _Call | None) -> None:
        """Show a text, then let the pool thread read on."""
        try:
            if call is None:
                relay(event)
            else:
                call.context.run(relay, event)
        finally:
            self._tell(self._output_relayed, worker, len(event.text))

    def _output_relayed(self, worker: int, size: int) -> list[Action]:
        live = self._live.get(worker)
        if live is not None:
            live.unrelayed -= size
            for paused in live.process.outputs if live.unrelayed <= OUTPUT_BACKLOG // 2 else ():
                if paused.fd not in self._selector.get_map() and not paused.ended:
                    self._selector.register(paused.fd, selectors.EVENT_READ, self._output_reader(worker, paused))
        return []

    def _emit(self, call: _Call, event: Event) -> None:
        if call.sink is not None:
            call.sink(event)
        if isinstance(event, Logged):
            self._relays.post(call.context.run, relay, event, call.describe)

    # ------------------------------------------------------------ ends of tasks

    def _settle(self, call: _Call, action: Settle) -> None:
        result, exception, usage = outcome_of(action.verdict, named(call.describe), call.spec.limits, self._host)
        if call.sink is not None:
            call.sink(Finished(time.monotonic(), action.attempts, usage))
        call.future.settle(result, exception, cancelled=exception is None and isinstance(action.verdict, Stopped))

    # ------------------------------------------------------------ the end of the pool

    def _abandon(self, exc: BaseException) -> None:
        with self._gate:
            self._shut = self._over = True
            self._inbox.clear()
        for live in self._live.values():
            live.process.kill()
        error = ProcjobError(f"the pool failed internally: {exc!r}; please report this with the log")
        for call in list(self._calls.values()):
            call.future.settle(exception=error)

    def _end(self) -> None:
        with self._gate:
            self._shut = self._over = True
        while self._inbox:  # what slipped in while the last worker left is settled as cancelled
            self._empty_inbox()
        self._selector.close()
        os.close(self._wake_read)
        os.close(self._wake_write)
        _pools.discard(self)
        self._relays.close()
        self._dispatcher.close()
        self._ended.set()

    def _on_wake(self, _: int) -> list[Action]:
        os.read(self._wake_read, 4096)
        return []


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
        for pool in finishing:
            pool._ended.wait()
    finally:  # a Ctrl-C while waiting stops the rest
        for pool in pools:
            pool.close(cancel_queued=True, stop_running=True)
        deadline = time.monotonic() + EXIT_PATIENCE
        for pool in pools:
            pool._ended.wait(max(0.0, deadline - time.monotonic()))


atexit.register(_close_all)
