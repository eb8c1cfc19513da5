"""The thread that runs a sweep: it hands chunks to an engine, gathers what comes back, and keeps it in the store.

    Supply ──> Engine.submit ──> workers ──> chunk futures ──> inbox ──> Gathered, Store, progress

It stands where a job expects an engine: `submit` starts it and returns the one future of the sweep.

Invariants:
- Only this thread cuts and sizes chunks and writes points to the store. It blocks on its inbox, and for moments on the thread that
  draws points from an iterator (`procjob.sweeps.points.Reader`).
- Nothing of the sweep executes once its future is final, and what has been gathered until then is in the store.
- At most `AHEAD` chunks a worker are out, so a sweep of any length costs the memory of its results only.
"""

from __future__ import annotations

import atexit
import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from queue import SimpleQueue
from typing import Any, Protocol

import numpy as np

from procjob.engine import Engine, Task
from procjob.engine.protocol import Capabilities
from procjob.engine.workerless import Callbacks
from procjob.errors import JobError, NotPicklableError, StoreError
from procjob.events import Accepted, Event, EventSink, Finished, Logged, Progressed, Started, Usage
from procjob.pool.actions import Limits
from procjob.pool.dispatcher import CTRL_C_PATIENCE, EXIT_PATIENCE, ended_by_ctrl_c
from procjob.pool.futures import TaskFuture
from procjob.pool.pickling import add_note, dumps, loads, pack_exception
from procjob.pool.threads import start_thread
from procjob.pool.watching import watch
from procjob.progress import Bar
from procjob.sweeps.chunks import Chunk, Sizer, Supply
from procjob.sweeps.columns import Column
from procjob.sweeps.gathered import Gathered
from procjob.sweeps.points import Points, Positions, Stream
from procjob.sweeps.result import FAILED, PENDING, SweepResult
from procjob.sweeps.targets import Indivisible, Outcome, Target

#: Chunks that each worker has or will have next.
AHEAD = 2
#: Points of a chunk whose worker died that are run one by one; a larger chunk is halved.
ALONE = 64


#: In the inbox: an iterator has given points.
_MORE: Future[Any] = Future()

#: What runs sweeps now, and in which thread; changed in single steps.
_running: dict[Runner, threading.Thread] = {}


class Keeper(Protocol):
    """Where results are kept from one run of a sweep to the next."""

    def begin(self) -> int:
        """The sweep begins; return its seed: of those that draw one at the same time all have that of the first."""

    def sift(self, chunk: Chunk) -> Chunk:
        """Hand what is kept already to whoever gathers; return the rest, with keys."""

    def keep(self, chunk: Chunk, columns: Mapping[str, Column], outcome: Outcome, attempts: int) -> None:
        """Keep what came of a chunk."""

    def end(self, status: str, points: Points, error: BaseException | None) -> None:
        """The sweep has ended, by ``error`` if there is one."""

    def close(self) -> None:
        """Let go of the file, if it was opened for this sweep."""


@dataclass(frozen=True, slots=True)
class Setting:
    """How a sweep runs.

    Attributes:
        target: what runs.
        points: at which it runs.
        seed: of the sweep.
        stop_at_error: the first point that fails ends the sweep.
        limits: of each point.
        own_engine: the engine ends with the sweep.
    """

    target: Target
    points: Points | Stream
    seed: int
    stop_at_error: bool
    limits: Limits
    own_engine: bool


@dataclass(slots=True)
class _Sent:
    """A chunk that an engine has."""

    chunk: Chunk
    attempts: int = 1
    seconds: float = 0.0


