"""Ctrl-C, a killed parent and the end of the interpreter: the script goes, and nothing of it stays."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time

import psutil
import pytest

import procjob
from procjob.pool import pool, threads
from procjob.pool.pool import Pool

#: Seconds within which a script has to be gone. The figure of the project is 2; here the machine may be busy.
PROMPT = 5.0
DEADLINE = 30.0

JOBS = """
    import os, signal, sys, time
    import procjob

    def work(seconds):
        procjob.report_progress(os.getpid())
        time.sleep(seconds)

    backend = procjob.Backend(work, workers=2)
    jobs = [backend.run(60.0) for _ in range(102)]
    for job in jobs[:2]:
        while job.progress() is None:
            time.sleep(0.01)

    def ready():
        print(*(int(job.progress().done) for job in jobs[:2]), flush=True)
"""
ENDINGS = {
    "unhandled": "ready(); jobs[50].result()",
    "in a with block": "with backend: ready(); jobs[50].result()",
    "caught": """
        try:
            ready()
            jobs[50].result()
        except KeyboardInterrupt:
            print("caught", flush=True)
            sys.exit(3)
        """,
    "waiting": "ready(); procjob.wait(jobs)",
    "computing": "ready()\nwhile True: pass",
    "in a callback": """
        jobs[50].add_done_callback(lambda _: (ready(), time.sleep(600)))
        jobs[50].cancel()
        jobs[51].result()
        """,
}
EXECUTOR = """
    import os, sys, time
    import procjob

    def work(pipe):
        os.write(pipe, b"%d " % os.getpid())
        time.sleep(60.0)

    with procjob.ProcessPoolExecutor(2) as pool:
        futures = [pool.submit(time.sleep, 60.0) for _ in range(102)]
        while not futures[1].running():
            time.sleep(0.01)
        print(*pool._pool.worker_pids(), flush=True)
        futures[50].result()
