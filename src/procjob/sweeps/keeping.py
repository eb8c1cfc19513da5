"""A sweep's results in a `procjob.store.Store`: what is there is not run again, what ends is written at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

import numpy as np

from procjob.pool.foreign import describe
from procjob.pool.pickling import unpack_exception
from procjob.store import PointRecord, Store, SweepRecord, Target
from procjob.sweeps.chunks import Chunk
from procjob.sweeps.columns import Column, columns_of, unpacked
from procjob.sweeps.gathered import Gathered
from procjob.sweeps.identity import digest, point_keys
from procjob.sweeps.points import Points, Stream, rows
from procjob.sweeps.result import DONE
from procjob.sweeps.targets import Outcome

logger = logging.getLogger("procjob")


class StoreKeeper:
    """Keeps the points of one sweep.

    Args:
        store: the file.
        record: of the sweep; its target is there.
        points: of the sweep.
        seeded: whether results depend on the seed.
        gathered: who is told what is there already.
    """

    def __init__(
        self, store: Store, record: SweepRecord, points: Points | Stream, *, seeded: bool, gathered: Gathered
    ) -> None:
        self._store = store
        self._record = record
        self._seed = record.seed if seeded else None
        self._points = points
        self._gathered = gathered

    def sift(self, chunk: Chunk) -> Chunk:
        """See `Keeper.sift`."""
        keys = store_keys(chunk.values(self._points), self._seed)
        found = self._store.get_points(self._record.target_id, keys)
        done = np.array([key in found and found[key].status == "DONE" for key in keys], dtype=bool)
        if done.any():
            records = [found[key] for key, is_done in zip(keys, done, strict=True) if is_done]
            outcome = Outcome(
                columns_of([record.value for record in records], ""),
                np.full(len(records), DONE, dtype=np.int8),
                np.array([record.seconds for record in records]),
            )
            self._gathered.add(chunk.positions[done], outcome, reused=True)
        left = ~done
        columns = None if chunk.columns is None else {name: values[left] for name, values in chunk.columns.items()}
        return Chunk(chunk.positions[left], columns, tuple(key for key, is_left in zip(keys, left, strict=True) if is_left))

    def keep(self, chunk: Chunk, columns: Mapping[str, Column], outcome: Outcome, attempts: int) -> None:
        """See `Keeper.keep`."""
        assert chunk.keys is not None
        names = list(outcome.columns)
        values = iter(zip(*(unpacked(column) for column in outcome.columns.values()), strict=True))
        records = []
        now = time.time()
        for number, (key, point) in enumerate(zip(chunk.keys, rows(columns), strict=True)):
            error = outcome.errors.get(number)
            if outcome.status[number] == DONE:
                value, told, status = dict(zip(names, next(values), strict=True)), None, "DONE"
            elif error is not None:
                value, told, status = None, describe(unpack_exception(error)), "ERROR"
            else:
                continue
            records.append(PointRecord(key, point, status, value, told, float(outcome.seconds[number]), attempts, now))
        self._store.put_points(self._record.target_id, records)

    def end(self, status: str, points: Points) -> None:
        """See `Keeper.end`."""
        self._store.put_sweep(sweep_record(self._record, status, points))


def store_keys(columns: Mapping[str, Column], seed: int | None) -> list[bytes]:
    """Return the keys of points in a store: those of their values, and of the seed where results depend on it."""
    keys = point_keys(columns)
    return keys if seed is None else [digest(key, str(seed).encode()) for key in keys]


def sweep_record(record: SweepRecord, status: str, points: Points) -> SweepRecord:
    """Return the record of a sweep as it is now."""
    return SweepRecord(
        record.sweep_id, record.target_id, record.name, status, record.seed, record.created, time.time(), points.spec(), record.metadata
    )


def told_changes(store: Store, target: Target) -> str | None:
    """Return a sentence about points of a target of the same name that is another one now; None if there are none."""
    same = store.target_id(target)
    for target_id, other in store.targets(target.name):
        count = store.count_points(target_id).get("DONE", 0)
        if target_id != same and count:
            changed = sorted(name for name in {*other.parts, *target.parts} if other.parts.get(name) != target.parts.get(name))
            return (
                f"{target.name} has changed ({', '.join(changed)}) since {count} points of it were stored; they are not used. "
                "If their results still hold, give both the same version="
            )
    return None


