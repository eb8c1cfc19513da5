"""What the command line does with a store in which somebody else has pickled something."""

import json
import shlex
import shutil
import sqlite3
import sys
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import cloudpickle
import pytest

import procjob
from procjob.cli import main

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # these values are read by others


class Bomb:
    """What somebody else could put into a store: it makes a folder when it is read."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return exploded, (self.folder,)


def exploded(folder):
    Path(folder).mkdir(exist_ok=True)
    return Bomb(folder)


@pytest.fixture
def bomb(tmp_path):
    return Bomb(str(tmp_path / "exploded"))


@pytest.fixture
def call(tmp_path, monkeypatch, capsys, bomb):
    """Run a command line as another user than the one who has written the store; nothing may explode unless it says so."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PROCJOB_STORE", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "writer"))

    def call(line):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "reader"))
        shutil.rmtree(bomb.folder, ignore_errors=True)  # the writer's own processes have read it, too
        code = main(shlex.split(line))
        out, err = capsys.readouterr()
        assert "--allow-pickle" in line or not Path(bomb.folder).exists()
        return code, out, err

    return call


def plain(x):
    return x * 2


def test_listings_show_everything_beside_a_sweep_that_cannot_be_read(call, bomb):
    with procjob.Store("s.db") as store:
        first = procjob.sweep(plain, procjob.grid(x=[1, 2]), workers=0, store=store)
        foreign = procjob.sweep(lambda x: bomb, procjob.grid(x=[1]), workers=0, store=store, version="1")
        record = store.sweep(foreign.metadata["sweep_id"])
    with closing(sqlite3.connect("s.db", isolation_level=None)) as connection:  # as if its points were no plain data
        connection.execute(
            "UPDATE sweeps SET (points, points_data) = (SELECT result, result_data FROM points WHERE target_id = ?) "
            "WHERE sweep_id = ?", (record.target_id, record.sweep_id),
        )  # fmt: skip
    code, out, _ = call("jobs --store s.db --json")
    assert code == 0
    assert {entry["id"]: entry["about"] for entry in json.loads(out)} == {
        first.metadata["sweep_id"]: "2 points of x", record.sweep_id: "points that cannot be read",
    }  # fmt: skip
    assert json.loads(call("status s.db --json")[1])["sweeps"] == {"DONE": 2}
    code, out, _ = call(f"show {record.sweep_id} --store s.db --json")
    shown = json.loads(out)
    assert (code, shown["status"], shown["seed"]) == (0, "DONE", foreign.seed)
    assert "give --allow-pickle" in shown["unreadable"]["result"]


def test_a_result_of_somebody_else_is_read_with_consent_only(call, bomb):
    with procjob.Store("s.db") as store:
        procjob.sweep(lambda x: {"n": x, "bomb": bomb}, procjob.grid(x=[1, 2]), workers=0, store=store, version="1")
    for line in ("export s.db", "plot s.db --y n --output p.png"):
        code, out, err = call(line)
        assert (code, out) == (2, "")
        assert "is not known to be yours" in err
        assert "give --allow-pickle" in err
        assert err.count("\n") == 1
    code, out, _ = call("export s.db --allow-pickle")
    assert (code, out.splitlines()[0]) == (0, "x,n,bomb,status,seconds,error")
    assert Path(bomb.folder).exists()


def test_a_job_of_somebody_else_does_not_keep_others_from_being_exported(call, bomb):
    with procjob.Backend(lambda x: x or bomb, workers=0, store="s.db") as backend:
        for x in (1, 0, 2):
            backend.run(x).result()
    code, out, err = call("export s.db --format json")
    assert code == 1
    assert [entry["result"] for entry in json.loads(out)] == [1, None, 2]
    assert "1 result cannot be read; the result of job" in err
    assert call("export s.db --format json --allow-pickle")[0] == 0


def test_a_sweep_reuses_points_of_somebody_else_with_consent_only(call, bomb, tmp_path):
    (tmp_path / "model.py").write_text("def half(x):\n    from fractions import Fraction\n    return Fraction(x, 2)\n")
    with procjob.Store("s.db") as store:
        from procjob.cli.programs import target_of

        procjob.sweep(target_of("model.py:half"), procjob.grid(x=[1, 2]), workers=0, store=store)
        with closing(sqlite3.connect("s.db", isolation_level=None)) as connection:
            assert connection.execute("SELECT count(*) FROM points WHERE result LIKE '%$pickle%'").fetchone() == (2,)
    line = "sweep model.py:half --grid x=1,2,3 --workers 0 --store s.db --json"
    code, out, err = call(line)
    assert (code, out) == (1, "")
    assert "give --allow-pickle" in err
    code, out, err = call(f"{line} --allow-pickle")
    assert code == 0
    assert "2 of 3 points are in s.db; 1 to run" in err
    assert [Fraction(point["half"]) for point in json.loads(out)["points"]] == [Fraction(x, 2) for x in (1, 2, 3)]
