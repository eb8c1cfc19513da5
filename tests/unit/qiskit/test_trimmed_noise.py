"""A trimmed noise model gives the counts of the whole one."""

from __future__ import annotations

import pytest
from qiskit import QuantumCircuit, transpile
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.transpiler import CouplingMap
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, ReadoutError, amplitude_damping_error, depolarizing_error, pauli_error

from procjob.qiskit.noise import qubits_used, trimmed


@pytest.fixture(scope="module")
def device():
    return AerSimulator.from_backend(
        GenericBackendV2(7, coupling_map=CouplingMap.from_line(7), control_flow=True, seed=1)
    )


def circuit_on(device, layout):
    circuit = QuantumCircuit(3, 3)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.delay(2000, 1)  # dt
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(2)
    circuit.measure([1, 2], [1, 2])
    return transpile(circuit, device, initial_layout=layout, seed_transpiler=1, optimization_level=0)


@pytest.mark.parametrize("layout", [[0, 1, 2], [4, 5, 6], [3, 2, 1]])
def test_a_device_trimmed_to_the_qubits_of_a_circuit_gives_the_same_counts(device, layout):
    circuit, whole = circuit_on(device, layout), device.options.noise_model
    small = trimmed(whole, qubits_used([circuit]))
    counts = [
        device.run(circuit, seed_simulator=5, shots=3000, noise_model=model).result().get_counts()
        for model in (whole, small)
    ]
    assert counts[0] == counts[1]
    assert len(counts[0]) > 4  # there is noise
    assert len(small.to_dict()["errors"]) < len(whole.to_dict()["errors"])


def test_errors_on_all_qubits_stay_and_the_model_is_not_changed():
    model = NoiseModel()
    model.add_all_qubit_quantum_error(depolarizing_error(0.1, 1), ["h"])
    for qubit in (0, 3):
        model.add_quantum_error(amplitude_damping_error(0.2), ["h"], [qubit])
    for qubit in range(4):
        model.add_quantum_error(depolarizing_error(0.2, 1), ["x"], [qubit])
        model.add_quantum_error(depolarizing_error(0.3, 2), ["cx"], [qubit, 3 - qubit])
        model.add_readout_error(ReadoutError([[0.9, 0.1], [0.2, 0.8]]), [qubit])
    before = model.to_dict()
    small = trimmed(model, frozenset({1, 2}))
    assert model.to_dict() == before
    kept = [(error["operations"][0], error.get("gate_qubits")) for error in small.to_dict()["errors"]]
    examples = [("h", [(0,)]), ("measure", [(0,)])]  # of a kind that the others are not
    used = [(name, [(qubit,)]) for name in ("x", "measure") for qubit in (1, 2)] + [("cx", [(1, 2)]), ("cx", [(2, 1)])]
    assert sorted(kept, key=repr) == sorted([("h", None), *examples, *used], key=repr)


@pytest.mark.parametrize("method", ["automatic", "statevector", "matrix_product_state", "density_matrix"])
@pytest.mark.parametrize("elsewhere", [amplitude_damping_error(0.3), pauli_error([("X", 0.2), ("I", 0.8)])])
def test_errors_of_another_kind_on_other_qubits_change_no_count_by_going(elsewhere, method):
    model = NoiseModel()
    model.add_quantum_error(elsewhere, ["h"], [0])
    model.add_quantum_error(depolarizing_error(0.2, 1), ["h"], [1])
    model.add_readout_error(ReadoutError([[0.9, 0.1], [0.2, 0.8]]), [0])
    for qubit in (1, 2):  # with noise of its own, and without any
        circuit = QuantumCircuit(3)
        circuit.h(qubit)
        circuit.measure_all()
        small = trimmed(model, frozenset({qubit}))
        counts = [
            AerSimulator(method=method, noise_model=noise)
            .run(circuit, shots=400, seed_simulator=6)
            .result()
            .get_counts()
            for noise in (model, small)
        ]
        assert counts[0] == counts[1]


def test_a_qubit_that_only_a_barrier_touches_is_not_used():
    circuit = QuantumCircuit(4)
    circuit.barrier()
    circuit.h(2)
    assert qubits_used([circuit]) == {2}
