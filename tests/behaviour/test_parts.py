"""A job of several tasks is one job: one status, one result in order, one end."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import replace

import pytest

import procjob
from procjob.engine import ExecutorEngine, InlineEngine, ProcessEngine, Task
from procjob.events import Finished, Started
from procjob.parts import Parts
from procjob.pool.actions import Limits
from procjob.status import JobStatus

DEADLINE = 30.0


def job_of(engine, calls, join=list, jobs=None):
    tasks = [Task(fn, tuple(args)) for fn, *args in calls]
    job = procjob.Job(None, f"parts-{time.monotonic_ns()}", task=Parts(tasks, join), engine=engine)
    if jobs is not None:
        jobs.append(job)
    job.submit()
    return job


@pytest.fixture
def engine():
    engine = ProcessEngine(2)
    yield engine
    engine.close(cancel=True)


def naps(seconds):
    procjob.report_progress(1, 2)
    time.sleep(seconds)
    return seconds


def fails(text):
    raise ValueError(text)


def test_results_are_joined_in_the_order_of_the_parts(engine):
    job = job_of(engine, [(naps, 0.2), (naps, 0.0), (naps, 0.1)], join=tuple)
    assert job.result(DEADLINE) == (0.2, 0.0, 0.1)
    assert job.done()
    assert job.metrics().attempts == 1
    assert job.metrics().run_seconds >= 0.2


def test_it_is_running_from_its_first_part_to_its_last(engine):
    seen = []
    job = job_of(engine, [(naps, 0.05)] * 6)
    job.wait_for_final_state(DEADLINE, wait=None, callback=lambda _, status, __: seen.append(status.name))
    assert [name for name in seen if name != "QUEUED"] == ["RUNNING"]
    assert job.done()


def test_a_failing_part_is_the_jobs_error_and_stops_the_others(engine):
    job = job_of(engine, [(naps, 600), (fails, "part"), (naps, 600), (naps, 600)])
    with pytest.raises(ValueError, match="part"):
        job.result(DEADLINE)
    assert job.errored()
    assert engine.submit(Task(abs, (-1,)), lambda _: None).result(DEADLINE) == 1, "the workers are free again"


def test_a_failing_part_stops_the_others_while_a_callback_waits_for_the_job(engine):
    other = job_of(engine, [(abs, -1)])
    other.result(DEADLINE)
    job = job_of(engine, [(naps, 600), (naps, 0.2), (fails, "part")])
    waited = []
    other.add_done_callback(lambda _: waited.append(job.wait_for_final_state(DEADLINE)))
    with pytest.raises(ValueError, match="part"):
        job.result(DEADLINE / 2)
    engine.close(cancel=True)
    assert waited == [None]


class PickledAfter:
    """Takes until a file is there, and a moment longer, to be pickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        deadline = time.monotonic() + DEADLINE
        while not self.path.exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.3)  # the failure is on its way
        return float, (600,)


def touches_and_fails(path):
    path.touch()
    raise ValueError("part")


def test_a_part_that_fails_before_the_next_is_accepted_stops_that_one_too(engine, tmp_path):
    flag = tmp_path / "failing"
    job = job_of(engine, [(touches_and_fails, flag), (naps, PickledAfter(flag))])
    with pytest.raises(ValueError, match="part"):
        job.result(DEADLINE)


def test_a_part_whose_worker_dies_is_the_jobs_error(engine):
    job = job_of(engine, [(abs, -1), (os._exit, 3), (abs, -2)])
    with pytest.raises(procjob.WorkerDiedError):
        job.result(DEADLINE)


def test_cancel_stops_the_running_and_the_queued_parts(engine):
    job = job_of(engine, [(naps, 600)] * 5)
    running = threading.Event()
    job.on_progress(lambda _: running.set())
    assert job.progress() or running.wait(DEADLINE)
    assert job.cancel() is True
    job.wait_for_final_state(DEADLINE)
    assert job.cancelled()
    assert engine.submit(Task(abs, (-1,)), lambda _: None).result(DEADLINE) == 1


def test_a_job_whose_parts_all_wait_is_queued_and_cancelled_at_once(engine):
    block = job_of(engine, [(naps, 600)] * 2)
    both = threading.Event()
    block.on_progress(lambda progress: both.set() if progress.done == 1.0 else None)  # half of each part
    assert (block.progress() and block.progress().done == 1.0) or both.wait(DEADLINE)
    job = job_of(engine, [(naps, 600)] * 3)
    assert job.status() is procjob.JobStatus.QUEUED
    assert job.queue_position() == 0
    job.cancel()
    job.wait_for_final_state(DEADLINE)
    assert job.cancelled()
    assert block.running()
    block.cancel()


