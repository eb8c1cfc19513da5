"""What a value or a function *is*, as bytes that are the same in every process: the base of seeds and of resuming.

`encode` is for the values of points. It takes what has one meaning everywhere (numbers, text, arrays, containers of such) and
refuses the rest. `fingerprint` is for what a target is made of: the code of a function and all of the user's own code and
data that it refers to, each under a name, so that a change can be told. Installed packages count by name only: their
versions are recorded with a sweep, not part of what it is.

An encoding starts with a letter for the type, and everything of variable length with its length, so that two values with
the same encoding are equal and of the same type.
"""

from __future__ import annotations

import builtins
import copyreg
import dataclasses
import datetime
import decimal
import dis
import enum
import fractions
import functools
import inspect
import sys
import sysconfig
import types
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path, PurePath
from struct import pack
from typing import Any

import numpy as np

#: Bytes of the key of a point.
KEY_SIZE = 16
_TEXTUAL = (datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, fractions.Fraction, PurePath, range, slice)


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
    return _Encoder(_refuse).encode(value, where)


def _refuse(value: Any, where: str) -> bytes:
    raise NoIdentity(
        f"{where}, a {type(value).__qualname__}, has no stable identity; use numbers, strings, arrays or containers of such, "
        "or give its class a method __procjob_identity__() that returns such"
    )


