"""Pickles in a store are loaded only if this user has written them, or says so."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
from fractions import Fraction

import pytest

from procjob.errors import StoreError
from procjob.store import PointRecord, Store, Target

KEY = bytes(16)


@pytest.fixture(autouse=True)
def state(tmp_path_factory, monkeypatch):
    """The folder in which this user's secret is."""
    folder = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    return folder


def stored(path, value, key=KEY):
    with Store(path) as store:
        target = store.target_id(Target("energy", "ab12", {}))
        store.put_points(target, [PointRecord(key, {}, "DONE", value, None, 0.1, 1, 1.8e9)])


def read(path, key=KEY, **options):
    with Store(path, **options) as store:
        return store.get_points(1, [key])[key].value


def sqlite(path, statement, *values):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(statement, values).fetchall()


class Bomb:
    """What somebody else could put into a store: it makes a folder when it is read."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_your_own_pickle_is_read_by_another_process_of_yours(tmp_path):
    stored(tmp_path / "some.db", Fraction(1, 3))
    code = (
        "import sys; from procjob import Store; print(Store(sys.argv[1]).get_points(1, [bytes(16)])[bytes(16)].value)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "some.db"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (run.stdout, run.stderr) == ("1/3\n", "")


def test_a_pickle_of_somebody_else_is_not_read_unless_you_say_so(tmp_path, monkeypatch):
    exploded = tmp_path / "exploded"
    stored(tmp_path / "some.db", Bomb(exploded))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another user"))
    for _ in range(2):
        with pytest.raises(StoreError, match=r"point 000.*Bomb.*no secret.*allow_pickle=True"):
            read(tmp_path / "some.db")
        assert not exploded.exists()
    stored(tmp_path / "mine.db", Fraction(1, 3))
    with pytest.raises(StoreError, match=r"another user or on another machine, or changed since.*allow_pickle=True"):
        read(tmp_path / "some.db")
    assert not exploded.exists()
    assert read(tmp_path / "some.db", allow_pickle=True) is None
    assert exploded.exists()


@pytest.mark.parametrize("answer", ["no", "False", 1, None])
def test_consent_is_a_truth_value_and_nothing_that_looks_like_one(tmp_path, answer):
    with pytest.raises(TypeError, match=f"allow_pickle must be True or False, not {answer!r}"):
        Store(tmp_path / "some.db", allow_pickle=answer)
    assert not (tmp_path / "some.db").exists()


def test_a_pickle_that_was_changed_is_not_read(tmp_path):
    stored(tmp_path / "some.db", Fraction(1, 3))
    ((data,),) = sqlite(tmp_path / "some.db", "SELECT result_data FROM points")
    for at in (0, 20, len(data) // 2, len(data) - 1):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        sqlite(tmp_path / "some.db", "UPDATE points SET result_data = ?", changed)
        with pytest.raises(StoreError, match=r"changed since|damaged"):
            read(tmp_path / "some.db")
    for short in (b"", data[:10], data[:40]):
        sqlite(tmp_path / "some.db", "UPDATE points SET result_data = ?", short)
        with pytest.raises(StoreError, match=r"changed since|damaged"):
            read(tmp_path / "some.db")


def test_your_own_pickle_in_another_row_is_not_read(tmp_path):
    other = bytes([1]) * 16
    stored(tmp_path / "some.db", Fraction(1, 3))
    stored(tmp_path / "some.db", Fraction(2, 3), other)
    ((data,),) = sqlite(tmp_path / "some.db", "SELECT result_data FROM points WHERE key = ?", KEY)
    sqlite(tmp_path / "some.db", "UPDATE points SET result_data = ? WHERE key = ?", data, other)
    assert read(tmp_path / "some.db") == Fraction(1, 3)
    with pytest.raises(StoreError, match="changed since"):
        read(tmp_path / "some.db", other)


def test_values_without_pickles_are_read_whoever_wrote_them(tmp_path, monkeypatch):
    stored(tmp_path / "some.db", {"energy": -1.1})
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another user"))
    assert read(tmp_path / "some.db") == {"energy": -1.1}
    assert not (tmp_path / "another user").exists(), "a secret is made when it is needed"


def test_the_secret_is_private_and_whole_whatever_the_umask(tmp_path, state):
    before = os.umask(0)
    try:
        stored(tmp_path / "some.db", Fraction(1, 3))
    finally:
        os.umask(before)
    (file,) = (state / "procjob").iterdir()
    assert (file.name, file.stat().st_size, stat.S_IMODE(file.stat().st_mode)) == ("secret", 32, 0o600)
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_processes_that_need_the_secret_at_once_make_one(state):
    code = "import sys; from procjob.store import trust; sys.stdin.readline(); print(trust.sign(b'x', 'y').hex())"
    pipe = subprocess.PIPE
    makers = [subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True) for _ in range(6)]
    with concurrent.futures.ThreadPoolExecutor(6) as threads:
        signed = set(threads.map(lambda maker: maker.communicate("go\n", timeout=60)[0], makers))
    assert len(signed) == 1
    assert [file.name for file in (state / "procjob").iterdir()] == ["secret"]


def test_a_secret_that_others_could_read_signs_nothing_and_proves_nothing(tmp_path, state):
    stored(tmp_path / "some.db", Fraction(1, 3))
    (state / "procjob" / "secret").chmod(0o644)
    with pytest.raises(StoreError, match="missing or not private"):
        read(tmp_path / "some.db")
    stored(tmp_path / "other.db", Fraction(1, 3))
    with pytest.raises(StoreError, match="not signed"):
        read(tmp_path / "other.db")


def test_without_a_home_pickles_are_kept_unsigned_and_read_with_consent(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file" / "state"))
    stored(tmp_path / "some.db", Fraction(1, 3))
    with pytest.raises(StoreError, match=r"not signed: whoever wrote it could keep no secret.*allow_pickle=True"):
        read(tmp_path / "some.db")
    assert read(tmp_path / "some.db", allow_pickle=True) == Fraction(1, 3)


def test_a_pickle_of_something_that_is_no_longer_there_says_so(tmp_path):
    class Gone:
        pass

    Gone.__module__, Gone.__qualname__ = "os", "Gone"
    os.Gone = Gone
    try:
        stored(tmp_path / "some.db", Gone())
    finally:
        del os.Gone
    with pytest.raises(StoreError, match="must be importable here"):
        read(tmp_path / "some.db")
