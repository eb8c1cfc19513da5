"""What workers are like: started on demand, limited in threads, replaced, heard while they run."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings

import loky
import psutil
import pytest

import procjob

DEADLINE = 30.0


def wait_for_progress(job):
    reported = threading.Event()
    job.on_progress(lambda _: reported.set())
    assert job.progress() is not None or reported.wait(DEADLINE)


def test_workers_start_with_the_work_and_not_before():
    with procjob.Backend(abs, workers=4) as backend:
        assert backend.engine.worker_pids() == []
        assert backend.run(-1).result(DEADLINE) == 1
        assert len(backend.engine.worker_pids()) == 1


def test_each_worker_runs_the_initializer_before_its_first_job():
    def prepare(value):
        sys.prepared = value

    def read(_):
        time.sleep(0.1)
        return os.getpid(), sys.prepared

    with procjob.Backend(read, workers=2, initializer=prepare, initargs=("ready",)) as backend:
        seen = {job.result(DEADLINE) for job in [backend.run(n) for n in range(6)]}
    assert len({pid for pid, _ in seen}) == 2
    assert {value for _, value in seen} == {"ready"}


def test_an_initializer_may_be_given_more_than_the_pipe_to_a_worker_takes_at_once():
    with procjob.Backend(abs, workers=1, initializer=len, initargs=(bytes(1 << 20),)) as backend:
        assert backend.run(-1).result(DEADLINE) == 1


def until(fact):
    """Wait until a fact is true that no event tells."""
    deadline = time.monotonic() + DEADLINE
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_with_warmup_the_workers_start_at_once_and_have_the_modules_before_their_first_job():
    with procjob.Backend(lambda name: name in sys.modules, workers=2, warmup=["json", "xml.dom.minidom"]) as backend:
        until(lambda: len(backend.engine.worker_pids()) == 3)  # one is a spare
        assert backend.run("xml.dom.minidom").result(DEADLINE)
        assert not backend.run("turtle").result(DEADLINE)


def test_the_initializer_comes_after_the_modules():
    def note():
        sys.seen_by_the_initializer = "xml.dom.minidom" in sys.modules

    settings = {"workers": 1, "warmup": ["xml.dom.minidom"], "initializer": note}
    with procjob.Backend(lambda _: sys.seen_by_the_initializer, **settings) as backend:
        assert backend.run(0).result(DEADLINE)


def test_a_warm_pool_that_is_never_used_leaves_no_process():
    with procjob.ProcessPoolExecutor(2, warmup=()) as pool:
        until(lambda: len(pool._pool.worker_pids()) == 3)
        pids = pool._pool.worker_pids()
    assert not any(map(psutil.pid_exists, pids))


def test_a_warm_pool_replaces_a_worker_that_dies_by_its_spare(tmp_path):
    def tell():
        (tmp_path / str(os.getpid())).touch()

    with procjob.Backend(lambda fn: fn(), workers=1, warmup=(), initializer=tell) as backend:
        until(
            lambda: len(list(tmp_path.iterdir())) == 2
        )  # a spare that is still starting is overtaken by another worker
        first = set(backend.engine.worker_pids())
        with pytest.raises(procjob.WorkerDiedError):
            backend.run(lambda: os._exit(1)).result(DEADLINE)
        assert backend.run(os.getpid).result(DEADLINE) in first
        until(lambda: len(backend.engine.worker_pids()) == 2)


@pytest.mark.parametrize(
    ("warmup", "kind"),
    [(["no_such_module"], ModuleNotFoundError), ("json", TypeError), ([5], TypeError), ([""], ModuleNotFoundError)],
)
@pytest.mark.parametrize("workers", [0, 1])
def test_a_wrong_warmup_is_refused_before_anything_starts(warmup, kind, workers):
    with pytest.raises(kind, match="warmup"):
        procjob.Backend(abs, workers=workers, warmup=warmup)


def test_a_module_that_cannot_be_imported_in_the_workers_is_told_by_the_first_run(tmp_path, monkeypatch):
    (tmp_path / "breaks_on_import.py").write_text("raise ZeroDivisionError('at import')")
    monkeypatch.syspath_prepend(tmp_path)
    with procjob.Backend(abs, workers=1, warmup=["breaks_on_import"]) as backend:
        until(lambda: backend.engine._pool._loop.broken is not None)
        with pytest.raises(procjob.WorkerDiedError, match=r"workers cannot start: ZeroDivisionError: at import"):
            backend.run(-1)


def test_numerical_libraries_share_the_cores_among_the_workers(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")

    def environment(_):
        return {name: os.environ[name] for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "QISKIT_IN_PARALLEL")}

    share = max(1, loky.cpu_count() // 2)
    with procjob.Backend(environment, workers=2) as backend:
        seen = backend.run(0).result(DEADLINE)
    assert seen == {"OMP_NUM_THREADS": str(share), "OPENBLAS_NUM_THREADS": "1", "QISKIT_IN_PARALLEL": "TRUE"}
    with procjob.Backend(environment, workers=2, threads_per_worker=3, environment={"MINE": "1"}) as backend:
        assert backend.run(0).result(DEADLINE)["OPENBLAS_NUM_THREADS"] == "3"


def test_the_default_number_of_workers_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("PROCJOB_WORKERS", "3")
    assert procjob.Backend(abs).workers == 3
    monkeypatch.setenv("PROCJOB_WORKERS", "many")
    with pytest.raises(ValueError, match="PROCJOB_WORKERS must be a whole number >= 1, not 'many'"):
        procjob.Backend(abs)
    monkeypatch.delenv("PROCJOB_WORKERS")
    assert procjob.Backend(abs).workers == loky.cpu_count()


def test_a_spare_worker_stands_ready_before_a_stubborn_one_is_killed():
    def stubborn(seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(BaseException):
                procjob.report_progress(os.getpid())
                time.sleep(600)
        return os.getpid()

    with procjob.Backend(stubborn, workers=1, grace=3.0) as backend:
        job = backend.run(600)
        wait_for_progress(job)
        job.cancel()
        deadline = time.monotonic() + DEADLINE
        while len(backend.engine.worker_pids()) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        spare = set(backend.engine.worker_pids()) - {int(job.progress().done)}
        assert job.running(), "the spare has started within the grace"
        assert backend.run(0).result(DEADLINE) in spare
        assert job.cancelled()


def test_never_more_jobs_execute_than_there_are_workers_even_with_a_spare():
    def die_or_nap(what):
        if what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.2)

    with procjob.Backend(die_or_nap, workers=2) as backend:
        backend.run("die").wait_for_final_state(DEADLINE)
        jobs = [backend.run(n) for n in range(6)]
        most = 0
        while not all(job.in_final_state() for job in jobs):
            most = max(most, sum(job.running() for job in jobs))
            time.sleep(0.01)
        assert most == 2


def test_the_simulator_travels_to_each_worker_once():
    class Heavy:
        def __init__(self):
            self.loads = 0

        def __setstate__(self, state):
            self.__dict__.update(state)
            self.loads += 1
            self.pid = os.getpid()

        def __call__(self, _):
            return self.loads, self.pid

    with procjob.Backend(Heavy(), workers=1) as backend:
        results = {backend.run(n).result(DEADLINE) for n in range(5)}
    assert len(results) == 1
    assert next(iter(results))[0] == 1


def test_what_a_task_prints_logs_and_warns_reaches_its_job_while_it_runs(capfd, caplog):
    def talk(name):
        print("printed", name)
        os.write(2, b"raw bytes\n")
        logging.getLogger("mine").warning("logged %s", name)
        warnings.warn(f"warned {name}", RuntimeWarning, stacklevel=1)
        procjob.report_progress(1)
        time.sleep(600)

    with procjob.Backend(talk, workers=1) as backend, pytest.warns(RuntimeWarning, match="warned x"):  # noqa: PT031
        job = backend.run("x")
        wait_for_progress(job)
        deadline = time.monotonic() + DEADLINE
        while len(job.logs()) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert job.running()
        said = {(log.source, log.text) for log in job.logs()}
        assert said == {
            ("stdout", "printed x\n"),
            ("stderr", "raw bytes\n"),
            ("log", "logged x"),
            ("warning", "warned x"),
        }
        job.cancel()
        backend.close()
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("printed x\n", "raw bytes\n")
    (record,) = [record for record in caplog.records if record.name == "procjob.task"]
    assert record.levelno == logging.WARNING
    assert "logged x" in record.getMessage()
    assert job.job_id() in record.getMessage()


def test_a_warning_is_in_the_logs_of_each_job_that_warns():
    def simulate(_):
        for _ in range(2):
            warnings.warn("too few shots", RuntimeWarning, stacklevel=1)

    with warnings.catch_warnings(record=True) as shown, procjob.Backend(simulate, workers=1) as backend:
        warnings.simplefilter("always")
        jobs = [backend.run(n) for n in range(3)]
        procjob.wait(jobs)
    assert [[log.text for log in job.logs()] for job in jobs] == [["too few shots"]] * 3  # once for each place, as ever
    assert len(shown) == 3


def test_a_broken_log_call_ends_no_task_and_is_told_on_stderr():
    def simulate(value):
        logging.getLogger("mine").error("%d photons", "many")
        return value

    with procjob.Backend(simulate, workers=1) as backend:
        job = backend.run(5)
        assert job.result(DEADLINE) == 5
    assert "--- Logging error ---" in "".join(log.text for log in job.logs() if log.source == "stderr")


def test_output_goes_to_the_job_that_wrote_it():
    with procjob.Backend(print, workers=2) as backend:
        jobs = [backend.run(n) for n in range(30)]
        procjob.wait(jobs, DEADLINE)
        assert ["".join(log.text for log in job.logs()) for job in jobs] == [f"{n}\n" for n in range(30)]


def test_a_flood_of_output_does_not_stop_the_pool_nor_fill_the_parent(capfd):
    def flood(_):
        for _ in range(300):
            print("x" * 10_000)

    with procjob.Backend(flood, workers=1) as backend:
        job = backend.run(0)
        job.result(DEADLINE)
    assert len(capfd.readouterr().out) == 300 * 10_001


def test_a_slow_callback_holds_up_no_result():
    release = threading.Event()
    with procjob.Backend(abs, workers=1) as backend:
        first = backend.run(-1)
        first.add_done_callback(lambda _: release.wait(DEADLINE))
        try:
            assert [backend.run(-n).result(DEADLINE) for n in range(5)] == list(range(5))
        finally:
            release.set()


def test_a_callback_may_submit_and_wait_for_other_jobs():
    got = []
    finished = threading.Event()
    with procjob.Backend(abs, workers=1) as backend:

        def follow(job):
            got.append(backend.run(-job.result() - 1).result(DEADLINE))
            finished.set()

        backend.run(-1).add_done_callback(follow)
        assert finished.wait(DEADLINE)
    assert got == [2]


def test_a_callback_may_wait_for_a_job_that_prints_more_than_fits_anywhere(capfd):
    def flood(lines):
        for _ in range(lines):
            print("x" * 10_000)
        return lines

    waited = threading.Event()
    with procjob.Backend(flood, workers=1) as backend:

        def follow(_):
            if backend.run(300).result(DEADLINE) == 300:
                waited.set()

        backend.run(0).add_done_callback(follow)
        assert waited.wait(DEADLINE)
    assert len(capfd.readouterr().out) == 300 * 10_001


def test_many_threads_may_run_at_once():
    with procjob.Backend(lambda n: n * n, workers=2) as backend:
        results = {}

        def use(start):
            results[start] = [backend.run(start + n).result(DEADLINE) for n in range(20)]

        threads = [threading.Thread(target=use, args=(1000 * n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
        assert results == {1000 * t: [(1000 * t + n) ** 2 for n in range(20)] for t in range(8)}


def test_map_takes_lazy_input_only_as_fast_as_results_are_taken():
    taken = []

    def numbers():
        for n in range(10**9):
            taken.append(n)
            yield n

    with procjob.ProcessPoolExecutor(2) as pool:
        results = pool.map(abs, numbers(), buffersize=4)
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        assert len(taken) <= 8


def test_closing_what_map_returns_cancels_the_calls_that_are_left():
    with procjob.ProcessPoolExecutor(1) as pool:
        results = pool.map(time.sleep, [0, 3600, 3600])
        assert next(results) is None
        results.close()
        assert pool.submit(abs, -1).result(DEADLINE) == 1


def test_shutdown_leaves_no_process():
    pool = procjob.ProcessPoolExecutor(2)
    assert list(pool.map(abs, range(-4, 0))) == [4, 3, 2, 1]
    workers = [psutil.Process(pid) for pid in pool._pool.worker_pids()]
    pool.shutdown()
    assert not any(worker.is_running() for worker in workers)
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(abs, 1)


def test_a_queue_is_shut_down_in_time_with_a_pickling_error_in_it():
    """The standard suite tests this with private attributes of the standard executor."""
    with procjob.ProcessPoolExecutor(2) as pool:
        assert pool.submit(id, 42).result(DEADLINE)
        failed = pool.submit(id, threading.Lock())
        pool.shutdown(wait=False)
        with pytest.raises(procjob.NotPicklableError, match=r"args\[0\]: cannot pickle '_thread.lock'"):
            failed.result(DEADLINE)
    assert pool._pool.join(DEADLINE)


def test_pools_inside_a_worker_run_inline_and_are_stopped_with_it():
    def nested(what):
        with procjob.Backend(abs) as inner, procjob.ProcessPoolExecutor() as pool:
            if what == "stop":
                procjob.report_progress(1)
                inner_endless = procjob.Backend(time.sleep)
                inner_endless.run(600)
            pid = pool.submit(os.getpid).result()
            return os.getpid(), pid, inner.workers, inner.run(-3).result()

    with procjob.Backend(nested, workers=1) as backend:
        outer, inner, workers, result = backend.run("go").result(DEADLINE)
        assert (inner, workers, result) == (outer, 0, 3)
        job = backend.run("stop")
        wait_for_progress(job)
        job.cancel()
        job.wait_for_final_state(DEADLINE)
        assert backend.run("go").result(DEADLINE)[0] == outer, "interrupted, not killed"


def pools_of_both_kinds(number):
    with procjob.Backend(abs, workers=2) as inner, procjob.ProcessPoolExecutor(2) as pool:
        pids = {pool.submit(os.getpid).result(DEADLINE) for _ in range(4)}
        return pids == {os.getpid()}, inner.run(number).result(DEADLINE)


def test_pools_inside_a_process_that_may_have_no_children_run_inline():
    with multiprocessing.get_context("spawn").Pool(1) as daemonic:
        assert daemonic.apply_async(pools_of_both_kinds, (-3,)).get(DEADLINE) == (True, 3)


def test_a_call_that_nobody_follows_is_running_exactly_while_it_runs(tmp_path):
    """Without a job or a limit no message says that a call has begun: whoever asks finds the worker's mark."""
    go, begun = tmp_path / "go", tmp_path / "begun"

    def wait_for_go():
        begun.touch()
        while not go.exists():
            time.sleep(0.005)

    with procjob.ProcessPoolExecutor(1) as pool:
        first, second = pool.submit(wait_for_go), pool.submit(abs, -1)
        deadline = time.monotonic() + DEADLINE
        while not begun.exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        assert first.running()
        assert not second.running()
        go.touch()
        assert second.result(DEADLINE) == 1
        assert not first.running()
        assert first.done()


def test_a_death_under_a_call_that_nobody_follows_is_counted_as_begun():
    with procjob.ProcessPoolExecutor(1) as pool:
        future = pool.submit(os._exit, 5)
        with pytest.raises(procjob.WorkerDiedError, match="exited with code 5"):
            future.result(DEADLINE)
        assert pool.submit(abs, -1).result(DEADLINE) == 1


def test_a_task_may_use_multiprocessing_with_any_start_method():
    def start(method):
        process = multiprocessing.get_context(method).Process(target=int)
        process.start()
        process.join(DEADLINE)
        return process.exitcode

    with procjob.Backend(start, workers=1) as backend:
        for method in (None, *multiprocessing.get_all_start_methods()):
            assert backend.run(method).result(DEADLINE) == 0