def test_a_job_of_which_nothing_executes_is_cancelled_at_once_however_busy_the_pool_is():
    engine, busy, released = ProcessEngine(1), threading.Event(), threading.Event()

    def keep_the_pool_busy(event):  # sinks are called in its thread
        if isinstance(event, Started):
            busy.set()
            released.wait(DEADLINE)

    try:
        block = engine.submit(Task(naps, (600,)), keep_the_pool_busy)
        assert busy.wait(DEADLINE)
        job, told = job_of(engine, [(naps, 600)] * 3), threading.Event()
        job.add_done_callback(lambda _: told.set())
        assert job.cancel() is True
        assert job.cancelled()
        with pytest.raises(procjob.JobCancelledError):
            job.result(DEADLINE)
        released.set()
        assert told.wait(DEADLINE)
        assert block.running()
    finally:
        released.set()
        engine.close(cancel=True)


def test_progress_is_that_of_all_parts(engine):
    reports = []
    job = job_of(engine, [(naps, 0.05)] * 4)
    job.on_progress(lambda progress: reports.append(progress.done))
    job.result(DEADLINE)
    engine.close()
    assert reports == sorted(reports)
    assert job.progress().total == 4


def test_progress_of_many_parts_does_not_keep_the_pool_busy(engine):
    """Adding up that of all parts whenever one ends takes a minute."""
    job = job_of(engine, [(abs, -1)] * 20_000, join=sum)
    assert job.result(DEADLINE) == 20_000
    assert job.progress().done == 20_000


def test_it_has_run_from_the_beginning_of_its_first_part_to_the_end_of_its_last(engine):
    job = job_of(engine, [(naps, 0.05)] * 8)
    seen = []
    while not job.in_final_state():
        seen.append(job.metrics().run_seconds or 0.0)
        time.sleep(0.01)
    assert seen == sorted(seen)
    assert job.metrics().run_seconds >= 4 * 0.05


class HearsLate(InlineEngine):
    """Tells of a begin when the task has ended, as the pool may where its workers keep all cores busy."""

    def submit(self, task, sink):
        early = []

        def late(event):
            if isinstance(event, Started):
                early.append(event)
            elif isinstance(event, Finished):
                sink(replace(early.pop(), time=event.time))
                sink(event)
            else:
                sink(event)

        return super().submit(task, late)


def test_it_has_run_no_shorter_than_its_parts_even_if_their_begin_was_heard_late():
    with contextlib.closing(HearsLate()) as engine:
        job = job_of(engine, [(naps, 0.1), (naps, 0.2)])
        assert job.metrics().run_seconds >= 0.3


def test_what_was_stopped_is_not_reported_as_done_nor_as_done_in_no_time(engine):
    both = threading.Event()
    running = job_of(engine, [(naps, 600)] * 500)  # to cancel those that wait takes longer than to stop one that runs
    running.on_progress(lambda progress: both.set() if progress.done == 1.0 else None)  # half of two parts
    assert (running.progress() and running.progress().done == 1.0) or both.wait(DEADLINE)
    queued = job_of(engine, [(naps, 600)] * 2)
    queued.cancel()
    queued.wait_for_final_state(DEADLINE)
    assert queued.progress() is None
    assert queued.metrics().attempts == 0
    assert queued.metrics().run_seconds is None
    running.cancel()
    running.wait_for_final_state(DEADLINE)
    assert running.progress().done == 1.0
    assert running.metrics().run_seconds > 0
    assert running.metrics().cpu_seconds is None


def test_a_part_that_fails_is_not_reported_as_done(engine):
    job = job_of(engine, [(fails, "part"), (naps, 0)])
    job.wait_for_final_state(DEADLINE)
    assert job.progress() is None or job.progress().done <= 1


def test_a_part_that_cannot_be_pickled_leaves_no_job_behind(engine):
    with pytest.raises(procjob.NotPicklableError):
        job_of(engine, [(naps, 600), (naps, threading.Lock())])
    assert engine.submit(Task(abs, (-1,)), lambda _: None).result(DEADLINE) == 1


def test_an_error_in_joining_is_the_jobs_error(engine):
    job = job_of(engine, [(abs, -1), (abs, -2)], join=lambda results: results[7])
    with pytest.raises(IndexError):
        job.result(DEADLINE)


def test_a_job_whose_joining_is_struck_by_a_ctrl_c_is_cancelled():
    def join(_):
        raise KeyboardInterrupt

    jobs = []
    with pytest.raises(KeyboardInterrupt):
        job_of(InlineEngine(), [(abs, -1), (abs, -2)], join, jobs)
    jobs[0].wait_for_final_state(DEADLINE)
    assert jobs[0].cancelled()


