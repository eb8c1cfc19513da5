"""The compile step: the same state as gate by gate, in few passes."""

import os
import pickle
import signal
import threading

import numpy as np
import pytest

from procjob.simulators import compact, fusion, passes, plan, tables
from procjob.simulators.circuit import Circuit
from procjob.simulators.expressions import Parameter
from procjob.simulators.passes import Buffers
from procjob.simulators.statevector import StatevectorSimulator

circuits = pytest.importorskip("circuits", reason="needs the extra qiskit", exc_type=ImportError)
Statevector = pytest.importorskip("qiskit.quantum_info").Statevector


def states(circuit, values):
    """Final states of shape (points, 2**n)."""
    compiled = plan.compile(circuit)
    state = np.zeros((values.shape[1], 1 << circuit.num_qubits), dtype=complex)
    state[:, 0] = 1
    buffers = Buffers(state, np.empty_like(state))
    for step in compiled.steps:
        step.apply(buffers, values)
    return buffers.state


def deviation(seed, num_qubits, points, parameters):
    rng = np.random.default_rng(seed)
    circuit, qiskit = circuits.random_circuit(rng, num_qubits, int(rng.integers(1, 40)), parameters)
    values = rng.normal(size=(len(circuit.parameters), points))
    found = states(circuit, values)
    expected = [Statevector(qiskit(dict(zip(circuit.parameters, column, strict=True)))).data for column in values.T]
    return np.abs(found - expected).max()


def group_by(monkeypatch, policy):
    """Let a policy decide instead of the cost model."""
    monkeypatch.setattr(plan, "best_groups", lambda ops, *_, **__: fusion.group(list(fusion.fuse_runs(ops)), policy))


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("absorb", [False, True])
@pytest.mark.parametrize("dense_phases", [False, True])
def test_every_policy_gives_the_state_of_qiskit(monkeypatch, width, absorb, dense_phases):
    group_by(monkeypatch, fusion.Policy(width, absorb, dense_phases))
    worst = max(deviation(seed, 7, 2, Parameter.array("x", 2)) for seed in range(5))
    assert worst < 1e-12


def ansatz(num_qubits, layers=4):
    circuit = Circuit(num_qubits)
    theta = iter(Parameter.array("t", 2 * num_qubits * layers))
    for _ in range(layers):
        for qubit in range(num_qubits):
            circuit.ry(next(theta), qubit).rz(next(theta), qubit)
        for qubit in range(num_qubits - 1):
            circuit.cx(qubit, qubit + 1)
    return circuit


def test_a_layer_of_rotations_and_a_ladder_are_three_blocks_and_a_gather():
    assert repr(plan.compile(ansatz(8))) == "<Plan 8 qubits, 16 passes over the state: 12 Block, 4 Gather>"


@pytest.mark.parametrize("num_qubits", [2, 5, 9, 10, 11, 12])
@pytest.mark.parametrize("constant", [False, True])
def test_layers_of_blocks_and_gathers_give_the_state_of_qiskit(monkeypatch, num_qubits, constant):
    """From nine qubits up these are walks; without parameters they are chains."""
    group_by(monkeypatch, fusion.Policy(3, absorb=False, dense_phases=False))
    rng = np.random.default_rng(num_qubits)
    recipe = [("x", [], [0], [])] if constant else [("rz", [Parameter("a")], [0], [])]
    for _ in range(3):
        recipe += [(name, [float(rng.normal())], [q], []) for q in range(num_qubits) for name in ("ry", "rz")]
        recipe += [("x", [], [q + 1], [q]) for q in range(num_qubits - 1)]
        recipe += [("u", rng.normal(size=3).tolist(), [q], []) for q in range(num_qubits)]
        recipe += [("rzz", [0.3], [q, q + 1], []) for q in range(num_qubits - 1)]
    circuit = Circuit(num_qubits)
    for name, angles, targets, controls in recipe:
        circuit.gate(name, targets, angles, controls=controls)
    kinds = {type(step).__name__ for step in plan.compile(circuit).steps[0].passes}
    assert ("Walk" in kinds) == (num_qubits >= 9 and not constant)
    assert ("Chain" in kinds) == constant
    expected = Statevector(circuits.as_qiskit(num_qubits, recipe, {"a": 0.4})).data
    values = np.full((len(circuit.parameters), 1), 0.4)
    assert np.abs(states(circuit, values) - expected).max() < 1e-12


def volume(num_qubits, seed, layers=None):
    """A circuit of random unitaries on random pairs."""
    rng = np.random.default_rng([num_qubits, seed])
    circuit = Circuit(num_qubits)
    for _ in range(layers or num_qubits):
        order = rng.permutation(num_qubits).tolist()
        for pair in zip(order[::2], order[1::2], strict=False):
            circuit.unitary(np.linalg.qr(rng.normal(size=(4, 4)) + 1j * rng.normal(size=(4, 4)))[0], pair)
    return circuit