class _Encoder:
    """Encodes plain data, and leaves the rest to `other`."""

    def __init__(self, other: Callable[[Any, str], bytes]) -> None:
        self._other = other
        self._open: list[int] = []

    def encode(self, value: Any, where: str) -> bytes:
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
            return _sequence(b"S", sorted(self._items(value, where)))
        if isinstance(value, Mapping) and kind in (dict, types.MappingProxyType):
            return _sequence(b"d", sorted(self._pairs(value, where)))
        if isinstance(value, np.ndarray) and kind is np.ndarray:
            if value.dtype.hasobject:
                return _sequence(b"A" + _text(repr(value.shape)), self._items(value.ravel().tolist(), where))
            plain = np.ascontiguousarray(value)
            return b"a" + _text(plain.dtype.str) + _text(repr(value.shape)) + _bytes(plain.tobytes())
        own = getattr(kind, "__procjob_identity__", None)
        if own is not None:
            return b"o" + _text(_name_of(kind)) + self.encode(own(value), f"the __procjob_identity__() of {where}")
        if isinstance(value, enum.Enum):
            return b"e" + _text(_name_of(kind)) + _text(value.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            return b"D" + _text(_name_of(kind)) + _sequence(b"d", sorted(self._pairs(fields, where)))
        if isinstance(value, _TEXTUAL):
            return b"x" + _text(_name_of(kind)) + _text(repr(value))
        if isinstance(value, tuple) and hasattr(kind, "_fields"):
            return _sequence(b"n" + _text(_name_of(kind)), self._items(value, where))
        return self._other(value, where)

    def _items(self, values: Any, where: str) -> list[bytes]:
        return [self.encode(value, f"{where}[{number}]") for number, value in enumerate(values)]

    def _pairs(self, values: Mapping[Any, Any], where: str) -> list[bytes]:
        return [
            self.encode(key, f"the key {key!r:.50} of {where}") + self.encode(value, f"{where}[{key!r:.50}]")
            for key, value in values.items()
        ]


def _simple(value: Any) -> bytes | None:
    """Encode what is neither made of other values nor rare; None if it is."""
    kind = type(value)
    if kind is float:
        return b"f" + pack("<d", value)
    if kind is int:
        return b"i" + _text(str(value)) if abs(value) >> 63 else b"j" + pack("<q", value)
    if kind is str:
        return b"s" + _text(value)
    if kind is bool:
        return b"T" if value else b"F"
    if value is None or value is Ellipsis or value is NotImplemented:
        return b"N" + _text(repr(value))
    if kind is complex:
        return b"c" + pack("<dd", value.real, value.imag)
    if kind is bytes:
        return b"b" + _bytes(value)
    if isinstance(value, np.generic) and kind.__module__ == "numpy" and kind.__name__ != "void":
        own = value.item()  # float64 is float, int64 int; others keep their type: their arithmetic differs
        return _simple(own) if kind in (np.float64, np.int64, np.bool_, np.complex128) else b"g" + _text(value.dtype.str) + value.tobytes()
    return None


def _text(text: str) -> bytes:
    return _bytes(text.encode("utf-8", "surrogatepass"))


def _bytes(data: bytes) -> bytes:
    return pack("<Q", len(data)) + data


def _sequence(kind: bytes, parts: list[bytes]) -> bytes:
    return kind + pack("<Q", len(parts)) + b"".join(map(_bytes, parts))


def _name_of(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


# ---------------------------------------------------------------- points


def point_keys(columns: Mapping[str, np.ndarray[Any, Any]]) -> list[bytes]:
    """Return the key of each point: 16 bytes of its axes and values, whatever their order.

    Raises:
        NoIdentity: a value has none.
    """
    names = sorted(columns)
    head = digest(*(name.encode() for name in names))
    if all(columns[name].dtype in (np.float64, np.int64) for name in names):
        return _keys_of_numbers(head, [columns[name] for name in names])
    coded = [
        [encode(value, f"the value {value!r:.50} of axis {name}") for value in columns[name].tolist()] for name in names
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


# ---------------------------------------------------------------- targets


def fingerprint(target: Any, name: str) -> dict[str, str]:
    """Return what a target is made of: for each part a short name and a hash of 32 hexadecimal digits.

    The parts of a function are its code (not its name, comments, docstring and line numbers) with its defaults, what it closes over,
    and each global that it refers to; the user's own functions and classes among those likewise, and what they refer to.

    Raises:
        NoIdentity: something in it has none.
    """
    found = _Fingerprint()
    found.add(name, target)
    return {where: digest(encoded).hex() for where, encoded in found.parts.items()}


class _Fingerprint:
    """Collects the parts of a target; each function and class of the user's own once."""

    def __init__(self) -> None:
        self.parts: dict[str, bytes] = {}
        self._encoder = _Encoder(self._other)
        self._known: dict[int, str] = {}
        self._kept: list[Any] = []  # so that no id is used twice

    def add(self, where: str, value: Any) -> None:
        """Add a value as a part of its own, with what it refers to."""
        self.parts[where] = b""  # its place in the order
        self.parts[where] = self._encoder.encode(value, where)

    def _other(self, value: Any, where: str) -> bytes:
        if isinstance(value, types.ModuleType):
            return b"M" + _text(value.__name__)
        if isinstance(value, (types.BuiltinFunctionType, types.BuiltinMethodType, np.ufunc)):
            owner = getattr(value, "__self__", None)
            bound = b"" if owner is None or isinstance(owner, (types.ModuleType, type)) else self._encoded(owner, where)
            return b"B" + _text(getattr(value, "__qualname__", value.__name__)) + bound
        if isinstance(value, types.MethodType):
            return b"m" + self._encoded(value.__func__, where) + self._encoded(value.__self__, where)
        if isinstance(value, functools.partial):
            return b"p" + self._encoded((value.func, value.args, dict(value.keywords)), where)
        if isinstance(value, (types.FunctionType, type)):
            return self._own(value, where) if _is_own(value.__module__) else b"F" + _text(_name_of(value))
        if isinstance(value, types.CodeType):
            return self._code(value, where)
        return self._object(value, where)

    def _encoded(self, value: Any, where: str) -> bytes:
        return self._encoder.encode(value, where)

    def _own(self, value: Any, where: str) -> bytes:
        """A function or class of the user's own: once; again by the name of its first part."""
        if id(value) in self._known:
            return b"K" + _text(self._known[id(value)])
        self._known[id(value)] = f"{len(self._known)}"
        self._kept.append(value)
        return self._function(value, where) if isinstance(value, types.FunctionType) else self._class(value, where)

    def _function(self, fn: types.FunctionType, where: str) -> bytes:
        code = b"C" + self._code(fn.__code__, where, fn.__doc__)
        defaults = self._encoded((fn.__defaults__, fn.__kwdefaults__), f"a default of {where}")
        for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:  # not assigned yet
                continue
            self._refer(f"{where}: {name}", value)
        for name, value in _globals_of(fn):
            self._refer(name if value is not fn else where, value)
        return code + defaults + (b"v" if getattr(fn, "__procjob_vectorized__", False) else b"")

    def _refer(self, where: str, value: Any) -> None:
        """Add what a function refers to, unless it is there or counts by its name, which its code has."""
        plain = isinstance(value, (types.FunctionType, type)) and (not _is_own(value.__module__) or id(value) in self._known)
        if plain or isinstance(value, (types.ModuleType, types.BuiltinFunctionType)):
            return
        label, number = where, 2
        while label in self.parts:
            label, number = f"{where} ({number})", number + 1
        self.add(label, value)

    def _class(self, cls: type, where: str) -> bytes:
        skipped = {"__dict__", "__weakref__", "__doc__", "__module__", "__firstlineno__", "__static_attributes__", "__annotations__",
                   "__annotate_func__", "__annotations_cache__", "__abstractmethods__", "_abc_impl", "__slotnames__"}  # fmt: skip
        members = {
            name: _unwrapped(value)
            for name, value in vars(cls).items()
            if name not in skipped and not isinstance(value, (types.MemberDescriptorType, types.GetSetDescriptorType))
        }
        return b"Y" + self._encoded([list(cls.__bases__), members], where)

    def _code(self, code: types.CodeType, where: str, doc: str | None = None) -> bytes:
        constants = [value for value in code.co_consts if value is not doc or doc is None]
        return self._encoded(
            [
                (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & ~0x4000000),
                code.co_code,
                code.co_exceptiontable,
                [*code.co_names, *code.co_varnames, *code.co_freevars, *code.co_cellvars],
                constants,
            ],
            where,
        )

    def _object(self, value: Any, where: str) -> bytes:
        """Any other object by how it would be pickled; it is not pickled itself, since pickles of equal objects differ."""
        try:
            reduced = copyreg.dispatch_table[type(value)](value) if type(value) in copyreg.dispatch_table else value.__reduce_ex__(4)
        except Exception as exc:
            raise NoIdentity(
                f"{where}, a {type(value).__qualname__}, has no stable identity ({exc}), so nobody can tell whether it has changed; "
                "give version= to say so yourself, or its class a method __procjob_identity__()"
            ) from exc
        if isinstance(reduced, str):
            return b"G" + _text(_name_of(type(value))) + _text(reduced)
        made = [list(part) if isinstance(part, Iterator) else part for part in reduced]
        return b"R" + self._encoded(made, where)


def _unwrapped(member: Any) -> Any:
    """Return what a descriptor of a class wraps."""
    if isinstance(member, (staticmethod, classmethod)):
        return (type(member).__name__, member.__func__)
    if isinstance(member, property):
        return ("property", member.fget, member.fset, member.fdel)
    if isinstance(member, functools.cached_property):
        return ("cached_property", member.func)
    return member


def _globals_of(fn: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield the globals that a function refers to, and of the user's own modules the attributes that it names."""
    names: set[str] = set()
    for code in _codes(fn.__code__):
        names.update(_global_names(code))
    mentioned = {name for code in _codes(fn.__code__) for name in code.co_names}
    for name in sorted(names):
        if name not in fn.__globals__:
            continue
        value = fn.__globals__[name]
        if isinstance(value, types.ModuleType) and _is_own(value.__name__):
            for attribute in sorted(mentioned & vars(value).keys()):
                yield f"{name}.{attribute}", vars(value)[attribute]
        else:
            yield name, value


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _global_names(code: types.CodeType) -> set[str]:
    return {step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}


@functools.cache
def _installed() -> tuple[Path, ...]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple({Path(path).resolve() for name in names if (path := sysconfig.get_path(name))})


@functools.cache
def _is_own(module: str) -> bool:
    """Whether a module is the user's own: neither built in, nor installed, nor procjob."""
    if module.partition(".")[0] == "procjob" or module in sys.builtin_module_names or module == builtins.__name__:
        return False
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return module == "__main__" or module not in sys.stdlib_module_names
    path = Path(file).resolve()
    return not any(path.is_relative_to(folder) for folder in _installed())


def takes(target: Callable[..., Any]) -> inspect.Signature | None:
    """Return the signature of a target; None if it has none that Python knows."""
    try:
        return inspect.signature(target)
    except (TypeError, ValueError):
        return None
