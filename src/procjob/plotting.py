"""Pictures of columns: lines with error bars for several groups, points over categories, heat maps.

Called by `procjob.sweeps.SweepResult.plot` with one value a point; knows nothing of sweeps. matplotlib is imported when something
is drawn. Points of equal x and group are one place in the picture: their mean, with its standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]
KINDS = ("line", "points", "heatmap")
#: Lines that a legend tells apart; more have a colour bar.
MAX_LEGEND = 10
_MAX_LINES = 200
_MAX_MARKERS = 200
_MAX_CELLS = 25_000_000


@dataclass(frozen=True, slots=True)
class Variable:
    """A name and one value a point: shape (points,)."""

    name: str
    values: NDArray[Any]


@dataclass(frozen=True, slots=True)
class Levels:
    """The different values of a variable.

    Attributes:
        values: numbers in order; for categories their numbers from 0.
        labels: of categories, in order of first appearance; None: these are numbers.
        codes: which of them each point has; -1: none.
    """

    values: Floats
    labels: tuple[str, ...] | None
    codes: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Means:
    """What is drawn, shape (groups, places); NaN where there is no point.

    Attributes:
        mean: of the points there.
        error: standard error of that mean; of a single point what came with it.
        averaged: whether there is more than one point anywhere.
    """

    mean: Floats
    error: Floats
    averaged: bool


def plot(
    x: Variable,
    y: Variable,
    by: Variable | None = None,
    *,
    bars: Variable | None = None,
    averaged: Sequence[str] = (),
    kind: str | None = None,
    ax: Axes | None = None,
    **options: Any,
) -> Axes:
    """Draw one variable over another.

    Args:
        x: numbers, or anything else as categories.
        y: real numbers.
        by: what tells lines apart; the vertical axis of a heat map.
        bars: half the length of the error bar of each point.
        averaged: for the label, what varies between points of equal ``x`` and ``by``.
        kind: one of `KINDS`; None: a line if ``x`` is numbers, else points.
        ax: where to draw; None: a new figure.
        **options: for matplotlib's ``plot``, ``errorbar`` or ``pcolormesh``.

    Returns:
        The Axes. Nothing is shown.

    Raises:
        TypeError: the values are not what they have to be.
        ValueError: an unknown kind, too many lines or cells.
        ModuleNotFoundError: matplotlib is not installed.

    Example:
        >>> import numpy as np
        >>> theta = np.linspace(0, 3, 4)
        >>> ax = plot(Variable("theta", theta), Variable("energy", np.cos(theta)))
        >>> ax.get_xlabel(), ax.get_ylabel(), len(ax.lines)
        ('theta', 'energy', 1)
    """
    if kind not in (None, *KINDS):
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, or None, not {kind!r}")
    if ax is not None and not hasattr(ax, "errorbar"):
        raise TypeError(f"ax must be one Axes of matplotlib, not {ax!r}; of several, as subplots gives, choose one")
    if kind == "heatmap" and by is None:
        raise ValueError(
            "a heat map needs by, the name of its vertical axis: plot('theta', 'energy', by='depth', kind='heatmap')"
        )
    heights = _reals(y)
    half_bars = None if bars is None else _reals(bars)
    places = _levels(x)
    groups = _levels(by) if by is not None else Levels(np.zeros(1), None, np.zeros(len(heights), dtype=np.int64))
    _check_size(places, groups, by, kind)
    means = _means(heights, half_bars, places, groups)
    if np.isnan(means.mean).all():
        raise ValueError(f"there is nothing to plot: {y.name} is NaN at all {len(heights)} points")
    label = _label(y, bars, means, averaged)
    if ax is None:
        ax = _new_axes()
    if kind == "heatmap":
        _draw_heatmap(ax, places, groups, means, label=label.partition(" ±")[0], options=options)
    else:
        joined = kind == "line" or (kind is None and places.labels is None)
        _draw_lines(ax, places, groups, means, by, joined=joined, options=options)
    ax.set_xlabel(x.name)
    ax.set_ylabel(by.name if kind == "heatmap" and by is not None else label)
    return ax


# ---------------------------------------------------------------- numbers


def _reals(variable: Variable) -> Floats:
    """Return values as floats; None as NaN."""
    values = variable.values
    if values.ndim != 1:
        raise TypeError(
            f"{variable.name} has an array of shape {values.shape[1:]} at each point, but a picture needs one number; return "
            f"what you want to see under a name of its own"
        )
    if values.dtype.kind in "biuf":
        return values.astype(np.float64)
    if values.dtype == object:
        listed = values.tolist()
        if all(value is None or isinstance(value, Real) for value in listed):
            return np.array([np.nan if value is None else float(value) for value in listed], dtype=np.float64)
        odd = next(value for value in listed if value is not None and not isinstance(value, Real))
    else:
        odd = values[0]
    hint = (
        "real and imaginary part, or size, under names of their own" if isinstance(odd, complex) else "a number for it"
    )
    raise TypeError(f"{variable.name} has {odd!r:.100}, but a picture needs one real number a point; return {hint}")


def _levels(variable: Variable) -> Levels:
    values = variable.values
    if values.ndim != 1 or values.dtype.kind == "c":
        _reals(variable)  # says what is wrong
    numeric = values.dtype.kind in "iuf" or (
        values.dtype == object
        and all(value is None or (isinstance(value, Real) and not isinstance(value, bool)) for value in values.tolist())
    )
    if numeric:
        numbers = _reals(variable)
        known = ~np.isnan(numbers)
        levels, codes = np.unique(numbers[known], return_inverse=True)
        all_codes = np.full(len(numbers), -1, dtype=np.int64)
        all_codes[known] = codes
        return Levels(levels, None, all_codes)
    seen: dict[str, int] = {}
    found = [seen.setdefault(str(value), len(seen)) for value in values.tolist()]
    return Levels(np.arange(len(seen), dtype=np.float64), tuple(seen), np.array(found, dtype=np.int64))


def _check_size(places: Levels, groups: Levels, by: Variable | None, kind: str | None) -> None:
    if by is None:
        return
    count = len(groups.values)
    if kind == "heatmap" and count * len(places.values) > _MAX_CELLS:
        raise ValueError(
            f"a heat map of {len(places.values)} x {count} cells is too large; select fewer points, or draw these as "
            "kind='points' without by"
        )
    if kind != "heatmap" and count > _MAX_LINES:
        raise ValueError(
            f"{by.name} has {count} values, too many for lines; select some of them, or use kind='heatmap'"
        )


def _means(heights: Floats, bars: Floats | None, places: Levels, groups: Levels) -> Means:
    shape = (len(groups.values), len(places.values))
    valid = (places.codes >= 0) & (groups.codes >= 0) & ~np.isnan(heights)
    cells = groups.codes[valid] * shape[1] + places.codes[valid]
    heights = heights[valid]

    def total(values: Floats | None) -> Floats:
        return np.bincount(cells, weights=values, minlength=shape[0] * shape[1]).astype(np.float64)

    count = total(None)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total(heights) / count
        mean_of_one = np.full_like(mean, np.nan)
        mean_of_one[cells] = heights  # a single value as it is, infinite or not
        mean = np.where(count == 1, mean_of_one, mean)
        spread = total((heights - mean[cells]) ** 2)
        error = np.sqrt(spread / (count - 1) / count)
    if bars is not None:
        error = np.where(count == 1, total(bars[valid]), error)
    error = np.where(count > (1 if bars is None else 0), error, np.nan)
    return Means(mean.reshape(shape), error.reshape(shape), bool((count > 1).any()))


def _label(y: Variable, bars: Variable | None, means: Means, averaged: Sequence[str]) -> str:
    if means.averaged:
        return f"{y.name}, mean over {', '.join(averaged) or 'equal points'} ± standard error"
    return y.name if bars is None else f"{y.name} ± {bars.name.removeprefix(y.name + '_')}"


# ---------------------------------------------------------------- drawing


def _new_axes() -> Axes:
    """Make a figure: one of pyplot's only for those who use pyplot or a notebook, where it is shown."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("plot needs matplotlib: pip install 'procjob[plot]'", name="matplotlib") from error
    figure: Figure
    if "matplotlib.pyplot" in sys.modules or "ipykernel" in sys.modules:
        from matplotlib import pyplot as plt

        figure = plt.figure(layout="constrained")
    else:
        figure = Figure(layout="constrained")
    axes: Axes = figure.add_subplot()
    return axes


