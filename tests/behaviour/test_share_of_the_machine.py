"""Aer in several workers uses no more threads and memory than the machine has, and one wide circuit gets all cores."""

from __future__ import annotations

import psutil
import pytest
from qiskit import QuantumCircuit
from qiskit_aer import AerSimulator

from procjob.pool.environment import cores_granted
from procjob.qiskit import ProcessBackend

DEADLINE = 60.0


def wide(qubits=15):
    circuit = QuantumCircuit(qubits)
    circuit.h(range(qubits))
    circuit.rz(0.1, range(qubits))
    circuit.measure_all()
    return circuit


@pytest.fixture(scope="module")
def backend():
    with ProcessBackend(AerSimulator(method="statevector"), workers=2) as backend:
        for job in [backend.run(wide(3)) for _ in range(4)]:
            job.result(DEADLINE)
        yield backend


def used(job):
    return [experiment.metadata for experiment in job.result(DEADLINE).results]


def test_one_wide_circuit_has_all_cores(backend):
    job = backend.run(wide())
    (told,) = used(job)
    assert told["parallel_state_update"] == job.metrics().threads == cores_granted()


def test_many_circuits_share_the_cores_and_the_memory(backend):
    jobs = [backend.run([wide()] * 4)]
    jobs.append(backend.run(wide()))  # the first is not final: this one does not have the machine for itself
    megabytes = psutil.virtual_memory().total // 2**20
    for told in [metadata for job in jobs for metadata in used(job)]:
        assert told["parallel_state_update"] == max(1, cores_granted() // 2)
        assert told["max_memory_mb"] <= megabytes // 2


def test_what_the_user_says_wins(backend):
    (told,) = used(backend.run(wide(), max_parallel_threads=1, max_memory_mb=1000))
    assert (told["parallel_state_update"], told["max_memory_mb"]) == (1, 1000)


def test_a_circuit_beyond_the_share_of_the_memory_is_refused_and_kills_nobody(backend):
    job = backend.run(wide(18), max_memory_mb=1)
    job.wait_for_final_state(DEADLINE)
    assert job.errored()
    assert "memory" in job.error_message().lower()
    assert job.result().success is False
    assert job.metrics().attempts == 1
