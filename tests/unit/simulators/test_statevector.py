"""The simulator as a user sees it: counts, memory, states, expectation values, and the same bits in every batch."""

import hashlib
import os
import pickle
import re
import subprocess
import sys
import tracemalloc
from functools import partial

import numpy as np
import pytest
from statistics_of_counts import assert_drawn_from

from procjob.simulators import Circuit, NoiseModel, Parameter, StatevectorSimulator, plan, sampling

BATCHES = [1, 2, 3, 4, 5, 7, 8, 13, 16, 31, 64, 100]


def ansatz(num_qubits, layers=2, *, phases=False):
    """Rotations, a ladder of cx, and, if told, a general gate, phases, a nonlinear angle and blocks of constant gates."""
    circuit = Circuit(num_qubits)
    parameters = Parameter.array("t", 2 * num_qubits * layers)
    theta = iter(parameters)
    for _ in range(layers):
        for qubit in range(num_qubits):
            circuit.ry(next(theta), qubit).rz(next(theta), qubit)
        for qubit in range(num_qubits - 1):
            circuit.cx(qubit, qubit + 1)
        if phases:
            circuit.crx(parameters[0] * parameters[1], 0, num_qubits - 1).ccx(0, 1, 2).iswap(0, 2)
            for qubit in range(num_qubits - 1):
                circuit.rzz(2 * parameters[qubit] + 0.1, qubit, qubit + 1)
            for qubit in range(num_qubits - 1):
                circuit.rxx(0.7, qubit, qubit + 1).h(qubit)
    return circuit


def points(circuit, count, seed=5):
    return np.random.default_rng(seed).normal(size=(count, len(circuit.parameters)))


def everything(simulator, circuit, values, first=(0, 0), precision="double"):
    """Bytes of all that a run returns, point by point."""
    result = simulator.run(
        circuit.copy().measure_all(), shots=50, seed=3, memory=True, parameters=values, precision=precision, first=first,
        observables=["Z" * circuit.num_qubits, {"X0": 0.5, "Y1 Z0": 2.0}], keep_states=True,
    ).circuits[0]  # fmt: skip
    arrays = (result.statevectors, result.expectation_values, result.memory)
    counts = [b"".join(a.tobytes() for a in result.tally.point(p)) for p in range(len(values))]
    return [b"".join(a[p].tobytes() for a in arrays) + counts[p] for p in range(len(values))]


@pytest.mark.parametrize("phases", [False, True], ids=["plain", "phases"])
@pytest.mark.parametrize("num_qubits", [3, 4, 5, 6, 7, 9, 11])
@pytest.mark.parametrize("precision", ["double", "single"])
def test_every_batch_size_gives_the_same_bits(num_qubits, phases, precision):
    circuit = ansatz(num_qubits, phases=phases)
    values = points(circuit, 100 if num_qubits < 7 else 20)
    expected = everything(StatevectorSimulator(batch=1), circuit, values, precision=precision)
    for batch in BATCHES:
        assert everything(StatevectorSimulator(batch=batch), circuit, values, precision=precision) == expected


@pytest.mark.parametrize("precision", ["double", "single"])
@pytest.mark.parametrize("angle", [0.7, Parameter("t[3]")], ids=["constant", "parameter"])
@pytest.mark.parametrize(("name", "targets"), [("ry", [3]), ("rxx", [8, 0]), ("unitary", [1, 9, 4])])
def test_a_gate_with_many_controls_is_one_with_a_bit_that_says_whether_all_are_1(name, targets, angle, precision):
    controls = [2, 5, 6, 7, 10, 11]

    def circuit(*, many):
        made = ansatz(12, phases=True)
        made.num_qubits += 1
        if not many:
            made.mcx(controls, 12)
        chosen = controls if many else [12]
        if name == "unitary":
            made.unitary(np.linalg.qr(np.random.default_rng(1).normal(size=(8, 8)))[0], targets, controls=chosen)
        else:
            made.gate(name, targets, [angle], controls=chosen)
        return made.h(3).cx(3, 8) if many else made.mcx(controls, 12).h(3).cx(3, 8)

    values = points(circuit(many=True), 5)
    options = {"parameters": values, "shots": None, "precision": precision}
    found, expected = (StatevectorSimulator().run(circuit(many=many), **options) for many in (True, False))
    tolerance = 1e-13 if precision == "double" else 1e-6
    np.testing.assert_allclose(found.get_statevector(), expected.get_statevector(), atol=tolerance)
    for batch in (1, 2, 3):
        assert StatevectorSimulator(batch=batch).run(circuit(many=True), **options, seed=found.seed) == found


