"""The file of a store: what is refused and stays as it was, migrations, file modes, forks, and the end."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from procjob.errors import StoreError
from procjob.store import PointRecord, Store, Target, database
from procjob.store.database import Database
from procjob.store.schema import APPLICATION_ID, MIGRATIONS

ENERGY = Target("energy", "ab12", {})
DEADLINE = 60.0


def points(numbers, value=0.5):
    return [PointRecord(n.to_bytes(16), {"n": n}, "DONE", value, None, 0.1, 1, 1.8e9) for n in numbers]


def filled(path, count=10):
    with Store(path) as store:
        target = store.target_id(ENERGY)
        store.put_points(target, points(range(count)))
    return target


def sqlite(path, *statements):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def everything_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def in_child(call):
    """Run `call` in a fork of this process and return its exit code; 1 if it raised."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = call() or 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# ---------------------------------------------------------------- what is refused


def no_sqlite(path):
    path.write_bytes(b"theta,energy\n0.5,-1.1\n" * 100)


def a_few_bytes(path):
    path.write_bytes(b"SQLite")


def tables_of_somebody(path):
    sqlite(path, "CREATE TABLE mine (x)", "INSERT INTO mine VALUES (1)")


def tables_of_somebody_in_wal_mode(path):
    sqlite(path, "PRAGMA journal_mode=WAL", "CREATE TABLE mine (x)")


def journal_left_by_somebody_who_was_killed(path):
    with tempfile.TemporaryDirectory() as other, contextlib.closing(sqlite3.connect(f"{other}/x")) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE mine (x)")
        for end in ("", "-wal"):
            Path(f"{path}{end}").write_bytes(Path(f"{other}/x{end}").read_bytes())


def journal_of_a_store_that_was_deleted(path):
    journal_left_by_somebody_who_was_killed(path)
    path.unlink()


def somebodys_application(path):
    sqlite(path, "PRAGMA application_id=1234", "CREATE TABLE points (x)")


def newer(path):
    filled(path)
    sqlite(path, "PRAGMA journal_mode=DELETE", f"PRAGMA user_version={len(MIGRATIONS) + 1}")


def cut_short(path):
    filled(path, 1_000)
    os.truncate(path, path.stat().st_size // 2)


def overwritten(path):
    filled(path, 1_000)
    with path.open("r+b") as file:
        file.seek(100)
        file.write(os.urandom(4_000))


REFUSED = {
    no_sqlite: "is not a SQLite file; name another",
    a_few_bytes: "is not a SQLite file; name another",
    tables_of_somebody: "of something else: it has 'mine'",
    tables_of_somebody_in_wal_mode: "of something else: it has 'mine'",
    journal_left_by_somebody_who_was_killed: "of something else: it has a journal and no mark",
    journal_of_a_store_that_was_deleted: "was deleted or moved; put it back, or delete .*some.db-wal",
    somebodys_application: r"of something else \(application_id 1234\)",
    newer: "newer procjob: its schema has version .* upgrade",
    cut_short: "is damaged; .*recover",
    overwritten: "is damaged; .*recover",
}


@pytest.mark.parametrize("make", REFUSED, ids=lambda make: make.__name__)
def test_a_file_that_is_no_store_is_refused_and_stays_as_it_was(make, tmp_path):
    path = tmp_path / "some.db"
    make(path)
    before = everything_in(tmp_path)
    with pytest.raises(StoreError, match=REFUSED[make]) as caught:
        Store(path)
    assert str(path) in str(caught.value)
    assert everything_in(tmp_path) == before


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing/some.db", "there is no folder .*missing; make it first"),
        (".", "is a folder; name a file in it"),
        ("file/some.db", "cannot be made"),
        ("n" * 252, "cannot be used: .*too long"),  # itself not, but that of its journal
        ("/dev/null", "is not a regular file"),
    ],
)
def test_a_path_that_can_be_no_store_is_refused(path, message, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=message):
        Store(tmp_path / path)
    assert everything_in(tmp_path) == {"file": b""}


