"""One job made of several tasks: `submit_parts` runs them on any engine behind one future.

    Job.submit ──> submit_parts ──> Engine.submit, once a part
                        ^ part futures, part events
                        └── _Whole: RUNNING with the first part that begins; final when no part executes any more

Invariants:
- Nothing of the job executes once its future is final: a failed part stops the others, and their end is awaited.
- The first failure in time is the job's; a cancel wins over any, as for a single task.
- Results are joined in the order of the parts, whichever ends first.
- Locks are taken in one order: a part's future, `_Whole._lock`, the whole's future. So one part's end has the others
  stopped by a thread of its own: the dispatcher may be busy with a callback that waits for this job.
- Nothing is called under `_Whole._lock` but in the threads in which parts tell and end: a signal handler that waits for
  another job would wait for ever, as those wait for the lock.
- No event reaches the job before `Accepted`, and that comes when all parts have been accepted: a part that is refused
  (it cannot be pickled, say) leaves no trace of the others.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from procjob.engine import Engine, Task
from procjob.events import Accepted, Event, EventSink, Finished, Logged, Progressed, Started, Usage
from procjob.pool.futures import TaskFuture
from procjob.pool.threads import start_thread
from procjob.pool.watching import watch

_groups = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Parts:
    """The tasks of one job.

    Attributes:
        tasks: in the order in which their results are joined; at least one.
        join: makes the job's result from theirs. It must be quick: it runs in a thread of the engine.
    """

    tasks: Sequence[Task]
    join: Callable[[list[Any]], Any]


def submit_parts(engine: Engine, parts: Parts, sink: EventSink) -> Future[Any]:
    """Submit every part and return the future of the whole.

    Raises:
        Exception: what `Engine.submit` raised for a part; the parts before it have been cancelled.
    """
    whole, group = _Whole(engine, parts, sink), next(_groups)
    try:
        for index, task in enumerate(parts.tasks):
            engine.submit(replace(task, group=group), whole.sink_of(index))
        whole.accept()
    except BaseException:  # also a Ctrl-C: no part must run on with nobody to hold it
        whole.request_stop(0)
        whole.settle_if_done()
        raise
    return whole.future


class WholeFuture(TaskFuture[Any]):
    """The future of a job of several tasks."""

    _owner: _Whole

    def cancel(self) -> bool:
        """Stop every part; if none of them executes, the job is CANCELLED at once."""
        accepted = super().cancel()
        if accepted and all(part.done() for part in self._owner.futures()):
            self._mark_cancelled()
        return accepted

    def part_results(self) -> dict[int, Any]:
        """Return the results of the parts that have ended well so far, by their position."""
        return self._owner.results()

    def queue_position(self, engine: Engine) -> int | None:
        """Return the lowest queue position of its parts; None once one of them is no longer queued."""
        first = next(iter(self._owner.futures()), None)  # they begin in order
        return None if first is None or self.running() else engine.queue_position(first)


class _Whole:
    """What the parts report to, and the owner of the job's future."""

    def __init__(self, engine: Engine, parts: Parts, sink: EventSink) -> None:
        self.post = engine.post
        self.future = WholeFuture(self, 0)
        self.future.claim()  # its parts are: a cancel is final only when all of them have let go
        self._parts = parts
        self._sink = sink
        self._lock = threading.RLock()
        self._early: list[Event] | None = []
        self._accepted = time.monotonic()  # the first part is; it may have begun before the last one is
        self._futures: dict[int, Future[Any]] = {}
        self._left = len(parts.tasks)
        self._stopping = False
        self._ended = False
        self._failure: BaseException | None = None
        self._began: float | None = None
        self._attempts = 0
        self._usage: list[Usage | None] = []  # of the parts that have begun and ended
        self._done = 0.0  # parts that have ended well
        self._progress: dict[int, Progressed] = {}  # of the others: there may be thousands of parts
        self._salvaged: dict[int, Any] = {}

    # ------------------------------------------------------------ the owner of the future

    def has_begun(self, _: int) -> bool:
        """The future is told."""
        return False

    def request_stop(self, _: int) -> bool:
        """Stop every part; the end of the last one settles the future."""
        for future in reversed(self.futures()):  # those that wait first, or one begins where another has been stopped
            future.cancel()
        return True

    def results(self) -> dict[int, Any]:
        """Return the results of the parts that have ended well; none once they have been joined."""
        with self._lock:
            salvaged, futures = self._salvaged, {**self._futures}  # looked at without it: their locks come first
        return salvaged | _results(futures)

    def futures(self) -> list[Future[Any]]:
        """Return the futures of the parts; none once the whole is final."""
        return list(self._futures.values())

    # ------------------------------------------------------------ what parts say

    def sink_of(self, index: int) -> EventSink:
        """Return the sink for one part."""

        def sink(event: Event) -> None:
            self._on_event(index, event)

        return sink

    def accept(self) -> None:
        """All parts are accepted: tell so, and what has happened meanwhile."""
        early: list[Event] | None = [Accepted(self._accepted, self.future)]
        try:
            while early:
                for event in early:
                    self._sink(event)
                with self._lock:
                    early = self._early
                    self._early = [] if early else None  # None: from now on they are told at once
        finally:  # also after a Ctrl-C: the job is known, and the end of its parts must end it
            self._early = None
            self.settle_if_done()
            if self._left and self._failure is not None:  # the parts accepted since then have not been stopped
                self.request_stop(0)

    def _tell(self, event: Event) -> None:
        if self._early is None:
            self._sink(event)
        else:
            self._early.append(event)

    def _on_event(self, index: int, event: Event) -> None:
        if isinstance(event, Accepted):
            self._futures[index] = event.future
            watch(event.future, partial(self._on_end, index))
            return
        with self._lock:
            match event:
                case Started(now):
                    self.future.mark_running()
                    self._began = now if self._began is None else min(now, self._began)
                    self._tell(replace(event, time=self._began))
                case Progressed():
                    self._progress[index] = event
                    self._tell(self._overall(event))
                case Logged():
                    self._tell(event)
                case Finished(now, attempts, usage):
                    self._attempts = max(self._attempts, attempts)
                    if usage is not None and self._began is not None:  # with all cores busy, a begin is heard late
                        self._began = min(self._began, now - usage.run_seconds)
                    if attempts:
                        self._usage.append(usage)

    def _overall(self, event: Progressed) -> Progressed:
        done = sum((progress.fraction for progress in self._progress.values()), self._done)
        return replace(event, done=done, total=len(self._parts.tasks))

    def _on_end(self, index: int, future: Future[Any]) -> None:
        with self._lock:
            self._left -= 1
            if not future.cancelled():
                failure = future.exception()
                if self._failure is None:
                    self._failure = failure
                if failure is None:
                    self._progress.pop(index, None)
                    self._done += 1.0
                    self._tell(self._overall(Progressed(time.monotonic(), 1, 1)))
            stop = bool(self._left) and not self._stopping and (future.cancelled() or self._failure is not None)
            self._stopping |= stop
        self.settle_if_done()
        if stop:
            try:
                start_thread("procjob-stop", self.request_stop, 0)
            except RuntimeError:  # there is none to be had
                self.post(self.request_stop, 0)

    def settle_if_done(self) -> None:
        """Make the job final if its parts are, and it is accepted; by a Ctrl-C in the midst of that it is CANCELLED."""
        result, failure, cancelled, mine = None, None, True, False
        try:
            with self._lock:
                if self._left or self._early is not None or self._ended:
                    return
                mine = self._ended = True
            now = time.monotonic()
            self._sink(Finished(now, self._attempts, self._total_usage(now)))
            failure = self._failure
            stopped = failure is None and any(future.cancelled() for future in self._futures.values())
            if failure is None and not stopped:
                try:
                    result = self._parts.join([self._futures[index].result() for index in range(len(self._futures))])
                except Exception as exc:  # noqa: BLE001  (the job's own error: its parts are done)
                    failure = exc
            salvaged = _results(self._futures) if failure is not None or stopped else {}
            with self._lock:
                self._salvaged, self._futures = salvaged, {}
            cancelled = stopped
        finally:
            if mine:
                self.future.settle(result, failure, cancelled=cancelled)

    def _total_usage(self, now: float) -> Usage | None:
        known = [usage for usage in self._usage if usage is not None]
        if self._began is None or len(known) < len(self._usage):  # a worker was interrupted, or died, and did not tell
            return None
        return Usage(
            now - self._began,
            sum(usage.cpu_seconds for usage in known),
            max((usage.peak_rss for usage in known), default=0),
        )


def _results(futures: Mapping[int, Future[Any]]) -> dict[int, Any]:
    ended = {index: future for index, future in futures.items() if future.done() and not future.cancelled()}
    return {index: future.result() for index, future in ended.items() if future.exception() is None}
