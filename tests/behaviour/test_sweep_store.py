"""Sweeps with a store: what is there is not run again, what has changed is not mixed, what goes wrong costs nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import importlib
import logging
import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import cloudpickle
import numpy as np
import pytest

import procjob
from procjob import Store, SweepResult, grid, sweep, vectorized, zipped
from procjob.engine import ProcessEngine
from procjob.errors import JobError, StoreError
from procjob.sweeps.points import from_spec

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers need not import tests

DEADLINE = 30.0


def ready(x):
    return x


@pytest.fixture(scope="module")
def engine():
    engine = ProcessEngine(2)
    sweep(lambda x: time.sleep(0.02), grid(x=range(10)), engine=engine)  # all its workers are there
    yield engine
    engine.close()


@pytest.fixture
def calls(tmp_path):
    """Points that were computed, in any process: a function for the target to log with, and one to read."""
    log = tmp_path / "calls"
    log.touch()

    def read():
        found = sorted(log.read_text().split())
        log.write_text("")
        return found

    read.path = str(log)
    return read


def target_of(path, source="x * 2.5", name="energy"):
    """A target that logs its calls; `path` counts as itself."""
    namespace = {"PATH": path, "__name__": "users_module"}
    code = f"def {name}(x):\n with open(PATH, 'a') as log: log.write(f'{{x}}\\n')\n return {source}"
    exec(code, namespace)
    return namespace[name]


def test_a_sweep_that_is_run_again_computes_nothing_and_gives_the_same(tmp_path, calls, engine):
    target = target_of(calls.path, "{'a': x / 3, 'b': [x], 'c': np.arange(x)}".replace("np", "__import__('numpy')"))
    points = grid(x=range(1, 30))
    first = sweep(target, points, engine=engine, store=tmp_path / "s.db")
    assert len(calls()) == 29
    again = sweep(target, points, engine=engine, store=tmp_path / "s.db")
    assert calls() == []
    assert again.metadata["reused"] == 29
    assert [again[name].tolist() == first[name].tolist() for name in "ab"] == [True, True]
    assert all(np.array_equal(one, other) for one, other in zip(again["c"], first["c"], strict=True))


def test_progress_is_told_on_the_way_through_points_that_are_in_the_store(tmp_path, engine):
    sweep(vectorized(ready), grid(x=range(5000)), engine=engine, store=tmp_path / "s.db", version="1")
    again = procjob.Sweep(ready, grid(x=range(5000)), engine=engine, store=tmp_path / "s.db", version="1")
    told, ended = [], threading.Event()
    again.on_progress(lambda report: told.append(report.done) or (report.done == 5000 and ended.set()))
    again.submit()
    assert ended.wait(DEADLINE)
    assert 0 < told[0] < 5000
    assert again.result(DEADLINE).metadata["reused"] == 5000


def test_only_what_is_missing_is_computed_in_any_order_with_any_workers_and_more_points(tmp_path, calls, engine):
    target, store = target_of(calls.path), tmp_path / "s.db"
    sweep(target, grid(x=range(0, 40, 2)), engine=engine, store=store)
    calls()
    result = sweep(target, list(grid(x=range(40)))[::-1], workers=0, store=store)
    assert calls() == sorted(map(str, range(1, 40, 2)))
    assert result["energy"].tolist() == [x * 2.5 for x in reversed(range(40))]
    lazy = sweep(target, ({"x": x} for x in range(45)), engine=engine, store=store)
    assert calls() == sorted(map(str, range(40, 45)))
    assert lazy["energy"].tolist() == [x * 2.5 for x in range(45)]


def test_values_that_are_pickled_in_a_store_from_another_machine_are_not_read_to_go_on(
    tmp_path, calls, engine, monkeypatch
):
    options = {"engine": engine, "store": tmp_path / "s.db"}
    points = grid(x=[dt.date(2026, 1, day) for day in range(1, 6)])
    for machine, reused in (("one", 0), ("other", 5)):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / machine))
        found = sweep(target_of(calls.path, "x.day * 2.5"), points, **options)
        assert found["energy"].tolist() == [2.5, 5.0, 7.5, 10.0, 12.5]
        assert found.metadata["reused"] == reused


def test_the_store_says_what_would_be_reused(tmp_path, calls, engine):
    target, store = target_of(calls.path), tmp_path / "s.db"
    sweep(target, grid(x=range(10)), engine=engine, store=store)
    assert procjob.Sweep(target, grid(x=range(5, 20)), workers=0, store=store).reusable() == 5
    assert procjob.Sweep(target, grid(x=range(5, 20)), workers=0).reusable() == 0
    with pytest.raises(procjob.JobError, match="make a list"):
        procjob.Sweep(target, iter([{"x": 1}]), workers=0, store=store).reusable()


@pytest.mark.parametrize("kind", ["function", "vectorized", "circuit"])
def test_a_resumed_sweep_has_the_bits_of_an_undisturbed_one(tmp_path, engine, kind):
    theta = procjob.Parameter("x")
    target = {
        "function": lambda x, rng: {"x": rng.normal() * x, "n": int(rng.integers(5))},
        "vectorized": vectorized(lambda x, seed: np.sin(x) + seed % 7),
        "circuit": procjob.Circuit(2).ry(theta, 0).cx(0, 1).measure_all(),
    }[kind]
    values = np.linspace(0, 3, 50)
    undisturbed = sweep(target, grid(x=values), seed=3, engine=engine)
    sweep(target, grid(x=values[::3]), seed=3, engine=engine, store=tmp_path / "s.db")
    resumed = sweep(target, grid(x=values), seed=3, engine=engine, store=tmp_path / "s.db")
    assert resumed.metadata["reused"] == 17
    assert resumed == undisturbed


def test_another_seed_is_another_point_only_where_random_numbers_are_drawn(tmp_path, engine):
    def drawn(x, seed):
        return seed

    for target, reused in ((ready, 5), (drawn, 0)):
        sweep(target, grid(x=range(5)), seed=1, engine=engine, store=tmp_path / "s.db")
        assert (
            sweep(target, grid(x=range(5)), seed=2, engine=engine, store=tmp_path / "s.db").metadata["reused"] == reused
        )


def test_a_seed_is_drawn_once_and_found_again(tmp_path, engine):
    def drawn(x, seed):
        return seed

    first = sweep(drawn, grid(x=range(5)), engine=engine, store=tmp_path / "s.db")
    again = sweep(drawn, grid(x=range(8)), engine=engine, store=tmp_path / "s.db")
    assert again.seed == first.seed
    assert again.metadata["reused"] == 5
    other = sweep(drawn, grid(x=range(5)), engine=engine, store=tmp_path / "other.db")
    assert other.seed != first.seed


def test_of_two_sweeps_that_begin_at_once_the_second_takes_the_seed_that_the_first_has_drawn(tmp_path, engine):
    def drawn(x, seed):
        return seed

    store = tmp_path / "s.db"
    one, other = (procjob.Sweep(drawn, grid(x=range(5)), engine=engine, store=store) for _ in range(2))
    assert not other.seed_is_from_store
    one.submit()
    other.submit()
    assert one.result(DEADLINE) == other.result(DEADLINE)
    assert (other.seed, other.seed_is_from_store) == (one.seed, True)
    assert SweepResult.from_store(store, other.job_id()) == one.result()
    again = sweep(drawn, grid(x=range(5)), engine=engine, store=store)
    assert (again.seed, again.metadata["reused"]) == (one.seed, 5)


def test_a_changed_function_is_told_and_not_mixed(tmp_path, calls, engine, caplog):
    store = tmp_path / "s.db"
    sweep(target_of(calls.path), grid(x=range(5)), engine=engine, store=store)
    calls()
    caplog.clear()
    with caplog.at_level(logging.WARNING, "procjob"):
        changed = sweep(target_of(calls.path, "x * 3.5"), grid(x=range(5)), engine=engine, store=store)
    assert len(calls()) == 5
    assert changed["energy"].tolist() == [x * 3.5 for x in range(5)]
    assert "energy has changed (energy), or Python has, since 5 points of it were stored" in caplog.text
    back = sweep(target_of(calls.path), grid(x=range(5)), engine=engine, store=store)
    assert calls() == []
    assert back["energy"].tolist() == [x * 2.5 for x in range(5)]


def test_a_version_says_instead_of_the_code_what_is_the_same(tmp_path, calls, engine):
    options = {"engine": engine, "store": tmp_path / "s.db"}
    sweep(target_of(calls.path), grid(x=range(5)), version="1", **options)
    calls()
    sweep(target_of(calls.path, "x * 3.5"), grid(x=range(5)), version="1", **options)
    assert calls() == []
    sweep(target_of(calls.path), grid(x=range(5)), version="2", **options)
    assert len(calls()) == 5


def test_points_that_failed_are_run_again(tmp_path, calls, engine):
    store, broken = tmp_path / "s.db", tmp_path / "broken"
    broken.touch()

    def fragile(x):
        if x == 3 and broken.exists():
            raise ValueError("broken")
        return x

    first = sweep(fragile, grid(x=range(6)), engine=engine, store=store, errors="store", version="1")
    assert list(first.errors) == [3]
    broken.unlink()
    again = sweep(fragile, grid(x=range(6)), engine=engine, store=store, version="1")
    assert again.metadata["reused"] == 5
    assert again["fragile"].tolist() == list(range(6))


def test_a_point_whose_worker_died_is_in_the_store_with_its_error_and_attempts(tmp_path):
    def dies(x):
        if x == 3:
            os._exit(3)
        return x

    with Store(tmp_path / "s.db") as store:
        sweep(dies, grid(x=range(6)), workers=1, retries=1, store=store, errors="store")
        ((target_id, _),) = store.targets("dies")
        assert store.count_points(target_id) == {"DONE": 5, "ERROR": 1}
        with store._database.read() as connection:
            ((error, attempts),) = connection.execute("SELECT error, attempts FROM points WHERE status = 'ERROR'")
    assert "WorkerDiedError" in error
    assert attempts == 2


def test_a_function_that_returns_nothing_to_keep_is_kept(tmp_path, engine):
    for reused in (0, 3):
        result = sweep(lambda x: {}, grid(x=range(3)), engine=engine, store=tmp_path / "s.db")
        assert result.metadata["reused"] == reused
        assert result.names == ()


def test_a_circuit_of_qiskit_without_a_name_resumes(tmp_path, engine):
    qiskit = pytest.importorskip("qiskit")
    from qiskit.circuit import Parameter

    for reused in (0, 3):
        theta = Parameter("theta")
        circuit = qiskit.QuantumCircuit(1)
        circuit.ry(theta, 0)
        result = sweep(circuit, grid(theta=[0.0, 1.0, 2.0]), observables=["Z"], engine=engine, store=tmp_path / "s.db")
        assert result.metadata["reused"] == reused


def test_a_target_without_identity_is_named_before_anything_runs(tmp_path):
    lock = threading.Lock()

    def energy(x):
        return lock

    with pytest.raises(TypeError, match=r"energy: lock, a lock, has no stable identity.*give version="):
        sweep(energy, grid(x=[1]), workers=1, store=tmp_path / "s.db")
    with pytest.raises(TypeError, match="of axis x, a object, has no stable identity"):
        sweep(ready, grid(x=[object()]), workers=1, store=tmp_path / "s.db")
    assert not (tmp_path / "s.db").exists()


def test_a_store_that_is_not_ours_is_refused_before_anything_runs(tmp_path):
    (tmp_path / "text").write_text("not a store")
    with pytest.raises(StoreError):
        sweep(ready, grid(x=[1]), workers=1, store=tmp_path / "text")
    assert (tmp_path / "text").read_text() == "not a store"


def harmed(store, harm, engine, count=400):
    """Run a sweep, do harm to its store in the middle; return the job."""

    def nap(x):
        time.sleep(0.005)
        return x

    job = sweep(nap, grid(x=range(count)), engine=engine, store=store, wait=False)
    begun = threading.Event()
    job.on_progress(lambda report: begun.set() if report.done >= 20 else None)
    assert begun.wait(DEADLINE)
    harm()
    return job


def check_what_is_left(job):
    partial = job.result(partial=True)
    done = np.flatnonzero(partial.status == 1)
    assert 20 <= len(done) < 400
    assert partial["nap"][done].tolist() == done.tolist()


def test_a_store_that_is_full_ends_the_sweep_with_what_is_there(tmp_path, engine):
    store = Store(tmp_path / "s.db")
    with store._database.read() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]

    def fill():
        with store._database.read() as connection:
            connection.execute(f"PRAGMA max_page_count={pages + 4}")

    job = harmed(store, fill, engine)
    with pytest.raises(StoreError, match="the disk is full"):
        job.result(DEADLINE)
    check_what_is_left(job)
    store.close()
    with Store(tmp_path / "s.db") as reopened:
        (record,) = reopened.sweeps()
        assert record.status == "ERROR"
        assert "the disk is full" in record.error
    sqlite3.connect(tmp_path / "s.db").close()


def test_a_store_that_is_locked_ends_the_sweep_with_what_is_there(tmp_path, engine):
    store = Store(tmp_path / "s.db", timeout=0.3)
    other = sqlite3.connect(tmp_path / "s.db", isolation_level=None, timeout=10)
    try:
        job = harmed(store, lambda: other.execute("BEGIN IMMEDIATE"), engine)
        with pytest.raises(StoreError, match="is locked by another process"):
            job.result(DEADLINE)
        check_what_is_left(job)
        assert store.sweep(job.job_id()).status == "RUNNING"  # as long as nothing can be written
    finally:
        other.close()
    record = store.sweep(job.job_id())
    assert record.status == "ERROR"
    assert "is locked by another process" in record.error
    store.close()


def test_a_cancel_while_the_store_is_locked_ends_the_sweep_all_the_same(tmp_path):
    store = Store(tmp_path / "s.db", timeout=0.5)
    other = sqlite3.connect(tmp_path / "s.db", isolation_level=None, timeout=10)
    own = ProcessEngine(2)
    try:
        job = harmed(store, lambda: other.execute("BEGIN IMMEDIATE"), own)
        job.cancel()
        job.wait_for_final_state(DEADLINE)
        assert job.status().name == "CANCELLED"
        other.close()
        assert store.sweep(job.job_id()).status == "CANCELLED"
    finally:
        other.close()
        store.close()
        own.close()


def test_a_cancel_while_the_end_is_written_is_in_the_store_too(tmp_path, engine):
    class Value:
        def __procjob_identity__(self):
            return 1

        def __reduce__(self):  # the points are kept when the sweep begins, and when all of them have been
            if store.count_points(1):
                assert is_here.wait(DEADLINE)
                cancelled.append(job.cancel())
            return (int, (1,))

    store, cancelled, is_here = Store(tmp_path / "s.db"), [], threading.Event()
    job = sweep(ready, [{"x": Value()}], engine=engine, store=store, wait=False)
    is_here.set()
    job.wait_for_final_state(DEADLINE)
    assert cancelled
    assert cancelled[0]
    assert job.status().name == "CANCELLED"
    assert store.sweep(job.job_id()).status == "CANCELLED"
    store.close()


def test_a_store_that_vanishes_ends_the_sweep_with_what_is_there(tmp_path, engine):
    store = Store(tmp_path / "s.db")
    job = harmed(store, (tmp_path / "s.db").unlink, engine)
    with pytest.raises(StoreError, match=r"no longer the file|is gone"):
        job.result(DEADLINE)
    check_what_is_left(job)
    store.close()


def models(factor):
    @dataclasses.dataclass
    class Model:
        x: int

        def energy(self):
            return factor * self.x

    return [Model(1), Model(2)]


def energy(model):
    return model.energy()


def test_values_whose_class_has_changed_are_other_points(tmp_path):
    with Store(tmp_path / "s.db", allow_pickle=True) as store:
        first = sweep(energy, grid(model=models(2)), workers=0, store=store)
        changed = sweep(energy, grid(model=models(100)), workers=0, store=store)
        assert (changed["energy"].tolist(), changed.metadata["reused"]) == ([100, 200], 0)
        again = sweep(energy, iter([{"model": model} for model in models(2)]), workers=0, store=store)
        assert (again["energy"].tolist(), again.metadata["reused"]) == ([2, 4], 2)
        for result in (first, changed, again):
            found = SweepResult.from_store(store, result.metadata["sweep_id"])
            assert found["energy"].tolist() == result["energy"].tolist()
            assert "classes" not in found.metadata


def test_with_a_version_of_the_users_own_a_changed_class_is_the_users_affair(tmp_path):
    for factor, reused in ((2, 0), (100, 2)):
        result = sweep(energy, grid(model=models(factor)), workers=0, store=tmp_path / "s.db", version="1")
        assert (result["energy"].tolist(), result.metadata["reused"]) == ([2, 4], reused)


IN_A_WORKER = """
import sys
import procjob
def energy(x):
    return x * FACTOR