def volume(num_qubits, seed):
    """Random unitaries on random pairs, measured."""
    rng = np.random.default_rng([num_qubits, seed])
    circuit = Circuit(num_qubits)
    for _ in range(num_qubits):
        order = rng.permutation(num_qubits).tolist()
        for pair in zip(order[::2], order[1::2], strict=False):
            circuit.unitary(np.linalg.qr(rng.normal(size=(4, 4)) + 1j * rng.normal(size=(4, 4)))[0], pair)
    return circuit.measure_all()


def returned(found):
    """Bytes of all that a run of a circuit without parameters returns."""
    arrays = [found.statevectors, found.expectation_values, found.standard_errors, found.memory]
    arrays += [found.tally.outcomes, found.tally.counts] if found.tally is not None else []
    return [(array.shape, array.tobytes()) for array in arrays if array is not None]


@pytest.mark.parametrize("shots", [20, None])
@pytest.mark.parametrize("precision", ["double", "single"])
def test_a_circuit_has_the_same_bits_alone_and_in_a_list_of_any_others(shots, precision):
    """Circuits without parameters share batches with those next to them."""
    circuits = [volume(n, seed) for n in (4, 4, 4, 7, 7, 8, 9, 9, 10, 13, 7, 3, 3) for seed in (1, 2)]
    circuits += [Circuit(4, 1), volume(4, 3), Circuit(4).h(2), Circuit(4).cx(0, 1), volume(8, 5), volume(8, 1)]
    options = {"shots": shots, "precision": precision, "observables": ["Z0 Z1", {"X1": 0.5}], "keep_states": True}
    options |= {"seed": 4, "memory": shots is not None}
    expected = [
        returned(StatevectorSimulator().run(circuit, first=(number, 0), **options).circuits[0])
        for number, circuit in enumerate(circuits)
    ]
    for batch in (None, 1, 2, 3, 5, 64):
        found = StatevectorSimulator(batch=batch).run(circuits, **options).circuits
        assert [returned(circuit) for circuit in found] == expected


@pytest.mark.parametrize("num_qubits", [4, 8, 11])
def test_a_plan_without_parameters_has_the_same_bits_after_pickling(num_qubits):
    compiled = plan.compile(volume(num_qubits, 1))
    found = [StatevectorSimulator().run(p, shots=None) for p in (compiled, pickle.loads(pickle.dumps(compiled)))]
    assert found[0].get_statevector().tobytes() == found[1].get_statevector().tobytes()


def test_states_of_circuits_that_shared_a_batch_are_apart():
    result = StatevectorSimulator().run([volume(4, 1), volume(4, 2)], shots=None)
    result.get_statevector(0)[:] = 7
    assert np.linalg.norm(result.get_statevector(1)) == pytest.approx(1)
    plans = [plan.compile(volume(4, 1))] * 2
    StatevectorSimulator().run(plans, shots=None).get_statevector(0)[:] = 7
    assert np.linalg.norm(StatevectorSimulator().run(plans, shots=None).get_statevector(1)) == pytest.approx(1)


def test_initial_states_of_a_circuit_without_parameters_are_rows_with_the_same_bits_in_every_batch():
    circuit, rng = volume(7, 1), np.random.default_rng(2)
    begin = rng.normal(size=(5, 128)) + 1j * rng.normal(size=(5, 128))
    begin /= np.linalg.norm(begin, axis=1)[:, None]
    none = np.empty((5, 0))
    expected = [StatevectorSimulator().run(circuit, shots=None, initial_state=row).get_statevector() for row in begin]
    for batch in (1, 2, 5):
        found = StatevectorSimulator(batch=batch).run(circuit, shots=None, parameters=none, initial_state=begin)
        assert found.get_statevector().tobytes() == np.array(expected).tobytes()


@pytest.mark.parametrize("cut", [1, 2, 3, 10, 17, 39])
def test_a_run_that_is_split_gives_the_same_bits(cut):
    circuit = ansatz(4, phases=True)
    values = points(circuit, 40)
    simulator = StatevectorSimulator()
    split = everything(simulator, circuit, values[:cut]) + everything(simulator, circuit, values[cut:], first=(0, cut))
    assert split == everything(simulator, circuit, values)


def test_the_number_of_blas_threads_changes_no_bit():
    """Sizes at which OpenBLAS would use its threads, were the arrays not cut."""
    code = """if True:
        import hashlib, numpy as np
        from procjob.simulators import Circuit, StatevectorSimulator
        circuit = Circuit(15)
        for qubit in range(15):
            circuit.ry(0.1 + qubit, qubit).rz(0.3 * qubit, qubit).rxx(0.7, qubit, (qubit + 1) % 15)
        states = StatevectorSimulator().run(circuit, shots=None, observables=["Z0 Z1"], keep_states=True)
        print(hashlib.sha256(states.get_statevector().tobytes() + states.expectation_values.tobytes()).hexdigest())
    """
    digests = set()
    for threads in "12":
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": threads}
        run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        digests.add(run.stdout)
    assert len(digests) == 1


