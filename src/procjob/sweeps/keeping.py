"""A sweep's results in a `procjob.store.Store`: what is there is not run again, what ends is written at once."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import repeat
from typing import Any

import numpy as np

from procjob.errors import StoreError
from procjob.pool.foreign import describe
from procjob.pool.pickling import unpack_exception
from procjob.store import PointRecord, Store, SweepRecord
from procjob.store import Target as StoredTarget
from procjob.store.store import opened
from procjob.store.values import storable
from procjob.sweeps.chunks import Chunk
from procjob.sweeps.columns import Column, columns_of, unpacked
from procjob.sweeps.fingerprint import Classes
from procjob.sweeps.gathered import Gathered
from procjob.sweeps.identity import digest, point_keys
from procjob.sweeps.points import Points, Stream, rows
from procjob.sweeps.result import DONE, error_text
from procjob.sweeps.targets import Outcome, Target
from procjob.sweeps.versions import VersionCheck

logger = logging.getLogger("procjob")

#: How lambdas and circuits without a name are called, so that two of them have nothing to do with each other.
NAMELESS = frozenset({"value", "circuit"})


class StoreKeeper:
    """Keeps the points of one sweep.

    Args:
        store: the file, or its path: then nobody else uses this `Store`.
        target: of the sweep.
        parts: what it is made of.
        points: of the sweep.
        gathered: who is told what is there already.
        seed: of the sweep; None: that which was drawn when the same sweep began, if it did.
        drawn: the seed that is taken if there is none.
        provenance: of the sweep; has its ``sweep_id``.
        tags: of the sweep.
        metadata: of the sweep.

    Raises:
        StoreError: the store cannot be used.
        NoIdentity: something that the target is made of has no stable identity.
    """

    def __init__(
        self, store: Store | str | os.PathLike[str], target: Target, parts: Mapping[str, str], points: Points | Stream,
        gathered: Gathered, *, seed: int | None, drawn: int, provenance: Mapping[str, Any], tags: tuple[str, ...],
        metadata: Mapping[str, Any],
    ) -> None:  # fmt: skip
        self._own = not isinstance(store, Store)
        self._points = points
        self._gathered = gathered
        self._seeded = target.seeded
        self._failed = False
        self._classes = Classes(fixed=target.version is not None)
        if isinstance(points, Points):  # now, for the record
            for name, values in points.axes():
                if values.dtype == object:
                    point_keys({name: values}, self._classes.code)
        stored = StoredTarget(
            target.name, digest(*(storable(f"{name}={parts[name]}").encode() for name in sorted(parts))).hex(), parts
        )
        self.store = store = opened(store)  # now: a target that is refused makes no file
        target_id = store.target_id(stored)
        self._drawn = seed is None and target.seeded
        before = store.drawn_seed(target_id) if self._drawn else None
        self.seed = seed if seed is not None else before if before is not None else drawn
        self.seed_is_from_store = before is not None
        _tell_changes(store, stored, target_id)
        self._versions = VersionCheck(
            f"{target.name} in {store.path}", lambda: _sweeps_of(store, target.name, target_id)[::-1]
        )
        now = time.time()
        self._record = SweepRecord(
            sweep_id=provenance["sweep_id"],
            target_id=target_id,
            name=target.name,
            status="RUNNING",
            seed=self.seed,
            created=now,
            updated=now,
            points=points.spec() if isinstance(points, Points) else None,
            metadata=metadata,
            tags=tags,
            provenance={**provenance, "seeded": target.seeded, "drawn": seed is None, "classes": self._classes.known},
        )

    def close(self) -> None:
        """See `Keeper.close`; a later use opens it again."""
        if self._own:
            self.store.close()

    def begin(self) -> int:
        """See `Keeper.begin`."""
        self._record = self.store.put_sweep(self._record, adopt_seed=self._drawn)
        seed = self._record.seed
        if seed is not None and seed != self.seed:  # another process has begun the same meanwhile
            self.seed, self.seed_is_from_store = seed, True
        return self.seed

    def count_done(self, points: Points) -> int:
        """Return how many points are there already."""
        ranges = (range(at, min(at + 4096, len(points))) for at in range(0, len(points), 4096))
        return sum(self._count_done(points.columns(part.start, part.stop)) for part in ranges)

    def _count_done(self, columns: Mapping[str, Column]) -> int:
        found = self.store.get_points(
            self._record.target_id, self._keys(columns), columns=("key", "status", "finished")
        ).values()
        finished = [record.finished for record in found if record.status == "DONE"]
        self._versions.tell(finished)
        return len(finished)

    def _keys(self, columns: Mapping[str, Column]) -> list[bytes]:
        return store_keys(columns, self.seed if self._seeded else None, self._classes)

    def sift(self, chunk: Chunk) -> Chunk:
        """See `Keeper.sift`."""
        keys = self._keys(chunk.values(self._points))
        fields = ("key", "status", "value", "seconds", "finished")
        found = self.store.get_points(self._record.target_id, keys, columns=fields)
        done = np.array([key in found and found[key].status == "DONE" for key in keys], dtype=bool)
        if done.any():
            records = [found[key] for key, is_done in zip(keys, done, strict=True) if is_done]
            self._versions.tell(record.finished for record in records)
            outcome = Outcome(
                columns_of([record.value for record in records], ""),
                np.full(len(records), DONE, dtype=np.int8),
                np.array([record.seconds for record in records]),
            )
            self._gathered.add(chunk.positions[done], outcome, reused=True)
        left = ~done
        columns = None if chunk.columns is None else {name: values[left] for name, values in chunk.columns.items()}
        return Chunk(
            chunk.positions[left], columns, tuple(key for key, is_left in zip(keys, left, strict=True) if is_left)
        )

    def keep(self, chunk: Chunk, columns: Mapping[str, Column], outcome: Outcome, attempts: int) -> None:
        """See `Keeper.keep`."""
        assert chunk.keys is not None
        self._failed = True  # unless it returns
        names = list(outcome.columns)
        listed = [unpacked(column) for column in outcome.columns.values()]
        values = zip(*listed, strict=True) if listed else repeat(())  # a function may return {}
        records = []
        now = time.time()
        for number, (key, point) in enumerate(zip(chunk.keys, rows(columns), strict=True)):
            error = outcome.errors.get(number)
            if outcome.status[number] == DONE:
                value, told, status = dict(zip(names, next(values), strict=True)), None, "DONE"
            elif error is not None:
                value, told, status = None, error_text(unpack_exception(error)), "ERROR"
            else:
                continue
            records.append(PointRecord(key, point, status, value, told, float(outcome.seconds[number]), attempts, now))
        self.store.put_points(self._record.target_id, records)
        self._failed = False

    def end(self, status: str, points: Points, error: BaseException | None) -> None:
        """See `Keeper.end`; a store that has failed already is neither waited for nor complained of once more."""
        told = describe(error) if status == "ERROR" and error is not None else None
        record = replace(self._record, status=status, updated=time.time(), points=points.spec(), error=told)
        with contextlib.suppress(*([StoreError] if self._failed else [])):
            self.store.end_sweep(record, timeout=0.0 if self._failed else None)


def noted(tags: tuple[str, ...], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the metadata of a result have of the user's own notes."""
    return ({"tags": list(tags)} if tags else {}) | ({"metadata": dict(metadata)} if metadata else {})


