"""A sweep that is killed again and again ends with the bits of one that is left alone, and repeats nothing that it kept.

As a test it is killed a few times; `python tests/stress/test_resume_drill.py [kills]` does the whole drill.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import psutil

from procjob import Store, grid, sweep

DEADLINE = 120.0
POINTS = 2000
KILLS = int(os.environ.get("PROCJOB_TEST_KILLS", "6"))

SCRIPT = """
import os, sys, time
import numpy as np
import procjob

def energy(theta, depth, rng):
    began = time.time()
    time.sleep(0.001)
    found = {"energy": np.cos(theta) ** depth + rng.normal(), "shots": rng.integers(0, 9, size=4)}
    with open(os.environ["DRILL_LOG"], "a") as log:
        log.write(f"{theta!r} {depth} {began!r}\\n")
    return found

def points():
    return procjob.grid(theta=np.linspace(0.1, 3.0, 200), depth=range(10))

if __name__ == "__main__":
    procjob.sweep(energy, points(), seed=7, workers=2, store=sys.argv[1])
    print("finished")
"""


def drill(folder: Path, kills: int, seed: int) -> dict[str, int]:
    """Kill a sweep `kills` times; return what happened."""
    (folder / "script.py").write_text(SCRIPT)
    log, store = folder / "log", folder / "drill.db"
    log.touch()
    os.environ["DRILL_LOG"] = str(log)
    chance, killed, starts = random.Random(seed), 0, 0
    deadline = time.monotonic() + DEADLINE * max(1, kills / 6)
    while True:
        assert time.monotonic() < deadline
        starts += 1
        before = log.stat().st_size
        process = subprocess.Popen(
            [sys.executable, "script.py", store], cwd=folder, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        try:
            if killed < kills and _work_goes_on(process, log, before, chance, POINTS // (kills + 2)):
                workers = psutil.Process(process.pid).children(recursive=True)
                if killed % 2:
                    os.killpg(process.pid, signal.SIGKILL)
                else:
                    process.kill()
                killed += 1
                _, alive = psutil.wait_procs(workers, timeout=10)
                assert not alive, "workers outlive a parent that was killed"
                continue
            out, _ = process.communicate(timeout=DEADLINE)
            assert (out, process.returncode) == ("finished\n", 0)
            break
        finally:
            process.kill()
            process.communicate()
    return {"kills": killed, "starts": starts} | _check(folder, store, log)


def _work_goes_on(process, log, before, chance, share):
    """Wait for a random moment: at times while it starts, else when some points more have been computed."""
    if chance.random() < 0.2:
        time.sleep(chance.uniform(0.0, 0.5))  # anywhere in its start
    else:
        wanted = before + chance.randint(1, share) * 45  # bytes of the log
        while log.stat().st_size < wanted and process.poll() is None:
            time.sleep(0.002)
        time.sleep(chance.uniform(0.0, 0.05))
    return process.poll() is None


def _check(folder, store, log):
    sys.path.insert(0, str(folder))
    try:
        import script
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("script", None)
    begun = defaultdict(list)
    for line in log.read_text().splitlines():
        theta, depth, when = line.split()
        begun[float(theta), int(depth)].append(float(when))
    assert len(begun) == POINTS
    with Store(store) as opened:
        ((target, _),) = opened.targets("energy")
        assert opened.count_points(target) == {"DONE": POINTS}
        with opened._database.read() as connection:
            keys = [key for (key,) in connection.execute("SELECT key FROM points")]
        records = opened.get_points(target, keys, columns=["values"]).values()
    late = [
        (record.values, when - record.finished)
        for record in records
        for when in begun[record.values["theta"], record.values["depth"]]
        if when > record.finished
    ]
    assert not late, f"computed again after their record was written: {late[:5]}"
    kept = sweep(script.energy, script.points(), seed=7, workers=0, store=store)
    assert kept.metadata["reused"] == POINTS
    undisturbed = sweep(script.energy, grid(theta=script.points().parts[0].columns(0, 200)["theta"], depth=range(10)),
                        seed=7, workers=2)  # fmt: skip
    assert kept == undisturbed
    return {"computed twice": sum(map(len, begun.values())) - POINTS}


def test_a_sweep_that_is_killed_again_and_again_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("DRILL_LOG", "")  # put back afterwards
    found = drill(tmp_path, KILLS, seed=20240229)
    assert found["kills"] == KILLS


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        print(drill(Path(made), int(sys.argv[1]) if len(sys.argv) > 1 else 20, seed=random.randrange(1 << 30)))
