"""Pickling across the process border: what may not cross is named, and exceptions cross whole.

`dumps` and `dumps_call` run in the sender (calls in the parent, results in the worker), `loads` in the receiver;
`pack_exception` runs in the worker and `unpack_exception` in the parent.

Invariants:

- The good path is one cloudpickle call. The search for a culprit starts after a failure and never changes the value.
- Every path in a message is a Python expression that leads to the culprit, but for the parts that have none:
  ``<closure 'x'>``, ``<global 'x'>``, ``<default 'x'>``, ``<key k>`` and ``<element n>`` (of a set).
- A stop request (a real Ctrl-C, the worker's interrupt) is never reported as a defect of a value by `dumps`.
"""

from __future__ import annotations

import functools
import io
import pickle
import sys
import traceback
from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from operator import attrgetter
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import cloudpickle

from procjob.errors import NotPicklableError, RemoteError, RemoteTraceback
from procjob.pool.culprit import ATOMS, CallWords, explain, explain_call
from procjob.pool.foreign import MAX_TEXT, clip, describe, guarded, is_ctrl_c, text_of, type_name
from procjob.pool.memory import Contents
from procjob.pool.payload import Buffers, unpack

if TYPE_CHECKING:
    from pickle import Pickler  # cloudpickle has no annotations; its Pickler is a subclass of this one
else:
    from cloudpickle import Pickler

_PROTOCOL = pickle.HIGHEST_PROTOCOL

#: Modules whose functions and classes have been sent.
_looked_for = {"__main__"}  # always by value

if "__mp_main__" in sys.modules:  # the script, in a process that multiprocessing has spawned; no worker can import it
    cloudpickle.register_pickle_by_value(sys.modules["__mp_main__"])


# --- calls and values -------------------------------------------------------------------------------------------------


def dumps(value: object, *, label: str = "value", buffers: Buffers | None = None) -> bytes:
    """Pickle a value by cloudpickle.

    Args:
        value: anything.
        label: how the message calls the value, the start of the path to a culprit.
        buffers: takes the large buffers in the value, which the pickle only refers to then.

    Returns:
        The pickle, readable by plain `pickle.loads` where cloudpickle is installed; with ``buffers``, by
        `procjob.pool.payload.unpack`.

    Raises:
        NotPicklableError: names the path to the part that cannot be pickled; its cause is the original exception.
            `MemoryError` and what is no `Exception` (Ctrl-C, `SystemExit`) pass unchanged.

    >>> import threading
    >>> dumps({"noise": [threading.Lock()]}, label="args[0]")
    Traceback (most recent call last):
    ...
    procjob.errors.NotPicklableError: args[0]['noise'][0]: cannot pickle '_thread.lock' object; create it inside the \
task instead
    """
    try:
        return _pickle(value, buffers)
    except MemoryError:  # says nothing about the value, and a search would need more memory still
        raise
    except Exception as error:
        raise NotPicklableError(explain(label, value, error)) from error


def dumps_call(
    fn: Callable[..., object],
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    *,
    buffers: Buffers | None = None,
    words: CallWords = ("fn", "args"),
) -> bytes:
    """Pickle the tuple ``(fn, args, kwargs)``; like `dumps`, with paths that start at the call's own words.

    >>> dumps_call(sum, ((i * i for i in range(9)),), {})
    Traceback (most recent call last):
    ...
    procjob.errors.NotPicklableError: args[0]: cannot pickle 'generator' object; pass a list of its items instead
    """
    try:
        return dumps_simple_call(fn, args, kwargs) or _pickle((fn, args, kwargs), buffers)
    except MemoryError:
        raise
    except Exception as error:
        raise NotPicklableError(explain_call(fn, args, kwargs, error, words)) from error


def dumps_simple_call(fn: object, args: tuple[object, ...], kwargs: Mapping[str, object]) -> bytes | None:
    """Pickle ``(fn, args, kwargs)`` in a third of the time if cloudpickle would do with it what pickle does, else None."""
    try:
        simple = (
            type(args) is tuple
            and type(kwargs) is dict  # of which the names, too, may be of a class of the script
            and ATOMS.issuperset(map(type, (*args, *kwargs, *kwargs.values())))
            and _is_left_to_pickle(fn)
        )
        return pickle.dumps((fn, args, kwargs), _PROTOCOL) if simple else None
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  (``fn`` is not what its module has under its name: cloudpickle helps, or says why not)
        return None


