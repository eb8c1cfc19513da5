"""`QiskitJob`: what ends a run of circuits, what is left of it then, and what scripts ask of a job."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import sys
import time
from concurrent.futures import FIRST_COMPLETED

import cloudpickle
import pytest
from qiskit import QuantumCircuit
from qiskit.exceptions import QiskitError
from qiskit.providers import JobError as QiskitJobError
from qiskit.providers import JobStatus, JobTimeoutError, JobV1
from qiskit.result import Result
from qiskit_aer import AerSimulator

import procjob
from procjob import JobCancelledError, TimeLimitExceeded, WorkerDiedError
from procjob.qiskit import ProcessBackend

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers need not import tests

DEADLINE = 60.0
FIRM = {"grace": 0.1}  # Aer lets no interrupt through while it simulates


@pytest.fixture(scope="module")
def backend():
    """One worker, and never a stop: a test that replaces it has a backend of its own."""
    with ProcessBackend(AerSimulator(), workers=1) as backend:
        backend.run(bell()).result(DEADLINE)
        yield backend


@pytest.fixture
def own():
    """One worker that may be killed; each circuit is a task."""
    with ProcessBackend(AerSimulator(), workers=1, max_circuits_per_task=1) as backend:
        yield backend
        backend.close(cancel=True)


def bell(name="bell"):
    circuit = QuantumCircuit(2, name=name, metadata={"kind": name})
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    return circuit


def endless(size=1):
    """A loop in Aer's C++ code that waits for a 1 that never comes."""
    circuit = QuantumCircuit(size, 1, name="endless", metadata={"kind": "endless"})
    circuit.h(range(size))
    circuit.reset(0)
    circuit.measure(0, 0)
    with circuit.while_loop((circuit.clbits[0], 0)):
        circuit.measure(0, 0)
    return circuit


def until(condition):
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "it has not come true"
        time.sleep(0.005)


def running(job, ended):
    """Wait until a job runs and as many of its circuits have ended."""
    until(lambda: job.running() and len(job.future.part_results()) == ended)
    return job


def assert_partial(result, why):
    """Two Bell states, one at each end or both before what did not end."""
    assert isinstance(result, Result)
    assert not result.success
    assert why in result.status
    headers = [experiment.to_dict()["header"] for experiment in result.results]
    names = [header["name"] for header in headers]
    assert sorted(names) == ["endless", "first", "last"]
    assert [header["metadata"]["kind"] for header in headers] == names
    assert [experiment.success for experiment in result.results] == [name != "endless" for name in names]
    assert why in result.results[names.index("endless")].status
    assert [sum(result.get_counts(name).values()) for name in ("first", "last")] == [10, 10]
    with pytest.raises(QiskitError, match=why):
        result.get_counts("endless")


# ---------------------------------------------------------------- what ends it


def test_cancel_of_a_running_wide_circuit_ends_it_and_what_has_ended_is_left():
    with ProcessBackend(AerSimulator(), workers=2, max_circuits_per_task=1) as own:
        job = running(own.run([bell("first"), endless(16), bell("last")], shots=10, **FIRM), ended=2)
        assert job.progress().fraction == pytest.approx(2 / 3)
        assert job.cancel() is True
        job.wait_for_final_state(DEADLINE)
        assert job.status() is JobStatus.CANCELLED
        with pytest.raises(JobCancelledError) as caught:
            job.result()
        assert isinstance(caught.value, QiskitJobError)
        result = job.result(partial=True)
        assert_partial(result, "CANCELLED")
        assert result.job_id == job.job_id()
        assert own.run(bell(), shots=10).result(DEADLINE).success, "the workers are free again"


def test_a_time_limit_ends_it_and_what_has_ended_is_left(own):
    own.run(bell()).result(DEADLINE)  # the worker has Qiskit in memory
    job = own.run([bell("first"), bell("last"), endless()], shots=10, time_limit=1.0, **FIRM)
    with pytest.raises(TimeLimitExceeded):
        job.result(DEADLINE)
    assert job.status() is JobStatus.ERROR
    assert_partial(job.result(partial=True), "TimeLimitExceeded")


class Tells(AerSimulator):
    """Touches a file when it begins with the endless circuit."""

    def __init__(self, flag):
        super().__init__()
        self.flag = flag

    def run(self, circuits, parameter_binds=None, **options):
        if circuits[0].name == "endless":
            self.flag.touch()
        return super().run(circuits, parameter_binds, **options)


