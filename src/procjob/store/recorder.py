"""`Recorder`: writes what happens to the jobs of one backend into a store, in a thread of its own.

    engine's thread:  event ──> Job ──> Following.on_event ──> Recorder.note       (a few microseconds)
    recorder thread:                                           Recorder.flush      (one transaction for all that is due)
    the user's:       Job.result ──> future ──> Following.wait

Invariants:
- A job whose `result` has returned is in the store: `result` waits for the record, which is written at once. The wait is
  limited, and never fails: a store that cannot be written costs a warning, and the job nothing.
- What is written is the job as it is when its turn comes, so a job of a millisecond is one record, not three.
- Records that could not be written are tried again with the next ones, as long as they are few.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import weakref
from collections.abc import Iterable
from concurrent.futures import Future
from typing import TYPE_CHECKING

from procjob.errors import StoreError
from procjob.events import Accepted, Event, Started
from procjob.pool.dispatcher import Dispatcher
from procjob.pool.futures import SteadyFuture
from procjob.pool.watching import wait_for, watch
from procjob.status import JOB_FINAL_STATES
from procjob.store.jobs import JobTable, job_row

if TYPE_CHECKING:
    from typing import Any

    from procjob.job import Job

logger = logging.getLogger("procjob")

#: Final jobs that are held to be written later, when they could not be when they were due.
_KEPT = 1_000
_FINAL = {status.name for status in JOB_FINAL_STATES}


_recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()


class Recorder:
    """Write jobs into a store.

    Args:
        table: where.
        timeout: seconds that a write may wait for other processes.
    """

    def __init__(self, table: JobTable, timeout: float) -> None:
        self.table = table
        self.timeout = timeout
        self._begin()
        _recorders.add(self)

    def _begin(self) -> None:
        """Have no job and no thread; again in a copy of the process made by fork, where a lock may be held by nobody."""
        self.failing = False
        self._lock = threading.RLock()  # nothing is called while it is held: a signal handler may wait for another job
        self._writing = threading.Lock()
        self._dispatcher: Dispatcher | None = None
        self._due: dict[Following, None] = {}
        self._flushes = 0
        self._posted = -1  # the number of a flush that has been posted
        self._open: dict[Following, None] = {}
        self._closing = False
        self._tried_last = False
        self._warned = False

    def follow(self, job: Job, inputs: str) -> Following:
        """Have a job recorded from its submission on; ``inputs`` says what it was given."""
        made = Dispatcher("procjob-store") if self._dispatcher is None else None
        with self._lock:
            self._dispatcher = self._dispatcher or made
        return Following(self, job, inputs)

    def note(self, following: Following) -> None:
        """Have a job written soon; does not block."""
        with self._lock:
            self._due[following] = None
            number = self._flushes
        if self._posted != number and self._dispatcher is not None:
            self._dispatcher.post(self.flush)
            self._posted = number  # only now: a signal handler may wait for a job that another call notes meanwhile

    def opened(self, following: Following) -> None:
        """Take note of a job that is to end, unless its end is written."""
        with self._lock:
            if not following.ended:
                self._open[following] = None

    def flush(self) -> None:
        """Write what is due; in the recorder's thread."""
        with self._writing:
            with self._lock:
                noted, self._due = self._due, {}
                self._flushes += 1
            due = ended = list(noted)
            try:
                ended = self._write([following for following in due if following.job is not None])
            finally:
                self._settle(ended)

    def wait_until_written(self, timeout: float) -> None:
        """Wait until what has happened so far is in the store, or cannot be written."""
        dispatcher = self._dispatcher
        if dispatcher is not None:
            written: Future[None] = SteadyFuture()
            dispatcher.post(written.set_result, None)
            wait_for([written], timeout)

    def close(self, *, wait: bool) -> None:
        """End the thread once every job that was accepted is final and written."""
        with self._lock:
            self._closing = True
        self._end_if_idle()
        if wait and self._dispatcher is not None:
            self.wait_until_written(2 * self.timeout)
            self._dispatcher.join(None if not self._open else 0.0)

    def _write(self, due: list[Following]) -> list[Following]:
        """Write jobs in one transaction; return those that are final now."""
        rows: list[tuple[Following, tuple[Any, ...]]] = []
        lost: list[Following] = []
        for following in due:
            try:
                rows.append((following, job_row(following.job, following.inputs)))  # type: ignore[arg-type]
            except Exception as exc:  # noqa: BLE001  (of code of the user's: it costs this record only)
                self.warn(exc)
                lost.append(following)
        ended = [following for following, row in rows if row[2] in _FINAL]
        try:
            self.table.put([(row, following.known) for following, row in rows])
        except StoreError as exc:
            self.failing = True
            self.warn(exc)
            with self._lock:
                later = ended[-_KEPT:]
                self._due = dict.fromkeys(later) | self._due
        else:
            self.failing = False
            for following, _ in rows:
                following.known = True
            for following in ended:
                following.job = None
        return ended + [following for following in lost if following.job is None or following.job.in_final_state()]

    def _settle(self, ended: Iterable[Following]) -> None:
        for following in ended:
            if not following.settled.done():
                following.settled.set_result(None)
                with self._lock:
                    following.ended = True
                    self._open.pop(following, None)
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        with self._lock:
            dispatcher = self._dispatcher
            if dispatcher is None or not self._closing or self._open:
                return
            again = self._due and not self._tried_last
            self._tried_last = True
        if again:  # what could not be written: once more, at the end
            dispatcher.post(self.flush)
        dispatcher.close()

    def warn(self, exc: Exception) -> None:
        """Say once that something could not be recorded."""
        if not self._warned:
            self._warned = True
            logger.warning("jobs go on, but are not all recorded: %s", exc)


