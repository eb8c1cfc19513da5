"""The tables of a store, as the steps that lead from each version of the schema to the next.

A new file goes through all of them, so there is one way only in which tables come to be. A step that was released is
never changed: what comes later is a further step.

Times are Unix times in seconds: ``SELECT job_id, datetime(created, 'unixepoch') FROM jobs``. A column whose name has a
partner in ``_data`` is JSON text, in which arrays and pickles stand as references into that blob; see `values`.
"""

from __future__ import annotations

from collections.abc import Sequence

from procjob.store.machine import Process

#: Marks a file as a store of procjob: ``PRAGMA application_id``; "pjob" in ASCII.
APPLICATION_ID = 0x706A6F62

_VERSION_1 = (
    """
    CREATE TABLE targets (
        target_id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        identity TEXT NOT NULL,
        parts TEXT NOT NULL,
        created REAL NOT NULL,
        UNIQUE (identity, name)
    )
    """,
    # Rows in the order of their writing, and a narrow index on the keys, which have none: much less to rewrite than
    # a table sorted by key.
    """
    CREATE TABLE points (
        target_id INTEGER NOT NULL REFERENCES targets,
        key BLOB NOT NULL,
        status TEXT NOT NULL,
        arguments TEXT NOT NULL,
        result TEXT,
        error TEXT,
        seconds REAL NOT NULL,
        attempts INTEGER NOT NULL,
        finished REAL NOT NULL,
        arguments_data BLOB,
        result_data BLOB
    )
    """,
    "CREATE UNIQUE INDEX points_by_key ON points (target_id, key)",
    """
    CREATE TABLE sweeps (
        sweep_id TEXT PRIMARY KEY,
        target_id INTEGER NOT NULL REFERENCES targets,
        name TEXT NOT NULL,
        status TEXT NOT NULL,
        seed TEXT,
        created REAL NOT NULL,
        updated REAL NOT NULL,
        points TEXT NOT NULL,
        metadata TEXT NOT NULL,
        points_data BLOB,
        metadata_data BLOB
    )
    """,
    "CREATE INDEX sweeps_by_time ON sweeps (created)",
    # Who wrote jobs. `started` is in units of its machine, and told apart from a later process with the same pid.
    """
    CREATE TABLE processes (
        process_id INTEGER PRIMARY KEY,
        host TEXT NOT NULL,
        boot TEXT NOT NULL,
        pid_namespace TEXT NOT NULL,
        pid INTEGER NOT NULL,
        started REAL NOT NULL,
        UNIQUE (host, boot, pid_namespace, pid, started)
    )
    """,
    """
    CREATE TABLE jobs (
        job_id TEXT PRIMARY KEY,
        backend TEXT,
        status TEXT NOT NULL,
        created REAL NOT NULL,
        times TEXT NOT NULL,
        queue_seconds REAL,
        run_seconds REAL,
        attempts INTEGER NOT NULL,
        worker_pid INTEGER,
        host TEXT,
        cpu_seconds REAL,
        peak_rss INTEGER,
        threads INTEGER,
        error_type TEXT,
        error TEXT,
        traceback TEXT,
        tags TEXT NOT NULL,
        metadata TEXT NOT NULL,
        inputs TEXT,
        result TEXT,
        process_id INTEGER NOT NULL REFERENCES processes,
        metadata_data BLOB,
        result_data BLOB
    )
    """,
    "CREATE INDEX jobs_by_time ON jobs (created)",
    "CREATE INDEX jobs_open ON jobs (process_id) WHERE status NOT IN ('DONE', 'CANCELLED', 'ERROR')",
)

#: `procjob.sweep` had its own notes, among them the process, in the metadata.
_OWN_NOTES = "CASE WHEN json_valid(metadata) THEN json_type(metadata, '$.process') = 'object' ELSE 0 END"
_PROCESS = ", ".join(f"json_extract(metadata, '$.process.{name}')" for name in Process._fields)

_VERSION_2 = (
    "ALTER TABLE sweeps ADD COLUMN error TEXT",
    "ALTER TABLE sweeps ADD COLUMN tags TEXT NOT NULL DEFAULT '[]'",
    "ALTER TABLE sweeps ADD COLUMN provenance TEXT NOT NULL DEFAULT '{}'",
    "ALTER TABLE sweeps ADD COLUMN process_id INTEGER REFERENCES processes",
    f"INSERT OR IGNORE INTO processes ({', '.join(Process._fields)}) SELECT {_PROCESS} FROM sweeps WHERE {_OWN_NOTES}",
    f"""
    UPDATE sweeps SET provenance = metadata, metadata = '{{}}', process_id = (
        SELECT process_id FROM processes WHERE ({", ".join(Process._fields)}) = ({_PROCESS})
    ) WHERE {_OWN_NOTES}
    """,
    "CREATE INDEX sweeps_open ON sweeps (process_id) WHERE status NOT IN ('DONE', 'CANCELLED', 'ERROR')",
)

#: Entry n leads from version n to n + 1.
MIGRATIONS: tuple[Sequence[str], ...] = (_VERSION_1, _VERSION_2)
