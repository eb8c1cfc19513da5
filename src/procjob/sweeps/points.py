"""The points of a sweep: which values each call gets, by position.

    grid(**axes) ── Product of one Axes a name          points * points ── Product, the last part varies fastest
    zipped(**axes) ─ Axes of equal length               points + points ── Sum, one behind the other
    an iterable of mappings ── Axes if it is a sequence, else Stream: read once, in order, as far as it is needed;
        it takes part in sums and products, too

What is computed from positions (`Points.take`) costs memory for the axes only, however many points they span.
"""

from __future__ import annotations

import contextlib
import math
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import chain, islice
from numbers import Number
from typing import Any

import numpy as np
from numpy.typing import NDArray

from procjob.pool.futures import SteadyCondition
from procjob.pool.threads import start_thread

Column = NDArray[Any]
Positions = NDArray[np.int64]

#: Seconds that one reading of an iterator may take, unless a single point takes longer.
READING = 0.1
#: The same of one that was slower than that before, and may be waiting for results.
SHORT_READING = 0.001


class Points(ABC):
    """A sequence of points: mappings of axis names to values.

    Attributes:
        names: of the axes, in order.
    """

    names: tuple[str, ...]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def take(self, positions: Positions) -> dict[str, Column]:
        """Return the values at some positions: for each axis an array of shape (positions,)."""

    @property
    def parts(self) -> tuple[Points, ...]:
        """The independent dimensions; the last one varies fastest."""
        return (self,)

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of points along each dimension."""
        return tuple(len(part) for part in self.parts)

    @abstractmethod
    def axes(self) -> Iterator[tuple[str, Column]]:
        """Yield name and values of each axis that the points are made of."""

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """Return what `from_spec` makes these points of: plain data and arrays."""

    def columns(self, start: int, stop: int) -> dict[str, Column]:
        """Return the values of a range of points, as `take` does."""
        return self.take(np.arange(start, stop, dtype=np.int64))

    def is_compact(self) -> bool:
        """Whether the axes have fewer values than there are points, so that whoever needs many points should have the axes."""
        return sum(len(values) for _, values in self.axes()) < len(self)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for start in range(0, len(self), 1024):
            yield from rows(self.columns(start, min(start + 1024, len(self))))

    def __mul__(self, other: Any) -> Any:
        """Every point of this one with every point of the other, which varies faster unless it is an iterator."""
        other = _operand(other)
        if isinstance(other, Stream):
            return other * self
        return NotImplemented if other is None else Product((*self.parts, *other.parts))

    def __rmul__(self, other: Any) -> Any:
        other = _operand(other)
        return NotImplemented if other is None else other * self

    def __add__(self, other: Any) -> Any:
        """The points of this one, then those of the other."""
        other = _operand(other)
        if isinstance(other, Stream):
            return Stream(_chained(self, other))
        return NotImplemented if other is None else Sum((self, other))

    def __radd__(self, other: Any) -> Any:
        other = _operand(other)
        return NotImplemented if other is None else other + self

    def __repr__(self) -> str:
        return f"<{len(self)} points of {', '.join(self.names)}>"


class Axes(Points):
    """One dimension: axes of equal length that vary together."""

    def __init__(self, columns: Mapping[str, Column]) -> None:
        self.names = tuple(columns)
        self._columns = dict(columns)
        self._length = len(next(iter(columns.values())))

    def __len__(self) -> int:
        return self._length

    def take(self, positions: Positions) -> dict[str, Column]:
        """See `Points.take`."""
        return {name: column[positions] for name, column in self._columns.items()}

    def columns(self, start: int, stop: int) -> dict[str, Column]:
        """See `Points.columns`."""
        return {name: column[start:stop].copy() for name, column in self._columns.items()}

    def axes(self) -> Iterator[tuple[str, Column]]:
        """See `Points.axes`."""
        yield from self._columns.items()

    def spec(self) -> dict[str, Any]:
        """See `Points.spec`."""
        plain = {name: values.tolist() if values.dtype == object else values for name, values in self._columns.items()}
        return {"kind": "axes", "axes": plain}


class Product(Points):
    """Every combination of the points of its parts."""

    def __init__(self, parts: tuple[Points, ...]) -> None:
        names = [name for part in parts for name in part.names]
        _check_different(names)
        self.names = tuple(names)
        self._parts = parts
        self._length = math.prod(len(part) for part in parts)
        if self._length > np.iinfo(np.int64).max:
            raise ValueError(f"a grid of {self._length:.3g} points is more than can be counted; shorten an axis")

    def __len__(self) -> int:
        return self._length

    @property
    def parts(self) -> tuple[Points, ...]:
        """See `Points.parts`."""
        return self._parts

    def take(self, positions: Positions) -> dict[str, Column]:
        """See `Points.take`."""
        places = (
            np.unravel_index(positions, self.shape) if self._parts else ()
        )  # a selection may have left no dimension
        return {
            name: column
            for part, place in zip(self._parts, places, strict=True)
            for name, column in part.take(np.asarray(place, dtype=np.int64)).items()
        }

    def axes(self) -> Iterator[tuple[str, Column]]:
        """See `Points.axes`."""
        for part in self._parts:
            yield from part.axes()

    def spec(self) -> dict[str, Any]:
        """See `Points.spec`."""
        return {"kind": "product", "parts": [part.spec() for part in self._parts]}


class Sum(Points):
    """The points of its parts, one behind the other."""

    def __init__(self, parts: tuple[Points, ...]) -> None:
        self.names = parts[0].names
        for part in parts[1:]:
            if set(part.names) != set(self.names):
                raise ValueError(
                    f"points of {', '.join(self.names)} and points of {', '.join(part.names)} cannot be added: "
                    "both need the same axes"
                )
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def take(self, positions: Positions) -> dict[str, Column]:
        """See `Points.take`."""
        which = np.searchsorted(self._ends, positions, side="right")
        taken = {
            number: part.take(positions[which == number] - (self._ends[number] - len(part)))
            for number, part in enumerate(self._parts)
            if (which == number).any()
        }
        order = np.argsort(np.argsort(which, kind="stable"), kind="stable")
        return {name: joined([part[name] for part in taken.values()])[order] for name in self.names}

    def axes(self) -> Iterator[tuple[str, Column]]:
        """See `Points.axes`."""
        for part in self._parts:
            yield from part.axes()

    def spec(self) -> dict[str, Any]:
        """See `Points.spec`."""
        return {"kind": "sum", "parts": [part.spec() for part in self._parts]}


class Stream:
    """Points that an iterator gives, one after the other; their number shows at the end."""

    def __init__(self, points: Iterable[Mapping[str, Any]]) -> None:
        self._points = iter(points)
        self._read = 0
        self._names: tuple[str, ...] | None = None
        self._failure: BaseException | None = None
        self._spoilt = False

    @property
    def names(self) -> tuple[str, ...]:
        """The axes of the first point.

        Raises:
            ValueError: there is no point.
            TypeError: the first is not a mapping of axis names to values.
        """
        if self._names is None:
            first = list(islice(self._points, 1))
            if not first:
                raise ValueError("points is empty: the iterable gave none")
            self._names = checked_names(first[0], "points[0]")
            self._points = chain(first, self._points)
        return self._names

    def read(self, count: int) -> dict[str, Column]:
        """Return the values of the next points, up to ``count`` of them; none at the end.

        Of an iterator that takes its time, fewer: the points that are there should run, and a cancel be heard. Points before one
        that cannot be read are returned, and what was raised is raised by the next call.

        Raises:
            TypeError: one is not a mapping of axis names to values.
            ValueError: one has other axes than the first.
            Exception: what the iterator raised.
        """
        found: list[Any] = []
        points = self.unread()
        if self._failure is None:
            deadline = time.monotonic() + READING
            try:
                for point in islice(points, count):
                    found.append(point)
                    if time.monotonic() >= deadline:
                        break
            except Exception as exc:  # noqa: BLE001  (the user's own)
                self.fail(exc)
        return self.checked(found)

    def unread(self) -> Iterator[Any]:
        """Return the iterator, for who draws points from it himself and gives them to `checked`."""
        _ = self.names
        return self._points

    def fail(self, error: BaseException) -> None:
        """Have ``error`` raised where no point before it is left."""
        self._failure = error

    def checked(self, found: list[Any]) -> dict[str, Column]:
        """Return the columns of points that were drawn; raises as `read` does."""
        columns = {} if self._spoilt else self._transposed(found, self.names)
        if not columns and self._failure is not None:
            raise self._failure
        return columns

    def _transposed(self, found: list[Any], names: tuple[str, ...]) -> dict[str, Column]:
        """Return the columns of the points before the first bad one."""
        try:
            columns = transposed(found, names, first=self._read)
        except (TypeError, ValueError) as exc:
            self._failure, self._spoilt = exc, True  # nothing behind a bad point is of use
            good = 0
            with contextlib.suppress(TypeError, ValueError):
                for good, point in enumerate(found):  # noqa: B007  (how many are good)
                    transposed([point], names)
            found = found[:good]
            columns = transposed(found, names)
        self._read += len(found)
        return columns

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while columns := self.read(1):
            yield from rows(columns)

    def __mul__(self, other: Any) -> Any:
        """Every point of this one with every point of the other, which varies faster on either side of the product."""
        other = _operand(other)
        if isinstance(other, Stream):
            raise TypeError("a product of two iterators would have to read one of them often; make it a list")
        return NotImplemented if other is None else Stream(_crossed(self, other))

    def __add__(self, other: Any) -> Any:
        other = _operand(other)
        return NotImplemented if other is None else Stream(_chained(self, other))

    def __radd__(self, other: Any) -> Any:
        other = _operand(other)
        return NotImplemented if other is None else Stream(_chained(other, self))

    def __repr__(self) -> str:
        return f"<points from an iterator, {self._read} read>"


class Reader:
    """Draws the points of a stream in a thread of its own, no further than asked: who runs them must not wait for an iterator.

    Args:
        stream: to read.
        wake: called when there is a point, or the end, after `read` has found none.
    """

    def __init__(self, stream: Stream, wake: Callable[[], object]) -> None:
        self._stream = stream
        self._wake = wake
        self._found: deque[Any] = deque()
        self._changed = SteadyCondition()
        self._wanted = 0
        self._begun = self._awaited = self._ended = self._slow = False

    def read(self, count: int) -> dict[str, Column] | None:
        """Return the next points as `Stream.read` does; None: there are none yet, and ``wake`` will be called."""
        if not self._begun:
            self._begun = True
            start_thread("procjob-points", self._draw, self._stream.unread())
        with self._changed:
            self._wanted = count
            self._changed.notify_all()
            patience = SHORT_READING if self._slow else READING
            self._changed.wait_for(lambda: len(self._found) >= count or self._ended, patience)
            self._slow = not self._found or (self._slow and len(self._found) == 1)
            self._awaited = not self._ended  # before looking, so that no point is missed
            found = [self._found.popleft() for _ in range(min(count, len(self._found)))]
            if self._awaited and not found:
                return None
            self._awaited, self._wanted = False, 0
        return self._stream.checked(found)

    def close(self) -> None:
        """Draw no more."""
        with self._changed:
            self._ended, self._awaited = True, False
            self._changed.notify_all()

    def _draw(self, points: Iterator[Any]) -> None:
        """Draw; the lock is taken only where somebody may wait, not for each point."""
        while True:
            if len(self._found) >= self._wanted or self._ended:
                with self._changed:
                    self._changed.wait_for(lambda: len(self._found) < self._wanted or self._ended)
                if self._ended:
                    return
            try:
                self._found.append(next(points))
            except StopIteration:
                self._ended = True
            except BaseException as exc:  # noqa: BLE001  (the user's own; nobody else would hear of it)
                self._stream.fail(exc)
                self._ended = True
            if self._awaited or self._ended or len(self._found) >= self._wanted:
                with self._changed:
                    self._changed.notify_all()
                    awaited, self._awaited = self._awaited, False
                if awaited:
                    self._wake()


def _chained(*streams: Points | Stream) -> Iterator[dict[str, Any]]:
    for stream in streams:
        yield from stream


def _crossed(stream: Stream, points: Points) -> Iterator[dict[str, Any]]:
    _check_different([*stream.names, *points.names])
    for mine in stream:
        for theirs in points:
            yield mine | theirs


def _check_different(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"axis {twice[0]!r} is in both factors of a product of points; rename one of them")


def _operand(value: Any) -> Points | Stream | None:
    """Return what stands beside points in a sum or product as points; None if it cannot be."""
    if isinstance(value, (Mapping, str, bytes)) or not isinstance(value, (Points, Stream, Iterable)):
        return None
    return as_points(value)


# ---------------------------------------------------------------- what users write


def grid(**axes: Iterable[Any]) -> Points:
    """Span a grid: every combination of the values of its axes; the last axis varies fastest.

    Args:
        **axes: for each parameter its values: a one-dimensional array, or any iterable; numbers have to be finite.
            A function is called with Python's own numbers, a vectorized one with arrays. Of several types, each value keeps its
            own: 0 beside 0.5 is an int. Times of NumPy's stay such.

    Raises:
        ValueError: an axis is empty, has several dimensions or a number that is not finite.
        TypeError: an axis cannot be iterated over.

    Example:
        >>> from procjob import grid, zipped
        >>> points = grid(theta=[0.0, 0.5], depth=[1, 2, 3])
        >>> points
        <6 points of theta, depth>
        >>> points.shape, list(points)[1]
        ((2, 3), {'theta': 0.0, 'depth': 2})
        >>> list(zipped(x=[0, 1], y=[5, 6]) * grid(z=[7]) + grid(x=[9], y=[9], z=[9]))[-1]
        {'x': 9, 'y': 9, 'z': 9}
    """
    if not axes:
        raise ValueError("a grid needs at least one axis: grid(theta=[...], depth=[1, 2, 3])")
    parts = tuple(Axes({name: axis(name, values)}) for name, values in axes.items())
    return Product(parts) if len(parts) > 1 else parts[0]


def zipped(**axes: Iterable[Any]) -> Points:
    """Let several axes vary together, as `zip` does; all need the same length.

    Args:
        **axes: as for `grid`.

    Raises:
        ValueError: the lengths differ, or as `grid` does.
        TypeError: as `grid` does.

    Example:
        >>> list(zipped(x=[0.0, 0.5], shots=[100, 200]))
        [{'x': 0.0, 'shots': 100}, {'x': 0.5, 'shots': 200}]
    """
    if not axes:
        raise ValueError("zipped needs at least one axis: zipped(theta=[...], phi=[...])")
    columns = {name: axis(name, values) for name, values in axes.items()}
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"zipped axes need the same length, not {told}; use grid for every combination")
    return Axes(columns)


def as_points(points: Any) -> Points | Stream:
    """Return what a user gave as points in its right form.

    Raises:
        TypeError: it is none.
        ValueError: it is empty, or the mappings have different keys.
    """
    if isinstance(points, (Points, Stream)):
        return points
    if isinstance(points, (Mapping, str, bytes)) or not isinstance(points, Iterable):
        raise TypeError(f"points must be made by grid or zipped, or be an iterable of mappings, not {points!r:.200}")
    if not isinstance(points, Sequence):
        return Stream(points)
    if not points:
        raise ValueError("points is empty")
    return Axes(transposed(points, checked_names(points[0], "points[0]")))


def from_spec(spec: Mapping[str, Any]) -> Points:
    """Undo `Points.spec`."""
    if spec["kind"] == "axes":
        return Axes({name: column(values) for name, values in spec["axes"].items()})
    parts = tuple(from_spec(part) for part in spec["parts"])
    return Product(parts) if spec["kind"] == "product" else Sum(parts)


# ---------------------------------------------------------------- columns


def axis(name: str, values: Any) -> Column:
    """Return the values of one axis, checked, as an array.

    Raises:
        ValueError: there are none, they have several dimensions, or a number is not finite.
        TypeError: they cannot be iterated over.
    """
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise TypeError(
            f"axis {name} must be a list or an array of values, not {values!r:.200}; for one value: [value]"
        )
    if isinstance(values, np.ndarray) and values.ndim != 1:
        raise ValueError(
            f"axis {name} must have one dimension, not the shape {values.shape}; list(array) makes each row one value"
        )
    found = column(values)
    if not len(found):
        raise ValueError(f"axis {name} is empty; give it at least one value")
    check_finite(found, f"axis {name}")
    return found


def column(values: Iterable[Any]) -> Column:
    """Return values as an array: of numbers if all are of one kind that arrays hold exactly, else of objects."""
    array = values if type(values) is np.ndarray and values.ndim == 1 else None  # one of another class may have a mask
    if array is not None and array.dtype.kind in "biufc":
        return array.copy()
    # Of times tolist would give ints.
    listed = list(values) if array is None or array.dtype.kind in "mM" else array.tolist()
    kinds = set(map(type, listed))
    if any(issubclass(kind, (np.number, np.bool_)) for kind in kinds):
        if len(kinds) == 1 and _is_number(listed[0]):
            return np.array(listed)
        # As an array would give them: what a value is must not depend on those beside it.
        listed = [value.item() if _is_number(value) else value for value in listed]
        kinds = set(map(type, listed))
    if kinds in ({float}, {bool}, {complex}):
        return np.array(listed)
    if kinds == {int} and min(listed) >= -(1 << 63) and max(listed) < 1 << 63:
        return np.array(listed, dtype=np.int64)
    out = np.empty(len(listed), dtype=object)
    for number, value in enumerate(listed):  # one by one: a slice would unpack lists
        out[number] = value
    return out


def _is_number(value: Any) -> bool:
    """Whether a value is a number or bool of NumPy's."""
    return isinstance(value, (np.number, np.bool_)) and not isinstance(value, np.timedelta64)


