"""Permits to begin the tasks that a worker holds ahead of their turn: bytes in a pipe that both processes read.

The parent puts one permit into the pipe for each task that it sends ahead; the worker takes one before it begins the next
of them. To recall them, the parent takes out whatever is left. Each byte is read by one of the two, the kernel sees to it:
a task is either begun by the worker or given to another one, never both, and the parent knows which without asking the
worker, which may be deaf in C code. As tasks are begun in order, the permits that are left belong to the last tasks sent.

Between a recall and the moment at which the worker has come across all that was recalled, no new permits may be granted:
a recalled task would take them.
"""

from __future__ import annotations

import os

#: Enough for all permits that are ever granted at once; far less than what a pipe holds.
_ALL = 4096


class Permits:
    """One end of the permits of one worker.

    Args:
        read_fd: what to take from; neither end blocks.
        write_fd: what to put into; the parent's only.
    """

    def __init__(self, read_fd: int, write_fd: int = -1) -> None:
        self._read_fd = read_fd
        self._write_fd = write_fd
        os.set_blocking(read_fd, False)

    def grant(self, count: int) -> None:
        """Parent: allow the worker ``count`` more tasks."""
        os.write(self._write_fd, bytes(count))

    def recall(self) -> int:
        """Parent: take back what the worker has not used, and return how many that are."""
        try:
            return len(os.read(self._read_fd, _ALL))
        except BlockingIOError:
            return 0

    def take(self) -> bool:
        """Worker: use one up; False: it has been recalled."""
        try:
            return len(os.read(self._read_fd, 1)) == 1
        except BlockingIOError:
            return False
