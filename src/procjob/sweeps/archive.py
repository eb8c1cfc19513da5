"""Results in one file: an NPZ archive without pickles.

    header      JSON: format, version, seed, target, metadata, names, errors as text
    status      seconds      column_0 ...      axis_0 ...        arrays; those of objects as the JSON of their values

What JSON has no word for is an object with one key that begins with ``$``: ``{"$tuple": [1, 2]}``.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import io
import json
import os
import uuid
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from procjob.errors import RemoteError
from procjob.sweeps.columns import Column
from procjob.sweeps.points import Axes, Points, Product
from procjob.sweeps.result import SweepResult, along, error_text

_FORMAT = "procjob.SweepResult"
_VERSION = 1


def save(result: SweepResult, path: Path) -> Path:
    """See `SweepResult.save`."""
    entries: dict[str, NDArray[Any]] = {"status": result.status, "seconds": result.seconds}
    dimensions: list[dict[str, str]] = []
    columns: dict[str, str] = {}
    for name, values in result.columns.items():
        columns[name] = f"column_{len(columns)}"
        entries[columns[name]] = _entry(values, f"column {name!r}")
    for part in result.points.parts:
        dimensions.append({})
        for name, values in along(part).items():
            dimensions[-1][name] = f"axis_{len(entries)}"
            entries[dimensions[-1][name]] = _entry(values, f"axis {name!r}")
    header = {
        "format": _FORMAT,
        "version": _VERSION,
        "seed": _plain(result.seed, "the seed"),
        "target": result.target,
        "metadata": _named(result.metadata, "metadata"),
        "fixed": _named(result.fixed, "axis"),
        "dimensions": [_named(axes, "axis") for axes in dimensions],
        "columns": _named(columns, "column"),
        "errors": {str(at): error_text(error) for at, error in result.errors.items()},
    }
    _write(path, {"header": _as_bytes(header), **entries})
    return path


def load(path: Path) -> SweepResult:
    """See `SweepResult.load`."""
    with path.open("rb") as file:
        try:
            if not zipfile.is_zipfile(file):  # to NumPy anything else may be a pickle
                raise ValueError("it is no NPZ file")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                header = _from_bytes(archive["header"])
                if header["format"] != _FORMAT:
                    raise ValueError(f"its format is {header['format']!r}")
                if header["version"] > _VERSION:
                    raise ValueError(
                        f"it has version {header['version']}, this procjob reads up to {_VERSION}: update procjob"
                    )
                return _restored(header, lambda name: _values(archive[name]))
        except (OSError, MemoryError):
            raise
        except Exception as error:  # NumPy, zipfile and json raise some dozen types for what is damaged
            raise ValueError(f"{path} is no saved result of a sweep that can be read: {error}") from error


def _restored(header: Mapping[str, Any], values: Callable[[str], Column]) -> SweepResult:
    parts: tuple[Points, ...] = tuple(
        Axes({name: values(entry) for name, entry in axes.items()}) for axes in header["dimensions"]
    )
    return SweepResult(
        points=parts[0] if len(parts) == 1 else Product(parts),
        columns={name: values(entry) for name, entry in header["columns"].items()},
        status=values("status"),
        seconds=values("seconds"),
        errors={int(at): RemoteError(text) for at, text in header["errors"].items()},
        seed=header["seed"],
        target=header["target"],
        metadata=header["metadata"],
        fixed=header["fixed"],
    )


def _write(path: Path, entries: Mapping[str, NDArray[Any]]) -> None:
    """Write a file that is whole whenever it has its name."""
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with draft.open("xb") as file:
            np.savez(file, **dict[str, Any](entries))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()


# ---------------------------------------------------------------- values


def _entry(values: Column, what: str) -> NDArray[Any]:
    """Return an array that is written without a pickle."""
    if not values.dtype.hasobject:
        return values
    if values.dtype != object:
        raise TypeError(
            f"{what} cannot be saved: its fields have objects in them; return them under names of their own"
        )
    flat = [_plain(value, f"{what}, number {at}") for at, value in enumerate(values.reshape(-1).tolist())]
    return _as_bytes({"shape": values.shape, "values": flat})


def _values(entry: NDArray[Any]) -> Column:
    if entry.dtype != _BYTES:
        return entry
    found = _from_bytes(entry)
    out = np.empty(len(found["values"]), dtype=object)
    for number, value in enumerate(found["values"]):  # one by one: NumPy would look into lists
        out[number] = value
    return out.reshape(found["shape"])


#: Of entries that are text; no result has it by accident.
_BYTES = np.dtype([("json", np.uint8)])


def _as_bytes(value: Any) -> NDArray[Any]:
    return np.frombuffer(json.dumps(value).encode(), dtype=_BYTES)


def _from_bytes(entry: NDArray[Any]) -> Any:
    return json.loads(entry.tobytes(), object_hook=_read)


def _plain(value: Any, what: str) -> Any:
    """Return a value as JSON has it."""
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if kind is list:
        return [_plain(item, what) for item in value]
    if kind is dict:
        if _is_plain_object(value):
            return {key: _plain(item, what) for key, item in value.items()}
        return {"$dict": [[_plain(key, what), _plain(item, what)] for key, item in value.items()]}
    if kind in _WRITERS:
        tag, write = _WRITERS[kind]
        return {tag: _plain(write(value), what)}
    if (
        isinstance(value, np.generic)
        and (value.dtype.isbuiltin == 1 or value.dtype.kind in "mMUS")
        and value.dtype.kind not in "OV"
    ):
        return {"$scalar": _npy(np.asarray(value))}
    raise TypeError(
        f"{what} cannot be saved: {value!r:.100} is a {kind.__module__}.{kind.__qualname__}; save takes plain data and arrays. "
        "Return such, or pickle the result yourself"
    )


def _is_plain_object(names: Iterable[Any]) -> bool:
    """Whether an object of JSON with these names is read as what it is."""
    return all(type(name) is str and not name.startswith("$") for name in names)


def _named(values: Mapping[str, Any], what: str) -> Any:
    """Return values under names of the user's as JSON has them."""
    plain = {name: _plain(value, f"{what} {name!r}") for name, value in values.items()}
    return plain if _is_plain_object(plain) else {"$dict": [list(item) for item in plain.items()]}


