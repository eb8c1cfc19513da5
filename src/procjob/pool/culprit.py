"""Why a value cannot be pickled: the path to the part to blame, and what to do about it. Used after a failure only."""

from __future__ import annotations

import dis
import io
import pickle
import sys
import time
import types
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from procjob.pool.foreign import clip, describe, short_repr, text_of

if TYPE_CHECKING:
    from pickle import Pickler  # cloudpickle has no annotations; its Pickler is a subclass of this one
else:
    from cloudpickle import Pickler

#: Pairs of (path, part of a value).
_Parts = Iterator[tuple[str, Any]]
_PROTOCOL = pickle.HIGHEST_PROTOCOL


def explain(label: str, value: object, error: BaseException) -> str:
    """Return what is wrong with a value whose pickling has raised ``error``; the path to the culprit begins with ``label``."""
    return _message(_Search().run(label, value, error))


def explain_call(fn: object, args: Iterable[object], kwargs: Mapping[str, object], error: BaseException) -> str:
    """Return the same for a call, with a path that begins with the call's own words."""
    return _message(_Search().run("the call", None, error, _call_parts(fn, args, kwargs)))


def _call_parts(fn: object, args: Iterable[object], kwargs: Mapping[str, object]) -> _Parts:
    yield "fn", fn
    yield from ((f"args[{i}]", arg) for i, arg in enumerate(args))
    yield from ((f"kwargs[{short_repr(name)}]", arg) for name, arg in kwargs.items())


# --- the message ------------------------------------------------------------------------------------------------------

_HINTS = {
    "generator": "pass a list of its items instead",
    "socket": "pass its address and connect inside the task instead",
    "Connection": "connect inside the task instead",
    "lock": "create it inside the task instead",
    "RLock": "create it inside the task instead",
}


def _message(culprit: _Culprit) -> str:
    path = clip(culprit.path, 300)
    if _is_recursion(culprit.error):
        return f"{path}: nested too deeply to pickle; pass a flatter structure instead"
    return f"{path}: {clip(_reason(culprit.error), 2000)}; {_hint(culprit.value)}"


def _reason(error: BaseException) -> str:
    text = text_of(error).rstrip(". ")
    return text if text and isinstance(error, TypeError | pickle.PicklingError) else describe(error)


def _hint(value: object) -> str:
    if issubclass(type(value), io.IOBase):  # isinstance would ask the value for its __class__
        return "pass its path and open it inside the task instead"
    return _HINTS.get(type(value).__name__, "leave it out, or create it inside the task instead")


# --- the search for a culprit -----------------------------------------------------------------------------------------


def find_culprit(
    value: object, label: str, *, max_objects: int = 100_000, max_seconds: float = 2.0
) -> tuple[str, BaseException] | None:
    """Find the deepest, smallest part of a value that cannot be pickled on its own.

    The value is walked as cloudpickle would walk it: containers, the state that objects give for pickling (so a
    ``__getstate__`` that leaves a lock out is respected), closures, globals and defaults of functions that travel by
    value, classes that do. Cycles are followed once.

    Args:
        value: anything; it is not changed.
        label: the start of the path.
        max_objects: how many parts are tried.
        max_seconds: how long the search may take; looked at between any two objects.

    Returns:
        The path and what pickling that part raises; None if the value can be pickled, or if not even one try
        fits the limits. At a limit, the best path so far. Raises nothing of its own; a stop request passes.

    >>> find_culprit({"a": 1, "b": (2, (i for i in "xyz"))}, "options")
    ("options['b'][1]", TypeError("cannot pickle 'generator' object"))
    >>> find_culprit({"a": 1}, "options") is None
    True
    """
    search = _Search(max_objects, max_seconds)
    try:
        error = search.try_pickle(value)
    except _LimitReached:
        return None
    if error is None:
        return None
    culprit = search.run(label, value, error)
    return culprit.path, culprit.error


@dataclass(frozen=True, slots=True)
class _Culprit:
    path: str
    value: object
    error: BaseException


@dataclass(slots=True)
class _Frame:
    """A part that cannot be pickled, and those of its own parts that are still to be tried."""

    culprit: _Culprit
    parts: _Parts
    blames_ancestor: bool = False


class _LimitReached(Exception):
    """The search has used up its objects or its time."""