def _is_left_to_pickle(fn: object) -> bool:
    """Whether cloudpickle leaves a callable to pickle, provided that its module has it under its name."""
    if type(fn) in ATOMS:
        return True
    if type(fn) is BuiltinFunctionType:
        return type(fn.__self__) is ModuleType  # else it is a method, pickled with its object
    if type(fn) is not FunctionType or fn.__module__ == "__main__":
        return False
    _look_for(fn.__module__)
    by_value = cloudpickle.list_registry_pickle_by_value()
    return fn.__module__ in sys.modules and not any(f"{fn.__module__}.".startswith(f"{name}.") for name in by_value)


def _look_for(module: object) -> None:
    """Have a module that no finder finds travel by value: no worker could import what pytest has by its path, say."""
    if not isinstance(module, str) or module in _looked_for:
        return
    _looked_for.add(module)
    if module in sys.modules and not guarded(lambda: _is_found(module), True):
        cloudpickle.register_pickle_by_value(sys.modules[module])


def _is_found(module: str) -> bool:
    """Whether finders find a module where a worker looks: pytest has a ``test.test_x`` beside the interpreter's ``test``.

    Of one that its package has put there itself, in C or under a second name, or that is below such a name, the outermost
    package counts.
    """
    names = list(accumulate(module.split("."), "{}.{}".format))
    specs = {name: getattr(sys.modules.get(name), "__spec__", None) for name in names}
    own = specs[module] and all(spec is None or spec.name == name for name, spec in specs.items())
    path = None
    for name in names if own else names[:1]:
        spec = next(filter(None, (finder.find_spec(name, path) for finder in sys.meta_path)), None)
        if spec is None:
            return False
        found, path = spec.submodule_search_locations, getattr(sys.modules.get(name), "__path__", None)
        same = spec.origin is not None and spec.origin == getattr(specs[name], "origin", None)  # it may change its path
        if path is None or (found and not same and set(found).isdisjoint(path)):
            path = found
        if not path:
            break
    return True


def loads(data: bytes | memoryview | Contents | None, *, what: str | Callable[[], str]) -> Any:
    """Unpickle what `dumps` made.

    Args:
        data: the pickle, or what `procjob.pool.payload.pack` made of it; None: there was no room for it.
        what: how the message calls it, such as ``"the result"``, or what returns that.

    Raises:
        RemoteError: anything was raised meanwhile, `SystemExit` and other `BaseException` included; it is the cause.
        MemoryError: as it is: it tells of this machine at this moment and not of the data, and callers know the type.
        KeyboardInterrupt: only where a Ctrl-C can be real, see `is_ctrl_c`.

    >>> loads(b"no pickle", what="the result")
    Traceback (most recent call last):
    ...
    procjob.errors.RemoteError: the result could not be unpickled: _pickle.UnpicklingError: invalid load key, 'n'.
    """
    if data is None:
        raise MemoryError(f"no memory, or no file descriptor, for {what if isinstance(what, str) else what()}")
    return loaded(unpack, data, what=what)


def loaded(load: Callable[[Any], Any], data: Any, *, what: str | Callable[[], str]) -> Any:
    """Return ``load(data)``, which unpickles; raises as `loads` does."""
    try:
        return load(data)
    except MemoryError:
        raise
    except BaseException as error:
        if is_ctrl_c(error):
            raise
        name = what if isinstance(what, str) else what()
        raise RemoteError(f"{name} could not be unpickled: {describe(error)}") from error


def _reduced_cache(cached: Any) -> str | tuple[Any, ...]:
    """Reduce a function with a cache: to its name if a worker finds it there, else to the function, with an empty cache."""
    wrapped = cached.__wrapped__

    def named() -> Any:
        return attrgetter(cached.__qualname__)(sys.modules[cached.__module__])

    if _is_left_to_pickle(wrapped) and guarded(named, None) is cached:
        return str(cached.__qualname__)
    return _with_cache, (wrapped, cached.cache_parameters())


def _with_cache(fn: Callable[..., Any], parameters: Mapping[str, Any]) -> Callable[..., Any]:
    cached: Callable[..., Any] = functools.lru_cache(**parameters)(fn)
    return cached