"""


def script(*parts: str, **options) -> subprocess.Popen:
    text = "\n".join(textwrap.dedent(part) for part in parts)
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", text], stdout=pipe, stderr=pipe, text=True, start_new_session=True, **options
    )


def workers_of(process: subprocess.Popen) -> list[psutil.Process]:
    return [psutil.Process(int(pid)) for pid in process.stdout.readline().split()]


def assert_gone(process: subprocess.Popen, workers: list[psutil.Process], *, within: float = PROMPT) -> str:
    """Return what the script wrote to its standard error."""
    began = time.monotonic()
    try:
        _, err = process.communicate(timeout=DEADLINE)
        assert time.monotonic() - began < within
    finally:
        process.kill()
        alive = psutil.wait_procs(workers, timeout=within)[1]
        for worker in alive:
            worker.kill()
    assert not alive
    return err


@pytest.mark.parametrize("target", ["group", "parent alone"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_ctrl_c_ends_the_script_with_jobs_running_and_queued(ending, target):
    process = script(JOBS, ENDINGS[ending])
    workers = workers_of(process)
    assert len(workers) == 2
    send = os.killpg if target == "group" else os.kill
    send(process.pid, signal.SIGINT)
    err = assert_gone(process, workers)
    if ending == "caught":
        assert process.returncode == 3
        assert err == ""
    else:
        assert process.returncode == -signal.SIGINT
        assert err.count("Traceback") == err.count("KeyboardInterrupt") == 1, err


def test_ctrl_c_in_the_with_block_of_an_executor_stops_its_calls():
    process = script(EXECUTOR)
    workers = workers_of(process)
    os.killpg(process.pid, signal.SIGINT)
    err = assert_gone(process, workers)
    assert process.returncode == -signal.SIGINT, err


@pytest.mark.parametrize(
    "pool", ["procjob.Backend(time.sleep, workers=2)", "procjob.ProcessPoolExecutor(2)"], ids=["backend", "executor"]
)
def test_ctrl_c_while_a_with_block_waits_for_its_jobs_cancels_them(pool):
    process = script(
        f"""
        import os, procjob, time
        pool = {pool}
        run = getattr(pool, "run", None) or (lambda seconds: pool.submit(time.sleep, seconds))
        try:
            with pool:
                jobs = [run(60.0) for _ in range(4)]
                while not jobs[1].running():
                    time.sleep(0.01)
                print(flush=True)
        except KeyboardInterrupt:
            for job in jobs:
                while not job.cancelled():
                    time.sleep(0.01)
            print("cancelled", flush=True)
            os._exit(0)  # not by the interpreter's exit, which stops them anyway
        """
    )
    process.stdout.readline()
    time.sleep(0.1)  # until it waits
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=DEADLINE)
    assert (out, err, process.returncode) == ("cancelled\n", "", 0)


def test_ctrl_c_while_workers_start_prints_nothing_of_theirs():
    process = script(
        """
        import procjob, time
        backend = procjob.Backend(time.sleep, workers=4)
        jobs = [backend.run(60.0) for _ in range(8)]
        print(flush=True)
        jobs[0].result()
        """
    )
    process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    err = assert_gone(process, [])
    assert err.count("Traceback") == 1, err


@pytest.mark.skipif(sys.platform != "linux", reason="reads the masks of threads from /proc")
@pytest.mark.parametrize("struck", ["callbacks", "output", "pool"])
def test_ctrl_c_while_the_first_submit_starts_a_thread_leaves_a_pool_that_works(struck):
    """The signal waits while the thread is started, and is answered when it runs already."""

    def strike(frame, event, _):
        starts = event == "call" and frame.f_code is threading.Thread.start.__code__
        if starts and frame.f_locals["self"].name == f"procjob-{struck}":
            signal.raise_signal(signal.SIGINT)

    with procjob.ProcessPoolExecutor(1) as pool:
        sys.setprofile(strike)
        try:
            with pytest.raises(KeyboardInterrupt):
                pool.submit(abs, -1)
        finally:
            sys.setprofile(None)
        assert pool.submit(abs, -2).result(DEADLINE) == 2


def test_ctrl_c_while_a_thread_is_started_leaves_the_main_thread_open_to_the_next():
    """Wherever one strikes, or two: signals that were blocked for the new thread are not blocked for ever."""

    def strike(frame, event, _):
        ours = frame.f_code.co_filename in (signal.__file__, threads.__file__) and event in ("call", "c_return")
        # Nowhere else in `threading`, whose own locks it would leave locked.
        starts = event == "call" and frame.f_code in (threading.Thread.start.__code__, threading.Event.wait.__code__)
        if (ours or starts) and next(places) in struck:
            raise KeyboardInterrupt

    def interrupted(first, second):
        nonlocal places, struck
        places, struck = itertools.count(), (first, first + 1 + second)
        sys.setprofile(strike)
        try:
            threads.start_thread("started", lambda: None)
        except KeyboardInterrupt:
            return True
        finally:
            sys.setprofile(None)
        return False

    places, struck = itertools.count(), ()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    for second in range(4):
        first = 0
        while interrupted(first, second):
            assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before, (first, second)
            first += 1
        assert first > 4


def test_a_pool_that_gets_no_thread_leaves_none_and_works_once_there_is_one(monkeypatch):
    def refuse(thread):
        if thread.name == "procjob-pool":
            raise RuntimeError("can't start new thread")
        start(thread)

    def ours():
        return [thread for thread in threading.enumerate() if thread.name.startswith("procjob-")]

    start, before = threading.Thread.start, ours()
    with procjob.ProcessPoolExecutor(1) as late:
        with monkeypatch.context() as short_of_threads:
            short_of_threads.setattr(threading.Thread, "start", refuse)
            for submit in (lambda: late.submit(abs, -1), lambda: procjob.Backend(abs, workers=1, warmup=())):
                with pytest.raises(RuntimeError, match="can't start"):
                    submit()
            with procjob.ProcessPoolExecutor(1) as executor, pytest.raises(RuntimeError, match="can't start"):
                executor.submit(abs, -1)
            with pytest.raises(RuntimeError, match="after shutdown"):
                executor.submit(abs, -1)
        assert late.submit(abs, -2).result(DEADLINE) == 2
    deadline = time.monotonic() + DEADLINE
    while ours() != before:  # those of the backend that nobody has got
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture
def without_pool_threads(monkeypatch):
    """No thread can be started for a pool."""

    def refuse(thread):
        if thread.name == "procjob-pool":
            raise RuntimeError("can't start new thread")
        start(thread)

    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", refuse)


@pytest.mark.usefixtures("no_garbage", "without_pool_threads")
@pytest.mark.parametrize("event", ["call", "c_return", "return"])
@pytest.mark.parametrize("by", ["a Ctrl-C", "a signal handler that closes it, too"])
def test_the_close_of_a_pool_without_a_thread_may_be_interrupted(by, event):
    def strike(frame, what, _):
        # Where Python ignores it; and `threading` has locks of its own, for which a join within a join would wait.
        spared = frame.f_code.co_name == "__del__" or frame.f_code.co_filename == threading.__file__
        if what == event and not spared and next(places) == number:
            sys.setprofile(None)
            if by == "a Ctrl-C":
                raise KeyboardInterrupt
            executor.shutdown()

    for number in itertools.count(1):  # 0 is `shutdown` itself
        places, executor = itertools.count(), procjob.ProcessPoolExecutor(1)
        with pytest.raises(RuntimeError, match="can't start"):
            executor.submit(abs, -1)
        with contextlib.suppress(KeyboardInterrupt):
            sys.setprofile(strike)
            try:
                executor.shutdown()
            finally:
                sys.setprofile(None)
        again = threading.Thread(target=executor.shutdown, daemon=True)
        again.start()
        again.join(PROMPT)
        assert not again.is_alive(), number
        if next(places) <= number:
            break
    assert number > 10


@pytest.mark.usefixtures("without_pool_threads")
def test_a_close_that_comes_while_the_first_submit_gets_no_thread_is_done_by_that(monkeypatch):
    closing, submitting, executor = threading.Event(), threading.Event(), procjob.ProcessPoolExecutor(1)
    made, closed = Pool._made, Pool.close

    def after_a_close(pool):
        closer.start()
        assert closing.wait(DEADLINE)
        return made(pool)

    def close(pool, **how):  # finds no loop; and who waits for its end then does
        closed(pool, **how)
        closing.set()
        submitting.wait(DEADLINE)

    def refuse(*_):
        submitting.set()
        raise RuntimeError("can't start new thread")

    closer = threading.Thread(target=executor.shutdown, daemon=True)
    monkeypatch.setattr(Pool, "_made", after_a_close)
    monkeypatch.setattr(pool, "start_thread", refuse)
    monkeypatch.setattr(Pool, "close", close)
    with pytest.raises(RuntimeError, match="can't start"):
        executor.submit(abs, -1)
    closer.join(PROMPT)
    assert not closer.is_alive()


def test_only_the_main_thread_can_be_given_a_ctrl_c():
    process = script(
        """
        import pathlib, procjob, time
        job = procjob.Backend(time.sleep, workers=2).run(0.2)
        open_to_it = set()
        while not job.done():  # while the first worker starts, runs the job and ends
            for task in pathlib.Path("/proc/self/task").iterdir():
                blocked = (task / "status").read_text().partition("SigBlk:")[2].split()[0]
                if not int(blocked, 16) & 0b10:  # signal 2 is SIGINT
                    open_to_it.add(task.name)
        print(open_to_it == {str(__import__("os").getpid())}, flush=True)
        """
    )
    out, err = process.communicate(timeout=DEADLINE)
    assert (out, err) == ("True\n", "")


@pytest.mark.parametrize("what", ["python", "c", "c that keeps the interpreter"])
def test_workers_do_not_outlive_a_killed_parent(what):
    process = script(
        f"""
        import hashlib, os, re, time, procjob

        def work(_):
            procjob.report_progress(os.getpid())
            if {what!r} == "c":
                hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 2**31 - 1)
            if {what!r} == "c that keeps the interpreter":
                re.match("(a+)+$", "a" * 64 + "b")  # backtracks for ages
            while True:
                pass

        backend = procjob.Backend(work, workers=2)
        jobs = [backend.run(0) for _ in range(3)]
        for job in jobs[:2]:
            while job.progress() is None:
                time.sleep(0.01)
        print(*(int(job.progress().done) for job in jobs[:2]), flush=True)
        jobs[0].result()
        """
    )
    workers = workers_of(process)
    process.kill()
    assert_gone(process, workers)


def test_workers_that_are_being_started_do_not_outlive_a_parent_that_ends_while_it_kills_them(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import signal; signal.pause()")
    process = script(
        f"""
        import os, psutil, sys, time, procjob

        psutil.Process.children = lambda *_, **__: os._exit(0)
        backend = procjob.Backend(abs, workers=1, warmup=[], environment={{"PYTHONPATH": {str(tmp_path)!r}}})
        while len(pids := backend.engine.worker_pids()) < 2:  # with the spare
            time.sleep(0.01)
        print(*pids, flush=True)
        sys.stdin.read()
        backend.close()
        """,
        stdin=subprocess.PIPE,
    )
    assert_gone(process, workers_of(process))  # which closes the stdin


def test_a_script_that_ends_without_waiting_stops_its_jobs():
    process = script(JOBS, "ready()")
    workers = workers_of(process)
    err = assert_gone(process, workers)
    assert process.returncode == 0
    assert err == ""


def test_a_script_does_not_wait_at_its_end_for_a_store_that_cannot_be_opened(tmp_path):
    path = str(tmp_path / "jobs.db")
    procjob.Store(path).close()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN IMMEDIATE")
        process = script(
            f"""
            import sys, threading
            import procjob

            reached = threading.Event()
            sys.addaudithook(lambda event, _: event == "sqlite3.connect" and reached.set())
            threading.Thread(target=procjob.Store, args=[{path!r}], kwargs={{"timeout": 600}}, daemon=True).start()
            print(reached.wait(20))
            """
        )
        try:
            out, err = process.communicate(timeout=DEADLINE)
        finally:
            process.kill()
    assert (out, err, process.returncode) == ("True\n", "", 0)


def test_an_executor_finishes_its_calls_at_exit_as_the_standard_one_does():
    process = script(
        """
        import procjob, time
        pool = procjob.ProcessPoolExecutor(1)
        for n in range(3):
            pool.submit(print, "call", n)
        """
    )
    out, err = process.communicate(timeout=DEADLINE)
    assert (out, err, process.returncode) == ("call 0\ncall 1\ncall 2\n", "", 0)


def test_an_endless_call_of_an_executor_keeps_the_interpreter_only_until_ctrl_c():
    process = script(
        """
        import procjob, time
        pool = procjob.ProcessPoolExecutor(1)
        future = pool.submit(time.sleep, 600)
        while not future.running():
            time.sleep(0.01)
        print(*pool._pool.worker_pids(), flush=True)
        """
    )
    workers = workers_of(process)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    os.kill(process.pid, signal.SIGINT)
    assert_gone(process, workers)


def test_callbacks_of_finished_jobs_run_before_the_interpreter_ends():
    process = script(
        """
        import procjob, time
        backend = procjob.Backend(abs, workers=1)
        job = backend.run(-5)
        job.add_done_callback(lambda job: (time.sleep(0.3), print("saved", job.result(), flush=True)))
        job.result()
        """
    )
    out, err = process.communicate(timeout=DEADLINE)
    assert (out, err, process.returncode) == ("saved 5\n", "", 0)


def test_a_backend_that_is_garbage_ends_its_workers():
    import gc

    backend = procjob.Backend(abs, workers=1)
    assert backend.run(-1).result(DEADLINE) == 1
    (pid,) = backend.engine.worker_pids()
    worker = psutil.Process(pid)
    del backend
    gc.collect()
    deadline = time.monotonic() + DEADLINE
    while worker.is_running() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not worker.is_running()


def test_jobs_of_a_forgotten_backend_still_finish():
    import gc

    job = procjob.Backend(lambda n: time.sleep(0.3) or n, workers=1).run(4)
    gc.collect()
    assert job.result(DEADLINE) == 4


def test_a_process_with_no_descriptor_left_stops_its_jobs_and_ends_its_workers():
    process = script(
        """
        import os, procjob, resource, time

        def work(_):
            procjob.report_progress(1)
            while True:
                try:
                    time.sleep(60)
                except BaseException:
                    pass

        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
        backend = procjob.Backend(work, workers=1, grace=0.1)
        job = backend.run(0)
        while job.progress() is None:
            time.sleep(0.01)
        held = []
        try:
            while True:
                held.append(os.dup(0))
        except OSError:
            pass
        backend.close(cancel=True)
        print(job.status().name, flush=True)
        """
    )
    out, err = process.communicate(timeout=DEADLINE)
    assert (out, process.returncode) == ("CANCELLED\n", 0), err
