"""Tiny calls travel several at a time. Nobody notices but by the speed: not their neighbours, not who cancels them."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
import time
from collections import Counter
from concurrent.futures import CancelledError, wait
from functools import partial
from pathlib import Path

import pytest

import procjob
from procjob.events import Finished, Usage
from procjob.pool.executor import LARGEST_CHUNK, _Pace
from procjob.pool.scheduler import MOST_AHEAD

DEADLINE = 30.0


@pytest.fixture
def pool():
    """One worker that has shown to be quick, so that it is given calls ahead of their turn."""
    with procjob.ProcessPoolExecutor(1) as pool:
        wait([pool.submit(abs, n) for n in range(200)], DEADLINE)
        assert pool._pool._loop._scheduler.pace * MOST_AHEAD < 1
        yield pool


def write(path: Path, number: int) -> int:
    with path.open("a") as file:
        file.write(f"{number}\n")
    return number


def written(path: Path) -> Counter[int]:
    return Counter(map(int, path.read_text().split())) if path.exists() else Counter()


def hold_until(path: Path) -> None:
    while not path.exists():
        time.sleep(0.001)


def held_ahead(pool) -> int:
    return sum(max(0, len(live.calls) - 1) for live in list(pool._pool._loop._live.values()))


def test_a_quick_worker_really_holds_calls_ahead(pool, tmp_path):
    most = 0
    futures = [pool.submit(write, tmp_path / "log", n) for n in range(2000)]
    while not futures[-1].done():
        most = max(most, held_ahead(pool))
    assert most > 1
    assert written(tmp_path / "log") == Counter(range(2000))


def test_calls_behind_one_that_takes_long_run_elsewhere(tmp_path):
    with procjob.ProcessPoolExecutor(2) as pool:
        wait([pool.submit(abs, n) for n in range(200)], DEADLINE)
        before = [pool.submit(abs, n) for n in range(100)]
        long = pool.submit(hold_until, tmp_path / "go")
        behind = [pool.submit(abs, n) for n in range(100)]
        assert not wait([*before, *behind], DEADLINE).not_done
        assert long.running()
        (tmp_path / "go").touch()
        assert long.result(DEADLINE) is None


def test_a_call_that_kills_its_worker_costs_no_other_call(pool, tmp_path):
    futures = [pool.submit(os._exit, 3) if n == 150 else pool.submit(write, tmp_path / "log", n) for n in range(300)]
    wait(futures, DEADLINE)
    with pytest.raises(procjob.WorkerDiedError, match="exited with code 3"):
        futures.pop(150).result(0)
    numbers = [n for n in range(300) if n != 150]
    assert [future.result(0) for future in futures] == numbers
    assert written(tmp_path / "log") == Counter(numbers)  # each of them once


@pytest.mark.parametrize("between", [0, 1, 15])
def test_the_last_words_of_a_call_that_dies_shortly_after_one_that_prints_are_reported(pool, between):
    def print_on_stderr():
        print("nothing wrong", file=sys.stderr)

    def die():
        os.write(2, b"last words")
        os._exit(3)

    for _ in range(8):
        wait([pool.submit(abs, n) for n in range(200)], DEADLINE)
        *_, death = [pool.submit(fn) for fn in (*[int] * 150, print_on_stderr, *[int] * between, die)]
        with pytest.raises(procjob.WorkerDiedError, match="last words"):
            death.result(DEADLINE)


def test_calls_that_are_cancelled_behind_a_long_one_never_begin(pool, tmp_path):
    futures = [pool.submit(write, tmp_path / "log", n) for n in range(100)]
    hold = pool.submit(hold_until, tmp_path / "go")
    behind = [pool.submit(write, tmp_path / "log", n) for n in range(100, 200)]
    wait(futures, DEADLINE)
    for future in behind[::2]:
        assert future.cancel()
    done, _ = wait(behind[::2], DEADLINE)
    assert len(done) == 50
    assert all(future.cancelled() for future in done)
    (tmp_path / "go").touch()
    assert hold.result(DEADLINE) is None
    assert [future.result(DEADLINE) for future in behind[1::2]] == list(range(101, 200, 2))
    assert written(tmp_path / "log") == Counter([*range(100), *range(101, 200, 2)])


def test_calls_cancelled_at_any_moment_are_begun_or_cancelled_but_every_future_is_final(pool, tmp_path):
    for burst in range(20):
        futures = [pool.submit(write, tmp_path / str(burst), n) for n in range(50)]
        cancelled = {n for n in range(burst % 7, 50, 7) if futures[n].cancel()}
        assert not wait(futures, DEADLINE).not_done
        assert {n for n, future in enumerate(futures) if future.cancelled()} == cancelled
        counts = written(tmp_path / str(burst))
        assert set(counts) | cancelled == set(range(50))
        assert max(counts.values(), default=1) == 1


def test_a_running_call_with_others_behind_it_is_stopped_alone(pool):
    quick = [pool.submit(abs, n) for n in range(100)]
    long = pool.submit(time.sleep, 60.0)
    behind = [pool.submit(abs, n) for n in range(100)]
    (pid,) = pool._pool.worker_pids()
    wait(quick, DEADLINE)
    while not long.running():
        time.sleep(0.001)
    assert long.cancel()
    assert [future.result(DEADLINE) for future in behind] == list(range(100))
    with pytest.raises(CancelledError):
        long.result(DEADLINE)
    assert pool._pool.worker_pids() == [pid]


def test_workers_killed_again_and_again_lose_only_the_calls_that_they_ran(tmp_path):
    with procjob.ProcessPoolExecutor(2) as pool:
        wait([pool.submit(abs, n) for n in range(200)], DEADLINE)
        kills, futures = 0, []
        while kills < 10:
            futures += [pool.submit(write, tmp_path / "log", n) for n in range(len(futures), len(futures) + 200)]
            pids = pool._pool.worker_pids()
            if pids:
                os.kill(pids[0], signal.SIGKILL)
                kills += 1
            wait(futures[-100:], DEADLINE)
        assert not wait(futures, DEADLINE).not_done
    lost = [n for n, future in enumerate(futures) if future.exception(0) is not None]
    assert all(isinstance(futures[n].exception(0), procjob.WorkerDiedError) for n in lost)
    assert len(lost) <= kills
    counts = written(tmp_path / "log")
    assert set(range(len(futures))) - set(counts) <= set(lost)
    assert max(counts.values()) == 1


def test_a_shutdown_that_cancels_in_the_middle_of_a_burst_keeps_the_results_of_all_calls_that_began(tmp_path):
    for burst in range(1, 4):
        log = tmp_path / str(burst)
        with procjob.ProcessPoolExecutor(2) as pool:
            wait([pool.submit(abs, n) for n in range(200)], DEADLINE)
            futures = [pool.submit(write, log, n) for n in range(400)]
            wait(futures[: 50 * burst], DEADLINE)
            pool.shutdown(cancel_futures=True)
        assert not wait(futures, DEADLINE).not_done
        assert written(log) == Counter(n for n, future in enumerate(futures) if not future.cancelled())


# ---------------------------------------------------------------- jobs


@pytest.fixture
def backend():
    """A backend of one worker that has shown to be quick."""

    def run(task):
        return task()

    with procjob.Backend(run, workers=1) as backend:
        wait([backend.run(int).future for _ in range(200)], DEADLINE)
        assert backend.engine._pool._loop._scheduler.pace * MOST_AHEAD < 1
        yield backend


def test_jobs_are_held_ahead_too_and_each_tells_all_that_happens_to_it(backend):
    pool = backend.engine
    jobs = [backend.run(int) for _ in range(1000)]
    most = 0
    while not jobs[-1].in_final_state():
        most = max(most, held_ahead(pool))
    assert most > 1
    for job in jobs:
        assert job.result(DEADLINE) == 0
        assert [status.name for status in job.metrics().timestamps] == [
            "INITIALIZING",
            "VALIDATING",
            "QUEUED",
            "RUNNING",
            "DONE",
        ]
        assert job.metrics().worker_pid == pool.worker_pids()[0]
        assert job.metrics().attempts == 1


def test_what_quick_jobs_print_is_in_their_own_logs_however_quickly_they_follow(backend):
    def speaks(number, out, err):
        def task():
            for stream, fd in ((out, 1), (err, 2)):
                if stream:
                    os.write(fd, f"<{number}>".encode())

        return task

    def said(job, source):
        return "".join(piece.text for piece in job.logs() if piece.source == source)

    jobs = [backend.run(speaks(n, out=n % 3 == 0, err=n % 5 == 0)) for n in range(600)]
    for number, job in enumerate(jobs):
        assert job.result(DEADLINE) is None
        assert said(job, "stdout") == (f"<{number}>" if number % 3 == 0 else "")
        assert said(job, "stderr") == (f"<{number}>" if number % 5 == 0 else "")


def test_what_quick_jobs_print_is_in_their_own_logs_behind_results_that_fill_the_pipe():
    def speaks(number):
        if number % 20 == 19:
            print(number)
        return bytes(8000)

    with procjob.Backend(speaks, workers=1) as backend:
        wait([backend.run(0).future for _ in range(100)], DEADLINE)
        jobs = [backend.run(number) for number in range(1500)]
        for number, job in enumerate(jobs):
            job.result(DEADLINE)
            assert "".join(piece.text for piece in job.logs()) == (f"{number}\n" if number % 20 == 19 else "")


def test_half_a_character_at_the_end_of_a_job_is_not_the_beginning_of_what_the_next_one_prints(backend):
    def half(seconds):
        os.write(1, "é".encode()[:1])
        time.sleep(seconds)

    for seconds in (0.0, 0.1):  # it is read with the end of the job, or before
        job = backend.run(partial(half, seconds))
        job.result(DEADLINE)
        assert "".join(piece.text for piece in job.logs()) == "\ufffd"
    job = backend.run(partial(os.write, 1, "é".encode()))
    job.result(DEADLINE)
    assert [piece.text for piece in job.logs()] == ["é"]


def test_a_job_behind_a_long_one_is_queued_and_says_at_which_place(backend, tmp_path):
    quick = [backend.run(int) for _ in range(100)]
    long = backend.run(partial(hold_until, tmp_path / "go"))
    behind = [backend.run(int) for _ in range(40)]
    wait([job.future for job in quick], DEADLINE)
    while not long.running():
        time.sleep(0.001)
    assert [job.status().name for job in behind] == ["QUEUED"] * 40
    assert [job.queue_position() for job in behind] == list(range(40))
    assert behind[3].cancel()
    behind[3].wait_for_final_state(DEADLINE)  # the long one runs on
    assert long.running()
    (tmp_path / "go").touch()
    assert [job.result(DEADLINE) for job in (*behind[:3], *behind[4:])] == [0] * 39
    assert behind[3].cancelled()
    assert behind[3].metrics().attempts == 0


def test_a_time_limit_of_quick_jobs_runs_from_their_own_beginning(backend):
    jobs = [backend.run(partial(time.sleep, 0.0001), time_limit=0.5) for _ in range(300)]
    slow = backend.run(partial(time.sleep, 60.0), time_limit=0.5)
    jobs += [backend.run(int, time_limit=0.5) for _ in range(300)]
    assert not wait([job.future for job in jobs], DEADLINE).not_done
    assert all(job.done() for job in jobs)
    with pytest.raises(procjob.TimeLimitExceeded):
        slow.result(DEADLINE)


def test_a_job_that_kills_its_worker_costs_no_job_behind_it(backend):
    jobs = [backend.run(partial(os._exit, 3) if n == 150 else int) for n in range(300)]
    with pytest.raises(procjob.WorkerDiedError, match=r"exited with code 3 while it held job"):
        jobs.pop(150).result(DEADLINE)
    assert [job.result(DEADLINE) for job in jobs] == [0] * 299
    assert all(job.metrics().attempts == 1 for job in jobs)


def test_what_many_quick_jobs_need_beside_their_call_never_keeps_a_stop_from_its_worker(backend):
    large = [procjob.shared(bytes([n]) * 300_000) for n in range(40)]
    quick = [backend.run(int) for _ in range(100)]
    long = backend.run(partial(time.sleep, 60.0))
    behind = [backend.run(partial(len, value)) for value in large]
    wait([job.future for job in quick], DEADLINE)
    (pid,) = backend.engine.worker_pids()
    while not long.running():
        time.sleep(0.001)
    assert long.cancel()
    assert [job.result(DEADLINE) for job in behind] == [300_000] * 40
    assert backend.engine.worker_pids() == [pid], "it was interrupted, not killed"


# ---------------------------------------------------------------- chunks of a map


def test_a_map_without_a_chunksize_puts_quick_items_together_and_gives_the_same_results():
    with procjob.ProcessPoolExecutor(2) as pool:
        assert list(pool.map(abs, range(-5000, 5000), chunksize=None)) == [abs(n) for n in range(-5000, 5000)]
        submitted = itertools.count()
        original = pool._pool.submit
        pool._pool.submit = lambda *args, **kwargs: (next(submitted), original(*args, **kwargs))[1]
        assert list(pool.map(abs, range(20_000), chunksize=None)) == list(range(20_000))
        assert next(submitted) < 10_000


def test_a_map_without_a_chunksize_spreads_slow_items_evenly(tmp_path):
    def slow(_):
        time.sleep(0.02)
        return os.getpid()

    with procjob.ProcessPoolExecutor(2) as pool:
        wait([pool.submit(time.sleep, 0.1) for _ in range(2)], DEADLINE)
        pids = Counter(pool.map(slow, range(40), chunksize=None))
    assert min(pids.values()) >= 15


def test_chunks_grow_when_items_have_proved_to_be_quick_and_not_because_they_are_sent_quickly():
    pace = _Pace(1)
    for _ in range(20):
        pace.pickled(pace.size, 1e-6)
    assert pace.size == 1
    for _ in range(20):
        pace.on_event(pace.size, Finished(0.0, 1, Usage(run_seconds=1e-6 * pace.size)))
    assert pace.size == LARGEST_CHUNK
    pace.pickled(1000, 0.1)
    assert pace.size == 10
    pace.on_event(10, Finished(0.0, 1, Usage(run_seconds=10.0)))
    assert pace.size == 1


def test_a_map_without_a_chunksize_raises_what_an_item_raises_and_refuses_what_cannot_be_sent():
    with procjob.ProcessPoolExecutor(2) as pool:
        results = pool.map(divmod, [1] * 2000, [*[1] * 1500, 0, *[1] * 499], chunksize=None)
        with pytest.raises(ZeroDivisionError):
            list(results)
        with pytest.raises(procjob.NotPicklableError):
            list(pool.map(id, [threading.Lock()], chunksize=None))
        assert pool.submit(abs, -1).result(DEADLINE) == 1
