"""The processes that write to a store, and what becomes of jobs and sweeps whose process has ended before them."""

from __future__ import annotations

import os
from sqlite3 import Connection

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

    def interrupt_the_dead(self) -> None:
        """Make ERROR of what has not ended before its process had."""
        with self._database.read() as connection:
            gone = _gone(connection)
        if gone:
            with self._database.write() as connection:
                for number, process in gone:
                    _interrupt(connection, number, process)


def _number(connection: Connection, process: Process) -> int:
    """Return the number of a process, within a transaction that writes."""
    given = tuple(process)
    columns = ", ".join(Process._fields)
    connection.execute(f"INSERT OR IGNORE INTO processes ({columns}) VALUES (?, ?, ?, ?, ?)", given)
    terms = " AND ".join(f"{name} = ?" for name in Process._fields)
    found: int
    (found,) = connection.execute(f"SELECT process_id FROM processes WHERE {terms}", given).fetchone()
    return found


def _gone(connection: Connection) -> list[tuple[int, Process]]:
    """Return those of the processes with something that is not final which have ended."""
    columns = ", ".join(Process._fields)
    owners = " UNION ".join(f"SELECT process_id FROM {table} WHERE {_OPEN}" for table in _EXECUTED)
    found = connection.execute(f"SELECT process_id, {columns} FROM processes WHERE process_id IN ({owners})").fetchall()
    processes = [(number, Process(*fields)) for number, *fields in found]
    return [(number, process) for number, process in processes if process.is_gone()]


def _interrupt(connection: Connection, number: int, process: Process) -> None:
    """Make ERROR of what a process has left behind."""
    for table, noun in _EXECUTED.items():
        error = f"interrupted: process {process.pid} on {process.host} ended before the {noun} was final"
        connection.execute(
            f"UPDATE {table} SET status='ERROR', error=? WHERE process_id = ? AND {_OPEN}", (error, number)
        )