@pytest.mark.parametrize(
    ("path", "error"), [("", ValueError), (":memory:", ValueError), (b"x", TypeError), (3, TypeError)]
)
def test_what_names_no_file_is_refused(path, error):
    with pytest.raises(error, match=f"path must .*{path!r}"):
        Store(path)


def test_a_damage_that_shows_later_is_a_store_error_too(tmp_path):
    path = tmp_path / "some.db"
    target = filled(path, 2_000)
    with path.open("r+b") as file:
        file.seek(20 * 4096)
        file.write(os.urandom(path.stat().st_size - 20 * 4096))
    with Store(path) as store, pytest.raises(StoreError, match="damaged"):
        store.get_points(target, [n.to_bytes(16) for n in range(2_000)])


def test_a_store_that_is_locked_for_longer_than_the_timeout_is_an_error_that_says_so(tmp_path):
    path = tmp_path / "some.db"
    target = filled(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        before = everything_in(tmp_path)
        with Store(path, timeout=0.3) as store:
            assert len(store.done_keys(target, [bytes(16)])) == 1, "reading goes on"
            began = time.monotonic()
            with pytest.raises(StoreError, match=r"locked by another process, for longer than 0\.3 s"):
                store.put_points(target, points([11]))
            assert 0.25 < time.monotonic() - began < 5
            other.execute("ROLLBACK")
            store.put_points(target, points([11]))
        assert everything_in(tmp_path)["some.db"] == before["some.db"], "what was added is in the journal"


def test_a_store_that_is_locked_for_a_while_is_waited_for(tmp_path):
    path = tmp_path / "some.db"
    target = filled(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.6, other.execute, ["ROLLBACK"])
        release.start()
        with Store(path, timeout=DEADLINE) as store:
            store.put_points(target, points([11]))
        release.join()


def test_a_store_that_another_process_has_for_itself_for_a_while_is_opened_then(tmp_path):
    path = tmp_path / "some.db"
    target = filled(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")  # as who ends its journal has it, or recovers one
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"locked by another process, for longer than 0\.3 s"):
            Store(path, timeout=0.3)
        release = threading.Timer(0.6, other.close)
        release.start()
        with Store(path, timeout=DEADLINE) as store:
            assert store.count_points(target) == {"DONE": 10}
        release.join()


def test_who_waits_to_open_a_store_holds_up_no_other_and_no_fork(tmp_path):
    path = tmp_path / "some.db"
    filled(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN IMMEDIATE")
        opening = threading.Thread(target=lambda: Store(path, timeout=DEADLINE).close())
        opening.start()
        for number in range(10):
            Store(tmp_path / f"{number}.db").close()
            assert in_child(lambda: None) == 0
        assert opening.is_alive()
        other.close()
        opening.join(DEADLINE)
        assert not opening.is_alive()


def test_a_store_is_made_once_nobody_reads_the_empty_file_any_more(tmp_path):
    path = tmp_path / "some.db"
    path.touch()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM sqlite_master").fetchall()
        with pytest.raises(StoreError, match=r"locked by another process, for longer than 0\.3 s"):
            Store(path, timeout=0.3)
        release = threading.Timer(0.6, other.execute, ["ROLLBACK"])
        release.start()
        filled(path)
        release.join()
    assert path.stat().st_size


def test_a_file_that_another_process_makes_a_store_is_there_whoever_made_it_and_waits_in_vain(tmp_path, monkeypatch):
    path = tmp_path / "some.db"

    def make_file(database):
        made = make(database)
        if made:
            others.append(sqlite3.connect(path, isolation_level=None))
            others[0].execute("BEGIN IMMEDIATE")
            others[0].execute("CREATE TABLE some (value)")
        return made

    others, make = [], Database._make_file
    monkeypatch.setattr(Database, "_make_file", make_file)
    with pytest.raises(StoreError, match="locked by another process"):
        Store(path, timeout=0.1)
    (other,) = others
    other.execute("COMMIT")
    other.close()
    assert path.stat().st_size


def test_a_store_that_another_process_makes_while_it_is_looked_at_is_opened(tmp_path, monkeypatch):
    def looked_up(connection, text):
        found = look(connection, text)
        if text == "application_id" and next(looks) == 1:  # 0 is the look without locks
            monkeypatch.undo()
            script = f"import procjob; procjob.Store({str(path)!r}).close()"
            subprocess.run([sys.executable, "-c", script], check=True)
        return found

    path, looks, look = tmp_path / "some.db", itertools.count(), database._pragma
    path.touch()
    monkeypatch.setattr(database, "_pragma", looked_up)
    with Store(path) as store:
        assert store.targets() == []
    assert next(looks) == 2


def test_a_ctrl_c_does_not_keep_a_fork_from_waiting_for_a_store():
    lock, release = threading.RLock(), threading.Event()

    def hold():
        with lock:
            held.set()
            release.wait(DEADLINE)

    def answer(*_):
        release.set()
        raise KeyboardInterrupt

    held, holder = threading.Event(), threading.Thread(target=hold)
    holder.start()
    assert held.wait(DEADLINE)
    before = signal.signal(signal.SIGINT, answer)
    try:
        strike = threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT])
        strike.start()
        database._take(lock)
    finally:
        signal.signal(signal.SIGINT, before)
    holder.join()
    strike.join()
    lock.release()
    with pytest.raises(RuntimeError):
        lock.release()