class Runner:
    """What a `procjob.sweeps.Sweep` is executed by, in the place of an engine.

    Args:
        setting: of the sweep.
        engine: what executes its chunks.
        gathered: takes its results.
        keeper: keeps them, too.
        bar: makes a progress bar, if one is wanted.
        finish: makes the result.
    """

    capabilities = Capabilities(*[True] * 6)

    def __init__(
        self,
        setting: Setting,
        engine: Engine,
        gathered: Gathered,
        *,
        keeper: Keeper | None,
        bar: Callable[[], Bar | None],
        finish: Callable[[], SweepResult],
    ) -> None:
        self.workers = engine.workers
        self._setting = setting
        self._engine = engine
        self._gathered = gathered
        self._keeper = keeper
        self._make_bar = bar
        self._finish = finish
        self._total = None if isinstance(setting.points, Stream) else len(setting.points)
        self._by_position = isinstance(setting.points, Points) and setting.points.is_compact()
        self._inbox: SimpleQueue[Future[Any] | None] = SimpleQueue()
        # Without workers the caller waits for points.
        wake = partial(self._inbox.put, _MORE) if engine.workers else None
        self._supply = Supply(setting.points, gathered.read, None if keeper is None else keeper.sift, wake)
        single = setting.limits.time_limit is not None
        self._sizer = Sizer(max(1, engine.workers), single=single, first=setting.target.first, total=self._total)
        self._callbacks = Callbacks()
        self._out: dict[Future[Any], _Sent] = {}
        self._stopping = False
        self._engine_gone = False
        self._begun = False
        self._failure: BaseException | None = None
        self._keeper_failed = False
        self._started: float | None = None  # when the first point began; None: the store had them all
        self._cpu_seconds, self._peak_rss = 0.0, 0
        self._sink: EventSink = _ignore
        self._future: TaskFuture[Any] | None = None
        self._driver: dict[str, int] = {}  # the thread that took it on

    # ------------------------------------------------------------ the engine of a job

    def submit(self, task: Task, sink: EventSink) -> Future[Any]:
        """Start; the task says nothing, since the setting says all."""
        future: TaskFuture[Any] = TaskFuture(self, 0)
        self._future = future
        self._driver = {}
        try:
            if self._keeper is not None:
                self._setting = replace(self._setting, seed=self._keeper.begin())
            future.claim()
            self._sink = sink
            sink(Accepted(time.monotonic(), future))
            if self._engine.workers:
                start_thread("procjob-sweep", self._drive)
            else:
                self._drive()  # in the caller, as each job of such an engine
        except StoreError:  # it has not begun
            raise
        except BaseException:  # a Ctrl-C: nobody may wait for it, or find it in the store, as for one that runs
            self.request_stop(0)
            self._drive()
            raise
        return future

    def ship(self, value: object, *, label: str) -> Any:
        """Return ``value``: nothing travels."""
        return value

    def queue_position(self, future: Future[Any]) -> int | None:
        """Return None: a sweep does not queue as a whole."""
        return None

    def post(self, fn: Callable[..., object], *args: Any) -> None:
        """See `Engine.post`."""
        self._callbacks.post(fn, *args)

    def close(self, *, wait: bool = True, cancel: bool = False) -> None:
        """Say nothing: it ends by itself."""

    def has_begun(self, _: int) -> bool:
        """Return False: the future is told."""
        return False

    def request_stop(self, _: int) -> bool:
        """End the sweep: it was cancelled."""
        self._stopping = True
        self._inbox.put(None)
        return True

    # ------------------------------------------------------------ its own thread

    def _drive(self) -> None:
        assert self._future is not None
        here = threading.get_ident()
        if self._driver.setdefault("thread", here) != here or self._future.done():
            return
        _running[self] = threading.current_thread()
        result, bar = None, None
        try:
            bar = self._make_bar()
            self._run(bar)
        except BaseException as exc:  # noqa: BLE001  (a lazy iterable of the user's, a store that is full: the sweep's own end)
            self._failure = exc
        finally:
            try:
                result = self._end(bar)
            except BaseException as exc:  # noqa: BLE001
                self._failure = self._failure or exc
            now, usage = time.monotonic(), None
            if self._started is not None:
                usage = Usage(now - self._started, self._cpu_seconds, self._peak_rss)
            self._sink(Finished(now, int(usage is not None), usage))
            self._future.settle(result, self._failure, cancelled=self._stopping or self._engine_gone)
            self._callbacks.close(wait=False)
            _running.pop(self, None)
        if isinstance(self._failure, KeyboardInterrupt) and not self._engine.workers:
            raise self._failure

    def _run(self, bar: Bar | None) -> None:
        setting = self._setting
        shared = self._engine.ship((setting.target, setting.points if self._by_position else None), label="target")
        limit = AHEAD * max(1, self._engine.workers)
        while True:
            while len(self._out) < limit and not self._ending():
                chunk = self._supply.take(self._sizer.size(self._supply.left))
                self._show(bar)
                if chunk is None or self._supply.waiting:
                    break
                if len(chunk):
                    self._send(shared, chunk)
            if not self._out and not self._supply.waiting:
                if self._supply.failure is not None and not self._ending():
                    raise self._supply.failure
                return
            if (ended := self._inbox.get()) is None:
                return
            if ended is not _MORE:
                self._receive(ended)
            self._show(bar)
            if self._ending():
                return

    def _ending(self) -> bool:
        return self._stopping or self._engine_gone or self._failure is not None

    def _send(self, shared: Any, chunk: Chunk) -> None:
        setting, limits = self._setting, self._setting.limits
        if len(chunk) > 1:
            limits = Limits(grace=limits.grace)  # if its worker dies, its points are run again one by one
        task = Task(
            run_chunk,
            (shared, *self._where(chunk), setting.seed, setting.stop_at_error),
            limits=limits,
            describe=partial(_describe, setting.target.name, chunk.positions),
        )
        sent = _Sent(chunk)
        try:
            future = self._engine.submit(task, partial(self._on_event, sent))
        except RuntimeError as exc:
            if type(exc) is not RuntimeError or not self._begun:
                raise
            self._engine_gone = True  # it was closed meanwhile
            return
        self._begun = True
        self._out[future] = sent
        watch(future, self._inbox.put)

    def _where(self, chunk: Chunk) -> tuple[tuple[int, int] | Positions | None, Mapping[str, Column] | None]:
        """Return what tells a worker the values of a chunk: the positions, if it has the axes, else the values."""
        if chunk.columns is not None:
            return None, chunk.columns
        first, count = int(chunk.positions[0]), len(chunk)
        contiguous = int(chunk.positions[-1]) - first + 1 == count
        if self._by_position:
            return (first, count) if contiguous else chunk.positions, None
        points = self._setting.points
        assert isinstance(points, Points)
        return None, points.columns(first, first + count) if contiguous else points.take(chunk.positions)

    def _receive(self, future: Future[Any]) -> None:
        sent = self._out.pop(future)
        if future.cancelled():  # not by us: the engine was closed
            self._engine_gone = True
            return
        error = future.exception()
        if error is not None:
            self._on_failure(sent, error)
            return
        outcome: Outcome = future.result()
        ran = int(np.count_nonzero(outcome.status != PENDING))
        self._sizer.took(ran, float(outcome.seconds[:ran].sum()))
        self._gather(sent, outcome)
        if ran < len(sent.chunk) and not self._ending():
            self._supply.back(sent.chunk.part(ran, len(sent.chunk)))

    def _gather(self, sent: _Sent, outcome: Outcome) -> None:
        chunk = sent.chunk
        self._gathered.add(chunk.positions, outcome)
        if outcome.errors and self._setting.stop_at_error:
            self._fail(int(chunk.positions[min(outcome.errors)]))
        self._keep(sent, outcome)

    def _keep(self, sent: _Sent, outcome: Outcome) -> None:
        chunk = sent.chunk
        if self._keeper is not None and not self._keeper_failed:
            self._keeper_failed = True  # unless it returns
            self._keeper.keep(chunk, chunk.values(self._setting.points), outcome, sent.attempts)
            self._keeper_failed = False

    def _on_failure(self, sent: _Sent, error: BaseException) -> None:
        """A task has ended without an outcome."""
        if self._ending():
            return
        if type(error) is JobError:  # the worker has imported other code, whatever the point
            self._failure = error
            return
        chunk = sent.chunk
        if len(chunk) > 1:
            if isinstance(error, Indivisible) or len(chunk) > ALONE:
                self._supply.halve(chunk)
            else:  # the worker died, or a result cannot be pickled: each point on its own
                self._supply.again(chunk)
            return
        self._gathered.fail(int(chunk.positions[0]), error, sent.seconds)
        if self._setting.stop_at_error:
            self._fail(int(chunk.positions[0]))
        failed = np.array([FAILED], dtype=np.int8)
        self._keep(sent, Outcome({}, failed, np.array([sent.seconds]), {0: pack_exception(error)}))

    def _fail(self, position: int) -> None:
        if self._failure is None:
            error = self._gathered.error(position)
            values = ", ".join(f"{name}={value!r:.50}" for name, value in self._gathered.point(position).items())
            add_note(error, f"procjob: at point {position} of the sweep of {self._setting.target.name}: {values}")
            self._failure = error

    def _end(self, bar: Bar | None) -> SweepResult | None:
        """Stop what still executes, keep what it has finished all the same, and let go of everything."""
        self._supply.close()
        for future in list(self._out):
            future.cancel()
            if future.done():  # without workers a Ctrl-C may have struck when it was taken from there
                self._inbox.put(future)
        while self._out:
            if (ended := self._inbox.get()) in self._out:
                try:
                    self._take_in(ended)
                except Exception as exc:  # noqa: BLE001  (a store that is full, say; what still executes has to be awaited)
                    self._failure = self._failure or exc
        if self._setting.own_engine:
            self._engine.close()
        self._show(bar)
        if bar is not None:
            bar.close()
        result = self._finish()
        if self._keeper is not None:
            told = None
            try:
                while told != (status := self._status()):  # it may be cancelled while that is written
                    self._keeper.end(status, result.points, self._failure)
                    told = status
            finally:
                self._keeper.close()
        return result

    def _status(self) -> str:
        """Return how it ends."""
        return "CANCELLED" if self._stopping or self._engine_gone else "DONE" if self._failure is None else "ERROR"

    def _take_in(self, future: Future[Any]) -> None:
        """As `_receive`, while ending: what was finished in time is kept, and nothing more is asked for."""
        sent = self._out.pop(future)
        if not future.cancelled() and future.exception() is None:
            self._gather(sent, future.result())

    def _on_event(self, sent: _Sent, event: Event) -> None:
        """What the engine says of a chunk, in its own thread."""
        match event:
            case Started(now):
                if self._future is not None and not self._future.running():
                    self._future.mark_running()
                    self._started = now
                    self._sink(event)
            case Logged():
                self._sink(event)
            case Finished(attempts=attempts, usage=usage):
                sent.attempts = attempts
                if usage is not None:
                    sent.seconds = usage.run_seconds
                    self._cpu_seconds += usage.cpu_seconds
                    self._peak_rss = max(self._peak_rss, usage.peak_rss)

    def _show(self, bar: Bar | None) -> None:
        gathered = self._gathered
        info = {"failed": gathered.failed, "reused": gathered.reused}
        self._sink(Progressed(time.monotonic(), gathered.done + gathered.failed, self._total, info))
        if bar is not None:
            bar.show(gathered.done + gathered.failed, initial=gathered.reused, **info)


