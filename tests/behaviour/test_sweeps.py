"""Sweeps on real workers: the same bits however they run, what fails, what is stopped, and what is there meanwhile."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import inspect
import itertools
import os
import signal
import subprocess
import sys
import threading
import time

import cloudpickle
import numpy as np
import psutil
import pytest

import procjob
from procjob import JobStatus, grid, sweep, vectorized, zipped
from procjob.engine import ExecutorEngine, ProcessEngine
from procjob.sweeps.job import SweepOptions

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers need not import tests

DEADLINE = 30.0


def slow(x):
    time.sleep(0.01)
    return x


@pytest.fixture(scope="module")
def engine():
    engine = ProcessEngine(2)
    told = threading.Event()
    engine.post(told.set)
    assert told.wait(DEADLINE)
    sweep(slow, grid(x=range(10)), engine=engine)  # all its workers and threads are there
    yield engine
    engine.close()


def sine(x):
    return np.sin(x)


def noisy(x, y, seed, rng):
    return {"value": x * y + rng.normal(), "seed": seed, "draws": rng.integers(0, 100, size=3)}


@vectorized
def noisy_arrays(x, y, seed):
    return {"value": np.sin(x * y), "seed": seed}


def circuit():
    theta, phi = procjob.Parameter("x"), procjob.Parameter("y")
    return procjob.Circuit(3).ry(theta, 0).cx(0, 1).rx(phi, 2).cx(1, 2).measure_all()


POINTS = grid(x=np.linspace(0.1, 3.0, 12), y=[0.25, 1.5, 2, 3])
TARGETS = {"function": noisy, "vectorized": noisy_arrays, "circuit": circuit()}


@pytest.fixture(scope="module", params=TARGETS)
def target(request):
    return TARGETS[request.param]


@pytest.fixture(scope="module")
def expected(target):
    return sweep(target, POINTS, seed=11, workers=0)


def by_point(result):
    """The results of each point by its values."""
    flat = {name: list(result[name].reshape(len(result.points), *result[name].shape[len(result.points.shape):]))
            for name in result.names}  # fmt: skip
    return {
        tuple(point[name] for name in ("x", "y")): {name: str(values[number]) for name, values in flat.items()}
        for number, point in enumerate(result.points)
    }


# ---------------------------------------------------------------- the same bits


@pytest.mark.parametrize("workers", [1, 2])
def test_the_bits_do_not_depend_on_the_number_of_workers(target, expected, workers):
    assert sweep(target, POINTS, seed=11, workers=workers) == expected


def test_the_bits_do_not_depend_on_chunks(target, expected, engine, monkeypatch):
    monkeypatch.setattr("procjob.sweeps.chunks.SECONDS", 1e-9)
    assert sweep(target, POINTS, seed=11, engine=engine) == expected
    monkeypatch.setattr("procjob.sweeps.chunks.SECONDS", 1e9)
    assert sweep(target, POINTS, seed=11, engine=engine) == expected


def test_the_bits_do_not_depend_on_order_nor_on_other_points(target, expected, engine):
    known = by_point(expected)
    backwards = by_point(sweep(target, list(POINTS)[::-1], seed=11, engine=engine))
    assert backwards == known
    more = by_point(sweep(target, grid(y=[2, 7.0], x=[9.0]) + POINTS, seed=11, engine=engine))
    assert {key: more[key] for key in known} == known
    assert len(more) == len(known) + 2
    assert by_point(sweep(target, iter(list(POINTS)), seed=11, engine=engine)) == known


def test_another_seed_gives_other_bits(target, expected, engine):
    assert by_point(sweep(target, POINTS, seed=12, engine=engine)) != by_point(expected)


def test_a_seed_that_is_drawn_is_told_and_gives_the_same_bits_again(target, engine):
    found = sweep(target, POINTS, engine=engine)
    assert sweep(target, POINTS, seed=found.seed, engine=engine) == found
    assert sweep(target, POINTS, engine=engine).seed != found.seed


def test_a_point_has_its_own_generator_of_its_own_seed(engine):
    found = sweep(noisy, POINTS, seed=1, engine=engine)
    assert len(set(found["seed"].ravel().tolist())) == len(POINTS)
    first = next(iter(POINTS))
    rng = np.random.default_rng(int(found["seed"].flat[0]))
    assert found["value"].flat[0] == first["x"] * first["y"] + rng.normal()


def test_an_axis_called_seed_is_the_users_own(engine):
    assert sweep(lambda seed: seed, grid(seed=[5, 6]), seed=1, engine=engine)["value"].tolist() == [5, 6]


def test_a_circuit_counts_shots_and_gives_expectation_values_and_states(engine):
    points = grid(x=[0.0, np.pi], y=[0])
    counts = sweep(circuit(), points, seed=1, shots=100, engine=engine)["counts"]
    assert counts.tolist() == [[{"000": 100}], [{"111": 100}]]
    means = sweep(circuit(), points, observables={"first": "Z0", "both": "Z0 Z1"}, engine=engine)
    assert np.round(means["first"], 9).tolist() == [[1.0], [-1.0]]
    assert np.round(means["both"], 9).tolist() == [[1.0], [1.0]]
    theta = procjob.Parameter("x")
    states = sweep(procjob.Circuit(1).ry(theta, 0), grid(x=[0, np.pi]), shots=None, engine=engine)["statevector"]
    assert np.round(np.abs(states), 9).tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_axes_of_whole_numbers_and_fractions_together_run_vectorized(engine):
    found = sweep(vectorized(sine), grid(x=[0, 0.5, 1]), engine=engine)
    assert found["sine"].tolist() == [0.0, np.sin(0.5), np.sin(1)]


# ---------------------------------------------------------------- what fails


def fails_at_7(x):
    if x == 7:
        raise LookupError(f"no {x}")
    return x


@pytest.mark.parametrize("vector", [False, True])
def test_the_first_failure_ends_the_sweep_with_its_type_its_values_and_its_traceback(engine, vector):
    @vectorized
    def together(x):
        if (x == 7).any():
            raise LookupError("no 7")
        return x

    with pytest.raises(LookupError, match="no 7") as caught:
        sweep(together if vector else fails_at_7, grid(x=range(2000)), engine=engine)
    assert any("at point 7 of the sweep of" in note and "x=7" in note for note in caught.value.__notes__)
    assert "raise LookupError" in str(caught.value.__cause__)


@pytest.mark.parametrize("vector", [False, True])
def test_with_errors_store_the_others_are_there(engine, vector):
    @vectorized
    def together(x):
        if np.isin(x, [7, 700]).any():
            raise LookupError("no 7")
        return x

    def alone(x):
        if x in (7, 700):
            raise LookupError("no 7")
        return x

    result = sweep(together if vector else alone, grid(x=range(1000)), errors="store", engine=engine)
    name = "together" if vector else "alone"
    assert sorted(result.errors) == [7, 700]
    assert all(isinstance(error, LookupError) for error in result.errors.values())
    expected = np.arange(1000.0)
    expected[[7, 700]] = np.nan
    assert np.array_equal(result[name], expected, equal_nan=True)


def test_the_death_of_a_worker_costs_one_point():
    def dies_at_300(x):
        if x == 300:
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    result = sweep(dies_at_300, grid(x=range(600)), workers=2, errors="store")
    assert list(result.errors) == [300]
    assert isinstance(result.errors[300], procjob.WorkerDiedError)
    assert np.isnan(result["dies_at_300"]).sum() == 1


def test_a_retry_runs_the_point_again_with_the_same_seed(tmp_path):
    def fragile(x, seed):
        died = tmp_path / f"died-{x}"
        if x % 50 == 0 and len(list(tmp_path.glob(f"died-{x}-*"))) < 2:
            (died.parent / f"died-{x}-{time.monotonic_ns()}").touch()
            os._exit(3)
        return seed

    result = sweep(fragile, grid(x=range(100)), seed=5, workers=2, retries=2)
    assert result == sweep(fragile, grid(x=range(100)), seed=5, workers=0)


def test_a_time_limit_is_that_of_a_point():
    def naps(x):
        time.sleep(60 if x == 5 else 0.02)
        return x

    result = sweep(naps, grid(x=range(20)), workers=2, time_limit=0.5, errors="store")
    assert list(result.errors) == [5]
    assert isinstance(result.errors[5], procjob.TimeLimitExceeded)
    with pytest.raises(procjob.JobError, match="time_limit needs worker processes"):
        sweep(naps, grid(x=[1]), workers=0, time_limit=1)


def test_retries_are_refused_where_no_worker_can_be_replaced():
    circuit = procjob.Circuit(1).ry(procjob.Parameter("theta"), 0)
    points = grid(theta=np.linspace(0, 1, 9))  # in one chunk, which goes without the limits of a point
    assert not sweep(circuit, points, shots=None, workers=0, retries=1).partial  # no worker dies there
    with (
        concurrent.futures.ThreadPoolExecutor(1) as executor,
        pytest.raises(procjob.JobError, match="retries needs worker processes"),
    ):
        sweep(circuit, points, shots=None, engine=ExecutorEngine(executor), retries=1)


def test_what_a_target_imports_on_a_new_worker_is_not_the_time_of_a_point(tmp_path, monkeypatch):
    (tmp_path / "slow_to_import.py").write_text("import time\ntime.sleep(1.5)\ndef double(x): return 2 * x\n")
    monkeypatch.syspath_prepend(tmp_path)
    import slow_to_import

    found = sweep(slow_to_import.double, grid(x=range(4)), workers=2, time_limit=1.0)
    assert found["double"].tolist() == [0, 2, 4, 6]


def test_a_seed_modulo_two_to_the_32_is_one_for_the_old_generators(engine):
    def old(x, seed):
        np.random.seed(seed % 2**32)  # noqa: NPY002
        return np.random.random()  # noqa: NPY002

    assert len(set(sweep(old, grid(x=range(5)), seed=1, engine=engine)["old"].tolist())) == 5


def test_a_result_that_cannot_be_pickled_costs_its_own_point(engine):
    def odd(x):
        return threading.Lock() if x == 33 else x

    result = sweep(odd, grid(x=range(100)), errors="store", engine=engine)
    assert list(result.errors) == [33]
    assert "pickle" in str(result.errors[33])
    assert [x for x in range(100) if result["odd"][x] != x] == [33]


def test_a_function_that_cannot_be_pickled_is_refused_at_once(engine):
    lock = threading.Lock()
    with pytest.raises(TypeError, match="lock"):
        sweep(lambda x: lock, grid(x=[1]), engine=engine)


@pytest.mark.parametrize("wrong", [3, len, int], ids=str)
def test_what_cannot_be_marked_as_vectorized_says_so(wrong):
    with pytest.raises(TypeError, match="vectorized takes a function"):
        vectorized(wrong)


def test_what_a_vectorized_function_returns_has_to_fit(engine):
    with pytest.raises(ValueError, match=r"got 1 points and returned value of shape \(3,\)"):
        sweep(vectorized(lambda x: np.zeros(3)), grid(x=[1, 2]), engine=engine)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"errors": "ignore"}, ValueError, "errors must be 'raise' or 'store'"),
        ({"seed": -1}, ValueError, "seed"),
        ({"seed": 1.5}, TypeError, "seed"),
        ({"retries": -1}, ValueError, "retries"),
        ({"time_limit": 0}, ValueError, "time_limit"),
        ({"version": 3}, TypeError, "version must be a string"),
        ({"shots": 10}, TypeError, "shots is for circuits"),
        ({"observables": ["Z0"]}, TypeError, "observables is for circuits"),
        ({"workers": -1}, ValueError, "workers"),
        ({"store": 3}, TypeError, "store must be a path or a Store, not 3"),
        ({"engine": 3, "workers": None}, TypeError, "engine must be"),
        ({"engine": 3}, TypeError, "engine= excludes workers"),
        ({"chunks": 3}, TypeError, "chunks"),
    ],
    ids=str,
)
def test_bad_options_are_refused_before_anything_runs(options, error, words, tmp_path):
    def never(x):
        (tmp_path / "ran").touch()

    with pytest.raises(error, match=words):
        sweep(never, grid(x=[1]), **{"workers": 1} | options)
    assert not (tmp_path / "ran").exists()


def test_a_value_without_identity_is_named_where_random_numbers_need_one(engine):
    class Thing:
        pass

    with pytest.raises(TypeError, match=r"of axis x, a .*Thing, has no stable identity"):
        sweep(lambda x, seed: 1, grid(x=[Thing()]), engine=engine)
    assert sweep(lambda x: 1, grid(x=[Thing()]), engine=engine)["value"].tolist() == [1]


# ---------------------------------------------------------------- while it runs


def test_partial_results_and_progress_are_there_while_it_runs(engine):
    job = sweep(slow, grid(x=range(200)), engine=engine, wait=False)
    told = threading.Event()
    reports, statuses = [], []
    job.on_progress(lambda report: (reports.append(report), told.set() if report.done else None))
    job.on_status(statuses.append)
    assert told.wait(DEADLINE)
    assert job.status() is JobStatus.RUNNING
    partial = job.result(partial=True)
    assert 0 < (partial.status == 1).sum() < 200
    with pytest.raises(procjob.JobTimeoutError):
        job.result(timeout=0.01)
    assert job.result(DEADLINE)["slow"].tolist() == list(range(200))
    ended = threading.Event()
    job.add_done_callback(lambda found: ended.set() if found is job else None)
    assert ended.wait(DEADLINE)
    assert (job.progress().done, job.progress().total) == (200, 200)
    assert [r.done for r in reports] == sorted(r.done for r in reports)
    assert statuses in ([JobStatus.DONE], [JobStatus.RUNNING, JobStatus.DONE])


def test_a_signal_handler_may_look_at_any_moment_and_sees_whole_points():
    """Without workers it interrupts the thread that adds them: it would wait for ever, or find a point without its value."""
    for points in (grid(x=range(5)), ({"x": x} for x in range(5))):
        job = procjob.Sweep(slow, points, workers=0)
        seen = set()

        def look(*_, job=job, seen=seen):
            found = job.result(partial=True)
            done = found.take(np.flatnonzero(found.status == 1))
            seen.add((tuple(done["x"].tolist()), tuple(done["slow"].tolist()) if len(done) else ()))

        sys.setprofile(look)
        try:
            job.submit()
        finally:
            sys.setprofile(None)
        assert len(seen) > 2
        assert seen <= {(tuple(range(count)),) * 2 for count in range(6)}


def test_a_sweep_can_be_awaited(engine):
    async def both():
        jobs = [sweep(slow, grid(x=range(n)), engine=engine, wait=False) for n in (5, 6)]
        return [len((await job)["slow"]) for job in jobs]

    assert asyncio.run(both()) == [5, 6]


def test_points_that_are_slower_than_those_before_do_not_hold_back_what_is_finished(engine):
    def naps(x):
        time.sleep(0.6 if x >= 1000 else 0)
        return x

    job = sweep(naps, iter([{"x": x} for x in range(1004)]), engine=engine, wait=False)
    seen = []
    job.on_progress(lambda report: seen.append(report.done))
    assert job.result(DEADLINE)["naps"].tolist() == list(range(1004))
    assert {1001, 1002, 1003} & set(seen)


def test_cancel_is_quick_and_leaves_what_was_finished_and_no_process():
    def naps(x):
        time.sleep(0.2 if x < 10 else 600)
        return x

    job = sweep(naps, grid(x=range(100)), workers=2, wait=False)
    begun = threading.Event()
    job.on_progress(lambda report: begun.set() if report.done >= 5 else None)
    assert begun.wait(DEADLINE)
    began = time.monotonic()
    assert job.cancel()
    job.wait_for_final_state(DEADLINE)
    assert time.monotonic() - began < 5
    assert job.status() is JobStatus.CANCELLED
    with pytest.raises(procjob.JobCancelledError):
        job.result()
    partial = job.result(partial=True)
    done = np.flatnonzero(partial.status == 1)
    assert 5 <= len(done) <= 10
    assert partial["naps"][done].tolist() == done.tolist()
    assert not job.cancel()


def test_the_progress_of_a_sweep_that_failed_counts_what_its_result_has():
    class AtOnce(concurrent.futures.Executor):
        """All chunks that are out have ended when the first is looked at."""

        def submit(self, fn, /, *args, **kwargs):
            future = concurrent.futures.Future()
            future.set_running_or_notify_cancel()
            future.set_result(fn(*args, **kwargs))
            return future

    job = sweep(lambda x: 1 // x, [{"x": x} for x in range(9)], engine=ExecutorEngine(AtOnce()), wait=False)
    with pytest.raises(ZeroDivisionError):
        job.result(DEADLINE)
    assert job.progress().done == np.count_nonzero(job.result(partial=True).status) > 1


def test_a_sweep_has_run_since_its_first_point_began_and_never_if_the_store_has_them_all(tmp_path):
    options = {"store": tmp_path / "s.db", "workers": 1, "wait": False, "version": "1"}
    job = sweep(slow, grid(x=range(3)), **options)
    job.wait_for_final_state(DEADLINE)
    metrics = job.metrics()
    entered = metrics.timestamps
    assert metrics.run_seconds == pytest.approx(entered[JobStatus.DONE] - entered[JobStatus.RUNNING], abs=0.01)
    assert metrics.queue_seconds > 0
    again = sweep(slow, grid(x=range(3)), **options)
    again.wait_for_final_state(DEADLINE)
    assert (again.metrics().run_seconds, again.metrics().attempts) == (None, 0)


def test_a_cancel_is_heard_while_an_iterator_takes_its_time(engine):
    def points():
        for number in itertools.count():
            time.sleep(0.05)
            yield {"x": number}

    job = sweep(lambda x: x, points(), engine=engine, wait=False)
    begun = threading.Event()
    job.on_progress(lambda report: begun.set() if report.done >= 3 else None)
    assert begun.wait(DEADLINE)
    job.cancel()
    job.wait_for_final_state(5)
    assert job.result(partial=True)["value"][:3].tolist() == [0, 1, 2]


def test_an_iterator_that_waits_holds_up_neither_what_is_finished_nor_a_cancel(engine, tmp_path):
    go_on = threading.Event()

    def points():
        yield from ({"x": number} for number in range(5))
        go_on.wait(DEADLINE)
        yield {"x": 5}

    try:
        job = sweep(lambda x: x, points(), engine=engine, wait=False, store=tmp_path / "s.db", version="1")
        done = threading.Event()
        job.on_progress(lambda report: done.set() if report.done == 5 else None)
        assert done.wait(DEADLINE)
        again = procjob.Sweep(lambda x: x, grid(x=range(5)), workers=0, store=tmp_path / "s.db", version="1")
        assert again.reusable() == 5, "they are kept while the iterator waits"
        job.cancel()
        job.wait_for_final_state(5)
        assert job.status() is JobStatus.CANCELLED
        assert job.result(partial=True)["value"].tolist() == [0, 1, 2, 3, 4]
    finally:
        go_on.set()


def test_an_iterator_may_choose_points_by_the_results_of_those_before(engine):
    job: procjob.Sweep

    def halving():
        low, high = 0.0, 2.0
        for number in range(20):
            middle = (low + high) / 2
            yield {"x": middle}
            deadline = time.monotonic() + DEADLINE
            while (found := job.result(partial=True)).status.sum() <= number:
                assert time.monotonic() < deadline
                time.sleep(0.001)
            low, high = (middle, high) if found["value"][number] < 2 else (low, middle)

    job = procjob.Sweep(lambda x: x * x, halving(), engine=engine)
    job.submit()
    assert job.result(DEADLINE)["x"][-1] == pytest.approx(2**0.5, abs=1e-5)


def test_an_iterator_is_read_no_further_ahead_with_a_store_unless_its_points_are_there(engine, tmp_path):
    read, go_on = [], tmp_path / "go on"

    def wait(x):
        while not go_on.exists():
            time.sleep(0.001)
        return x

    def points():
        for number in range(200):
            read.append(number)
            yield {"x": number}

    options = {"engine": engine, "store": tmp_path / "s.db", "version": "1"}
    job = sweep(wait, points(), wait=False, **options)
    begun = threading.Event()
    job.on_status(lambda status: begun.set() if status is JobStatus.RUNNING else None)
    try:
        assert job.running() or begun.wait(DEADLINE)  # it may have been told before anybody listened
        with pytest.raises(procjob.JobTimeoutError):
            job.result(timeout=0.3)  # the reading of an iterator takes at most 0.1 s
        assert len(read) <= 10
    finally:
        go_on.touch()
    assert job.result(DEADLINE)["wait"].tolist() == read == list(range(200))
    again = sweep(wait, points(), **options)
    assert again["wait"].tolist() == list(range(200))
    assert again.metadata["reused"] == 200


def test_an_iterator_that_ends_its_thread_ends_the_sweep(engine):
    def points():
        yield {"x": 1}
        sys.exit("enough")

    with pytest.raises(SystemExit, match="enough"):
        sweep(slow, points(), engine=engine, wait=False).result(DEADLINE)


def test_an_iterator_is_read_as_far_as_it_is_needed_and_its_end_is_found(engine):
    read = []

    def points():
        for number in range(300):
            read.append(number)
            yield {"x": number}

    result = sweep(slow, points(), engine=engine)
    assert result["slow"].tolist() == read == list(range(300))


@pytest.mark.parametrize(
    ("last", "error", "words"),
    [
        (None, OSError, "no more"),
        ({"y": 3}, ValueError, r"points\[50\] has the axes y, but points\[0\] has x"),
        ({"x": float("nan")}, ValueError, "axis x has nan at position 50"),
        (7, TypeError, r"points\[50\] must be a mapping"),
    ],
)
def test_the_points_before_one_that_cannot_be_read_are_run_and_kept(last, error, words, engine, tmp_path):
    def points():
        yield from ({"x": number} for number in range(50))
        if last is None:
            raise OSError("no more")
        yield last

    for options in ({}, {"store": tmp_path / "s.db"}):
        job = sweep(slow, points(), engine=engine, wait=False, **options)
        with pytest.raises(error, match=words):
            job.result(DEADLINE)
        assert job.result(partial=True)["slow"].tolist() == list(range(50))
    assert procjob.Sweep(slow, grid(x=range(50)), workers=0, store=tmp_path / "s.db").reusable() == 50


def test_a_function_that_takes_values_by_position_only_says_what_to_write(engine):
    with pytest.raises(TypeError, match=r"abs cannot be .* by position only; write lambda x: abs\(x\)"):
        sweep(abs, grid(x=[1]), engine=engine)

    def power(x, n, /):
        return x**n

    with pytest.raises(TypeError, match=r"write lambda x, n: power\(x, n\)"):
        sweep(power, grid(x=[1], n=[2]), engine=engine)


@pytest.mark.parametrize("value", [np.array(1.5), np.longdouble(1), np.str_("a"), np.array(2)])
def test_odd_values_of_numpy_are_found_saved_and_shown(value, engine, tmp_path):
    found = sweep(told_type, [{"x": value}, {"x": value * 2}], engine=engine) if not isinstance(value, str) else sweep(
        told_type, [{"x": value}, {"x": "b"}], engine=engine)  # fmt: skip
    assert found["told_type"].tolist()[0] == told_type(value)
    assert found.sel(x=value)["told_type"] == told_type(value)
    assert found["x"].tolist()[0] == value
    assert found["x"].dtype == (object if isinstance(value, str) else value.dtype)
    assert procjob.SweepResult.load(found.save(tmp_path / "r.npz")) == found


@pytest.mark.parametrize("cancel", [True, False])
def test_an_engine_that_is_closed_meanwhile_ends_the_sweep(cancel):
    own = ProcessEngine(1)
    job = sweep(slow, grid(x=range(10_000)), engine=own, wait=False)
    begun = threading.Event()
    job.on_progress(lambda report: begun.set() if report.done else None)
    assert begun.wait(DEADLINE)
    own.close(cancel=cancel)
    job.wait_for_final_state(DEADLINE)
    assert job.status() is JobStatus.CANCELLED
    assert (job.result(partial=True).status == 1).any()


def test_an_engine_that_is_closed_before_is_refused():
    own = ProcessEngine(1)
    own.close()
    with pytest.raises(RuntimeError, match=r"closed|shutdown"):
        sweep(slow, grid(x=[1]), engine=own)


def test_a_sweep_inside_a_worker_runs_in_place(engine):
    def inner(depth):
        return float(sweep(lambda x: x * depth, grid(x=range(5)))["value"].sum())

    assert sweep(inner, grid(depth=[1, 2]), engine=engine)["inner"].tolist() == [10.0, 20.0]


def test_a_sweep_leaves_an_engine_that_was_given_open(engine):
    for _ in range(2):
        assert sweep(slow, grid(x=[1]), engine=engine)["slow"].tolist() == [1]


def test_a_submitted_sweep_is_not_submitted_again(engine):
    job = procjob.Sweep(slow, grid(x=[1, 2]), engine=engine)
    assert job.status() is JobStatus.INITIALIZING
    job.submit()
    with pytest.raises(procjob.JobError):
        job.submit()
    assert job.result(DEADLINE)["slow"].tolist() == [1, 2]


def test_a_bar_counts_points(engine, capsys):
    sweep(slow, grid(x=range(20)), engine=engine, progress=True)
    text = capsys.readouterr().err
    assert "slow" in text
    assert "20/20" in text


def test_two_names_one_of_which_only_some_points_return(engine):
    found = sweep(lambda x: {"a": x} | ({"b": 2 * x} if x % 2 else {}), grid(x=range(40)), engine=engine)
    assert found["b"].tolist() == [2 * x if x % 2 else None for x in range(40)]


def test_one_sweep_may_have_the_points_of_a_zip_and_objects_for_values(engine):
    found = sweep(lambda name, n: name * n, zipped(name=["a", "b"], n=[2, 3]), engine=engine)
    assert found["value"].tolist() == ["aa", "bbb"]


# ---------------------------------------------------------------- scripts

CTRL_C = """
import sys, time
import procjob

