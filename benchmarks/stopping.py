"""Running code is stopped, and workers that died are replaced.

    python -m benchmarks --rows stop-python,stop-numpy,replace-first,replace

`promises.py` has more of this, of procjob alone.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks import peers, tasks
from benchmarks.rows import Row, always, limit

#: Seconds between two deaths, quick or not: a spare has to be able to start meanwhile.
PAUSE = {True: 0.5, False: 0.8}
TRIES = 5


def found(value, pid, ask):
    """The figure, when the next task has ended, and whether the worker is the same."""
    began = time.perf_counter()
    same = ask() == pid
    return {
        "value": value * 1e3,
        "ms to the next result": (value + time.perf_counter() - began) * 1e3,
        "worker": "kept" if same else "lost",
    }


@contextlib.contextmanager
def stop_job(quick, kind):
    import procjob

    with procjob.Backend(tasks.act, workers=1) as backend:

        def measure():
            with tempfile.TemporaryDirectory() as folder:
                job = backend.run((kind, folder))
                pid = tasks.spinning(folder)
                began = time.perf_counter()
                job.cancel()
                job.wait_for_final_state()
                return found(time.perf_counter() - began, pid, lambda: backend.run(("pid", "")).result())

        measure()
        yield measure


@contextlib.contextmanager
def stop_pebble(quick, kind):
    """Its future is cancelled at once; what counts is when the code has stopped, with its process."""
    with peers.started("pebble", 1, method="forkserver") as pool:

        def measure():
            with tempfile.TemporaryDirectory() as folder:
                future = pool.submit(tasks.act, (kind, folder))
                pid = tasks.spinning(folder)
                worker = os.pidfd_open(pid)
                began = time.perf_counter()
                future.cancel()
                select.select([worker], [], [])
                took = time.perf_counter() - began
                os.close(worker)
                return found(took, pid, lambda: pool.submit(tasks.act, ("pid", "")).result())

        measure()
        yield measure


def maker(name):
    """Pools that break are made otherwise here: so that they are there again as fast as possible."""
    return {"loky": peers.reusable_loky, "distributed": partial(peers.distributed, saturation=1.0)}.get(
        name, peers.MAKERS[name]
    )


def meet_anew(name, pool, folder):
    """Run two tasks at the same time, if need be in a new pool, and return the pool in which they ran."""
    for attempt in range(TRIES):
        room = Path(folder, str(attempt))
        room.mkdir()
        try:
            pool.gather([pool.submit(tasks.meet, str(room), number) for number in (0, 1)])
        except Exception:
            if attempt == TRIES - 1:
                raise
            pool = maker(name)(2)
        else:
            return pool
    raise AssertionError


def outcome(handle, patience):
    """What the caller hears of a task whose worker was killed."""
    try:
        getattr(handle, "result", getattr(handle, "get", None))(timeout=patience)
    except TimeoutError:
        return "never ends"
    except Exception as exc:  # noqa: BLE001  (that is the question)
        return "never ends" if "Timeout" in type(exc).__name__ else f"raises {type(exc).__name__}"
    return "has run again"


@contextlib.contextmanager
def replaced(name, quick, *, deaths):
    """Time from the death of a busy worker to the end of two tasks that ran at the same time in two workers."""
    pool = maker(name)(2)
    with tempfile.TemporaryDirectory() as folder:
        pool = meet_anew(name, pool, folder)

    def measure():
        nonlocal pool
        with tempfile.TemporaryDirectory() as folder:
            victim = pool.submit(tasks.spin, "python", folder)
            pid = tasks.spinning(folder)
            old, began = pool, time.perf_counter()
            os.kill(pid, signal.SIGKILL)
            pool = meet_anew(name, pool, folder)
            took = time.perf_counter() - began
        end = time.monotonic() + PAUSE[quick]
        fate = outcome(victim, PAUSE[quick])
        time.sleep(max(end - time.monotonic(), 0))
        return {"value": took * 1e3, "pool": "kept" if pool is old else "made anew", "its task": fate}

    for _ in range(deaths):
        measure()
    yield measure
    pool.close()


def kills(deaths):
    """All that take tasks one by one."""
    return {name: partial(replaced, name, deaths=deaths) for name in peers.MAKERS if name != "joblib"}


ROWS = [
    *(
        Row(
            key=f"stop-{kind}",
            title=f"running {'Python' if kind == 'python' else 'NumPy'} code is stopped",
            unit="ms",
            contenders={"procjob": partial(stop_job, kind=kind), "pebble": partial(stop_pebble, kind=kind)},
            goals=(limit("below 5 ms", 5.0), always("worker kept", "worker", "kept")),
            rounds=(15, 3),
        )
        for kind in ("python", "numpy")
    ),
    Row(
        key="replace-first",
        title="two workers run again after the first death of one in a pool",
        unit="ms",
        contenders=kills(0),
        why="Pools that fork have a copy of the parent within milliseconds; a worker of procjob is a new interpreter, so that the "
        "threads and locks of the parent cannot harm it. Why none stands ready from the beginning: "
        "[decision 0007](../docs/decisions/0007-a-spare-when-it-is-needed.md). In `multiprocessing.Pool` the task of the dead "
        "worker never ends.",
        rounds=(7, 1),
        fresh=True,
        deadline=10,
    ),
    Row(
        key="replace",
        title="the same from the second death on, with procjob's spare",
        unit="ms",
        contenders=kills(1),
        goals=(limit("below 20 ms", 20.0),),
        rounds=(9, 1),
    ),
]
