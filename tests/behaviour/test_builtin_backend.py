"""The built-in simulator in a Qiskit script: Qiskit's types, our counts, the same for any number of workers."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit import QuantumCircuit, transpile
from qiskit.circuit.library import efficient_su2
from qiskit.result import Result

from procjob import StatevectorSimulator
from procjob.qiskit import CircuitError, ProcessBackend, from_qiskit
from procjob.qiskit.builtin import StatevectorBackend

DEADLINE = 60.0


@pytest.fixture(scope="module")
def ansatz():
    circuit = efficient_su2(3, reps=1)
    circuit.measure_all()
    return circuit.decompose()


@pytest.fixture(scope="module")
def angles(ansatz):
    rng = np.random.default_rng(1)
    return {parameter: list(rng.random(25)) for parameter in ansatz.parameters}


def flip():
    circuit = QuantumCircuit(2, 2, name="flip")
    circuit.x(1)
    circuit.measure([0, 1], [0, 1])
    return circuit


def test_counts_and_memory_are_those_of_the_simulator_for_any_number_of_workers(ansatz, angles):
    table = {parameter.name: np.array(values) for parameter, values in angles.items()}
    direct = StatevectorSimulator().run(from_qiskit(ansatz), parameters=table, seed=5, memory=True, shots=50)
    for workers in (0, 2):
        with ProcessBackend(StatevectorSimulator(), workers=workers) as backend:
            job = backend.run(
                [ansatz, flip(), ansatz], parameter_binds=[angles, {}, angles], seed_simulator=5, memory=True, shots=50
            )
            result = job.result(DEADLINE)
        assert isinstance(result, Result)
        assert [result.get_counts(k) for k in range(25)] == [direct.get_counts(point=k) for k in range(25)]
        assert result.get_memory(7) == direct.get_memory(point=7)
        assert result.get_counts(25) == {"10": 50}
        assert result.get_counts("flip") == {"10": 50}
        assert len(result.results) == 51
        # A second circuit that is equal to the first has random numbers of its own.
        assert [result.get_counts(26 + k) for k in range(25)] != [result.get_counts(k) for k in range(25)]


def test_none_for_an_option_is_one_that_is_not_given():
    for workers in (0, 2):
        with ProcessBackend(StatevectorSimulator(), workers=workers) as backend:
            result = backend.run(flip(), shots=None, memory=None, precision=None).result(DEADLINE)
        assert result.get_counts() == {"10": 1024}


def test_a_circuit_is_transpiled_to_gates_that_it_knows_and_runs(ansatz, angles):
    with ProcessBackend(StatevectorSimulator(), workers=0) as backend:
        assert backend.num_qubits >= 20
        ready = transpile(efficient_su2(3, reps=1).measure_all(inplace=False), backend, seed_transpiler=1)
        assert set(ready.count_ops()) <= {*backend.operation_names, "barrier"}
        assert sum(backend.run(ready.assign_parameters([0.1] * 12)).result(DEADLINE).get_counts().values()) == 1024


def test_an_instruction_that_it_does_not_have_is_named():
    circuit = QuantumCircuit(1, 1)
    with circuit.while_loop((circuit.clbits[0], 0)):
        circuit.h(0)
        circuit.measure(0, 0)
    with ProcessBackend(StatevectorSimulator(), workers=0) as backend:
        job = backend.run(circuit)
        with pytest.raises(ValueError, match="while_loop"):
            job.result(DEADLINE)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"shot": 3}, TypeError, "no option 'shot'; it has shots, seed_simulator, memory, precision"),
        ({"parameter_binds": []}, CircuitError, "parameters without values"),
        ({"parameter_binds": [{}, {}]}, CircuitError, "2 tables for 1 circuits"),
        ({"parameter_binds": [{"a": [0.1]}]}, CircuitError, "no values for"),
        ({"parameter_binds": {}}, CircuitError, "parameters without values"),
        ({"memory": "no"}, TypeError, "memory must be True or False"),
    ],
)
def test_without_worker_processes_it_refuses_what_they_would(ansatz, angles, given, error, message):
    backend = StatevectorBackend(StatevectorSimulator())
    with pytest.raises(error, match=message):
        backend.run(ansatz, **({"parameter_binds": [angles]} | given))
    assert len(backend.run(ansatz, parameter_binds=[angles], shots=2).result().get_counts()) == 25