def nap(x):
    time.sleep(0.02)
    return x
try:
    procjob.sweep(nap, procjob.grid(x=range(10_000)), workers=int(sys.argv[1]), store=sys.argv[2])
except KeyboardInterrupt as interrupt:
    print(*interrupt.__notes__, flush=True)
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_ctrl_c_leaves_at_once_and_says_what_was_kept(tmp_path, workers):
    store = tmp_path / "naps.db"
    script = subprocess.Popen(
        [sys.executable, "-c", CTRL_C, str(workers), store], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + DEADLINE
        while not store.exists() or not _points_in(store):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        workers_of = psutil.Process(script.pid).children(recursive=True)
        began = time.monotonic()
        script.send_signal(signal.SIGINT)
        out, err = script.communicate(timeout=DEADLINE)
    finally:
        script.kill()
        script.wait()
    assert time.monotonic() - began < 5
    assert err == ""
    kept = _points_in(store)
    assert (
        f"procjob: {kept} points of the sweep of nap were finished and are kept in {store}; the same call goes on"
        in out
    )
    assert kept
    assert not psutil.wait_procs(workers_of, timeout=10)[1]


def _points_in(store):
    import sqlite3

    try:
        with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as connection:
            return connection.execute("SELECT COUNT(*) FROM points WHERE status = 'DONE'").fetchone()[0]
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()


END = """
import time
import procjob
procjob.sweep(lambda x: time.sleep(600), procjob.grid(x=range(100)), workers=2, wait=False)
print("end", flush=True)
"""


def test_a_script_that_ends_does_not_wait_for_its_sweep():
    done = subprocess.run([sys.executable, "-c", END], capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert (done.stdout, done.returncode) == ("end\n", 0), done.stderr


def test_a_value_that_a_call_changes_is_as_it_was_for_the_next_one(engine):
    def count(settings, x):
        settings["n"] += 1
        return settings["n"]

    result = procjob.sweep(count, procjob.grid(settings=[{"n": 0}], x=range(20)), engine=engine)
    assert set(result["count"].ravel().tolist()) == {1}


def test_what_a_partial_has_is_left_as_it_is(engine):
    def draw(x, seed, rng):
        return {"seed": seed, "rng": rng}

    fixed = functools.partial(draw, seed=42, rng=None)
    assert procjob.sweep(fixed, procjob.grid(x=[1, 2]), seed=3, engine=engine)["seed"].tolist() == [42, 42]


def test_a_version_stands_for_the_code_and_not_for_the_arguments_of_a_partial(tmp_path):
    def scaled(x, factor):
        return x * factor

    options = {"version": "1", "store": tmp_path / "points.db", "workers": 0}
    for factor in (2, 3):
        result = procjob.sweep(functools.partial(scaled, factor=factor), procjob.grid(x=[1, 10]), **options)
        assert result["scaled"].tolist() == [factor, 10 * factor]


def test_a_store_that_the_sweep_has_opened_is_one_file_when_the_sweep_has_ended(tmp_path):
    def double(x):
        return 2 * x

    job = procjob.Sweep(double, procjob.grid(x=range(10)), store=tmp_path / "points.db", workers=0)
    assert job.reusable() == 0
    job.submit()
    assert job.result()["double"].tolist() == list(range(0, 20, 2))
    assert [path.name for path in tmp_path.iterdir()] == ["points.db"]
    assert job.reusable() == 10
    assert [path.name for path in tmp_path.iterdir()] == ["points.db"]


def test_an_option_that_a_sweep_does_not_have_is_named():
    with pytest.raises(TypeError, match="sweep has no option 'worker'; it has seed, workers, engine"):
        procjob.sweep(abs, procjob.grid(x=[1]), worker=2)
    shown = inspect.signature(procjob.sweep).parameters.keys()
    assert {"workers", "store", "wait"} <= shown
    assert shown == {"target", "points", "wait", *SweepOptions.__annotations__}, "type checkers know the same options"


class Travelled:
    """Counts in each process how many of it have arrived there; the class travels with every chunk, and cannot."""

    def __setstate__(self, state):
        sys.arrived_here = getattr(sys, "arrived_here", 0) + 1

    def __getstate__(self):
        return {"number": 0}

    def __deepcopy__(self, memo):
        return self


def arrivals(value, number):
    time.sleep(0.002)  # both workers have some of them
    return {"pid": os.getpid(), "arrived": sys.arrived_here}


def test_a_worker_is_sent_the_points_that_it_runs_and_no_others(engine):
    found = sweep(arrivals, zipped(value=[Travelled() for _ in range(200)], number=range(200)), engine=engine)
    last = {pid: found["arrived"][found["pid"] == pid].max() for pid in set(found["pid"])}
    assert sum(last.values()) == 200


def told_type(x):
    return f"{type(x).__name__} {x}"


@pytest.mark.parametrize(
    ("values", "called_with", "dtype"),
    [
        ([0, 0.5], ["int 0", "float 0.5"], "float64"),
        ([np.int64(0), 0.5, np.float64(2)], ["int 0", "float 0.5", "float 2.0"], "float64"),
        ([0, 2**70], ["int 0", f"int {2**70}"], "object"),
        ([True, 2], ["bool True", "int 2"], "object"),
        (["a", 1], ["str a", "int 1"], "object"),
        (["a", "b"], ["str a", "str b"], "object"),
        (np.array(["2026-01-02", "2026-01-03"], "M8[ns]"),
         [f"datetime64 2026-01-0{day}T00:00:00.000000000" for day in (2, 3)], "M8[ns]"),
        (np.array(["2026-01-02", "2026-01-03"], "M8[D]"), ["datetime64 2026-01-02", "datetime64 2026-01-03"], "M8[D]"),
        ([np.datetime64("2026", "Y"), np.datetime64("2026-02", "M")], ["datetime64 2026", "datetime64 2026-02"], "object"),
        (np.array([5, 6], "m8[s]"), ["timedelta64 5 seconds", "timedelta64 6 seconds"], "m8[s]"),
    ],
)  # fmt: skip
def test_a_target_gets_values_as_they_were_written_and_the_result_shows_them_as_an_array(
    values, called_with, dtype, engine, tmp_path
):
    found = sweep(told_type, grid(x=values), engine=engine, store=tmp_path / "s.db")
    assert found["told_type"].tolist() == called_with
    assert found["x"].dtype == dtype
    assert found["x"].tolist() == np.array(list(values), dtype=dtype).tolist()
    assert found.to_numpy()["x"].dtype == dtype
    if dtype == "float64":
        assert found.to_xarray()["x"].dtype == "float64"
    again = sweep(told_type, found.take(np.arange(2)).points, engine=engine, store=tmp_path / "s.db")
    assert again.metadata["reused"] == 2, "points of a result are those that were run"
    assert procjob.SweepResult.load(found.save(tmp_path / "r.npz")) == found
    assert procjob.SweepResult.from_store(tmp_path / "s.db", found.metadata["sweep_id"]) == found
    assert (found + found)["x"].dtype == dtype
    for number, value in enumerate(values):
        assert found.sel(x=value)["told_type"].tolist() == called_with[number]
        assert found.sel(x=value)["x"].dtype == np.asarray(value).dtype or dtype == "object"


def test_a_vectorized_function_gets_times_as_an_array_of_times(engine):
    later = vectorized(lambda x: {"later": (x + np.timedelta64(1, "D")).astype("M8[D]").astype(str)})
    days = np.array(["2026-01-31", "2026-12-31"], "M8[ns]")
    found = sweep(later, grid(x=days), engine=engine)
    assert found["later"].tolist() == ["2026-02-01", "2027-01-01"]
    assert found.sel(x="2026-12-31")["later"].tolist() == "2027-01-01"
    assert found.sel(x=slice(np.datetime64("2026-02-01"), None))["later"].tolist() == ["2027-01-01"]
    assert found.sel(x=days[:1])["later"].tolist() == ["2026-02-01"]
    with pytest.raises(KeyError, match="there is no x=2025-01-01; x has '2026-01-31"):
        found.sel(x="2025-01-01")


def test_a_time_that_is_none_and_a_number_that_is_infinite_are_told_as_they_are_written():
    with pytest.raises(ValueError, match=r"axis x has NaT at position 1; every number must be finite"):
        grid(x=np.array(["2026-01-01", "NaT"], "M8[s]"))
    for values in (np.array([0.0, np.inf]), [0.0, np.inf], [0, float("inf")]):
        with pytest.raises(ValueError, match="axis x has inf at position 1; every number must be finite"):
            grid(x=values)