class Following:
    """What a job tells to be recorded; its `procjob.job.Observer`.

    Attributes:
        job: the job, until its end is written.
        inputs: what it was given, in a few words.
        known: whether it is in the store already.
        settled: done once the end of the job is written, or could not be.
        ended: whether `settled` is done, to be asked with the recorder's lock held.
    """

    def __init__(self, recorder: Recorder, job: Job, inputs: str) -> None:
        self._recorder = recorder
        self._pid = os.getpid()
        self._job_id = job.job_id()
        self.job: Job | None = job
        self.inputs = inputs
        self.known = False
        self.settled: Future[None] = SteadyFuture()
        self.ended = False

    def claim(self, backend_name: str) -> None:
        """Take the id of the job, which the user has chosen.

        Raises:
            JobError: another job in the store has it.
        """
        try:
            self._recorder.table.claim(self._job_id, backend_name)
            self.known = True
        except StoreError as exc:
            self._recorder.warn(exc)

    def refused(self) -> None:
        """Take back what was taken: the engine has not accepted the job."""
        if self.known:
            with contextlib.suppress(StoreError):
                self._recorder.table.release(self._job_id)

    def on_event(self, event: Event) -> None:
        """See `procjob.job.Observer`."""
        match event:
            case Accepted(_, future):
                self._recorder.opened(self)
                self._recorder.note(self)
                watch(future, lambda _: self._recorder.note(self))
            case Started():
                self._recorder.note(self)

    def unsettled(self) -> Future[None] | None:
        """See `procjob.job.Observer`; None while the store fails, lest each job wait for it."""
        waits = not self.settled.done() and not self._recorder.failing and os.getpid() == self._pid
        return self.settled if waits else None

    def wait(self, timeout: float | None) -> None:
        """See `procjob.job.Observer`."""
        unsettled = self.unsettled()
        if unsettled is not None:
            most = 2 * self._recorder.timeout + 1.0
            wait_for([unsettled], most if timeout is None else min(timeout, most))


def _after_fork() -> None:
    for recorder in list(_recorders):
        recorder._begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
