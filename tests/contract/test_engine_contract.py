"""One suite for all engines. What one cannot do it says in its capabilities, and then it has to say so at the call."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import os
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import FIRST_COMPLETED, FIRST_EXCEPTION, ThreadPoolExecutor

import cloudpickle
import numpy as np
import psutil
import pytest

import procjob
from procjob import (
    Backend,
    Job,
    JobCancelledError,
    JobError,
    JobStatus,
    JobTimeoutError,
    NotPicklableError,
    ProcessPoolExecutor,
    RemoteError,
    WorkerDiedError,
    as_completed,
    wait,
)
from procjob.engine import ExecutorEngine, InlineEngine, ProcessEngine, Task
from procjob.events import Accepted, Finished, Logged, Progressed, Started

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers need not import tests

PATIENCE = 30.0


# ---------------------------------------------------------------- what the tasks do


def same(value):
    return value


def fail(value):
    raise ValueError(f"bad shots: {value!r}")


def hold(path):
    """Run while the file is there and nobody asks to stop."""
    while os.path.exists(path) and not procjob.stop_requested():  # noqa: PTH110  (quick)
        time.sleep(0.002)
    return "released"


class DoesNotUnpickle:
    def __reduce__(self):
        return (fail, ("on arrival",))


class ErrorThatDoesNotUnpickle(Exception):
    def __init__(self, first, second):
        super().__init__("only one")


class RefusesAttributes(Exception):
    def __setattr__(self, name, value):
        raise AttributeError("I am frozen")


# ---------------------------------------------------------------- pieces


@pytest.fixture
def is_inline(engine):
    return isinstance(engine, InlineEngine)


@pytest.fixture
def held(engine, tmp_path):
    """Start a job that runs until the test ends or `release` is called; inline in a thread of its own."""
    gate = tmp_path / "held"
    gate.touch()
    threads = []

    def start():
        job = unsubmitted(engine, hold, str(gate))
        if isinstance(engine, InlineEngine):
            threads.append(threading.Thread(target=job.submit))
            threads[-1].start()
            until(lambda: job.status() not in (JobStatus.INITIALIZING, JobStatus.VALIDATING))
        else:
            job.submit()
        started.append(job)
        return job

    started = []
    start.release = lambda: gate.unlink(missing_ok=True)
    yield start
    start.release()
    for job in started:
        job.cancel()
        job.wait_for_final_state(PATIENCE)
    for thread in threads:
        thread.join(PATIENCE)


def unsubmitted(engine, fn, *args, **kwargs):
    return Job(Backend(fn, engine=engine), uuid.uuid4().hex, task=Task(fn, args, kwargs), engine=engine)


def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it has not come true"
        time.sleep(0.002)


def run(engine, fn, value=None, **options):
    return Backend(fn, engine=engine).run(value, **options)


def error_of(job):
    with pytest.raises(BaseException) as caught:
        job.result(PATIENCE)
    return caught.value


def assert_neighbours_are_fine(engine):
    assert [run(engine, same, n).result(PATIENCE) for n in range(3)] == [0, 1, 2]


# ---------------------------------------------------------------- results and exceptions


def test_a_job_returns_what_its_simulator_returned(engine):
    job = run(engine, same, {"counts": np.arange(3)})
    assert job.result(PATIENCE)["counts"].tolist() == [0, 1, 2]
    assert job.status() is JobStatus.DONE
    assert job.error_message() is None


def test_options_reach_the_simulator(engine):
    def simulate(angle, *, shots=1, seed=None):
        return angle, shots, seed

    assert run(engine, simulate, 0.5, shots=7).result(PATIENCE) == (0.5, 7, None)


def test_a_task_gets_a_copy_of_its_input(engine):
    given = [1, 2]
    run(engine, list.clear, given).result(PATIENCE)
    assert given == [1, 2]


def test_an_exception_arrives_with_its_type_its_traceback_and_a_note(engine, is_inline):
    job = run(engine, fail, 5, job_id="job-of-five")
    error = error_of(job)
    assert type(error) is ValueError
    assert str(error) == "bad shots: 5"
    assert job.status() is JobStatus.ERROR
    assert job.error_message() == "ValueError: bad shots: 5"
    note = error.__notes__[-1]
    assert "job-of-five" in note
    assert "(5)" in note
    assert str(job.metrics().worker_pid) in note
    if not is_inline:
        assert "in fail" in str(error.__cause__)


def test_the_note_shows_the_input_as_it_was_submitted(engine, is_inline, held):
    point = {"theta": 1}
    blockers = [] if is_inline else [held() for _ in range(engine.workers)]
    job = run(engine, fail, point)
    point["theta"] = 2
    held.release()
    assert "{'theta': 1}" in error_of(job).__notes__[-1]
    assert all(blocker.result(PATIENCE) == "released" for blocker in blockers)


def test_an_input_that_cannot_be_pickled_raises_at_the_call_and_leaves_nothing(engine):
    def simulate(value, *, noise=None):
        return value

    before = threading.active_count()
    with pytest.raises(NotPicklableError, match=r"kwargs\['noise'\]\[0\].*lock"):
        run(engine, simulate, 1, noise=[threading.Lock()])
    assert threading.active_count() == before
    assert_neighbours_are_fine(engine)


def test_a_result_that_cannot_be_pickled_is_that_jobs_error(engine, is_inline):
    job = run(engine, lambda _: threading.Lock(), 1)
    if is_inline:  # nothing has to travel
        assert job.result(PATIENCE).locked() is False
    else:
        error = error_of(job)
        assert type(error) is NotPicklableError
        assert "result" in str(error)
    assert_neighbours_are_fine(engine)


def test_a_result_that_does_not_unpickle_is_that_jobs_error(engine, is_inline):
    job = run(engine, lambda _: DoesNotUnpickle(), 1)
    if is_inline:
        assert type(job.result(PATIENCE)).__name__ == "DoesNotUnpickle"
    else:
        error = error_of(job)
        assert type(error) is RemoteError
        assert "on arrival" in str(error)
    assert_neighbours_are_fine(engine)


def test_an_input_that_does_not_unpickle_is_that_jobs_error(engine, is_inline):
    if is_inline:  # it arrives inside the call
        with pytest.raises(RemoteError, match="on arrival"):
            run(engine, same, DoesNotUnpickle())
    else:
        assert "on arrival" in str(error_of(run(engine, same, DoesNotUnpickle())))
    assert_neighbours_are_fine(engine)


def test_an_exception_that_does_not_unpickle_is_told_in_words(engine, is_inline):
    def simulate(_):
        raise ErrorThatDoesNotUnpickle(1, 2)

    error = error_of(run(engine, simulate))
    if not is_inline:
        assert type(error) is RemoteError
    assert "ErrorThatDoesNotUnpickle: only one" in f"{type(error).__name__}: {error}"
    assert_neighbours_are_fine(engine)


def odd_notes(_):
    error = ValueError("odd")
    error.__notes__ = 5
    raise error


def frozen_error(_):
    raise RefusesAttributes("frozen")


class HasNoText(Exception):
    def __str__(self):
        raise ZeroDivisionError


def error_without_text(_):
    raise HasNoText


def stop_iteration(_):
    return next(iter(()))


def generator_exit(_):
    raise GeneratorExit


@pytest.mark.parametrize("simulate", [odd_notes, frozen_error, error_without_text, stop_iteration, generator_exit])
def test_an_exception_of_any_kind_harms_nobody_else(engine, simulate):
    job = run(engine, simulate, 10**5000)  # whose repr raises, too
    assert error_of(job) is not None
    assert job.status() is JobStatus.ERROR
    assert "job" in repr(job).lower()
    assert "ERROR" in job._repr_html_()
    assert type(error_of(job)).__name__ in job.error_message()
    assert_neighbours_are_fine(engine)


def test_a_system_exit_of_the_task_is_its_outcome(engine):
    error = error_of(run(engine, sys.exit, 3))
    assert type(error) is SystemExit
    assert error.code == 3
    assert_neighbours_are_fine(engine)


def test_ctrl_c_in_an_inline_task_is_the_callers():
    def simulate(_):
        raise KeyboardInterrupt

    with Backend(simulate, workers=0) as backend, pytest.raises(KeyboardInterrupt):
        backend.run(1)


def test_ctrl_c_right_before_an_inline_task_leaves_no_job_that_never_ends():
    def strike(frame, event, _):
        if event == "call" and frame.f_code is procjob.Job._announce_running.__code__:
            sys.setprofile(None)
            raise KeyboardInterrupt

    engine = InlineEngine()
    backend = Backend(abs, engine=engine)
    sys.setprofile(strike)
    with pytest.raises(KeyboardInterrupt) as caught:
        backend.run(-1)
    [job] = backend.jobs()  # the traceback keeps it alive
    job.wait_for_final_state(30)
    assert job.cancelled()
    del caught
    backend.close()
    engine.close()


def test_a_backend_inside_a_task_runs_inline(engine):
    def simulate(_):
        def square(x):
            return x * x

        with procjob.Backend(square, workers=2) as inner:
            return type(inner.engine).__name__, [inner.run(n).result() for n in range(3)]

    assert run(engine, simulate).result(PATIENCE) == ("InlineEngine", [0, 1, 4])


@pytest.mark.parametrize("workers", [0, 1])
def test_an_initializer_runs_before_the_first_task_inline_too(workers, tmp_path):
    def write(name):
        with (tmp_path / name).open("a") as file:
            file.write("once ")

    def read(name):
        return (tmp_path / name).read_text()

    with Backend(read, workers=workers, initializer=write, initargs=("told",)) as backend:
        assert [backend.run("told").result(PATIENCE) for _ in range(2)] == ["once ", "once "]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_initializer_whose_error_has_no_text_refuses_the_jobs_too(workers):
    with (
        Backend(same, workers=workers, initializer=error_without_text, initargs=(1,)) as backend,
        pytest.raises(WorkerDiedError, match=r"initializer|cannot start"),
    ):
        backend.run(1).result(PATIENCE)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_initializer_that_fails_refuses_the_jobs_with_its_reason(workers):
    with Backend(same, workers=workers, initializer=fail, initargs=(1,)) as backend:
        for _ in range(2):
            with pytest.raises(WorkerDiedError) as caught:
                backend.run(1).result(PATIENCE)
            assert "bad shots: 1" in f"{caught.value}{caught.value.__cause__}"


# ---------------------------------------------------------------- events


def test_events_come_in_order(engine):
    def simulate(_):
        procjob.report_progress(1, 2)
        logging.getLogger("physics").error("hot")
        procjob.report_progress(2, 2)

    events = []
    future = engine.submit(Task(simulate, (1,)), events.append)
    future.result(PATIENCE)
    kinds = [type(event) for event in events if not (isinstance(event, Logged) and event.source != "log")]
    assert kinds == [Accepted, Started, Progressed, Logged, Progressed, Finished]
    assert events[0].future is future
    times = [event.time for event in events if not isinstance(event, Logged)]
    assert times == sorted(times)
    assert events[-1].attempts == 1


def test_status_is_told_in_order(engine):
    job = unsubmitted(engine, same, 1)
    told = []
    job.on_status(told.append)
    job.submit()
    job.result(PATIENCE)
    until(lambda: len(told) >= 3)
    assert told == [JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.DONE]


def test_who_is_told_that_a_job_runs_finds_it_running(engine):
    if not engine.capabilities.live_events:
        pytest.skip("this engine tells only at the end")
    found = []
    job = unsubmitted(engine, time.sleep, 0.1)
    job.on_status(lambda status: found.append((status, job.status())))
    job.submit()
    job.result(PATIENCE)
    until(lambda: len(found) == 3)
    assert (JobStatus.RUNNING, JobStatus.QUEUED) not in found


def test_a_wait_by_change_is_told_of_running(engine, is_inline, tmp_path):
    if not engine.capabilities.live_events or is_inline:
        pytest.skip("this engine tells only at the end, or the job is final when it is returned")
    for number in range(5):
        gate, told = tmp_path / str(number), []
        gate.touch()

        def tell(_, status, __, gate=gate, told=told):
            told.append(status)
            if status is JobStatus.RUNNING:
                gate.unlink()

        run(engine, hold, str(gate)).wait_for_final_state(PATIENCE, wait=None, callback=tell)
        assert told[-1] is JobStatus.RUNNING


def test_progress_reaches_the_job_and_its_listeners(engine):
    def simulate(steps):
        for step in range(steps):
            procjob.report_progress(step + 1, steps, energy=-1.5)

    job = unsubmitted(engine, simulate, 4)
    told = []
    job.on_progress(told.append)
    job.submit()
    job.result(PATIENCE)
    assert (job.progress().done, job.progress().total, job.progress().info) == (4, 4, {"energy": -1.5})
    until(lambda: told and told[-1].done == 4)
    assert [p.done for p in told] == sorted(p.done for p in told)


@pytest.mark.parametrize("held_back", [False, True])
def test_progress_that_cannot_travel_is_an_error_of_the_call_that_reports_it(engine, is_inline, held_back):
    def simulate(_):
        if held_back:
            procjob.report_progress(1)  # the next one is too soon to be sent at once
        try:
            procjob.report_progress(1, None if held_back else 1, bad=lambda: None)
        except Exception as error:
            return type(error).__name__
        return "accepted"

    assert run(engine, simulate).result(PATIENCE) in (
        ["accepted"] if is_inline else ["PicklingError", "AttributeError"]
    )
    assert_neighbours_are_fine(engine)


def test_what_a_task_logs_is_in_its_job(engine):
    def simulate(value):
        logging.getLogger("physics").error("hot: %s", value)
        return value

    jobs = [run(engine, simulate, n) for n in range(3)]
    for n, job in enumerate(jobs):
        job.result(PATIENCE)
        logged = [piece for piece in job.logs() if piece.source == "log"]
        assert [(piece.name, piece.text, piece.level) for piece in logged] == [("physics", f"hot: {n}", logging.ERROR)]


def test_what_a_task_prints_is_in_its_job_where_the_engine_captures_it(engine, capfd):
    job = run(engine, print, "counts: 5")
    job.result(PATIENCE)
    printed = "".join(piece.text for piece in job.logs() if piece.source == "stdout")
    assert printed == ("counts: 5\n" if engine.capabilities.captures_output else "")


# ---------------------------------------------------------------- callbacks


def test_callbacks_run_in_one_thread_in_the_order_of_events(engine):
    called, threads = [], set()

    def note(job):
        called.append(job.inputs())
        threads.add(threading.current_thread())

    last = threading.Event()
    jobs = [run(engine, same, n) for n in range(5)]
    wait(jobs, PATIENCE)
    for job in jobs:
        job.add_done_callback(note)
    jobs[-1].add_done_callback(lambda _: last.set())
    assert last.wait(PATIENCE)
    assert called == [0, 1, 2, 3, 4]
    assert len(threads) == 1
    assert threads != {threading.current_thread()}


def test_a_done_callback_gets_its_job_final(engine):
    found = []
    done = threading.Event()
    job = run(engine, time.sleep, 0.05)
    job.add_done_callback(lambda who: (found.append((who, who.status())), done.set()))
    assert done.wait(PATIENCE)
    assert found == [(job, JobStatus.DONE)]


def test_an_exception_in_a_callback_is_logged_and_harms_nothing(engine, caplog):
    done = threading.Event()
    job = run(engine, same, 1)
    job.add_done_callback(lambda _: sys.exit("of a callback"))
    job.add_done_callback(fail)
    job.add_done_callback(lambda _: done.set())
    assert done.wait(PATIENCE)
    assert "of a callback" in caplog.text
    assert "bad shots" in caplog.text
    assert_neighbours_are_fine(engine)


def test_a_callback_may_wait_for_other_jobs(engine):
    results = []
    done = threading.Event()

    def chain(job):
        results.append(run(engine, same, job.result() + 1).result(PATIENCE))
        done.set()

    run(engine, same, 1).add_done_callback(chain)
    assert done.wait(PATIENCE)
    assert results == [2]


@pytest.mark.parametrize("workers", [0, 1])
def test_callbacks_of_two_backends_may_close_each_others(workers):
    backends = [Backend(same, workers=workers) for _ in range(2)]
    both, closed = threading.Barrier(2), []

    def close(other):
        both.wait(PATIENCE)
        other.close()
        closed.append(other)

    for backend, other in (backends, reversed(backends)):
        backend.run(1).add_done_callback(lambda _, other=other: close(other))
    enders = [threading.Thread(target=backend.close, daemon=True) for backend in backends]
    for ender in enders:
        ender.start()
    for ender in enders:
        ender.join(PATIENCE / 2)
        assert not ender.is_alive(), "it waits for ever"
    assert set(closed) == set(backends)


def test_callbacks_of_several_jobs_keep_the_order_of_events():
    told = []
    with Backend(same, workers=1) as backend:
        jobs = [Job(backend, str(n), task=Task(same, (n,)), engine=backend.engine, inputs=n) for n in range(20)]
        for job in jobs:
            job.on_status(lambda status, job=job: told.append((job.inputs(), status)))
        for job in jobs:
            job.submit()
    assert len(told) == 60
    began_or_ended = [event for event in told if event[1] is not JobStatus.QUEUED]
    assert began_or_ended == [(n, status) for n in range(20) for status in (JobStatus.RUNNING, JobStatus.DONE)]


@pytest.mark.parametrize("workers", [0, 1])
def test_callbacks_posted_before_the_end_of_the_script_run(workers):
    script = f"""