#: What may be infinite, or no number, or no time, or masked.
_FINITE = (Number, np.datetime64, np.ndarray)


def check_finite(values: Column, what: str, first: int = 0) -> None:
    """Raise unless all numbers of a column are finite.

    Raises:
        ValueError: one is infinite or NaN.
    """
    if values.dtype.kind in "fc":
        finite = np.isfinite(values)
    elif values.dtype == object:
        finite = np.array([not isinstance(value, _FINITE) or _is_finite(value) for value in values], dtype=bool)
    else:
        return
    if not finite.all():
        at = int(np.argmin(finite))
        value = values.tolist()[at]
        raise ValueError(
            f"{what} has {value if isinstance(value, np.generic) else repr(value)} at position {first + at}; every number must be finite"
        )


def _is_finite(value: Any) -> bool:
    try:
        # Of a time: whether it is one. An array of one dimension or more may be padded with NaN.
        return bool(getattr(value, "ndim", 0) or np.isfinite(value))
    except TypeError:  # a whole number beyond 64 bits, a fraction, a decimal
        return not isinstance(value, Decimal) or value.is_finite()


def checked_names(point: Any, what: str) -> tuple[str, ...]:
    """Return the axes of a point.

    Raises:
        TypeError: it is not a mapping of strings to values.
        ValueError: it is empty.
    """
    if not isinstance(point, Mapping) or not all(isinstance(name, str) for name in point):
        raise TypeError(f"{what} must be a mapping of axis names to values, not {point!r:.200}")
    if not point:
        raise ValueError(f"{what} has no axes")
    return tuple(point)


