"""Points of sweeps in a store: what they are, and how they become rows and come back."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from procjob.store.values import blamed, decode, encode, storable

KEY_BYTES = 16


@dataclass(frozen=True, slots=True)
class Target:
    """What points are computed by.

    Attributes:
        name: how the user calls it.
        identity: a hex digest of everything that its results depend on.
        parts: digest of each of these things by its name, so that it can be said what has changed.
    """

    name: str
    identity: str
    parts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PointRecord:
    """A finished point of a sweep.

    Attributes:
        key: 16 bytes that stand for the point among those of its target.
        values: the arguments of the target.
        status: "DONE" or "ERROR".
        value: the result; None if there is none.
        error: type and text of what was raised; None if nothing was.
        seconds: that it took; 0 where that is not known, as its worker died, say.
        attempts: executions begun.
        finished: Unix time.
    """

    key: bytes
    values: Mapping[str, Any]
    status: str
    value: Any
    error: str | None
    seconds: float
    attempts: int
    finished: float


# ---------------------------------------------------------------- points

POINT_FIELDS = tuple(PointRecord.__slots__)

#: The first record of a point that is DONE stays, whoever writes another; a failure is replaced.
PUT_POINT = """
    INSERT INTO points (target_id, key, status, arguments, arguments_data, result, result_data, error, seconds, attempts,
                        finished)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (target_id, key) DO UPDATE SET
        status=excluded.status, arguments=excluded.arguments, arguments_data=excluded.arguments_data,
        result=excluded.result, result_data=excluded.result_data, error=excluded.error, seconds=excluded.seconds,
        attempts=excluded.attempts, finished=excluded.finished
    WHERE points.status <> 'DONE'
"""
GET_POINTS = """
    SELECT key, status, arguments, arguments_data, result, result_data, error, seconds, attempts, finished
    FROM points WHERE target_id = ? AND key IN
"""


def point_row(target_id: int, identity: str, record: PointRecord) -> tuple[Any, ...]:
    """Return the row of a point.

    Raises:
        ValueError: it has no proper key or status.
        StoreError: values or result cannot be kept.
    """
    key, status = record.key, record.status
    if len(key) != KEY_BYTES or not isinstance(key, bytes):
        raise ValueError(f"key must be {KEY_BYTES} bytes, not {key!r}")
    if status not in ("DONE", "ERROR"):
        raise ValueError(f"status of a point must be 'DONE' or 'ERROR', not {status!r}")
    owner = f"point {identity} {key.hex()}"
    arguments = encode(dict(record.values), f"{owner} arguments", label="values")
    result = encode(record.value, f"{owner} result", label="result")
    error = record.error and storable(record.error)
    return (target_id, key, status, *arguments, *result, error, record.seconds, record.attempts, record.finished)


def point_record(row: tuple[Any, ...], identity: str, fields: Collection[str], *, allow_pickle: bool) -> PointRecord:
    """Return the point of a row; fields that are not asked for are empty.

    Raises:
        StoreError: a pickle that may not be loaded, or damage.
    """
    key, status, arguments, arguments_data, result, result_data, error, seconds, attempts, finished = row
    owner = f"point {identity} {key.hex()}"
    with blamed(f"point {key.hex()}"):
        return PointRecord(
            key,
            decode(arguments, arguments_data, f"{owner} arguments", allow_pickle=allow_pickle)
            if "values" in fields
            else {},
            status,
            decode(result, result_data, f"{owner} result", allow_pickle=allow_pickle) if "value" in fields else None,
            error,
            seconds,
            attempts,
            finished,
        )


def target_record(row: tuple[Any, ...]) -> tuple[int, Target]:
    """Return id and target of a row."""
    target_id, name, identity, parts = row
    return target_id, Target(name, identity, json.loads(parts))


def checked_fields(columns: str | Iterable[str]) -> Collection[str]:
    """Return the fields of a point that ``columns`` asks for.

    Raises:
        ValueError: there is no such field.
    """
    if columns == "all":
        return POINT_FIELDS
    fields = frozenset([columns] if isinstance(columns, str) else columns)
    if unknown := fields - set(POINT_FIELDS):
        raise ValueError(f"columns must be 'all' or some of {', '.join(POINT_FIELDS)}, not {sorted(unknown)}")
    return fields