import procjob, time
def told(job):
    time.sleep(0.2)
    print("told", job.result())
backend = procjob.Backend(abs, workers={workers})
job = backend.run(-7)
job.result()
job.add_done_callback(told)
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=60)
    assert done.stdout == "told 7\n", done.stderr


# ---------------------------------------------------------------- cancel, limits, queue: what an engine can do


def test_cancel_of_a_running_job_is_what_the_engine_says_it_can(engine, is_inline, held):
    job = held()
    until(job.running)
    accepted = job.cancel()
    if engine.capabilities.can_interrupt:
        assert accepted
        job.wait_for_final_state(PATIENCE)
        assert job.status() is JobStatus.CANCELLED
    elif accepted:  # it ends CANCELLED, but only when the task returns
        job.wait_for_final_state(PATIENCE)
        assert job.status() is JobStatus.CANCELLED
    else:
        assert job.running()
        held.release()
        assert job.result(PATIENCE) == "released"


def test_a_job_that_waits_in_the_queue_can_always_be_cancelled(engine, is_inline, held):
    if is_inline:
        pytest.skip("nothing is ever queued")
    jobs = [held() for _ in range(engine.workers * 4)]
    last = jobs[-1]
    waiting = threading.Thread(target=last.wait_for_final_state, args=(PATIENCE,))
    waiting.start()
    assert last.status() is JobStatus.QUEUED
    assert last.cancel() is True
    assert last.status() is JobStatus.CANCELLED
    waiting.join(PATIENCE)
    assert not waiting.is_alive()
    with pytest.raises(JobCancelledError):
        last.result()
    assert last.metrics().attempts == 0


