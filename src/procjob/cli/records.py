"""A result of a sweep as rows, CSV, JSON, NPZ and a picture."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from procjob.cli.options import Usage
from procjob.cli.output import Output, new_file, plain

if TYPE_CHECKING:
    from procjob.sweeps import SweepResult

FORMATS = ("csv", "json", "npz")
PICTURES = (".png", ".pdf", ".svg", ".jpg")
#: Rows of a table in a terminal, at the beginning and at the end.
_SHOWN = 20


def header(result: SweepResult) -> list[str]:
    """Return names of the columns of `rows`."""
    from procjob.sweeps.result import free_name

    names = [*result.axes, *result.names]
    for own in ("status", "seconds", "error"):
        names.append(free_name(own, set(names)))
    return names


def rows(result: SweepResult) -> Iterator[list[Any]]:
    """Yield one row a point; None for what is not there."""
    from procjob.sweeps.columns import unpacked
    from procjob.sweeps.result import DONE, STATUS_NAMES, error_text

    axes = [unpacked(result.flat(name)) for name in result.axes]
    columns = [unpacked(result.flat(name)) for name in result.names]
    status, seconds = result.status.tolist(), result.seconds.tolist()
    for at, code in enumerate(status):
        done = code == DONE
        error = result.errors.get(at)
        yield [
            *(values[at] for values in axes),
            *(values[at] if done else None for values in columns),
            STATUS_NAMES[code],
            None if math.isnan(seconds[at]) else seconds[at],
            None if error is None else error_text(error),
        ]


def write_table(result: SweepResult, out: Output, *, whole: bool) -> None:
    """Write a result to stdout, in columns; the middle of a long one only if it is wanted."""
    if whole or len(result) <= 2 * _SHOWN:
        out.table(header(result), rows(result))
        return
    import numpy as np

    count = len(result)
    shown = list(rows(result.take(np.r_[0:_SHOWN, count - _SHOWN : count])))
    out.table(header(result), [*shown[:_SHOWN], ["..."] * len(shown[0]), *shown[_SHOWN:]])
    out.say(f"{count - 2 * _SHOWN} of {count} points are not shown; --output FILE.csv or a pipe has them all")


def write_csv(result: SweepResult, file: Any) -> None:
    """Write a result as CSV: numbers with all their digits, arrays and mappings as JSON."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header(result))
    for row in rows(result):
        writer.writerow([_field(value) for value in row])


def write_json(result: SweepResult, file: Any) -> None:
    """Write a result as one JSON object, point by point."""
    head = {
        **result.provenance(),
        "axes": list(result.axes),
        "results": list(result.names),
        "shape": list(result.shape),
    }
    names = header(result)
    file.write(json.dumps(plain(head), indent=2, ensure_ascii=False)[:-2] + ',\n  "points": [')
    for number, row in enumerate(rows(result)):
        file.write(",\n    " if number else "\n    ")
        file.write(json.dumps(plain(dict(zip(names, row, strict=True))), ensure_ascii=False))
    file.write("\n  ]\n}\n")


def save(result: SweepResult, path: Path) -> None:
    """Write a result to a file, in the format of its ending."""
    kind = path.suffix.lower().removeprefix(".")
    try:
        if kind == "npz":
            result.save(path)
            return
        with new_file(path) as file:
            (write_csv if kind == "csv" else write_json)(result, file)
    except TypeError as exc:
        raise Usage(f"{path} was not written: {exc}") from None
    except OSError as exc:
        raise Usage(f"{path} cannot be written: {exc.strerror}") from None


def draw(
    result: SweepResult,
    path: Path,
    *,
    x: str | None = None,
    y: str | None = None,
    by: str | None = None,
    kind: str | None = None,
) -> None:
    """Draw a result; what is not said is chosen: its longest axes, its first result that is a number, and the kind that fits."""
    x, y, by = _chosen(result, x, y, by)
    try:
        axes = result.plot(x, y, by=by, kind=kind)
        with new_file(path, "wb") as file:
            _save_figure(axes.figure, file, path.suffix.lower().removeprefix("."))
    except ModuleNotFoundError as exc:
        raise Usage(str(exc)) from None
    except KeyError as exc:
        raise Usage(exc.args[0]) from None
    except OSError as exc:
        raise Usage(f"{path} cannot be written: {exc.strerror}") from None
    except (TypeError, ValueError) as exc:
        raise Usage(f"no picture: {exc}") from None


def _save_figure(figure: Any, file: IO[bytes], kind: str) -> None:
    figure.savefig(file, format=kind, dpi=150)


def _chosen(result: SweepResult, x: str | None, y: str | None, by: str | None) -> tuple[str, str, str | None]:
    if y is None:
        numbers = [
            name for name in result.names if result.flat(name).ndim == 1 and result.flat(name).dtype.kind in "biuf"
        ]
        if not numbers:
            raise Usage(
                f"no picture: none of the results is a number a point; there are {', '.join(result.names) or 'none'}"
            )
        y = numbers[0]
    # The dimension with the most points goes along the picture, the next one apart.
    free = sorted((part for part in result.points.parts if by not in part.names), key=len, reverse=True)
    if x is None:
        x = free[0].names[0] if free else result.axes[0]
    others = [part for part in free if x not in part.names and len(part) > 1]
    if by is None and x in result.axes and others:
        by = others[0].names[0]
    return x, y, by


def _field(value: Any) -> Any:
    simple = value is None or isinstance(value, (str, int, float))
    return (
        value if simple else str(value) if isinstance(value, complex) else json.dumps(plain(value), ensure_ascii=False)
    )
