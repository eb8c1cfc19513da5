"""One thread that runs the user's callbacks, in the order in which they were posted.

Nothing of procjob waits for it but closing, so a callback may block, wait for other jobs or submit new ones.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

logger = logging.getLogger("procjob")


class Dispatcher:
    """Run posted calls one after the other. An exception in one is logged and harms nothing."""

    def __init__(self, name: str) -> None:
        self._queue: SimpleQueue[tuple[Callable[..., object], tuple[Any, ...]] | None] = SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=_run_all, args=(self._queue,), name=name, daemon=True)
        self._thread.start()

    def post(self, fn: Callable[..., object], *args: Any) -> None:
        """Have ``fn(*args)`` run; in the calling thread if the dispatcher has been closed."""
        if self._closed:
            run_logged(fn, *args)
        else:
            self._queue.put((fn, args))

    def close(self) -> None:
        """Let the thread end after what has been posted so far."""
        self._closed = True
        self._queue.put(None)

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended; from one of its own callbacks, return at once."""
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout)


def _run_all(queue: SimpleQueue[tuple[Callable[..., object], tuple[Any, ...]] | None]) -> None:
    closing = False
    while not (closing and queue.empty()):
        item = queue.get()
        if item is None:
            closing = True
        else:
            run_logged(item[0], *item[1])
        del item  # hold on to no object of the user while waiting


def run_logged(fn: Callable[..., object], *args: Any) -> None:
    """Call the user's code; log what it raises."""
    try:
        fn(*args)
    except BaseException:  # of a callback, even SystemExit: it must not end the thread that serves the others
        logger.exception("a callback raised: %r", fn)