def test_only_what_executes_is_running_where_the_engine_is_truthful(engine, is_inline, held):
    if not engine.capabilities.truthful_running or is_inline:
        pytest.skip("this engine does not know, or never queues")
    jobs = [held() for _ in range(engine.workers * 2)]
    until(lambda: sum(job.running() for job in jobs) == engine.workers)
    assert [job.status() for job in jobs[engine.workers :]] == [JobStatus.QUEUED] * engine.workers
    assert [job.queue_position() for job in jobs] == [None, None, 0, 1]


def test_queue_position_is_none_for_what_is_not_queued(engine, held):
    job = run(engine, same, 1)
    assert job.result(PATIENCE) == 1
    assert job.queue_position() is None
    assert unsubmitted(engine, same, 1).queue_position() is None


@pytest.mark.parametrize("limit", [{"time_limit": 60.0}, {"memory_limit": 1 << 40}, {"retries": 1}])
def test_a_limit_is_kept_or_refused_at_the_call(engine, is_inline, limit):
    keeps = engine.capabilities.can_kill or (is_inline and "retries" in limit)  # inline nothing ever dies
    if keeps:
        assert run(engine, same, 1, **limit).result(PATIENCE) == 1
    else:
        (name,) = limit
        with pytest.raises(JobError, match=rf"cannot keep {name}="):
            run(engine, same, 1, **limit)


