"""The standard streams of a worker: descriptors 1 and 2 are pipes to the parent, whatever a task does to them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import sys
import termios
from typing import Any

_UNREAD = struct.Struct("i")
_NAMES = {1: "stdout", 2: "stderr"}


def redirect(stdout: int, stderr: int) -> None:
    """Make the pipes to the parent descriptors 1 and 2, for C code too, and leave the script's stdin alone.

    Args:
        stdout: a descriptor beyond those of the standard streams; it is closed.
        stderr: likewise.
    """
    null = os.open(os.devnull, os.O_RDONLY)
    if null == 0:
        os.set_inheritable(0, True)
    for source, target in ((null, 0), (stdout, 1), (stderr, 2)):
        if source != target:
            os.dup2(source, target)
            os.close(source)
    for fd, name in _NAMES.items():
        stream = _opened(fd)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def flush() -> None:
    """Push out what the task printed, so that it reaches the parent before the task's end does."""
    for stream in (sys.stdout, sys.stderr):
        # The task has closed or replaced it: what it printed there is its own affair.
        with contextlib.suppress(Exception):
            stream.flush()


def printed() -> bool:
    """Whether the pipes of the standard streams hold something; True if the system does not tell."""
    try:
        return any(unread(fd) for fd in _NAMES)
    except OSError:
        return True


def unread(fd: int) -> int:
    """Return how many bytes a pipe or socket holds for whoever reads it."""
    count = _UNREAD.unpack(fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0"))[0]
    return int(count)


class Kept:
    """The standard streams as they are when this is made: before the first task, and after the initializer, whose changes stay."""

    def __init__(self) -> None:
        self._streams: dict[str, Any] = {name: getattr(sys, name) for name in _NAMES.values()}
        self._settings = {name: _settings(stream) for name, stream in self._streams.items()}
        self._files = {fd: _file(fd) for fd in _NAMES}
        self._copies: dict[int, int] = {}
        with contextlib.suppress(OSError):  # the initializer has closed one, or no descriptor is left
            for fd in _NAMES:
                self._copies[fd] = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)

    def restore(self) -> None:
        """Undo what a task has done to them: its neighbours shall not print into its file, or into none."""
        for name, stream in self._streams.items():
            setattr(sys, name, stream)  # first: what the task has put there may end now, and close what it shares
        for fd, copy in self._copies.items():
            file = self._files[fd]
            if _file(fd) != file and _file(copy) == file:
                os.dup2(copy, fd)
        for fd, name in _NAMES.items():
            settings = _settings(self._streams[name])
            if settings is None or settings != self._settings[name]:
                self._streams[name] = _opened(fd)
                self._settings[name] = _settings(self._streams[name])
                setattr(sys, name, self._streams[name])


def _opened(fd: int) -> Any:
    return open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _settings(stream: Any) -> list[Any] | None:
    """What a task can set of a stream; None: it is closed, or nothing is left of it but the name."""
    try:
        if getattr(stream, "closed", False):
            return None
        return [getattr(stream, name, None) for name in ("encoding", "errors", "line_buffering", "write_through")]
    except ValueError:  # detached
        return None


def _file(fd: int) -> tuple[int, int] | None:
    """What tells files apart; None: the descriptor is closed."""
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino
