"""`Store`: what the user and the layers above see of the file."""

from __future__ import annotations

import json
import os
import time
import weakref
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from sqlite3 import Connection
from typing import Any

from procjob.errors import JobError, StoreError
from procjob.pool import checks
from procjob.status import JobStatus
from procjob.store import points as rows
from procjob.store.database import Database
from procjob.store.jobs import JobTable
from procjob.store.points import PointRecord, Target
from procjob.store.processes import Processes
from procjob.store.query import JobQuery
from procjob.store.recorder import Recorder
from procjob.store.stored import StoredJob
from procjob.store.sweeps import SweepRecord, SweepTable

#: Parameters of one statement at most; SQLite before 3.32 takes 999.
_BATCH = 500


class Store:
    """Jobs, points of sweeps and their results in one SQLite file.

    The file is private (mode 0600) and made if there is none. Several processes and threads may use it at once. Open in
    SQLite's WAL mode it has two companions, ``-wal`` and ``-shm``, that vanish when the last process closes it; the
    ``sqlite3`` tool reads it at any time.

    Results are kept as JSON text, arrays as NumPy's files. What neither can hold is pickled. A pickle can run any code
    when it is read, so only those are that this user has written himself, or all of them with ``allow_pickle``.

    Args:
        path: the file.
        timeout: seconds to wait for other processes that write to it.
        allow_pickle: also read pickles that others have written: your consent that their code may run.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: ``path`` is no file name, or ``timeout`` is negative.
        StoreError: the file cannot be used: it is not a store, is damaged, locked or was written by a newer procjob, its
            folder is missing or read-only, or the disk is full. It is as it was.

    Example:
        >>> import os, tempfile, procjob
        >>> from procjob.store import PointRecord, Target
        >>> with tempfile.TemporaryDirectory() as folder, procjob.Store(os.path.join(folder, "energy.db")) as store:
        ...     target = store.target_id(Target("energy", "5d41", parts={"code": "40bc"}))
        ...     key = bytes(16)
        ...     store.put_points(target, [PointRecord(key, {"theta": 0.5}, "DONE", -1.1, None, 0.2, 1, 1.8e9)])
        ...     store.get_points(target, [key])[key].value
        -1.1
    """

    def __init__(self, path: str | os.PathLike[str], *, timeout: float = 10.0, allow_pickle: bool = False) -> None:
        self._allow_pickle = checks.flag("allow_pickle", allow_pickle)
        self._database = Database(
            _checked_path(path), timeout=checks.seconds("timeout", timeout, optional=False) or 0.0
        )
        self._identities: dict[int, str] = {}
        processes = Processes(self._database)
        self._jobs = JobTable(self._database, processes)
        self._sweeps = SweepTable(self._database, processes, allow_pickle=self._allow_pickle)
        self._recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()

    @property
    def path(self) -> Path:
        """The file."""
        return self._database.path

    @property
    def timeout(self) -> float:
        """Seconds to wait for other processes."""
        return self._database.timeout

    def close(self) -> None:
        """Close the file, once nobody uses it any more; a later use opens it again."""
        self._database.disconnect()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (str(self.path), self._database.timeout, self._allow_pickle)

    def __repr__(self) -> str:
        return f"<Store {self.path}>"

    # ------------------------------------------------------------ targets and points

    def target_id(self, target: Target) -> int:
        """Return the number of a target in this store; it gets one if it has none."""
        parts = json.dumps(dict(target.parts))
        row = (target.name, target.identity, parts, time.time())
        with self._database.write() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO targets (name, identity, parts, created) VALUES (?, ?, ?, ?)", row
            )
            found: int
            (found,) = connection.execute(
                "SELECT target_id FROM targets WHERE identity = ? AND name = ?", (target.identity, target.name)
            ).fetchone()
        return found

    def targets(self, name: str | None = None) -> list[tuple[int, Target]]:
        """Return number and target of those with a name, or of all, the newest first."""
        where, given = ("", ()) if name is None else ("WHERE name = ?", (name,))
        with self._database.read() as connection:
            found = connection.execute(
                f"SELECT target_id, name, identity, parts FROM targets {where} ORDER BY target_id DESC", given
            ).fetchall()
        return [rows.target_record(row) for row in found]

    def put_points(self, target_id: int, records: Iterable[PointRecord]) -> None:
        """Keep finished points, all in one transaction.

        The first record of a point that is DONE stays for ever; one that is ERROR is replaced by a later one.

        Raises:
            ValueError: a record without proper key or status, or there is no such target.
            StoreError: a value cannot be pickled, or the file cannot be written; none of them is kept.
        """
        identity = self._identity(target_id)
        made = [rows.point_row(target_id, identity, record) for record in records]
        with self._database.write() as connection:
            connection.executemany(rows.PUT_POINT, made)

    def get_points(
        self, target_id: int, keys: Sequence[bytes], *, columns: str | Iterable[str] = "all"
    ) -> dict[bytes, PointRecord]:
        """Return those of some points that are kept, by key.

        Args:
            target_id: whose they are.
            keys: of any number of points.
            columns: the fields of `PointRecord` that are needed; without ``values`` or ``value`` these are left empty,
                and are not unpacked.

        Raises:
            StoreError: the file cannot be read, or has a pickle that is not yours.
        """
        fields, identity = rows.checked_fields(columns), self._identity(target_id)
        with self._database.read() as connection:
            found = list(_by_keys(connection, rows.GET_POINTS, target_id, keys))
        allow = self._allow_pickle
        return {row[0]: rows.point_record(row, identity, fields, allow_pickle=allow) for row in found}

    def done_keys(self, target_id: int, keys: Sequence[bytes]) -> set[bytes]:
        """Return those of some keys whose points are DONE."""
        query = "SELECT key FROM points WHERE target_id = ? AND status = 'DONE' AND key IN"
        with self._database.read() as connection:
            return {key for (key,) in _by_keys(connection, query, target_id, keys)}

    def count_points(self, target_id: int) -> dict[str, int]:
        """Return how many points of a target there are of each status."""
        with self._database.read() as connection:
            return dict(
                connection.execute(
                    "SELECT status, COUNT(*) FROM points WHERE target_id = ? GROUP BY status", (target_id,)
                ).fetchall()
            )

    def delete_points(self, target_id: int) -> int:
        """Delete all points of a target; return how many there were."""
        with self._database.write() as connection:
            return connection.execute("DELETE FROM points WHERE target_id = ?", (target_id,)).rowcount

    def _identity(self, target_id: int) -> str:
        if target_id not in self._identities:
            with self._database.read() as connection:
                row = connection.execute("SELECT identity FROM targets WHERE target_id = ?", (target_id,)).fetchone()
            if row is None:
                raise ValueError(f"there is no target {target_id!r} in {self.path}")
            self._identities[target_id] = row[0]
        return self._identities[target_id]

    # ------------------------------------------------------------ sweeps

    def put_sweep(self, record: SweepRecord, *, adopt_seed: bool = False) -> SweepRecord:
        """Keep a sweep of this process, or what has become of it.

        Args:
            record: the sweep.
            adopt_seed: keep it with the seed of `drawn_seed`, if there is one.

        Returns:
            It as it is kept.

        Raises:
            StoreError: its points cannot be pickled, or the file cannot be written; nothing of it is kept.
        """
        return self._sweeps.put(record, adopt_seed=adopt_seed)

    def end_sweep(self, record: SweepRecord, *, timeout: float | None = None) -> None:
        """Keep how a sweep has ended: its status, time, points, provenance and error; one that was deleted meanwhile is not made again.

        If this fails, it is tried again when this process asks the file for sweeps.

        Args:
            record: the sweep.
            timeout: seconds to wait for other processes; None: those of this store.

        Raises:
            StoreError: the file cannot be written.
        """
        self._sweeps.end(record, timeout=timeout)

    def drawn_seed(self, target_id: int) -> int | None:
        """Return the seed that was drawn for the first sweep of a target here which was given none; None if there is none."""
        return self._sweeps.drawn_seed(target_id)

    def sweep(self, sweep_id: str) -> SweepRecord:
        """Return a sweep.

        Raises:
            TypeError: ``sweep_id`` is no string.
            StoreError: there is none with this id.
        """
        record = self._sweeps.get(checks.text("sweep_id", sweep_id))
        if record is None:
            raise StoreError(f"there is no sweep {sweep_id!r} in {self.path}; Store.sweeps() lists those there are")
        return record

    def sweeps(
        self,
        limit: int | None = 10,
        skip: int = 0,
        name: str | None = None,
        status: JobStatus | str | Iterable[JobStatus | str] | None = None,
        descending: bool = True,
        *,
        tags: Iterable[str] | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
    ) -> list[SweepRecord]:
        """Return sweeps of all processes, by the time they were created.

        One that is not final and whose process has ended is ERROR from now on, "interrupted: ...", as a job is.

        Args:
            limit: how many at most; None: all.
            skip: how many to leave out at the beginning.
            name: only those with this name.
            status: only those with this status, or one of these.
            descending: the newest first.
            tags: only those that have all of these tags.
            created_after: only those made then or later; a time without a zone is local.
            created_before: only those made then or earlier.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: a number is negative, or there is no such status.
            StoreError: the file cannot be read.
        """
        return self._sweeps.find(
            JobQuery.checked(
                limit,
                skip,
                status=status,
                tags=tags,
                created_after=created_after,
                created_before=created_before,
                descending=descending,
                backend_name=None if name is None else checks.text("name", name),
            )
        )

    def delete_sweep(self, sweep_id: str) -> bool:
        """Delete a sweep, but none of its points; return whether there was one."""
        return self._sweeps.delete(checks.text("sweep_id", sweep_id))

    # ------------------------------------------------------------ ids

    def ids(self, prefix: str = "") -> dict[str, str]:
        """Return the ids of jobs and sweeps that begin with ``prefix``: "job" or "sweep" by id."""
        checks.text("prefix", prefix)
        with self._database.read() as connection:
            return dict(
                connection.execute(
                    "WITH given(prefix) AS (SELECT ?) "
                    "SELECT job_id, 'job' FROM jobs, given WHERE substr(job_id, 1, length(prefix)) = prefix "
                    "UNION ALL SELECT sweep_id, 'sweep' FROM sweeps, given WHERE substr(sweep_id, 1, length(prefix)) = prefix",
                    (prefix,),
                ).fetchall()
            )

    # ------------------------------------------------------------ jobs

    def job(self, job_id: str) -> StoredJob:
        """Return a job of any process.

        Raises:
            TypeError: ``job_id`` is no string.
            JobError: there is none with this id.
            StoreError: the file cannot be read.
        """
        return self._job(job_id)

    def jobs(
        self,
        limit: int | None = 10,
        skip: int = 0,
        *,
        status: JobStatus | str | Iterable[JobStatus | str] | None = None,
        tags: Iterable[str] | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        descending: bool = True,
        backend_name: str | None = None,
    ) -> list[StoredJob]:
        """Return jobs of all processes, by the time they were made.

        A job that is not final and whose process has ended is ERROR from now on, "interrupted: ...". Of a process on
        another machine nobody can tell; its jobs are as it wrote them.

        Args:
            limit: how many at most; None: all.
            skip: how many to leave out at the beginning.
            status: only those with this status, or one of these.
            tags: only those that have all of these tags.
            created_after: only those made then or later; a time without a zone is local.
            created_before: only those made then or earlier.
            descending: the newest first.
            backend_name: only those that ran on a backend of this name.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: a number is negative, or there is no such status.
            StoreError: the file cannot be read.

        Example:
            >>> import os, tempfile, procjob
            >>> with tempfile.TemporaryDirectory() as folder, procjob.Store(os.path.join(folder, "jobs.db")) as store:
            ...     with procjob.Backend(abs, workers=0, store=store) as backend:
            ...         results = [backend.run(-n, tags=["abs", f"n={n}"]).result() for n in range(3)]
            ...     [(job.status().name, job.result()) for job in store.jobs(tags=["abs", "n=2"])]
            [('DONE', 2)]
        """
        return self._find(
            JobQuery.checked(
                limit,
                skip,
                status=status,
                tags=tags,
                created_after=created_after,
                created_before=created_before,
                descending=descending,
                backend_name=backend_name,
            )
        )

    def delete(self, job_ids: str | Iterable[str]) -> int:
        """Delete one or several jobs with their results; return how many of them there were.

        A job that still runs goes on, but is recorded no more.
        """
        self._wait_for_recorders()
        return self._jobs.delete([job_ids] if isinstance(job_ids, str) else list(job_ids))

    def _recorder(self) -> Recorder:
        """Return what records the jobs of a backend here."""
        recorder = Recorder(self._jobs, self.timeout)
        self._recorders.add(recorder)
        return recorder

    def _wait_for_recorders(self) -> None:
        for recorder in list(self._recorders):
            recorder.wait_until_written(self.timeout)

    def _job(self, job_id: str, backend: Any = None) -> StoredJob:
        self._wait_for_recorders()
        row = self._jobs.get(checks.text("job_id", job_id))
        if row is None:
            raise JobError(f"there is no job {job_id!r} in {self.path}; Store.jobs() lists those there are")
        return StoredJob(self._jobs, row, backend, allow_pickle=self._allow_pickle)

    def _find(self, query: JobQuery, backend: Any = None) -> list[StoredJob]:
        self._wait_for_recorders()
        found = self._jobs.find(query)
        return [StoredJob(self._jobs, row, backend, allow_pickle=self._allow_pickle) for row in found]


def opened(store: Any) -> Store:
    """Return the store that an argument ``store`` means: itself, or the one at a path.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(store, Store):
        return store
    if isinstance(store, (str, os.PathLike)):
        return Store(store)
    raise TypeError(f"store must be a path or a Store, not {store!r}")


def _reopened(path: str, timeout: float, allow_pickle: bool) -> Store:
    return Store(path, timeout=timeout, allow_pickle=allow_pickle)


def _checked_path(path: Any) -> Path:
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    if not isinstance(text, str):
        raise TypeError(f"path must be a string or a path, not {path!r}")
    if not text or "\0" in text or text == ":memory:":
        raise ValueError(f"path must name a file, not {text!r}")
    return Path(text).expanduser().resolve()


def _by_keys(connection: Connection, query: str, target_id: int, keys: Iterable[bytes]) -> Iterator[tuple[Any, ...]]:
    """Run a query that ends in ``key IN`` for any number of keys."""
    keys = list(keys)
    for start in range(0, len(keys), _BATCH):
        some = keys[start : start + _BATCH]
        yield from connection.execute(f"{query} ({','.join('?' * len(some))})", (target_id, *some))
