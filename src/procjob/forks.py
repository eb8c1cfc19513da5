"""Locks that a child made by fork finds free."""

from __future__ import annotations

import os
import threading

_all: list[SharedLock] = []


class SharedLock:
    """A lock for all objects of a class, for the life of the process: ``with shared.lock: ...``.

    Attributes:
        lock: a `threading.RLock`; another one in a child made by fork, where a thread that is not there may have held it. Taken
            by a plain ``with``, which calls nothing of Python's in which a signal handler or a Ctrl-C could strike.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        _all.append(self)


def _renew() -> None:
    for shared in _all:
        shared.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