@pytest.mark.parametrize("limits", [{"time_limit": float("inf")}, {"time_limit": 1e12}, {"grace": float("inf")}])
def test_a_limit_beyond_all_clocks_is_no_danger(limits):
    with Backend(time.sleep, workers=1) as backend:
        job = backend.run(0.05, **limits)
        stopped = backend.run(60, **limits)
        assert job.result(PATIENCE) is None
        until(stopped.running)
        assert stopped.cancel()
        stopped.wait_for_final_state(PATIENCE)
        assert stopped.status() is JobStatus.CANCELLED


def test_a_task_that_ends_its_process_costs_only_itself_where_the_engine_says_so():
    with Backend(os._exit, workers=1) as backend:
        assert backend.engine.capabilities.survives_crash
        with pytest.raises(WorkerDiedError, match="exited with code 3"):
            backend.run(3).result(PATIENCE)
        assert_neighbours_are_fine(backend.engine)


# ---------------------------------------------------------------- many jobs


def test_wait_returns_all_jobs_once(engine):
    jobs = [run(engine, same, n) for n in range(4)]
    done, not_done = wait([*jobs, *jobs], PATIENCE)
    assert done == set(jobs)
    assert not_done == set()
    assert wait([]) == (set(), set())


def test_wait_returns_what_is_final_at_its_timeout(engine, held):
    quick, long = run(engine, same, 1), held()
    quick.result(PATIENCE)
    began = time.monotonic()
    assert wait([quick, long], 0.1) == ({quick}, {long})
    assert time.monotonic() - began < 5
    assert wait([quick, long], return_when=FIRST_COMPLETED) == ({quick}, {long})
    assert wait([quick, long], float("inf"), FIRST_COMPLETED).done == {quick}


