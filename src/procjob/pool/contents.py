"""What a value consists of, as cloudpickle sees it: each part with the path that leads to it."""

from __future__ import annotations

import dis
import pickle
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from cloudpickle import Pickler

from procjob.pool.foreign import short_repr

#: Pairs of (path, part of a value).
Contents = Iterator[tuple[str, Any]]
_PROTOCOL = pickle.HIGHEST_PROTOCOL
_NOT_SHIPPED = frozenset({"__dict__", "__weakref__", "_abc_impl"})  # cloudpickle leaves these out of a class


def contents(value: object, path: str) -> Contents:
    """Yield the parts of a value, up to where its own code, or another thread that changes it, breaks the walk."""
    with suppress(Exception, SystemExit):
        yield from _parts(value, path)


def _parts(value: object, path: str) -> Contents:
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


def _items(items: Iterable[tuple[object, object]], path: str) -> Contents:
    for key, item in items:
        yield f"{path}.<key {short_repr(key)}>", key
        yield f"{path}[{short_repr(key)}]", item


def _function_parts(fn: types.FunctionType, path: str) -> Contents:
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


def _class_parts(cls: type, path: str) -> Contents:
    own = {
        name: part
        for name, part in vars(cls).items()
        if name not in _NOT_SHIPPED and not isinstance(part, types.MemberDescriptorType | types.GetSetDescriptorType)
    }
    yield from _attributes(own, path)
    yield from ((f"{path}.__bases__[{i}]", base) for i, base in enumerate(cls.__bases__))


def _attributes(attributes: Mapping[str, object], path: str) -> Contents:
    yield from ((f"{path}{_attribute_suffix(name)}", part) for name, part in attributes.items())


def _attribute_suffix(name: object) -> str:
    return f".{name}" if isinstance(name, str) and name.isidentifier() else f".__dict__[{short_repr(name)}]"


def _object_parts(value: object, path: str) -> Contents:
    if _is_object_array(value):
        yield from ((f"{path}.flat[{i}]", item) for i, item in enumerate(value.flat))  # type: ignore[attr-defined]  # an array: NumPy may not be there
        return
    reduction = _reduce(value)
    if isinstance(reduction, tuple):
        names = _names(value)
        for suffix, part in _reduction_parts(value, reduction):
            yield path + names.get(id(part), suffix), part


def _is_object_array(value: object) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and type(value) is numpy.ndarray and value.dtype == object  # type: ignore[attr-defined]  # likewise


def _reduce(value: object) -> Any:
    reducer = Pickler.dispatch_table.get(type(value))
    return reducer(value) if reducer is not None else value.__reduce_ex__(_PROTOCOL)


def _reduction_parts(value: object, reduction: tuple[Any, ...]) -> Contents:
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


def _state_parts(state: object, where: str) -> Contents:
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
