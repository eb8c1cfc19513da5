"""Every noise channel against Aer's density matrix; counts against Aer's."""

import functools
import itertools

import numpy as np
import pytest
from statistics_of_counts import assert_drawn_from

from procjob.simulators import Circuit, NoiseModel, StatevectorSimulator, compile  # noqa: A004

aer = pytest.importorskip("qiskit_aer", reason="needs the extra qiskit")
errors = pytest.importorskip("qiskit_aer.noise")
QuantumCircuit = pytest.importorskip("qiskit").QuantumCircuit

#: Ours, and a function that adds the same to Aer's model.
CHANNELS = {
    "depolarizing 1": (
        NoiseModel().depolarizing(0.2, gates=["ry"]),
        lambda model: model.add_all_qubit_quantum_error(errors.depolarizing_error(0.2, 1), ["ry"]),
    ),
    "depolarizing 2": (
        NoiseModel().depolarizing(0.3, gates=["cx"]),
        lambda model: model.add_all_qubit_quantum_error(errors.depolarizing_error(0.3, 2), ["cx"]),
    ),
    "pauli": (
        NoiseModel().pauli({"X": 0.1, "Y": 0.15, "Z": 0.2}, gates=["ry"]),
        lambda model: model.add_all_qubit_quantum_error(
            errors.pauli_error([("X", 0.1), ("Y", 0.15), ("Z", 0.2), ("I", 0.55)]), ["ry"]
        ),
    ),
    "amplitude damping": (
        NoiseModel().amplitude_damping(0.3, gates=["ry"]),
        lambda model: model.add_all_qubit_quantum_error(errors.amplitude_damping_error(0.3), ["ry"]),
    ),
    "depolarizing 3": (
        NoiseModel().depolarizing(0.4, gates=["ccx"]),
        lambda model: model.add_all_qubit_quantum_error(errors.depolarizing_error(0.4, 3), ["ccx"]),
    ),
    "damping of each qubit of a gate": (
        NoiseModel().amplitude_damping(0.3, gates=["cx"]),
        lambda model: model.add_all_qubit_quantum_error(
            errors.amplitude_damping_error(0.3).tensor(errors.amplitude_damping_error(0.3)), ["cx"]
        ),
    ),
    "all": (
        NoiseModel().depolarizing(0.1, gates=["cx"]).amplitude_damping(0.2, gates=["ry"]),
        lambda model: (
            model.add_all_qubit_quantum_error(errors.depolarizing_error(0.1, 2), ["cx"]),
            model.add_all_qubit_quantum_error(errors.amplitude_damping_error(0.2), ["ry"]),
        ),
    ),
}


def entangle(circuit):
    """The same gates on our circuits and on Qiskit's."""
    for layer in range(2):
        for qubit in range(3):
            circuit.ry(0.4 + qubit + 0.3 * layer, qubit)
        circuit.cx(0, 1)
        circuit.cx(1, 2)
        circuit.ccx(2, 0, 1)
    return circuit


def density_matrix(add):
    model = errors.NoiseModel()
    add(model)
    circuit = entangle(QuantumCircuit(3))
    circuit.save_density_matrix()
    simulator = aer.AerSimulator(method="density_matrix", noise_model=model)
    return np.asarray(simulator.run(circuit).result().data()["density_matrix"])


@pytest.mark.parametrize(("noise", "add"), CHANNELS.values(), ids=CHANNELS)
def test_counts_under_noise_follow_the_density_matrix_of_aer(noise, add):
    circuit = entangle(Circuit(3)).measure_all()
    counts = StatevectorSimulator(noise=noise).run(circuit, shots=20_000, seed=1).counts_array()
    assert_drawn_from(counts, np.diag(density_matrix(add)).real)


@pytest.mark.parametrize(("noise", "add"), CHANNELS.values(), ids=CHANNELS)
def test_the_state_under_noise_is_the_density_matrix_of_aer(noise, add):
    """All 63 Pauli strings, which are the whole state: that one is off by 6 standard errors has probability below 2e-7."""
    paulis = {"I": np.eye(2), "X": [[0, 1], [1, 0]], "Y": [[0, -1j], [1j, 0]], "Z": np.diag([1, -1])}
    names = ["".join(letters) for letters in itertools.product("IXYZ", repeat=3)][1:]
    matrices = [functools.reduce(np.kron, [paulis[letter] for letter in name]) for name in names]
    rho = density_matrix(add)
    exact = np.array([np.trace(rho @ matrix).real for matrix in matrices])
    result = StatevectorSimulator(noise=noise).run(entangle(Circuit(3)), shots=20_000, seed=2, observables=names)
    assert (abs(result.expectation_values - exact) < 6 * result.circuits[0].standard_errors + 1e-12).all()


def test_readout_errors_mix_the_probabilities():
    noise = NoiseModel().readout(0.1, 0.25)
    circuit = entangle(Circuit(3))
    exact = StatevectorSimulator().run(circuit, shots=None).get_probabilities()
    one = np.array([[0.9, 0.25], [0.1, 0.75]])
    mixed = np.kron(np.kron(one, one), one) @ exact
    counts = StatevectorSimulator(noise=noise).run(circuit.copy().measure_all(), shots=50_000, seed=3).counts_array()
    assert_drawn_from(counts, mixed)
    middle = circuit.copy().add_register("c", 3).measure([0, 1, 2], [0, 1, 2]).x(0).reset(1)
    counts = StatevectorSimulator(noise=noise).run(middle, shots=50_000, seed=4).counts_array()
    assert_drawn_from(counts, mixed)


