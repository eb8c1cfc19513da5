"""The stop ladder with real workers: off the queue, the interrupt, the kill; neighbours never notice."""

from __future__ import annotations

import concurrent.futures
import contextlib
import ctypes
import hashlib
import logging
import os
import sys
import threading
import time

import cloudpickle
import numpy as np
import pytest

import procjob

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers need not import tests

DEADLINE = 20.0


def started(job: procjob.Job) -> procjob.Job:
    """Return the job once a worker has begun it."""
    running = threading.Event()
    job.wait_for_final_state(timeout=DEADLINE, wait=None, callback=lambda _, status, __: _stop_at(status, running))
    return job


def _stop_at(status, running):
    if status is procjob.JobStatus.RUNNING:
        running.set()
        raise _Running


class _Running(Exception):
    pass


def begin(backend: procjob.Backend, *args, **options) -> procjob.Job:
    job = backend.run(*args, **options)
    with pytest.raises(_Running):
        started(job)
    return job


def wait_for_progress(job: procjob.Job) -> None:
    """Return once the task has said that it is about to do what no interrupt stops, and has had time to do it."""
    reported = threading.Event()
    job.on_progress(lambda _: reported.set())
    assert job.progress() is not None or reported.wait(DEADLINE)
    time.sleep(0.1)  # C code cannot say that it has been entered


def pid_of_idle_worker(backend: procjob.Backend) -> int:
    return backend.run("pid").result(DEADLINE)


def act(what):
    """One simulator for every test here: what it does depends on its input."""
    if what == "pid":
        return os.getpid()
    if what == "python":
        while True:
            pass
    if what == "sleep":
        time.sleep(600)
    if what == "numpy":
        matrix = np.ones((200, 200))
        while True:
            matrix = np.tanh(matrix @ matrix)
    if what == "c":
        procjob.report_progress(1)
        hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 2**31 - 1)
    if what == "swallow":
        while True:
            try:
                while True:
                    procjob.report_progress(1)
                    time.sleep(0.01)
            except BaseException:
                pass
    if what == "nap":
        time.sleep(0.4)
    return what


@pytest.mark.parametrize("what", ["python", "sleep", "numpy"])
def test_cancel_of_running_code_frees_the_same_worker(what):
    with procjob.Backend(act, workers=1, grace=60) as backend:  # an interrupt in time, or none
        pid = pid_of_idle_worker(backend)
        job = begin(backend, what)
        assert job.cancel() is True
        job.wait_for_final_state(timeout=DEADLINE)
        assert job.status() is procjob.JobStatus.CANCELLED
        assert pid_of_idle_worker(backend) == pid


@pytest.mark.parametrize("what", ["c", "swallow"])
def test_cancel_of_what_no_interrupt_stops_kills_only_its_worker(what):
    with procjob.Backend(act, workers=2, grace=0.3) as backend:
        neighbour = begin(backend, "nap")
        job = backend.run(what)
        others = [backend.run(n) for n in range(20)]
        wait_for_progress(job)
        began = time.monotonic()
        assert job.cancel() is True
        assert job.running(), "the worker has not let go yet"
        job.wait_for_final_state(timeout=DEADLINE)
        assert 0.25 < time.monotonic() - began < 2.0
        assert job.cancelled()
        assert neighbour.result(DEADLINE) == "nap"
        assert [other.result(DEADLINE) for other in others] == list(range(20))


def test_two_of_six_jobs_run_and_the_others_can_all_be_cancelled_at_once():
    with procjob.Backend(act, workers=2) as backend:
        pid_of_idle_worker(backend)
        jobs = [begin(backend, "sleep"), begin(backend, "sleep"), *(backend.run("nap") for _ in range(4))]
        assert [job.running() for job in jobs] == [True] * 2 + [False] * 4
        assert [job.queue_position() for job in jobs] == [None, None, 0, 1, 2, 3]
        woken = []
        waiters = [
            threading.Thread(target=lambda job=job: (job.wait_for_final_state(DEADLINE), woken.append(job)))
            for job in jobs[2:]
        ]
        for waiter in waiters:
            waiter.start()
        assert [job.cancel() for job in jobs[2:]] == [True] * 4
        assert all(job.cancelled() for job in jobs[2:])
        for waiter in waiters:
            waiter.join(DEADLINE)
        assert len(woken) == 4
        assert all(job.running() for job in jobs[:2]), "the waiters were woken long before the running jobs ended"
        assert [job.cancel() for job in jobs[:2]] == [True] * 2


def test_a_cancelled_job_raises_and_cannot_be_cancelled_again():
    with procjob.Backend(act, workers=1) as backend:
        job = begin(backend, "sleep")
        job.cancel()
        with pytest.raises(procjob.JobCancelledError) as caught:
            job.result(DEADLINE)
        assert isinstance(caught.value, concurrent.futures.CancelledError)
        assert job.cancel() is False
        done = backend.run("x")
        assert done.result(DEADLINE) == "x"
        assert done.cancel() is False