def test_wait_returns_at_the_first_exception(engine, held):
    long, failing = held(), run(engine, fail)
    assert failing in wait([long, failing], PATIENCE, FIRST_EXCEPTION).done


def test_as_completed_yields_each_job_once_whatever_its_end(engine):
    jobs = [run(engine, same, 1), run(engine, fail), run(engine, same, 2)]
    found = list(as_completed([*jobs, jobs[0]], PATIENCE))
    assert len(found) == 3
    assert set(found) == set(jobs)
    assert list(as_completed([])) == []


def test_as_completed_yields_what_is_final_and_then_raises_at_its_timeout(engine, held):
    quick, long = run(engine, same, 1), held()
    quick.result(PATIENCE)
    found = as_completed([long, quick], 0.1)
    assert next(found) is quick
    with pytest.raises(JobTimeoutError, match="1 jobs are not final"):
        next(found)


def test_the_clock_of_as_completed_starts_with_the_call(engine, held):
    long = held()
    found = as_completed([long], 0.3)
    time.sleep(0.3)
    began = time.monotonic()
    with pytest.raises(JobTimeoutError):
        next(found)
    assert time.monotonic() - began < 0.25


@pytest.mark.parametrize("function", [wait, lambda *a, **k: list(as_completed(*a, **k))])
def test_wait_and_as_completed_name_what_is_wrong(engine, function):
    job = run(engine, same, 1)
    for wrong, message in (
        ((5,), r"jobs .* not 5"),
        ((job,), r"jobs .* not <Job"),
        (([job, "job"],), r"jobs\[1\].*'job'"),
        (([job.future],), r"jobs\[0\]"),
        (([job], "soon"), r"timeout .*'soon'"),
    ):
        with pytest.raises(TypeError, match=message):
            function(*wrong)
    with pytest.raises(ValueError, match=r"timeout .*-1"):
        function([job], -1)
    with pytest.raises(JobError, match="submit"):
        function([unsubmitted(engine, same, 1)])


def test_wait_names_a_wrong_return_when(engine):
    with pytest.raises(ValueError, match=r"return_when .*'SOME'"):
        wait([run(engine, same, 1)], return_when="SOME")


# ---------------------------------------------------------------- asyncio


def test_a_job_can_be_awaited(engine):
    async def main():
        jobs = [run(engine, same, n) for n in range(3)]
        return await asyncio.gather(*jobs)

    assert asyncio.run(main()) == [0, 1, 2]


def test_an_awaited_job_raises_its_exception(engine):
    async def main():
        with pytest.raises(ValueError, match="bad shots"):
            await run(engine, fail)
        with pytest.raises(RuntimeError, match="StopIteration"):  # what Python makes of it in a coroutine
            await asyncio.wait_for(run(engine, stop_iteration), PATIENCE)

    asyncio.run(main())


def test_the_loop_goes_on_while_a_job_is_awaited(engine, held):
    async def main():
        job = held()
        waiting = asyncio.ensure_future(job)
        await asyncio.sleep(0.02)
        assert not waiting.done()
        held.release()
        return await asyncio.wait_for(waiting, PATIENCE)

    assert asyncio.run(main()) == "released"


def test_a_cancelled_job_tells_who_awaits_it(engine, is_inline, held):
    if is_inline:
        pytest.skip("nothing is ever queued")

    async def main():
        jobs = [held() for _ in range(engine.workers * 4)]
        waiting = asyncio.ensure_future(jobs[-1])
        await asyncio.sleep(0)
        assert jobs[-1].cancel()
        with pytest.raises(JobCancelledError):
            await asyncio.wait_for(waiting, PATIENCE)

    asyncio.run(main())


def test_cancelling_the_task_that_awaits_a_job_cancels_the_job(engine, held):
    async def main():
        job = held()
        until(job.running)
        waiting = asyncio.ensure_future(job)
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return job

    job = asyncio.run(main())
    if engine.capabilities.can_interrupt:
        job.wait_for_final_state(PATIENCE)
        assert job.cancelled()


def test_a_callback_may_wait_for_what_awaits_another_job(engine):
    async def another():
        return await run(engine, same, 2)

    async def main():
        loop, found = asyncio.get_running_loop(), asyncio.Queue()

        def wait_for_another(_):
            future = asyncio.run_coroutine_threadsafe(another(), loop)
            with contextlib.suppress(TimeoutError):
                loop.call_soon_threadsafe(found.put_nowait, future.result(PATIENCE / 2))

        run(engine, same, 1).add_done_callback(wait_for_another)
        return await asyncio.wait_for(found.get(), PATIENCE)

    assert asyncio.run(main()) == 2


def test_a_loop_that_ends_before_the_job_is_no_error(engine, held, caplog):
    async def main():
        job = held()
        waiting = asyncio.ensure_future(job)
        await asyncio.wait([waiting], timeout=0.01)
        waiting.cancel()
        return job

    job = asyncio.run(main())
    held.release()
    job.wait_for_final_state(PATIENCE)
    done = threading.Event()
    engine.post(done.set)
    assert done.wait(PATIENCE)
    assert "callback raised" not in caplog.text


