"""The pool's decisions as a pure state machine: events in, actions out, time passed in.

    submit, stop, close ──┐                     ┌──> StartWorker Assign Interrupt Kill Retire Measure
    started, finished ────┼──>  Scheduler  ─────┤    Prefetch Recall
    worker_ready/gone ────┤    (no I/O, no      └──> Settle(task, verdict): exactly once for each task
    recalled, tick ... ───┘     thread, no clock)

Invariants, each checked by a property test:
- every submitted task is settled exactly once, and nothing refers to it afterwards;
- a worker executes at most one task, and at most ``max_workers`` workers have one;
- tasks are assigned in the order of their ids, which is that of submission; a task that is run again goes to the head of the queue;
- a task that nobody began is never RUNNING, and one whose stop was accepted is never settled as completed;
- workers that fail to start are not started for ever: with none alive, the queue is refused with the cause;
- tasks that a worker holds ahead of their turn (tiny ones only, see `Prefetch`) are recalled as soon as the one before
  them takes long, is stopped or dies, so a task never waits for a particular worker, and never pays for its neighbour.

The executor calls it from its one thread and carries the actions out.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any
from weakref import WeakValueDictionary

from procjob.pool.actions import (
    Action,
    Assign,
    Completed,
    Died,
    Interrupt,
    Kill,
    Measure,
    Prefetch,
    Recall,
    Refused,
    Retire,
    Settle,
    StartWorker,
    Stopped,
    StopReason,
    TaskSpec,
    Verdict,
)
from procjob.pool.queue import TaskQueue

#: Worker starts that may fail one after the other before the pool gives up.
START_ATTEMPTS = 3
#: Times a task may lose its worker before it began without that counting as a death of its own.
FREE_RETRIES = 3
#: Seconds between two looks at the memory of a worker whose task has a ``memory_limit``.
MEASURE_EVERY = 0.05
#: Seconds after which an unanswered stop is repeated, and makes the pool start a spare worker, so that it stands ready at
#: the kill.
SPARE_AFTER = 0.05
#: Seconds that an idle worker gets to leave by itself when the pool closes.
EXIT_GRACE = 2.0
#: Tasks that a worker may hold beyond the one it executes.
MOST_AHEAD = 32
#: Seconds of work that these may amount to, at the pace of the pool's last tasks.
AHEAD_SECONDS = 0.002
#: Seconds a task from which on its exact pace makes no difference; assumed of tasks of which nothing is known.
SLOW = 1.0
#: Seconds from the last of them handed over, after which they are recalled: something took longer than expected.
RECALL_AFTER = 0.01


# ---------------------------------------------------------------- state


class Phase(Enum):
    """Of a worker. DOOMED: told to leave or killed; only its end is still awaited."""

    STARTING = auto()
    IDLE = auto()
    ASSIGNED = auto()
    RUNNING = auto()
    DOOMED = auto()


@dataclass(slots=True, eq=False, weakref_slot=True)
class _Group:
    began_at: float | None = None


@dataclass(slots=True, eq=False)
class _Task:
    spec: TaskSpec
    group: _Group | None = None
    attempt: int = 0
    deaths_before_start: int = 0
    executed: float = 0.0
    worker: _Worker | None = None
    started_at: float | None = None
    stop: Stopped | None = None


def _task(waiting: TaskSpec | _Task) -> _Task:
    """Return the record of a task in the queue: of most, there is only the specification until they are taken."""
    return waiting if type(waiting) is _Task else _Task(waiting)  # type: ignore[arg-type]  # there are only these two


@dataclass(slots=True, eq=False)
class _Worker:
    id: int
    phase: Phase = Phase.STARTING
    task: _Task | None = None
    ahead: deque[_Task] = field(default_factory=deque)
    unreturned: int = 0  # recalled tasks that it has not come across yet
    stopped_at: float | None = None
    kill_at: float | None = None
    baseline: int | None = None
    measure_at: float | None = None
    recall_at: float | None = None

    def deadlines(self) -> list[float]:
        """Every moment at which `Scheduler.tick` has something to do for this worker."""
        found = [t for t in (self.kill_at, self.measure_at, self.recall_at) if t is not None]
        if self.stopped_at is not None:
            found.append(self.stopped_at + SPARE_AFTER)
        due = self.time_is_up_at()
        if due is not None:
            found.append(due)
        return found

    def time_is_up_at(self) -> float | None:
        """When the time limit of the running task is exceeded; None if it has none, has not begun or is stopped."""
        task = self.task
        if task is None or task.stop is not None or task.started_at is None or task.spec.limits.time_limit is None:
            return None
        if task.group is not None and task.group.began_at is not None:
            return task.group.began_at + task.spec.limits.time_limit
        return task.started_at + task.spec.limits.time_limit - task.executed


@dataclass(slots=True)
class Scheduler:
    """See the module docstring. Each event method returns the actions to carry out, in order."""

    max_workers: int
    pace: float = SLOW  # seconds that a task takes; rises at once and falls slowly
    warm: bool = False  # all workers, and a spare, are to stand ready whether or not there are tasks
    closing: bool = False
    broken: Any = None
    _queue: TaskQueue[TaskSpec | _Task] = field(default_factory=TaskQueue)
    _held: dict[int, _Task] = field(default_factory=dict)
    _workers: dict[int, _Worker] = field(default_factory=dict)
    _idle: list[_Worker] = field(default_factory=list)
    _watched: dict[int, _Worker] = field(default_factory=dict)
    _groups: WeakValueDictionary[int, _Group] = field(default_factory=WeakValueDictionary)
    _last_worker: int = 0
    _busy: int = 0
    _doomed: int = 0
    _start_failures: int = 0
    _spare_wanted: bool = False
    _cancel_recalled: bool = False

    # ------------------------------------------------------------ what others may ask

    @property
    def finished(self) -> bool:
        """Whether the pool is closed: no task and no worker is left."""
        return self.closing and not (self._queue or self._held or self._workers)

    def queued(self) -> list[int]:
        """Ids of the tasks that no worker holds, in order."""
        return list(self._queue)

    def next_deadline(self) -> float | None:
        """When `tick` must be called next, in the clock of the caller; None: not before another event."""
        if not self._watched:
            return None
        return min((t for worker in self._watched.values() for t in worker.deadlines()), default=None)

    # ------------------------------------------------------------ events from the user

    def submit(self, spec: TaskSpec) -> list[Action]:
        """Queue a task; it is settled exactly once from here on."""
        if self.broken is not None:
            return [Settle(spec.id, 0, Refused(self.broken))]
        if self.closing:
            return [Settle(spec.id, 0, Stopped(StopReason.CANCEL))]
        # The tasks of a group keep it alive, so these have their records from the first moment on.
        grouped = spec.group is not None and _Task(spec, self._groups.setdefault(spec.group, _Group()))
        self._queue.add(spec.id, grouped or spec)
        return self._dispatch()

    def warm_up(self) -> list[Action]:
        """Have all workers and a spare ready from now on."""
        self.warm = not self.closing
        return self._start_workers()

    def stop(self, task_id: int, reason: StopReason, now: float, measured: int = 0) -> list[Action]:
        """Take a task off the queue, or begin the stop ladder for it. A task already settled is left alone."""
        waiting = self._queue.remove(task_id)
        if waiting is not None:
            return [Settle(task_id, _task(waiting).attempt, Stopped(reason)), *self._retire(now)]
        task = self._held.get(task_id)
        if task is None or task.stop is not None or task.worker is None:
            return []
        task.stop = Stopped(reason, measured)
        worker = task.worker
        recall: list[Action] = [Recall(worker.id)] if worker.ahead else []
        return recall if task is not worker.task else [*recall, self._interrupt(worker, task, now)]

    def close(self, now: float, *, cancel_queued: bool = False, stop_running: bool = False) -> list[Action]:
        """Accept nothing more and let the workers leave once nothing is left to do. May be called again, harder."""
        self.closing, self.warm = True, False
        actions: list[Action] = []
        if cancel_queued:
            # As with the standard executors, what has been handed over already is finished; here that is a task for
            # which a worker is being started (a spare is started for none).
            starting = sum(w.phase is Phase.STARTING for w in self._workers.values())
            kept = 0 if stop_running else min(starting, self.max_workers - self._busy)
            for task_id in list(self._queue)[kept:]:
                actions += self.stop(task_id, StopReason.CANCEL, now)
            # What is held ahead is cancelled when it comes back: what does not has been begun, and is finished.
            self._cancel_recalled = True
            actions += [Recall(worker.id) for worker in self._workers.values() if worker.ahead]
        if stop_running:
            for task_id in list(self._held):
                actions += self.stop(task_id, StopReason.CANCEL, now)
        return actions + self._retire(now)

    # ------------------------------------------------------------ events from workers

    def worker_ready(self, worker_id: int, now: float) -> list[Action]:
        """A worker has started and run its initializer."""
        worker = self._workers[worker_id]
        self._start_failures = 0
        if worker.phase is Phase.STARTING:
            self._release(worker)
        return self._dispatch() + self._retire(now)

    def started(self, worker_id: int, task_id: int, attempt: int, now: float) -> bool:
        """A worker says that it begins a task. False: it is a late word about a task it no longer holds."""
        worker = self._workers[worker_id]
        task = self._current(worker, task_id, attempt)
        if task is None or worker.phase is not Phase.ASSIGNED:
            return False
        worker.phase = Phase.RUNNING
        task.started_at = now
        if task.group is not None and task.group.began_at is None:
            task.group.began_at = now
        if task.spec.limits.time_limit is not None:
            self._watched[worker_id] = worker
        return True

    def finished_task(
        self, worker_id: int, task_id: int, attempt: int, outcome: Any, now: float, *, seconds: float = SLOW
    ) -> list[Action]:
        """A worker has let go of its task, which took it some seconds, and sent the outcome; `started` may be left out."""
        worker = self._workers[worker_id]
        task = self._current(worker, task_id, attempt)
        if task is None:
            return []
        if worker.phase is Phase.ASSIGNED:
            self.started(worker_id, task_id, attempt, now)
        self.pace = min(SLOW, max(seconds, 0.9 * self.pace + 0.1 * seconds))
        settle = self._settle(task, task.stop or Completed(outcome))
        return [*self._freed(worker, now), settle]  # the next task first: it runs while this one is settled

    def declined(self, worker_id: int, task_id: int, now: float) -> list[Action]:
        """The executor did not hand over an assigned task, because it had just been cancelled."""
        worker = self._workers[worker_id]
        task = self._held[task_id]
        settle = self._settle(task, Stopped(StopReason.CANCEL))
        if task is worker.task:
            # While some are about to be handed over ahead, no more are: the executor may keep back the last of them.
            return [settle, *self._freed(worker, now, prefetch=not worker.ahead)]
        worker.ahead.remove(task)
        worker.recall_at = worker.recall_at if worker.ahead else None
        return [settle, *self._retire(now)]

    def kept_back(self, worker_id: int, count: int, now: float) -> list[Action]:
        """The executor did not hand over the last ``count`` of the tasks that a worker was to hold ahead."""
        worker = self._workers[worker_id]
        actions: list[Action] = []
        for _ in range(min(count, len(worker.ahead))):
            actions += self._take_back(worker.ahead.pop())
            count -= 1
        worker.recall_at = worker.recall_at if worker.ahead else None
        if count and worker.task is not None:  # its end of the task before is known, but it has not gone on yet
            actions += self._take_back(worker.task)
            return actions + self._freed(worker, now)
        return actions + self._dispatch() + self._retire(now)

    def recalled(self, worker_id: int, count: int, now: float) -> list[Action]:
        """The last ``count`` tasks of a worker will not be begun there; it has taken on all the others."""
        worker = self._workers[worker_id]
        worker.unreturned += count
        worker.recall_at = None
        return self.kept_back(worker_id, count, now)

    def returned(self, worker_id: int) -> None:
        """A worker has come across a recalled task and passed over it."""
        self._workers[worker_id].unreturned -= 1

    def worker_gone(self, worker_id: int, cause: Any, now: float, *, hopeless: bool = False) -> list[Action]:
        """A worker process has ended (or could not be started; hopeless: another try would end the same way)."""
        worker = self._workers.pop(worker_id)
        self._watched.pop(worker_id, None)
        self._doomed -= worker.phase is Phase.DOOMED
        if worker.phase is Phase.IDLE:
            self._idle.remove(worker)
            self._spare_wanted = self.warm = False  # the next one might end the same way, and so on for ever
        actions: list[Action] = []
        if worker.phase is Phase.STARTING:
            actions += self._start_failed(cause, hopeless)
        while worker.ahead:
            actions += self._take_back(worker.ahead.pop())
        if worker.task is not None:
            self._busy -= 1
            actions += self._died(worker, worker.task, cause, now)
        return actions + self._dispatch() + self._retire(now)

    def measured(self, worker_id: int, rss: int, now: float) -> list[Action]:
        """The resident bytes of a worker's process tree; the first figure of a task is its baseline."""
        worker = self._workers.get(worker_id)
        if worker is None or worker.task is None or worker.task.spec.limits.memory_limit is None:
            return []
        if worker.baseline is None:
            worker.baseline = rss
        growth = rss - worker.baseline
        if growth > worker.task.spec.limits.memory_limit:
            return self.stop(worker.task.spec.id, StopReason.MEMORY_LIMIT, now, growth)
        return []

    # ------------------------------------------------------------ time

    def tick(self, now: float) -> list[Action]:
        """Do what is due: limits, kills, measurements, a spare worker."""
        actions: list[Action] = []
        for worker in list(self._watched.values()):
            actions += self._due(worker, now)
        return actions

    def _due(self, worker: _Worker, now: float) -> list[Action]:
        actions: list[Action] = []
        if worker.kill_at is not None and now >= worker.kill_at:
            if worker.ahead:  # not recalled, so begun: the stopped task has ended, and only its end is still unread
                worker.kill_at = worker.stopped_at = None
                return []
            self._doom(worker, None)
            return [Kill(worker.id), *self._dispatch()]
        if worker.stopped_at is not None and now >= worker.stopped_at + SPARE_AFTER:
            worker.stopped_at = None
            self._spare_wanted = True
            if worker.task is not None:  # asked once more: C code that calls Python may have swallowed the first
                actions.append(Interrupt(worker.id, worker.task.spec.id, worker.task.attempt))
            actions += self._dispatch()
        if worker.measure_at is not None and now >= worker.measure_at:
            worker.measure_at = now + MEASURE_EVERY
            actions.append(Measure(worker.id))
        if worker.recall_at is not None and now >= worker.recall_at:
            worker.recall_at = None
            actions.append(Recall(worker.id))
        due = worker.time_is_up_at()
        if worker.task is not None and due is not None and now >= due:
            actions += self.stop(worker.task.spec.id, StopReason.TIME_LIMIT, now)
        return actions

    # ------------------------------------------------------------ pieces

    def _current(self, worker: _Worker, task_id: int, attempt: int) -> _Task | None:
        task = worker.task
        return task if task is not None and task.spec.id == task_id and task.attempt == attempt else None

    def _settle(self, task: _Task, verdict: Verdict) -> Settle:
        del self._held[task.spec.id]
        return Settle(task.spec.id, task.attempt + (task.started_at is not None), verdict)

    def _freed(self, worker: _Worker, now: float, *, prefetch: bool = True) -> list[Action]:
        if worker.phase is Phase.DOOMED:  # the kill is on its way: what it says no longer makes it usable
            worker.task = None
            self._busy -= 1
            return self._dispatch() + self._retire(now)
        if not worker.ahead:
            self._busy -= 1
            self._release(worker)
            actions = self._dispatch()
        else:
            actions = self._advance(worker, now)
        return actions + (self._prefetch(worker, now) if prefetch else []) + self._retire(now)

    def _release(self, worker: _Worker) -> None:
        worker.phase, worker.task, worker.baseline = Phase.IDLE, None, None
        self._unwatch(worker)
        self._idle.append(worker)

    def _unwatch(self, worker: _Worker) -> None:
        worker.stopped_at = worker.kill_at = worker.measure_at = worker.recall_at = None
        self._watched.pop(worker.id, None)

    def _advance(self, worker: _Worker, now: float) -> list[Action]:
        """The worker has gone on by itself to the first of those that it held ahead."""
        recall_at = worker.recall_at
        self._unwatch(worker)
        worker.phase, worker.task = Phase.ASSIGNED, worker.ahead.popleft()
        if worker.ahead and recall_at is not None:
            worker.recall_at = recall_at
            self._watched[worker.id] = worker
        # Its stop came when the worker had already taken it on, but the parent had not heard of it.
        return [] if worker.task.stop is None else [self._interrupt(worker, worker.task, now)]

    def _interrupt(self, worker: _Worker, task: _Task, now: float) -> Action:
        worker.stopped_at, worker.kill_at, worker.measure_at = now, now + task.spec.limits.grace, None
        self._watched[worker.id] = worker
        return Interrupt(worker.id, task.spec.id, task.attempt)

    def _prefetch(self, worker: _Worker, now: float) -> list[Action]:
        """Give a worker that gets through its tasks quickly its share of the queue, if it runs out of them."""
        limit = MOST_AHEAD if self.pace * MOST_AHEAD < AHEAD_SECONDS else int(AHEAD_SECONDS / self.pace)
        if len(worker.ahead) > limit // 2 or worker.task is None or worker.task.stop or worker.unreturned:
            return []
        count = min(limit - len(worker.ahead), len(self._queue) // self.max_workers)
        taken: list[tuple[int, int]] = []
        while len(taken) < count:
            task = _task(self._queue.first())
            if not task.spec.prefetch:
                break
            self._queue.pop()
            self._held[task.spec.id] = task
            task.worker = worker
            worker.ahead.append(task)
            taken.append((task.spec.id, task.attempt))
        if not taken:  # the queue is short, or its first task is not to be held ahead
            return []
        worker.recall_at = now + RECALL_AFTER
        self._watched[worker.id] = worker
        return [Prefetch(worker.id, tuple(taken))]

    def _take_back(self, task: _Task) -> list[Action]:
        """Put a task that nobody has begun back to the head of the queue, unless its stop was accepted meanwhile."""
        stop = task.stop or (Stopped(StopReason.CANCEL) if self._cancel_recalled else None)
        if stop is not None:
            return [self._settle(task, stop)]
        self._requeue(task)
        return []

    def _requeue(self, task: _Task) -> None:
        del self._held[task.spec.id]
        task.worker = task.started_at = None
        self._queue.put_back(task.spec.id, task)

    def _doom(self, worker: _Worker, kill_at: float | None) -> None:
        self._doomed += worker.phase is not Phase.DOOMED
        worker.phase, worker.kill_at = Phase.DOOMED, kill_at
        worker.stopped_at = worker.measure_at = worker.recall_at = None
        self._watched[worker.id] = worker

    def _died(self, worker: _Worker, task: _Task, cause: Any, now: float) -> list[Action]:
        self._spare_wanted = True
        if task.stop is not None:
            return [self._settle(task, task.stop)]
        if task.started_at is not None and task.attempt < task.spec.limits.retries:
            due = worker.time_is_up_at()
            if due is not None and now >= due:
                return [self._settle(task, Stopped(StopReason.TIME_LIMIT))]
            task.attempt += 1
            task.executed += now - task.started_at
        elif task.started_at is None and task.deaths_before_start < FREE_RETRIES:
            task.deaths_before_start += 1
        else:
            return [self._settle(task, Died(cause))]
        self._requeue(task)
        return []

    def _start_failed(self, cause: Any, hopeless: bool) -> list[Action]:
        self._start_failures = START_ATTEMPTS if hopeless else self._start_failures + 1
        if self._start_failures < START_ATTEMPTS or self._alive():
            return []
        self.broken = cause
        refused = map(_task, self._queue.clear())
        return [Settle(task.spec.id, task.attempt, Refused(cause)) for task in refused]

    def _alive(self) -> int:
        return len(self._workers) - self._doomed

    def _dispatch(self) -> list[Action]:
        if self._busy == self.max_workers <= self._alive() and not (self._spare_wanted or self.warm):
            return []  # a short cut: what follows would find the same
        actions: list[Action] = []
        while self._queue and self._idle and self._busy < self.max_workers:
            actions += self._assign(self._idle.pop(), _task(self._queue.pop()))
        return actions + self._start_workers()

    def _assign(self, worker: _Worker, task: _Task) -> list[Action]:
        worker.phase, worker.task, task.worker = Phase.ASSIGNED, task, worker
        self._busy += 1
        self._held[task.spec.id] = task
        actions: list[Action] = []
        if task.spec.limits.memory_limit is not None:  # the first figure, before the task begins, is its baseline
            worker.measure_at = 0.0
            self._watched[worker.id] = worker
            actions.append(Measure(worker.id))
        actions.append(Assign(worker.id, task.spec.id, task.attempt))
        return actions

    def _start_workers(self) -> list[Action]:
        alive = self._alive()
        if self.broken is not None or (alive and self._start_failures >= START_ATTEMPTS):
            return []
        spare = (self._spare_wanted or self.warm) and not self.closing
        if not (self._queue or spare):
            return []
        wanted = (self.max_workers if self.warm else min(self.max_workers, self._busy + len(self._queue))) + spare
        return [self._start_worker() for _ in range(wanted - alive)]

    def _start_worker(self) -> Action:
        self._last_worker += 1
        self._workers[self._last_worker] = _Worker(self._last_worker)
        return StartWorker(self._last_worker)

    def _retire(self, now: float) -> list[Action]:
        """When closing and out of tasks, send every worker away; not while some may be recalled for it."""
        if not self.closing or self._queue or any(worker.recall_at is not None for worker in self._workers.values()):
            return []
        actions: list[Action] = []
        for worker in list(self._workers.values()):
            if worker.phase is Phase.IDLE:
                self._idle.remove(worker)
                self._doom(worker, now + EXIT_GRACE)
                actions.append(Retire(worker.id))
            elif worker.phase is Phase.STARTING and not self._held:
                self._doom(worker, None)
                actions.append(Kill(worker.id))
        return actions
