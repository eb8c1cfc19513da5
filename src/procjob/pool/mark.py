"""One page of memory that a worker shares with its parent: the attempt that it has begun last.

Writing it costs the worker nothing, so every task is marked. The parent looks when somebody asks whether a task runs, or
when the worker has died. Only tasks that somebody is to be told about (jobs, limits) cost a `Started` message as well.
A reader may see half of a new mark: that names no attempt that anybody asks for, and the next look sees the whole.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import tempfile

_ATTEMPT = struct.Struct("<QI")
#: Where the worker says that it is up: not in the mark, which reads as empty in the midst of each change.
_UP = _ATTEMPT.size


def make_page() -> int:
    """Return a descriptor of an empty page, to be handed to `Mark` in both processes.

    Raises:
        OSError: there is no memory or no descriptor left.
    """
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("procjob-mark")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    with contextlib.ExitStack() as undo:
        undo.callback(os.close, fd)
        os.truncate(fd, mmap.PAGESIZE)
        undo.pop_all()
    return fd


class Mark:
    """The page behind a descriptor, which may be closed afterwards."""

    def __init__(self, fd: int) -> None:
        self._page = mmap.mmap(fd, mmap.PAGESIZE)

    def come_up(self) -> None:
        """Worker: it ends with its parent from now on, even when stopped."""
        self._page[_UP] = 1

    def is_up(self) -> bool:
        """Parent: whether the worker has said so."""
        return self._page[_UP] == 1

    def set(self, task: int, attempt: int) -> None:
        """Worker: this attempt begins."""
        _ATTEMPT.pack_into(self._page, 0, task, attempt)

    def names(self, task: int, attempt: int) -> bool:
        """Parent: whether this attempt is the last one that began."""
        marked: tuple[int, int] = _ATTEMPT.unpack_from(self._page)
        return marked == (task, attempt)
