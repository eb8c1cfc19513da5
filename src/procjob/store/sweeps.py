"""Sweeps in a store: what is known of them, and how it becomes rows and comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from procjob.store.values import Unread, encode


class _Late:
    """A field that may be given as `Unread`; it is decoded when it is asked for, once."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, record: Any, owner: type | None = None) -> Any:
        if record is None:
            raise AttributeError(self._name)  # so that dataclass takes it for a field without default
        value = record.__dict__[self._name]
        if isinstance(value, Unread):
            value = record.__dict__[self._name] = value.read()
        return value

    def __set__(self, record: Any, value: Any) -> None:
        record.__dict__[self._name] = value


def _late() -> Any:
    return _Late()


@dataclass(frozen=True, repr=False)
class SweepRecord:
    """A sweep.

    Of one that comes from a store, points and metadata are decoded when they are asked for. This raises `StoreError` if they
    cannot be, as pickles of somebody else; all the rest can be read without.

    Attributes:
        sweep_id: unique among those of the store.
        target_id: what `Store.target_id` returned.
        name: how the user calls it.
        status: name of a `procjob.JobStatus`.
        seed: of the sweep; None if its target takes none.
        created: Unix time.
        updated: Unix time.
        points: description of its points: anything that can be kept without pickle, and anything else if need be.
        metadata: kept with it.
    """

    sweep_id: str
    target_id: int
    name: str
    status: str
    seed: int | None
    created: float
    updated: float
    points: Any = _late()  # noqa: RUF009  (a descriptor, not a value that records share)
    metadata: Mapping[str, Any] = _late()

    def __repr__(self) -> str:
        """One true line."""
        return f"<SweepRecord {self.sweep_id[:8]} {self.status} {self.name}>"


PUT_SWEEP = """
    INSERT INTO sweeps (sweep_id, target_id, name, status, seed, created, updated, points, points_data, metadata,
                        metadata_data)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (sweep_id) DO UPDATE SET
        target_id=excluded.target_id, name=excluded.name, status=excluded.status, seed=excluded.seed,
        created=excluded.created, updated=excluded.updated, points=excluded.points, points_data=excluded.points_data,
        metadata=excluded.metadata, metadata_data=excluded.metadata_data
"""
SWEEP_COLUMNS = (
    "sweep_id, target_id, name, status, seed, created, updated, points, points_data, metadata, metadata_data"
)


def sweep_row(record: SweepRecord) -> tuple[Any, ...]:
    """Return the row of a sweep.

    Raises:
        StoreError: points or metadata cannot be kept.
    """
    owner = f"sweep {record.sweep_id}"
    points = encode(record.points, f"{owner} points", label="points")
    metadata = encode(dict(record.metadata), f"{owner} metadata", label="metadata")
    seed = None if record.seed is None else str(record.seed)  # as text: it may have more than 64 bits
    head = (record.sweep_id, record.target_id, record.name, record.status, seed, record.created, record.updated)
    return (*head, *points, *metadata)


def sweep_record(row: tuple[Any, ...], *, allow_pickle: bool) -> SweepRecord:
    """Return the sweep of a row."""
    sweep_id, target_id, name, status, seed, created, updated, points, points_data, metadata, metadata_data = row
    return SweepRecord(
        sweep_id,
        target_id,
        name,
        status,
        None if seed is None else int(seed),
        created,
        updated,
        Unread(points, points_data, f"sweep {sweep_id} points", allow_pickle),
        Unread(metadata, metadata_data, f"sweep {sweep_id} metadata", allow_pickle),  # type: ignore[arg-type]
    )
