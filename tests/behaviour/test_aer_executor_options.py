"""What Aer's documentation promises of ``executor``, ``max_job_size`` and ``max_shot_size``, done by `ProcessBackend`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from qiskit import QuantumCircuit
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, depolarizing_error

from procjob.qiskit import ProcessBackend

DEADLINE = 60.0


def circuits(count):
    made = []
    for number in range(count):
        circuit = QuantumCircuit(2, name=f"circuit {number}")
        circuit.rx(0.3 * number, 0)
        circuit.cx(0, 1)
        circuit.measure_all()
        made.append(circuit)
    return made


def noise():
    model = NoiseModel()
    model.add_all_qubit_quantum_error(depolarizing_error(0.05, 1), ["rx"])
    return model


@pytest.fixture
def executor():
    """An executor that counts what is submitted to it."""

    class Counting(ThreadPoolExecutor):
        submitted = 0

        def submit(self, fn, /, *args, **kwargs):
            self.submitted += 1
            return super().submit(fn, *args, **kwargs)

    with Counting(1) as executor:
        yield executor


def test_jobs_run_on_the_executor_of_the_backend_in_sub_jobs_of_max_job_size_circuits(executor):
    backend = ProcessBackend(AerSimulator(executor=executor, max_job_size=2))
    job = backend.run(circuits(5), seed_simulator=3)
    assert job.result(DEADLINE).get_counts() == AerSimulator().run(circuits(5), seed_simulator=3).result().get_counts()
    assert executor.submitted == len(job.pieces) == 3
    assert [len(piece.circuits) for piece in job.pieces] == [2, 2, 1]
    backend.close()
    assert executor.submit(int).result(DEADLINE) == 0  # it is still the user's


def test_shots_of_noisy_circuits_are_split_by_max_shot_size_and_accumulated(executor):
    backend = ProcessBackend(AerSimulator(executor=executor, noise_model=noise(), max_shot_size=300))
    job = backend.run(circuits(1), shots=1000, seed_simulator=3, memory=True)
    result = job.result(DEADLINE)
    assert len(job.pieces) == 4
    assert sum(result.get_counts().values()) == len(result.get_memory()) == result.results[0].shots == 1000
    backend.close()


def test_shots_of_ideal_circuits_are_not_split(executor):
    backend = ProcessBackend(AerSimulator(executor=executor, max_shot_size=300))
    stock = AerSimulator().run(circuits(1), shots=1000, seed_simulator=3).result().get_counts()
    assert backend.run(circuits(1), shots=1000, seed_simulator=3).result(DEADLINE).get_counts() == stock
    backend.close()


def test_an_executor_in_a_run_is_refused_with_what_to_do_instead(executor):
    with (
        ProcessBackend(AerSimulator(), workers=0) as backend,
        pytest.raises(TypeError, match="give it to AerSimulator"),
    ):
        backend.run(circuits(1), executor=executor)