def noisy():
    noise = NoiseModel().depolarizing(0.1, gates=["cx"]).amplitude_damping(0.2, gates=["h"]).pauli({"Y": 0.1})
    return noise.readout(0.05, 0.1)


def teleport(angle):
    circuit = Circuit(3, 3).ry(angle, 0).h(1).cx(1, 2).cx(0, 1).h(0).measure([0, 1], [0, 1])
    return circuit.x(2).c_if(1).z(2).c_if(0).measure(2, 2)


@pytest.mark.parametrize("noise", [None, noisy()], ids=["ideal", "noisy"])
def test_trajectories_have_the_same_bits_in_every_batch(noise):
    def run(batch, first=(0, 0), values=None):
        result = StatevectorSimulator(noise=noise, batch=batch).run(
            teleport(Parameter("a")), shots=101, seed=8, memory=True, first=first, observables=["Z2"],
            parameters=np.linspace(0, 3, 4)[:, None] if values is None else values,
        )  # fmt: skip
        return result.circuits[0].memory, result.expectation_values

    memory, values = run(1)
    for batch in BATCHES:
        assert all(map(np.array_equal, run(batch), (memory, values)))
    part = run(None, first=(0, 2), values=np.linspace(0, 3, 4)[2:, None])
    assert all(map(np.array_equal, part, (memory[2:], values[2:])))


def test_trajectories_have_the_same_bits_in_a_batch_of_thousands():
    """More than the numbers of points and 53 bits of each that fit into one int64."""
    circuit = Circuit(1, 1).h(0).measure(0, 0).h(0).measure(0, 0)
    one, another = (StatevectorSimulator(batch=batch).run(circuit, shots=3000, seed=8) for batch in (None, 3000))
    assert one == another


def test_golden_random_numbers_and_counts():
    """These change only with the documented stream; they do not depend on the processor."""
    circuit = Circuit(3).h(0).h(1).h(2).measure_all()
    result = StatevectorSimulator().run([circuit, circuit], shots=200, seed=42, memory=True)
    digest = hashlib.sha256(b"".join(c.memory.astype("<i8").tobytes() for c in result.circuits)).hexdigest()
    assert digest[:16] == "5dae1edb0bf84173"