def run(path):
    return procjob.sweep(energy, procjob.grid(x=[1, 2, 3]), workers=0, store=path)
with procjob.Backend(run, workers=1) as backend:
    in_worker = backend.run(sys.argv[1]).result()
print(in_worker["energy"].tolist(), run(sys.argv[1]).metadata["reused"])
"""


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A module of the user's that is imported, and its file."""
    file = tmp_path / "users_model.py"
    file.write_text("J = 2\ndef energy(x): return part(x) * J\ndef part(x): return x\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("users_model"), file
    del sys.modules["users_model"]


@pytest.mark.parametrize(
    "edit",
    [("J = 2", "J = 20"), ("x) * J", "x) * J * 10"), ("return x", "return 10 * x")],
    ids=["value", "code", "helper"],
)
@pytest.mark.parametrize("through", ["itself", "a function of the script"])
def test_workers_that_import_other_code_than_is_here_add_nothing_to_the_store(model, tmp_path, edit, through):
    users_model, file = model
    energy = users_model.energy

    def calling(x):
        return energy(x)

    target = energy if through == "itself" else calling
    store = tmp_path / "points.db"
    sweep(target, grid(x=[1, 2]), store=store, workers=1)
    file.write_text(file.read_text().replace(*edit))  # in an editor, beside a notebook
    with pytest.raises(JobError, match="imported another"):
        sweep(target, grid(x=[1, 2, 3]), store=store, workers=1)
    importlib.reload(users_model)
    fresh = sweep(users_model.energy, grid(x=[1, 2, 3]), store=store, workers=1)
    assert fresh["energy"].tolist() == [20, 40, 60]


def test_a_number_that_the_script_sets_in_a_module_is_not_taken_for_that_of_the_workers(model, tmp_path):
    users_model, _ = model
    users_model.J = 3
    with pytest.raises(JobError, match=r"users_model\.J"):
        sweep(users_model.energy, grid(x=[1, 2]), store=tmp_path / "points.db", workers=1)


def test_a_function_that_the_script_sets_in_a_module_is_not_taken_for_that_of_the_workers(model, tmp_path):
    users_model, _ = model
    users_model.part = lambda x: 10 * x
    with pytest.raises(JobError, match=r"users_model\.part"):
        sweep(users_model.energy, grid(x=[1, 2]), store=tmp_path / "points.db", workers=1)


def test_a_number_in_a_module_that_a_function_closes_over_is_compared_too(model, tmp_path):
    users_model, _ = model
    users_model.J = 3

    def scaled(x):
        return x * users_model.J

    with pytest.raises(JobError, match=r"users_model\.J"):
        sweep(scaled, grid(x=[1, 2]), store=tmp_path / "points.db", workers=1)


def test_a_sweep_of_other_code_than_the_workers_import_ends_whatever_is_done_with_errors_of_points(model, tmp_path):
    users_model, _ = model
    users_model.J = 3
    with Store(tmp_path / "points.db") as store:
        with pytest.raises(JobError, match=r"users_model\.J"):
            sweep(users_model.energy, grid(x=range(100)), store=store, workers=1, errors="store")
        ((target_id, _),) = store.targets("energy")
        assert store.count_points(target_id) == {}


def test_to_compare_code_takes_nothing_of_the_time_limit_of_a_point(model, tmp_path):
    class Slow:
        def __procjob_identity__(self):
            time.sleep(0.0 if os.getpid() == script else 1.5)
            return 0

    users_model, _ = model
    part, slow, script = users_model.part, Slow(), os.getpid()
    found = sweep(
        lambda x: part(x) if slow else 0, grid(x=[1, 2]), store=tmp_path / "points.db", workers=1, time_limit=1.0
    )
    assert found["value"].tolist() == [1, 2]


def test_what_functions_of_a_module_count_for_themselves_may_differ_in_workers(model, tmp_path):
    users_model, file = model
    file.write_text("calls = 0\ndef energy(x):\n global calls\n calls += 1\n return x if calls else 0\n")
    importlib.reload(users_model)
    assert users_model.energy(1) == 1  # a first look, in the script
    with contextlib.closing(ProcessEngine(1)) as engine:
        for x in (2, 3):
            assert sweep(users_model.energy, grid(x=[x]), store=tmp_path / "points.db", engine=engine)["energy"] == [x]


@pytest.mark.parametrize(
    "energy",
    [
        "def energy(x):\n model.calls += 1\n return x\n",
        "def energy(x):\n model.count()\n return x if model.calls else 0\n",
    ],
    ids=["in another module", "read in another module"],
)
def test_counters_in_another_module_may_differ_in_workers(model, tmp_path, energy):
    users_model, file = model
    file.write_text("calls = 0\ndef count():\n global calls\n calls += 1\n")
    importlib.reload(users_model)
    (tmp_path / "users_energy.py").write_text(f"import users_model as model\n{energy}")
    users_energy = importlib.import_module("users_energy")
    try:
        users_energy.energy(1)
        assert sweep(users_energy.energy, grid(x=[2]), store=tmp_path / "points.db", workers=1)["energy"] == [2]
    finally:
        del sys.modules["users_energy"]


def test_code_that_pytest_has_rewritten_in_the_script_is_no_other(tmp_path, monkeypatch):
    (tmp_path / "users_asserting.py").write_text("def energy(x):\n assert x\n return x\n")
    monkeypatch.syspath_prepend(tmp_path)
    pytest.register_assert_rewrite("users_asserting")
    users_asserting = importlib.import_module("users_asserting")
    try:
        assert type(users_asserting.__loader__).__name__ == "AssertionRewritingHook"
        for target in (users_asserting.energy, lambda x: users_asserting.energy(x) + 0):
            found = sweep(target, grid(x=[1, 2]), store=tmp_path / "points.db", workers=1)
            assert found[found.names[0]].tolist() == [1, 2]
    finally:
        del sys.modules["users_asserting"]


@pytest.mark.parametrize("flag", ["-O", "-OO"])
def test_code_that_is_optimized_in_the_script_is_no_other(tmp_path, flag):
    (tmp_path / "users_asserting.py").write_text('def energy(x):\n """Of x."""\n assert x\n return x\n')
    script = (
        "import procjob, users_asserting as u\nfor target in (u.energy, lambda x: u.energy(x)):"
        " procjob.sweep(target, procjob.grid(x=[1]), store='s.db', workers=1)"
    )
    done = subprocess.run([sys.executable, flag, "-c", script], cwd=tmp_path, timeout=DEADLINE, check=False)
    assert done.returncode == 0


def test_a_sweep_in_a_worker_tells_a_function_of_the_script_from_a_changed_one(tmp_path):
    def output(factor):
        script = IN_A_WORKER.replace("FACTOR", factor)
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / "s.db")],
            capture_output=True, text=True, timeout=DEADLINE, check=True,
        )  # fmt: skip
        return done.stdout.strip()

    assert output("2") == "[2, 4, 6] 3"
    assert output("100") == "[100, 200, 300] 3"


