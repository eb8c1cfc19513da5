"""Tasks through the executor's face and as jobs.

    python -m benchmarks --rows no-ops,jobs,map,round-trip,work-10ms,work-100ms,eight-workers,queued-jobs,queued-calls

Throughput, latency, useful work, more workers than cores, and the memory of what waits in the parent.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks import peers, tasks
from benchmarks.rows import Row, also, beside, best_of, limit
from benchmarks.timing import seconds

#: Pools that take tasks one by one: all but joblib.
TAKERS = [name for name in peers.MAKERS if name != "joblib"]
#: Of the tasks that the others get: this one takes milliseconds for each.
SHARE = {"distributed": 0.1}


#: Pools that take ten milliseconds for a round trip.
SLOW = ("joblib", "distributed")


def some(name, count):
    return max(int(count * SHARE.get(name, 1)), 1)


def checked(found, expected):
    if found != expected:
        raise ValueError("wrong results")


def one_by_one(pool, count):
    """Submit all, wait for all: tasks a second."""
    found = []
    took = seconds(lambda: found.extend(pool.gather([pool.submit(tasks.same, number) for number in range(count)])))
    checked(found, list(range(count)))
    return count / took


@contextlib.contextmanager
def no_ops(name, quick):
    with peers.started(name) as pool:
        count = some(name, 2_000 if quick else 10_000)
        one_by_one(pool, count // 4)
        yield lambda: one_by_one(pool, count)


@contextlib.contextmanager
def jobs(quick):
    import procjob

    count = 2_000 if quick else 10_000
    with procjob.Backend(tasks.same, workers=2) as backend:
        pool = peers.Pool(lambda _, value: backend.run(value), peers.results, None, None)
        one_by_one(pool, count // 4)
        yield lambda: one_by_one(pool, count)


@contextlib.contextmanager
def mapped(name, quick):
    with peers.started(name) as pool:
        items = range(100_000)

        def measure():
            found = []
            took = seconds(lambda: found.extend(pool.map(tasks.same, items)))
            checked(found, list(items))
            return {"value": len(items) / took, "note": pool.note}

        pool.map(tasks.same, items[:20_000])
        yield measure


@contextlib.contextmanager
def round_trip(name, quick):
    with peers.started(name) as pool:
        trips = 10 if name in SLOW else 100 if quick else 500

        def measure():
            times = [seconds(lambda: pool.gather([pool.submit(tasks.same, 1)])) for _ in range(trips)]
            return statistics.median(times) * 1e6

        measure()
        yield measure


@contextlib.contextmanager
def work(name, quick, duration, *, undivided=False):
    """Share of the two cores that went into the tasks; undivided: each core has all its work in one task."""
    with peers.started(name) as pool:
        count = 2 * int((0.3 if quick else 2) / duration)
        together = count // 2 if undivided else 1

        def measure():
            work = (together, duration)
            took = seconds(lambda: pool.gather([pool.submit(tasks.work, work) for _ in range(count // together)]))
            return count * duration / (2 * took)

        pool.gather([pool.submit(tasks.work, (1, duration)) for _ in range(4)])
        yield measure


def useful_work(duration):
    """Of each pool, and what the machine gives."""
    undivided = partial(work, "stdlib", duration=duration, undivided=True)
    return {**each(work, peers.MAKERS, duration=duration), "undivided": undivided}


@contextlib.contextmanager
def eight(name, quick):
    """Throughput of eight workers, and by that of two."""
    with peers.started(name, 2) as two, peers.started(name, 8) as many:
        count = some(name, 1_000 if quick else 10_000)

        def measure():
            few, lots = one_by_one(two, count), one_by_one(many, count)
            return {"value": lots, "of its 2 workers": lots / few}

        measure()
        yield measure


def resident():
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def grown_by(submit, count):
    """Bytes by which this process grows for each task that waits in it."""
    gc.collect()
    before = resident()
    waiting = [submit(tasks.same, number) for number in range(count)]
    time.sleep(0.5)  # what is handed on by threads is on its way
    gc.collect()
    return (resident() - before) / len(waiting)


@contextlib.contextmanager
def queued(quick, start):
    """All workers wait for a fifo that nobody opens; nobody waits for the tasks either."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        fifo = Path(folder, "fifo")
        os.mkfifo(fifo)
        submit, share = start(stack)
        submit(tasks.same, 0)
        blocked = [submit(tasks.block, str(fifo)) for _ in range(2)]
        time.sleep(0.5)
        yield lambda: grown_by(submit, int(share * (10_000 if quick else 100_000)))
        del blocked
        Path(fifo).unlink()
        os._exit(0)


def queued_calls(name, quick):
    def start(stack):
        return stack.enter_context(peers.started(name)).submit, SHARE.get(name, 1)

    return queued(quick, start)


def queued_jobs(quick):
    """Jobs of a simulator that gets a small number."""

    def start(stack):
        import procjob

        backend = stack.enter_context(procjob.Backend(simulate, workers=2))
        for job in [backend.run(number) for number in range(64)]:
            job.result()
        return lambda _, value: backend.run(value), 1

    return queued(quick, start)


