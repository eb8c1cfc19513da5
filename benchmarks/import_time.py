"""What importing procjob costs, next to loky and NumPy, which it stands on.

    python benchmarks/import_time.py [--rounds N]

Prints medians over interleaved rounds of fresh interpreters, less that of an interpreter that imports nothing, and the
ratios to loky and NumPy together. Absolute figures change with the machine; the ratios are what counts.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

REFERENCE = "import loky, numpy"
STATEMENTS = ["", REFERENCE, "import procjob", "from procjob import *"]


def seconds(statement: str) -> float:
    """Time that a fresh interpreter takes for a statement."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {statement: [] for statement in STATEMENTS}
    for statement in STATEMENTS:
        seconds(statement)  # the first time compiles and reads from the disk
    for _ in range(rounds):
        for statement in STATEMENTS:
            times[statement].append(seconds(statement))
    costs = {s: statistics.median(a - b for a, b in zip(times[s], times[""], strict=True)) for s in STATEMENTS[1:]}
    print(f"{'':22} milliseconds   of loky and numpy")
    for statement, cost in costs.items():
        print(f"{statement:22} {cost * 1000:12.0f}   {cost / costs[REFERENCE]:17.2f}")


if __name__ == "__main__":
    main()