def test_readout_errors_are_those_of_aer():
    """A chi-square test of two samples; fails by chance with probability below 1e-6."""
    model = errors.NoiseModel()
    model.add_all_qubit_readout_error([[0.9, 0.1], [0.25, 0.75]])
    circuit = entangle(QuantumCircuit(3))
    circuit.measure_all()
    theirs = aer.AerSimulator(noise_model=model, seed_simulator=6).run(circuit, shots=50_000).result().get_counts()
    noise = NoiseModel().readout(0.1, 0.25)
    ours = StatevectorSimulator(noise=noise).run(entangle(Circuit(3)).measure_all(), shots=50_000, seed=6)
    other = np.array([theirs.get(f"{outcome:03b}", 0) for outcome in range(8)])
    assert_drawn_from(ours.counts_array(), (ours.counts_array() + other) / 100_000, variance=0.5)


def test_counts_and_those_of_aer_come_from_one_distribution():
    """A chi-square test of two samples; fails by chance with probability below 1e-6."""
    circuit = entangle(QuantumCircuit(3))
    circuit.measure_all()
    theirs = aer.AerSimulator(seed_simulator=5).run(circuit, shots=50_000).result().get_counts()
    ours = StatevectorSimulator().run(entangle(Circuit(3)).measure_all(), shots=50_000, seed=5).counts_array()
    other = np.array([theirs.get(f"{outcome:03b}", 0) for outcome in range(8)])
    assert_drawn_from(ours, (ours + other) / 100_000, variance=0.5)


def test_depolarizing_noise_behind_a_gate_of_many_qubits_is_refused_at_once():
    with pytest.raises(ValueError, match=r"gate of 13 qubits has 4\*\*13 Pauli strings; at most 6"):
        compile(Circuit(13).mcx(range(12), 12), NoiseModel().depolarizing(0.1))


def test_a_cu_with_further_controls_is_named_by_all_of_them():
    once = Circuit(3).cu(0.1, 0.2, 0.3, 0.4, 0, 1)
    twice = Circuit(3).gate("cu", [1], [0.1, 0.2, 0.3, 0.4], controls=[0, 2])
    assert [str(circuit.operations[0]) for circuit in (once, twice)] == [
        "cu(0.1, 0.2, 0.3, 0.4) 0, 1",
        "ccu(0.1, 0.2, 0.3, 0.4) 0, 2, 1",
    ]
    for name, noisy, other in (("cu", once, twice), ("ccu", twice, once)):
        noise = NoiseModel().amplitude_damping(0.1, gates=[name])
        assert (compile(noisy, noise).is_unitary, compile(other, noise).is_unitary) == (False, True)


def test_noise_follows_the_gates_that_it_names_and_no_others():
    noise = NoiseModel().pauli({"X": 1.0}, gates=["cx", "unitary"])
    circuit = Circuit(3).cx(0, 1).x(2).x(2).ccx(0, 1, 2).unitary(np.eye(2), [2]).id(0).measure_all()
    assert StatevectorSimulator(noise=noise).run(circuit, shots=10).get_counts() == {"011": 10}


BAD = {
    "no such gate": (lambda: NoiseModel().depolarizing(0.1, gates=["cxx"]), "no gate 'cxx'"),
    "above 1": (lambda: NoiseModel().depolarizing(1.5), "between 0 and 1, not 1.5"),
    "sum above 1": (lambda: NoiseModel().pauli({"X": 0.6, "Z": 0.6}), "not 1.2"),
    "unknown paulis": (lambda: NoiseModel().pauli({"W": 0.1, 5: 0.1}), "not of 5"),
    "unknown pauli": (lambda: NoiseModel().pauli({"W": 0.1}), "not of 'W'"),
    "NaN": (lambda: NoiseModel().amplitude_damping(float("nan")), "finite"),
    "negative readout": (lambda: NoiseModel().readout(-0.1, 0), "-0.1"),
}


@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD)
def test_a_noise_model_that_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NoiseModel().depolarizing(0.1, gates="cx"), r"a list of names such as \['cx'\], not 'cx'"),
        (lambda: NoiseModel().pauli({"X": 0.1}, gates=5), r"a list of names such as \['cx'\], not 5"),
        (lambda: NoiseModel().pauli([("X", 0.1)]), "a mapping such as"),
        (lambda: NoiseModel().depolarizing("0.1"), "a probability must be a real number, not '0.1'"),
        (lambda: StatevectorSimulator(noise="depolarizing"), "must be a NoiseModel or None, not 'depolarizing'"),
        (lambda: compile(Circuit(1).h(0), 0.01), "must be a NoiseModel or None, not 0.01"),
    ],
    ids=["gates in text", "a number of gates", "a list", "text", "no model", "a plan with no model"],
)
def test_noise_of_a_wrong_type_is_refused(make, message):
    with pytest.raises(TypeError, match=message):
        make()
