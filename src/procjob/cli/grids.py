"""Axes as they are written on a command line: ``theta=0:3.14:50``, ``depth=1,2,3``, ``noise=@levels.txt``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from procjob.cli.options import Usage

if TYPE_CHECKING:
    from procjob.sweeps import Points

_Number = TypeVar("_Number", int, float)

SYNTAX = (
    "name=start:stop:count (floats, both ends included), name=a,b,c or name=@file (.npy, or text with one value a line)"
)
#: Characters of a file of values; one without an end, such as a device, would be read until the memory is full.
_MOST = 100_000_000


def points_of(grid: Sequence[str], zipped: Sequence[str]) -> Points:
    """Return the points of ``--grid`` and ``--zip``: each axis of a grid with each other, those that are zipped together.

    Raises:
        Usage: an axis is not written so, or twice, or its values are no axis.
    """
    from procjob import sweeps

    if not grid and not zipped:
        raise Usage(f"which points? Give at least one --grid {SYNTAX}")
    names = [text.partition("=")[0].strip() for text in (*grid, *zipped)]
    if twice := [name for name in names if names.count(name) > 1]:
        raise Usage(f"axis {twice[0]} is given twice; put all its values into one --grid {SYNTAX}")
    try:
        parts = [make(**axes) for make, axes in ((sweeps.grid, _axes(grid)), (sweeps.zipped, _axes(zipped))) if axes]
    except (TypeError, ValueError) as exc:
        raise Usage(f"{exc}; an axis is {SYNTAX}") from None
    points: Points = parts[0] if len(parts) == 1 else parts[0] * parts[1]
    return points


def _axes(texts: Sequence[str]) -> dict[str, Any]:
    return dict(map(_axis, texts))


def _axis(text: str) -> tuple[str, Any]:
    name, equals, values = text.partition("=")
    name, values = name.strip(), values.strip()
    if not equals or not name or not values:
        raise Usage(f"{text!r} is no axis; write {SYNTAX}")
    if values.startswith("@"):
        return name, _from_file(name, Path(values[1:]))
    return name, _range(name, values) if ":" in values else _listed(values.split(","))


def _range(name: str, text: str) -> Any:
    import numpy as np

    parts = text.split(":")
    ends = _numbers(parts[:2], float)
    if len(parts) != 3 or ends is None or not parts[2].strip().isdecimal() or int(parts[2]) < 1:
        raise Usage(f"axis {name} has {text!r}, which is no start:stop:count; write {SYNTAX}")
    try:
        with np.errstate(all="ignore"):  # what is not finite is refused with the others
            return np.linspace(ends[0], ends[1], int(parts[2]))
    except (MemoryError, ValueError, OverflowError):
        raise Usage(f"axis {name} has {parts[2].strip()} values, more than there is memory for") from None


def _listed(texts: Sequence[str]) -> list[Any]:
    """Return values: whole numbers if all are, else numbers if all are, else text."""
    stripped = [text.strip() for text in texts]
    if not all(stripped):
        raise Usage(f"{','.join(texts)!r} has an empty value; write {SYNTAX}")
    return _numbers(stripped, int) or _numbers(stripped, float) or stripped


def _numbers(texts: Sequence[str], kind: Callable[[str], _Number]) -> list[_Number] | None:
    try:
        return [kind(text) for text in texts]
    except ValueError:
        return None


def _from_file(name: str, path: Path) -> Any:
    import numpy as np

    try:
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False)
        with path.open(encoding="utf-8-sig") as file:  # editors on Windows write a mark in front
            text = file.read(_MOST + 1)
    except FileNotFoundError:
        raise Usage(f"axis {name}: there is no file {path}") from None
    except (OSError, ValueError) as exc:
        raise Usage(f"axis {name}: {path} cannot be read: {exc}") from None
    if len(text) > _MOST:
        raise Usage(f"axis {name}: {path} has more than {_MOST:,} characters; save its values as .npy")
    lines = [line.strip() for line in text.splitlines()]
    values = [line for line in lines if line and not line.startswith("#")]
    if not values:
        raise Usage(f"axis {name}: {path} has no values; it needs one a line")
    return _listed(values)
