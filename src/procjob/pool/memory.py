"""Memory that a process fills and hands to another one: it has no name, so nobody has to clean up after anybody.

    sender: Memory ── descriptor, through a socket beside the channel (`Lane`) ──> receiver: a private copy, made as needed

Invariants:
- The kernel frees it with the last descriptor and the last mapping of it, whoever is killed, and whenever.
- It is never written again once it is filled, so a receiver may map it: what is written there is copied first, page by page.
- Nothing relies on it. Where it is not to be had, what would have been in it goes through the channel instead.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import resource
import socket
import struct
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass

#: Contents that a receiver maps; smaller ones it copies, as a process may have 65,530 mappings only.
LEAST_MAPPED = 1 << 20
#: Descriptors above this number, or above half of the process's limit, are left to others: some code cannot use numbers
#: beyond 1023.
HIGHEST_DESCRIPTOR = 511
_FD = struct.Struct("i")
_ACCESS = mmap.PROT_READ | mmap.PROT_WRITE

#: What is raised where contents cannot be had, those included that a broken process has announced.
NO_ROOM = (OSError, MemoryError, OverflowError, ValueError)

Contents = bytearray | mmap.mmap


class _Descriptor(int):
    """A descriptor that is closed with the last reference to it."""

    __slots__ = ()

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        close(self)


@dataclass(frozen=True, slots=True)
class Memory:
    """What is to be sent, as often as needed.

    Attributes:
        fd: closed when this is garbage.
        size: in bytes.
    """

    fd: int
    size: int

    def __len__(self) -> int:
        return self.size

    def read(self) -> Contents:
        """Return the contents, or raise one of `NO_ROOM`."""
        return _contents(self.fd, self.size)


def fill(pieces: Iterable[tuple[int, bytes | memoryview]], size: int) -> Memory | None:
    """Return memory with each piece at its offset; None if there is none to be had."""
    create = getattr(os, "memfd_create", None)  # Linux
    if create is None:
        return None
    try:
        fd = next(map(_Descriptor, map(create, ("procjob",))))  # all in C: a Ctrl-C finds no descriptor that nobody has
        if fd > _highest():
            return None
        os.truncate(fd, size)
        for at, piece in pieces:
            _write(fd, memoryview(piece), at)
    except OSError:
        return None
    return Memory(fd, size)


def _highest() -> int:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return HIGHEST_DESCRIPTOR if limit == resource.RLIM_INFINITY else min(HIGHEST_DESCRIPTOR, limit // 2)


def _write(fd: int, data: memoryview, at: int) -> None:
    while data:
        written = os.pwrite(fd, data, at)
        data, at = data[written:], at + written


def _contents(fd: int, size: int) -> Contents:
    if size >= LEAST_MAPPED:
        return _mapped(fd, size)
    data = bytearray(size)
    os.preadv(fd, [data], 0)
    return data


if sys.version_info >= (3, 13):

    def _mapped(fd: int, size: int) -> mmap.mmap:
        return mmap.mmap(fd, size, flags=mmap.MAP_PRIVATE, prot=_ACCESS, trackfd=False)

else:

    def _mapped(fd: int, size: int) -> mmap.mmap:
        """Map it over other memory: `mmap.mmap` would keep a copy of the descriptor."""
        import ctypes

        area = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=_ACCESS)
        address = ctypes.addressof(ctypes.c_char.from_buffer(area))
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
        map_fixed = 0x10
        if libc.mmap(address, size, _ACCESS, mmap.MAP_PRIVATE | map_fixed, fd, 0) != address:
            raise OSError(ctypes.get_errno(), "memory cannot be mapped")
        return area


class Lane:
    """One end of the socket through which descriptors go. Nothing here blocks.

    Each is sent before the frame that announces it, so that whoever reads the frame finds it.

    Args:
        fd: of a Unix stream socket; now owned by this.
    """

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(False)
        self._spare: int | None = None
        self._reserve()

    def send(self, memory: Memory) -> bool:
        """Hand memory over; False: it cannot be, the contents have to be sent."""
        try:
            return socket.send_fds(self._socket, [b"\0"], [memory.fd]) == 1
        except OSError:  # too many are on their way, or the other process is gone
            return False

    def receive(self, size: int) -> Contents | None:
        """Return the contents of the next memory; None: there is no room for them.

        Raises:
            OSError: there is no next memory.
        """
        fd = self._peek()
        if fd is None:  # the process has no descriptor left but the spare one
            self._spare = None
            fd = self._peek()
        self._socket.recv(1)
        if fd is None:
            return None
        try:
            return _contents(fd, size)
        except NO_ROOM:
            return None
        finally:
            os.close(fd)
            self._reserve()

    def _peek(self) -> int | None:
        """Return a descriptor of the next memory; None if none is free."""
        flags = socket.MSG_PEEK | socket.MSG_CMSG_CLOEXEC  # `socket.recv_fds` forgets them
        _, control, _, _ = self._socket.recvmsg(1, socket.CMSG_LEN(_FD.size), flags)
        return _FD.unpack(control[0][2])[0] if control and control[0][2] else None

    def _reserve(self) -> None:
        if self._spare is None:
            with contextlib.suppress(OSError):
                self._spare = _Descriptor(os.dup(self._socket.fileno()))

    def close(self) -> None:
        """Release the descriptors."""
        self._socket.close()
        self._spare = None
