"""One thread that runs what is posted to it, in order.

Each pool has one for the user's callbacks. Nothing of procjob waits for it but closing, so a callback may block, wait
for other jobs or submit new ones. Another one shows output of the tasks.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from procjob.pool.threads import start_thread

logger = logging.getLogger("procjob")

_Call = tuple[Callable[..., object], tuple[Any, ...]]

#: Seconds that interpreter exit waits for callbacks that have been posted but not run.
EXIT_PATIENCE = 10.0
#: The same after a Ctrl-C.
CTRL_C_PATIENCE = 1.0

_open: weakref.WeakSet[Dispatcher] = weakref.WeakSet()
_threads: set[threading.Thread] = set()
#: Which thread waits for the end of which other.
_joins: dict[threading.Thread, threading.Thread] = {}


class Dispatcher:
    """Run posted calls one after the other. An exception in one is logged and harms nothing."""

    def __init__(self, name: str) -> None:
        self._inbox = _Inbox()
        # So that the thread ends even if a Ctrl-C strikes when it has begun and nobody has the dispatcher yet.
        weakref.finalize(self, self._inbox.queue.put, None).atexit = False
        self._thread = start_thread(name, self._inbox.serve)
        _open.add(self)

    def post(self, fn: Callable[..., object], *args: Any) -> None:
        """Have ``fn(*args)`` run; in the calling thread if the dispatcher has ended."""
        self._inbox.queue.put((fn, args))
        if self._inbox.ended:
            self._inbox.run_left()

    def close(self) -> None:
        """Let the thread end after what has been posted so far."""
        self._inbox.queue.put(None)

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended; return at once from one of its own callbacks, or where one of these waits for the caller's end."""
        me = threading.current_thread()
        _joins[me] = ahead = self._thread  # first: of two that join each other, one or both see the other do so
        try:
            while ahead is not me and ahead in _joins:
                ahead = _joins.get(ahead, ahead)
            if ahead is not me:
                self._thread.join(timeout)
        finally:
            _joins.pop(me, None)


class _Inbox:
    """What the thread holds: not the dispatcher, which may be garbage before the thread has ended.

    No call is lost at the end: it is queued before `ended` is read, and `ended` is set before the queue is emptied for
    the last time, so either the thread runs it or whoever posted it does.
    """

    def __init__(self) -> None:
        self.queue: SimpleQueue[_Call | None] = SimpleQueue()
        self.ended = False

    def serve(self) -> None:
        _threads.add(threading.current_thread())
        while (call := self.queue.get()) is not None:
            run_logged(call[0], *call[1])
            del call  # hold on to no object of the user while waiting
        self.ended = True
        self.run_left()
        _threads.discard(threading.current_thread())

    def run_left(self) -> None:
        while True:
            try:
                call = self.queue.get_nowait()
            except Empty:
                return
            if call is not None:
                run_logged(call[0], *call[1])


def run_logged(fn: Callable[..., object], *args: Any) -> None:
    """Call the user's code; log what it raises."""
    try:
        fn(*args)
    except BaseException:  # of a callback, even SystemExit: it must not end the thread that serves the others
        logger.exception("a callback raised: %r", fn)


def ended_by_ctrl_c() -> bool:
    """Whether the interpreter exits because of a KeyboardInterrupt that nobody has caught."""
    return isinstance(getattr(sys, "last_value", None), KeyboardInterrupt)


def _finish_all() -> None:
    """At exit: run what has been posted. Registered before the pools' own exit, so it comes after it."""
    deadline = time.monotonic() + (CTRL_C_PATIENCE if ended_by_ctrl_c() else EXIT_PATIENCE)
    for dispatcher in list(_open):
        dispatcher.close()
    for thread in list(_threads):
        thread.join(max(0.0, deadline - time.monotonic()))


def _after_fork() -> None:
    """In a copy of the process: what is posted there runs in the calling thread; what was posted before is its parent's."""
    for dispatcher in list(_open):
        dispatcher._inbox = _Inbox()
        dispatcher._inbox.ended = True
    _threads.clear()


atexit.register(_finish_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
