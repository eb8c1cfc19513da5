"""Results as columns: one array for each name, however the points were cut into chunks.

Two steps. A chunk has `exact` columns, which keep every value as it was: an array if all are of one type, else Python objects. What the
user sees is made of all of them by `combined`, and depends on the values alone: numbers become an array of the type that holds them
all, equal shapes one more axis or several; everything else stays a Python object.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Column = NDArray[Any]
_NUMBERS = "iufc"
_PLAIN = "biufc"
_EXACT = {bool, int, float, complex}
#: Types of NumPy that Python's own hold exactly.
_AS_PYTHON = (np.float64, np.int64, np.complex128, np.bool_)
_STANDARD = {np.dtype(np.float64), np.dtype(np.int64), np.dtype(np.complex128)}


def exact(values: Sequence[Any]) -> Column:
    """Return values of points as a column that `unpacked` takes apart again: of one type, or of objects."""
    kinds = set(map(type, values))
    if np.ndarray in kinds and any(isinstance(value, np.ndarray) and not value.ndim for value in values):
        return exact([value[()] if isinstance(value, np.ndarray) and not value.ndim else value for value in values])
    if len(kinds) == 1:
        (kind,) = kinds
        if kind is np.ndarray:
            alike = len({(value.dtype, value.shape) for value in values}) == 1 and values[0].dtype.kind in _PLAIN
            return np.stack(values) if alike else _objects(values)
        if kind in _EXACT or issubclass(kind, (np.number, np.bool_)):
            found = np.array(values)
            if kind is not int or found.dtype == np.int64:  # else one is beyond 64 bits
                return found
    elif not kinds.isdisjoint(_AS_PYTHON):
        return exact([value.item() if type(value) in _AS_PYTHON else value for value in values])
    return _objects(values)


def collected(values: Sequence[Any]) -> Column:
    """Return values of points as the user sees them: of shape (points,), or (points, *shape) for arrays of equal shape."""
    column = exact(values)
    return _promoted(column) if column.dtype == object else column


def shown(column: Column) -> Column:
    """Return the values of an axis as the user sees them: numbers of several types as numbers of one, times as an array of times.

    What the target is called with are the values of ``column`` itself.
    """
    if column.dtype != object:
        return column
    scalars = [value[()] if isinstance(value, np.ndarray) and not value.ndim else value for value in column]
    return times(_promoted(_objects(scalars)))


def times(column: Column) -> Column:
    """Return objects that are all times of NumPy's, of one unit, as an array of such."""
    if column.dtype == object and all(isinstance(value, (np.datetime64, np.timedelta64)) for value in column):
        dtypes = {value.dtype for value in column}
        if len(dtypes) == 1:
            return column.astype(dtypes.pop())
    return column


def _promoted(column: Column) -> Column:
    """Return objects that are numbers of several types as numbers of one."""
    kinds = set(map(type, column))
    if kinds and kinds <= {bool, np.bool_}:
        return column.astype(np.bool_)
    if not all(kind in _EXACT - {bool} or issubclass(kind, np.number) for kind in kinds):
        return column
    if any(type(value) is int and not -(1 << 63) <= value < 1 << 63 for value in column):
        return column  # no array holds them all exactly
    found = np.array(column.tolist())
    return found if found.dtype.kind in _NUMBERS else column


def combined(parts: Sequence[Column]) -> Column:
    """Return exact columns one behind the other, as `collected` makes one of all their values."""
    dtypes = {part.dtype for part in parts}
    if len(dtypes) == 1 and np.dtype(object) not in dtypes and len({part.shape[1:] for part in parts}) == 1:
        return np.concatenate(parts)
    if dtypes <= _STANDARD and all(part.ndim == 1 for part in parts):
        return np.concatenate(parts)
    return collected([value for part in parts for value in unpacked(part)])


def unpacked(values: Column) -> list[Any]:
    """Return the values of a column one by one: numbers as Python's own where these are exact, rows as arrays."""
    if values.ndim > 1:
        return list(values)
    plain = values.dtype in (*_AS_PYTHON, object)
    return values.tolist() if plain else list(values)


def of_one_type(columns: Mapping[str, Column]) -> Iterator[tuple[NDArray[np.int64], dict[str, Column]]]:
    """Cut columns so that in each piece the numbers of a column are of one type; yield positions and pieces.

    What a number is called with must not depend on those beside it: 1 beside 0.5 is 1 still.
    """
    given = {name: column if column.dtype in _AS_PYTHON else exact(column.tolist()) for name, column in columns.items()}
    count = len(next(iter(given.values())))
    pieces: dict[tuple[Any, ...], list[int]] = {}
    mixed = [column for column in given.values() if column.dtype == object]
    for number, values in enumerate(zip(*mixed, strict=True)):
        pieces.setdefault(tuple(map(_kind, values)), []).append(number)
    for piece in pieces.values() if len(pieces) > 1 else [range(count)]:
        positions = np.array(piece, dtype=np.int64)
        yield (
            positions,
            {name: times(exact(column[positions].tolist())) if column.dtype == object else column[positions]
             for name, column in given.items()},
        )  # fmt: skip


def _kind(value: Any) -> type | None:
    """Return the type of a number that arrays hold; None for anything else."""
    kind = type(value)
    return kind if kind in _EXACT and (kind is not int or -(1 << 63) <= value < 1 << 63) else None


def spread(values: Column, positions: NDArray[np.int64], count: int) -> Column:
    """Return a column of ``count`` points with these values at these positions.

    The others are NaN, which makes floats of whole numbers; None where objects and bools are.
    """
    if len(positions) == count:
        out = np.empty_like(values)
    elif values.dtype.kind in _NUMBERS:
        dtype = values.dtype if values.dtype.kind in "fc" else np.dtype(np.float64)
        out = np.full((count, *values.shape[1:]), np.nan, dtype=dtype)
    else:
        values = _objects(unpacked(values)) if values.dtype != object else values
        out = np.full((count, *values.shape[1:]), None, dtype=object)
    out[positions] = values
    return out


def columns_of(values: Sequence[Any], name: str) -> dict[str, Column]:
    """Return the columns of results: those of their keys if they are mappings of strings, else one, called ``name``.

    What some of them lack is None there.
    """
    named = [value if _is_named(value) else {name: value} for value in values]
    keys = dict.fromkeys(key for value in named for key in value)
    return {key: exact([value.get(key) for value in named]) for key in keys}


def _is_named(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


def _objects(values: Sequence[Any]) -> Column:
    out = np.empty(len(values), dtype=object)
    for number, value in enumerate(values):
        out[number] = value
    return out
