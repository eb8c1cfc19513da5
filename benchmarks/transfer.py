"""Arrays as results and as arguments that tasks have in common.

    python -m benchmarks --rows array-result,shared-argument

`arrays.py` has the curve over sizes, from which the threshold of procjob's shared memory was chosen.
"""

from __future__ import annotations

import contextlib
import mmap
import time
from functools import partial

from benchmarks import peers, tasks
from benchmarks.rows import Row, beside, limit
from benchmarks.timing import seconds

RESULT = 16 << 20
SHARED = 100_000_000
TASKS = 100
#: Tasks of pools that copy the whole argument each time.
COPIED = 4


def fresh_copy(array):
    import numpy as np

    copy = np.frombuffer(mmap.mmap(-1, array.nbytes), array.dtype)
    copy[:] = array
    return copy


@contextlib.contextmanager
def plain_copy(quick):
    array = tasks.held(RESULT)
    yield lambda: seconds(lambda: fresh_copy(array)) * 1e3


@contextlib.contextmanager
def result(name, quick):
    """One worker, which has the array already; joblib works in the caller if it has but one."""
    with peers.started(name, 2 if name == "joblib" else 1) as pool:

        def measure():
            return seconds(lambda: pool.gather([pool.submit(tasks.held, RESULT)])) * 1e3

        for _ in range(4):
            measure()
        yield measure


def common():
    import numpy as np

    return np.random.default_rng(1).random(SHARED // 8)


@contextlib.contextmanager
def shared(name, quick):
    """What a task costs of those that get the same array, when the workers have had the first."""
    array = common()
    with peers.started(name) as pool:
        count, first, argument = TASKS, tasks.first, array
        if name == "procjob":
            import procjob

            argument = procjob.shared(array)
        elif name == "distributed":
            argument = pool.native.scatter(array, broadcast=True)
        elif name != "joblib":
            count = COPIED

        def measure(count=count):
            began = time.perf_counter()
            pool.gather([pool.submit(first, argument) for _ in range(count)])
            return (time.perf_counter() - began) / count * 1e3

        measure(4)
        yield measure


@contextlib.contextmanager
def inherited(quick):
    """mpire's shared objects, which workers inherit when they are forked."""
    array = common()
    with contextlib.closing(peers.mpire(2, shared=array)) as pool:

        def measure():
            took = seconds(lambda: pool.gather([pool.submit(tasks.first_of_shared, n) for n in range(TASKS)]))
            return {"value": took / TASKS * 1e3, "note": "has to be there before the workers"}

        measure()
        yield measure


ROWS = [
    Row(
        key="array-result",
        title="an array of 16 MB as a result",
        unit="ms",
        contenders={
            **{name: partial(result, name) for name in peers.MAKERS},
            "plain copy": plain_copy,
        },
        references=frozenset({"plain copy"}),
        goals=(
            limit("below 10 ms", 10.0),
            beside("below 2.5 times a plain copy into fresh memory", "plain copy", 2.5),
        ),
        rounds=(25, 3),
    ),
    Row(
        key="shared-argument",
        title="an argument of 100 MB that 100 tasks share, each after the first",
        unit="ms",
        contenders={
            **{name: partial(shared, name) for name in peers.MAKERS if name != "mpire"},
            "mpire": inherited,
        },
        goals=(limit("below 2 ms", 2.0),),
        why="mpire's workers inherit the array when they are forked: it has to be there before them, and is the same for all tasks.",
        rounds=(7, 1),
        deadline=60,
    ),
]
