"""What a signal handler may do wherever it interrupts the script: run a job and wait for it, or raise."""

import itertools
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

import procjob
from procjob import Backend, Store
from procjob.engine import ProcessEngine, Task
from procjob.parts import Parts

DEADLINE = 20.0


pytestmark = pytest.mark.usefixtures("no_garbage")


@pytest.fixture
def engine():
    engine = ProcessEngine(2)
    yield engine
    engine.close()


def absolute(x):
    return abs(x)


def interrupted(use, handler, number, within=("",)):
    """Have ``use()`` interrupted at the ``number``-th place where a signal handler can run, in some files; False: there are fewer."""
    places, seen = itertools.count(), []

    def interrupt(frame, event, what):
        # The calls by which a `with` takes a lock and lets go are not in the script's code. No handler runs right before the
        # latter; one right after the former, as from 3.14 on, nobody can prevent.
        name = what.__name__ if event in ("c_call", "c_return") else None
        if (event, name) in (("c_return", "__enter__"), ("c_call", "__exit__")):
            return
        if frame.f_code.co_filename.endswith(within) and next(places) == number:
            sys.setprofile(None)
            seen.append(handler())

    sys.setprofile(interrupt)
    try:
        use()
    finally:
        sys.setprofile(None)
    return bool(seen)


def everywhere(make, handler, within=("",)):
    """Return at how many places what ``make()`` returns has been interrupted, each time a new one from its beginning."""
    make()()
    return next(number for number in itertools.count() if not interrupted(make(), handler, number, within))


def test_it_may_run_a_job_while_another_is_submitted_and_awaited(engine):
    with Backend(absolute, engine=engine) as backend:
        use, handler = lambda: backend.run(-1).result(), lambda: backend.run(-2).result(DEADLINE)
        assert everywhere(lambda: use, handler) > 20


def test_it_may_run_a_job_while_another_is_submitted_that_a_store_keeps(engine, tmp_path):
    with Store(tmp_path / "store.db") as store, Backend(absolute, engine=engine, store=store) as backend:
        assert everywhere(lambda: partial(backend.run, -1), lambda: backend.run(-2).result(DEADLINE)) > 20


def test_it_may_run_a_job_while_the_first_is_submitted_that_a_store_keeps(engine, tmp_path):
    backends = []

    def make():
        for backend in backends:
            backend.close()
        backends[:] = [Backend(absolute, engine=engine, store=tmp_path / "store.db")]
        return partial(backends[0].run, -1)

    assert everywhere(make, lambda: backends[0].run(-2).result(DEADLINE)) > 20
    backends[0].close()


SUBMIT = tuple(str(Path("procjob", "pool", name)) for name in ("pool.py", "loop.py", "inbox.py"))


def pool_threads():
    return [thread for thread in threading.enumerate() if thread.name == "procjob-pool"]


def test_it_may_run_a_job_while_the_first_starts_the_pool():
    """In files of ours: multiprocessing's tracker of resources refuses to be asked by what interrupts it."""
    backends = []

    def make():
        for backend in backends:
            backend.close()
            assert not pool_threads()
        backends[:] = [Backend(absolute, workers=1)]
        return partial(backends[0].run, -1)

    assert everywhere(make, lambda: backends[0].run(-2).result(DEADLINE), SUBMIT) > 20
    backends[0].close()


@pytest.mark.parametrize("first", [False, True])
def test_it_may_close_the_backend_while_a_job_is_submitted(first):
    """As scripts end themselves at a SIGTERM."""
    backends, jobs = [], []

    def make():
        backends[:] = [backend] = [Backend(absolute, workers=1)]
        if not first:
            backend.run(-2).result(DEADLINE)

        def run():
            try:
                jobs.append(backend.run(-1))
            except RuntimeError as error:
                assert "closed" in str(error) or "after shutdown" in str(error)  # noqa: PT017  (no job is right, too)
            backend.close()
            assert not pool_threads()

        return run

    assert everywhere(make, lambda: backends[0].close(cancel=True), SUBMIT) > 20
    assert {job.status().name for job in jobs} <= {"CANCELLED", "DONE"}