# ---------------------------------------------------------------- metrics


def test_metrics_of_a_job_are_complete_and_in_order(engine, is_inline):
    def work(seconds):
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass
        return os.getpid()

    before = time.time()
    job = run(engine, work, 0.05)
    pid = job.result(PATIENCE)
    metrics = job.metrics()
    entered = list(metrics.timestamps)
    assert entered == [
        JobStatus.INITIALIZING,
        JobStatus.VALIDATING,
        JobStatus.QUEUED,
        JobStatus.RUNNING,
        JobStatus.DONE,
    ]
    times = list(metrics.timestamps.values())
    assert times == sorted(times)
    assert before - 1 < times[0] <= times[-1] < time.time() + 1
    assert metrics.worker_pid == pid
    assert metrics.attempts == 1
    assert metrics.queue_seconds >= 0
    assert 0.04 < metrics.run_seconds < PATIENCE
    assert metrics.cpu_seconds > 0.04
    assert metrics.host
    with pytest.raises(JobError):
        job.submit()
    assert job.metrics() == metrics


def test_peak_memory_is_told_where_it_is_that_of_a_worker(engine):
    job = run(engine, same, 1)
    job.result(PATIENCE)
    peak = job.metrics().peak_rss
    assert peak > 1 << 20 if isinstance(engine, ProcessEngine) else peak is None


def test_metrics_of_a_cancelled_job_stay(engine, is_inline, held):
    if is_inline:
        pytest.skip("nothing is ever queued")
    *_, last = [held() for _ in range(engine.workers * 4)]
    last.cancel()
    metrics = last.metrics()
    held.release()
    assert run(engine, same, 1).result(PATIENCE) == 1  # the engine has noticed by now
    assert last.metrics() == metrics
    assert metrics.queue_seconds == pytest.approx(
        metrics.timestamps[JobStatus.CANCELLED] - metrics.timestamps[JobStatus.QUEUED], abs=1e-5
    )


def test_metrics_of_a_running_job_grow(engine, held):
    if not engine.capabilities.live_events:
        pytest.skip("this engine tells only at the end")
    job = held()
    until(lambda: job.metrics().run_seconds)
    first = job.metrics().run_seconds
    time.sleep(0.002)
    assert job.metrics().run_seconds > first
    assert JobStatus.DONE not in job.metrics().timestamps


def test_repr_and_html_are_true(engine):
    job = run(engine, fail, "<b>")
    error_of(job)
    assert repr(job).startswith(f"<Job {job.job_id()[:8]} ERROR ")
    assert repr(job).endswith(" fail>")
    assert "ValueError: bad shots: &#x27;&lt;b&gt;&#x27;" in job._repr_html_()


def test_repr_shows_progress_only_where_the_total_is_known(engine, held, tmp_path):
    def simulate(path):
        procjob.report_progress(5)
        while os.path.exists(path):  # noqa: PTH110
            time.sleep(0.002)

    if not engine.capabilities.live_events or isinstance(engine, InlineEngine):
        pytest.skip("needs news of a running job")
    gate = tmp_path / "gate"
    gate.touch()
    job = run(engine, simulate, str(gate))
    until(lambda: job.progress() is not None)
    assert "%" not in repr(job)
    gate.unlink()
    job.result(PATIENCE)


# ---------------------------------------------------------------- close


@pytest.fixture(params=["process", "inline", "threads"])
def fresh(request):
    """A new engine, and the backend that owns it or, for the executor, uses it."""
    with contextlib.ExitStack() as stack:
        match request.param:
            case "process":
                yield functools.partial(Backend, workers=1)
            case "inline":
                yield functools.partial(Backend, workers=0)
            case "threads":
                executor = stack.enter_context(ThreadPoolExecutor(1))
                engine = ExecutorEngine(executor)
                stack.callback(engine.close)
                yield functools.partial(Backend, engine=engine)


def test_the_end_of_a_with_block_waits_for_its_jobs(fresh):
    with fresh(time.sleep) as backend:
        jobs = [backend.run(0.05) for _ in range(3)]
    assert [job.status() for job in jobs] == [JobStatus.DONE] * 3


def test_a_closed_backend_refuses_jobs_and_may_be_closed_again(fresh):
    backend = fresh(same)
    job = backend.run(1)
    backend.close()
    backend.close()
    with pytest.raises(RuntimeError, match="backend same is closed; make a new one"):
        backend.run(2)
    assert job.result(PATIENCE) == 1


def test_an_exception_in_the_block_cancels_its_jobs(fresh, tmp_path):
    gate = tmp_path / "gate"
    gate.touch()
    jobs = []
    with pytest.raises(ZeroDivisionError), fresh(hold) as backend:  # noqa: PT012  (the block is what is tested)
        if backend.workers:
            jobs += [backend.run(str(gate)) for _ in range(3)]
        if backend.workers and not backend.engine.capabilities.can_interrupt:
            threading.Timer(0.1, gate.unlink).start()
        _ = 1 / 0
    assert {job.status() for job in jobs[1:]} <= {JobStatus.CANCELLED}
    assert all(job.in_final_state() for job in jobs)


def test_close_of_a_backend_leaves_an_engine_that_is_not_its_own_open(engine):
    first, second = Backend(same, engine=engine), Backend(same, engine=engine)
    first.close()
    with pytest.raises(RuntimeError, match="closed"):
        first.run(1)
    assert second.run(2).result(PATIENCE) == 2


