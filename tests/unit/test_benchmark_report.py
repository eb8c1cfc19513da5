"""What the report of the benchmarks says about figures."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)


def figures(more_is_better=True, **rounds):
    from benchmarks.rows import Figures

    return Figures(more_is_better, rounds)


def kept(key, rounds, **more):
    empty = {"others": {}, "failed": {}, "missing": {}}
    return {"key": key, "rounds": rounds} | empty | more


def test_contenders_are_compared_within_their_rounds():
    # The machine was ten times slower in the last two rounds; procjob was twice as fast in all of them.
    noisy = figures(procjob=[200, 20, 20], peer=[100, 10, 10])
    assert noisy.times_better("peer") == 2
    assert figures(more_is_better=False, procjob=[2, 20], peer=[1, 10]).times_better("peer") == 0.5
    assert noisy.times_better("absent") is None


def test_a_goal_is_reached_from_one_upwards():
    from benchmarks.rows import also, always, beside, best_of, limit

    fast = figures(procjob=[300.0], slow=[100.0], fast=[400.0])
    assert limit("at least 150", 150).reach(fast) == 2
    assert limit("at most 150", 150).reach(figures(more_is_better=False, procjob=[300.0])) == 0.5
    assert beside("half of the fast one", "fast", 2.0).reach(fast) == 1.5
    assert best_of("the best", ["slow", "fast"]).reach(fast) == 0.75
    assert best_of("the best", ["absent"]).reach(fast) is None

    from benchmarks.rows import Figures

    found = Figures(True, {"procjob": [1.0, 1.0]}, {"procjob": [{"share": 0.9}, {"share": 0.7, "worker": "lost"}]})
    assert also("0.4", "share", 0.4).reach(found) == 2
    assert always("kept", "worker", "kept").reach(found) == 0


def test_the_page_says_what_is_met_who_is_ahead_and_what_failed():
    from benchmarks.report import page

    rounds = {"procjob": [30e3, 31e3], "mp.Pool": [60e3, 62e3], "loky": [10e3, 10e3]}
    machine = {
        "date": "2026-01-02T03:04:05+00:00",
        "cores": 2,
        "processor": "a processor",
        "memory": "8 GB",
        "system": "Linux",
        "python": "CPython",
        "packages": {"loky": "3.7"},
        "load before": [0.1, 0.2, 0.3],
    }
    rows = [
        kept("no-ops", rounds, failed={"mpire": "no answer within 30 s"}, missing={"pebble": "pebble"}),
        kept("work-10ms", {"procjob": [0.98]}),
    ]
    text = page({"machine": machine, "quick": False, "rows": rows, "sections": {"arrays": "a curve\n"}})
    assert "2026-01-02, 2 cores of a processor" in text
    assert "Not installed and left out: pebble." in text
    assert "- Goal: above the best peer: **not met: 0.5 of it**." in text
    assert "- mp.Pool is ahead, 2 times." in text
    assert "| mpire | - |  | - | failed: no answer within 30 s |" in text
    assert "- Goal: at least 0.97 of 2 cores: **met**." in text
    assert "```text\na curve\n```" in text


def test_every_row_has_procjob_first_and_a_key_for_the_command_line():
    from benchmarks.table import ROWS

    assert all(next(iter(row.contenders)) == "procjob" for row in ROWS.values())
    assert all(row.goals or row.peers for row in ROWS.values())
    assert not [key for key in ROWS if "," in key or " " in key]
