"""Jobs of Qiskit in a store."""

from __future__ import annotations

import contextlib
import copy
import sqlite3
import subprocess
import sys

import pytest
from qiskit import QuantumCircuit
from qiskit.primitives import StatevectorSampler
from qiskit.providers.basic_provider import BasicSimulator
from qiskit.result import Result

from procjob import Backend, JobStatus, Store
from procjob.qiskit import ProcessBackend, ProcessSampler
from procjob.store import StoredJob

DEADLINE = 60.0


@pytest.fixture
def circuit():
    circuit = QuantumCircuit(2, name="bell", metadata={"n": 2})
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    return circuit


@pytest.fixture(params=["basic", "aer"])
def simulator(request):
    if request.param == "basic":
        return BasicSimulator()
    return pytest.importorskip("qiskit_aer").AerSimulator(method="statevector")


def kept_text(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return [text for (text,) in connection.execute("SELECT result FROM jobs ORDER BY created")]


def test_a_result_of_qiskit_comes_back_without_a_pickle(tmp_path, simulator, circuit):
    with ProcessBackend(simulator, workers=2, store=tmp_path / "jobs.db") as backend:
        job = backend.run([circuit, circuit], shots=100, memory=True, tags=["bell"])
        result = job.result(DEADLINE)
        assert backend.job(job.job_id()) is job
        assert backend.jobs(tags=["bell"]) == [job]
        assert copy.copy(backend).store is backend.store
    assert "$pickle" not in kept_text(tmp_path / "jobs.db")[0]
    with Store(tmp_path / "jobs.db") as store, Backend(abs, workers=0, store=store) as other:
        stored = other.job(job.job_id())
        assert isinstance(stored, StoredJob)
        assert stored.status() is JobStatus.DONE
        assert (stored.backend_name, stored.inputs()) == (simulator.name, "circuits 'bell', 'bell'")
        back = stored.result()
        assert isinstance(back, Result)
        assert back.to_dict() == result.to_dict()
        assert back.get_counts() == result.get_counts()
        assert back.get_memory(1) == result.get_memory(1)


WITHOUT_QISKIT = """
import sys

sys.modules["qiskit"] = None
import procjob

(job,) = procjob.Store(sys.argv[1]).jobs()
try:
    job.result()
except procjob.StoreError as error:
    print(error)
"""


def test_where_qiskit_is_not_installed_its_results_are_not_called_damaged(tmp_path, circuit):
    with ProcessBackend(BasicSimulator(), workers=1, store=tmp_path / "jobs.db") as backend:
        job = backend.run(circuit)
        job.result(DEADLINE)
    said = subprocess.check_output([sys.executable, "-c", WITHOUT_QISKIT, tmp_path / "jobs.db"], text=True)
    reason = "procjob.qiskit needs Qiskit: pip install 'procjob[qiskit]'"
    assert said == f"the result of job {job.job_id()} cannot be read: {reason}\n"


def test_a_state_of_aer_comes_back_by_a_pickle_of_ones_own(tmp_path, circuit, monkeypatch):
    aer = pytest.importorskip("qiskit_aer")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    circuit.remove_final_measurements()
    circuit.save_statevector()
    with ProcessBackend(aer.AerSimulator(method="statevector"), workers=1, store=tmp_path / "jobs.db") as backend:
        state = backend.run(circuit).result(DEADLINE).get_statevector()
    with Store(tmp_path / "jobs.db") as store:
        assert store.jobs()[0].result().get_statevector() == state


def test_jobs_of_a_primitive_and_of_its_copies_are_in_its_store(tmp_path, circuit, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with ProcessSampler(StatevectorSampler(seed=7), workers=1, store=tmp_path / "jobs.db") as sampler:
        jobs = [each.run([circuit], shots=20) for each in (sampler, copy.copy(sampler), copy.deepcopy(sampler))]
        counts = [job.result(DEADLINE)[0].join_data().get_counts() for job in jobs]
    with Store(tmp_path / "jobs.db") as store:
        kept = [store.job(job.job_id()).result()[0].join_data().get_counts() for job in jobs]
    assert kept == counts