def test_the_workers_of_an_engine_that_nobody_holds_end():
    engine = ProcessEngine(1)
    assert run(engine, same, 1).result(PATIENCE) == 1
    (pid,) = engine.worker_pids()
    del engine
    gc.collect()
    until(lambda: not psutil.pid_exists(pid))


def test_callbacks_have_run_when_close_returns(fresh):
    called = []
    with fresh(same) as backend:
        engine = backend.engine
        for n in range(20):
            backend.run(n).add_done_callback(lambda job: called.append(job.result()))
    engine.close()
    assert sorted(called) == list(range(20))


def test_cancel_at_close_reaches_an_inline_job_of_another_thread(tmp_path):
    gate = tmp_path / "gate"
    gate.touch()
    backend = Backend(hold, workers=0)
    runner = threading.Thread(target=backend.run, args=(str(gate),))
    runner.start()
    until(lambda: backend.engine._unfinished)
    backend.close(cancel=True)
    runner.join(PATIENCE)
    assert not runner.is_alive()
    assert gate.exists()


def test_a_callback_added_after_close_runs(fresh):
    backend = fresh(same)
    job = backend.run(1)
    backend.close()
    called = threading.Event()
    job.add_done_callback(lambda _: called.set())
    assert called.wait(PATIENCE)


# ---------------------------------------------------------------- wrong arguments


def boom(*args):
    raise AssertionError("nobody calls this")


WRONG_SETTINGS = [
    ({"simulator": 5}, TypeError, r"simulator .* 5"),
    ({"workers": "2"}, TypeError, r"workers .*'2'"),
    ({"workers": True}, TypeError, r"workers .*True"),
    ({"workers": 1.5}, TypeError, r"workers .*1\.5"),
    ({"workers": -1}, ValueError, r"workers .*-1"),
    ({"engine": 5}, TypeError, r"engine .* 5"),
    ({"engine": InlineEngine}, TypeError, r"engine .*InlineEngine"),
    ({"engine": InlineEngine(), "workers": 1}, TypeError, r"engine.* excludes workers"),
    ({"engine": InlineEngine(), "initializer": boom}, TypeError, r"engine.* excludes initializer"),
    ({"name": 5}, TypeError, r"name .* 5"),
    ({"time_limit": "1"}, TypeError, r"time_limit .*'1'"),
    ({"time_limit": True}, TypeError, r"time_limit .*True"),
    ({"time_limit": 0}, ValueError, r"time_limit .*\b0$"),
    ({"time_limit": float("nan")}, ValueError, r"time_limit .*nan"),
    ({"memory_limit": 1.5}, TypeError, r"memory_limit .*1\.5"),
    ({"memory_limit": 0}, ValueError, r"memory_limit .*\b0$"),
    ({"retries": None}, TypeError, r"retries .*None"),
    ({"retries": -1}, ValueError, r"retries .*-1"),
    ({"grace": None}, TypeError, r"grace .*None"),
    ({"grace": -0.1}, ValueError, r"grace .*-0\.1"),
    ({"initializer": 5}, TypeError, r"initializer .* 5"),
    ({"initializer": boom, "initargs": 5}, TypeError, r"initargs .* 5"),
    ({"initargs": "ab"}, TypeError, r"initargs .*'ab'"),
    ({"initargs": np.arange(2)}, TypeError, r"initargs .*array\("),
    ({"store": 5}, TypeError, r"store .* 5"),
    ({"threads_per_worker": 0}, ValueError, r"threads_per_worker .*\b0$"),
    ({"threads_per_worker": "1"}, TypeError, r"threads_per_worker .*'1'"),
    ({"environment": 5}, TypeError, r"environment .* 5"),
    ({"environment": {"A": 1}}, TypeError, r"environment .*\{'A': 1\}"),
    ({"environment": {"A=B": "1"}}, ValueError, r"environment .*'A=B'"),
    ({"shots": 5}, TypeError, r"shots"),
]


def ids(rows):
    return [f"{n}-{'-'.join(row[0])}" for n, row in enumerate(rows)]


@pytest.mark.parametrize(("settings", "error", "message"), WRONG_SETTINGS, ids=ids(WRONG_SETTINGS))
@pytest.mark.parametrize("workers", [0, 1])
def test_a_wrong_setting_of_a_backend_raises_and_names_itself(settings, error, message, workers):
    given = {"simulator": same, **({} if "engine" in settings else {"workers": workers}), **settings}
    with pytest.raises(error, match=message):
        Backend(given.pop("simulator"), **given)


def angles(angle, *, shots=1):
    return angle * shots


WRONG_RUNS = [
    ({"time_limit": "1"}, TypeError, r"time_limit .*'1'"),
    ({"time_limit": -1}, ValueError, r"time_limit .*-1"),
    ({"memory_limit": "1"}, TypeError, r"memory_limit .*'1'"),
    ({"memory_limit": -1}, ValueError, r"memory_limit .*-1"),
    ({"retries": 1.0}, TypeError, r"retries .*1\.0"),
    ({"grace": "0"}, TypeError, r"grace .*'0'"),
    ({"tags": "a"}, TypeError, r"tags .*'a'"),
    ({"tags": [1]}, TypeError, r"tags .*\[1\]"),
    ({"tags": 5}, TypeError, r"tags .* 5"),
    ({"metadata": 5}, TypeError, r"metadata .* 5"),
    ({"job_id": 5}, TypeError, r"job_id .* 5"),
    ({"job_id": ""}, (TypeError, ValueError), r"job_id .*''"),
    ({"schots": 5}, TypeError, r"schots.*options: shots"),
    ({"shots": threading.Lock()}, NotPicklableError, r"kwargs\['shots'\]"),
]