@pytest.mark.parametrize("width", [1, 2, 4, 6])
def test_a_chain_in_pieces_gives_the_same_state(monkeypatch, width):
    group_by(monkeypatch, fusion.Policy(width, absorb=False, dense_phases=False))
    circuit = volume(10, 1)
    whole = states(circuit, np.empty((0, 1)))
    monkeypatch.setattr(passes, "ONE_THREAD", 1 << 10)
    assert np.abs(states(circuit, np.empty((0, 1))) - whole).max() < 1e-14


def test_arrays_of_a_chain_that_are_not_put_side_by_side_give_the_same_bits(monkeypatch):
    circuit = volume(8, 1)
    packed = states(circuit, np.empty((0, 1)))
    monkeypatch.setattr(passes, "PACKED", 0)
    assert states(circuit, np.empty((0, 1))).tobytes() == packed.tobytes()


def test_the_passes_of_a_chain_are_counted_and_shown_one_by_one():
    compiled = plan.compile(volume(8, 1))
    (chain,) = [step for step in compiled.steps[0].passes if isinstance(step, passes.Chain)]
    assert compiled.num_passes == len(compiled.steps[0].passes) + len(chain.steps) - 1
    assert f" {compiled.num_passes} passes" in repr(compiled)
    assert "chain of" in compiled.describe()
    assert compiled.nbytes >= sum(factor.nbytes for _, factor in chain.links)


@pytest.mark.parametrize("slice_bits", [3, 6, 9, 11])
def test_a_walk_slice_by_slice_gives_the_same_states(monkeypatch, slice_bits):
    group_by(monkeypatch, fusion.Policy(3, absorb=False, dense_phases=False))
    circuit = ansatz(11, layers=3)
    values = np.random.default_rng(3).normal(size=(len(circuit.parameters), 2))
    whole = states(circuit, values)
    monkeypatch.setattr(passes, "SLICE", slice_bits)
    assert "Walk" in repr(plan.compile(circuit))
    assert np.abs(states(circuit, values) - whole).max() < 1e-14


def test_a_cost_layer_is_one_phase_with_one_level_for_each_value_of_the_cut():
    gamma = Parameter("gamma")
    circuit = Circuit(6)
    for qubit in range(6):
        circuit.h(qubit)
    for qubit in range(6):
        circuit.rzz(2 * gamma, qubit, (qubit + 1) % 6)
    compiled = plan.compile(circuit)
    assert "phase of 1 parameters with 4 levels" in compiled.describe()


def test_an_equal_circuit_has_the_same_plan_and_one_that_grew_another():
    plans, circuit = plan.Plans(), Circuit(2).h(0).cx(0, 1)
    first = plans.get(circuit, None)
    assert plans.get(Circuit(2).h(0).cx(0, 1), None) is first
    assert plans.get(circuit.rx(Parameter("a"), 0), None).parameters == ("a",)
    assert plans.get(Circuit(2).h(0).cx(0, 1), None) is first


def test_plans_are_kept_as_long_as_there_is_room_and_the_last_one_always():
    plans = plan.Plans()
    first, second = (ansatz(16, layers=layers) for layers in (1, 2))
    kept = plans.get(first, None)
    room = plan.KEPT // plans.get(second, None).nbytes
    for layers in range(3, 3 + room):
        plans.get(ansatz(16, layers=layers), None)
    assert plans.get(first, None) is not kept
    assert plans.get(first, None) is plans.get(first, None)


def test_a_fork_while_another_thread_looks_for_a_plan_leaves_plans_that_can_be_asked():
    plans, looks, go_on = plan.Plans(), threading.Event(), threading.Event()

    class Slow(Parameter):
        def __hash__(self):
            looks.set()
            assert go_on.wait(30)
            return hash(self.name)

    thread = threading.Thread(target=plans.get, args=(Circuit(1).rx(Slow("x"), 0), None))
    thread.start()
    assert looks.wait(30)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(10)
        try:
            plans.get(Circuit(1).h(0), None)
            os._exit(0)
        finally:
            os._exit(1)
    try:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        go_on.set()
        thread.join(30)


def test_who_looks_for_a_plan_while_his_own_thread_does_gets_one():
    plans, found = plan.Plans(), []

    class Looking(Parameter):  # as a signal handler, or a finalizer
        def __hash__(self):
            found.append(plans.get(Circuit(1).h(0), None))
            return hash(self.name)

    thread = threading.Thread(target=plans.get, args=(Circuit(1).rx(Looking("x"), 0), None), daemon=True)
    thread.start()
    thread.join(30)
    assert found
    assert not thread.is_alive()


def test_plans_stay_in_their_process():
    plans, circuit = plan.Plans(), Circuit(1).h(0)
    assert pickle.loads(pickle.dumps(plans)).get(circuit, None) is not plans.get(circuit, None)
    filled = StatevectorSimulator()
    empty = pickle.dumps(filled)
    filled.run(circuit, shots=None)
    assert pickle.dumps(filled) == empty