def half(outputs, position):
    return int(outputs[position // 2]) >> 32 * (position % 2) & 0xFFFFFFFF


@pytest.mark.parametrize("shots", [1, 5, 8, 13])
def test_numbers_stand_where_the_documentation_of_the_stream_says(shots):
    words = np.random.SeedSequence(9, spawn_key=(2,)).generate_state(4, np.uint64)

    def outputs(key, counter, blocks):
        return np.random.Philox(key=key, counter=counter).random_raw(4 * blocks)

    one = sampling.stream(9, 2, shots, 1)
    for point, found in zip([3, 4, 5], one.points(range(3, 6))[:, :, 0].tolist(), strict=True):
        upper, lower = (outputs(key, point * -(-shots // 8), -(-shots // 8)) for key in (words[:2], words[2:]))
        assert found == [half(upper, shot) << 21 | half(lower, shot) >> 11 for shot in range(shots)]
        assert found == one.points([7, point])[1, :, 0].tolist()
        assert found == sampling.whole(one.upper([point]), one.lower([8, point], [1]))[0].tolist()
    for draws, width in ((2, 4), (4, 4), (5, 8)):
        several = sampling.stream(9, 2, shots, draws)
        for point, found in zip([3, 4], several.points(range(3, 5)), strict=True):
            raw = outputs(words[:2], point * shots * width // 4, shots * width // 4).reshape(shots, width)
            assert (found == raw[:, :draws] >> np.uint64(11)).all()
            middle = shots // 2
            assert (found[middle:] == several.shot_range(point, middle, shots - middle)).all()


def test_numbers_of_points_may_stand_in_an_array_of_small_integers():
    circuit, numbers = ansatz(2).measure_all(), [2**31 - 5, 7]
    values = points(circuit, 2)
    for noise in (None, NoiseModel().depolarizing(0.1)):
        simulator = StatevectorSimulator(noise=noise)
        run = partial(simulator.run, circuit, shots=50, seed=1, parameters=values)
        expected = run(first=(0, numbers)).counts_array()
        assert (run(first=(0, np.array(numbers, dtype=np.int32))).counts_array() == expected).all()
        assert (run(first=(0, np.array(numbers, dtype=np.uint32)), memory=True).counts_array() == expected).all()
        expected = run(first=(3, 2**40)).counts_array()
        assert (run(first=(np.int8(3), np.int64(2**40))).counts_array() == expected).all()


def test_several_numbers_a_shot_are_drawn_without_a_second_array_of_them():
    stream, needed = sampling.stream(1, 0, 1 << 14, 13), (8 * 16) << 14
    for draw in (lambda: stream.points(range(1)), lambda: stream.shot_range(0, 0, 1 << 14)):
        tracemalloc.start()
        try:
            draw()
            assert tracemalloc.get_traced_memory()[1] < 1.5 * needed
        finally:
            tracemalloc.stop()


def test_counts_are_those_of_the_memory_with_and_without_it():
    circuit = ansatz(5).measure_all()
    values = points(circuit, 7)
    run = StatevectorSimulator().run
    plain = run(circuit, shots=500, seed=1, parameters=values)
    kept = run(circuit, shots=500, seed=1, parameters=values, memory=True)
    for point in range(7):
        memory = kept.get_memory(point=point)
        counts = plain.get_counts(point=point)
        assert counts == kept.get_counts(point=point) == {key: memory.count(key) for key in set(memory)}
    assert (plain.counts_array().sum(axis=1) == 500).all()


@pytest.mark.parametrize("shots", [100, 100_000])
def test_counts_follow_the_probabilities(shots):
    circuit = ansatz(4)
    values = points(circuit, 5)
    run = StatevectorSimulator().run
    exact = run(circuit, shots=None, parameters=values).get_probabilities()
    counts = run(circuit.copy().measure_all(), shots=shots, seed=2, parameters=values).counts_array()
    for seen, probabilities in zip(counts, exact, strict=True):
        assert_drawn_from(seen, probabilities)


def test_neighbouring_points_circuits_and_seeds_have_different_numbers():
    circuit = Circuit(8).h(0)
    for qubit in range(1, 8):
        circuit.h(qubit)
    circuit.rz(Parameter("a"), 0).measure_all()
    run = StatevectorSimulator().run
    memories = [
        c.memory for c in run([circuit] * 2, shots=64, seed=1, memory=True, parameters=[[[0.0], [0.0]]] * 2).circuits
    ]
    memories.append(run(circuit, shots=64, seed=2, memory=True, parameters=[[0.0], [0.0]]).circuits[0].memory)
    rows = np.concatenate(memories)
    assert len({row.tobytes() for row in rows}) == 6


def test_mid_circuit_measurement_and_conditions_teleport_a_state():
    result = StatevectorSimulator().run(teleport(0.9), shots=20_000, seed=4)
    ones = sum(count for key, count in result.get_counts().items() if key[0] == "1")
    assert abs(ones / 20_000 - np.sin(0.45) ** 2) < 5 * np.sqrt(0.25 / 20_000)


def test_reset_gives_zero_and_keeps_the_rest_of_an_entangled_state():
    circuit = Circuit(2).h(0).cx(0, 1).reset(0).measure_all()
    counts = StatevectorSimulator().run(circuit, shots=1000, seed=1).get_counts()
    assert counts.keys() == {"00", "10"}
    assert 400 < counts["10"] < 600


def test_a_condition_that_no_shot_meets_changes_nothing():
    circuit = Circuit(2, 2).measure(0, 0).x(1).c_if(0).reset(1).c_if(0).measure(1, 1)
    assert StatevectorSimulator().run(circuit, shots=10).get_counts() == {"00": 10}


def test_bits_stand_where_they_were_measured_to_registers_apart():
    circuit = Circuit(3, 2).x(0).measure(0, 1).add_register("d", 2).measure(2, 3).measure(0, 2)
    assert StatevectorSimulator().run(circuit, shots=3).get_counts() == {"01 10": 3}


@pytest.mark.parametrize("after", [[], [2]], ids=["at the end", "with a reset before"])
def test_a_bit_that_is_measured_twice_holds_the_later_outcome(after):
    circuit = Circuit(3, 1).x(0)
    for qubit in after:
        circuit.reset(qubit)
    circuit.measure(0, 0).measure(1, 0)
    assert StatevectorSimulator().run(circuit, shots=5).get_counts() == {"0": 5}


def test_expectation_values_are_those_of_the_matrices():
    circuit = ansatz(3, phases=True)
    values = points(circuit, 4)
    x, y, z = np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]]), np.diag([1, -1])
    matrix = 0.5 * np.kron(np.kron(x, y), z) - 2 * np.kron(np.kron(np.eye(2), z), y)
    run = StatevectorSimulator().run
    states = run(circuit, shots=None, parameters=values).get_statevector()
    found = run(circuit, shots=None, parameters=values, observables=[{"XYZ": 0.5, "Y0 Z1": -2}]).expectation_values
    expected = np.einsum("pi,ij,pj->p", states.conj(), matrix, states).real
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-13)


def test_initial_states_single_precision_and_pickling():
    state = np.array([0.6, 0, 0, 0.8j])
    run = StatevectorSimulator().run
    result = run(Circuit(2).x(0), shots=None, initial_state=state, precision="single")
    assert result.get_statevector().dtype == np.complex64
    np.testing.assert_allclose(result.get_statevector(), [0, 0.6, 0.8j, 0], atol=1e-7)
    assert np.array_equal(pickle.loads(pickle.dumps(result)).get_statevector(), result.get_statevector())
    assert run(Circuit(2).measure_all(), shots=5, initial_state=2).get_counts() == {"10": 5}


@pytest.mark.parametrize(("num_qubits", "shots"), [(2, 100), (9, 70_000), (3, 0)])
def test_counts_travel_in_the_smallest_integers_and_arrive_as_they_were(num_qubits, shots):
    circuit = ansatz(num_qubits)
    tally = StatevectorSimulator().run(
        circuit.measure_all(), shots=max(shots, 1), seed=3, parameters=points(circuit, 40)
    ).circuits[0].tally  # fmt: skip
    if not shots:
        tally = sampling.Tally.of(*(np.zeros(count, dtype=np.int64) for count in (0, 0, 41)))
    travelled = pickle.dumps(tally)
    arrived = pickle.loads(travelled)
    for name in ("outcomes", "counts", "starts"):
        assert getattr(arrived, name).dtype == np.int64
        assert np.array_equal(getattr(arrived, name), getattr(tally, name))
    assert len(travelled) < 600 + 6 * len(tally.outcomes) + 2 * 41


def test_counts_of_any_size_join_to_integers():
    values = [[-(1 << 62), -1, 7], [3, 1 << 33], [], [200], [70_000, (1 << 62) + 1]]
    tallies = [
        sampling.Tally.of(
            np.array(some, dtype=np.int64), np.arange(len(some)), np.array([0, len(some), len(some)], dtype=np.int64)
        )
        for some in values
    ]
    whole = sampling.joined(tallies)
    assert whole.outcomes.tolist() == [value for some in values for value in some]
    assert whole.counts.tolist() == [0, 1, 2, 0, 1, 0, 0, 1]
    assert whole.starts.tolist() == [0, 3, 3, 5, 5, 5, 5, 6, 6, 8, 8]
    assert [whole.point(at)[0].tolist() for at in (0, 1, 6, 8)] == [values[0], [], values[3], values[4]]
    assert whole.point(0)[0].dtype == whole.outcomes.dtype == np.int64


@pytest.mark.parametrize(
    "asked",
    [{}, {"memory": True}, {"shots": None}, {"observables": ["Z"]}, {"observables": ["Z"], "shots": None}],
    ids=["counts", "memory", "states", "means", "exact means"],
)
def test_results_are_equal_if_all_values_are(asked):
    def run(angle):
        return StatevectorSimulator().run(ONE, parameters=[[0.3], [angle]], seed=1, **asked)

    result = run(1.0)
    assert result == run(1.0) == pickle.loads(pickle.dumps(result))
    assert result != run(1.5)
    assert result != result.circuits
    assert (result.circuits[0].tally == run(1.5).circuits[0].tally) == (asked.get("shots", 1) is None)


def test_results_of_one_noisy_shot_are_equal_though_they_have_no_standard_error():
    def run():
        return StatevectorSimulator().run(Circuit(1).reset(0), shots=1, observables=["Z"], seed=1)

    assert np.isnan(run().circuits[0].standard_errors).all()
    assert run() == run()


def test_a_state_of_single_precision_can_be_gone_on_with():
    simulator = StatevectorSimulator()
    for seed in range(20):
        circuit = ansatz(3)
        values = np.random.default_rng(seed).uniform(-3, 3, len(circuit.parameters))
        state = simulator.run(circuit, shots=None, parameters=values, precision="single").get_statevector()
        for precision in ("single", "double"):
            again = simulator.run(Circuit(3), shots=None, initial_state=state, precision=precision)
            assert np.array_equal(again.get_statevector(), state)


def test_a_plan_runs_like_its_circuit():
    circuit = ansatz(3)
    values = points(circuit, 2)
    run = StatevectorSimulator().run
    compiled = pickle.loads(pickle.dumps(plan.compile(circuit)))
    states = run(compiled, shots=None, parameters=values).get_statevector()
    assert np.array_equal(states, run(circuit, shots=None, parameters=values).get_statevector())


A = Parameter("a")
ONE = Circuit(1).rx(A, 0).measure_all()
BAD = {
    "unbound parameter": (ONE, {}, ValueError, "'a' has no value"),
    "wrong number of parameters": (ONE, {"parameters": [1.0, 2.0]}, ValueError, r"\(1,\) or \(points, 1\).*not \(2,\)"),
    "wrong shape": (ONE, {"parameters": np.zeros((2, 2, 1))}, ValueError, r"not \(2, 2, 1\)"),
    "a parameter given twice": (ONE, {"parameters": {"a": 1.0, A: 2.0}}, ValueError, "'a' is given twice"),
    "unknown parameter": (ONE, {"parameters": {"a": 1.0, "b": 2.0}}, ValueError, "no parameter 'b'"),
    "unequal lengths": (Circuit(1).rx(A, 0).ry(Parameter("b"), 0), {"parameters": {"a": [1.0, 2], "b": [1.0, 2, 3]}},
                        ValueError, "one length"),
    "NaN": (ONE, {"parameters": [[0.0], [np.nan]]}, ValueError, "'a' is nan at point 1"),
    "masked": (ONE, {"parameters": {"a": np.ma.array([1.0, 2.0], mask=[0, 1])}}, ValueError, "masked"),
    "a masked table": (ONE, {"parameters": np.ma.array([[1.0], [2.0]], mask=[[0], [1]])}, ValueError, "masked"),
    "text": (ONE, {"parameters": ["x"]}, TypeError, "real numbers"),
    "negative shots": (Circuit(1), {"shots": -1}, ValueError, "at least 1.*-1"),
    "fractional shots": (Circuit(1), {"shots": 1.5}, TypeError, "1.5"),
    "no shots": (ONE, {"parameters": [1.0], "shots": 0}, ValueError, "at least 1.*not 0"),
    "true shots": (Circuit(1), {"shots": True}, TypeError, "True"),
    "infinite": (ONE, {"parameters": {"a": [1.0, np.inf]}}, ValueError, "'a' is inf at point 1"),
    "too large": (Circuit(1).rx(1e10 * A, 0), {"parameters": [1e300]}, ValueError, "NaN or infinite"),
    "ragged": (ONE, {"parameters": [[1.0], [1.0, 2.0]]}, ValueError, "must make an array"),
    "complex": (ONE, {"parameters": [1j]}, TypeError, "not of type complex128"),
    "parameters of nothing": (Circuit(1), {"parameters": [1.0]}, ValueError, r"\(0,\) or \(points, 0\)"),
    "negative seed": (Circuit(1), {"seed": -1}, ValueError, "-1"),
    "fractional seed": (Circuit(1), {"seed": 0.5}, TypeError, "0.5"),
    "precision": (Circuit(1), {"precision": "half"}, ValueError, "half"),
    "observable of wrong length": (Circuit(2), {"observables": ["Z"]}, ValueError, "'Z' is no Pauli string for 2"),
    "observable beyond": (Circuit(2), {"observables": ["Z2"]}, ValueError, "beyond"),
    "observable of wrong type": (Circuit(2), {"observables": [3]}, TypeError, "not 3"),
    "one observable": (Circuit(2), {"observables": "ZZ"}, TypeError, "must be a sequence such as .*not 'ZZ'"),
    "one sum": (Circuit(2), {"observables": {"ZZ": 2.0}}, TypeError, "must be a sequence such as .*not {'ZZ': 2.0}"),
    "a coefficient with NaN": (Circuit(1), {"observables": [{"Z": np.nan}]}, ValueError, "'Z' must be finite"),
    "a complex coefficient": (Circuit(1), {"observables": [{"Z": 1j}]}, TypeError, "not 1j"),
    "a number as string": (Circuit(1), {"observables": [{3: 1.0}]}, TypeError, "such as 'ZZ' or 'X0 Z1', not 3"),
    "initial state with NaN": (Circuit(1), {"initial_state": [np.nan, 0]}, ValueError, "norm nan"),
    "a fraction as initial state": (Circuit(1), {"initial_state": 0.5}, TypeError, "not 0.5"),
    "an initial state in text": (Circuit(1), {"initial_state": ["a", "b"]}, TypeError, r"amplitudes, not \['a', 'b'\]"),
    "a masked initial state": (Circuit(1), {"initial_state": np.ma.array([1, 0], mask=[1, 0])}, ValueError, "masked"),
    "initial state of wrong shape": (Circuit(2), {"initial_state": [1, 0]}, ValueError, r"\(4,\)"),
    "initial state not normalised": (Circuit(1), {"initial_state": [1, 1]}, ValueError, "norm 1.41421"),
    "initial state nearly normalised": (Circuit(1), {"initial_state": [0.6, 0.800001]}, ValueError, r"norm 1\.0000008"),
    "initial state beyond": (Circuit(1), {"initial_state": 2}, ValueError, r"must be 0 to 1 for 1 qubits, not 2"),
    "too many qubits": (Circuit(50), {}, MemoryError, r"needs [\d,]+ bytes, but [\d,]+ are available"),
    "too many qubits with gates": (Circuit(50).cx(0, 49), {}, MemoryError, "a state of 50 qubits needs"),
    "far too many qubits": (Circuit(2000), {}, MemoryError, r"needs 2\*\*2005 bytes"),
    "too many points to keep": (Circuit(20).rx(A, 0), {"parameters": np.zeros((100_000, 1)), "shots": None},
                                MemoryError, r"a batch of states of 20 qubits needs [\d,]+ bytes, but [\d,]+ are"),
    "too many shots": (Circuit(1).measure_all(), {"shots": 10**13}, MemoryError,
                       r"sampling 10,000,000,000,000 shots at 1 points needs [\d,]+ bytes, but .*fewer shots"),
    "too many outcomes to keep": (ONE, {"parameters": np.zeros((100_000, 1)), "shots": 10**8, "memory": True},
                                  MemoryError, "memory=False"),
    "too many values": (ONE, {"parameters": np.zeros((1_000_000, 1)), "observables": ["Z"] * 9000, "shots": None},
                        MemoryError, r"9,000 expectation values at 1,000,000 points needs [\d,]+ bytes, .*fewer points"),
    "no points": (ONE, {"parameters": np.empty((0, 1))}, ValueError, "no points"),
    "exact with reset": (Circuit(1).reset(0), {"shots": None}, ValueError, "no one state"),
    "states of trajectories": (Circuit(1).reset(0), {"keep_states": True}, ValueError, "no one state"),
    "no circuits": ([], {}, ValueError, "circuits is empty"),
    "shots in an array": (ONE, {"shots": np.array([3])}, TypeError, r"shots must be an integer.*, not array\(\[3\]\)"),
    "memory in words": (ONE, {"memory": "no"}, TypeError, "memory must be True or False, not 'no'"),
    "states in words": (ONE, {"keep_states": "no"}, TypeError, "keep_states must be True or False, not 'no'"),
    "a list of precisions": (ONE, {"precision": ["double"]}, ValueError, r"must be 'double' or 'single', not \['double'\]"),
    "one number for two circuits": ([ONE, ONE], {"parameters": 5}, ValueError, "2 circuits need a sequence of 2 sets"),
    "a truth value as initial state": (Circuit(1), {"initial_state": True}, TypeError, "not True"),
    "half a first": (ONE, {"first": 3}, TypeError, "numbers of a circuit and of a point, not 3"),
    "a fraction first": (ONE, {"first": (0, 0.5)}, TypeError, "the first point must be an integer, not 0.5"),
    "several circuits first": (ONE, {"first": ([0, 1], 0)}, TypeError, r"first circuit must be an integer, not \[0, 1\]"),
    "a negative first": (ONE, {"first": (-1, 0)}, ValueError, "at least 0, not -1"),
    "fractions first": (ONE, {"first": (0, [0.5]), "parameters": [1.0]}, TypeError, "an integer, not 0.5"),
    "negative numbers of points": (ONE, {"first": (0, np.array([-1])), "parameters": [1.0]}, ValueError, "at least 0, not -1"),
    "a table of points first": (ONE, {"first": (0, [[1]]), "parameters": [1.0]}, TypeError, r"an integer, not \[1\]"),
    "too many numbers of points": (ONE, {"first": (0, [0, 1]), "parameters": [1.0]}, ValueError, "each of the 1 points, not 2"),
    "no numbers of points": (ONE, {"first": (0, []), "parameters": [1.0]}, ValueError, "each of the 1 points, not 0"),
    "nothing": (None, {}, TypeError, "a sequence of such, not None"),
    "no circuit": ("h 0", {}, TypeError, "'h'"),
    "unequal sets": ([ONE, ONE], {"parameters": [[1.0]]}, ValueError, "2 sets"),
}  # fmt: skip


@pytest.mark.parametrize(("circuit", "options", "error", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_refused_with_what_and_value(circuit, options, error, message):
    simulator = StatevectorSimulator()
    tracemalloc.start()
    try:
        with pytest.raises(error, match=message):
            simulator.run(circuit, **options)
        assert tracemalloc.get_traced_memory()[1] < 1 << 22  # nothing large was allocated for it
    finally:
        tracemalloc.stop()


NOISY = NoiseModel(readout_error=(0.1, 0.1))


@pytest.mark.parametrize(
    ("circuit", "noise", "memory"),
    [
        (Circuit(2).h(0).measure_all(), None, False),
        (Circuit(2).h(0).measure_all(), None, True),
        (Circuit(16).measure_all(), None, False),
        (Circuit(1).measure_all(), NOISY, False),
        (Circuit(8).measure_all(), NOISY, True),
        (Circuit(1, 1).h(0).measure(0, 0).h(0).measure(0, 0), None, True),
    ],
    ids=["counted", "kept", "almost all different", "misread", "misread and kept", "trajectories"],
)
def test_shots_take_no_more_memory_than_is_asked_for(circuit, noise, memory):
    simulator, shots = StatevectorSimulator(noise=noise), 1 << 17
    with pytest.raises(MemoryError) as raised:
        simulator.run(circuit, shots=shots << 30, memory=memory)
    needed = int(re.search(r"needs ([\d,]+) bytes", str(raised.value))[1].replace(",", "")) >> 30
    tracemalloc.start()
    try:
        simulator.run(circuit, shots=shots, memory=memory, seed=1)
        states = 3 * min(plan.batch_size(circuit.num_qubits), shots) * 16 << circuit.num_qubits
        assert tracemalloc.get_traced_memory()[1] < needed + states + (1 << 18)
    finally:
        tracemalloc.stop()


def test_values_of_observables_of_all_trajectories_take_no_more_memory_than_is_asked_for():
    circuit, observables, shots = Circuit(1).reset(0), [{"Z": float(number)} for number in range(100)], 1 << 14
    run = StatevectorSimulator().run
    with pytest.raises(MemoryError) as raised:
        run(circuit, shots=shots << 30, observables=observables)
    needed = int(re.search(r"needs ([\d,]+) bytes", str(raised.value))[1].replace(",", "")) >> 30
    tracemalloc.start()
    try:
        run(circuit, shots=shots, observables=observables, seed=1)
        assert tracemalloc.get_traced_memory()[1] < needed + (1 << 20)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("batch", "error"), [(0, ValueError), (1.5, TypeError), ("2", TypeError)])
def test_a_batch_that_is_no_number_of_states_is_refused(batch, error):
    with pytest.raises(error, match=f"batch must be .*not {batch!r}"):
        StatevectorSimulator(batch=batch)


def test_to_compile_what_cannot_be_simulated_is_refused_before_anything_is_allocated():
    with pytest.raises(MemoryError, match=r"a state of 45 qubits needs [\d,]+ bytes, but [\d,]+ are available"):
        plan.compile(Circuit(45).cx(0, 44))
    with pytest.raises(TypeError, match="not 'h 0'"):
        plan.compile("h 0")


@pytest.mark.parametrize("ask", ["get_counts", "get_memory", "get_statevector", "counts_array", "get_probabilities"])
def test_what_was_not_asked_for_says_how_to_ask(ask):
    with pytest.raises(ValueError, match=r"run with|there are no"):
        getattr(StatevectorSimulator().run(Circuit(1), shots=1), ask)()


def test_a_point_or_circuit_that_is_not_there_is_an_index_error():
    result = StatevectorSimulator().run(Circuit(1).measure_all())
    with pytest.raises(IndexError, match="no point 1; the run had 1"):
        result.get_counts(point=1)
    with pytest.raises(IndexError, match="no circuit 1"):
        result.get_counts(1)


@pytest.mark.parametrize("wrong", [False, None, "0", 0.0, np.array([0])], ids=str)
def test_a_point_or_circuit_that_is_no_number_is_a_type_error(wrong):
    result = StatevectorSimulator().run(Circuit(1).measure_all(), memory=True)
    for ask in (result.get_counts, result.get_memory):
        with pytest.raises(TypeError, match="point must be an integer, not"):
            ask(point=wrong)
        with pytest.raises(TypeError, match="circuit must be an integer, not"):
            ask(wrong)
    assert result.get_counts(np.int64(0), point=np.array(0)) == {"0": 1024}


@pytest.mark.parametrize("points", [1, 3, 64, 512])
def test_counts_are_those_of_the_memory_even_for_numbers_next_to_a_threshold(points):
    rng = np.random.default_rng(points)
    weights = rng.dirichlet(np.full(16, 0.1), size=points)
    edges = sampling.thresholds(weights.copy())
    near = edges[np.arange(points)[:, None], rng.integers(16, size=(points, 64))] + rng.integers(
        -2, 3, size=(points, 64)
    )
    near[points // 2 :] = rng.integers(1 << 53, size=near[points // 2 :].shape)
    numbers = np.clip(near, 0, (1 << 53) - 1)
    states = sampling.sample(weights.copy(), numbers)
    counts = np.stack([np.bincount(row, minlength=16) for row in states])
    upper, lower = (numbers >> 21).astype(np.uint32), (numbers & (1 << 21) - 1).astype(np.uint32)
    assert (sampling.histogram(weights, upper, lambda rows: lower[rows]) == counts).all()