def _npy(array: NDArray[Any]) -> str:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=False)
    return base64.b64encode(file.getvalue()).decode()


def _from_npy(text: str) -> Any:
    return np.lib.format.read_array(io.BytesIO(base64.b64decode(text)), allow_pickle=False)


def _array(value: NDArray[Any]) -> Any:
    if not value.dtype.hasobject:
        return _npy(value)
    return [list(value.shape), value.reshape(-1).tolist()]


def _from_array(content: Any) -> NDArray[Any]:
    if isinstance(content, str):
        found: NDArray[Any] = _from_npy(content)
        return found
    shape, values = content
    out = np.empty(len(values), dtype=object)
    for number, value in enumerate(values):
        out[number] = value
    return out.reshape(shape)


_WRITERS: dict[type, tuple[str, Callable[[Any], Any]]] = {
    complex: ("$complex", lambda value: [value.real, value.imag]),
    bytes: ("$bytes", bytes.hex),
    tuple: ("$tuple", list),
    set: ("$set", list),
    frozenset: ("$frozenset", list),
    dt.datetime: ("$datetime", dt.datetime.isoformat),
    dt.date: ("$date", dt.date.isoformat),
    np.ndarray: ("$array", _array),
}
_READERS: dict[str, Callable[[Any], Any]] = {
    "$complex": lambda parts: complex(*parts),
    "$bytes": bytes.fromhex,
    "$tuple": tuple,
    "$set": set,
    "$frozenset": frozenset,
    "$datetime": dt.datetime.fromisoformat,
    "$date": dt.date.fromisoformat,
    "$array": _from_array,
    "$scalar": lambda text: _from_npy(text)[()],
    "$dict": dict,
}


def _read(members: dict[str, Any]) -> Any:
    if len(members) == 1:
        ((tag, content),) = members.items()
        if tag in _READERS:
            return _READERS[tag](content)
    return members
