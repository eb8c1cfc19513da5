"""Values as JSON text, with arrays and pickles in a blob beside it; they come back as they were, type and bits.

What JSON has no word for is an object with one key that begins with ``$``:

    {"$float": "nan"}  {"$complex": [0.0, 1.0]}  {"$bytes": "00ff"}  {"$tuple": [1, 2]}  {"$set": [1, 2]}
    {"$dict": [[1, "one"]]}         a mapping with other keys than plain strings
    {"$numpy": ["float64", 0.5]}    a scalar of NumPy
    {"$array": [0, "float64", [2, 3]]}   an array: the number of its NPY file in the blob, dtype and shape, to be read
    {"$scalar": [1, "complex128"]}  other scalars of NumPy, as an array without dimensions
    {"$object": ["procjob.simulators.result.Result", {...}]}   a dataclass of the built-in simulator
    {"$adapted": ["qiskit.result.result.Result", {...}]}   the same of another package, by our adapter to it
    {"$pickle": "fractions.Fraction"}    anything else: the blob is its pickle, see `trust`
    {"$missing": "..."}             it could not be kept, and why

The blob of arrays is their NPY files one after the other, so with one array it is such a file.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from json.encoder import encode_basestring
from typing import Any, NamedTuple

import numpy as np

from procjob.errors import NotPicklableError, RemoteError, StoreError
from procjob.pool.foreign import describe, type_name
from procjob.pool.pickling import dumps, loads
from procjob.store import trust

#: Whose dataclasses are kept by their fields.
_OWN_MODULES = "procjob.simulators."
#: Types of other packages, and the module of their adapter that has a `to_plain` and a `from_plain` for them.
_ADAPTERS = {"qiskit.result.result.Result": "procjob.qiskit.stored"}
#: Integers of more bits are written in base 16: Python refuses to read longer ones in base 10.
_MAX_BITS = 10_000
#: Of one value, text and blob; SQLite's own limit is 10**9 bytes for a whole row.
MAX_BYTES = 900_000_000
#: Unix time of the year 9999: beyond it no date is made.
_END_OF_TIME = 253_370_764_800
_CANONICAL_NAN = struct.pack("<d", math.nan)
_TEXT_SCALARS = {
    np.dtype(code).type for code in ("bool", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
}


class Encoded(NamedTuple):
    """A value as it is kept: JSON text, and a blob if that does not do."""

    text: str | None
    data: bytes | None = None


class _Unplain(Exception):
    """A value has to be pickled."""


def encode(value: Any, owner: str, *, label: str = "value") -> Encoded:
    """Return what is kept of a value.

    Args:
        value: anything that can be pickled.
        owner: what it belongs to, for the signature of a pickle; `decode` needs the same.
        label: how messages call it.

    Raises:
        StoreError: it cannot be pickled, or is too large for SQLite.

    >>> encode({"theta": 0.5, "at": (1, 2)}, "an example").text
    '{"theta": 0.5, "at": {"$tuple": [1, 2]}}'
    """
    kept = _encode(value, owner, label)
    size = len((kept.text or "").encode()) + len(kept.data or b"")
    if size > MAX_BYTES:
        raise StoreError(
            f"{label} has {size:,} bytes, more than SQLite takes in one value; return less, or write it to a file of its own"
        )
    return kept


def _encode(value: Any, owner: str, label: str) -> Encoded:
    arrays: list[np.ndarray[Any, Any]] = []
    try:
        text = _write(value, arrays)
        return Encoded(storable(text), _npy(arrays) if arrays else None)
    except (_Unplain, RecursionError):  # deeper than Python goes, or within itself
        pass
    try:
        pickled = dumps(value, label=label)
    except NotPicklableError as exc:
        raise StoreError(f"{exc}; the store can keep only what can be pickled") from exc
    return Encoded(json.dumps({"$pickle": type_name(value)}), trust.sign(pickled, owner))


def storable(text: str) -> str:
    """Return a text with escapes, those of JSON, for halves of characters: file names have them, and no file takes them."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def encode_or_say_why(value: Any, owner: str, *, label: str) -> Encoded:
    """Return what is kept of a value, or why it is not: reading it raises then."""
    try:
        return encode(value, owner, label=label)
    except Exception as exc:  # noqa: BLE001  (whatever it is, the rest of the record is worth keeping)
        return Encoded(json.dumps({"$missing": str(exc) if isinstance(exc, StoreError) else describe(exc)}))


def decode(text: str, data: bytes | None, owner: str, *, allow_pickle: bool = False) -> Any:
    """Return the value that `encode` was given.

    Raises:
        StoreError: it is a pickle that may not be loaded, or damaged.
    """
    if '"$' not in text:
        return _parsed(text, None)
    arrays: list[Any] = []
    if data is not None and not text.startswith('{"$pickle"'):
        arrays = _from_npy(data)

    def restored(members: dict[str, Any]) -> Any:
        if len(members) == 1:
            ((tag, content),) = members.items()
            if tag == "$pickle":
                return _unpickled(content, data or b"", owner, allow=allow_pickle)
            if tag in _REFERENCES:
                return _REFERENCES[tag](arrays[content[0]])
            if tag in _READERS:
                return _READERS[tag](content)
        return members

    return _parsed(text, restored)