_TABLE, *_TABLES = cloudpickle.Pickler.dispatch_table.maps  # each table more takes time for each object


def _reduced_code(code: CodeType) -> Any:
    # From 3.1.3 on cloudpickle leaves the file out, by whose lines a traceback shows where in a script a task has failed.
    make, parts = _TABLE[CodeType](code)
    named = (code.co_filename if isinstance(part, str) and part == "<dynamic-code>" else part for part in parts)
    return make, tuple(named)


class _Pickler(Pickler):
    """That of cloudpickle, which sends functions of a script with all they need, but of their caches the names only."""

    def reducer_override(self, obj: Any) -> Any:
        if issubclass(type(obj), type) or isinstance(obj, FunctionType):
            _look_for(getattr(obj, "__module__", None))
            return super().reducer_override(obj)
        return NotImplemented

    dispatch_table: Any = ChainMap(  # noqa: RUF012  (as typeshed)
        {**_TABLE, functools._lru_cache_wrapper: _reduced_cache, CodeType: _reduced_code}, *_TABLES
    )


def _pickle(value: object, buffers: Buffers | None = None) -> bytes:
    if type(value) in ATOMS:  # cloudpickle would do the same, more slowly
        return pickle.dumps(value, _PROTOCOL)
    file = io.BytesIO()
    _Pickler(file, _PROTOCOL, buffer_callback=None if buffers is None else buffers.keeps).dump(value)
    return file.getvalue()


# --- exceptions -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Packed:
    pickled: bytes | None
    type_name: str
    text: str
    traceback: str
    notes: tuple[str, ...]


def pack_exception(exc: BaseException) -> bytes:
    """Pack an exception for another process, whatever it is; see `unpack_exception`.

    The exception is pickled and, for a try, unpickled here: many pickle but do not unpickle. Its traceback, chained
    exceptions included, travels as text.
    """
    packed = _Packed(
        pickled=guarded(lambda: _pickle_and_check(exc), None),
        type_name=type_name(exc),
        text=text_of(exc),
        traceback=guarded(lambda: clip("".join(traceback.format_exception(exc)), MAX_TEXT), describe(exc)),
        notes=_notes(exc),
    )
    return pickle.dumps(packed, _PROTOCOL)


def unpack_exception(data: bytes | memoryview | Contents | None) -> BaseException:
    """Unpack what `pack_exception` made; raises nothing of its own.

    Returns:
        The exception with its type, arguments and notes, or a `RemoteError` with its type and text if it cannot be
        pickled or unpickled. Its ``__cause__`` is a `RemoteTraceback`.

    >>> error = unpack_exception(pack_exception(ZeroDivisionError("no shots")))
    >>> error, type(error.__cause__).__name__
    (ZeroDivisionError('no shots'), 'RemoteTraceback')
    """
    packed = guarded(lambda: loads(data, what="an exception"), None)
    if not isinstance(packed, _Packed):
        return RemoteError("an exception could not be unpickled: the message that carried it is damaged")
    loaded = guarded(lambda: pickle.loads(packed.pickled or b""), None)
    exc = loaded if isinstance(loaded, BaseException) else RemoteError(f"{packed.type_name}: {packed.text}")
    _restore(exc, RemoteTraceback(packed.traceback), packed.notes)
    return exc


def add_note(exc: BaseException, note: str) -> None:
    """Add a note to an exception of any type; one that takes no note goes without."""
    guarded(lambda: BaseException.__setattr__(exc, "__notes__", [*_notes(exc), note]), None)


def _pickle_and_check(exc: BaseException) -> bytes:
    data = _pickle(exc)
    pickle.loads(data)
    return data


def _restore(exc: BaseException, cause: RemoteTraceback, notes: tuple[str, ...]) -> None:
    """Set cause and notes past any ``__setattr__`` of the type: frozen dataclasses make exceptions that refuse both."""
    vars(BaseException)["__cause__"].__set__(exc, cause)
    if notes and not _notes(exc):  # a custom __reduce__ loses them
        guarded(lambda: BaseException.__setattr__(exc, "__notes__", list(notes)), None)


def _notes(exc: BaseException) -> tuple[str, ...]:
    def read() -> tuple[str, ...]:
        return tuple(clip(note, MAX_TEXT) for note in getattr(exc, "__notes__", ()) if isinstance(note, str))

    return guarded(read, ())
