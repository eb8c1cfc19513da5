"""The processes that write to a store, and what becomes of jobs and sweeps whose process has ended before them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from sqlite3 import Connection

from procjob.errors import StoreError
from procjob.store.database import Database
from procjob.store.machine import Process

#: The tables of what a process executes, and how one of these is called.
_EXECUTED = {"jobs": "job", "sweeps": "sweep"}
_OPEN = "status NOT IN ('DONE', 'CANCELLED', 'ERROR')"


class Processes:
    """The processes in a store.

    Args:
        database: the file.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: tuple[int, int] | None = None  # pid, and the number it has in the file

    def this(self) -> int:
        """Return the number of the calling process."""
        pid = os.getpid()
        if self._known is None or self._known[0] != pid:
            with self._database.write() as connection:
                number = _number(connection, Process.this())
            self._known = pid, number
        return self._known[1]

    def up_to_date(self, table: str, columns: Sequence[str]) -> str:
        """Return what to read a table from: what has not ended before its process had is ERROR in it.

        This is written to the file, so it is the table; while another process writes, it is a view of it.

        Args:
            table: its name.
            columns: of it, what is read.
        """
        with self._database.read() as connection:
            gone = _gone(connection)
        if gone:
            try:
                with self._database.write(timeout=0.0) as connection:
                    for name in _EXECUTED:
                        connection.execute(
                            f"UPDATE {name} SET status = 'ERROR', error = {_error(name)} WHERE {_left_behind(gone)}"
                        )
            except StoreError:
                shown = {"status": "'ERROR'", "error": _error(table)}
                columns = [
                    f"CASE WHEN {_left_behind(gone)} THEN {shown[name]} ELSE {name} END AS {name}"
                    if name in shown
                    else name
                    for name in columns
                ]
                return f"(SELECT rowid AS rowid, {', '.join(columns)} FROM {table})"
        return table


def _number(connection: Connection, process: Process) -> int:
    """Return the number of a process, within a transaction that writes."""
    given = tuple(process)
    columns = ", ".join(Process._fields)
    connection.execute(f"INSERT OR IGNORE INTO processes ({columns}) VALUES (?, ?, ?, ?, ?)", given)
    terms = " AND ".join(f"{name} = ?" for name in Process._fields)
    found: int
    (found,) = connection.execute(f"SELECT process_id FROM processes WHERE {terms}", given).fetchone()
    return found


def _gone(connection: Connection) -> list[int]:
    """Return those of the processes with something that is not final which have ended."""
    columns = ", ".join(Process._fields)
    owners = " UNION ".join(f"SELECT process_id FROM {table} WHERE {_OPEN}" for table in _EXECUTED)
    found = connection.execute(f"SELECT process_id, {columns} FROM processes WHERE process_id IN ({owners})").fetchall()
    return [number for number, *fields in found if Process(*fields).is_gone()]


def _left_behind(gone: Iterable[int]) -> str:
    return f"{_OPEN} AND process_id IN ({', '.join(map(str, gone))})"


def _error(table: str) -> str:
    """Return what is written as the error of an interrupted row of a table, in SQL."""
    return (
        f"(SELECT 'interrupted: process ' || pid || ' on ' || host || ' ended before the {_EXECUTED[table]} was final' "
        f"FROM processes WHERE processes.process_id = {table}.process_id)"
    )