def test_a_killed_worker_ends_it_and_what_has_ended_is_left(tmp_path):
    begun = tmp_path / "begun"
    with ProcessBackend(Tells(begun), workers=1, max_circuits_per_task=1) as own:
        job = running(own.run([bell("first"), bell("last"), endless()], shots=10), ended=2)
        until(begun.exists)
        os.kill(job.metrics().worker_pid, signal.SIGKILL)
        with pytest.raises(WorkerDiedError, match="SIGKILL"):
            job.result(DEADLINE)
        assert job.status() is JobStatus.ERROR
        assert "SIGKILL" in job.error_message()
        assert_partial(job.result(partial=True), "WorkerDiedError")


class DiesOnce(AerSimulator):
    """Kills its process in the middle of the circuit called ``last``, the first time."""

    def __init__(self, flag):
        super().__init__()
        self.flag = flag

    def run(self, circuits, parameter_binds=None, **options):
        if circuits[0].name == "last" and not self.flag.exists():
            self.flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().run(circuits, parameter_binds, **options)


def test_with_retries_a_killed_worker_changes_nothing(tmp_path):
    circuits = [bell("first"), bell("middle"), bell("last")]
    options = {"shots": 100, "seed_simulator": 2}
    flag = tmp_path / "died"
    with ProcessBackend(DiesOnce(flag), workers=1, max_circuits_per_task=1) as backend:
        job = backend.run(circuits, retries=1, **options)
        assert job.result(DEADLINE).get_counts() == AerSimulator().run(circuits, **options).result().get_counts()
        assert job.metrics().attempts == 2
    assert flag.exists()


def test_a_job_that_has_not_begun_is_cancelled_at_once_and_leaves_nothing(own):
    block = own.run(endless(), shots=1, **FIRM)
    until(block.running)
    job = own.run([bell("first"), bell("last")])
    assert job.status() is JobStatus.QUEUED
    assert (block.queue_position(), job.queue_position()) == (None, 0)
    assert job.cancel() is True
    assert job.status() is JobStatus.CANCELLED
    assert job.queue_position() is None
    result = job.result(partial=True)
    assert [experiment.success for experiment in result.results] == [False, False]
    assert block.cancel()


class Stays(AerSimulator):
    """Ends with the first block of shots, which has the seed of the run, and with no other."""

    def run(self, circuits, parameter_binds=None, **options):
        if options["seed_simulator"] != 2:
            time.sleep(600)
        return super().run(circuits, parameter_binds, **options)


def test_of_shots_that_are_divided_those_that_were_taken_are_left():
    with ProcessBackend(Stays(), workers=1, max_shots_per_task=10) as own:
        job = running(own.run(bell(), shots=30, seed_simulator=2), ended=1)
        assert job.cancel() is True
        job.wait_for_final_state(DEADLINE)
        (experiment,) = job.result(partial=True).results
        assert (experiment.success, experiment.shots) == (False, 10)
        assert sum(experiment.data.counts.values()) == 10
        assert experiment.status == "only 10 shots; the others: not run: CANCELLED"


@pytest.mark.parametrize("partial", [False, True])
def test_what_aer_reports_as_failed_is_a_result_without_success_and_the_status_error(backend, partial):
    job = backend.run([bell(), bell("no clifford")], method="extended_stabilizer", noise_model=None, shots=10)
    assert job.result(DEADLINE).success
    rotated = QuantumCircuit(1, name="rotated")
    rotated.rx(0.1, 0)
    rotated.measure_all()
    job = backend.run([bell(), rotated], method="stabilizer", shots=10)
    result = job.result(DEADLINE, partial=partial)
    stock = AerSimulator().run([bell(), rotated], method="stabilizer", shots=10).result()
    assert not result.success
    assert not stock.success
    assert [e.success for e in result.results] == [e.success for e in stock.results] == [True, False]
    assert [e.status for e in result.results] == [e.status for e in stock.results]
    assert job.status() is JobStatus.ERROR
    assert job.errored()
    assert not job.done()
    assert job.error_message().startswith("circuit 1 ('rotated'): ")
    assert sum(result.get_counts(0).values()) == 10