@dataclasses.dataclass(frozen=True, slots=True)
class Unread:
    """A value that is read from the file, but not decoded yet: whoever lists others must not fail at it.

    Attributes:
        text: as it is kept.
        data: its blob.
        owner: what `encode` was told.
        allow_pickle: the user's consent to load a pickle whoever wrote it.
    """

    text: str
    data: bytes | None
    owner: str
    allow_pickle: bool

    def read(self) -> Any:
        """Return the value.

        Raises:
            StoreError: it is a pickle that may not be loaded, or damaged.
        """
        with blamed(self.owner):
            return decode(self.text, self.data, self.owner, allow_pickle=self.allow_pickle)


@contextmanager
def blamed(what: str) -> Iterator[None]:
    """Say in the error of a value what it belongs to."""
    try:
        yield
    except StoreError as exc:
        raise StoreError(f"{what} cannot be read: {exc}") from exc.__cause__


def check_times(what: str, fields: Mapping[str, Any], names: Sequence[str]) -> None:
    """Check columns of a row that are times; SQLite takes anything in any column.

    Raises:
        StoreError: one is none.
    """
    for name in names:
        value = fields[name]
        if value is not None and (not isinstance(value, (int, float)) or not abs(value) < _END_OF_TIME):
            raise StoreError(f"{what} is damaged: {name} is {value!r:.50}")


# ---------------------------------------------------------------- to text


def _write(value: Any, arrays: list[np.ndarray[Any, Any]]) -> str:
    kind = type(value)
    if kind is float:
        return float.__repr__(value) if value - value == 0.0 else f'{{"$float": "{_special(value)}"}}'
    if kind is str:
        return encode_basestring(value)
    if kind is dict:
        return _write_dict(value, arrays)
    if kind is list:
        return f"[{', '.join([_write(item, arrays) for item in value])}]"
    writer = _WRITERS.get(kind)
    return writer(value, arrays) if writer is not None else _write_other(value, kind, arrays)


def _write_dict(value: dict[Any, Any], arrays: list[np.ndarray[Any, Any]]) -> str:
    members = []
    for key, item in value.items():
        if type(key) is not str or key[:1] == "$":
            pairs = [f"[{_write(k, arrays)}, {_write(v, arrays)}]" for k, v in value.items()]
            return f'{{"$dict": [{", ".join(pairs)}]}}'
        members.append(f"{encode_basestring(key)}: {_write(item, arrays)}")
    return f"{{{', '.join(members)}}}"


def _write_int(value: int, _: object) -> str:
    return repr(value) if value.bit_length() <= _MAX_BITS else f'{{"$int": "{value:x}"}}'


def _write_complex(value: complex, arrays: list[np.ndarray[Any, Any]]) -> str:
    return f'{{"$complex": [{_write(value.real, arrays)}, {_write(value.imag, arrays)}]}}'


def _items_writer(tag: str) -> Callable[[Any, list[np.ndarray[Any, Any]]], str]:
    return lambda value, arrays: f'{{"{tag}": {_write(list(value), arrays)}}}'


def _write_array(value: np.ndarray[Any, Any], arrays: list[np.ndarray[Any, Any]]) -> str:
    if value.dtype.hasobject or value.dtype.metadata is not None or (not value.dtype.isbuiltin and not _npy_has(value)):
        raise _Unplain
    arrays.append(value)
    return f'{{"$array": [{len(arrays) - 1}, {encode_basestring(str(value.dtype))}, {list(value.shape)}]}}'


def _write_scalar(value: np.generic, arrays: list[np.ndarray[Any, Any]]) -> str:
    if type(value) in _TEXT_SCALARS:
        return f'{{"$numpy": ["{value.dtype.name}", {_write(value.item(), arrays)}]}}'
    # Not as arrays, nor as pickles of NumPy: these take zeros at the end for padding.
    if isinstance(value, np.str_):
        return f'{{"$numpy": ["str", {encode_basestring(value)}]}}'
    if isinstance(value, np.bytes_):
        return f'{{"$numpy": ["bytes", {{"$bytes": "{value.hex()}"}}]}}'
    _write_array(np.asarray(value), arrays)
    return f'{{"$scalar": [{len(arrays) - 1}, {encode_basestring(str(value.dtype))}]}}'