def test_ctrl_c_ends_the_wait_for_a_locked_store(tmp_path):
    path = tmp_path / "some.db"
    target = filled(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other, Store(path, timeout=600) as store:
        other.execute("BEGIN IMMEDIATE")
        strike = threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT])
        strike.start()
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            store.put_points(target, points([11]))
        assert time.monotonic() - began < 5
        other.execute("ROLLBACK")
        strike.join()
        store.put_points(target, points([11]))
        assert store.count_points(target) == {"DONE": 11}


def without_rights(call):
    """Run `call` in a fork that is no superuser."""

    def drop():
        if os.geteuid() == 0:
            os.setgid(65_534)
            os.setuid(65_534)
        return call()

    return in_child(drop)


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_read_only_store_is_refused_and_stays_as_it_was(what):
    # Not below tmp_path, whose parents are closed to other users.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "some.db"
        filled(path)
        path.chmod(0o444 if what == "file" else 0o666)
        folder.chmod(0o777 if what == "file" else 0o555)
        before = everything_in(folder)

        def refused():
            with pytest.raises(StoreError, match=r"copy it|may not be written"):
                Store(path).target_id(ENERGY)

        assert without_rights(refused) == 0
        folder.chmod(0o755)
        assert everything_in(folder) == before


def test_a_folder_that_may_not_be_written_takes_no_new_store():
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o555)

        def refused():
            with pytest.raises(StoreError, match="choose a folder that you may write to"):
                Store(Path(name) / "some.db")

        assert without_rights(refused) == 0


def test_on_a_full_disk_what_was_written_before_is_kept(tmp_path):
    path = tmp_path / "some.db"
    target = filled(path)

    def fill():
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
        store = Store(path)
        store.put_points(target, points([100], value="x" * 30_000))
        more = iter(range(101, 120))
        with pytest.raises(StoreError, match=r"disk is full.* What was written before is kept"):
            all(store.put_points(target, points([n], value="x" * 30_000)) is None for n in more)
        return 7

    assert in_child(fill) == 7
    with Store(path) as store:
        count = store.count_points(target)["DONE"]
        assert 11 <= count < 20
        assert len(store.done_keys(target, [n.to_bytes(16) for n in [*range(10), 100]])) == 11
        store.put_points(target, points([200]))


def test_a_store_whose_journal_could_be_written_back_in_part_only_is_whole(tmp_path):
    path = tmp_path / "some.db"
    target = filled(path)

    def fill():
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA wal_autocheckpoint=0")
        with Store(path) as store:
            store._database._connected().execute("PRAGMA wal_autocheckpoint=0")
            store.put_points(target, points(range(100, 120), value="x" * 3_000))
            size = path.stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
            with contextlib.suppress(sqlite3.OperationalError):
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(fill) == -signal.SIGKILL
    pages = int.from_bytes(path.read_bytes()[28:32])
    assert pages * 4096 > path.stat().st_size, "its beginning tells of pages that are not there"
    with Store(path) as store:
        assert store.count_points(target)["DONE"] == 30


