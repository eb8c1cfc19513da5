"""`Database`: the file of a store. Who may open it, transactions, and errors that say what to do.

Invariants:

- A file that is not ours is never written: it is looked at first through a connection that takes no locks and leaves no
  journal. The file is never opened but by SQLite: closing any descriptor of it would drop the locks of this process.
- One connection a process, used by one thread at a time. Writes are ``BEGIN IMMEDIATE``, so they never fail half way
  because somebody else has written meanwhile.
- No connection goes through a fork: it is closed before, on both sides, and opened again when it is needed.
- A new file has mode 0600 before anything is in it; SQLite gives its journals the mode of the file.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sqlite3
import stat
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from procjob.errors import StoreError
from procjob.store.schema import APPLICATION_ID, MIGRATIONS
from procjob.store.values import storable

_T = TypeVar("_T")

#: Pages that a connection keeps, in KiB: the index of a million points fits.
_CACHE_KIB = 32_000

#: Seconds that SQLite waits at a time: no Ctrl-C is heard meanwhile.
_NAP = 0.25

#: How a transaction begins, is kept and is undone; and one within it, which is released also when it has been undone: what
#: is left of it would hide that of a write around it.
_OUTER = "BEGIN IMMEDIATE", "COMMIT", ["ROLLBACK"]
_RELEASE = "RELEASE of_a_signal_handler"
_INNER = "SAVEPOINT of_a_signal_handler", _RELEASE, ["ROLLBACK TO of_a_signal_handler", _RELEASE]

_open: weakref.WeakSet[Database] = weakref.WeakSet()
#: Seconds that interpreter exit waits for threads that use a database: another process may have the file locked.
EXIT_PATIENCE = 1.0

#: Held while a file is opened, so that the descriptor which makes it is closed before anybody here has locks on it, and
#: no fork comes in between. Taken before the lock of a database, never after.
_opening = threading.RLock()
_exiting = False


class _Connection(sqlite3.Connection):
    """One that takes any text, in what is kept and in what is looked for: with halves of characters, as `storable` has it."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        try:
            return super().execute(sql, parameters)
        except UnicodeEncodeError:
            return super().execute(sql, [storable(each) if isinstance(each, str) else each for each in parameters])


