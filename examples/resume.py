"""A sweep that is killed in the middle, twice, and ends with the results of one that was not.

The script runs itself as another process, so that it can be killed: `python resume.py work` is the sweep alone.
"""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import procjob

STORE = Path("resume.db")
POINTS = procjob.grid(x=np.linspace(0, 1, 20), y=np.linspace(0, 1, 20))


def height(x, y, rng):
    """Stand for something that takes long."""
    time.sleep(0.005)
    return np.sin(3 * x) * np.cos(2 * y) + 0.01 * rng.normal()


def work(store):
    """Run the sweep, or what is left of it. The seed is part of what the store knows a point by."""
    return procjob.sweep(height, POINTS, seed=5, store=store, workers=2, progress=False)


if sys.argv[1:] == ["work"]:
    work(STORE)
    sys.exit()

for wanted in (50, 200):
    process = subprocess.Popen([sys.executable, __file__, "work"])
    while not (STORE.exists() and procjob.Sweep(height, POINTS, seed=5, store=STORE).reusable() >= wanted):
        time.sleep(0.05)
    process.kill()  # as a crash of the machine would
    process.wait()
    print(f"killed after {wanted} points or more")

result = work(STORE)
print(f"{len(result)} points, of which {'some' if result.metadata['reused'] >= 200 else 'few'} were in the store")
undisturbed = procjob.sweep(height, POINTS, seed=5, workers=2, progress=False)
print("the same bits:", result["height"].tobytes() == undisturbed["height"].tobytes())
