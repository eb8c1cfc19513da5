"""What travels of a value: its pickle, and beside it the large buffers that the pickle refers to (pickle protocol 5).

    head (magic, frozen, number of buffers, length of the pickle), lengths of the buffers, pickle, buffers

A small pickle without buffers travels as it is. A larger payload is put into `Memory` where there is some, and is one piece
of bytes elsewhere; `unpack` takes whichever arrives. Arrays in it are writable, and private to who has unpacked it.
"""

from __future__ import annotations

import mmap
import pickle
import struct
from collections.abc import Sequence
from typing import Any

from procjob.pool.memory import Contents, Memory, fill

#: Bytes from which a buffer is kept out of the pickle, and a pickle goes into memory: see benchmarks/arrays.py.
LEAST = 1 << 19
_HEAD = struct.Struct("<B?IQ")
_MAGIC = 0  # no pickle begins so
_ALIGNMENT = 64

Payload = bytes | Memory


class Buffers(list[memoryview]):
    """The large buffers that a pickle refers to, in order."""

    __slots__ = ()
    #: Bytes from which one counts as large.
    least = LEAST

    def keeps(self, buffer: pickle.PickleBuffer) -> bool:
        """Keep a buffer if it is large; True: it is not, and goes into the pickle."""
        try:
            data = buffer.raw()
        except BufferError:  # not in one piece
            return True
        if data.nbytes < self.least:
            return True
        self.append(data)
        return False


class AllBuffers(Buffers):
    """As `Buffers`, where any size counts as large."""

    __slots__ = ()
    least = 1


def pack(pickled: bytes, buffers: Sequence[memoryview], *, frozen: bool = False) -> Payload:
    """Return what is to be sent; later changes to the buffers have no effect on it.

    Args:
        pickled: a pickle.
        buffers: those that it refers to, in order.
        frozen: have the buffers read-only where they are unpacked.
    """
    if not buffers:
        return pickled if len(pickled) < LEAST else fill([(0, pickled)], len(pickled)) or pickled
    lengths = [buffer.nbytes for buffer in buffers]
    head = _HEAD.pack(_MAGIC, frozen, len(lengths), len(pickled)) + struct.pack(f"<{len(lengths)}Q", *lengths)
    *starts, size = _starts(len(head) + len(pickled), lengths)
    pieces: list[tuple[int, bytes | memoryview]] = [(0, head + pickled), *zip(starts, buffers, strict=True)]
    if size >= LEAST and (memory := fill(pieces, size)):
        return memory
    parts: list[bytes | memoryview] = []
    end = 0
    for at, piece in pieces:
        parts += bytes(at - end), piece
        end = at + len(piece)
    return b"".join(parts)


def unpack(data: bytes | memoryview | Contents) -> Any:
    """Return the value."""
    if not data or data[0] != _MAGIC:
        return pickle.loads(data)
    _, frozen, count, length = _HEAD.unpack_from(data)
    lengths = struct.unpack_from(f"<{count}Q", data, _HEAD.size)
    view = memoryview(data)
    begin = _HEAD.size + 8 * count
    starts = _starts(begin + length, lengths)
    parts: Any = [view[at : at + n] for at, n in zip(starts, lengths, strict=False)]
    if frozen:
        parts = [part.toreadonly() for part in parts]
    elif not isinstance(data, bytearray | mmap.mmap):  # it may be read-only, and begin anywhere
        parts = map(bytearray, parts)
    return pickle.loads(view[begin : begin + length], buffers=parts)


def _starts(end: int, lengths: Sequence[int]) -> list[int]:
    """Return where buffers begin that follow ``end``, and where the last one ends."""
    starts = []
    for length in lengths:
        at = -(-end // _ALIGNMENT) * _ALIGNMENT
        starts.append(at)
        end = at + length
    return [*starts, end]