def settings_of_workers(target: Target, limits: Limits) -> dict[str, Any]:
    """Return what workers do before their first point: that time is not the point's, whose limit may be short."""
    needed = b""
    if limits.time_limit is not None:
        with contextlib.suppress(NotPicklableError):  # submitting it says so
            needed = dumps(target)
    return {"initializer": get_ready, "initargs": (needed,)}


def get_ready(target: bytes) -> None:
    """Import what a target imports, and compare it; this module has been imported to find this function."""
    if target:
        with contextlib.suppress(Exception):  # it is the point's failure, and said there
            loads(target, what="the target").check_imported()


def run_chunk(
    shared: tuple[Target, Points | None], where: tuple[int, int] | Positions | None, columns: Mapping[str, Column] | None,
    seed: int, stop_at_error: bool,
) -> Outcome:  # fmt: skip
    """Run a chunk, in a worker."""
    target, points = shared
    target.check_imported()
    if columns is None:
        assert points is not None
        assert where is not None
        columns = points.columns(where[0], where[0] + where[1]) if isinstance(where, tuple) else points.take(where)
    return target.run(columns, seed, stop_at_error=stop_at_error)


def _describe(name: str, positions: Positions) -> str:
    first, last = int(positions[0]), int(positions[-1])
    return (
        f"point {first} of the sweep of {name}" if first == last else f"points {first} to {last} of the sweep of {name}"
    )


def _ignore(_: Event) -> None:
    """Stand for a sink before there is one."""


def _stop_all() -> None:
    """At exit: stop what runs, and let it write how it has ended. Registered after the pools' own exit, so it comes before it."""
    now, running = time.monotonic(), list(_running.items())
    for runner, _ in running:
        runner.request_stop(0)
    for runner, thread in running:
        endless = not runner._engine.capabilities.can_kill  # it may be
        patience = CTRL_C_PATIENCE if endless or ended_by_ctrl_c() else EXIT_PATIENCE
        thread.join(max(0.0, now + patience - time.monotonic()))


atexit.register(_stop_all)
