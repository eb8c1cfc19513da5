"""Files of earlier versions: `golden/` has a store of schema 1 and results as the first version wrote them."""

import datetime as dt
import gzip
import sqlite3
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from socket import gethostname

import numpy as np
import pytest

from procjob import Store, SweepResult
from procjob.errors import RemoteError, StoreError
from procjob.sweeps.points import from_spec

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def path(tmp_path):
    """The store of schema 1; its processes were on another machine."""
    path = tmp_path / "golden.db"
    path.write_bytes(gzip.decompress((GOLDEN / "store_1.db.gz").read_bytes()))
    return path


def test_jobs_come_back_with_all_that_was_kept(path):
    with Store(path) as store:
        jobs = {job.job_id(): job for job in store.jobs(tags=["golden"])}
        value = jobs["job0"].result()
        assert [jobs[f"job{n}"].status().name for n in range(3)] == ["DONE", "DONE", "ERROR"]
        assert jobs["job2"].error_message() == "ZeroDivisionError: division by zero"
        assert jobs["job1"].metadata == {"x": 1}
        with pytest.raises(StoreError, match=r"fractions\.Fraction.*allow_pickle=True"):
            jobs["job1"].result()
    array, nan = value.pop("array"), value.pop("nan")
    text = value.pop("text")
    assert array.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert np.isnan(nan)
    assert (text.tolist(), text.dtype) == (["a", "bc"], np.dtype("<U2"))
    assert value == {
        "plain": [1, 2.5, None, True, "é"],
        "tuple": (1, (2,)),
        "set": {3},
        "frozen": frozenset({4}),
        "bytes": b"\x00\xff",
        "complex": 1 - 2j,
        "inf": float("-inf"),
        "keys": {1: "one", "$x": 2},
        "float32": np.float32(0.5),
        "z": np.complex128(1j),
        "big": 1 << 80,
        "range": range(3),
    }
    assert type(value["float32"]) is np.float32


def test_sweeps_come_back_with_their_points(path):
    with Store(path) as store:
        found = {record.name: record for record in store.sweeps()}
        energy = SweepResult.from_store(store, found["energy"].sweep_id)
        drawn = SweepResult.from_store(store, found["drawn"].sweep_id)
    assert list(from_spec(found["drawn"].points)) == [{"x": 1}, {"x": 0}, {"x": 2}]
    assert energy["e"].tolist() == [[0.0, 0.0], [0.5, 1.0], [1.0, 2.0]]
    assert energy["v"][2, 1].tolist() == [1.0, 2.0]
    assert energy["t"].tolist() == [[(1,), (2,)]] * 3
    assert (energy.seed, energy.metadata["numpy"]) == (found["energy"].seed, "2.5.5")
    assert list(drawn.errors) == [1]
    assert drawn.status.tolist() == [1, 2, 1]


def test_what_somebody_else_has_pickled_is_listed_and_raises_where_it_is_asked_for(path):
    with Store(path) as store:
        record, *others = store.sweeps()
    assert (record.name, record.status, len(others)) == ("foreign", "DONE", 2)
    assert repr(record) == "<SweepRecord cccccccc DONE foreign>"
    for name in ("points", "metadata"):
        with pytest.raises(
            StoreError, match=rf"sweep c+ {name} cannot be read: .*fractions\.Fraction|dict.*allow_pickle"
        ):
            getattr(record, name)


def test_an_old_sweep_of_somebody_else_is_read_with_consent(path):
    with Store(path, allow_pickle=True) as store:
        record = store.sweep("cccc" * 8)
        assert (record.points, record.metadata) == (Fraction(1, 2), {"by": Fraction(1, 7)})
        assert store.get_points(record.target_id, [bytes(16)])[bytes(16)].value == Fraction(1, 3)


def test_an_old_sweep_whose_process_is_gone_is_an_error(path):
    with closing(
        sqlite3.connect(path, isolation_level=None)
    ) as connection:  # as if this machine had been started again
        connection.execute("UPDATE sweeps SET metadata = replace(metadata, '\"golden\"', ?)", (f'"{gethostname()}"',))
    with Store(path) as store:
        drawn = store.sweeps(name="drawn")[0]
        assert (drawn.status, drawn.provenance["drawn"], drawn.metadata) == ("ERROR", True, {})
        assert drawn.error.startswith(f"interrupted: process 1 on {gethostname()}")
        assert [record.name for record in store.sweeps(status="DONE")] == ["foreign", "energy"]


def test_of_another_machine_nobody_can_tell(path):
    with Store(path) as store:
        assert store.sweeps(name="drawn")[0].status == "RUNNING"


def test_an_archive_comes_back_as_it_was_saved():
    result = SweepResult.load(GOLDEN / "result_1.npz")
    assert (result.seed, result.target, result.fixed) == (1 << 70, "anything", {"label": "a"})
    assert result.metadata["note"] == ("é", b"\x01")
    values = result["value"].tolist()
    assert result["number"].tolist() == [kind / 4 for kind in range(20)]
    assert result["row"][3].tolist() == [3, 4]
    assert values[:15] == [
        None, True, 1, 0.5, "é", [1, [2]], (1, (2,)), {3}, frozenset({4}), b"\x00\xff", 1 - 2j, {"a": 1},
        {1: "one", "$x": 2}, dt.datetime(2026, 1, 2, 3, 4, tzinfo=dt.UTC), dt.date(2026, 1, 2),
    ]  # fmt: skip
    assert (values[15].tolist(), values[17].tolist()) == ([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]], [None, (1, 2)])
    assert (type(values[16]), values[16], values[19]) == (np.float32, 0.5, 1 << 80)
    assert np.isnan(values[18])


def test_an_archive_with_failures_comes_back_with_their_texts():
    result = SweepResult.load(GOLDEN / "failed_1.npz")
    assert result.seed is None
    assert result["x"].tolist() == [0, 1]
    assert result["y"].tolist() == [(1, 2), None]
    assert isinstance(result.errors[0], RemoteError)
    assert str(result.errors[0]) == "ZeroDivisionError: division by zero"
    assert result.status.tolist() == [2, 1]