def test_a_disk_without_room_for_a_new_store_is_left_as_it_was(tmp_path):
    def refused():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, resource.RLIM_INFINITY))
        with pytest.raises(StoreError, match="disk is full"):
            Store(tmp_path / "some.db")

    assert in_child(refused) == 0
    assert everything_in(tmp_path) == {}


def test_a_store_whose_file_is_deleted_or_replaced_says_so_instead_of_writing_into_nothing(tmp_path):
    path = tmp_path / "some.db"
    target = filled(path)
    with Store(path) as store:
        store.count_points(target)
        for companion in tmp_path.iterdir():
            companion.unlink()
        with pytest.raises(StoreError, match="deleted, moved or replaced"):
            store.put_points(target, points([1]))
        filled(path)
        with pytest.raises(StoreError, match="deleted, moved or replaced"):
            store.put_points(target, points([1]))


# ---------------------------------------------------------------- what is made


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277])
def test_file_and_companions_are_private_from_the_first_byte(tmp_path, umask):
    before = os.umask(umask)
    try:
        with Store(tmp_path / "some.db") as store:
            store.put_points(store.target_id(ENERGY), points([1]))
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("some.db", "some.db-wal", "some.db-shm"), 0o600)
    assert [path.name for path in tmp_path.iterdir()] == ["some.db"], "closed, it is one file"


def test_an_empty_file_becomes_a_store_and_keeps_its_mode(tmp_path):
    (tmp_path / "some.db").touch(mode=0o640)
    filled(tmp_path / "some.db")
    assert stat.S_IMODE((tmp_path / "some.db").stat().st_mode) == 0o640


def test_a_store_of_schema_0_is_brought_up_to_date(tmp_path):
    path = tmp_path / "some.db"
    sqlite(path, f"PRAGMA application_id={APPLICATION_ID}")
    target = filled(path)
    with Store(path) as store:
        assert store.count_points(target) == {"DONE": 10}


def test_each_step_of_the_schema_is_taken_once_and_keeps_the_data(tmp_path):
    path = tmp_path / "some.db"
    filled(path)
    steps = (*MIGRATIONS, ["ALTER TABLE points ADD COLUMN note TEXT", "UPDATE points SET note = 'old'"], ["SELECT 1"])
    for _ in range(2):
        database = Database(path, timeout=5, migrations=steps)
        with database.read() as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 2,)
            assert connection.execute("SELECT count(*), max(note) FROM points").fetchone() == (10, "old")
        database.disconnect()
    with pytest.raises(StoreError, match="newer procjob"):
        Store(path)


def test_a_step_that_fails_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "some.db"
    filled(path)
    before = everything_in(tmp_path)
    with pytest.raises(StoreError, match="nothing"):
        Database(path, timeout=5, migrations=(*MIGRATIONS, ["DELETE FROM points", "UPDATE nothing SET x = 1"]))
    assert everything_in(tmp_path) == before


# ---------------------------------------------------------------- threads, processes, forks, ends

MAKE_AND_WRITE = """
    import sys
    from procjob.store import PointRecord, Store, Target, database
    worker = int(sys.argv[2])
    sys.stdin.readline()
    store = Store(sys.argv[1], timeout=60)
    target = store.target_id(Target("energy", "ab12", {}))
    for batch in range(20):
        numbers = range(1000 * worker + 10 * batch, 1000 * worker + 10 * batch + 10)
        store.put_points(target, [PointRecord(n.to_bytes(16), {}, "DONE", n, None, 0.1, 1, 1.8e9) for n in numbers])
    print(target)
"""


def script(text, *args, **options):
    lines = [line.removeprefix("    ") for line in text.splitlines()]
    command = [sys.executable, "-c", "\n".join(lines), *map(str, args)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options)


def test_processes_that_make_the_same_store_at_once_all_write_to_one(tmp_path):
    path = tmp_path / "some.db"
    writers = [script(MAKE_AND_WRITE, path, n) for n in range(4)]
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    assert {writer.communicate(timeout=DEADLINE)[0] for writer in writers} == {"1\n"}
    with Store(path) as store:
        assert store.count_points(1) == {"DONE": 800}
        assert store.get_points(1, [(3_199).to_bytes(16)])[(3_199).to_bytes(16)].value == 3_199