class _Search:
    """One depth-first search; remembers every object it has tried."""

    def __init__(self, max_objects: int = 100_000, max_seconds: float = 2.0) -> None:
        self._left = max_objects
        self._clock = _Clock(time.monotonic() + max_seconds)
        # Ids are unique only among living objects, so the objects that were tried stay alive with their ids.
        self._tried: dict[int, tuple[object, BaseException | None]] = {}

    def run(self, path: str, value: object, error: BaseException, parts: _Parts | None = None) -> _Culprit:
        """Descend from a value that failed with ``error`` into the first part that explains the failure by itself."""
        root = _Culprit(path, value, error)
        self._tried[id(value)] = value, error
        stack = [_Frame(root, _unharmed(value, path) if parts is None else parts)]
        with suppress(_LimitReached):
            while stack:
                found = self._next_failing(stack)
                if found is not None:
                    stack.append(_Frame(found, _unharmed(found.value, found.path)))
                elif not stack[-1].blames_ancestor:
                    return stack[-1].culprit
                else:  # fails only because it refers to something above: that one has to be explained by another part
                    stack.pop()
                    if stack:
                        stack[-1].blames_ancestor = True
        return stack[-1].culprit if stack else root

    def _next_failing(self, stack: list[_Frame]) -> _Culprit | None:
        frame = stack[-1]
        for path, part in frame.parts:
            self._clock.check()
            if type(part) in ATOMS or part is frame.culprit.value:
                continue
            if id(part) in self._tried:
                frame.blames_ancestor |= self._tried[id(part)][1] is not None
                continue
            error = self.try_pickle(part)
            if error is not None and not _is_more_of_the_same(part, error, stack):
                return _Culprit(path, part, error)
        return None

    def try_pickle(self, value: object) -> BaseException | None:
        """Return what pickling ``value`` alone raises."""
        if not self._left:
            raise _LimitReached
        self._left -= 1
        error = _failure(value, self._clock)
        self._tried[id(value)] = value, error
        return error


def _failure(value: object, clock: _Clock) -> BaseException | None:
    try:
        _Probe(clock).dump(value)
    except _LimitReached:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 (what was raised is the answer)
        return error
    return None