def transposed(points: Sequence[Any], names: tuple[str, ...], *, first: int = 0) -> dict[str, Column]:
    """Return the columns of mappings; none if there are no points.

    Raises:
        TypeError: one is not a mapping of strings to values.
        ValueError: one has other axes than ``names``, or a number that is not finite.
    """
    for number, point in enumerate(points, start=first):
        if set(checked_names(point, f"points[{number}]")) != set(names):
            raise ValueError(f"points[{number}] has the axes {', '.join(point)}, but points[0] has {', '.join(names)}")
    columns = {name: column([point[name] for point in points]) for name in names} if points else {}
    for name, values in columns.items():
        check_finite(values, f"axis {name}", first)
    return columns


def joined(columns: Sequence[Column]) -> Column:
    """Return columns one behind the other: of numbers if all are and of one kind, else of Python's own objects."""
    if len(columns) == 1:
        return columns[0]
    if len({part.dtype for part in columns}) == 1:
        return np.concatenate(columns)
    out = np.empty(sum(map(len, columns)), dtype=object)
    at = 0
    for part in columns:
        out[at : at + len(part)] = part.tolist() if part.dtype != object else part
        at += len(part)
    return out


def rows(columns: Mapping[str, Column]) -> Iterator[dict[str, Any]]:
    """Yield the points of columns, numbers as Python's own."""
    names = tuple(columns)
    for values in zip(*(column.tolist() for column in columns.values()), strict=True):
        yield dict(zip(names, values, strict=True))
