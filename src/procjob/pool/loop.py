"""The pool thread: it turns the scheduler's actions into pipes and signals, and what comes back into events.

    inbox, channels, exit descriptors, deadlines ──> Scheduler ──> pipes and signals to workers, settled futures

It never runs a callback of the user and never blocks but in `select`, until the next thing that can happen or the next
deadline.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from socket import gethostname
from typing import Any

from procjob.errors import ProcjobError, RemoteError
from procjob.events import Event, Finished, Logged, Started
from procjob.pool import wire
from procjob.pool.actions import (
    Action,
    Assign,
    Interrupt,
    Kill,
    Measure,
    Prefetch,
    Recall,
    Retire,
    Settle,
    StartWorker,
    Stopped,
    StopReason,
    TaskSpec,
)
from procjob.pool.dispatcher import Dispatcher
from procjob.pool.inbox import Inbox
from procjob.pool.output import OutputRelay, forget
from procjob.pool.pickling import loads, unpack_exception
from procjob.pool.process import WorkerProcess, start_trackers
from procjob.pool.records import Call, LiveWorker
from procjob.pool.scheduler import Scheduler
from procjob.pool.verdicts import Death, outcome_of

logger = logging.getLogger("procjob")

#: Bytes of a call, and of all constants that some calls need, that may be sent to a worker ahead of their turn. With
#: `procjob.pool.scheduler.MOST_AHEAD` calls, the pipe still takes an interrupt.
LARGEST_AHEAD = 2048
#: Seconds after which the pool thread looks again at a deadline further away: selectors take 24 days at most.
LONGEST_SELECT = 86400.0


class Loop:
    """What only the pool thread touches, from the moment it is in `run`.

    Other threads `tell` the `inbox` commands, post to the dispatchers and look at `broken` and `pids`.

    Args:
        calls: those that are not settled. Whoever submits enters them here, the loop takes them out.
        workers: most processes that execute at the same time.
        spawn: starts one.

    Attributes:
        begun: whether a thread has been started for that.

    Raises:
        RuntimeError: no thread can be started; nothing is left behind.
        OSError: no descriptor is left; nothing is left behind.
    """

    def __init__(self, calls: dict[int, Call], workers: int, spawn: Callable[[], WorkerProcess]) -> None:
        self._calls = calls
        self._spawn = spawn
        self._host = gethostname()
        self._scheduler = Scheduler(workers)
        self._live: dict[int, LiveWorker] = {}
        self.begun = False
        with contextlib.ExitStack() as undo:
            self._selector = undo.enter_context(selectors.DefaultSelector())
            self.inbox = undo.enter_context(contextlib.closing(Inbox(self._selector)))
            self._selector.register(self.inbox.wake_fd, selectors.EVENT_READ, self.inbox.on_wake)
            self.callbacks = undo.enter_context(contextlib.closing(Dispatcher("procjob-callbacks")))
            self.relays = undo.enter_context(contextlib.closing(Dispatcher("procjob-output")))
            self._output = OutputRelay(self._selector, self.inbox, self.relays, partial(self._hear, arrived=True))
            with contextlib.suppress(OSError):  # the first worker tries again, and its failure is told
                start_trackers()  # here, where a Ctrl-C may come
            undo.pop_all()  # all is there: nothing is undone

    def close(self) -> None:
        """Release the descriptors, and let the dispatchers end. May be called again, also in the midst of it."""
        for resource in (self.relays, self.callbacks, self.inbox, self._selector):
            resource.close()

    # ------------------------------------------------------------ any thread

    @property
    def broken(self) -> Any:
        """Why no worker can be started, if so."""
        return self._scheduler.broken

    def pids(self) -> list[int]:
        """Return the pids of the processes that live now, the spare included."""
        return [live.process.pid for live in list(self._live.values())]

    # ------------------------------------------------------------ commands for the inbox

    def submit(self, spec: TaskSpec) -> list[Action]:
        """Queue a task that is in the calls."""
        return self._scheduler.submit(spec)

    def warm_up(self) -> list[Action]:
        """Start all workers and a spare."""
        return self._scheduler.warm_up()

    def stop(self, task: int) -> list[Action]:
        """Stop a task: it was cancelled."""
        return self._scheduler.stop(task, StopReason.CANCEL, time.monotonic())

    def leave(self, cancel_queued: bool, stop_running: bool) -> list[Action]:
        """Accept nothing more, and end when nothing is left to do."""
        return self._scheduler.close(time.monotonic(), cancel_queued=cancel_queued, stop_running=stop_running)

    # ------------------------------------------------------------ rounds

    def run(self) -> None:
        """Serve until the pool is closed and has neither tasks nor workers."""
        try:
            while not self._scheduler.finished:
                self._step()
        except BaseException as exc:  # a defect of ours: nobody may wait for ever because of it
            logger.critical("the pool thread failed; its jobs are lost", exc_info=True)
            self.inbox.shut()
            for live in self._live.values():
                live.process.kill()
            error = ProcjobError(f"the pool failed internally: {exc!r}; please report this with the log")
            for call in list(self._calls.values()):
                call.future.settle(exception=error)
            self.close()
        else:
            self.end()

    def end(self) -> None:
        """Let nothing more enter and release everything; what slipped in since the last worker left is settled as cancelled.

        May be called again, also in the midst of it.
        """
        try:
            self.inbox.shut()
            self.inbox.serve(self._perform)
        finally:
            self.close()

    def _step(self) -> None:
        deadline = self._scheduler.next_deadline()
        timeout = None if deadline is None else min(max(0.0, deadline - time.monotonic()), LONGEST_SELECT)
        for key, mask in self.inbox.select(timeout):
            self._perform(key.data(mask))
        self.inbox.serve(self._perform)
        if deadline is not None and time.monotonic() >= deadline:
            for live in list(self._live.values()):  # what has ended in time is not to be stopped for being read late
                self._hear(live, arrived=True)
            self._perform(self._scheduler.tick(time.monotonic()))

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

    def _assign(self, live: LiveWorker, worker: int, call: Call, action: Assign) -> list[Action]:
        if not call.future.claim():
            return self._scheduler.declined(worker, action.task, time.monotonic())
        live.take(call, action.attempt)
        kind = wire.Run if call.announced else wire.RunUnannounced
        live.process.run(kind(action.task, action.attempt, wire.joined(b"", call.payload)), call.constants)
        self._watch_writing(live)
        return []

    def _prefetch(self, live: LiveWorker, action: Prefetch) -> list[Action]:
        messages: list[wire.RunAhead] = []
        declined: list[Action] = []
        lacking = 0
        for index, (task, attempt) in enumerate(action.tasks):
            call = self._calls[task]
            if call.constants:
                lacking += live.process.lacks(call.constants)
                if lacking > LARGEST_AHEAD:
                    left = len(action.tasks) - index
                    declined += self._scheduler.kept_back(action.worker, left, time.monotonic())
                    break
            if call.future.claim():
                live.take(call, attempt)
                kind = wire.RunAhead if call.announced else wire.RunAheadUnannounced
                messages.append(kind(task, attempt, wire.joined(b"", call.payload)))
            else:
                declined += self._scheduler.declined(action.worker, task, time.monotonic())
        if messages:
            live.process.run_ahead(messages, [constant for call in live.calls for constant in call.constants])
            self._watch_writing(live)
        return declined

    def _recall(self, worker: int) -> list[Action]:
        live = self._live[worker]
        count = live.process.recall()
        live.give_back(count)
        return self._scheduler.recalled(worker, count, time.monotonic())

    # ------------------------------------------------------------ workers come and go

    def _start(self, worker: int) -> list[Action]:
        try:
            live = LiveWorker(worker, self._spawn())
        except Exception as exc:  # noqa: BLE001  (whatever kept it from starting: the scheduler tries again or refuses)
            logger.warning("a worker process could not be started: %s", exc)
            return self._scheduler.worker_gone(worker, exc, time.monotonic())
        self._live[worker] = live
        process, watch = live.process, self._selector.register
        watch(process.channel_fd, selectors.EVENT_READ, lambda mask: self._on_channel(worker, mask))
        watch(process.exit_fd, selectors.EVENT_READ, lambda _: self._on_exit(worker))
        self._output.watch(live)
        self._watch_writing(live)  # its initializer may be more than the channel takes at once
        return []

    def _on_channel(self, worker: int, mask: int) -> list[Action]:
        live = self._live.get(worker)
        if live is None:  # its exit was handled earlier in the same round
            return []
        if mask & selectors.EVENT_WRITE:
            live.process.flush()
            self._watch_writing(live)
        if mask & selectors.EVENT_READ:
            self._hear(live)
        return []

    def _hear(self, live: LiveWorker, *, arrived: bool = False) -> None:
        """Act on messages of a worker; ``arrived``: on all that have arrived by now."""
        messages, hung_up = live.process.receive(arrived=arrived)
        for message in messages:
            self._perform(self._on_message(live.id, live, message))
        if hung_up:
            # Its end is closed: it is ending, or the task closed the descriptor. Either way it is of no use.
            forget(self._selector, live.process.channel_fd)
            live.process.kill()

    def _on_message(self, worker: int, live: LiveWorker, message: wire.Message) -> list[Action]:
        now = time.monotonic()
        match message:
            case wire.Finished(task, attempt, body):
                outcome = wire.unpack_outcome(body)
                self._output.end(live, printed=outcome.printed)
                if outcome.printed:
                    live.process.send(wire.GoOn())
                    self._watch_writing(live)
                live.let_go()
                live.process.stderr_tail = ""
                return self._scheduler.finished_task(
                    worker, task, attempt, (outcome, live.process.pid), now, seconds=outcome.usage.run_seconds
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

    def _on_report(self, live: LiveWorker, body: wire.Buffer) -> None:
        try:
            event: Event = loads(body, what="an event of a task")
        except (RemoteError, MemoryError) as exc:
            logger.warning("%s", exc)
            return
        if live.call is None:
            return
        event = replace(event, time=time.monotonic())  # in the parent's time, as all events
        if live.call.sink is not None:
            live.call.sink(event)
        if isinstance(event, Logged):
            self._output.show(live.call, event)

    def _on_exit(self, worker: int) -> list[Action]:
        live = self._live[worker]
        messages, _ = live.process.receive(everything=True)  # what it said before it ended counts
        for message in messages:
            self._perform(self._on_message(worker, live, message))
        self._output.finish(live)
        for fd in (live.process.channel_fd, live.process.exit_fd):
            forget(self._selector, fd)
        call = live.call
        if call is not None and call.held is not None and not call.announced and call.has_begun():
            self._scheduler.started(worker, call.spec.id, call.held[1], time.monotonic())
        live.give_back(len(live.calls))
        exitcode = live.process.exitcode()
        live.process.close()
        del self._live[worker]
        hopeless = live.start_failure is not None
        cause: Any = live.start_failure if hopeless else Death(live.process.pid, exitcode, live.process.stderr_tail)
        return self._scheduler.worker_gone(worker, cause, time.monotonic(), hopeless=hopeless)

    def _watch_writing(self, live: LiveWorker) -> None:
        """Wait for the channel to take more exactly while something is unsent."""
        if live.writing is not live.process.unsent:
            live.writing = live.process.unsent
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if live.writing else 0)
            fd = live.process.channel_fd
            if fd in self._selector.get_map():
                self._selector.modify(fd, events, self._selector.get_key(fd).data)

    def _settle(self, call: Call, action: Settle) -> None:
        result, exception, usage = outcome_of(action.verdict, call.describe, call.spec.limits, self._host)
        if call.sink is not None:
            call.sink(Finished(time.monotonic(), action.attempts, usage))
        call.future.settle(result, exception, cancelled=exception is None and isinstance(action.verdict, Stopped))
