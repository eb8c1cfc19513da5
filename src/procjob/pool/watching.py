"""Wait for futures, as `concurrent.futures.wait` does, with one lock at a time.

The functions of the standard library hold the locks of all futures at once while they look around. A Ctrl-C between two of
these locks leaves some of them held for ever, and whoever settles such a future waits for ever. Here a lock is taken and
given back in C, where no Ctrl-C strikes, for one future after the other.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ALL_COMPLETED, FIRST_EXCEPTION, Future
from concurrent.futures._base import PENDING, RUNNING
from typing import Any


class _Watcher:
    """Stands among the waiters of a future: it is called at once when that is final, before any callback."""

    def __init__(self, fn: Callable[[Future[Any]], object]) -> None:
        self.add_result = self.add_exception = self.add_cancelled = fn


class Once:
    """Calls a function when it is called first."""

    def __init__(self, fn: Callable[[Future[Any]], object]) -> None:
        self._left = [fn]

    def __call__(self, future: Future[Any]) -> None:
        """Call it, or do nothing."""
        try:
            fn = self._left.pop()
        except IndexError:
            return
        fn(future)


def watch(future: Future[Any], fn: Callable[[Future[Any]], object]) -> Callable[[], None]:
    """Have ``fn(future)`` called when a future becomes final, in the thread that makes it so, as a rule under its lock.

    Returns:
        What ends that.
    """
    inside: Any = future  # its stubs leave some of it out
    condition, waiters = inside._condition, inside._waiters
    if getattr(inside, "tells_waiters_of_cancel", False):
        tell, callbacks = fn, []
    else:  # those of the standard library tell their waiters of a cancel late or never, but their callbacks at once
        tell, callbacks = Once(fn), inside._done_callbacks
    watcher: Any = _Watcher(tell)
    with condition:  # nothing is called: a signal handler that waits there would hold up whoever settles this future
        watched = future._state in (PENDING, RUNNING)
        if watched:
            waiters += [watcher]
            callbacks += [tell]
    if not watched:
        fn(future)

    def end() -> None:
        for told, among in ((watcher, waiters), (tell, callbacks)):
            with contextlib.suppress(ValueError):  # it is gone
                there = True
                while there:
                    place = among.index(told)
                    with condition:  # nothing is called, as above
                        # The callbacks of one that is final are being called, one after the other: a removal would skip one.
                        there = among is waiters or future._state in (PENDING, RUNNING)
                        if there and among[place : place + 1] == [told]:
                            del among[place]
                            there = False

    return end


def wait_for(futures: Iterable[Future[Any]], timeout: float | None = None, return_when: str = ALL_COMPLETED) -> None:
    """Wait until futures are final, or ``timeout`` seconds have passed.

    Args:
        futures: each once.
        timeout: None: for ever.
        return_when: as for `concurrent.futures.wait`.
    """
    unfinished = set(futures)
    enough = threading.Lock()  # an Event, struck by a Ctrl-C as it takes its own lock back, raises a RuntimeError
    enough.acquire()

    def note(future: Future[Any]) -> None:
        unfinished.discard(future)
        if return_when == ALL_COMPLETED:
            ended = not unfinished
        elif return_when == FIRST_EXCEPTION:
            ended = not unfinished or (not future.cancelled() and future.exception() is not None)
        else:
            ended = True
        if ended:
            with contextlib.suppress(RuntimeError):  # it has been released before
                enough.release()

    ends = [watch(future, note) for future in list(unfinished)]
    try:
        if ends:
            enough.acquire(timeout=-1 if timeout is None else max(0.0, timeout))
    finally:
        for end in ends:
            end()