def test_time_limit_is_an_error_of_its_own_and_keeps_the_worker():
    with procjob.Backend(act, workers=1) as backend:
        pid = pid_of_idle_worker(backend)
        job = backend.run("python", time_limit=0.2)
        with pytest.raises(procjob.TimeLimitExceeded, match=r"time_limit of 0\.2 s"):
            job.result(DEADLINE)
        assert job.status() is procjob.JobStatus.ERROR
        assert 0.15 < job.metrics().run_seconds < 1.0
        assert pid_of_idle_worker(backend) == pid


def test_time_limit_ends_code_that_never_returns_to_the_interpreter():
    with procjob.Backend(act, workers=1) as backend, pytest.raises(procjob.TimeLimitExceeded):
        backend.run("c", time_limit=0.2, grace=0.1).result(DEADLINE)


def test_a_queued_job_does_not_use_up_its_time_limit():
    with procjob.Backend(act, workers=1) as backend:
        begin(backend, "nap")
        assert backend.run("x", time_limit=0.2).result(DEADLINE) == "x"


def test_memory_limit_stops_the_job_that_grows():
    def grow(mebibytes):
        kept = []
        while True:
            kept.append(np.ones(mebibytes * 2**17))
            time.sleep(0.02)

    with procjob.Backend(grow, workers=1) as backend:
        job = backend.run(8, memory_limit=64 * 2**20)
        with pytest.raises(procjob.MemoryLimitExceeded, match="64 MiB") as caught:
            job.result(DEADLINE)
        assert isinstance(caught.value, MemoryError)


def test_memory_limit_counts_the_processes_that_a_task_starts():
    def grow_elsewhere(mebibytes):
        import subprocess
        import sys

        subprocess.run([sys.executable, "-c", f"x = bytearray({mebibytes} << 20); input()"], stdin=-1, check=False)
        time.sleep(600)

    with procjob.Backend(grow_elsewhere, workers=1) as backend:
        job = backend.run(256, memory_limit=64 * 2**20)
        with pytest.raises(procjob.MemoryLimitExceeded):
            job.result(DEADLINE)


@pytest.mark.parametrize("stop", ["interrupt", "kill"])
def test_a_stop_reaches_the_processes_that_the_task_has_started(stop):
    def start_child(stop):
        import subprocess
        import sys

        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        procjob.report_progress(child.pid)
        time.sleep(600) if stop == "interrupt" else hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 2**31 - 1)

    import psutil

    with procjob.Backend(start_child, workers=1, grace=DEADLINE if stop == "interrupt" else 0.1) as backend:
        job = backend.run(stop)
        wait_for_progress(job)
        child = psutil.Process(int(job.progress().done))
        job.cancel()
        job.wait_for_final_state(DEADLINE)
        assert psutil.wait_procs([child], timeout=DEADLINE)[1] == []


def test_a_stop_reaches_the_threads_that_the_task_has_started():
    def work(step):
        while True:
            step += 1
            procjob.report_progress(step)
            time.sleep(0.001)

    def simulate(daemon):
        thread = threading.Thread(target=work, args=(0,), daemon=daemon)
        thread.start()
        thread.join()

    with procjob.Backend(lambda daemon: time.sleep(0.1) if daemon is None else simulate(daemon), workers=1) as backend:
        for daemon in (True, False):
            job = backend.run(daemon)
            wait_for_progress(job)
            assert job.cancel()
            neighbour = backend.run(None)
            assert neighbour.result(DEADLINE) is None
            assert job.cancelled()
            assert neighbour.progress() is None, "it is that of the job that was stopped"


def test_a_stop_keeps_the_worker_of_a_task_whose_threads_have_ended_or_were_there_before():
    def simulate(begin):
        if begin:
            threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
        else:
            thread = threading.Thread(target=int)
            thread.start()
            thread.join()
            procjob.report_progress(1)
            time.sleep(600)
        return os.getpid()

    with procjob.Backend(simulate, workers=1) as backend:
        pid = backend.run(True).result(DEADLINE)
        job = backend.run(False)
        wait_for_progress(job)
        assert job.cancel()
        assert backend.run(True).result(DEADLINE) == pid


def test_an_interrupt_never_hits_the_next_task():
    """Cancel as tasks end, many times over: a late interrupt must find its own task or nothing."""

    def tiny(n):
        return sum(range(n))

    with procjob.Backend(tiny, workers=2) as backend:
        for round_ in range(150):
            first, second = backend.run(2000 + 10 * round_), backend.run(5)
            first.cancel()
            third = backend.run(6)
            assert (second.result(DEADLINE), third.result(DEADLINE)) == (10, 15)
            first.wait_for_final_state(DEADLINE)
            assert first.status() in procjob.JOB_FINAL_STATES
        assert len(backend.engine.worker_pids()) <= 3