TOGETHER = """
import sys, time
import procjob
def nap(x):
    time.sleep(0.004)
    return x * 1.5
result = procjob.sweep(nap, procjob.grid(x=range(300)), workers=1, store=sys.argv[1], version="1")
print(result["nap"].sum(), result.status.min())
"""


def test_two_processes_run_the_same_sweep_on_one_store(tmp_path):
    both = [
        subprocess.Popen([sys.executable, "-c", TOGETHER, tmp_path / "s.db"], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    found = [process.communicate(timeout=DEADLINE)[0] for process in both]
    assert found == [f"{sum(range(300)) * 1.5} 1\n"] * 2
    with Store(tmp_path / "s.db") as store:
        ((target_id, _),) = store.targets("nap")
        assert store.count_points(target_id) == {"DONE": 300}
        assert {record.status for record in store.sweeps()} == {"DONE"}


def test_a_sweep_in_the_store_says_how_it_ended(tmp_path, engine):
    with Store(tmp_path / "s.db") as store:
        sweep(ready, grid(x=range(3)), engine=engine, store=store)
        with pytest.raises(ZeroDivisionError):
            sweep(lambda x: 1 / x, grid(x=[0]), engine=engine, store=store)
        assert [(record.name, record.status, record.error) for record in store.sweeps()] == [
            ("value", "ERROR", "ZeroDivisionError: division by zero"), ("ready", "DONE", None),
        ]  # fmt: skip
        assert list(from_spec(store.sweeps(name="ready")[0].points)) == [{"x": 0}, {"x": 1}, {"x": 2}]


LEFT_RUNNING = """
import sys, time
import procjob
def nap(x):
    time.sleep(0.01)
axis = [f"{number:0200}" for number in range(50_000)]  # how it has ended takes a while to write
job = procjob.sweep(nap, procjob.grid(x=axis), workers=1, store=sys.argv[1], wait=False)
while not job.running():
    time.sleep(0.01)
"""


def test_a_sweep_that_the_end_of_its_script_stops_is_cancelled_in_the_store(tmp_path):
    subprocess.run([sys.executable, "-c", LEFT_RUNNING, tmp_path / "s.db"], timeout=DEADLINE, check=True)
    with Store(tmp_path / "s.db") as store:
        assert [(record.status, record.error) for record in store.sweeps()] == [("CANCELLED", None)]


def test_a_sweep_whose_engine_is_closed_is_cancelled_in_the_store_too(tmp_path):
    own = ProcessEngine(1)
    with Store(tmp_path / "s.db") as store:
        job = harmed(store, lambda: own.close(cancel=True), own)
        job.wait_for_final_state(DEADLINE)
        assert (job.status().name, store.sweep(job.job_id()).status) == ("CANCELLED", "CANCELLED")


def test_a_sweep_is_found_by_its_tags_and_keeps_its_metadata(tmp_path, engine):
    notes = {"chip": "a", "when": (1, 2)}
    with Store(tmp_path / "s.db") as store:
        result = sweep(
            ready, grid(x=range(3)), engine=engine, store=store, tags=["first", 'quoted "tag"'], metadata=notes
        )
        sweep(ready, grid(x=range(3)), engine=engine, store=store, tags=["second"])
        (record,) = store.sweeps(tags=["first", 'quoted "tag"'])
        assert (record.tags, record.metadata) == (("first", 'quoted "tag"'), notes)
        assert store.sweeps(tags=["first", "second"]) == []
        assert len(store.sweeps()) == 2
        found = procjob.SweepResult.from_store(store, record.sweep_id)
    for each in (result, found):
        assert (each.metadata["tags"], each.metadata["metadata"]) == (["first", 'quoted "tag"'], notes)


def test_a_sweep_has_its_tags_and_metadata_as_a_job_has(engine):
    job = sweep(ready, grid(x=range(3)), engine=engine, wait=False, tags=["one"], metadata={"n": 1})
    job.wait_for_final_state(DEADLINE)
    assert (job.tags, job.metadata) == (("one",), {"n": 1})
    assert "tags" not in sweep(ready, grid(x=[1]), engine=engine).metadata


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tags": "word"}, "tags must be a list of strings, not 'word'"),
        ({"tags": [1]}, "tags must be a list of strings"),
        ({"metadata": [1]}, r"metadata must be a mapping, not \[1\]"),
    ],
)
def test_tags_and_metadata_that_are_none_are_refused(tmp_path, options, words):
    with pytest.raises(TypeError, match=words):
        sweep(ready, grid(x=[1]), workers=0, store=tmp_path / "s.db", **options)
    assert not (tmp_path / "s.db").exists()