def test_a_store_that_another_process_makes_at_any_moment_of_its_opening_is_opened(tmp_path):
    with Store(tmp_path / "made.db") as made:
        made.target_id(ENERGY)
        files = {ending: (tmp_path / f"made.db{ending}").read_bytes() for ending in ("", "-wal")}
    moment, reached = 0, True
    while reached:
        path = tmp_path / f"{moment}.db"
        left, connected, reached = moment, 0, False

        def on_call(_frame, event, function, path=path):
            nonlocal left, connected, reached
            if event == "c_call" and not reached:
                connected += function is sqlite3.connect
                if left == 0 and connected < 2:  # the first one is to look at it
                    reached = True
                    for ending, content in files.items():
                        Path(f"{path}{ending}").write_bytes(content)
                left -= 1

        sys.setprofile(on_call)
        try:
            store = Store(path)
        finally:
            sys.setprofile(None)
        assert len(store.targets()) == reached
        store.close()
        moment += 1
    assert moment > 10


def test_threads_share_a_store(tmp_path):
    with Store(tmp_path / "some.db") as store:
        target = store.target_id(ENERGY)

        def write(worker):
            for batch in range(20):
                store.put_points(target, points(range(1000 * worker + 10 * batch, 1000 * worker + 10 * batch + 10)))
                assert len(store.done_keys(target, [(1000 * worker).to_bytes(16)])) == 1

        threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
        assert store.count_points(target) == {"DONE": 800}


@pytest.mark.parametrize("statement", ["SELECT 1", "SELECT * FROM nothing"])
def test_a_signal_handler_that_writes_in_the_midst_of_a_write_costs_neither(tmp_path, statement):
    database = Database(tmp_path / "some.db", timeout=5)
    insert = "INSERT INTO targets (name, identity, parts, created) VALUES (?, '', '{}', 0.0)"
    told = []

    def write(*_):
        try:
            with database.write() as connection:
                connection.execute(insert, ["of the handler"])
                connection.execute(statement)
        except StoreError as exc:
            told.append(str(exc))

    before = signal.signal(signal.SIGUSR1, write)
    try:
        with database.write() as connection:
            connection.execute(insert, ["first"])
            signal.raise_signal(signal.SIGUSR1)
            connection.execute(insert, ["last"])
    finally:
        signal.signal(signal.SIGUSR1, before)
    database.disconnect()
    fails = "nothing" in statement
    assert len(told) == fails
    with Store(database.path) as store:
        names = [target.name for _, target in store.targets()]
    assert names == ["last", *["of the handler"] * (not fails), "first"]


def test_a_write_within_a_write_is_undone_with_all_that_was_written_within_it(tmp_path):
    """As of a signal handler that strikes in that of another one."""
    database = Database(tmp_path / "some.db", timeout=5)
    insert = "INSERT INTO targets (name, identity, parts, created) VALUES (?, '', '{}', 0.0)"
    with database.write() as outer:
        outer.execute(insert, ["kept"])
        with contextlib.suppress(KeyError), database.write() as inner:
            inner.execute(insert, ["undone"])
            with contextlib.suppress(KeyError), database.write() as innermost:
                innermost.execute(insert, ["undone before"])
                raise KeyError
            raise KeyError
    with database.read() as connection:
        assert connection.execute("SELECT name FROM targets").fetchall() == [("kept",)]
    database.disconnect()


def test_a_signal_handler_that_closes_a_store_in_the_midst_of_a_write_and_exits_ends_the_script(tmp_path):
    def write_and_exit():
        with database.write():
            database.disconnect()
            sys.exit()

    database = Database(tmp_path / "some.db", timeout=5)
    with pytest.raises(SystemExit):
        write_and_exit()


