"""`python -m benchmarks`: what it measures is kept, and a peer that is absent or broken costs its cell only."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

if not hasattr(os, "pidfd_open"):
    pytest.skip("the benchmarks are for Linux", allow_module_level=True)


@pytest.fixture
def stubs(tmp_path, monkeypatch):
    """Peers as they may be, in the path of all that a test starts."""
    folder = tmp_path / "stubs"
    folder.mkdir()
    (folder / "distributed.py").write_text("raise ModuleNotFoundError('No module', name='distributed')")
    (folder / "dask.py").write_text("raise ModuleNotFoundError('No module', name='distributed')")
    (folder / "pebble.py").write_text("raise RuntimeError('this peer does not work here')")
    (folder / "joblib.py").write_text(
        "import os, sys; sys.stderr.write('out of luck'); sys.stderr.flush(); os._exit(3)"
    )
    (folder / "mpire.py").write_text("import threading; threading.Event().wait()")
    path = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    monkeypatch.syspath_prepend(ROOT)


def test_two_rows_are_printed_and_kept_and_an_absent_peer_is_named(stubs, tmp_path):
    file, folder = tmp_path / "figures.json", tmp_path / "results"
    options = ["--quick", "--rows", "jobs,round-trip", "--peers", "stdlib,distributed"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *options, "--json", file, "--results", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "not installed, left out: distributed" in done.stdout
    kept = json.loads(file.read_text())
    assert kept["machine"]["cores"] >= 1
    jobs, trip = kept["rows"]
    assert (jobs["key"], trip["key"]) == ("jobs", "round-trip")
    assert set(jobs["rounds"]) == {"procjob", "procjob's executor"}
    assert set(trip["rounds"]) == {"procjob", "stdlib"}
    assert jobs["failed"] == trip["failed"] == {}
    for row in kept["rows"]:
        assert all(figure > 0 for figures in row["rounds"].values() for figure in figures)
        assert all(goal["reach"] > 0 for goal in row["goals"])
    page = (folder / "RESULTS.md").read_text()
    assert "## round-trip" in page
    assert "Not installed and left out: distributed." in page
    assert (folder / "results.svg").stat().st_size < 100_000


def test_a_peer_that_hangs_or_dies_or_raises_costs_its_cell_only(stubs):
    from benchmarks.__main__ import run
    from benchmarks.table import ROWS

    row = replace(ROWS["round-trip"], deadline=5.0)
    kept = run(row, quick=True, peers={"procjob", "pebble", "joblib", "mpire", "distributed"})
    assert kept["failed"] == {
        "pebble": "RuntimeError: this peer does not work here",
        "joblib": "its process ended with 3: out of luck",
        "mpire": "no answer within 5 s",
    }
    assert kept["missing"] == {"distributed": "distributed"}
    assert len(kept["rounds"]["procjob"]) == row.rounds[1]


def test_a_row_that_nobody_knows_is_refused_with_those_that_there_are(stubs):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--rows", "speed"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "unknown rows: speed; there are no-ops" in done.stderr
