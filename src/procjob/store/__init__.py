"""`Store`: one SQLite file that keeps jobs, points and results.

    Backend ──> recorder ──┐
    the user, a sweep ─────┴─> Store ──> jobs, sweeps, points ──> values (── trust) ──> database ──> schema

`database` is the file: who may open it, transactions, errors. `values` makes JSON text and a blob of a value and back;
`trust` says whether a pickle in a blob may be loaded. See docs/decisions/0014-the-store.md.
"""

from __future__ import annotations

from procjob.store.points import PointRecord, Target
from procjob.store.store import Store
from procjob.store.stored import StoredJob
from procjob.store.sweeps import SweepRecord

__all__ = ["PointRecord", "Store", "StoredJob", "SweepRecord", "Target"]
