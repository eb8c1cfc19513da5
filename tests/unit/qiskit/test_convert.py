"""A circuit of Qiskit and its conversion are the same operator; what cannot be converted says so."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import (
    AnnotatedOperation,
    ControlModifier,
    Gate,
    InverseModifier,
    Parameter,
    ParameterVector,
    PowerModifier,
)
from qiskit.circuit.library import (
    C3XGate,
    CUGate,
    GlobalPhaseGate,
    HamiltonianGate,
    MCMTGate,
    PermutationGate,
    PhaseGate,
    QFTGate,
    RXGate,
    SGate,
    UGate,
    UnitaryGate,
    efficient_su2,
    get_standard_gate_name_mapping,
)
from qiskit.circuit.random import random_circuit
from qiskit.quantum_info import Operator, random_clifford, random_unitary

from procjob.qiskit import expressions, from_qasm2, from_qiskit
from procjob.simulators import expressions as parameters
from procjob.simulators.gates import controlled
from procjob.simulators.operations import Condition


def operator_of(circuit) -> np.ndarray:
    """Multiply the full matrices of the operations: slow, and independent of the simulator."""
    size = 1 << circuit.num_qubits
    total = np.eye(size, dtype=complex)
    for operation in circuit.operations:
        if operation.is_gate:
            matrix = operation.base_matrix()
            matrix = controlled(matrix.reshape(len(matrix), len(matrix)), len(operation.controls))
            total = embedded(matrix, operation.qubits, size) @ total
    return total


def embedded(matrix: np.ndarray, qubits: tuple[int, ...], size: int) -> np.ndarray:
    full = np.zeros((size, size), dtype=complex)
    for column in range(size):
        inner = sum((column >> q & 1) << n for n, q in enumerate(qubits))
        rest = column & ~sum(1 << q for q in qubits)
        for row_inner in range(len(matrix)):
            row = rest | sum((row_inner >> n & 1) << q for n, q in enumerate(qubits))
            full[row, column] += matrix[row_inner, inner]
    return full


def assert_same(circuit: QuantumCircuit) -> None:
    np.testing.assert_allclose(operator_of(from_qiskit(circuit)), Operator(circuit).data, atol=1e-12)


STANDARD = {
    name: gate
    for name, gate in get_standard_gate_name_mapping().items()
    if name not in {"measure", "reset", "delay", "barrier"}
}


@pytest.mark.parametrize("name", STANDARD)
def test_every_standard_gate_is_the_same_operator(name):
    gate = STANDARD[name].to_mutable()
    gate.params = [0.3 + 0.4 * index for index in range(len(gate.params))]
    circuit = QuantumCircuit(gate.num_qubits or 1)
    circuit.append(gate, list(range(gate.num_qubits))[::-1])
    assert_same(circuit)


@pytest.mark.parametrize("seed", range(40))
def test_random_circuits_are_the_same_operator(seed):
    assert_same(random_circuit(1 + seed % 4, 6, seed=seed, max_operands=1 + seed % 4))


def test_open_controls_global_phases_and_composites_are_the_same_operator():
    inner = QuantumCircuit(2, global_phase=0.7)
    inner.h(0)
    inner.rx(0.4, 1)
    circuit = QuantumCircuit(4, global_phase=-0.3)
    circuit.append(inner.to_gate().control(1), [2, 0, 1])
    circuit.x(0)
    circuit.ry(0.5, 1)
    circuit.cx(0, 3, ctrl_state=0)
    circuit.append(C3XGate(), [0, 1, 2, 3])
    circuit.append(QFTGate(3), [3, 1, 0])
    circuit.unitary(random_unitary(4, seed=1), [2, 0])
    assert_same(circuit)


@pytest.mark.parametrize(
    "name", ["h", "x", "swap", "u", "cu", "global_phase", "barrier", "delay", "reset", "measure", "unitary"]
)
@pytest.mark.parametrize("num_qubits", [1, 2])
def test_a_gate_of_the_users_may_have_the_name_of_another(name, num_qubits):
    inner = QuantumCircuit(num_qubits, name=name)
    inner.ry(0.3, range(num_qubits))
    circuit = QuantumCircuit(num_qubits)
    circuit.append(inner.to_gate(), range(num_qubits))
    assert_same(circuit)


def test_a_gate_on_several_targets_under_several_controls_is_the_same_operator():
    circuit = QuantumCircuit(4)
    circuit.append(MCMTGate(SGate(), 2, 2, ctrl_state=1), [2, 0, 3, 1])
    assert_same(circuit)


@pytest.mark.parametrize("annotated", [False, True])
@pytest.mark.parametrize("ctrl_state", [0, 1])
def test_a_cu_keeps_its_phase_with_an_open_control_and_with_more_controls(ctrl_state, annotated):
    gate = CUGate(0.1, 0.2, 0.3, 0.4, ctrl_state=ctrl_state)
    circuit = QuantumCircuit(4)
    circuit.append(gate, [2, 0])
    circuit.append(gate.control(2, ctrl_state=1, annotated=annotated), [3, 1, 0, 2])
    assert_same(circuit)


def test_gates_with_modifiers_are_the_same_operator_and_keep_their_parameters():
    angle = Parameter("angle")
    circuit = QuantumCircuit(3)
    circuit.append(AnnotatedOperation(RXGate(angle), [ControlModifier(2, ctrl_state=1), InverseModifier()]), [2, 0, 1])
    circuit.append(AnnotatedOperation(SGate(), [PowerModifier(0.5), ControlModifier(1)]), [1, 2])
    converted = from_qiskit(circuit)
    assert converted.parameters == ("angle",)
    bound = converted.bind({"angle": 0.7})
    np.testing.assert_allclose(operator_of(bound), Operator(circuit.assign_parameters([0.7])).data, atol=1e-12)


@pytest.mark.parametrize(
    "gate",
    [AnnotatedOperation(CUGate(-3.1, 4.8, -1.4, -0.4), [ControlModifier(1), InverseModifier()]),
     AnnotatedOperation(PhaseGate(4.0), [PowerModifier(0.5)]),
     AnnotatedOperation(GlobalPhaseGate(0.3), [PowerModifier(2), ControlModifier(1)]),
     AnnotatedOperation(PhaseGate(4.0), [ControlModifier(2, ctrl_state=1), PowerModifier(-0.5)]),
     AnnotatedOperation(C3XGate().control(1), [PowerModifier(0.5), ControlModifier(2)]),
     UnitaryGate(random_unitary(8, seed=1)).control(3, ctrl_state=4)],
)  # fmt: skip
def test_powers_and_controls_of_gates_are_those_of_their_matrices(gate):
    circuit = QuantumCircuit(gate.num_qubits)
    circuit.append(gate, range(gate.num_qubits))
    assert_same(circuit)
    assert len(from_qiskit(circuit)) <= 5  # the gate, and what opens controls


@pytest.mark.parametrize("gate", [PermutationGate([2, 3, 1, 0]), random_clifford(4, seed=1)])
def test_permutations_and_cliffords_are_converted_without_their_matrices(gate):
    circuit = QuantumCircuit(5)
    circuit.append(gate, [4, 0, 2, 1])
    assert_same(circuit)
    assert not {"unitary"} & {operation.name for operation in from_qiskit(circuit).operations}


def test_parameters_stay_free_and_keep_their_names_and_formulas():
    a, b, vector = Parameter("θ"), Parameter("b"), ParameterVector("x", 3)
    circuit = QuantumCircuit(2)
    circuit.rx(2 * a + 1, 0)
    circuit.ry((a * b).sin() / 3 - b**2, 1)
    circuit.rzz(vector[0] * np.pi + vector[2], 0, 1)
    circuit.p(-(a + b).arctan() + abs(b), 0)
    circuit.cu(a, b, vector[1].exp(), 0.1, 0, 1)
    circuit.p((a - 0.2).sign() + (b**0).arctan() + (b**0).exp(), 1)  # Qiskit 1.x writes pi/4 and E
    converted = from_qiskit(circuit)
    assert set(converted.parameters) == {p.name for p in circuit.parameters}
    values = {p: 0.1 + 0.15 * n for n, p in enumerate(circuit.parameters)}
    bound = converted.bind({p.name: value for p, value in values.items()})
    np.testing.assert_allclose(operator_of(bound), Operator(circuit.assign_parameters(values)).data, atol=1e-12)


def test_parameters_that_the_state_does_not_depend_on_are_kept():
    theta, pause = Parameter("theta"), Parameter("pause")
    circuit = QuantumCircuit(1)
    circuit.h(0)
    circuit.delay(pause, 0)
    circuit.rz(theta - theta, 0)
    converted = from_qiskit(circuit)
    assert converted.parameters == ("pause", "theta")
    bound = operator_of(converted.bind({"pause": 100.0, "theta": 0.5}))
    np.testing.assert_allclose(bound, operator_of(from_qiskit(circuit.assign_parameters([100.0, 0.5]))), atol=1e-12)


@pytest.mark.parametrize(
    ("make", "values"),
    [(lambda a, b: (a / b).arcsin(), [0.1, 0.9]), (lambda a, b: (2 * a).arccos() + b, [0.3, 1.0]),
     (lambda a, b: ((a + b) * 1000).exp() - 1, [-0.3, 0.3])],
)  # fmt: skip
def test_an_angle_need_not_be_defined_for_all_values(make, values):
    circuit = QuantumCircuit(1)
    circuit.ry(make(Parameter("a"), Parameter("b")), 0)
    bound = operator_of(from_qiskit(circuit).bind(dict(zip("ab", values, strict=True))))
    np.testing.assert_allclose(bound, Operator(circuit.assign_parameters(values)).data, atol=1e-12)


def test_an_angle_that_is_defined_for_few_values_is_compared_with_that_of_qiskit():
    a, b = Parameter("a"), Parameter("b")
    with pytest.raises(ValueError, match="differs; bind it first"):
        expressions._check((3 * a / b).arcsin(), parameters.Parameter("a"), [a, b])


def test_an_angle_may_have_thousands_of_terms():
    vector = ParameterVector("v", 3000)
    circuit = QuantumCircuit(1)
    circuit.rx(sum(vector), 0)
    converted = from_qiskit(circuit)
    offset, factors = converted.operations[0].angles[0].linear()
    assert (offset, factors) == (0.0, {parameter.name: 1.0 for parameter in vector})


@pytest.mark.parametrize(
    "text",
    ["a -(b - c)", "a - b - c", "a/(b/c)", "a/b/c*2", "-a**2", "(-a)**2", "a**-b**c", "a**-2*b", "(a**b)**c", "a*-b + c",
     "-(a + b)*3e-5", "--a", "sin(a*(b + .5))**2", "abs(-a) - cos(sin(b))", "2**3.**a"],
)  # fmt: skip
def test_the_text_of_an_expression_is_read_as_python_reads_it(text):
    names = {name: parameters.Parameter(name) for name in "abc"}
    assert expressions._read(text, names) == eval(text, {**names, "sin": np.sin, "cos": np.cos})


@pytest.mark.parametrize(
    "text", ["", "a b", "a +", "(a", "a)", "sin a", "sin", "* a", "a % b", "f(a)", "()", "(1i)*a", "a(b)", "a b *"]
)
def test_what_is_no_arithmetic_is_refused(text):
    with pytest.raises((IndexError, KeyError, SyntaxError)):
        expressions._read(text, {name: parameters.Parameter(name) for name in "ab"})


def test_an_ansatz_of_the_library_keeps_its_parameters_in_order():
    ansatz = efficient_su2(3, reps=2)
    converted = from_qiskit(ansatz)
    assert list(converted.parameters) == [p.name for p in ansatz.parameters]


def test_measurements_keep_their_registers_and_bits():
    first, second = ClassicalRegister(2, "first"), ClassicalRegister(1, "second")
    circuit = QuantumCircuit(QuantumRegister(3), first, second)
    circuit.measure(2, second[0])
    circuit.measure([0, 1], first)
    circuit.reset(1)
    converted = from_qiskit(circuit)
    assert [(r.name, r.size) for r in converted.registers] == [("first", 2), ("second", 1)]
    assert [str(operation) for operation in converted.operations] == [
        "measure 2 -> 2",
        "measure 0 -> 0",
        "measure 1 -> 1",
        "reset 1",
    ]


def test_if_tests_become_conditions():
    circuit = QuantumCircuit(2, 2)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)) as otherwise:
        circuit.x(1)
    with otherwise:
        circuit.h(1)
    with circuit.if_test((circuit.cregs[0], 2)):
        circuit.z(0)
    assert [str(operation) for operation in from_qiskit(circuit).operations] == [
        "measure 0 -> 0",
        "x 1 if c[0] == 1",
        "h 1 if c[0] == 0",
        "z 0 if c[0, 1] == 2",
    ]


def test_branches_within_branches_hold_under_both_conditions():
    circuit = QuantumCircuit(3, 2)
    circuit.measure([0, 1], [0, 1])
    with circuit.if_test((circuit.clbits[0], 1)) as outer:
        with circuit.if_test((circuit.clbits[1], 0)) as inner:
            circuit.x(2)
        with inner:
            circuit.y(2)
    with outer:
        circuit.z(2)
    assert [str(operation) for operation in from_qiskit(circuit).operations[2:]] == [
        "x 2 if c[0, 1] == 1",
        "y 2 if c[0, 1] == 3",
        "z 2 if c[0] == 0",
    ]


def test_a_branch_that_measures_into_its_condition_is_refused_also_where_a_composite_does_it():
    part = QuantumCircuit(1, 1, name="part")
    part.measure(0, 0)
    whole = QuantumCircuit(1, 1, name="whole")
    whole.append(part.to_instruction(), [0], [0])
    for inner in (part, whole):
        circuit = QuantumCircuit(2, 2)
        with circuit.if_test((circuit.clbits[1], 0)):
            circuit.append(inner.to_instruction(), [0], [1])
            circuit.x(1)
        with pytest.raises(ValueError, match="a branch that measures into its own condition 'part'"):
            from_qiskit(circuit)


def test_open_qasm_2_is_read():
    text = (
        'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; u3(0.1,0.2,0.3) q[0]; cx q[0],q[1]; measure q -> c;'
    )
    assert [operation.name for operation in from_qasm2(text).operations] == ["u", "x", "measure", "measure"]


def test_what_the_simulator_does_not_have_is_named():
    circuit = QuantumCircuit(1, 1, name="loop")
    with circuit.for_loop(range(2)):
        circuit.x(0)
    with pytest.raises(ValueError, match="circuit 'loop' has the instruction 'for_loop'"):
        from_qiskit(circuit)
    permuted = QuantumCircuit(3, name="permuted")
    permuted.append(PermutationGate([1, 0]).control(1, annotated=True), [0, 1, 2])
    with pytest.raises(ValueError, match="circuit 'permuted' has the instruction 'annotated'"):
        from_qiskit(permuted)
    with pytest.raises(TypeError, match="must be a qiskit QuantumCircuit, not 'OPENQASM'"):
        from_qiskit("OPENQASM")


@pytest.mark.parametrize(
    "gate",
    [AnnotatedOperation(UGate(Parameter("angle"), 0.1, 0.2), [PowerModifier(2)]),
     AnnotatedOperation(RXGate(Parameter("angle")), [PowerModifier(0.5)]),
     AnnotatedOperation(Gate("black box", 1, []), [InverseModifier()]),
     HamiltonianGate(np.eye(2), time=Parameter("time"))],
)  # fmt: skip
def test_a_gate_that_qiskit_cannot_write_out_is_named(gate):
    circuit = QuantumCircuit(1, name="closed")
    circuit.append(gate, [0])
    with pytest.raises(ValueError, match=f"circuit 'closed' has the instruction '{gate.name}'.* bind its parameters"):
        from_qiskit(circuit)


@pytest.mark.skipif(not hasattr(SGate, "c_if"), reason="Qiskit 1.x")
@pytest.mark.filterwarnings("ignore:.*c_if:DeprecationWarning")
def test_a_gate_with_an_open_control_has_its_condition_once():
    circuit = QuantumCircuit(2, 1)
    gate = UnitaryGate(random_unitary(2, seed=1)).control(1, ctrl_state=0)
    circuit.append(gate.c_if(circuit.clbits[0], 1), [0, 1])
    operations = from_qiskit(circuit).operations
    assert {operation.condition for operation in operations} == {Condition((0,), 1)}


def test_the_users_circuit_is_only_read():
    circuit = random_circuit(3, 5, seed=1, measure=True)
    before = circuit.copy()
    from_qiskit(circuit)
    assert circuit == before