def test_an_exception_of_the_wrapped_backend_is_the_jobs_own_and_says_which_circuits(own):
    job = own.run([bell("one"), bell("two")], method="no such method")
    with pytest.raises(Exception, match="no such method") as caught:
        job.result(DEADLINE)
    assert "circuit 0 ('one')" in "".join(caught.value.__notes__)
    assert job.job_id() in "".join(caught.value.__notes__)
    result = job.result(partial=True)
    assert [experiment.success for experiment in result.results] == [False, False]
    assert "no such method" in result.results[1].status


@pytest.mark.parametrize("final", [False, True])
def test_a_wrong_timeout_is_named_also_where_a_partial_result_would_do(final):
    with ProcessBackend(AerSimulator(), workers=1) as own:
        job = own.run(endless(), **FIRM)
        if final:
            job.cancel()
            job.wait_for_final_state(DEADLINE)
        with pytest.raises(ValueError, match=r"timeout .* not -1"):
            job.result(timeout=-1, partial=True)
        with pytest.raises(TypeError, match=r"timeout .* not 'soon'"):
            job.result(timeout="soon", partial=True)
        job.cancel()


# ---------------------------------------------------------------- what scripts ask


def test_the_result_says_where_when_and_what(backend):
    job = backend.run([bell("a"), bell("b")], shots=7)
    result = job.result(DEADLINE)
    assert isinstance(job, JobV1)
    assert isinstance(result, Result)
    assert job.backend() is backend
    assert (result.job_id, result.backend_name) == (job.job_id(), backend.name)
    assert result.backend_version == backend.backend_version
    assert 0 < result.time_taken < DEADLINE
    assert result.date
    assert result.to_dict()["job_id"] == job.job_id()
    assert result.get_counts("a") != {} != result.get_counts("b")
    assert job.queue_position() is None
    assert job.metrics().worker_pid not in (None, os.getpid())
    assert job.metrics().timestamps[JobStatus.QUEUED] <= job.metrics().timestamps[job.status()]
    assert repr(job).startswith("<QiskitJob ")


def test_a_legacy_monitor_works(backend):
    job = backend.run(bell())
    seen = []
    while not job.in_final_state():
        status = job.status()
        seen.append((status.name, status.value, job.queue_position() if status is JobStatus.QUEUED else None))
    assert job.done()
    assert {name for name, *_ in seen} <= {"QUEUED", "RUNNING", "DONE"}


def test_a_wait_that_runs_out_raises_qiskits_error(backend):
    with ProcessBackend(AerSimulator(), workers=1) as other:
        job = other.run(endless(), **FIRM)
        for wait in (job.result, job.wait_for_final_state):
            with pytest.raises(JobTimeoutError):
                wait(timeout=0.05)
        job.cancel()
    with pytest.raises(procjob.JobError):
        backend.run(bell()).submit()


@pytest.mark.parametrize(("limit", "count"), [({"max_circuits_per_task": 1}, 4), ({"max_shots_per_task": 300}, 1)])
def test_progress_counts_the_pieces_that_have_ended(limit, count):
    with ProcessBackend(AerSimulator(), workers=0, **limit) as inline:
        job = inline.run([bell()] * count, shots=1200)
    assert (job.progress().done, job.progress().total) == (4, 4)


def test_wait_and_as_completed_take_them(backend):
    jobs = [backend.run(bell()) for _ in range(4)]
    done, not_done = procjob.wait(jobs, DEADLINE)
    assert (done, not_done) == (set(jobs), set())
    assert set(procjob.as_completed(jobs, DEADLINE)) == set(jobs)
    assert procjob.wait([backend.run(bell())], DEADLINE, FIRST_COMPLETED).done


@pytest.mark.parametrize("attempt", [copy.deepcopy, pickle.dumps])
def test_a_job_is_neither_copied_nor_pickled(backend, attempt):
    job = backend.run(bell())
    with pytest.raises(TypeError, match="cannot be copied or pickled; its result can"):
        attempt(job)
    assert job.result(DEADLINE).success


@pytest.mark.filterwarnings("ignore:The class ``qiskit:DeprecationWarning")  # as on stock backends of Qiskit 1.4
def test_a_result_can_be_pickled_and_copied(backend):
    result = backend.run([bell("a"), bell("b")]).result(DEADLINE)
    for twin in (copy.deepcopy(result), pickle.loads(pickle.dumps(result))):
        assert twin.get_counts() == result.get_counts()
        assert twin.to_dict()["job_id"] == result.job_id
