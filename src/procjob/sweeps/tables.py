"""Results as structured arrays, pandas tables, xarray datasets and the short table of a notebook."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from procjob.pool.foreign import text_of
from procjob.sweeps.columns import Column, shown
from procjob.sweeps.result import STATUS_NAMES, SweepResult, along, error_text, free_name

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

#: How many points a notebook shows at the beginning and at the end.
_SHOWN = 5


def to_numpy(result: SweepResult) -> NDArray[Any]:
    """See `SweepResult.to_numpy`."""
    fields = dict(_flat(result))
    fields |= _own(fields, status=result.status, seconds=result.seconds)
    out = np.empty(len(result), dtype=[(name, values.dtype, values.shape[1:]) for name, values in fields.items()])
    for name, values in zip(out.dtype.names or (), fields.values(), strict=True):  # NumPy calls what is called "" f0
        out[name] = values
    return out


def to_pandas(result: SweepResult) -> pd.DataFrame:
    """See `SweepResult.to_pandas`."""
    try:
        import pandas as pd
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("to_pandas needs pandas: pip install 'procjob[pandas]'", name="pandas") from error

    columns: dict[str, Any] = {name: _cells(values) for name, values in _flat(result)}
    errors = np.full(len(result), None, dtype=object)
    for at, raised in result.errors.items():
        errors[at] = error_text(raised)
    status = np.array(STATUS_NAMES, dtype=object)[result.status]
    columns |= _own(columns, status=status, seconds=result.seconds, error=errors)
    # as objects, so that None stays None
    table = pd.DataFrame(
        {name: pd.Series(values, dtype=object) if values is errors else values for name, values in columns.items()}
    )
    table.attrs = result.provenance()
    return table


def to_xarray(result: SweepResult) -> xr.Dataset:
    """See `SweepResult.to_xarray`."""
    try:
        import xarray as xr
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("to_xarray needs xarray: pip install 'procjob[xarray]'", name="xarray") from error

    taken = {*result.axes, *result.names}
    dimensions: list[str] = []
    coordinates: dict[str, Any] = {
        name: _text(np.array(value)) if isinstance(value, str) else value for name, value in result.fixed.items()
    }
    for part in result.points.parts:
        name = part.names[0] if len(part.names) == 1 else free_name("point", taken)
        taken.add(name)
        dimensions.append(name)
        coordinates |= {axis: (name, _text(shown(values))) for axis, values in along(part).items()}
    variables: dict[str, Any] = {}
    for name in result.names:
        values = result[name]
        inner = [free_name(f"{name}_dim_{number}", taken) for number in range(values.ndim - len(dimensions))]
        variables[name] = ([*dimensions, *inner], _text(values))
    flags = {"flag_values": np.arange(len(STATUS_NAMES), dtype=np.int8), "flag_meanings": " ".join(STATUS_NAMES)}
    own = {"status": (result.status, flags), "seconds": (result.seconds, {"units": "s"})}
    for name, (values, attributes) in _own(taken, **own).items():
        variables[name] = (dimensions, values.reshape(result.shape), attributes)
    attributes = {
        name: plain for name, value in result.provenance().items() if (plain := _attribute(value)) is not None
    }
    return xr.Dataset(variables, coordinates, attributes)


def to_html(result: SweepResult) -> str:
    """Return the first and last points as a table."""
    count = len(result)
    cut = count > 2 * _SHOWN
    positions = np.r_[0:_SHOWN, count - _SHOWN : count] if cut else np.arange(count)
    shown = result.take(positions)
    columns = {name: [_cell(value) for value in values] for name, values in _flat(shown)}
    status = [STATUS_NAMES[code] for code in shown.status]
    for at, error in shown.errors.items():
        status[at] += f": {error_text(error):.80}"
    columns |= _own(columns, status=status)
    rows = [_row("td", row) for row in zip(*columns.values(), strict=True)]
    if cut:
        rows.insert(_SHOWN, _row("td", ["..."] * len(columns)))
    caption = html.escape(repr(result))
    return f"<table><caption>{caption}</caption>{_row('th', list(columns))}{''.join(rows)}</table>"


# ---------------------------------------------------------------- pieces


def _flat(result: SweepResult) -> Iterator[tuple[str, Column]]:
    for name in (*result.axes, *result.names):
        yield name, result.flat(name)


def _own(taken: Iterable[str], **columns: Any) -> dict[str, Any]:
    """Return columns that are procjob's own, under names that the user's leave free."""
    names = set(taken)
    return {free_name(name, names): values for name, values in columns.items()}


def _cells(values: Column) -> Column:
    """Return one value a point; rows of an array as arrays."""
    if values.ndim == 1:
        return values
    out = np.empty(len(values), dtype=object)
    for number, row in enumerate(values):  # one by one: NumPy would spread the rows
        out[number] = row
    return out


def _text(values: Column) -> Column:
    """Return text as such: objects would keep it from files."""
    if values.dtype == object and values.size and all(type(value) is str for value in values.reshape(-1)):
        return values.astype(str)
    return values


def _attribute(value: Any) -> Any:
    """Return a value as netCDF takes it; None: there is nothing to say."""
    if value is None or isinstance(value, (str, float, np.integer, np.floating)):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and -(1 << 63) <= value < 1 << 63:
        return value
    return json.dumps(value, default=str)


def _cell(value: Any) -> str:
    if isinstance(value, (float, np.floating, complex, np.complexfloating)):
        return f"{value:.6g}"
    if isinstance(value, np.ndarray):
        return f"{value.dtype} array {value.shape}"
    text = text_of(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _row(tag: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"