ENDLESS = """
    import itertools, sys
    from procjob.store import PointRecord, Store, Target, database
    store = Store(sys.argv[1])
    target = store.target_id(Target("energy", "ab12", {}))
    for batch in itertools.count():
        numbers = range(100 * batch, 100 * batch + 100)
        store.put_points(target, [PointRecord(n.to_bytes(16), {}, "DONE", [n] * 50, None, 0.1, 1, 1.8e9) for n in numbers])
        if batch % 10 == 0:
            print(batch, flush=True)
"""


def test_a_writer_killed_in_the_middle_leaves_whole_batches_and_none_that_it_had_reported_is_lost(tmp_path):
    path = tmp_path / "some.db"
    written = 0
    for _ in range(3):
        writer = script(ENDLESS, path)
        reported = [int(writer.stdout.readline()) for _ in range(3)][-1]
        writer.kill()
        writer.communicate(timeout=DEADLINE)
        with Store(path) as store:
            count = store.count_points(1)["DONE"]
            assert count % 100 == 0
            assert count >= max(written, 100 * (reported + 1))
            found = store.get_points(1, [n.to_bytes(16) for n in range(count)])
            assert [record.value for record in found.values()] == [[n] * 50 for n in range(count)]
        written = count


def test_a_fork_has_a_connection_of_its_own(tmp_path):
    path = tmp_path / "some.db"
    with Store(path) as store:
        target = store.target_id(ENERGY)
        stop = threading.Event()

        def write():
            for n in range(1_000, 100_000):
                store.put_points(target, points([n]))
                if stop.is_set():
                    return

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for fork in range(5):
                assert (
                    in_child(lambda fork=fork: store.put_points(target, points(range(10 * fork, 10 * fork + 10)))) == 0
                )
        finally:
            stop.set()
            writer.join(DEADLINE)
        assert len(store.done_keys(target, [n.to_bytes(16) for n in range(50)])) == 50
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_parent_that_closes_its_store_takes_nothing_from_a_fork_that_writes(tmp_path):
    with Store(tmp_path / "some.db") as store:
        target = store.target_id(ENERGY)
        store.put_points(target, points([1]))
        ready, closed = os.pipe(), os.pipe()

        def write():
            store.put_points(target, points([2]))
            os.write(ready[1], b"x")
            os.read(closed[0], 1)
            store.put_points(target, points([3]))

        with ThreadPoolExecutor(1) as pool:
            child = pool.submit(in_child, write)
            os.read(ready[0], 1)
            store.close()
            os.write(closed[1], b"x")
            assert child.result(DEADLINE) == 0
        for end in ready + closed:
            os.close(end)
        assert store.count_points(target) == {"DONE": 3}


def test_a_fork_that_uses_no_store_leaves_that_of_its_parent_alone(tmp_path):
    with Store(tmp_path / "some.db") as store:
        target = store.target_id(ENERGY)
        store.put_points(target, points([1]))
        assert in_child(lambda: None) == 0
        store.put_points(target, points([2]))
        assert store.count_points(target) == {"DONE": 2}


HELD = "import threading, time; threading.Thread(target=lambda _: time.sleep(60), args=(store,), daemon=True).start()"
ENDS = {
    "": "",
    "deleted": "del store; import gc; gc.collect()",
    "exit": "raise SystemExit",
    "error": "1 / 0",
    "held": HELD,
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_script_that_ends_leaves_one_file_with_everything(tmp_path, end):
    text = f"""
    from procjob.store import PointRecord, Store, Target, database
    store = Store("some.db")
    store.put_points(store.target_id(Target("energy", "ab12", {{}})), [PointRecord(bytes(16), {{}}, "DONE", 1, None, 0, 1, 0)])
    {end}
    """
    script(text, cwd=tmp_path, stderr=subprocess.DEVNULL).communicate(timeout=DEADLINE)
    assert [path.name for path in tmp_path.iterdir()] == ["some.db"]
    with Store(tmp_path / "some.db") as store:
        assert store.count_points(1) == {"DONE": 1}


def test_a_closed_store_opens_again_when_it_is_used(tmp_path):
    store = Store(tmp_path / "some.db")
    target = store.target_id(ENERGY)
    store.close()
    store.put_points(target, points([1]))
    store.close()
    assert store.count_points(target) == {"DONE": 1}
    store.close()