def test_stop_requested_tells_a_task_that_caught_its_interrupt():
    def shielded(_):
        try:
            procjob.report_progress(1)
            time.sleep(600)
        finally:
            procjob.report_progress(2 if procjob.stop_requested() else 3)

    with procjob.Backend(shielded, workers=1) as backend:
        job = backend.run(0)
        wait_for_progress(job)
        job.cancel()
        job.wait_for_final_state(DEADLINE)
        assert job.cancelled()
        assert job.progress().done == 2


def test_an_interrupt_that_c_code_swallows_is_followed_by_another_and_costs_no_worker():
    class Waits:
        def __del__(self):  # what it raises, the interpreter ignores
            procjob.report_progress(1)
            while not procjob.stop_requested():
                time.sleep(0.001)

    def loses_the_first(_):
        Waits()
        time.sleep(600)

    with procjob.Backend(lambda task: task(None) if callable(task) else os.getpid(), workers=1, grace=60) as backend:
        pid = backend.run(None).result(DEADLINE)
        job = begin(backend, loses_the_first)
        wait_for_progress(job)
        assert job.cancel()
        job.wait_for_final_state(DEADLINE)
        assert job.cancelled()
        assert backend.run(None).result(DEADLINE) == pid


def test_a_task_that_tidies_up_after_its_interrupt_is_left_to_it(tmp_path):
    def tidies_up(path):
        procjob.report_progress(1)
        try:
            time.sleep(600)
        finally:
            for line in range(30):
                time.sleep(0.01)
                with contextlib.suppress(ZeroDivisionError), path.open("a") as file:
                    file.write(f"{line}\n")
                    raise ZeroDivisionError

    with procjob.Backend(tidies_up, workers=1, grace=60) as backend:
        job = begin(backend, tmp_path / "saved")
        wait_for_progress(job)
        assert job.cancel()
        job.wait_for_final_state(DEADLINE)
    assert (tmp_path / "saved").read_text().split() == [str(n) for n in range(30)]
    assert job.cancelled()


def test_a_generator_that_tidies_up_after_the_interrupt_of_who_used_it_is_left_to_it(tmp_path):
    def rows(path):
        try:
            procjob.report_progress(1)
            while True:
                yield 1
        finally:
            time.sleep(0.2)
            path.write_text("tidy")

    def reads(path):
        for _ in rows(path):
            time.sleep(0.01)

    with procjob.Backend(reads, workers=1, grace=60) as backend:
        job = begin(backend, tmp_path / "saved")
        wait_for_progress(job)
        assert job.cancel()
        job.wait_for_final_state(DEADLINE)
    assert (tmp_path / "saved").read_text() == "tidy"


def test_a_task_that_has_ended_in_time_is_not_stopped_because_the_parent_reads_that_late():
    def says_much(_):
        time.sleep(0.05)
        for _ in range(70):  # more than one read takes, less than the pipe
            logging.getLogger("much").warning("x" * 1000)

    usleep = ctypes.PyDLL(None).usleep  # keeps the interpreter of the parent
    with procjob.Backend(says_much, workers=1, time_limit=0.3) as backend:
        for _ in range(3):
            job = begin(backend, 0)
            usleep(500_000)
            assert job.result(DEADLINE) is None


def test_future_cancel_of_the_executor_stops_a_running_call():
    with procjob.ProcessPoolExecutor(1) as pool:
        future = pool.submit(time.sleep, 600)
        deadline = time.monotonic() + DEADLINE
        while not future.running() and time.monotonic() < deadline:
            time.sleep(0.005)
        assert future.cancel() is True
        with pytest.raises(concurrent.futures.CancelledError):
            future.result(DEADLINE)


def test_the_parent_is_never_held_up_by_a_job_that_keeps_the_interpreter():
    with procjob.Backend(act, workers=1, grace=0.1) as backend:
        job = begin(backend, "c")
        for wait in (lambda: job.result(timeout=0.3), lambda: job.wait_for_final_state(timeout=0.3, wait=5)):
            began = time.monotonic()
            with pytest.raises(procjob.JobTimeoutError):
                wait()
            assert 0.3 <= time.monotonic() - began < 0.6
        longest = 0.0
        for _ in range(200):
            began = time.perf_counter()
            assert job.status() is procjob.JobStatus.RUNNING
            longest = max(longest, time.perf_counter() - began)
        assert longest < 0.1
        job.cancel()
        job.wait_for_final_state(DEADLINE)
