"""A trimmed noise model gives the counts of the whole one."""

from __future__ import annotations

import pytest
from qiskit import QuantumCircuit, transpile
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.transpiler import CouplingMap
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error

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
    model.add_quantum_error(depolarizing_error(0.2, 1), ["h"], [0])
    model.add_quantum_error(depolarizing_error(0.3, 2), ["cx"], [0, 3])
    model.add_readout_error(ReadoutError([[0.9, 0.1], [0.2, 0.8]]), [2])
    before = model.to_dict()
    small = trimmed(model, frozenset({1, 2}))
    assert model.to_dict() == before
    kept = [(error["operations"], error.get("gate_qubits")) for error in small.to_dict()["errors"]]
    assert kept == [(["h"], None), (["measure"], [(2,)])]


def test_a_qubit_that_only_a_barrier_touches_is_not_used():
    circuit = QuantumCircuit(4)
    circuit.barrier()
    circuit.h(2)
    assert qubits_used([circuit]) == {2}
