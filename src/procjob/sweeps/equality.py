"""Equality of results to the bit: NaN equals NaN, 0.0 is not -0.0, and 1 is not 1.0."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from procjob.sweeps.columns import Column

if TYPE_CHECKING:
    from procjob.sweeps.points import Points
    from procjob.sweeps.result import SweepResult


def same_content(one: SweepResult, other: SweepResult) -> bool:
    """Whether two results have found the same at the same points, see `SweepResult.__eq__`."""
    from procjob.sweeps.result import error_text

    return (
        (one.seed, one.target, one.names) == (other.seed, other.target, other.names)
        and same(dict(one.fixed), dict(other.fixed))
        and same_points(one.points, other.points)
        and same(one.status, other.status)
        and all(same(one.columns[name], other.columns[name]) for name in one.names)
        and {at: error_text(error) for at, error in one.errors.items()}
        == {at: error_text(error) for at, error in other.errors.items()}
    )


def same_points(one: Points, other: Points) -> bool:
    """Whether two sets of points have the same dimensions with the same values."""
    if one.shape != other.shape or one.names != other.names:
        return False
    return all(
        same(left.columns(0, len(left)), right.columns(0, len(right)))
        for left, right in zip(one.parts, other.parts, strict=True)
    )


def same(one: Any, other: Any) -> bool:
    """Whether two values are of one type and equal to the bit, with all that they contain."""
    if one is other or type(one) is not type(other):
        return one is other
    match one:
        case np.ndarray():
            return _same_arrays(one, other)
        case float() | complex() | np.inexact() | np.datetime64() | np.timedelta64() | np.void():
            return _same_arrays(np.asarray(one), np.asarray(other))
        case Mapping():
            return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
        case list() | tuple():
            return len(one) == len(other) and all(map(same, one, other))
        case _:
            return _equal(one, other)


def _equal(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except ValueError:  # of two tables of pandas, == is a table, which is neither true nor false
        if not hasattr(one, "equals"):
            raise
        return bool(one.equals(other))


def _same_arrays(one: Column, other: Column) -> bool:  # noqa: PLR0911  (one for each type)
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if isinstance(one, np.ma.MaskedArray):
        masks = np.ma.getmaskarray(one), np.ma.getmaskarray(other)
        return _same_arrays(*masks) and _same_arrays(np.ma.filled(one), np.ma.filled(other))
    if one.dtype.names is not None:
        return all(_same_arrays(one[name], other[name]) for name in one.dtype.names)
    if one.dtype == object:
        return all(map(same, one.reshape(-1).tolist(), other.reshape(-1).tolist()))
    if one.dtype.kind == "c":
        return _same_arrays(one.real, other.real) and _same_arrays(one.imag, other.imag)
    if one.dtype.kind == "f":
        equal = (one == other) & (np.signbit(one) == np.signbit(other))
        return bool((equal | np.isnan(one) & np.isnan(other)).all())
    if one.dtype.kind in "mM":
        return np.array_equal(one.view(np.int64), other.view(np.int64))  # NaT is one of these
    return np.array_equal(one, other)
