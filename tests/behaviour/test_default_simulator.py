"""`Backend()` simulates circuits, and divides a batch among its workers without changing a bit."""

from __future__ import annotations

import numpy as np
import pytest

import procjob
from procjob import Circuit, Parameter
from procjob.simulators import NoiseModel, StatevectorSimulator

DEADLINE = 60.0


def ansatz(qubits: int) -> Circuit:
    circuit = Circuit(qubits)
    for layer in range(2):
        for qubit in range(qubits):
            circuit.ry(Parameter(f"a{layer}{qubit}"), qubit).rz(Parameter(f"b{layer}{qubit}"), qubit)
        for qubit in range(qubits - 1):
            circuit.cx(qubit, qubit + 1)
    return circuit.measure_all()


def everything(result):
    """All that a result holds, as bytes."""
    found = []
    for circuit in result.circuits:
        tally = circuit.tally
        arrays = [circuit.memory, circuit.statevectors, circuit.expectation_values, circuit.standard_errors]
        arrays += [] if tally is None else [tally.outcomes, tally.counts, tally.starts]
        found.append((circuit.points, [None if array is None else np.asarray(array).tobytes() for array in arrays]))
    return result.shots, result.seed, found


def test_a_backend_without_a_simulator_runs_circuits():
    with procjob.Backend(workers=1) as backend:
        result = backend.run(Circuit(2).h(0).cx(0, 1).measure_all(), shots=100, seed=1).result(DEADLINE)
    assert set(result.get_counts()) == {"00", "11"}
    assert backend.name == "StatevectorSimulator"


@pytest.mark.parametrize(
    "options",
    [
        {"shots": 50, "memory": True},
        {"shots": None, "observables": ["ZZIIII", {"XXXXXX": 0.5, "YIIIII": 2.0}]},
        {"shots": None},
        {"shots": 20, "initial_state": "each"},
    ],
    ids=["counts", "observables", "states", "a state for each point"],
)
def test_a_batch_has_the_same_bits_for_any_number_of_workers(options):
    circuit, points = ansatz(6), 301
    generator = np.random.default_rng(1)
    parameters = generator.uniform(-3, 3, (points, len(circuit.parameters)))
    if options.get("initial_state") == "each":
        states = generator.normal(size=(points, 64, 2)) @ [1, 1j]
        options = {**options, "initial_state": states / np.linalg.norm(states, axis=1, keepdims=True)}
    seen = []
    for workers in (0, 1, 2, 3):
        with procjob.Backend(workers=workers) as backend:
            job = backend.run(circuit, parameters=parameters, seed=7, **options)
            seen.append(everything(job.result(DEADLINE)))
    assert all(one == seen[0] for one in seen)
    assert seen[0] == everything(StatevectorSimulator().run(circuit, parameters=parameters, seed=7, **options))


def test_several_circuits_and_noise_have_the_same_bits_for_any_number_of_workers():
    circuits = [ansatz(n).bind(dict.fromkeys(ansatz(n).parameters, 0.3)) for n in (2, 3, 4, 2, 3)]
    simulator = StatevectorSimulator(noise=NoiseModel().depolarizing(0.01).readout(0.02, 0.05))
    seen = []
    for workers in (0, 2, 4):
        with procjob.Backend(simulator, workers=workers) as backend:
            seen.append(everything(backend.run(circuits, shots=30, seed=3).result(DEADLINE)))
    assert all(one == seen[0] for one in seen)


WRONG = [
    ({"shots": -1}, "at least 1"),
    ({"seed": 0.5}, "seed must be an integer"),
    ({"precision": "half"}, "'half'"),
    ({"observables": "ZZ"}, "must be a sequence"),
    ({"observables": ["ZZZ"]}, "no Pauli string for 2 qubits"),
    ({"initial_state": [1, 1, 0, 0]}, "norm 1.41"),
]


def test_wrong_input_raises_at_the_call_and_spends_no_worker():
    with procjob.Backend(workers=2) as backend:
        with pytest.raises(ValueError, match="parameter 'a00' has no value"):
            backend.run(ansatz(2))
        with pytest.raises(TypeError, match="shotz"):
            backend.run(ansatz(2), shotz=3)
        bound = ansatz(2).bind(dict.fromkeys(ansatz(2).parameters, 0.1))
        for options, message in WRONG:
            with pytest.raises((TypeError, ValueError), match=message):
                backend.run(bound, **options)
        with pytest.raises(ValueError, match="circuits is empty"):
            backend.run([])
        assert backend.engine.worker_pids() == []