def test_metadata_that_cannot_be_kept_cost_nothing_else(tmp_path):
    with Store(tmp_path / "s.db") as store:
        sweep(ready, grid(x=[1]), workers=0, store=store, metadata={"lock": threading.Lock()})
        (record,) = store.sweeps()
        assert record.status == "DONE"
        with pytest.raises(StoreError, match="it was not kept"):
            _ = record.metadata
        assert procjob.SweepResult.from_store(store, record.sweep_id)["ready"].tolist() == [1]


#: A store as procjob wrote it first: of a circuit, and of two functions that draw random numbers, with seed 3.
FIRST_STORE = Path(__file__).with_name("stored_sweeps.sql")


def drawn(x, y, seed):
    return {"sum": x, "seed": seed}


def mixed(x, label, pair, rng):
    return {"value": x + float(rng.integers(100)), "text": f"{label}{pair}"}


def stored_before():
    """Targets and points of that store."""
    circuit = procjob.Circuit(2).ry(procjob.Parameter("theta"), 0).cx(0, 1).measure_all()
    values = {"x": [0, 0.5, 1, 2**70], "label": ["a", "b", None, "d"], "pair": [(1, 2.5), (1,), ((0,), "z"), [True]]}
    return {
        "circuit": (circuit, grid(theta=[0.25 * k for k in range(12)]), {"shots": 50}),
        "mixed": (mixed, zipped(**values), {"version": "1"}),
        "drawn": (drawn, grid(x=[1, 2, 3], y=[0.5, 1.5]), {"version": "1"}),
    }