def test_the_same_gather_is_kept_once():
    steps = plan.compile(ansatz(8)).steps[0].passes
    gathers = {id(step.index) for step in steps if hasattr(step, "index")}
    assert len(gathers) < 3
    assert plan.compile(ansatz(8, layers=6)).nbytes == plan.compile(ansatz(8)).nbytes > 0


def test_measurements_that_nothing_follows_are_no_steps():
    circuit = Circuit(2, 2).h(0).measure(0, 0).h(1).measure(1, 1)
    assert plan.compile(circuit).measured == ((0, 0), (1, 1))
    assert plan.compile(circuit).is_unitary
    assert not plan.compile(Circuit(1, 1).h(0).measure(0, 0).h(0)).is_unitary


def test_an_angle_that_is_not_finite_at_some_point_is_refused():
    theta = Parameter("theta")
    with pytest.raises(ValueError, match=r"1/theta' is NaN or infinite|1/theta is NaN or infinite"):
        states(Circuit(1).rx(1 / theta, 0), np.array([[1.0, 0.0]]))


def compactly(monkeypatch, room):
    """Let small states have the passes of large ones, with so many bytes for tables."""
    for name, value in {"TABLE": 0, "ROOM": room, "_MANY_TERMS": 3}.items():
        monkeypatch.setattr(tables, name, value)


@pytest.mark.parametrize("run", [1, 3, 5, 13])
@pytest.mark.parametrize("room", [0, 1 << 24])
def test_plans_without_tables_give_the_state_of_qiskit(monkeypatch, run, room):
    compactly(monkeypatch, room)
    monkeypatch.setattr(compact, "RUN", run)
    cases = [(seed, 1 + seed % 8, 1 + seed % 3, Parameter.array("x", 2) if seed % 4 else ()) for seed in range(32)]
    assert max(deviation(*case) for case in cases) < 1e-12


def monomial(num_qubits, gammas):
    """Gates of which none is dense but the first and the last."""
    recipe = [("h", [], [q], []) for q in range(num_qubits)]
    for q in range(num_qubits - 1):
        recipe += [("rzz", [gammas[q % len(gammas)]], [q, q + 1], []), ("x", [], [q + 1], [q]), ("t", [], [q], [])]
    recipe += [
        ("x", [], [2], [0, 1]),
        ("swap", [], [3, 1], [5]),
        ("z", [], [0], [1, 2, 3, 4, 5]),
        ("p", [0.3], [6], [5]),
    ]
    recipe += [("iswap", [], [0, 6], [2]), ("x", [], [4], [3, 6]), ("h", [], [2], []), ("p", [gammas[0]], [0], [3, 6])]
    return recipe


@pytest.mark.parametrize("num_qubits", [7, 9])
@pytest.mark.parametrize(("room", "count"), [(0, 1), (1 << 24, 1), (1 << 24, 2), (1 << 24, 6)])
def test_phases_and_permutations_without_tables_give_the_state_of_qiskit(monkeypatch, num_qubits, room, count):
    compactly(monkeypatch, room)
    monkeypatch.setattr(compact, "RUN", 4)
    gammas = Parameter.array("g", count)
    recipe = monomial(num_qubits, gammas)
    circuit = Circuit(num_qubits)
    for name, angles, targets, controls in recipe:
        circuit.gate(name, targets, angles, controls=controls)
    values = np.random.default_rng(1).normal(size=(count, 2))
    kinds = repr(plan.compile(circuit))
    assert "Product" in kinds
    assert "Exchange" in kinds
    for column, found in zip(values.T, states(circuit, values), strict=True):
        bound = dict(zip(circuit.parameters, column, strict=True))
        expected = Statevector(circuits.as_qiskit(num_qubits, recipe, bound)).data
        assert np.abs(found - expected).max() < 1e-12


def test_tables_of_a_plan_have_a_limit(monkeypatch):
    monkeypatch.setattr(tables, "ROOM", 1 << 22)
    rng = np.random.default_rng(1)
    circuit = Circuit(16)
    for _ in range(60):
        order = rng.permutation(16).tolist()
        for pair in zip(order[::2], order[1::2], strict=True):
            circuit.unitary(np.linalg.qr(rng.normal(size=(4, 4)))[0], pair)
    gathers = [step.index for step in plan.compile(circuit).steps[0].passes if hasattr(step, "index")]
    kept = {id(index): index.nbytes for index in gathers if isinstance(index, np.ndarray)}
    assert len(gathers) > len(kept)
    assert tables.ROOM // 2 < sum(kept.values()) <= tables.ROOM


def test_layers_that_differ_in_their_angles_only_share_a_table():
    circuit = Circuit(18)
    for gamma in Parameter.array("gamma", 3):
        for qubit in range(18):
            circuit.rzz(2 * gamma, qubit, (qubit + 1) % 18)
        for qubit in range(18):
            circuit.rx(0.1, qubit)
    levels = [
        step.levels for step in plan.compile(circuit).steps[0].passes if getattr(step, "levels", None) is not None
    ]
    assert len(levels) > 1
    assert len(set(map(id, levels))) == 1
