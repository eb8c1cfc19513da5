"""What the workers of all pools run; importable there, so that every pool sends nothing but a name."""

from __future__ import annotations

import os
import time
from functools import lru_cache
from pathlib import Path

#: Seconds after which a task that waits for another one gives up.
PATIENCE = 10.0


def same(value):
    """Do nothing."""
    return value


def each(fn, values):
    """Run many calls as one: for pools that leave it to their users to put them together."""
    return [fn(value) for value in values]


@lru_cache
def held(size):
    """Return an array of so many bytes that the worker makes once."""
    import numpy as np  # where it is used: most tasks need none of it

    return np.random.default_rng(0).random(size // 8)


def first(array):
    return float(array[0])


def first_of_shared(shared, _):
    return float(shared[0])


def work(times):
    """Use the processor for so many times so many seconds, however long that takes."""
    count, seconds = times
    for _ in range(count):
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass


def pid_file(folder):
    return Path(folder, "pid")


def spin(kind, folder):
    """Say which process this is, and run for ever; but only once, for pools that run what has died again."""
    if pid_file(folder).exists():
        return
    import numpy as np

    matrix = np.ones((100, 100))
    begun = Path(folder, "begun")
    begun.write_text(str(os.getpid()))
    begun.rename(pid_file(folder))
    if kind == "python":
        while True:
            pass
    while True:
        matrix = np.tanh(matrix @ matrix)


def act(run_input):
    """Say which process this is, or run for ever."""
    kind, folder = run_input
    return os.getpid() if kind == "pid" else spin(kind, folder)


def spinning(folder):
    """Wait until `spin` has begun, and return the id of its process."""
    end = time.monotonic() + PATIENCE
    while not pid_file(folder).exists():
        if time.monotonic() > end:
            raise TimeoutError("the task has not begun")
        time.sleep(0.001)
    time.sleep(0.05)
    return int(pid_file(folder).read_text())


def meet(folder, number):
    """Return when both numbers, 0 and 1, are here: in two workers, at the same time."""
    Path(folder, str(number)).touch()
    end = time.monotonic() + PATIENCE
    while not Path(folder, str(1 - number)).exists():
        if time.monotonic() > end:
            raise TimeoutError("the other task has not begun")
        time.sleep(0.0002)
    return os.getpid()


def block(fifo):
    """Return when somebody opens the fifo for writing."""
    with Path(fifo).open(encoding="ascii"):
        pass