def _draw_lines(
    ax: Axes,
    places: Levels,
    groups: Levels,
    means: Means,
    by: Variable | None,
    *,
    joined: bool,
    options: dict[str, Any],
) -> None:
    from matplotlib import colormaps
    from matplotlib.cbook import normalize_kwargs
    from matplotlib.lines import Line2D

    palette = colormaps[options.pop("cmap", "viridis")]
    options = normalize_kwargs(options, Line2D)
    count = len(groups.values)
    norm = _norm(groups)
    labels = groups.labels or _written(groups.values)
    _set_ticks(ax, "x", places)
    for number, value in enumerate(groups.values):
        there = ~np.isnan(means.mean[number])
        style = {
            "marker": "o" if not joined or there.sum() <= _MAX_MARKERS else "",
            "linestyle": "-" if joined else "none",
        }
        if by is not None:
            style["label"] = labels[number]
        if count > MAX_LEGEND:
            style["color"] = palette(norm(value))
        style |= options
        bars = means.error[number][there]
        xs, ys = places.values[there], means.mean[number][there]
        if np.isnan(bars).all():
            ax.plot(xs, ys, **style)
        else:
            ax.errorbar(xs, ys, yerr=bars, **{"capsize": 3, **style})
    if by is not None and count > MAX_LEGEND:
        _add_colour_bar(ax, by.name, groups, norm, palette)
    elif by is not None:
        ax.legend(title=by.name)


