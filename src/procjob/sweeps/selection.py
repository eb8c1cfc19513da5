"""Parts of results by values of axes, and results put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from procjob.sweeps.columns import Column, combined, shown, spread, unpacked
from procjob.sweeps.equality import same, same_points
from procjob.sweeps.points import Axes, Points, Positions, Product, column, joined
from procjob.sweeps.result import SweepResult, along

# ---------------------------------------------------------------- selection


def select(result: SweepResult, axes: Mapping[str, Any], method: str | None) -> SweepResult:
    """See `SweepResult.sel`."""
    if method not in (None, "nearest"):
        raise ValueError(f"method must be None or 'nearest', not {method!r}")
    for name in axes:
        if name not in result.points.names:
            why = f"it is fixed at {result.fixed[name]!r}" if name in result.fixed else "it is no axis"
            raise KeyError(f"cannot select by {name!r}: {why}; axes: {', '.join(result.points.names) or 'none'}")
    kept: list[Positions] = []
    parts: list[Points] = []
    fixed = dict(result.fixed)
    for part in result.points.parts:
        chosen = np.arange(len(part))
        values = along(part)
        for name in [name for name in axes if name in part.names]:  # in this order: which is nearest depends on it
            chosen = chosen[_places(name, shown(values[name])[chosen], axes[name], method)]
        kept.append(chosen)
        if len(part.names) == 1 and len(chosen) == 1 and _is_one_value(axes.get(part.names[0], slice(None))):
            fixed[part.names[0]] = unpacked(values[part.names[0]][chosen])[0]
        else:
            parts.append(Axes({name: column[chosen] for name, column in values.items()}))
    if not axes:
        return result
    positions = np.ravel_multi_index(np.ix_(*kept), result.shape).reshape(-1)
    return replace(result.take(positions, Product(tuple(parts))), fixed=fixed)


def _is_one_value(wanted: Any) -> bool:
    several = isinstance(wanted, (slice, list, range)) or (isinstance(wanted, np.ndarray) and wanted.ndim > 0)
    return not several


def _places(name: str, values: Column, wanted: Any, method: str | None) -> Positions:
    """Return where on an axis the wanted values are."""
    if isinstance(wanted, slice):
        if method is not None:
            raise ValueError(
                f"method={method!r} does not go with a slice of {name}; give its ends, or a list of values"
            )
        return _between(name, values, wanted)
    find = _equal if method is None else _nearest
    if _is_one_value(wanted):
        return find(name, values, wanted)
    found = [find(name, values, value) for value in _values_of(wanted)]
    return np.concatenate([np.empty(0, dtype=np.int64), *found])


def _values_of(wanted: Any) -> Any:
    """Return several wanted values one by one; times as NumPy's own."""
    return wanted.tolist() if isinstance(wanted, np.ndarray) and wanted.dtype.kind not in "mM" else wanted


def _equal(name: str, values: Column, wanted: Any) -> Positions:
    if values.dtype.kind in "mM":
        wanted = np.asarray(wanted).astype(values.dtype.kind + "8")
        found = np.flatnonzero(values == wanted)
        if not len(found):
            raise KeyError(f"there is no {name}={wanted}; {name} has {_few(values)}")
        return found
    wanted = wanted.item() if isinstance(wanted, (np.ndarray, np.generic)) and not wanted.ndim else wanted
    if values.dtype == object:
        found = np.flatnonzero([_is_equal(value, wanted) for value in values])
    elif isinstance(wanted, (int, float, complex, np.number)):
        found = np.flatnonzero(values == wanted)
    else:
        found = np.empty(0, dtype=np.int64)
    if not len(found):
        hint = (
            '; for the nearest number: method="nearest"'
            if values.dtype.kind in "iuf" and isinstance(wanted, Real)
            else ""
        )
        raise KeyError(f"there is no {name}={wanted!r}; {name} has {_few(values)}{hint}")
    return found


def _is_equal(value: Any, wanted: Any) -> bool:
    if isinstance(value, np.ndarray):
        value = value[()]  # a number, if it has no dimensions
    return bool(same(value, wanted) if isinstance(value, (np.ndarray, list, tuple, dict)) else value == wanted)


def _nearest(name: str, values: Column, wanted: Any) -> Positions:
    numbers = _as_reals(name, values)
    if isinstance(wanted, bool) or not isinstance(wanted, (Real, np.ndarray)):
        raise TypeError(f'method="nearest" needs a number for {name}, not {wanted!r}')
    if not len(values):
        raise KeyError(f"there is no {name} near {wanted!r}: no point is left")
    if not np.isfinite(float(wanted)):
        raise KeyError(f"there is no {name} near {wanted!r}; {name} has {_few(values)}")
    distance = np.abs(numbers - float(wanted))
    return np.flatnonzero(numbers == numbers[np.argmin(distance)])


def _as_reals(name: str, values: Column) -> NDArray[np.float64]:
    if values.dtype.kind not in "iuf" and not all(isinstance(value, Real) for value in values.tolist()):
        raise TypeError(f'method="nearest" needs numbers, but {name} has {_few(values)}; leave method out')
    return values.astype(np.float64)


