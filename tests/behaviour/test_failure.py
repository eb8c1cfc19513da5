"""Workers that die, calls that raise, values that do not cross: each costs its own job and nothing else."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import signal
import stat
import sys
import threading
import time
from concurrent.futures.process import BrokenProcessPool

import psutil
import pytest

import procjob

DEADLINE = 30.0


def test_a_killed_worker_costs_exactly_the_job_it_ran():
    def nap(n):
        if n == 40:
            procjob.report_progress(1)
            time.sleep(600)
        time.sleep(0.01)
        return n

    with procjob.Backend(nap, workers=4) as backend:
        jobs = [backend.run(n) for n in range(200)]
        reported = threading.Event()
        jobs[40].on_progress(lambda _: reported.set())
        assert jobs[40].progress() is not None or reported.wait(DEADLINE)
        os.kill(jobs[40].metrics().worker_pid, signal.SIGKILL)
        procjob.wait(jobs, DEADLINE)
        lost = jobs.pop(40)
        assert isinstance(lost.future.exception(), procjob.WorkerDiedError)
        assert "SIGKILL" in lost.error_message()
        assert [job.result() for job in jobs] == [n for n in range(200) if n != 40]


def test_with_retries_a_killed_worker_costs_nothing(tmp_path):
    def die_once(path):
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            return os.getpid()
        return os.kill(os.getpid(), signal.SIGKILL)

    with procjob.Backend(die_once, workers=2) as backend:
        job = backend.run(tmp_path / "died", retries=1)
        seen = []
        job.wait_for_final_state(DEADLINE, wait=None, callback=lambda _, status, __: seen.append(status.name))
        assert job.result() != os.getpid()
        assert job.metrics().attempts == 2
        assert [name for name in seen if name != "QUEUED"] in ([], ["RUNNING"]), "a status never goes back"


def test_retries_are_used_up_exactly():
    with procjob.Backend(lambda _: os._exit(7), workers=1) as backend:
        job = backend.run(0, retries=2)
        with pytest.raises(procjob.WorkerDiedError) as caught:
            job.result(DEADLINE)
        assert caught.value.exitcode == 7
        assert "exited with code 7" in str(caught.value)
        assert "retries=n runs such a job again" in str(caught.value)
        assert job.metrics().attempts == 3


def test_a_call_of_an_executor_whose_worker_dies_is_not_told_of_retries_which_it_cannot_have():
    with procjob.ProcessPoolExecutor(1) as executor, pytest.raises(procjob.WorkerDiedError) as caught:
        executor.submit(os._exit, 7).result(DEADLINE)
    assert "exited with code 7 while it held the task" in str(caught.value)
    assert "retries" not in str(caught.value)


def test_the_tasks_own_exception_is_not_retried(tmp_path):
    def fail(path):
        with path.open("a") as file:
            file.write("x")
        raise ValueError("mine")

    count = tmp_path / "count"
    with procjob.Backend(fail, workers=1) as backend, pytest.raises(ValueError, match="mine"):
        backend.run(count, retries=3).result(DEADLINE)
    assert count.read_text() == "x"


def test_a_segfault_is_told_with_its_signal_and_the_last_words():
    def crash(_):
        import ctypes
        import sys

        print("about to crash", file=sys.stderr)
        ctypes.string_at(0)

    with procjob.Backend(crash, workers=1) as backend:
        job = backend.run(0)
        with pytest.raises(procjob.WorkerDiedError) as caught:
            job.result(DEADLINE)
    assert caught.value.exitcode == -signal.SIGSEGV
    assert isinstance(caught.value, BrokenProcessPool)
    for words in ("SIGSEGV", job.job_id(), "about to crash", "Fatal Python error: Segmentation fault", "in crash"):
        assert words in str(caught.value)


def test_an_exception_keeps_its_type_and_brings_its_traceback_job_and_worker():
    class Bad(Exception):
        pass

    def fail(_):
        raise Bad("reason", 3)

    with procjob.Backend(fail, workers=1) as backend:
        job = backend.run({"shots": 5})
        with pytest.raises(Bad) as caught:
            job.result(DEADLINE)
    assert caught.value.args == ("reason", 3)
    assert "in fail" in str(caught.value.__cause__)
    note = "\n".join(caught.value.__notes__)
    assert job.job_id() in note
    assert str(job.metrics().worker_pid) in note
    assert "'shots': 5" in note
    assert job.error_message() == "Bad: ('reason', 3)"


class DoesNotUnpickle:
    def __reduce__(self):
        return _raise, ("no way back",)


def _raise(text):
    raise ValueError(text)


def test_a_result_that_does_not_cross_is_that_jobs_error_alone():
    def give(what):
        if what == "lock":
            return {"a": [threading.Lock()]}
        if what == "no way back":
            return DoesNotUnpickle()
        return what

    with procjob.Backend(give, workers=1) as backend:
        lock, back, fine = backend.run("lock"), backend.run("no way back"), backend.run("fine")
        with pytest.raises(pickle.PicklingError, match=r"result\['a'\]\[0\]: cannot pickle"):
            lock.result(DEADLINE)
        with pytest.raises(procjob.RemoteError, match="no way back"):
            back.result(DEADLINE)
        assert fine.result(DEADLINE) == "fine"
        assert len(backend.engine.worker_pids()) == 1


def test_an_exception_that_does_not_unpickle_is_told_as_text():
    class Odd(Exception):
        def __init__(self, one, two):
            super().__init__(f"{one} and {two}")

    def fail(_):
        raise Odd(1, 2)

    with procjob.Backend(fail, workers=1) as backend:
        job = backend.run(0)
        with pytest.raises(procjob.RemoteError, match=r"Odd.*1 and 2"):
            job.result(DEADLINE)
        assert backend.run(0).wait_for_final_state(DEADLINE) is None


def test_a_broken_initializer_refuses_the_jobs_instead_of_respawning():
    def broken():
        raise RuntimeError("no licence")

    with procjob.Backend(abs, workers=2, initializer=broken) as backend:
        job = backend.run(1)
        with pytest.raises(procjob.WorkerDiedError, match="workers cannot start: RuntimeError: no licence"):
            job.result(DEADLINE)
        with pytest.raises(procjob.WorkerDiedError, match="no licence"):
            backend.run(1)


def test_workers_that_die_while_starting_are_tried_a_few_times_only(tmp_path):
    count = tmp_path / "count"

    def die():
        with count.open("a") as file:
            file.write("x")
        os._exit(9)

    with (
        procjob.Backend(abs, workers=1, initializer=die) as backend,
        pytest.raises(procjob.WorkerDiedError, match="exited with code 9"),
    ):
        backend.run(1).result(DEADLINE)
    assert count.read_text() == "xxx"


def test_an_idle_worker_that_is_killed_is_replaced_without_a_word():
    with procjob.Backend(abs, workers=1) as backend:
        assert backend.run(-1).result(DEADLINE) == 1
        (pid,) = backend.engine.worker_pids()
        os.kill(pid, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=DEADLINE)
        assert backend.run(-2).result(DEADLINE) == 2


def test_a_task_that_closes_the_workers_descriptors_costs_only_itself():
    with procjob.Backend(lambda n: os.closerange(3, 64) if n else 0, workers=1) as backend:
        with pytest.raises(procjob.WorkerDiedError):
            backend.run(1).result(DEADLINE)
        assert backend.run(0).result(DEADLINE) == 0


def test_large_arguments_and_results_flow_both_ways_at_once():
    """Bigger than any pipe, on all workers, while the parent sends and receives: nobody may wait for ever."""
    payload = os.urandom(8 << 20)
    with procjob.Backend(lambda data: data[::-1], workers=2) as backend:
        jobs = [backend.run(payload) for _ in range(6)]
        assert all(job.result(DEADLINE) == payload[::-1] for job in jobs)


def test_a_worker_stopped_in_the_middle_of_a_large_message_can_still_be_cancelled():
    with procjob.Backend(len, workers=2, grace=0.1) as backend:
        assert backend.run(b"x").result(DEADLINE) == 1
        (pid,) = backend.engine.worker_pids()
        os.kill(pid, signal.SIGSTOP)
        stuck = backend.run(b"x" * (64 << 20))
        fine = backend.run(b"yy")
        assert fine.result(DEADLINE) == 2, "the other worker is served meanwhile"
        stuck.cancel()
        stuck.wait_for_final_state(DEADLINE)
        assert stuck.cancelled()


def test_a_second_submit_and_a_job_never_submitted_are_told_so():
    with procjob.Backend(abs, workers=1) as backend:
        job = backend.run(-1)
        with pytest.raises(procjob.JobError, match="submitted before"):
            job.submit()
        assert job.result(DEADLINE) == 1


def test_a_task_that_leaves_a_broken_stdout_behind_harms_nobody():
    class Broken(io.StringIO):
        def flush(self):
            raise RuntimeError("no flush")

    def replace(n):
        if n == 0:
            sys.stdout = Broken()
        return n

    with procjob.Backend(replace, workers=1) as backend:
        assert [backend.run(n).result(DEADLINE) for n in range(3)] == [0, 1, 2]


def test_a_task_that_writes_into_its_workers_channel_costs_only_itself():
    def scribble(n):
        if n == 3:
            for fd in range(100):
                with contextlib.suppress(OSError):
                    if stat.S_ISSOCK(os.fstat(fd).st_mode):
                        os.write(fd, b"\xff" * 100)
            time.sleep(DEADLINE)
        return n

    with procjob.Backend(scribble, workers=2) as backend:
        jobs = [backend.run(n) for n in range(8)]
        with pytest.raises(procjob.WorkerDiedError, match="no message is of kind 255"):
            jobs[3].result(DEADLINE)
        assert [job.result(DEADLINE) for job in jobs if job is not jobs[3]] == [0, 1, 2, 4, 5, 6, 7]


def test_a_copy_that_a_task_makes_of_its_worker_does_not_become_a_second_one():
    def fork(n):
        return n, os.fork()

    with procjob.Backend(fork, workers=1) as backend:
        (pid,) = {job.metrics().worker_pid for job in [backend.run(0)] if job.result(DEADLINE)}
        outcomes = [backend.run(n).result(DEADLINE) for n in range(1, 6)]
        assert [n for n, _ in outcomes] == [1, 2, 3, 4, 5]
        assert all(copy != 0 for _, copy in outcomes), "the outcome is that of the worker itself"
        deadline = time.monotonic() + DEADLINE
        while any(c.status() != psutil.STATUS_ZOMBIE for c in psutil.Process(pid).children(recursive=True)):
            assert time.monotonic() < deadline, "copies serve as workers"
            time.sleep(0.01)


@pytest.mark.parametrize("cause", [ImportError("no such library"), SystemExit(3)], ids=repr)
def test_a_simulator_that_cannot_be_unpickled_in_the_worker_is_a_remote_error_of_the_job(cause):
    class Simulator:
        def __call__(self, run_input):
            return run_input

        def __reduce__(self):
            def fail(error):
                raise error

            return fail, (cause,)

    with procjob.Backend(Simulator(), workers=1) as backend:
        for run_input in (1, [2]):
            with pytest.raises(procjob.RemoteError, match=f"the call could not be unpickled: {type(cause).__name__}"):
                backend.run(run_input).result(DEADLINE)
