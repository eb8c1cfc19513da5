"""A Ctrl-C in a cancel of a queued task, a submit or a close, wherever it strikes, leaves nobody waiting and nothing seems to run."""

import concurrent.futures
import itertools
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

import procjob
from procjob import ProcessPoolExecutor, job
from procjob.engine import ExecutorEngine, InlineEngine, ProcessEngine
from procjob.job import Job
from procjob.pool.watching import wait_for
from procjob.store.recorder import Following
from procjob.sweeps.runner import Runner

DEADLINE = 20.0


pytestmark = pytest.mark.usefixtures("no_garbage")


def until_there(path):
    while not Path(path).exists():
        time.sleep(0.005)


def striking(number, event="call"):
    """Return what strikes by a Ctrl-C when the ``number``-th function from now on begins, or returns, for `sys.setprofile`."""
    places = itertools.count()

    def strike(_frame, what, _):
        if what == event and next(places) == number:
            sys.setprofile(None)
            raise KeyboardInterrupt

    return strike


def struck(call, number, event="call"):
    """Have ``call()`` struck by a Ctrl-C when the ``number``-th function begins, or returns; False: fewer do."""
    sys.setprofile(striking(number, event))
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    return False


def waiters_of(future, count):
    """Threads that wait for it, and have begun to."""
    threads = [threading.Thread(target=concurrent.futures.wait, args=([future],), daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + DEADLINE
    while len(future._waiters) < count:  # no event tells
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return threads


def test_whoever_waits_is_told(tmp_path):
    release = tmp_path / "release"
    with ProcessPoolExecutor(1) as executor:
        running = executor.submit(until_there, str(release))
        for number in itertools.count(1):  # 0 is `cancel` itself
            future = executor.submit(abs, -1)
            called = threading.Event()
            future.add_done_callback(lambda _, called=called: called.set())
            waiters = waiters_of(future, 2)
            was_struck = struck(future.cancel, number)
            assert future.cancelled()
            release.touch()  # where the stop was not requested, the task's turn comes
            for waiter in waiters:
                waiter.join(DEADLINE)
                assert not waiter.is_alive(), f"struck in function {number}"
            assert called.wait(DEADLINE)
            if not was_struck:
                break
            assert running.result(DEADLINE) is None
            release.unlink()
            running = executor.submit(until_there, str(release))
        release.touch()
    assert number > 1


def begin_and_wait(begun, never):
    Path(begun).touch()
    until_there(never)


def test_a_second_ctrl_c_does_not_leave_a_sweep_running(tmp_path):
    def interrupt(*_):
        sys.setprofile(striking(number))
        raise KeyboardInterrupt

    def press(begun):
        until_there(begun)
        while sys._current_frames()[main].f_code is not wait_for.__code__:  # no event tells
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    engine, main = ProcessEngine(1), threading.get_ident()
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        with procjob.Backend(abs, engine=engine) as backend:
            for number in itertools.count():
                begun = tmp_path / str(number)
                presser = threading.Thread(target=press, args=(begun,))
                presser.start()
                try:
                    points = procjob.grid(begun=[str(begun)], never=[str(tmp_path / "never")])
                    procjob.sweep(begin_and_wait, points, engine=engine)
                except KeyboardInterrupt:
                    was_struck = sys.getprofile() is None
                    sys.setprofile(None)
                presser.join(DEADLINE)
                assert backend.run(-1).result(DEADLINE) == 1, f"struck in function {number}"  # the worker is free again
                if not was_struck:  # the sweep had ended before
                    break
    finally:
        signal.signal(signal.SIGINT, before)
        engine.close(cancel=True)
    assert number > 5


@pytest.mark.parametrize(("workers", "step"), [(0, 2), (1, 1)])
def test_a_sweep_that_is_struck_while_it_is_submitted_has_ended(tmp_path, workers, step):
    """Without workers all of its points run meanwhile."""

    def strike(frame, event, _):
        nonlocal submitting
        if frame.f_code in (Job.submit.__code__, Runner._end.__code__):
            submitting = frame.f_code is Job.submit.__code__
        ours = Path(frame.f_code.co_filename).parent.name == "sweeps" or frame.f_code.co_filename == job.__file__
        if submitting and ours and event in ("call", "c_return") and next(places) == number:
            sys.setprofile(None)
            raise KeyboardInterrupt

    engine = ProcessEngine(1) if workers else InlineEngine()
    try:
        with procjob.Store(tmp_path / "sweeps.db") as store:
            for number in itertools.count(step=step):
                submitting, places = False, itertools.count()
                sys.setprofile(strike)
                try:
                    procjob.sweep(lambda x: x, procjob.zipped(x=[number]), engine=engine, store=store)
                    break
                except KeyboardInterrupt:
                    assert not store.sweeps(status="RUNNING"), f"struck at place {number}"
                finally:
                    sys.setprofile(None)
    finally:
        engine.close(cancel=True)
    assert number > 10


def test_a_job_that_is_struck_while_it_is_noted_for_the_store_does_not_stay_queued_there(tmp_path):
    def strike(frame, event, _):
        nonlocal noting
        noting = noting or frame.f_code is Following.on_event.__code__
        if noting and event in ("call", "c_return") and next(places) == number:
            sys.setprofile(None)
            raise KeyboardInterrupt

    engine = ProcessEngine(1)
    try:
        with procjob.Store(tmp_path / "jobs.db") as store:
            for number in itertools.count():
                noting, places = False, itertools.count()
                sys.setprofile(strike)
                try:
                    with procjob.Backend(abs, engine=engine, store=store) as backend:
                        backend.run(-1)
                        sys.setprofile(None)
                        break
                except KeyboardInterrupt:
                    assert not store.jobs(status=["QUEUED", "RUNNING"]), f"struck at place {number}"
                finally:
                    sys.setprofile(None)
    finally:
        engine.close(cancel=True)
    assert number > 5


def test_a_close_that_waits_for_the_workers_can_be_called_again():
    number, again = 0, True
    while again:
        backend = procjob.Backend(abs, workers=1)
        backend.run(-1)
        again = struck(backend.close, number, "return")
        closing = threading.Thread(target=backend.close, daemon=True)
        closing.start()
        closing.join(DEADLINE)
        assert not closing.is_alive()
        number += 1
    assert number > 5


def test_a_close_does_not_wait_for_a_task_that_was_struck_while_it_was_given_to_an_executor():
    def strike(frame, event, _):
        if Path(frame.f_code.co_filename).parent.name == "engine" and event != "c_call" and next(places) == number:
            sys.setprofile(None)
            raise KeyboardInterrupt

    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        for number in itertools.count():
            engine, places = ExecutorEngine(threads), itertools.count()
            backend = procjob.Backend(abs, engine=engine)
            try:
                sys.setprofile(strike)
                backend.run(-1)
                sys.setprofile(None)
                break
            except KeyboardInterrupt:
                closing = threading.Thread(target=engine.close, daemon=True)
                closing.start()
                closing.join(DEADLINE)
                assert not closing.is_alive(), f"struck at place {number}"
            finally:
                sys.setprofile(None)
    assert number > 10


def test_a_job_that_is_struck_while_it_is_submitted_does_not_run_on():
    """Nobody has it: nobody could cancel it."""

    def strike(frame, event, _):
        ours = Path(procjob.__file__).parent in Path(frame.f_code.co_filename).parents
        if ours and event in ("call", "c_return") and next(places) == number:
            sys.setprofile(None)
            raise KeyboardInterrupt

    with procjob.Backend(time.sleep, workers=1) as backend:
        backend.run(0).result(DEADLINE)
        for number in itertools.count():
            places = itertools.count()
            sys.setprofile(strike)
            try:
                job = backend.run(3600)
                sys.setprofile(None)
                job.cancel()
                break
            except KeyboardInterrupt:
                assert backend.run(0).result(DEADLINE) is None, f"struck at place {number}"
            finally:
                sys.setprofile(None)
    assert number > 50