def test_parts_run_on_a_foreign_executor_too():
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        job = job_of(ExecutorEngine(pool), [(abs, -n) for n in range(10)], join=sum)
        assert job.result(DEADLINE) == 45


def test_cancels_from_many_threads_while_parts_end_deadlock_nothing(engine):
    """Parts end in the pool's thread while others cancel them: both take the locks of the futures."""
    for _ in range(30):
        job = job_of(engine, [(abs, -1), (fails, "x"), (abs, -2), (naps, 0.0)])
        threads = [threading.Thread(target=job.cancel) for _ in range(4)]
        for thread in threads:
            thread.start()
        job.wait_for_final_state(DEADLINE)
        for thread in threads:
            thread.join(DEADLINE)
            assert not thread.is_alive()


def test_asking_for_the_results_so_far_while_parts_end_deadlocks_nothing(engine):
    """Parts end in the pool's thread, which has the lock of the part's future then; who asks takes these locks, too."""
    for _ in range(10):
        job = job_of(engine, [(abs, -1)] * 300, join=sum)
        while not job.in_final_state():
            assert set(job.future.part_results().values()) <= {1}
        assert job.result() == 300


class Squares:
    """A simulator that can be divided: squares of a list of numbers, with the pid that made each.

    With a folder to meet in, each part waits there until as many as have to come execute at the same time.
    """

    def __call__(self, numbers, *, offset=0, meet=None):
        procjob.report_progress(1, 1)
        if meet is not None:
            folder, count = meet
            (folder / str(numbers[0])).touch()
            end = time.monotonic() + DEADLINE
            while len(list(folder.iterdir())) < count and time.monotonic() < end:
                time.sleep(0.005)
        return [(n * n + offset, os.getpid()) for n in numbers]

    def divide(self, numbers, options, pieces):
        size = -(-len(numbers) // pieces)
        runs = [(numbers[at : at + size], options) for at in range(0, len(numbers), size)]
        return runs, lambda results: [item for result in results for item in result]


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_a_backend_divides_a_run_of_a_divisible_simulator_among_its_workers(workers, tmp_path):
    with procjob.Backend(Squares(), workers=workers) as backend:
        result = backend.run(list(range(7)), offset=1, meet=(tmp_path, max(1, workers))).result(DEADLINE)
    assert [square for square, _ in result] == [n * n + 1 for n in range(7)]
    assert len({pid for _, pid in result}) == max(1, workers)


@pytest.mark.parametrize(("workers", "parts"), [(2, 6), (1, 1)])
def test_an_input_that_the_parts_share_travels_to_each_worker_once(workers, parts):
    class Table:
        def __setstate__(self, state):
            os.environ["PROCJOB_TEST_ARRIVALS"] = str(int(os.environ.get("PROCJOB_TEST_ARRIVALS", "0")) + 1)

        def __getstate__(self):
            return {"rows": 3}

    class Lookup:
        def __call__(self, table):
            return int(os.environ["PROCJOB_TEST_ARRIVALS"])

        def divide(self, table, options, pieces):
            return [(table, options)] * parts, list

    with procjob.Backend(Lookup(), workers=workers) as backend:
        arrivals = [backend.run(Table()).result(DEADLINE) for _ in range(3)]
    assert arrivals == ([[1] * parts] if parts > 1 else [1]) * 3


def test_a_run_that_is_divided_into_nothing_is_refused():
    class Divided:
        def __call__(self, numbers): ...

        def divide(self, numbers, options, pieces):
            return [], sum

    with (
        procjob.Backend(Divided(), workers=0) as backend,
        pytest.raises(ValueError, match=r"Divided.*at least one run, not \[\]"),
    ):
        backend.run([])


def test_the_times_of_a_divided_job_are_in_the_order_of_its_states(engine):
    for _ in range(20):
        job = job_of(engine, [(abs, -1), (abs, -2)])
        job.result(DEADLINE)
        times = job.metrics().timestamps
        assert list(times.values()) == sorted(times.values())
        assert job.metrics().queue_seconds >= 0


def test_the_time_limit_is_that_of_all_parts_together(engine):
    limits = Limits(time_limit=1.0)
    tasks = [Task(naps, (0.4,), limits=limits) for _ in range(12)]  # 2.4 s on two workers, none of them for long
    job = procjob.Job(None, "limited", task=Parts(tasks, list), engine=engine)
    job.submit()
    with pytest.raises(procjob.TimeLimitExceeded, match="time_limit of 1 s"):
        job.result(DEADLINE)
    assert job.metrics().timestamps[JobStatus.ERROR] - job.metrics().timestamps[JobStatus.RUNNING] < 2.2
