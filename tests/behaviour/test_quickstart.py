"""The main job, as the README's first command runs it."""

import re
import subprocess
import sys
from pathlib import Path

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart.py"
ROW = re.compile(r"(?P<name>.{18}) (?P<status>[A-Z]+) +(?P<seconds>[\d.]+) s  (?P<outcome>.*)")


def test_the_quickstart_tells_truly_what_became_of_each_job(tmp_path):
    run = subprocess.run(
        [sys.executable, QUICKSTART], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    rows = {row["name"].strip(): row for row in map(ROW.fullmatch, run.stdout.splitlines()) if row}

    cancelled = [name for name, row in rows.items() if row["status"] == "CANCELLED"]
    assert cancelled == ["too large"]
    assert float(rows["too large"]["seconds"]) > 0  # it was running

    errors = {name: row["outcome"] for name, row in rows.items() if row["status"] == "ERROR"}
    assert errors.keys() == {"too slow", "kills its worker"}
    assert errors["too slow"].startswith("TimeLimitExceeded: job too slow")
    assert re.match(r"WorkerDiedError: the worker \(pid \d+\) was killed by SIGKILL", errors["kills its worker"])

    done = {name: row["outcome"].split() for name, row in rows.items() if row["status"] == "DONE"}
    assert len(done) >= 48
    assert len(done) + 3 == len(rows)
    outcomes = {name: int(words[0]) for name, words in done.items()}
    assert outcomes["W state"] == 3
    assert {count for name, count in outcomes.items() if name.startswith("GHZ")} == {2}
    assert outcomes["QFT 5"] == 2**5