def store_keys(columns: Mapping[str, Column], seed: int | None, classes: Classes) -> list[bytes]:
    """Return the keys of points in a store: those of their values with what these can do, and of the seed where results depend on it."""
    keys = point_keys(columns, classes.code)
    return keys if seed is None else [digest(key, str(seed).encode()) for key in keys]


def _sweeps_of(store: Store, name: str, target_id: int) -> list[SweepRecord]:
    """Return the last sweeps of a target, the newest first."""
    return [record for record in store.sweeps(limit=1000, name=name) if record.target_id == target_id]


def _tell_changes(store: Store, target: StoredTarget, target_id: int) -> None:
    """Say so if points of a target of the same name are not used because it is another one now."""
    if target.name in NAMELESS or store.count_points(target_id):
        return
    for other_id, other in store.targets(target.name):
        count = 0 if other_id == target_id else store.count_points(other_id).get("DONE", 0)
        if count:
            changed = sorted(
                name for name in {*other.parts, *target.parts} if other.parts.get(name) != target.parts.get(name)
            )
            logger.warning(
                "%s has changed (%s), or Python has, since %d points of it were stored in %s; they are not used. If its results have "
                "not changed, give both version= (--target-version on the command line)", target.name, ", ".join(changed), count, store.path,
            )  # fmt: skip
            return
