"""Sweeps as a store knows them, finished or not."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import numpy as np

from procjob.errors import RemoteError, StoreError
from procjob.store import Store, SweepRecord
from procjob.sweeps.columns import columns_of
from procjob.sweeps.fingerprint import Classes
from procjob.sweeps.gathered import Gathered
from procjob.sweeps.keeping import noted, store_keys
from procjob.sweeps.points import Points, from_spec
from procjob.sweeps.result import DONE, SweepResult
from procjob.sweeps.targets import Outcome

#: Points that are read at a time.
_BATCH = 4096
#: Provenance that is for the store alone.
_INTERNAL = frozenset({"seeded", "drawn", "process", "classes"})


def load_sweep(store: Store | str | os.PathLike[str], sweep_id: str) -> SweepResult:
    """See `SweepResult.from_store`."""
    if not isinstance(store, Store):
        if not Path(store).exists():
            raise StoreError(f"there is no store {os.fspath(store)}")
        with Store(store) as opened:
            return load_sweep(opened, sweep_id)
    record = store.sweep(sweep_id)
    points = points_of(record)
    gathered = Gathered(points)
    for start in range(0, len(points), _BATCH):
        _read(store, record, points, range(start, min(start + _BATCH, len(points))), gathered)
    known = {name: value for name, value in record.provenance.items() if name not in _INTERNAL}
    with contextlib.suppress(StoreError):  # what the user has noted down beside must not hide what was found
        known |= noted(record.tags, record.metadata)
    return gathered.result(record.seed, record.name, {**known, "status": record.status})


def points_of(record: SweepRecord) -> Points:
    """Return the points of a sweep.

    Raises:
        StoreError: they came from an iterator and are not all known, or are none of `procjob.sweep`.
    """
    if record.points is None:
        raise StoreError(
            f"the points of sweep {record.sweep_id} came from an iterator, and it has not ended; its store does not know "
            "which there are. Run it again"
        )
    try:
        return from_spec(record.points)
    except (KeyError, TypeError, AttributeError) as exc:
        raise StoreError(f"sweep {record.sweep_id} was not written by procjob.sweep: {exc!r}") from exc


def _read(store: Store, record: SweepRecord, points: Points, part: range, gathered: Gathered) -> None:
    seed = record.seed if record.provenance.get("seeded", True) else None
    classes = Classes(record.provenance.get("classes"), fixed=True)
    keys = store_keys(points.columns(part.start, part.stop), seed, classes)
    found = store.get_points(record.target_id, keys, columns=("key", "status", "value", "error", "seconds"))
    done = [at for at, key in enumerate(keys) if key in found and found[key].status == "DONE"]
    if done:
        records = [found[keys[at]] for at in done]
        outcome = Outcome(
            columns_of([each.value for each in records], record.name),
            np.full(len(done), DONE, dtype=np.int8),
            np.array([each.seconds for each in records]),
        )
        gathered.add(part.start + np.array(done, dtype=np.int64), outcome)
    for at, key in enumerate(keys):
        if key in found and found[key].status == "ERROR":
            gathered.fail(part.start + at, RemoteError(found[key].error or "failed"), found[key].seconds)