@pytest.mark.parametrize(("options", "error", "message"), WRONG_RUNS, ids=ids(WRONG_RUNS))
def test_a_wrong_option_of_a_run_raises_and_names_itself(engine, options, error, message):
    with pytest.raises(error, match=message):
        run(engine, angles, 1, **options)


@pytest.mark.parametrize(("options", "error", "message"), WRONG_RUNS, ids=ids(WRONG_RUNS))
def test_a_wrong_option_spends_no_worker(options, error, message):
    with Backend(angles, workers=2) as backend:
        with pytest.raises(error):
            backend.run(1, **options)
        assert backend.engine.worker_pids() == []
        assert not [t for t in threading.enumerate() if t.name.startswith("procjob-pool")]


def test_numbers_of_numpy_are_numbers():
    limits = {
        "time_limit": np.float32(60),
        "memory_limit": np.int64(1 << 40),
        "retries": np.int8(1),
        "grace": np.int64(1),
    }
    with Backend(same, workers=np.int64(1), **limits) as backend:
        job = backend.run(1)
        job.wait_for_final_state(np.int64(30))
        assert job.result(np.float32(30)) == 1


@pytest.mark.parametrize("timeout", ["1", True, -1, float("nan")])
def test_a_wrong_timeout_of_a_job_raises_and_names_itself(engine, timeout):
    job = run(engine, same, 1)
    for call in (job.result, job.wait_for_final_state):
        with pytest.raises((TypeError, ValueError), match=f"timeout .*{timeout!r}"):
            call(timeout)
    with pytest.raises((TypeError, ValueError), match=f"wait .*{timeout!r}"):
        job.wait_for_final_state(wait=timeout)


def test_what_is_not_callable_is_refused_as_a_callback(engine):
    job = run(engine, same, 1)
    for add in (job.add_done_callback, job.on_status, job.on_progress):
        with pytest.raises(TypeError, match=r"fn .* 5"):
            add(5)
    with pytest.raises(TypeError, match=r"callback .* 5"):
        job.wait_for_final_state(callback=5)


def test_a_job_without_backend_says_so(engine):
    job = Job(None, "a", task=Task(same, (1,)), engine=engine)
    with pytest.raises(JobError, match="backend"):
        job.backend()


WRONG_EXECUTORS = [
    ({"max_workers": 0}, ValueError, r"max_workers must be greater than 0, not 0"),
    ({"max_workers": "2"}, TypeError, r"max_workers .*'2'"),
    ({"max_workers": True}, TypeError, r"max_workers .*True"),
    ({"initializer": 5}, TypeError, r"initializer .* 5"),
    ({"initializer": boom, "initargs": 5}, TypeError, r"initargs .* 5"),
    ({"initializer": boom, "initargs": (threading.Lock(),)}, NotPicklableError, r"^initargs\[0\]: "),
    ({"threads_per_worker": -1}, ValueError, r"threads_per_worker .*-1"),
    ({"environment": [("A", "1")]}, TypeError, r"environment .*\['?\("),
    ({"environment": {"": "1"}}, ValueError, r"environment .*''"),
    ({"workers": 2}, TypeError, r"workers"),
]


@pytest.mark.parametrize(("settings", "error", "message"), WRONG_EXECUTORS, ids=ids(WRONG_EXECUTORS))
def test_a_wrong_setting_of_an_executor_raises_and_names_itself(settings, error, message):
    with pytest.raises(error, match=message):
        ProcessPoolExecutor(**settings)


def test_a_wrong_call_of_an_executor_raises_and_spends_no_worker():
    with ProcessPoolExecutor(1) as executor:
        for call, error, message in (
            (lambda: executor.submit(5), TypeError, r"fn .* 5"),
            (lambda: executor.map(5, [1]), TypeError, r"fn .* 5"),
            (lambda: executor.map(abs, 5), TypeError, r"5|int"),
            (lambda: executor.map(abs, [1], chunksize=0), ValueError, r"chunksize .*0"),
            (lambda: executor.map(abs, [1], chunksize=1.5), TypeError, r"chunksize .*1\.5"),
            (lambda: executor.map(abs, [1], buffersize=0), ValueError, r"buffersize .*0"),
            (lambda: executor.map(abs, [1], buffersize="1"), TypeError, r"buffersize .*'1'"),
            (lambda: executor.map(abs, [1], timeout="1"), TypeError, r"timeout .*'1'"),
            (lambda: executor.map(abs, [1], timeout=-1), ValueError, r"timeout .*-1"),
        ):
            with pytest.raises(error, match=message):
                call()
        assert isinstance(executor.submit(same, threading.Lock()).exception(PATIENCE), NotPicklableError)
        assert executor._pool.worker_pids() == []


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ExecutorEngine(5), TypeError, r"executor .* 5"),
        (lambda: ProcessEngine(0), ValueError, r"workers .*\b0$"),
        (lambda: ProcessEngine("1"), TypeError, r"workers .*'1'"),
        (lambda: InlineEngine(initializer=5), TypeError, r"initializer .* 5"),
    ],
)
def test_a_wrong_setting_of_an_engine_raises_and_names_itself(make, error, message):
    with pytest.raises(error, match=message):
        make()