def _between(name: str, values: Column, wanted: slice) -> Positions:
    inside = np.ones(len(values), dtype=bool)
    try:
        if wanted.start is not None:
            inside &= np.asarray(values >= wanted.start, dtype=bool)
        if wanted.stop is not None:
            inside &= np.asarray(values <= wanted.stop, dtype=bool)
    except TypeError as error:
        raise TypeError(f"{name}={wanted!r} cannot be compared with the values of {name}, {_few(values)}") from error
    return np.flatnonzero(inside)[:: wanted.step]


def _few(values: Column) -> str:
    values = values.astype(str) if values.dtype.kind in "mM" else values
    listed = values[:6].tolist()
    told = ", ".join(f"{value!r:.40}" for value in (listed if len(values) <= len(listed) else listed[:5]))
    return told if len(values) <= len(listed) else f"{told}, ... {values[-1:].tolist()[0]!r:.40} ({len(values)} values)"


# ---------------------------------------------------------------- concatenation


def concatenated(results: Sequence[SweepResult], name: str | None) -> SweepResult:
    """See `SweepResult.concatenate`."""
    results = list(results)
    if not results:
        raise ValueError("there is nothing to concatenate: results is empty")
    for result in results:
        if not isinstance(result, SweepResult):
            raise TypeError(f"only results of sweeps can be concatenated, not {result!r:.200}")
        if set(result.axes) != set(results[0].axes):
            raise ValueError(
                f"results over {', '.join(results[0].axes)} and over {', '.join(result.axes)} cannot be concatenated: "
                "all need the same axes"
            )
    if name is None:
        return _one_after_the_other(results)
    opened = [_opened(result, name) for result in results]
    dimension = _common_dimension(opened, name)
    ends = np.cumsum([0, *map(len, opened)])
    order = np.concatenate(
        [np.arange(*ends[at : at + 2]).reshape(result.shape) for at, result in enumerate(opened)], axis=dimension
    )
    parts = list(opened[0].points.parts)
    parts[dimension] = Axes({name: joined([along(result.points.parts[dimension])[name] for result in opened])})
    whole = replace(_one_after_the_other(opened), fixed=opened[0].fixed)
    return whole.take(order.reshape(-1), Product(tuple(parts)))


def _one_after_the_other(results: list[SweepResult]) -> SweepResult:
    ends = np.cumsum([0, *map(len, results)])
    first = results[0]
    given = [result.given(np.arange(len(result))) for result in results]
    return SweepResult(
        points=Axes({name: joined([axes[name] for axes in given]) for name in first.axes}),
        columns={
            name: _joined_column(name, results, ends)
            for name in dict.fromkeys(name for result in results for name in result.names)
        },
        status=np.concatenate([result.status for result in results]),
        seconds=np.concatenate([result.seconds for result in results]),
        errors={
            int(end) + at: error
            for result, end in zip(results, ends, strict=False)
            for at, error in result.errors.items()
        },
        seed=first.seed if len({result.seed for result in results}) == 1 else None,
        target=", ".join(dict.fromkeys(result.target for result in results)),
        metadata=_joined_metadata(results),
    )


def _joined_column(name: str, results: list[SweepResult], ends: NDArray[np.int64]) -> Column:
    having = [number for number, result in enumerate(results) if name in result.columns]
    positions = [np.arange(ends[number], ends[number + 1]) for number in having]
    return spread(
        combined([results[number].columns[name] for number in having]), np.concatenate(positions), int(ends[-1])
    )


def _joined_metadata(results: list[SweepResult]) -> dict[str, Any]:
    if len(results) == 1:
        return dict(results[0].metadata)
    parts = [part for result in results for part in result.metadata.get("parts", [result.provenance()])]
    common = {
        key: value for key, value in parts[0].items() if all(key in part and same(value, part[key]) for part in parts)
    }
    return {
        **{key: value for key, value in common.items() if key not in ("seed", "target")},
        "parts": [{key: value for key, value in part.items() if key not in common} for part in parts],
    }


def _opened(result: SweepResult, name: str) -> SweepResult:
    """Return the result with a dimension for an axis that was fixed."""
    if name not in result.fixed:
        return result
    fixed = dict(result.fixed)
    points = Product((Axes({name: column([fixed.pop(name)])}), *result.points.parts))
    return replace(result, points=points, fixed=fixed)


def _common_dimension(results: list[SweepResult], name: str) -> int:
    """Return which dimension an axis is, if the results agree in all others."""
    own = [number for number, part in enumerate(results[0].points.parts) if part.names == (name,)]
    if not own:
        raise ValueError(
            f"along={name!r} is no axis with a dimension of its own; leave it out to put points one after the other"
        )
    first = results[0].points.parts
    for result in results[1:]:
        parts = result.points.parts
        if [part.names for part in parts] != [part.names for part in first]:
            raise ValueError(f"grids of {result!r} and {results[0]!r} have other dimensions; leave along out")
        differing = [
            "/".join(part.names)
            for part, other in zip(parts, first, strict=True)
            if part.names != (name,) and not same_points(part, other)
        ]
        differing += [axis for axis in result.fixed if not same(result.fixed[axis], results[0].fixed.get(axis))]
        if differing:
            raise ValueError(
                f"grids differ in {differing[0]}, not only in {name}; select what they share, or leave along out"
            )
    return own[0]