def until_there(path):
    while not Path(path).exists():
        time.sleep(0.001)


def test_it_may_wait_for_a_task_of_an_executor_while_another_is_awaited(tmp_path):
    releases = (tmp_path / str(number) for number in itertools.count())
    with procjob.ProcessPoolExecutor(2) as executor:

        def make():
            release = next(releases)
            future = executor.submit(until_there, str(release))

            def let_it_end():
                deadline = time.monotonic() + DEADLINE
                while not future._waiters and time.monotonic() < deadline:  # no event tells that it is awaited
                    time.sleep(0.001)
                release.touch()

            threading.Thread(target=let_it_end).start()
            return future.result

        assert everywhere(make, lambda: executor.submit(absolute, -2).result(DEADLINE)) > 10


def test_it_may_run_a_job_while_one_of_several_tasks_is_submitted(engine):
    def divided():
        parts = Parts([Task(absolute, (x,)) for x in (-1, -2, -3)], list)
        job = procjob.Job(None, "divided", task=parts, engine=engine)
        job.submit()
        return job

    assert everywhere(lambda: divided, lambda: divided().result(DEADLINE)) > 50


def test_it_may_run_a_job_while_others_are_cancelled(engine):
    with Backend(absolute, engine=engine) as backend:

        def make():
            jobs = [backend.run(-1) for _ in range(10)]
            return lambda: [job.cancel() for job in reversed(jobs)]

        assert everywhere(make, lambda: backend.run(-2).result(DEADLINE)) > 20


def test_it_may_run_a_job_while_one_of_several_tasks_is_cancelled(engine):
    with Backend(absolute, engine=engine) as backend:

        def make():
            job = procjob.Job(None, "divided", task=Parts([Task(absolute, (-1,))] * 10, list), engine=engine)
            job.submit()
            return job.cancel

        assert everywhere(make, lambda: backend.run(-2).result(DEADLINE)) > 20


def test_it_may_wait_for_a_job_while_a_shorter_wait_for_it_ends(engine, tmp_path):
    with Backend(until, engine=engine) as backend:
        jobs = []

        def make():
            go = tmp_path / f"go{len(jobs)}"
            jobs.append((backend.run(str(go)), go))
            return lambda: (procjob.wait([jobs[-1][0]], 0.01), go.touch())

        def handler():
            job, go = jobs[-1]
            go.touch()
            return job.wait_for_final_state(DEADLINE)

        assert everywhere(make, handler) > 20


def test_it_may_run_a_job_while_a_sweep_goes_on(engine):
    with Backend(absolute, engine=engine) as backend:
        swept = partial(procjob.sweep, absolute, procjob.grid(x=[-1, -2, -3]), engine=engine)
        assert everywhere(lambda: swept, lambda: backend.run(-2).result(DEADLINE)) > 50


def test_it_may_run_a_sweep_while_another_is_asked_for_what_it_has(engine):
    swept = partial(procjob.Sweep, absolute, engine=engine)
    points = [{"x": -1}, {"x": -2}, {"x": -3}]
    asked = swept(iter(points))
    asked.submit()
    asked.result(DEADLINE)

    def handler():
        run = swept(points)
        run.submit()
        return run.result(DEADLINE)

    assert everywhere(lambda: partial(asked.result, partial=True), handler) > 20


@pytest.mark.parametrize("timeout", [None, DEADLINE])
def test_the_timeout_error_that_it_raises_is_not_taken_for_that_of_the_job(engine, tmp_path, timeout):
    """As scripts limit anything by ``signal.alarm``."""

    def too_late(*_):
        raise TimeoutError("the script has no more time")

    before = signal.signal(signal.SIGALRM, too_late)
    try:
        with Backend(until, engine=engine) as backend:
            job = backend.run(str(tmp_path / "go"))
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(TimeoutError, match="no more time") as caught:
                job.result(timeout)
            assert caught.type is TimeoutError
            assert not job.in_final_state()
            job.cancel()
    finally:
        signal.signal(signal.SIGALRM, before)


def until(path):
    import time
    from pathlib import Path

    while not Path(path).exists():
        time.sleep(0.01)
