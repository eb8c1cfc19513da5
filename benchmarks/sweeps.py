"""What a sweep costs beside what it runs, in one run; ratios count, absolute times change with the machine.

    python benchmarks/sweeps.py [--parts scale,python,store,circuit] [--rounds N]

scale: a trivial vectorized target at 10,000 and at 1,000,000 points on two workers that have been started before: time a point (the
    goal is 1.2 times), and by how much the parent grows (200 MB), in a process of its own.
python: a trivial Python function, points a second on two workers (the goal is 100,000).
store: 1 ms points with and without a store, taking turns (the goal is 20 % more).
circuit: the 6-qubit ansatz of `simulator.py`, <Z0 Z1> at 4,000 and 20,000 points, beside `Backend.run` with the compiled plan, both with two
    workers that have been started before, taking turns (the goal is 1.3 times).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import cloudpickle  # noqa: E402
import numpy as np  # noqa: E402  reads the variables
import psutil  # noqa: E402
from timing import median, medians  # noqa: E402

import procjob  # noqa: E402
from procjob import grid, sweep, vectorized, zipped  # noqa: E402
from procjob.engine import ProcessEngine  # noqa: E402

cloudpickle.register_pickle_by_value(sys.modules[__name__])


@vectorized
def trivial_arrays(x, y):
    return x + y


def trivial(x, y):
    return x + y


def nap(x):
    time.sleep(0.001)
    return x


def points_of(count):
    return grid(x=np.arange(count // 100, dtype=float), y=np.arange(100.0))


def scale(rounds, engine):
    small = median(lambda: sweep(trivial_arrays, points_of(10_000), engine=engine), max(rounds, 9)) / 1e4
    large = median(lambda: sweep(trivial_arrays, points_of(1_000_000), engine=engine), rounds) / 1e6
    print(f"scale: {1e6 * small:.2f} us a point at 10,000, {1e6 * large:.2f} at 1,000,000: {large / small:.2f} times")
    done = subprocess.run([sys.executable, __file__, "--grow"], check=True, capture_output=True, text=True)
    print(f"scale: the parent grows by {done.stdout.strip()} MB")


def grow():
    """Print by how many MB this process grows in a sweep of a million points, at its peak."""
    engine = ProcessEngine(2)
    sweep(trivial_arrays, points_of(10_000), engine=engine)
    before = psutil.Process().memory_info().rss
    sweep(trivial_arrays, points_of(1_000_000), engine=engine)
    status = Path(
        "/proc/self/status"
    ).read_text()  # not ru_maxrss: that begins with the size of whoever started this process
    peak = 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
    engine.close()
    print(f"{(peak - before) / 1e6:.0f}")


def python(rounds, engine):
    took = median(lambda: sweep(trivial, points_of(500_000), engine=engine), rounds)
    print(f"python: {5e5 / took:,.0f} points/s")


def store(rounds, engine):
    points = grid(x=np.arange(2000))

    def kept():
        with tempfile.TemporaryDirectory() as folder:
            sweep(nap, points, engine=engine, store=Path(folder) / "points.db")

    found = medians({"without": lambda: sweep(nap, points, engine=engine), "kept": kept}, rounds)
    print(f"store: 2,000 points of 1 ms in {found['without']:.2f} s, {found['kept']:.2f} s kept: "
          f"{100 * (found['kept'] / found['without'] - 1):.0f} % more")  # fmt: skip


def circuit(rounds, engine):
    for count in (4000, 20_000):
        circuit_at(count, rounds, engine)


def circuit_at(count, rounds, engine):
    from simulator import ansatz, circuit_of

    from procjob.simulators import StatevectorSimulator, compile  # noqa: A004

    made = circuit_of(6, ansatz(6))
    plan = compile(made)
    values = np.random.default_rng(1).normal(size=(count, len(plan.parameters)))
    points = zipped(**{name: values[:, number] for number, name in enumerate(plan.parameters)})
    with procjob.Backend(StatevectorSimulator(), workers=2) as backend:

        def by_hand():
            job = backend.run(plan, shots=None, parameters=values, observables=["Z0 Z1"])
            return job.result().expectation_values[:, 0]

        def swept():
            return sweep(made, points, observables=["Z0 Z1"], engine=engine)["Z0 Z1"]

        assert np.array_equal(by_hand(), swept())
        found = medians({"by_hand": by_hand, "swept": swept}, max(rounds, 7))
    print(f"circuit: {count:,} points, {1e3 * found['by_hand']:.0f} ms by hand, {1e3 * found['swept']:.0f} ms as a sweep: "
          f"{found['swept'] / found['by_hand']:.2f} times")  # fmt: skip


PARTS = {"scale": scale, "python": python, "store": store, "circuit": circuit}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--grow", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.grow:
        grow()
        return
    engine = ProcessEngine(2)
    try:
        sweep(nap, grid(x=range(100)), engine=engine)
        for part in arguments.parts.split(","):
            PARTS[part](arguments.rounds, engine)
            sys.stdout.flush()
    finally:
        engine.close()


if __name__ == "__main__":
    main()
