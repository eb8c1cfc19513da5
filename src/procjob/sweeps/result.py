"""`SweepResult`: the points of a sweep with what came of them, as arrays, tables and pictures.

Made by the runner, from columns that are flat in the order of the points; users get them in the shape of the grid. What needs
pandas, xarray or matplotlib, and files, is in modules of their own, imported when asked for: workers import this one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from procjob.errors import RemoteError
from procjob.pool.foreign import text_of
from procjob.sweeps.columns import Column, shown
from procjob.sweeps.points import Axes, Points, Positions, column

if TYPE_CHECKING:
    import os

    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes as MatplotlibAxes

    from procjob.store import Store

PENDING, DONE, FAILED = 0, 1, 2
#: The status of a point as text.
STATUS_NAMES = ("PENDING", "DONE", "FAILED")


@dataclass(frozen=True, eq=False, repr=False)
class SweepResult:
    """What a sweep has found so far, by point.

    ``result[name]`` is an array in the shape of the grid, whether of a result or of an axis. A result that is called like an axis
    gets a ``_`` at its end.

    Attributes:
        points: where; their shape is that of the grid.
        columns: results, flat in the order of the points: shape (points,) or (points, *shape of a value). What is missing is NaN,
            or None where the values are no numbers.
        status: of each point, shape (points,): `PENDING` 0, `DONE` 1 or `FAILED` 2.
        seconds: that each point took, shape (points,); NaN where that is not known.
        errors: what points raised, by position.
        seed: of the sweep.
        target: name of the function or circuit.
        metadata: provenance: versions, time, what was reused.
        fixed: the value of each axis that `sel` has taken away.

    Example:
        >>> from procjob.sweeps.points import grid
        >>> points = grid(theta=[0.0, 0.5, 1.0], depth=[1, 2])
        >>> result = SweepResult(points, {"energy": np.arange(6.0)}, status=np.full(6, DONE, np.int8),
        ...                      seconds=np.full(6, 0.1), errors={}, seed=7, target="energy", metadata={})
        >>> result
        <SweepResult energy: theta 3 x depth 2 = 6 points, seed 7>
        >>> result["energy"]
        array([[0., 1.],
               [2., 3.],
               [4., 5.]])
        >>> result.sel(depth=2)["energy"]
        array([1., 3., 5.])
        >>> result.to_pandas().groupby("depth")["energy"].mean().tolist()
        [2.0, 3.0]
        >>> result.to_xarray()["energy"].sel(theta=0.5).mean().item()
        2.5
        >>> result.plot("theta", "energy", by="depth").get_ylabel()
        'energy'
    """

    points: Points
    columns: Mapping[str, Column]
    status: NDArray[np.int8]
    seconds: NDArray[np.float64]
    errors: Mapping[int, BaseException]
    seed: int | None
    target: str
    metadata: Mapping[str, Any]
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        taken, columns = set(self.axes), {}
        for name, values in self.columns.items():
            columns[free_name(name, taken)] = values
            taken |= columns.keys()
        object.__setattr__(self, "columns", columns)

    # ------------------------------------------------------------ what there is

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the grid: the number of points along each dimension."""
        return self.points.shape

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes, those that `sel` has fixed last."""
        return (*self.points.names, *self.fixed)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the results."""
        return tuple(self.columns)

    @property
    def partial(self) -> bool:
        """Whether a point is pending or has failed."""
        return bool((self.status != DONE).any())

    @property
    def failed(self) -> SweepResult:
        """The points that failed, in one dimension, with their `errors`."""
        return self.take(np.flatnonzero(self.status == FAILED))

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, name: str) -> Column:
        """Return the values of a result or an axis, in the shape of the grid, plus that of a value.

        Raises:
            KeyError: there is none of that name.
        """
        if name in self.columns:
            values = self.columns[name]
            return values.reshape(self.shape + values.shape[1:])
        if name in self.fixed:
            return np.broadcast_to(shown(column([self.fixed[name]])).reshape([1] * len(self.shape)), self.shape)
        for dimension, part in enumerate(self.points.parts):
            if name in part.names:
                own = [-1 if other == dimension else 1 for other in range(len(self.shape))]
                return np.broadcast_to(shown(along(part)[name]).reshape(own), self.shape)
        raise KeyError(f"there is no {name!r}; results: {_listing(self.names)}; axes: {_listing(self.axes)}")

    def __contains__(self, name: object) -> bool:
        return name in self.columns or name in self.axes

    __hash__ = None  # type: ignore[assignment]  # it has arrays
    __iter__ = None  # over points, or over names? These are explicit: to_numpy(), names

    def __eq__(self, other: object) -> bool:
        """Whether points, results, status, error texts, seed and target are equal to the bit; NaN equals NaN.

        Times and metadata do not count: they tell two runs of one sweep apart, not what these have found.
        """
        from procjob.sweeps.equality import same_content

        return same_content(self, other) if isinstance(other, SweepResult) else NotImplemented

    def __repr__(self) -> str:
        spans = [f"{'/'.join(part.names)} {len(part)}" for part in self.points.parts]
        grid = f"{' x '.join(spans)} = " if len(spans) > 1 else "/".join(self.points.names) + ": " if spans else ""
        counts = {"failed": FAILED, "pending": PENDING}
        told = [f"{count} {word}" for word, kind in counts.items() if (count := int((self.status == kind).sum()))]
        told += [f"{name}={value!r:.40}" for name, value in self.fixed.items()]
        told += [] if self.seed is None else [f"seed {self.seed}"]
        number = f"{len(self)} point{'s' * (len(self) != 1)}"
        return " ".join(f"<SweepResult {self.target}: {', '.join([f'{grid}{number}', *told])}>".split())

    def _repr_html_(self) -> str:
        from procjob.sweeps.tables import to_html

        return to_html(self)

    # ------------------------------------------------------------ other forms

    def to_numpy(self) -> NDArray[Any]:
        """Return a structured array with one record a point: axes, results, ``status`` (a number) and ``seconds``.

        ``status`` and ``seconds`` get a ``_`` at their end where an axis or a result is called so.
        """
        from procjob.sweeps.tables import to_numpy

        return to_numpy(self)

    def to_pandas(self) -> pd.DataFrame:
        """Return a table with one row a point: axes, results, ``status`` (text), ``seconds`` and ``error`` (text or None).

        A value that is an array stands in one cell. ``attrs`` has seed, target and metadata. The last three columns get a ``_`` at
        their end where an axis or a result is called so. Needs the extra ``procjob[pandas]``.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        from procjob.sweeps.tables import to_pandas

        return to_pandas(self)

    def to_xarray(self) -> xr.Dataset:
        """Return a dataset with the dimensions of the grid, and seed, target and metadata as its attributes.

        A dimension of one axis is called like it. One of several axes (``zipped``, a sum, an iterable of mappings) is called
        ``point``, with these axes as coordinates; ``set_index(point=[...])`` and ``unstack`` make a grid of them. Attributes have types
        that netCDF takes: what is neither text nor a number is JSON. Needs the extra ``procjob[xarray]``.

        Raises:
            ModuleNotFoundError: xarray is not installed.
        """
        from procjob.sweeps.tables import to_xarray

        return to_xarray(self)

    def plot(
        self,
        x: str,
        y: str,
        by: str | None = None,
        kind: str | None = None,
        *,
        ax: MatplotlibAxes | None = None,
        **options: Any,
    ) -> MatplotlibAxes:
        """Draw a result.

        Points with the same ``x`` and ``by`` are averaged; the bars are then the standard error of the mean,
        ``sqrt(sum((y - mean)**2) / (n - 1) / n)``, and the label says over which axes. A point that stands alone has a bar if there is
        a result called ``<y>_error`` or ``<y>_std``. Points that are not done are left out.

        Args:
            x: name of an axis or a result: numbers, or anything else as categories.
            y: name of what is drawn: one real number a point.
            by: name of what tells several lines apart; the vertical axis of a heat map.
            kind: ``"line"``, ``"points"`` or ``"heatmap"``. None: what fits. A heat map if ``x`` and ``by`` are two axes of the
                grid, both of numbers, with more values of ``by`` than lines can be told apart (10); else lines if ``x`` is
                numbers, and points if it is categories.
            ax: where to draw. None: a figure of its own; one of pyplot's if you have imported ``matplotlib.pyplot`` or are in a
                notebook, so that it is shown; else one that nothing keeps, see ``ax.figure.savefig``.
            **options: for ``Axes.plot`` or ``Axes.errorbar``, or ``Axes.pcolormesh`` of a heat map.

        Returns:
            The Axes. Nothing is shown.

        Raises:
            KeyError: there is no such axis or result.
            TypeError: what should be one real number a point is not, or ``ax`` is no Axes.
            ValueError: no point is done, ``kind`` is unknown, or there are too many lines or cells.
            ModuleNotFoundError: matplotlib is not installed: the extra ``procjob[plot]``.
        """
        from procjob import plotting

        done = self.status == DONE
        if not done.any():
            raise ValueError(f"there is nothing to plot: none of the {len(self)} points is done")

        def variable(name: str) -> plotting.Variable:
            return plotting.Variable(name, self.flat(name)[done])

        if kind is None and self._spans_plane(x, by):
            kind = "heatmap"
        bars = next((name for name in (f"{y}_error", f"{y}_std") if name in self), None)
        others = [
            "/".join(part.names)
            for part in self.points.parts
            if len(part) > 1 and not {x, y, by}.intersection(part.names)
        ]
        return plotting.plot(
            variable(x),
            variable(y),
            by=None if by is None else variable(by),
            bars=None if bars is None else variable(bars),
            averaged=others,
            kind=kind,
            ax=ax,
            **options,
        )

    def _spans_plane(self, x: str, by: str | None) -> bool:
        """Return whether two axes of the grid are numbers, and the second one has too many for lines."""
        from procjob.plotting import MAX_LEGEND

        levels = {
            part.names[0]: np.unique(along(part)[part.names[0]])
            for part in self.points.parts
            if part.names in ((x,), (by,)) and along(part)[part.names[0]].dtype.kind in "iuf"
        }
        return by is not None and levels.keys() == {x, by} and x != by and len(levels[by]) > MAX_LEGEND

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write everything to one file that NumPy reads, without pickles; an older file of that name is replaced at once or not at all.

        Errors are kept as text. Values that no array holds have to be plain data: None, bool, numbers, text, bytes, date and time, arrays, and
        lists, tuples, sets and mappings of such.

        Returns:
            The path.

        Raises:
            TypeError: a value is something else; the message names the column.
            OSError: the file cannot be written.
        """
        from procjob.sweeps.archive import save

        return save(self, Path(path))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SweepResult:
        """Read what `save` has written. Reading runs no code of the file's author; errors come back as `RemoteError` with their text.

        Raises:
            ValueError: the file is something else, damaged, or of a newer version.
            OSError: the file cannot be read.
        """
        from procjob.sweeps.archive import load

        return load(Path(path))

    @classmethod
    def from_store(cls, store: Store | str | os.PathLike[str], sweep_id: str) -> SweepResult:
        """Read what a store has of a sweep, finished or not; errors come back as `RemoteError` with their text.

        ``metadata["status"]`` is that of the sweep: ERROR also if its process ended before it. A point that another run of
        the same target has finished since is DONE here, too.

        Args:
            store: the store, or the path of its file, which must exist.
            sweep_id: of ``metadata["sweep_id"]``, or of `Store.sweeps`.

        Raises:
            StoreError: there is no such sweep, its points came from an iterator and are not all known, or the file cannot
                be read.
        """
        from procjob.sweeps.stored import load_sweep

        return load_sweep(store, sweep_id)

    # ------------------------------------------------------------ less and more

    def sel(
        self, indexers: Mapping[str, Any] | None = None, /, *, method: str | None = None, **axes: Any
    ) -> SweepResult:
        """Select by values of axes, as xarray's ``sel`` does.

        One value takes the dimension away (see `fixed`); where several axes share a dimension, or a value is there twice, the points that
        have it remain. A list gives the points in its order; a slice those between its ends, both included,
        also of an axis that descends (where xarray wants the higher end first).

        Args:
            indexers: the same as ``**axes``, for names that are no identifiers.
            method: None: values have to be equal; ``"nearest"``: the nearest number is taken.
            **axes: for each axis a value, a list of values or a slice.

        Raises:
            KeyError: there is no such axis, or no such value on it.
            TypeError: ``method="nearest"`` for what is no number.
            ValueError: an unknown method, or nearest to a slice.

        Example:
            ``result.sel(depth=2, theta=slice(0, 0.5))``, ``result.sel(theta=0.31, method="nearest")``
        """
        from procjob.sweeps.selection import select

        return select(self, {**(indexers or {}), **axes}, method)

    @classmethod
    def concatenate(cls, results: Sequence[SweepResult], along: str | None = None) -> SweepResult:
        """Put results of sweeps with the same axes together.

        Points that are there twice stay twice: they are averaged in plots. A result that one of them lacks is missing there. What
        differs in seed or metadata is in ``metadata["parts"]``, one entry for each.

        Args:
            results: one or more.
            along: an axis that has a dimension of its own, or that `sel` has fixed: the grids are joined along it and have to agree
                in all others. None: all points one after the other, in one dimension.

        Raises:
            ValueError: there is no result, the axes differ, or the grids differ in another dimension than ``along``.
            TypeError: one is no `SweepResult`.
        """
        from procjob.sweeps.selection import concatenated

        return concatenated(results, along)

    def __add__(self, other: Any) -> SweepResult:
        return self.concatenate([self, other]) if isinstance(other, SweepResult) else NotImplemented

    def take(self, positions: Positions, points: Points | None = None) -> SweepResult:
        """Return the points at some positions, in that order.

        Args:
            positions: in the flat order of the points, or a mask, as an array takes them.
            points: what they are then; None: they in one dimension.
        """
        positions = np.arange(len(self))[positions]
        failed = np.flatnonzero(np.isin(positions, list(self.errors)))
        return replace(
            self,
            points=Axes(self.given(positions)) if points is None else points,
            fixed={} if points is None else self.fixed,
            columns={name: values[positions] for name, values in self.columns.items()},
            status=self.status[positions],
            seconds=self.seconds[positions],
            errors={int(at): self.errors[int(positions[at])] for at in failed},
        )

    def flat(self, name: str) -> Column:
        """Return the values of a result or an axis in the order of the points, shape (points, *shape of a value).

        Raises:
            KeyError: there is none of that name.
        """
        return self.columns[name] if name in self.columns else self[name].reshape(-1)

    def given(self, positions: Positions) -> dict[str, Column]:
        """Return the values of all axes at some positions as the target got them: ``result[axis]`` may be of another type."""
        fixed = {name: np.repeat(column([value]), len(positions)) for name, value in self.fixed.items()}
        return {**self.points.take(positions), **fixed}

    def provenance(self) -> dict[str, Any]:
        """Return seed, target and metadata."""
        return {"seed": self.seed, "target": self.target, **self.metadata}


def along(part: Points) -> dict[str, Column]:
    """Return the values of the axes of one dimension."""
    return part.columns(0, len(part))


def free_name(name: str, taken: set[str]) -> str:
    """Return the name, with as many ``_`` at its end as it needs to be a new one."""
    while name in taken:
        name += "_"
    return name


def error_text(error: BaseException) -> str:
    """Return type and text of an exception; the text alone of one that came from a file, as it has both."""
    return text_of(error) if isinstance(error, RemoteError) else f"{type(error).__name__}: {text_of(error)}"


def _listing(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
