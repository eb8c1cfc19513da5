"""Why a value cannot be pickled: the path to the part to blame, and what to do about it. Used after a failure only."""

from __future__ import annotations

import io
import pickle
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from procjob.pool.contents import Contents, contents
from procjob.pool.foreign import clip, describe, short_repr, text_of

if TYPE_CHECKING:
    from pickle import Pickler  # cloudpickle has no annotations; its Pickler is a subclass of this one
else:
    from cloudpickle import Pickler

#: Types of values that have no parts.
ATOMS = frozenset({int, float, complex, bool, str, bytes, bytearray, type(None), type(Ellipsis)})

#: What the user calls the callable of a call, and its arguments.
CallWords: TypeAlias = tuple[str, str]


def explain(label: str, value: object, error: BaseException) -> str:
    """Return what is wrong with a value whose pickling has raised ``error``; the path to the culprit begins with ``label``."""
    return _message(find_culprit(label, value, error))


def explain_call(
    fn: object, args: Iterable[object], kwargs: Mapping[str, object], error: BaseException, words: CallWords
) -> str:
    """Return the same for a call, with a path that begins with the call's own words."""
    return _message(find_culprit("the call", None, error, _contents_of_call(fn, args, kwargs, words)))


def _contents_of_call(fn: object, args: Iterable[object], kwargs: Mapping[str, object], words: CallWords) -> Contents:
    called, given = words
    yield called, fn
    yield from ((f"{given}[{i}]", arg) for i, arg in enumerate(args))
    yield from ((f"kwargs[{short_repr(name)}]", arg) for name, arg in kwargs.items())


# --- the message ------------------------------------------------------------------------------------------------------

_HINTS = {
    "generator": "pass a list of its items instead",
    "socket": "pass its address and connect inside the task instead",
    "Connection": "connect inside the task instead",
    "lock": "create it inside the task instead",
    "RLock": "create it inside the task instead",
}


def _message(culprit: Culprit) -> str:
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


@dataclass(frozen=True, slots=True)
class Culprit:
    """A part that cannot be pickled on its own, and what it raises."""

    path: str
    value: object
    error: BaseException


def find_culprit(
    label: str,
    value: object,
    error: BaseException,
    parts: Contents | None = None,
    *,
    max_objects: int = 100_000,
    max_seconds: float = 2.0,
) -> Culprit:
    """Find the deepest, smallest part of a value that cannot be pickled on its own.

    The value is walked as cloudpickle would walk it: containers, the state that objects give for pickling (so a
    ``__getstate__`` that leaves a lock out is respected), closures, globals and defaults of functions that travel by
    value, classes that do. Cycles are followed once.

    Args:
        label: the start of the path.
        value: what could not be pickled; it is not changed.
        error: what pickling it has raised.
        parts: where to begin, if not with the contents of the value.
        max_objects: how many parts are tried.
        max_seconds: how long the search may take; looked at between any two objects.

    Returns:
        The culprit; at a limit, the best so far. Raises nothing of its own; a stop request passes.
    """
    return _Search(max_objects, max_seconds).run(Culprit(label, value, error), parts)


@dataclass(slots=True)
class _Frame:
    """A part that cannot be pickled, and those of its own parts that are still to be tried."""

    culprit: Culprit
    parts: Contents
    blames_ancestor: bool = False


class _LimitReached(Exception):
    """The search has used up its objects or its time."""


class _Search:
    """One depth-first search; remembers every object it has tried."""

    def __init__(self, max_objects: int, max_seconds: float) -> None:
        self._left = max_objects
        self._clock = _Clock(time.monotonic() + max_seconds)
        # Ids are unique only among living objects, so the objects that were tried stay alive with their ids.
        self._tried: dict[int, tuple[object, BaseException | None]] = {}

    def run(self, root: Culprit, parts: Contents | None) -> Culprit:
        """Descend from a value that cannot be pickled into the first part that explains the failure by itself."""
        self._tried[id(root.value)] = root.value, root.error
        stack = [_Frame(root, contents(root.value, root.path) if parts is None else parts)]
        with suppress(_LimitReached):
            while stack:
                found = self._next_failing(stack)
                if found is not None:
                    stack.append(_Frame(found, contents(found.value, found.path)))
                elif not stack[-1].blames_ancestor:
                    return stack[-1].culprit
                else:  # fails only because it refers to something above: that one has to be explained by another part
                    stack.pop()
                    if stack:
                        stack[-1].blames_ancestor = True
        return stack[-1].culprit if stack else root

    def _next_failing(self, stack: list[_Frame]) -> Culprit | None:
        frame = stack[-1]
        for path, part in frame.parts:
            self._clock.check()
            if type(part) in ATOMS or part is frame.culprit.value:
                continue
            if id(part) in self._tried:
                frame.blames_ancestor |= self._tried[id(part)][1] is not None
                continue
            error = self._try_pickle(part)
            if error is not None and not _is_more_of_the_same(part, error, stack):
                return Culprit(path, part, error)
        return None

    def _try_pickle(self, value: object) -> BaseException | None:
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
        super().__init__(clock, pickle.HIGHEST_PROTOCOL, buffer_callback=lambda _: None)
        self._clock = clock

    def reducer_override(self, obj: object) -> Any:
        self._clock.check()
        return super().reducer_override(obj)


def _is_recursion(error: BaseException) -> bool:
    return isinstance(error, RecursionError) or isinstance(error.__cause__, RecursionError)


def _is_more_of_the_same(part: object, error: BaseException, stack: list[_Frame]) -> bool:
    """Tell whether a too deep part only continues a nesting that began above it; the beginning is the better answer."""
    return _is_recursion(error) and any(type(part) is type(frame.culprit.value) for frame in stack)
