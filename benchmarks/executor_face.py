"""No-op tasks through the executor face against its peers, side by side in one run.

    python benchmarks/executor_face.py [--workers N] [--tasks N] [--rounds N]

Prints medians over interleaved rounds and the ratios to loky. Absolute figures change with the machine; the ratios are
what counts.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import Executor

import loky

import procjob

PEERS: dict[str, Callable[[int], Executor]] = {
    "procjob": procjob.ProcessPoolExecutor,
    "loky": loky.ProcessPoolExecutor,
    "stdlib": lambda n: concurrent.futures.ProcessPoolExecutor(n, mp_context=multiprocessing.get_context("spawn")),
}


def throughput(pool: Executor, tasks: int) -> float:
    """Tasks a second, submitted one by one and all awaited."""
    began = time.perf_counter()
    for future in [pool.submit(id, None) for _ in range(tasks)]:
        future.result()
    return tasks / (time.perf_counter() - began)


def latency(pool: Executor, trips: int) -> float:
    """Median microseconds from submit to result of one task after the other."""
    times = []
    for _ in range(trips):
        began = time.perf_counter()
        pool.submit(id, None).result()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tasks", type=int, default=5000)
    parser.add_argument("--trips", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    pools = {name: make(options.workers) for name, make in PEERS.items()}
    speeds: dict[str, list[float]] = {name: [] for name in pools}
    delays: dict[str, list[float]] = {name: [] for name in pools}
    for pool in pools.values():
        throughput(pool, 100)
    for _ in range(options.rounds):
        for name, pool in pools.items():
            speeds[name].append(throughput(pool, options.tasks))
            delays[name].append(latency(pool, options.trips))
    for pool in pools.values():
        pool.shutdown()
    print(f"{options.workers} workers   tasks/s   of loky   latency us   of loky")
    for name in pools:
        speed, delay = statistics.median(speeds[name]), statistics.median(delays[name])
        of_speed = statistics.median(a / b for a, b in zip(speeds[name], speeds["loky"], strict=True))
        of_delay = statistics.median(a / b for a, b in zip(delays[name], delays["loky"], strict=True))
        print(f"{name:10s} {speed:9.0f}  {of_speed:8.2f}  {delay:10.0f}  {of_delay:8.2f}")


if __name__ == "__main__":
    main()