def simulate(run_input):
    """Do nothing with a number, wait at a fifo."""
    return tasks.block(run_input) if isinstance(run_input, str) else run_input


def each(contender, names, **options):
    return {name: partial(contender, name, **options) for name in names}


ROWS = [
    Row(
        key="no-ops",
        title="tasks that do nothing, submitted one by one",
        unit="tasks/s",
        more_is_better=True,
        contenders=each(no_ops, TAKERS),
        goals=(best_of("above the best peer", [name for name in TAKERS if name != "procjob"]),),
        why="The parent is the limit: 21 to 35 us of CPU time a task, the less the quieter the machine. Of the 35, pickling takes 3, "
        "the future and the call 3, the scheduler 4, frames and results 4, and system calls and two threads that share one interpreter "
        "the rest. "
        "`multiprocessing.Pool` puts calls into a pipe and knows no more of them: none can be cancelled or seen to run, and "
        "the call of a worker that dies never ends.",
    ),
    Row(
        key="jobs",
        title="the same through `Backend.run`, a full job each",
        unit="tasks/s",
        more_is_better=True,
        contenders={"procjob": jobs, "procjob's executor": partial(no_ops, "procjob")},
        references=frozenset({"procjob's executor"}),
        goals=(beside("at least 0.5 of procjob's executor", "procjob's executor", 2.0),),
    ),
    Row(
        key="map",
        title="`map` of 100,000 calls that do nothing",
        unit="tasks/s",
        more_is_better=True,
        contenders=each(mapped, peers.MAKERS),
        goals=(
            beside("above joblib", "joblib"),
            beside("at least 1/1.5 of loky with `chunksize=100`", "loky", 1.5),
        ),
        why="`multiprocessing.Pool` makes eight chunks of 12,500 items of them, each of which succeeds or fails as a whole.",
        rounds=(9, 1),
    ),
    Row(
        key="round-trip",
        title="one task, there and back",
        unit="us",
        contenders=each(round_trip, peers.MAKERS),
        goals=(best_of("below every peer", [name for name in peers.MAKERS if name != "procjob"]),),
        why="A trip takes 71 us of CPU time in the parent (20 in the caller, 51 in the thread that serves the pool) and 42 in the "
        "worker, all of it Python: the thread asks `select` twice and keeps the state of each worker, the worker checks for "
        "interrupts, output and its own cost. The rest are four wake-ups, dear where one has to reach a sleeping core: all on one core "
        "(`taskset -c 1`), a trip takes 84 us and that of pebble 88; on two, in the minutes after, 145 to 165 and 135 to 155. Which "
        "thread wakes where is the kernel's choice. `multiprocessing.Pool` has two more threads in the way, and keeps no state of its "
        "workers.",
    ),
    Row(
        key="work-10ms",
        title="useful work of tasks of 10 ms",
        unit="of 2 cores",
        more_is_better=True,
        contenders=useful_work(0.01),
        references=frozenset({"undivided"}),
        goals=(limit("at least 0.97 of 2 cores", 0.97),),
        why='"Undivided" is all work in two tasks, one for each core: what the machine gives, besides the kernel, other processes '
        "and the host. Between two tasks a worker waits for the parent: tasks of this length are not handed over ahead, lest "
        "one waits for a particular worker while another has nothing to do.",
        rounds=(7, 1),
    ),
    Row(
        key="work-100ms",
        title="useful work of tasks of 100 ms",
        unit="of 2 cores",
        more_is_better=True,
        contenders=useful_work(0.1),
        references=frozenset({"undivided"}),
        goals=(limit("at least 0.99 of 2 cores", 0.99),),
        why='"Undivided" is what the machine gives, as above.',
        rounds=(5, 1),
    ),
    Row(
        key="queued-jobs",
        title="memory of the parent for 100,000 small jobs that wait, through `Backend.run`",
        unit="bytes a job",
        contenders={"procjob": queued_jobs},
        goals=(limit("below 1.5 KB a job", 1536),),
        why="About 550 bytes are the job with its history and the backend's reference to it, 150 its future, 450 the call, its place in "
        "the queue and what the scheduler knows of it, 300 the id, texts and the pickled call.",
        rounds=(3, 1),
        fresh=True,
        deadline=120,
    ),
    Row(
        key="queued-calls",
        title="memory of the parent for 100,000 small calls that wait, through the executor",
        unit="bytes a call",
        contenders=each(queued_calls, TAKERS),
        goals=(limit("below 1.5 KB a call", 1536),),
        rounds=(3, 1),
        fresh=True,
        deadline=120,
    ),
    Row(
        key="eight-workers",
        title="8 workers on 2 cores, tasks that do nothing",
        unit="tasks/s",
        more_is_better=True,
        contenders=each(eight, TAKERS),
        goals=(also("at least 0.8 of the same with 2 workers", "of its 2 workers", 0.8),),
        rounds=(7, 1),
        deadline=60,
    ),
]