def _written(values: Floats) -> list[str]:
    """Return numbers as short as they are told apart."""
    short = [f"{value:.6g}" for value in values]
    return short if len(set(short)) == len(short) else [repr(value) for value in values.tolist()]


def _norm(groups: Levels) -> Any:
    from matplotlib.colors import Normalize

    return Normalize(groups.values[0], groups.values[-1])


def _add_colour_bar(ax: Axes, name: str, groups: Levels, norm: Any, palette: Any) -> None:
    from matplotlib.cm import ScalarMappable

    bar = ax.figure.colorbar(ScalarMappable(norm, palette), ax=ax, label=name)
    if groups.labels is not None:
        shown = np.unique(np.linspace(0, len(groups.labels) - 1, MAX_LEGEND).astype(int))
        bar.set_ticks(shown.tolist(), labels=[groups.labels[number] for number in shown])


def _draw_heatmap(
    ax: Axes, places: Levels, groups: Levels, means: Means, *, label: str, options: dict[str, Any]
) -> None:
    mesh = ax.pcolormesh(_edges(places.values), _edges(groups.values), np.ma.masked_invalid(means.mean), **options)
    for side, levels in (("x", places), ("y", groups)):
        _set_ticks(ax, side, levels)
    ax.figure.colorbar(mesh, ax=ax, label=label)


def _set_ticks(ax: Axes, side: str, levels: Levels) -> None:
    """Name categories; put the ticks of whole numbers at whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axis = ax.xaxis if side == "x" else ax.yaxis
    if levels.labels is not None:
        crowded = side == "x" and sum(map(len, levels.labels)) > 60
        axis.set_ticks(levels.values, labels=levels.labels, **({"rotation": 45, "ha": "right"} if crowded else {}))
    elif np.array_equal(levels.values, np.rint(levels.values)):
        locator = axis.get_major_locator()
        if isinstance(locator, MaxNLocator):  # a logarithmic axis of the user's has another
            locator.set_params(integer=True)


def _edges(centres: Floats) -> Floats:
    """Return the borders of cells around centres: half way between them; a cell that stands alone has the width 1."""
    widths = np.diff(centres) if len(centres) > 1 else np.ones(1)
    first, last = centres[0] - widths[0] / 2, centres[-1] + widths[-1] / 2
    edges: Floats = np.concatenate([[first], (centres[1:] + centres[:-1]) / 2, [last]])
    return edges
