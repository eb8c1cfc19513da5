"""Results as columns: one array for each name, however the points were cut into chunks.

Which array comes out depends on the values alone: numbers become an array of the type that holds them all, bools one of bools, equal shapes
one more axis or several; everything else stays a Python object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Column = NDArray[Any]
_NUMBERS = "iufc"


def collected(values: Sequence[Any]) -> Column:
    """Return values of points as a column of shape (points,), or (points, *shape) for arrays of equal shape."""
    kinds = set(map(type, values))
    if np.ndarray in kinds:
        alike = len(kinds) == 1 and len({(value.dtype, value.shape) for value in values}) == 1
        return np.stack(values) if alike and values[0].dtype != object else _objects(values)
    if kinds <= {bool, np.bool_}:
        return np.array(values, dtype=bool)
    if all(kind in (float, int, complex) or issubclass(kind, np.number) for kind in kinds):
        found = np.array(values)
        if found.dtype.kind in _NUMBERS:  # else one is a whole number beyond 64 bits
            return found
    return _objects(values)


def combined(parts: Sequence[Column]) -> Column:
    """Return columns one behind the other: what `collected` would have made of all their values at once."""
    if len(parts) == 1:
        return parts[0]
    shapes = {part.shape[1:] for part in parts}
    types = {part.dtype for part in parts}
    if len(shapes) == 1 and (len(types) == 1 or all(kind.kind in _NUMBERS and shapes == {()} for kind in types)):
        return np.concatenate(parts)
    return _objects([value for part in parts for value in unpacked(part)])


def unpacked(values: Column) -> list[Any]:
    """Return the values of a column one by one: numbers as Python's own where these are exact, rows as arrays."""
    if values.ndim > 1:
        return list(values)
    plain = values.dtype in (np.float64, np.int64, np.complex128, np.bool_, object)
    return values.tolist() if plain else list(values)


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
    """Return the columns of results: those of their keys if all are mappings of strings, else one, called ``name``.

    A key that some of them lack is None there.
    """
    if not all(isinstance(value, Mapping) and all(isinstance(key, str) for key in value) for value in values):
        return {name: collected(values)}
    keys = dict.fromkeys(key for value in values for key in value)
    return {key: collected([value.get(key) for value in values]) for key in keys}


def _objects(values: Sequence[Any]) -> Column:
    out = np.empty(len(values), dtype=object)
    for number, value in enumerate(values):
        out[number] = value
    return out