class Database:
    """A SQLite file with the tables of a store.

    Args:
        path: the file; it is made if there is none.
        timeout: seconds to wait for other processes at most.
        migrations: the steps from each version of the schema to the next.

    Raises:
        StoreError: it cannot be used; the file is as it was.
    """

    def __init__(self, path: Path, *, timeout: float, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> None:
        self.path = path
        self.timeout = timeout
        self._migrations = migrations
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        made = False

        def attempt() -> None:
            nonlocal made
            with _opening, self._lock:  # not while it waits: a fork, or who opens another file, would wait for that
                _open.add(self)
                made = self._make_file() or made
                self._connect()

        with self._explained():
            try:
                self._patiently(attempt)
            except Exception as exc:
                if made and not _is_busy(exc):  # else another process may be making it a store
                    with _opening:
                        self._remove_if_empty()
                raise

    def __del__(self) -> None:
        self.disconnect()

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Give the connection to this thread for reading."""
        with self._lock, self._explained():
            try:
                yield self._patiently(self._connected)
            finally:
                if _exiting:
                    self.disconnect()

    @contextmanager
    def write(self, timeout: float | None = None) -> Iterator[sqlite3.Connection]:
        """Give the connection to this thread for one transaction: all of it is kept, or nothing.

        What a signal handler writes in the midst of a write of the thread that it interrupts is kept with that.

        Args:
            timeout: seconds to wait for other processes at most; None: as always.
        """
        with self.read() as connection:
            begin, keep, undo = _INNER if connection.in_transaction else _OUTER
            try:
                self._patiently(lambda: connection.execute(begin), timeout)
                yield connection
                connection.execute(keep)
            except BaseException:  # also a Ctrl-C: half a transaction must not stay open
                if connection is self._connection and connection.in_transaction:  # a signal handler may have closed it
                    for statement in undo:
                        connection.execute(statement)
                raise

    def disconnect(self) -> None:
        """Close the connection; the next use makes another."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    # ------------------------------------------------------------ opening

    def _connected(self) -> sqlite3.Connection:
        if self._file != _identity(self.path):  # and never reconnected: a new file could get the number of the old one
            raise StoreError(
                f"the store {self.path} is no longer the file that was opened: it was deleted, moved or replaced; "
                "put it back, or open the new one as another Store"
            )
        return self._connection or self._connect()

    def _make_file(self) -> bool:
        """Make an empty private file unless there is one; return whether there was none."""
        try:
            descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return False
        except FileNotFoundError:
            raise StoreError(
                f"the store {self.path} cannot be made: there is no folder {self.path.parent}; make it first"
            ) from None
        except OSError as exc:
            raise StoreError(
                f"the store {self.path} cannot be made in {self.path.parent}: {exc.strerror}; choose a folder that you "
                "may write to"
            ) from exc
        try:
            os.fchmod(descriptor, 0o600)  # whatever the umask has taken away
        finally:
            os.close(descriptor)
        return True

    def _remove_if_empty(self) -> None:
        with contextlib.suppress(OSError):
            if self.path.stat().st_size == 0:
                self.path.unlink()

    def _connect(self) -> sqlite3.Connection:
        """Open the file, and make it a store if it is empty.

        Raises:
            sqlite3.OperationalError: another process has it locked; nothing has changed, and it may be tried again.
        """
        self._check_kind()
        identity = _identity(self.path)
        has_journal = self._has_journal()  # before the look: another process may be making the store
        with contextlib.closing(sqlite3.connect(self._uri("mode=ro&immutable=1"), uri=True)) as look:
            # Without the journal, a file looks damaged that is just being written back, or could not be: pages are missing
            # at its end. This makes SQLite look at what is there; it is the mark that counts here.
            look.execute("PRAGMA writable_schema=ON")
            if self._check_ours(look) == 0 and has_journal and _pragma(look, "application_id") == 0:
                raise StoreError(  # ours is marked before it has one
                    f"the store {self.path} is a SQLite file of something else: it has a journal and no mark of procjob; "
                    "name another file"
                    if self.path.stat().st_size
                    else f"the store {self.path} was deleted or moved; put it back, or delete {self.path}-wal, which has "
                    "the last of what was in it"
                )
        connection = sqlite3.connect(
            self.path, timeout=0.0, isolation_level=None, check_same_thread=False, factory=_Connection
        )
        try:
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
            if self._check_ours(connection) < len(self._migrations):
                self._migrate(connection)
            # Only now, with the mark in the file itself; from then on readers and a writer do not wait for each other.
            _pragma(connection, "journal_mode=WAL")
            connection.execute(f"PRAGMA busy_timeout={round(1000 * min(self.timeout, _NAP))}")
        except BaseException:
            connection.close()
            raise
        self._connection, self._file = connection, identity
        return connection

    def _has_journal(self) -> bool:
        try:
            return Path(f"{self.path}-wal").stat().st_size > 0
        except FileNotFoundError:
            return False

    def _check_kind(self) -> None:
        mode = self.path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise StoreError(f"the store {self.path} is a folder; name a file in it, such as {self.path / 'jobs.db'}")
        if not stat.S_ISREG(mode):
            raise StoreError(f"the store {self.path} is not a regular file; name another")
        if not os.access(self.path, os.R_OK | os.W_OK):
            raise StoreError(
                f"the store {self.path} may not be {'written' if os.access(self.path, os.R_OK) else 'read'} by this "
                "user; change its mode, or copy it and open the copy"
            )

    def _check_ours(self, connection: sqlite3.Connection) -> int:
        """Return the version of the schema; 0 if there is none yet."""
        version: int = _pragma(connection, "user_version")
        owner = _pragma(connection, "application_id")
        if owner == 0 and version == 0:
            tables = connection.execute("SELECT name FROM sqlite_master LIMIT 1").fetchone()
            if tables is not None and _pragma(connection, "application_id"):  # another process has just made it a store
                return self._check_ours(connection)
            if tables is not None:
                raise StoreError(
                    f"the store {self.path} is a SQLite file of something else: it has {tables[0]!r} and no mark of "
                    "procjob; name another file"
                )
        elif owner != APPLICATION_ID:
            raise StoreError(
                f"the store {self.path} is a SQLite file of something else (application_id {owner}); name another file"
            )
        if version > len(self._migrations):
            raise StoreError(
                f"the store {self.path} was written by a newer procjob: its schema has version {version}, this procjob "
                f"knows up to {len(self._migrations)}; upgrade procjob, or name another file"
            )
        return version

    def _migrate(self, connection: sqlite3.Connection) -> None:
        """Take the file to the newest version of the schema, all the way or not at all."""
        try:
            connection.execute("BEGIN IMMEDIATE")
            for step in self._migrations[self._check_ours(connection) :]:  # another process may have been quicker
                for statement in step:
                    connection.execute(statement)
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={len(self._migrations)}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _patiently(self, call: Callable[[], _T], timeout: float | None = None) -> _T:
        """Repeat a call that finds the file locked, for as long as the user allows."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            try:
                return call()
            except sqlite3.OperationalError as exc:
                if not _is_busy(exc) or time.monotonic() >= deadline:
                    raise
                time.sleep(0.01)  # SQLite does not always wait; and who waits for a lock that is free now gets it

    def _uri(self, options: str) -> str:
        return f"file:{quote(os.fsencode(self.path))}?{options}"

    # ------------------------------------------------------------ errors

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            raise StoreError(f"the store {self.path} {self._explain(exc)}") from exc
        except FileNotFoundError as exc:
            raise StoreError(f"the store {self.path} is gone: it was deleted or moved") from exc
        except OSError as exc:
            raise StoreError(f"the store {self.path} cannot be used: {exc}") from exc

    def _explain(self, exc: sqlite3.Error) -> str:
        name = _name(exc)
        for start, text in _EXPLANATIONS.items():
            if name.startswith(start):
                return text.format(timeout=self.timeout, path=self.path, folder=self.path.parent)
        return f"cannot be used: {exc} ({name})"


#: What to say about an error of SQLite, by the beginning of its name.
_EXPLANATIONS = {
    "SQLITE_BUSY": "is locked by another process, for longer than {timeout:g} s; end what writes to it, or wait "
    "longer with Store(path, timeout=...)",
    "SQLITE_LOCKED": "is locked by another connection; try again",
    "SQLITE_FULL": "cannot grow: the disk is full; free some space in {folder}. What was written before is kept",
    "SQLITE_IOERR": "cannot be read or written: the disk is full, a limit on file sizes is reached, or the disk fails; "
    "look at {folder}. What was written before is kept",
    "SQLITE_READONLY": "cannot be written: the file or its folder is read-only; copy it to a folder that you may "
    "write to and open the copy",
    "SQLITE_CANTOPEN": "cannot be opened: the folder {folder} may not be written, or there are too many open files",
    "SQLITE_PERM": "may not be opened by this user; change its mode, or copy it and open the copy",
    "SQLITE_CORRUPT": "is damaged; take a backup, or save what can be saved: sqlite3 {path} .recover | sqlite3 new.db",
    "SQLITE_NOTADB": "is not a SQLite file; name another file",
    "SQLITE_TOOBIG": "cannot take a value of more than 1 GB; return less, or write it to a file of its own",
}


def _name(exc: sqlite3.Error) -> str:
    return getattr(exc, "sqlite_errorname", None) or type(exc).__name__


def _is_busy(exc: Exception) -> bool:
    return isinstance(exc, sqlite3.OperationalError) and _name(exc).startswith("SQLITE_BUSY")


def _pragma(connection: sqlite3.Connection, text: str) -> int:
    row: tuple[int] = connection.execute(f"PRAGMA {text}").fetchone()
    return row[0]


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


# ---------------------------------------------------------------- forks and the end

_forking: list[Database] = []


def _before_fork() -> None:
    """Close every connection while nobody uses it: SQLite's locks belong to one process."""
    _take(_opening)
    _forking.extend(_open)
    for database in _forking:
        _take(database._lock)
        database.disconnect()


def _take(lock: Any) -> None:
    """Take a lock, whatever strikes: of what a hook raises Python says that it is ignored, and forks."""
    taken = False
    while not taken:
        try:
            taken = lock.acquire()
        except KeyboardInterrupt:
            taken = lock._is_owned()  # if it has struck just after


def _after_fork() -> None:
    while _forking:
        _forking.pop()._lock.release()
    _opening.release()


def _at_exit() -> None:
    """Close what is open, so that one file without journals is left; what is still to come opens and closes it."""
    global _exiting  # noqa: PLW0603  (there is one interpreter, and it exits once)
    _exiting = True
    deadline = time.monotonic() + EXIT_PATIENCE
    with _opening:
        databases = list(_open)
    for database in databases:
        if database._lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            database.disconnect()
            database._lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
atexit.register(_at_exit)
