"""Threads that leave the signals to the main thread."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # it has no stubs
import signal
import threading
from collections.abc import Callable, Iterable
from typing import Any

#: In C: a Ctrl-C strikes before or after what it does; that of `signal` is a function of Python's around it.
set_mask: Callable[[int, Iterable[int]], set[int]] = _signal.pthread_sigmask


def start_thread(name: str, target: Callable[..., object], *args: Any) -> threading.Thread:
    """Start a daemon thread that is never given a Ctrl-C, nor the interrupt of a worker.

    The kernel may hand a signal to any thread that takes it. Python answers it in the main thread, which does not hear
    of it while it waits for a lock, unless the kernel has interrupted that very thread. The new thread is born with the
    mask of its creator, so there is no moment at which it takes them.
    """
    thread = threading.Thread(target=target, args=args, name=name, daemon=True)
    before = set_mask(signal.SIG_BLOCK, ())  # asked first, as a Ctrl-C may strike once they are blocked
    try:
        set_mask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGUSR1})
        thread.start()
    finally:
        set_mask(signal.SIG_SETMASK, before)
    return thread