def _write_other(value: Any, kind: type, arrays: list[np.ndarray[Any, Any]]) -> str:
    if issubclass(kind, np.generic) and kind.__module__ == "numpy":
        return _write_scalar(value, arrays)
    if dataclasses.is_dataclass(kind) and kind.__module__.startswith(_OWN_MODULES):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(kind) if field.init}
        return f'{{"$object": ["{kind.__module__}.{kind.__qualname__}", {_write_dict(fields, arrays)}]}}'
    path = f"{kind.__module__}.{kind.__qualname__}"
    if path in _ADAPTERS:
        try:
            plain = import_module(_ADAPTERS[path]).to_plain(value)
        except Exception as exc:
            raise _Unplain from exc
        return f'{{"$adapted": ["{path}", {_write(plain, arrays)}]}}'
    raise _Unplain


_WRITERS: dict[type, Callable[[Any, Any], str]] = {
    type(None): lambda _, __: "null",
    bool: lambda value, _: "true" if value else "false",
    int: _write_int,
    complex: _write_complex,
    bytes: lambda value, _: f'{{"$bytes": "{value.hex()}"}}',
    bytearray: lambda value, _: f'{{"$bytearray": "{value.hex()}"}}',
    tuple: _items_writer("$tuple"),
    set: _items_writer("$set"),
    frozenset: _items_writer("$frozenset"),
    range: lambda value, arrays: f'{{"$range": {_write([value.start, value.stop, value.step], arrays)}}}',
    np.ndarray: _write_array,
}


def _special(value: float) -> str:
    """Name a float that is not finite; a NaN with its bits, if they are not the usual ones."""
    bits = struct.pack("<d", value)
    return repr(value) if value == value or bits == _CANONICAL_NAN else f"nan {bits.hex()}"  # noqa: PLR0124  (not NaN)


def _npy_has(value: np.ndarray[Any, Any]) -> bool:
    """Whether NumPy's file format keeps the dtype of an array: one of its own, made of fields or not."""
    descr = np.lib.format.dtype_to_descr(value.dtype)
    return bool(np.lib.format.descr_to_dtype(descr) == value.dtype)


def _npy(arrays: list[np.ndarray[Any, Any]]) -> bytes:
    file = io.BytesIO()
    for array in arrays:
        np.lib.format.write_array(file, array, allow_pickle=False)
    return file.getvalue()


# ---------------------------------------------------------------- from text


def _parsed(text: str, hook: Callable[[dict[str, Any]], Any] | None) -> Any:
    try:
        return json.loads(text, object_hook=hook)
    except StoreError:
        raise
    except Exception as exc:
        raise StoreError(f"it is damaged: {exc!r}") from exc


def _from_npy(data: bytes) -> list[Any]:
    file, arrays = io.BytesIO(data), []
    try:
        while file.tell() < len(data):
            arrays.append(np.lib.format.read_array(file, allow_pickle=False))
    except Exception as exc:
        raise StoreError(f"its array is damaged: {exc!r}") from exc
    return arrays


def _unpickled(kind: str, data: bytes, owner: str, *, allow: bool) -> Any:
    try:
        pickled = trust.checked(data, owner, allow=allow)
    except trust.NotTrusted as exc:
        raise StoreError(
            f"it is a pickle ({kind}), which can run any code when it is read, and is not known to be yours: {exc}. If you "
            "trust whoever wrote it, open the store with Store(path, allow_pickle=True)"
        ) from None
    try:
        return loads(pickled, what=f"the {kind}")
    except RemoteError as exc:
        raise StoreError(f"{exc}; what it needs must be importable here, in the version that wrote it") from exc


def _float(name: str) -> float:
    if name.startswith("nan "):
        value: float = struct.unpack("<d", bytes.fromhex(name[4:]))[0]
        return value
    return float(name)


def _missing(why: str) -> Any:
    raise StoreError(f"it was not kept: {why}")


def _object(content: tuple[str, Mapping[str, Any]]) -> Any:
    path, fields = content
    module, _, name = path.rpartition(".")
    if not module.startswith(_OWN_MODULES):
        raise ValueError(f"{path} is no dataclass of procjob")
    kind = getattr(import_module(module), name)
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind.__module__ == module):
        raise ValueError(f"{path} is no dataclass of procjob")
    return kind(**fields)


def _adapted(content: tuple[str, Any]) -> Any:
    path, plain = content
    try:
        adapter = import_module(_ADAPTERS[path])
    except ImportError as exc:  # it says what to install
        raise StoreError(str(exc)) from exc
    return adapter.from_plain(plain)


_READERS: dict[str, Callable[[Any], Any]] = {
    "$float": _float,
    "$int": lambda digits: int(digits, 16),
    "$complex": lambda parts: complex(*parts),
    "$bytes": bytes.fromhex,
    "$bytearray": bytearray.fromhex,
    "$tuple": tuple,
    "$set": set,
    "$frozenset": frozenset,
    "$range": lambda ends: range(*ends),
    "$dict": dict,
    "$numpy": lambda pair: np.dtype(pair[0]).type(pair[1]),
    "$object": _object,
    "$adapted": _adapted,
    "$missing": _missing,
}
_REFERENCES: dict[str, Callable[[Any], Any]] = {"$array": lambda array: array, "$scalar": lambda array: array[()]}
