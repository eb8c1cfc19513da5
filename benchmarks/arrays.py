"""Arrays to and from workers against its peers and a plain copy, side by side in one run.

    python benchmarks/arrays.py [--rounds N] [--largest BYTES]

One worker each; milliseconds, medians over interleaved rounds. The curve: an array as a result (the worker has it already)
and as an argument, through memory and through the pipe, from which `procjob.pool.payload.LEAST` was chosen: the least size
at which memory is never slower. "fresh copy" is what one copy into memory that the process did not have costs.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import mmap
import multiprocessing
from collections.abc import Callable
from functools import partial

import loky
import numpy as np
from timing import medians

import procjob
from procjob.pool import payload

SIZES = [1 << n for n in (16, 17, 18, 19, 20, 22, 24, 27)]


def held(size: int) -> np.ndarray:
    """Return an array that the worker makes once."""
    import sys

    arrays = sys.__dict__.setdefault("held_arrays", {})
    if size not in arrays:
        arrays[size] = np.random.default_rng(0).random(size // 8)
    return arrays[size]


def first(array: np.ndarray) -> float:
    return float(array[0])


def call(pool: concurrent.futures.Executor, fn: Callable[..., object], *args: object) -> object:
    return pool.submit(fn, *args).result()


def fresh_copy(array: np.ndarray) -> np.ndarray:
    copy = np.frombuffer(mmap.mmap(-1, array.nbytes), array.dtype)
    copy[:] = array
    return copy


def through_the_pipe() -> None:
    """Initializer: make this process keep everything in the frames."""
    payload.Buffers.least = payload.LEAST = 1 << 62


class PipeExecutor(procjob.ProcessPoolExecutor):
    """As it would be without memory."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers, initializer=through_the_pipe)

    def submit(self, fn, /, *args, **kwargs):
        least = payload.LEAST
        through_the_pipe()
        try:
            return super().submit(fn, *args, **kwargs)
        finally:
            payload.Buffers.least = payload.LEAST = least


PEERS: dict[str, Callable[[int], concurrent.futures.Executor]] = {
    "procjob": procjob.ProcessPoolExecutor,
    "pipe": PipeExecutor,
    "loky": loky.ProcessPoolExecutor,
    "stdlib": lambda n: concurrent.futures.ProcessPoolExecutor(n, mp_context=multiprocessing.get_context("spawn")),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--largest", type=int, default=SIZES[-1])
    options = parser.parse_args()
    pools = {name: make(1) for name, make in PEERS.items()}
    names = [*pools, "fresh copy"]
    for what in ("result", "argument"):
        print(f"{what:>9} {'bytes':>10}  " + "".join(f"{name:>11}" for name in names) + "   of a fresh copy")
        for size in [size for size in SIZES if size <= options.largest]:
            array = held(size)
            calls = {"result": (held, size), "argument": (first, array)}
            actions = {name: partial(call, pool, *calls[what]) for name, pool in pools.items()}
            actions["fresh copy"] = partial(fresh_copy, array)
            found = medians(actions, options.rounds if size < 1 << 26 else 3, warm=1)
            row = "".join(f"{found[name] * 1e3:11.2f}" for name in names)
            print(f"{'':9} {size:10}  {row}   {found['procjob'] / found['fresh copy']:8.2f}", flush=True)
    for pool in pools.values():
        pool.shutdown()


if __name__ == "__main__":
    main()
