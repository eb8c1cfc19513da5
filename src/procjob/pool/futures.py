"""The future of a task: a `concurrent.futures.Future` whose cancel reaches a running task.

Two facts decide a cancel, both under the future's own lock: whether the pool has claimed the task for a worker, and
whether the future is final. Unclaimed: CANCELLED at once. Claimed: the stop is requested, and whatever the task does
from then on, the future ends CANCELLED, once the worker has let go. All callbacks run in the pool's dispatcher thread.

Who waits is told of a cancel by the pool thread, in `settle`: were it told in `cancel`, a Ctrl-C could strike before the last
one is, and a signal handler that waits for another job would keep the lock from that thread. A Ctrl-C that strikes before the
stop is requested is made up for when the task's turn comes. One between a lock and the block behind it would lock out the
pool thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, PENDING, RUNNING
from operator import attrgetter
from typing import Any, Never, Protocol, TypeVar, cast

from procjob.pool.dispatcher import run_logged
from procjob.pool.watching import wait_for

T = TypeVar("T")


class Owner(Protocol):
    """What a future needs of whatever executes its task."""

    def request_stop(self, task: int) -> bool:
        """Stop a task; called after a cancel was accepted, without any lock held. May be called again.

        Returns:
            Whether a thread of its own will settle the future.
        """

    def has_begun(self, task: int) -> bool:
        """Whether a worker has begun the task, if the future was not told; False once it has let go."""

    def post(self, fn: Callable[..., object], *args: Any) -> None:
        """Run a callback of the user elsewhere, in order."""


class SteadyCondition(threading.Condition):
    """A condition that is entered and left in C, where no Ctrl-C can strike, and that is made quickly and small.

    What `threading.Condition` copies from its lock when it is made is looked up there when it is used.
    """

    __enter__ = property(attrgetter("_lock.__enter__"))
    __exit__ = property(attrgetter("_lock.__exit__"))
    acquire = property(attrgetter("_lock.acquire"))
    release = property(attrgetter("_lock.release"))
    locked = property(attrgetter("_lock.locked"))  # locks have it from 3.14 on
    _release_save = property(attrgetter("_lock._release_save"))
    _acquire_restore = property(attrgetter("_lock._acquire_restore"))
    _is_owned = property(attrgetter("_lock._is_owned"))

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._waiters: list[Any] = []  # a deque takes 700 bytes
        self.of_future: list[Any] = []


class SteadyFuture(Future[T]):
    """A future for which a user waits and that a thread of ours settles: a Ctrl-C in the wait cannot lock that out."""

    #: So that `procjob.pool.watching.watch` need not ask for callbacks.
    tells_waiters_of_cancel = True

    def __init__(self) -> None:
        super().__init__()
        self._condition: Any = SteadyCondition()


class _MadeAtFirstUse:
    """The condition of a future: 400 bytes that a queued task does without until somebody waits or a worker takes it."""

    def __get__(self, future: TaskFuture[Any], _: type) -> SteadyCondition:
        # In one step, so that all threads get the same one; from then on it hides this descriptor.
        made: SteadyCondition = future.__dict__.setdefault("_condition", SteadyCondition())
        return made


class TaskFuture(Future[T]):
    """Future of one task of the pool.

    Args:
        owner: what executes the task.
        task: how the owner calls it.
    """

    tells_waiters_of_cancel = True

    _condition: Any = _MadeAtFirstUse()
    #: Who waits in `concurrent.futures.wait` and `as_completed`; these hold the condition when they add themselves.
    _waiters: Any = property(attrgetter("_condition.of_future"))
    # Of the base class, left out of its stubs:
    _result: T | None
    _exception: BaseException | None

    def __init__(self, owner: Owner, task: int) -> None:
        # All that the base class sets, without the condition that it would make.
        self._state = PENDING
        self._result = self._exception = None
        self._done_callbacks: tuple[Callable[[Future[T]], object], ...] = ()
        self._owner = owner
        self._task = task
        self._claimed = False
        self._stop_accepted = False

    def cancel(self) -> bool:
        """Stop the task. True: the future is or will be CANCELLED; False: it already has a result or an exception."""
        asked = False
        try:
            with self._condition:
                if self._state in (CANCELLED_AND_NOTIFIED, FINISHED):
                    return self._state != FINISHED
                asked = self._stop_accepted = True
                if not self._claimed:
                    self._state = CANCELLED  # nothing is called: here a Ctrl-C could strike, or a signal handler wait
        finally:
            if asked and not self._owner.request_stop(self._task) and self._state == CANCELLED:
                self.settle()
        return True

    def running(self) -> bool:
        """Return whether a worker has begun the task and has not let go of it yet."""
        if self._claimed and self._state == PENDING and self._owner.has_begun(self._task):
            self.mark_running()
        return super().running()

    def result(self, timeout: float | None = None) -> T:
        """As in the base class, but a signal handler may wait for other tasks wherever it interrupts the wait."""
        exception = None
        try:
            exception = self.exception(timeout)
            if exception is not None:
                raise exception
            return cast("T", self._result)
        finally:
            del exception, self  # what is raised has this frame in its traceback

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """As in the base class; see `result`."""
        try:
            if self._state in (PENDING, RUNNING):
                wait_for([self], timeout)
            state = self._state
            if state == FINISHED:
                return self._exception
            raise TimeoutError if state in (PENDING, RUNNING) else CancelledError
        finally:
            del self

    def add_done_callback(self, fn: Callable[[Future[T]], object]) -> None:
        """Call ``fn(self)`` in the dispatcher thread once the future is final, or soon if it already is."""
        with self._condition:
            if self._state not in (CANCELLED_AND_NOTIFIED, FINISHED):
                self._done_callbacks += (fn,)
                return
        self._invoke_callbacks()  # those that were added earlier come first
        self._owner.post(fn, self)

    def __reduce__(self) -> Never:
        raise TypeError("a future belongs to this process and cannot be copied or pickled; its result can")

    # ------------------------------------------------------------ the pool's side

    def waiting(self) -> bool:
        """Whether no worker has begun the task and one may still do so."""
        return self._state == PENDING and not self.running()

    def claim(self) -> bool:
        """Reserve the task for a worker, or for its next attempt, unless it has been cancelled."""
        with self._condition:
            self._claimed = not self._stop_accepted
            return self._claimed

    def mark_running(self) -> None:
        """A worker said that it began; said again by a further attempt."""
        with self._condition:
            if self._state == PENDING:
                self._state = RUNNING

    def settle(self, result: Any = None, exception: BaseException | None = None, *, cancelled: bool = False) -> None:
        """Make the future final, unless it is. An accepted stop wins over what the task ended with."""
        with self._condition:
            if self._state in (CANCELLED_AND_NOTIFIED, FINISHED):
                pass
            elif cancelled or self._stop_accepted:
                self._mark_cancelled()
                self._condition.notify_all()
                self.set_running_or_notify_cancel()
            else:  # as `set_result` and `set_exception` of the base class do, under the lock that is held already
                self._result, self._exception, self._state = result, exception, FINISHED
                for waiter in self._waiters:
                    waiter.add_exception(self) if exception is not None else waiter.add_result(self)
                if self._condition._waiters:
                    self._condition.notify_all()
        self._invoke_callbacks()

    def _mark_cancelled(self) -> None:
        # As `cancel` of the base class does for PENDING; it knows no way there from RUNNING.
        with self._condition:
            if self._state in (PENDING, RUNNING):
                self._state = CANCELLED

    def _invoke_callbacks(self) -> None:
        # Called without the lock: where the dispatcher has ended, two threads that end futures may each run the other's callbacks.
        if self._done_callbacks and self._state in (CANCELLED_AND_NOTIFIED, FINISHED):
            self._owner.post(self._call_back)

    def _call_back(self) -> None:
        # They are taken off here, in the dispatcher thread, where no Ctrl-C strikes: if one strikes whoever posts this, it is
        # posted again, and still none is lost or called twice.
        with self._condition:
            callbacks, self._done_callbacks = self._done_callbacks, ()
        for fn in callbacks:
            run_logged(fn, self)