@pytest.mark.filterwarnings("ignore:.*computed with other versions:UserWarning")
@pytest.mark.parametrize("name", ["circuit", "mixed", "drawn"])
def test_a_store_of_the_first_procjob_is_gone_on_with_and_has_the_same_bits(tmp_path, engine, name):
    with sqlite3.connect(tmp_path / "s.db") as database:
        database.executescript(FIRST_STORE.read_text())
    database.close()
    target, points, options = stored_before()[name]
    found = sweep(target, points, seed=3, engine=engine, store=tmp_path / "s.db", **options)
    # The counts of the circuit are from another stream of random numbers, and so not those of a sweep in one go.
    assert found.metadata["reused"] == (0 if name == "circuit" else len(points))
    assert found == sweep(target, points, seed=3, engine=engine, **options)
    again = sweep(target, points, seed=3, engine=engine, store=tmp_path / "s.db", **options)
    assert again.metadata["reused"] == len(points)


def age(path):
    """Make the sweeps of a store those of an older NumPy."""
    with sqlite3.connect(path) as database:
        database.execute("UPDATE sweeps SET provenance = json_set(provenance, '$.numpy', '1.0')")
    database.close()


def test_points_that_another_version_of_a_library_has_computed_are_told_once_and_reused(tmp_path, engine):
    store = tmp_path / "s.db"
    sweep(ready, grid(x=range(3000)), engine=engine, store=store)
    age(store)
    told = rf"ready in .*s\.db has points .* other versions: numpy 1\.0 \(now {np.__version__}\)\. .* give version="
    with pytest.warns(UserWarning, match=told) as caught:
        assert sweep(ready, grid(x=range(3001)), engine=engine, store=store).metadata["reused"] == 3000
    assert len(caught) == 1
    with pytest.warns(UserWarning, match=told):
        assert procjob.Sweep(ready, grid(x=range(5)), workers=0, store=store).reusable() == 5


def test_points_of_this_version_are_reused_without_a_word_beside_those_of_another(tmp_path, engine):
    store = tmp_path / "s.db"
    sweep(ready, grid(x=[1]), engine=engine, store=store)
    age(store)
    for reused in (0, 1):  # the second time what the first has computed
        assert sweep(ready, grid(x=[2]), engine=engine, store=store).metadata["reused"] == reused


def test_the_versions_of_qiskit_and_aer_are_recorded_where_they_are_used(engine):
    qiskit_aer = pytest.importorskip("qiskit_aer")
    import qiskit

    found = sweep(ready, grid(x=[1]), engine=engine).metadata
    assert (found["qiskit"], found["qiskit-aer"]) == (qiskit.__version__, qiskit_aer.__version__)
