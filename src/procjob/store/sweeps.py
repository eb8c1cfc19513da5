"""Sweeps in a store: what is known of them, and how it becomes rows and comes back."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from sqlite3 import Connection
from typing import Any

from procjob.errors import StoreError
from procjob.pool.foreign import describe
from procjob.status import JobStatus
from procjob.store.database import Database
from procjob.store.processes import Processes
from procjob.store.query import JobQuery
from procjob.store.values import Unread, check_times, encode, encode_or_say_why, storable


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
        tags: words to find it by.
        error: type and text of what ended a sweep that is ERROR, or that it was interrupted; None for any other.
        provenance: what `procjob.sweep` itself has to say of it, plain data: versions, whether the seed was drawn.
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
    tags: tuple[str, ...] = ()
    error: str | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """One true line."""
        return f"<SweepRecord {self.sweep_id[:8]} {self.status} {self.name}>"


COLUMNS = (
    "sweep_id", "target_id", "name", "status", "seed", "created", "updated", "points", "points_data", "metadata",
    "metadata_data", "tags", "error", "provenance",
)  # fmt: skip
_PUT = f"""
    INSERT INTO sweeps ({", ".join(COLUMNS)}, process_id) VALUES ({", ".join("?" * len(COLUMNS))}, ?)
    ON CONFLICT (sweep_id) DO UPDATE SET {", ".join(f"{name}=excluded.{name}" for name in (*COLUMNS[1:], "process_id"))}
"""

_DRAWN_SEED = """
    SELECT seed FROM sweeps WHERE target_id = ? AND seed IS NOT NULL
        AND CASE WHEN json_valid(provenance) THEN json_extract(provenance, '$.drawn') END ORDER BY rowid LIMIT 1
"""

#: How sweeps have ended that could not be written, by file; for whoever in this process uses that file next. It is changed in
#: single steps, so that there is no lock which a fork could find held.
_owed: dict[Path, dict[str, SweepRecord]] = {}


class SweepTable:
    """The sweeps in a store.

    Args:
        database: the file.
        processes: who writes to it.
        allow_pickle: the user's consent to load pickles whoever wrote them.
    """

    def __init__(self, database: Database, processes: Processes, *, allow_pickle: bool) -> None:
        self._database = database
        self._processes = processes
        self._allow_pickle = allow_pickle

    def get(self, sweep_id: str) -> SweepRecord | None:
        """Return a sweep; None if there is none."""
        found = self._select("WHERE sweep_id = ?", [sweep_id])
        return found[0] if found else None

    def find(self, query: JobQuery) -> list[SweepRecord]:
        """Return the sweeps that are asked for."""
        return self._select(*query.sql("name"))

    def drawn_seed(self, target_id: int) -> int | None:
        """Return the seed of the first sweep of a target that drew one, by the order in which they were put; None if there is none."""
        with self._database.read() as connection:
            return _drawn_seed(connection, target_id)

    def put(self, record: SweepRecord, *, adopt_seed: bool = False) -> SweepRecord:
        """Keep a sweep of this process, or what has become of it.

        Args:
            record: the sweep.
            adopt_seed: keep it with the seed of `drawn_seed`, if there is one.

        Returns:
            It as it is kept.

        Raises:
            StoreError: its points cannot be kept, or the file cannot be written; nothing of it is kept.
        """
        row = (*_row(record), self._processes.this())
        with self._database.write() as connection:
            connection.execute(_PUT, row)
            # After that: a signal handler that begins the same in the midst of this finds the seed of this one, or is found.
            first = _drawn_seed(connection, record.target_id) if adopt_seed else None
            if first not in (None, record.seed):
                connection.execute("UPDATE sweeps SET seed=? WHERE sweep_id=?", (str(first), record.sweep_id))
                record = replace(record, seed=first)
        return record

    def end(self, record: SweepRecord, *, timeout: float | None = None) -> None:
        """Keep how a sweep has ended, unless it was deleted.

        Raises:
            StoreError: the file cannot be written; it is tried again when this process uses the file next, and a sweep that
                was DONE is ERROR then, as its job.
        """
        try:
            self._write_end(record, timeout)
        except StoreError as exc:
            if record.status == "DONE":
                record = replace(record, status="ERROR", error=describe(exc))
            _owed.setdefault(self._database.path, {})[record.sweep_id] = record
            raise

    def delete(self, sweep_id: str) -> bool:
        """Delete a sweep; return whether there was one."""
        with self._database.write() as connection:
            return connection.execute("DELETE FROM sweeps WHERE sweep_id = ?", (sweep_id,)).rowcount > 0

    def _select(self, terms: str, given: Sequence[Any]) -> list[SweepRecord]:
        self._write_what_is_owed()
        source = self._processes.up_to_date("sweeps", COLUMNS)
        with self._database.read() as connection:
            found = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM {source} {terms}", given).fetchall()
        return [_record(row, allow_pickle=self._allow_pickle) for row in found]

    def _write_what_is_owed(self) -> None:
        owed = _owed.get(self._database.path, {})
        for record in list(owed.values()):
            with contextlib.suppress(StoreError):  # it is owed still
                self._write_end(record, 0.0)
                owed.pop(record.sweep_id, None)

    def _write_end(self, record: SweepRecord, timeout: float | None) -> None:
        row = dict(zip(COLUMNS, _row(record), strict=True))
        names = ("status", "updated", "points", "points_data", "provenance", "error")
        with self._database.write(timeout) as connection:
            connection.execute(
                f"UPDATE sweeps SET {', '.join(f'{name}=?' for name in names)} WHERE sweep_id = ?",
                (*(row[name] for name in names), record.sweep_id),
            )


def _drawn_seed(connection: Connection, target_id: int) -> int | None:
    found = connection.execute(_DRAWN_SEED, (target_id,)).fetchone()
    return None if found is None else int(found[0])


def _row(record: SweepRecord) -> tuple[Any, ...]:
    """Return the row of a sweep.

    Raises:
        StoreError: its points cannot be kept.
    """
    owner = f"sweep {record.sweep_id}"
    return (
        record.sweep_id,
        record.target_id,
        record.name,
        record.status,
        None if record.seed is None else str(record.seed),  # as text: it may have more than 64 bits
        record.created,
        record.updated,
        *encode(record.points, f"{owner} points", label="points"),
        *encode_or_say_why(dict(record.metadata), f"{owner} metadata", label="metadata"),
        storable(json.dumps(record.tags, ensure_ascii=False)),
        record.error and storable(record.error),
        json.dumps(dict(record.provenance)),
    )


def _record(row: tuple[Any, ...], *, allow_pickle: bool) -> SweepRecord:
    """Return the sweep of a row.

    Raises:
        StoreError: it is damaged.
    """
    fields = dict(zip(COLUMNS, row, strict=True))
    owner = f"sweep {fields['sweep_id']}"
    check_times(owner, fields, ("created", "updated"))
    for name in ("points", "metadata"):
        fields[name] = Unread(fields[name], fields.pop(f"{name}_data"), f"{owner} {name}", allow_pickle)
    try:
        fields["seed"] = None if fields["seed"] is None else int(fields["seed"])
        fields["tags"], fields["provenance"] = tuple(json.loads(fields["tags"])), dict(json.loads(fields["provenance"]))
        JobStatus[fields["status"]]
    except (TypeError, ValueError, KeyError) as exc:
        raise StoreError(f"{owner} is damaged: {exc!r}") from exc
    return SweepRecord(**fields)
