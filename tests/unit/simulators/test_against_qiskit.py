"""Random circuits over all gates against Qiskit, and dynamic ones against Aer."""

import inspect
import itertools

import numpy as np
import pytest
from statistics_of_counts import assert_drawn_from

from procjob.simulators import Circuit, Parameter, StatevectorSimulator
from procjob.simulators.builder import GateMethods
from procjob.simulators.gates import GATES

circuits = pytest.importorskip("circuits", reason="needs the extra qiskit", exc_type=ImportError)
qiskit = pytest.importorskip("qiskit")
aer = pytest.importorskip("qiskit_aer")
info = pytest.importorskip("qiskit.quantum_info")
library = pytest.importorskip("qiskit.circuit.library")

TOLERANCE = 1e-12
run = StatevectorSimulator().run


def operator_of(circuit):
    """The whole matrix, by simulating every basis state as one batch."""
    size = 1 << circuit.num_qubits
    states = run(circuit, shots=None, parameters=np.empty((size, 0)), initial_state=np.eye(size))
    return states.get_statevector().T


def random_circuits(num_qubits, count, parameters=()):
    for seed in range(count):
        rng = np.random.default_rng([num_qubits, seed, len(parameters)])
        yield circuits.random_circuit(rng, num_qubits, int(rng.integers(1, 40)), parameters)


@pytest.mark.parametrize("num_qubits", range(1, 9))
def test_random_circuits_are_the_state_and_the_operator_of_qiskit(num_qubits):
    """320 circuits, of the larger ones the operator for some: it takes Qiskit long."""
    for number, (circuit, theirs) in enumerate(random_circuits(num_qubits, 40)):
        expected = info.Statevector(theirs({})).data
        assert np.abs(run(circuit, shots=None).get_statevector() - expected).max() < TOLERANCE
        assert np.abs(run(circuit, shots=None, precision="single").get_statevector() - expected).max() < 1e-5
        if num_qubits < 5 or number < 6:
            assert np.abs(operator_of(circuit) - info.Operator(theirs({})).data).max() < TOLERANCE


@pytest.mark.parametrize("num_qubits", range(1, 9))
def test_random_circuits_with_parameters_are_the_states_of_qiskit_and_of_each_point_alone(num_qubits):
    """192 circuits at two points."""
    for circuit, theirs in random_circuits(num_qubits, 24, Parameter.array("x", 3)):
        values = np.random.default_rng(num_qubits).normal(size=(2, len(circuit.parameters)))
        states = run(circuit, shots=None, parameters=values).get_statevector()
        for row, state in zip(values, states, strict=True):
            expected = info.Statevector(theirs(dict(zip(circuit.parameters, row, strict=True)))).data
            assert np.abs(state - expected).max() < TOLERANCE
            assert np.array_equal(run(circuit, shots=None, parameters=row).get_statevector(), state)


def test_the_random_circuits_have_every_gate_with_none_to_three_controls():
    """cu is a gate with one control, and a controlled swap or rotation of two qubits has up to three."""
    found = {(o.name, len(o.controls)) for n in range(1, 9) for c, _ in random_circuits(n, 40) for o in c.operations}
    names = {*GATES, "unitary"} - {"cu"}
    assert {*itertools.product(names, range(4)), ("cu", 1)} == found


#: Gates of which Qiskit has a class, but no method or no longer one.
NO_METHODS = {
    "phase": library.PhaseGate,
    "cphase": library.CPhaseGate,
    "u1": library.U1Gate,
    "u2": library.U2Gate,
    "u3": library.U3Gate,
}
METHODS = [name for name in vars(GateMethods) if not name.startswith("_") and name != "gate"]


@pytest.mark.parametrize("name", METHODS)
def test_a_gate_method_takes_the_arguments_of_qiskit_in_its_order(name):
    taken = list(inspect.signature(getattr(Circuit, name)).parameters.values())[1:]
    angles = [0.3 + 0.4 * n for n, p in enumerate(p for p in taken if p.annotation == "Angle")]
    qubits = [[3, 0], 2] if name == "mcx" else [3, 1, 2][: len(taken) - len(angles)]
    ours, theirs = getattr(Circuit(4), name)(*angles, *qubits), qiskit.QuantumCircuit(4)
    if name in NO_METHODS:
        theirs.append(NO_METHODS[name](*angles), qubits)
    elif name == "global_phase":
        theirs.global_phase = angles[0]
    else:
        getattr(theirs, name)(*angles, *qubits)
    assert np.abs(operator_of(ours) - info.Operator(theirs).data).max() < TOLERANCE


@pytest.mark.parametrize("seed", range(4))
def test_counts_of_random_circuits_and_those_of_aer_come_from_one_distribution(seed):
    """Chi-square tests of two samples; each fails by chance with probability below 1e-6."""
    ours, theirs = circuits.random_circuit(np.random.default_rng(seed), 5, 30)
    circuit = theirs({})
    circuit.measure_all()
    simulator = aer.AerSimulator(seed_simulator=seed)
    circuit = qiskit.transpile(circuit, simulator, optimization_level=0)
    compare(ours.measure_all(), simulator.run(circuit, shots=10_000).result().get_counts(), seed)


@pytest.mark.parametrize("seed", range(8))
def test_counts_of_random_dynamic_circuits_and_those_of_aer_come_from_one_distribution(seed):
    """Measurements in the middle, resets and conditions; each fails by chance with probability below 1e-6."""
    ours, theirs = circuits.random_dynamic_circuit(np.random.default_rng(seed), 3, 20)
    compare(ours, aer.AerSimulator(seed_simulator=seed).run(theirs, shots=10_000).result().get_counts(), seed)


def compare(circuit, their_counts, seed):
    ours = run(circuit, shots=10_000, seed=seed).counts_array()
    theirs = np.array([their_counts.get(f"{outcome:0{circuit.num_clbits}b}", 0) for outcome in range(len(ours))])
    assert theirs.sum() == 10_000
    assert_drawn_from(ours, (ours + theirs) / 20_000, variance=0.5)