class _Clock:
    """Where probes write to: nowhere, and not beyond the deadline."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline

    def check(self) -> None:
        if time.monotonic() > self._deadline:
            raise _LimitReached

    def write(self, data: bytes) -> int:
        self.check()
        return len(data)


class _Probe(Pickler):
    """Pickles to nowhere; large buffers are not even copied."""

    def __init__(self, clock: _Clock) -> None:
        super().__init__(clock, _PROTOCOL, buffer_callback=lambda _: None)
        self._clock = clock

    def reducer_override(self, obj: object) -> Any:
        self._clock.check()
        return super().reducer_override(obj)


def _is_recursion(error: BaseException) -> bool:
    return isinstance(error, RecursionError) or isinstance(error.__cause__, RecursionError)


def _is_more_of_the_same(part: object, error: BaseException, stack: list[_Frame]) -> bool:
    """Tell whether a too deep part only continues a nesting that began above it; the beginning is the better answer."""
    return _is_recursion(error) and any(type(part) is type(frame.culprit.value) for frame in stack)


def _unharmed(value: object, path: str) -> _Parts:
    """The parts of a value, up to where its own code, or another thread that changes it, breaks the walk."""
    with suppress(Exception, SystemExit):
        yield from _parts(value, path)


# --- the parts of a value, as cloudpickle sees them -------------------------------------------------------------------

#: Types of values that have no parts.
ATOMS = frozenset({int, float, complex, bool, str, bytes, bytearray, type(None), type(Ellipsis)})
_NOT_SHIPPED = frozenset({"__dict__", "__weakref__", "_abc_impl"})  # cloudpickle leaves these out of a class


def _parts(value: object, path: str) -> _Parts:
    if type(value) is dict:
        return _items(value.items(), path)
    if type(value) is list or type(value) is tuple:
        return ((f"{path}[{i}]", item) for i, item in enumerate(value))
    if type(value) is set or type(value) is frozenset:
        return ((f"{path}.<element {i}>", item) for i, item in enumerate(value))
    if isinstance(value, types.FunctionType):
        return _function_parts(value, path)
    if isinstance(value, type):
        return _class_parts(value, path)
    return _object_parts(value, path)


def _items(items: Iterable[tuple[object, object]], path: str) -> _Parts:
    for key, item in items:
        yield f"{path}.<key {short_repr(key)}>", key
        yield f"{path}[{short_repr(key)}]", item


def _function_parts(fn: types.FunctionType, path: str) -> _Parts:
    code = fn.__code__
    for name, cell in zip(code.co_freevars, fn.__closure__ or (), strict=True):
        with suppress(ValueError):  # the cell is still empty
            yield f"{path}.<closure {name!r}>", cell.cell_contents
    for name in _global_names(code):
        if name in fn.__globals__:
            yield f"{path}.<global {name!r}>", fn.__globals__[name]
    positional = code.co_varnames[: code.co_argcount]
    defaults = fn.__defaults__ or ()
    named = zip(positional[len(positional) - len(defaults) :], defaults, strict=True)
    for name, default in (*named, *(fn.__kwdefaults__ or {}).items()):
        yield f"{path}.<default {name!r}>", default
    yield from ((f"{path}.__annotations__[{name!r}]", hint) for name, hint in fn.__annotations__.items())
    yield from _attributes(vars(fn), path)


def _global_names(code: types.CodeType) -> list[str]:
    """Names of the globals that a function uses, those of the functions inside it included, in order of use."""
    names = [i.argval for i in dis.get_instructions(code) if i.opname.endswith("_GLOBAL")]
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names += _global_names(constant)
    return list(dict.fromkeys(names))


def _class_parts(cls: type, path: str) -> _Parts:
    own = {
        name: part
        for name, part in vars(cls).items()
        if name not in _NOT_SHIPPED and not isinstance(part, types.MemberDescriptorType | types.GetSetDescriptorType)
    }
    yield from _attributes(own, path)
    yield from ((f"{path}.__bases__[{i}]", base) for i, base in enumerate(cls.__bases__))


def _attributes(attributes: Mapping[str, object], path: str) -> _Parts:
    yield from ((f"{path}{_attribute_suffix(name)}", part) for name, part in attributes.items())


def _attribute_suffix(name: str) -> str:
    return f".{name}" if name.isidentifier() else f".__dict__[{name!r}]"


def _object_parts(value: object, path: str) -> _Parts:
    if _is_object_array(value):
        yield from ((f"{path}.flat[{i}]", item) for i, item in enumerate(value.flat))  # type: ignore[attr-defined]
        return
    reduction = _reduce(value)
    if isinstance(reduction, tuple):
        names = _names(value)
        for suffix, part in _reduction_parts(value, reduction):
            yield path + names.get(id(part), suffix), part


def _is_object_array(value: object) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and type(value) is numpy.ndarray and value.dtype == object  # type: ignore[attr-defined]


def _reduce(value: object) -> Any:
    reducer = Pickler.dispatch_table.get(type(value))
    return reducer(value) if reducer is not None else value.__reduce_ex__(_PROTOCOL)


def _reduction_parts(value: object, reduction: tuple[Any, ...]) -> _Parts:
    function, args, state, list_items, dict_items, state_setter = (*reduction, *[None] * 6)[:6]
    where = f".__reduce_ex__({_PROTOCOL})"
    yield f"{where}[0]", function
    yield from ((f"{where}[1][{i}]", arg) for i, arg in enumerate(args))
    yield from _state_parts(state, ".__getstate__()" if _has_own_getstate(value) else f"{where}[2]")
    yield from ((f"[{i}]", item) for i, item in enumerate(list_items or ()))
    yield from _items(dict_items or (), "")
    yield f"{where}[5]", state_setter


def _has_own_getstate(value: object) -> bool:
    return getattr(type(value), "__getstate__", None) is not object.__getstate__


def _state_parts(state: object, where: str) -> _Parts:
    """The entries of a state, not the containers made for it, so that they can be recognised as attributes."""
    if type(state) is dict:
        yield from _items(state.items(), where)
    elif type(state) is tuple and len(state) == 2 and all(part is None or type(part) is dict for part in state):
        for i, part in enumerate(state):
            yield from _items((part or {}).items(), f"{where}[{i}]")
    elif type(state) is tuple or type(state) is list:
        yield from ((f"{where}[{i}]", part) for i, part in enumerate(state))
    else:
        yield where, state


def _names(value: object) -> dict[int, str]:
    """Friendlier paths for parts of an object: id of the part -> ``.attribute`` or ``[index]``."""
    names = {id(part): suffix for suffix, part in _attributes(_slots(type(value), value), "")}
    if isinstance(value, BaseException):
        names |= {id(part): f".args[{i}]" for i, part in enumerate(value.args)}
    if isinstance(value, tuple):
        names |= {id(part): f"[{i}]" for i, part in enumerate(value)}
    if isinstance(value, types.BuiltinMethodType):
        names[id(value.__self__)] = ".__self__"
    attributes = getattr(value, "__dict__", None)
    if isinstance(attributes, dict):
        names |= {id(part): suffix for suffix, part in _attributes(attributes, "")}
    return names | {id(type(value)): ".__class__"}


def _slots(cls: type, value: object) -> dict[str, object]:
    """Values of ``__slots__`` and of the plain fields of C types (``partial.func``, ``method.__self__``)."""
    slots = {}
    for base in cls.__mro__:
        for name, descriptor in vars(base).items():
            if isinstance(descriptor, types.MemberDescriptorType):
                with suppress(AttributeError):
                    slots[name] = descriptor.__get__(value)
    return slots
