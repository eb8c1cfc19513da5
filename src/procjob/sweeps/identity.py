"""What a value *is*, as bytes that are the same in every process: the base of the keys and the seeds of points.

`encode` takes what has one meaning everywhere (numbers, text, arrays, containers of such) and refuses the rest. An encoding starts with
a letter for the type, and has everything of variable length with its length, so that two values with the same encoding are equal and of
the same type.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import types
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from pathlib import PurePath
from struct import pack
from typing import Any

import numpy as np

#: Bytes of the key of a point.
KEY_SIZE = 16
_TEXTUAL = (
    dt.date,
    dt.time,
    dt.timedelta,
    decimal.Decimal,
    fractions.Fraction,
    PurePath,
    range,
    slice,
)


class NoIdentity(TypeError):
    """A value has no encoding; the message says which one and why."""


def digest(*parts: bytes, size: int = KEY_SIZE) -> bytes:
    """Return the hash of a sequence of byte strings."""
    found = blake2b(digest_size=size)
    for part in parts:
        found.update(pack("<Q", len(part)))
        found.update(part)
    return found.digest()


# ---------------------------------------------------------------- values


def encode(value: Any, where: str) -> bytes:
    """Encode a value.

    Args:
        value: plain data: None, numbers, strings, bytes, arrays of numbers or text, lists, tuples, sets, mappings, enum members,
            dataclasses, dates, fractions, decimals, paths; or an object with a method ``__procjob_identity__()`` that
            returns such.
        where: how a message calls it.

    Raises:
        NoIdentity: it is something else.
    """
    return Encoder(_refuse).encode(value, where)


def _refuse(value: Any, where: str) -> bytes:
    raise NoIdentity(
        f"{where}, a {type(value).__qualname__}, has no stable identity; use numbers, strings, arrays or containers of such, "
        "or give its class a method __procjob_identity__() that returns such"
    )


class Encoder:
    """Encodes plain data.

    Args:
        other: encodes the rest: called with the value and how a message calls it.
        in_order: returns the members of a set in an order that is the same in every process, if the encoding of one depends on
            those before it.
        code: encodes what a class is beside its name, if that counts.
    """

    def __init__(
        self,
        other: Callable[[Any, str], bytes],
        in_order: Callable[[Any, str], Iterable[Any]] | None = None,
        code: Callable[[type, str], bytes] | None = None,
    ) -> None:
        self._other = other
        self._in_order = in_order
        self._code = code or (lambda _, __: b"")
        self._open: list[int] = []

    def encode(self, value: Any, where: str) -> bytes:
        """Encode a value; what contains itself, too."""
        simple = _simple(value)
        if simple is not None:
            return simple
        if id(value) in self._open:
            return b"^" + pack("<Q", self._open.index(id(value)))  # what contains itself: how far out
        self._open.append(id(value))
        try:
            return self._compound(value, where)
        finally:
            self._open.pop()

    def _compound(self, value: Any, where: str) -> bytes:  # noqa: PLR0911  (one line for each type)
        kind = type(value)
        if kind in (list, tuple):
            return _sequence(b"l" if kind is list else b"t", self._items(value, where))
        if kind in (set, frozenset):
            members = value if self._in_order is None else self._in_order(value, where)
            return _sequence(b"S", sorted(self._items(members, where)))
        if isinstance(value, Mapping) and kind in (dict, types.MappingProxyType):
            return _sequence(b"d", sorted(self._pairs(value, where)))
        if isinstance(value, np.ndarray) and kind is np.ndarray:
            if value.dtype.hasobject or value.dtype.char in "gG":
                return _sequence(b"A" + text(repr(value.shape)), self._items(value.ravel().tolist(), where))
            plain = np.ascontiguousarray(value)
            return b"a" + text(plain.dtype.str) + text(repr(value.shape)) + sized(plain.tobytes())
        own = getattr(kind, "__procjob_identity__", None)
        if own is not None:
            return b"o" + text(name_of(kind)) + self.encode(own(value), f"the __procjob_identity__() of {where}")
        if isinstance(value, enum.Enum):
            name = text(value.name or repr(value.value))  # no flag at all has no name
            return b"e" + text(name_of(kind)) + name + self._code(kind, where)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            pairs = _sequence(b"d", sorted(self._pairs(fields, where)))
            return b"D" + text(name_of(kind)) + pairs + self._code(kind, where)
        if isinstance(value, _TEXTUAL):
            package = kind.__module__.partition(".")[0]  # Python 3.13 has paths in a module of pathlib
            return b"x" + text(f"{package}.{kind.__qualname__}") + text(repr(value)) + self._code(kind, where)
        if isinstance(value, tuple) and hasattr(kind, "_fields"):
            return _sequence(b"n" + text(name_of(kind)), self._items(value, where)) + self._code(kind, where)
        return self._other(value, where)

    def _items(self, values: Any, where: str) -> list[bytes]:
        return [self.encode(value, f"{where}[{number}]") for number, value in enumerate(values)]

    def _pairs(self, values: Mapping[Any, Any], where: str) -> list[bytes]:
        return [
            self.encode(key, f"the key {key!r:.50} of {where}") + self.encode(value, f"{where}[{key!r:.50}]")
            for key, value in values.items()
        ]


def _simple(value: Any) -> bytes | None:  # noqa: PLR0911  (one for each type)
    """Encode what is neither made of other values nor rare; None if it is."""
    kind = type(value)
    if kind is float:
        return b"f" + pack("<d", value)
    if kind is int:
        return b"j" + pack("<q", value) if -(1 << 63) <= value < 1 << 63 else b"i" + text(str(value))
    if kind is str:
        return b"s" + text(value)
    if kind is bool:
        return b"T" if value else b"F"
    if value is None or value is Ellipsis or value is NotImplemented:
        return b"N" + text(repr(value))
    if kind is complex:
        return b"c" + pack("<dd", value.real, value.imag)
    if kind is bytes:
        return b"b" + sized(value)
    if isinstance(value, np.generic) and kind.__module__ == "numpy" and kind.__name__ != "void":
        if kind in (np.longdouble, np.clongdouble) and kind not in (np.float64, np.complex128):
            return b"g" + text(value.dtype.str) + text(str(value))  # some of its bytes are padding
        own = value.item()  # float64 is float, int64 int; others keep their type: their arithmetic differs
        return (
            _simple(own)
            if kind in (np.float64, np.int64, np.bool_, np.complex128)
            else b"g" + text(value.dtype.str) + value.tobytes()
        )
    return None


def text(value: str) -> bytes:
    """Encode a string."""
    return sized(value.encode("utf-8", "surrogatepass"))


def sized(data: bytes) -> bytes:
    """Encode bytes with their length in front."""
    return pack("<Q", len(data)) + data


def _sequence(kind: bytes, parts: list[bytes]) -> bytes:
    return kind + pack("<Q", len(parts)) + b"".join(map(sized, parts))


def name_of(thing: Any) -> str:
    """Return where a function or class is defined."""
    return f"{thing.__module__}.{thing.__qualname__}"


# ---------------------------------------------------------------- points


def point_keys(
    columns: Mapping[str, np.ndarray[Any, Any]], code: Callable[[type, str], bytes] | None = None
) -> list[bytes]:
    """Return the key of each point: 16 bytes of its axes and values, whatever their order.

    Args:
        columns: the values of each axis, shape (points,).
        code: see `Encoder`.

    Raises:
        NoIdentity: a value has none.
    """
    names = sorted(columns)
    head = digest(*(name.encode() for name in names))
    if all(columns[name].dtype in (np.float64, np.int64) for name in names):
        return _keys_of_numbers(head, [columns[name] for name in names])
    encoder = Encoder(_refuse, code=code)
    coded = [
        [encoder.encode(value, f"the value {value!r:.50} of axis {name}") for value in columns[name].tolist()]
        for name in names
    ]
    return [digest(head, *parts) for parts in zip(*coded, strict=True)]


def _keys_of_numbers(head: bytes, columns: list[np.ndarray[Any, Any]]) -> list[bytes]:
    """As `point_keys`; the bytes that are hashed are the same, put together by NumPy."""
    count, size = len(columns[0]), 9  # the letter of the type and the number
    rows = np.zeros((count, len(columns), 8 + size), dtype=np.uint8)
    rows[:, :, 0] = size  # little-endian length
    for number, column in enumerate(columns):
        rows[:, number, 8] = ord("f" if column.dtype == np.float64 else "j")
        rows[:, number, 9:] = column.astype(column.dtype.newbyteorder("<")).view(np.uint8).reshape(count, 8)
    start = pack("<Q", len(head)) + head
    return [blake2b(start + row.tobytes(), digest_size=KEY_SIZE).digest() for row in rows]


def point_seed(root: int, key: bytes) -> int:
    """Return the seed of a point: 63 bits that belong to the seed of the sweep and to the point's key, and to nothing else."""
    return int.from_bytes(blake2b(key, key=_root_key(root), digest_size=8).digest(), "little") >> 1


@functools.lru_cache(maxsize=16)
def _root_key(root: int) -> bytes:
    return digest(b"procjob sweep seed", str(root).encode())
