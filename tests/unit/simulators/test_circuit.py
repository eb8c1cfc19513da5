"""Circuits as values: building, arithmetic of parameters, drawing, and what is refused."""

import copy
import functools
import operator
import pickle

import numpy as np
import pytest

from procjob.simulators.circuit import Circuit
from procjob.simulators.expressions import Parameter
from procjob.simulators.gates import GATES, controlled
from procjob.simulators.statevector import StatevectorSimulator

THETA = Parameter("theta")


def test_circuits_of_the_same_content_are_equal_also_after_pickling():
    circuit = Circuit(2, 1).h(0).rz(2 * THETA + 1, 1).measure(0, 0).x(1).c_if(0)
    assert circuit == circuit.copy() == pickle.loads(pickle.dumps(circuit))
    assert circuit != Circuit(2, 1).h(0)


@pytest.mark.parametrize(
    ("expression", "expected", "text"),
    [
        (2 * THETA + 1, lambda t: 2 * t + 1, "2*theta + 1"),
        (1 - THETA / 2, lambda t: 1 - t / 2, "1 - theta/2"),
        (THETA**2, lambda t: t**2, "theta**2"),
        (-(THETA - 1), lambda t: 1 - t, "-(theta - 1)"),
        (2 / THETA, lambda t: 2 / t, "2/theta"),
        (2**THETA, lambda t: 2**t, "2**theta"),
        (THETA - (THETA - 1), lambda t: 1 + 0 * t, "theta - (theta - 1)"),
        (np.sin(THETA) * np.exp(THETA), lambda t: np.sin(t) * np.exp(t), "sin(theta)*exp(theta)"),
        (abs(THETA) + np.sqrt(THETA), lambda t: abs(t) + np.sqrt(t), "abs(theta) + sqrt(theta)"),
        (np.float64(2) * THETA, lambda t: 2 * t, "2*theta"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_expression_is_evaluated_at_all_points_and_reads_as_it_was_written(expression, expected, text):
    points = np.linspace(0.1, 2, 7)
    np.testing.assert_allclose(expression.evaluate({"theta": points}), expected(points), rtol=1e-15)
    assert repr(expression) == text
    if (linear := expression.linear()) is not None:
        np.testing.assert_allclose(linear[0] + linear[1]["theta"] * points, expected(points), rtol=1e-14)


TERMS = 3000


def summed(parameters):
    return functools.reduce(operator.add, parameters)


def nested(parameters):
    return functools.reduce(lambda inner, outer: np.sin(inner) - outer, parameters)


def from_the_right(parameters):
    return functools.reduce(lambda right, left: left * 0.5 + right, parameters)


@pytest.mark.parametrize("made_by", [summed, nested, from_the_right])
def test_an_expression_of_thousands_of_terms_can_do_what_a_short_one_can(made_by):
    parameters = Parameter.array("x", TERMS)
    expression, again = made_by(parameters), made_by(parameters)
    values = np.random.default_rng(1).normal(size=(TERMS, 2))
    expected = made_by(list(values))
    named = {parameter.name: column for parameter, column in zip(parameters, values, strict=True)}
    assert expression.evaluate(named).tolist() == expected.tolist()
    assert expression.parameters == named.keys()
    assert (expression.linear() is None) == (made_by is nested)
    assert repr(expression).count("x[") == TERMS
    assert expression == again
    assert expression != made_by(parameters[:-1])
    for copied in (pickle.loads(pickle.dumps(expression)), copy.deepcopy(expression)):
        assert copied == expression
        assert hash(copied) == hash(expression)


def test_a_circuit_runs_at_an_angle_of_thousands_of_terms_and_is_pickled_with_it():
    parameters = Parameter.array("x", TERMS)
    circuit = pickle.loads(pickle.dumps(Circuit(1).rx(summed(parameters), 0)))
    values = np.random.default_rng(1).normal(size=(2, TERMS))
    run = StatevectorSimulator().run(circuit, shots=None, observables=["Z"], parameters=values)
    np.testing.assert_allclose(run.expectation_values[:, 0], np.cos(values.sum(axis=1)), atol=1e-10)
    bound = circuit.bind(dict(zip(parameters, values[0].tolist(), strict=True)))
    assert bound.operations[0].angles[0] == pytest.approx(values[0].sum())
    assert "x[2999]" in circuit.draw()


def test_a_part_that_an_expression_has_many_times_is_evaluated_once():
    """Without that, this one would take 2**100 additions."""
    expression = Parameter("x")
    for _ in range(100):
        expression = (expression + expression) / 2
    assert expression.evaluate({"x": np.float64(0.3)}) == 0.3
    assert expression.linear() == (0.0, {"x": 1.0})
    assert pickle.loads(pickle.dumps(expression)) == expression


def test_parameters_are_sorted_with_numbers_by_value():
    circuit = Circuit(1)
    for parameter in reversed(Parameter.array("x", 12)):
        circuit.rx(parameter, 0)
    assert circuit.parameters == tuple(f"x[{index}]" for index in range(12))


def test_parameters_whose_numbers_have_one_value_are_sorted_by_their_text():
    """Not as a set happens to have them, which differs from process to process: they are the columns of an array."""
    circuit = Circuit(1)
    for zeros in (3, 1, 4, 0, 2):
        circuit.rx(Parameter(f"x{zeros * '0'}1"), 0)
    assert circuit.parameters == ("x00001", "x0001", "x001", "x01", "x1")


def test_bind_puts_numbers_in_place_of_parameters():
    phi = Parameter("phi")
    circuit = Circuit(1).rx(2 * THETA, 0).rz(phi, 0)
    assert circuit.bind({THETA: 0.5}) == Circuit(1).rx(1.0, 0).rz(phi, 0)
    with pytest.raises(ValueError, match="no parameter 'x'"):
        circuit.bind({"x": 1.0})


@pytest.mark.parametrize("gate", GATES.values(), ids=lambda gate: gate.name)
def test_the_matrix_of_a_gate_is_unitary_for_all_points_at_once(gate):
    angles = np.random.default_rng(1).normal(size=(gate.num_params, 5))
    matrix = controlled(gate.matrix(*angles), 1)
    matrices = np.broadcast_to(matrix[..., None] if matrix.ndim == 2 else matrix, (*matrix.shape[:2], 5))
    for point in range(5):
        unitary = matrices[:, :, point]
        np.testing.assert_allclose(unitary @ unitary.conj().T, np.eye(len(unitary)), atol=1e-14)
        if gate.phases is not None:
            inner = matrices[1 << gate.num_qubits :, 1 << gate.num_qubits :, point]
            np.testing.assert_allclose(np.diag(inner), np.exp(1j * angles[0, point] * np.array(gate.phases)))


def test_a_drawing_shows_the_angle_of_a_controlled_phase():
    circuit = Circuit(2).gate("gphase", [], [0.5], controls=[0, 1])
    assert circuit.draw().splitlines() == ["q0: ─gphase(0.5)─", "          │", "q1: ──────●──────"]


def test_a_drawing_shows_controls_crossed_lines_and_conditions():
    circuit = Circuit(3, 1).h(0).cx(0, 2).barrier().swap(0, 1).measure(0, 0).x(2).c_if(0).reset(1)
    assert circuit.draw().splitlines() == [
        "q0: ─h──●──░──swap:0───M0───────────────",
        "        │  │    │",
        "q1: ────│──░──swap:1──|0>───────────────",
        "        │  │",
        "q2: ────x──░───────────────x if c[0]==1─",
    ]


class OtherParameter:
    """Such as Qiskit's: a number once it is bound."""

    def __float__(self) -> float:
        raise TypeError("not numeric")

    def __repr__(self) -> str:
        return "other"


BAD = {
    "a truth value of qubits": (lambda: Circuit(True), TypeError, "num_qubits must be an integer, not True"),
    "a truth value as qubit": (lambda: Circuit(2).x(True), TypeError, "a qubit must be an integer, not True"),
    "no qubits": (lambda: Circuit(0), ValueError, "num_qubits must be at least 1"),
    "half a qubit": (lambda: Circuit(1.5), TypeError, "num_qubits must be an integer, not 1.5"),
    "qubit out of range": (lambda: Circuit(2).h(2), ValueError, r"h: there is no qubit 2; the circuit has 0 to 1"),
    "negative qubit": (lambda: Circuit(2).x(-1), ValueError, "no qubit -1"),
    "duplicate qubits": (lambda: Circuit(2).cx(1, 1), ValueError, "named twice"),
    "NaN": (lambda: Circuit(1).rx(float("nan"), 0), ValueError, "angle of rx must be finite, not nan"),
    "infinity": (lambda: Circuit(1).u(0, np.inf, 0, 0), ValueError, "finite"),
    "an angle in text": (lambda: Circuit(1).rx("pi", 0), TypeError, "'pi'"),
    "NaN in an expression": (lambda: THETA + float("nan"), ValueError, "finite"),
    "text in an expression": (lambda: THETA + "1", TypeError, "real number"),
    "a complex number in an expression": (lambda: THETA * 1j, TypeError, "1j"),
    "a complex number of NumPy's": (lambda: Circuit(1).rx(np.complex64(1 + 2j), 0), TypeError, "real number"),
    "a complex array without axes": (lambda: THETA + np.array(1j), TypeError, "real number"),
    "a text of NumPy's": (lambda: Circuit(1).rx(np.array("0.5"), 0), TypeError, "real number"),
    "a division by zero": (
        lambda: Circuit(1).rx(1 / THETA, 0).bind({"theta": 0}),
        ValueError,
        "must be finite, not inf",
    ),
    "an array as a qubit": (lambda: Circuit(2).h(np.array([1])), TypeError, r"must be an integer, not array\(\[1\]\)"),
    "qubits that come one by one": (lambda: Circuit(1).unitary(np.eye(2), iter([0])), TypeError, "sequences such as"),
    "a control without a list": (lambda: Circuit(2).unitary(np.eye(2), [0], controls=1), TypeError, "not 1"),
    "a parameter without a name": (lambda: Parameter(""), ValueError, "empty"),
    "a fraction as qubit": (lambda: Circuit(2).h(0.5), TypeError, "h: a qubit must be an integer, not 0.5"),
    "a list as qubit": (lambda: Circuit(2).h([0, 1]), TypeError, r"not \[0, 1\]"),
    "qubits that are no sequence": (lambda: Circuit(2).unitary(np.eye(2), 0), TypeError, r"such as \[0\], not 0"),
    "targets that are no sequence": (lambda: Circuit(2).gate("x", 0), TypeError, r"such as \[0\], not 0"),
    "an array as angle": (lambda: Circuit(1).rx(np.array([1.0]), 0), TypeError, r"not array\(\[1.\]\)"),
    "bytes as angle": (lambda: Circuit(1).rx(bytearray(b"1.5"), 0), TypeError, "not bytearray"),
    "a number that is open": (
        lambda: Circuit(1).rx(OtherParameter(), 0),
        TypeError,
        "angle of rx must be .* an expression of parameters, not other",
    ),
    "too large an angle": (lambda: Circuit(1).rx(10**400, 0), ValueError, "finite"),
    "a complex angle": (lambda: Circuit(1).rx(np.complex128(1j), 0), TypeError, "1j"),
    "unknown gate": (lambda: Circuit(1).gate("hh", [0]), ValueError, "no gate 'hh'"),
    "wrong number of angles": (lambda: Circuit(1).gate("rx", [0]), ValueError, "1 angles, not 1 and 0"),
    "not unitary": (lambda: Circuit(1).unitary([[1, 0], [0, 2]], [0]), ValueError, r"\|U U\^dagger - 1\| is 3"),
    "a unitary with NaN": (lambda: Circuit(1).unitary([[np.nan, 0], [0, 1]], [0]), ValueError, "NaN"),
    "a unitary of wrong shape": (lambda: Circuit(1).unitary(np.eye(3), [0]), ValueError, r"\(3, 3\)"),
    "a unitary of wrong size": (lambda: Circuit(2).unitary(np.eye(2), [0, 1]), ValueError, "2 qubits"),
    "a unitary in text": (lambda: Circuit(1).unitary("x", [0]), ValueError, "matrix of numbers"),
    "a ragged unitary": (lambda: Circuit(1).unitary([[1], [0, 1]], [0]), ValueError, "matrix of numbers"),
    "a controlled qubit twice": (lambda: Circuit(2).unitary(np.eye(2), [0], controls=[0]), ValueError, "named twice"),
    "a fraction as clbit": (lambda: Circuit(1, 1).measure(0, 0.5), TypeError, "clbit must be an integer, not 0.5"),
    "a fraction as condition": (lambda: Circuit(1, 1).x(0).c_if(0, 0.5), TypeError, "integer, not 0.5"),
    "a number as register": (lambda: Circuit(1).add_register(3, 1), TypeError, "string, not 3"),
    "bound to NaN": (lambda: Circuit(1).rx(THETA, 0).bind({"theta": np.nan}), ValueError, "theta must be finite"),
    "bound to an expression": (
        lambda: Circuit(1).rx(THETA, 0).bind({"theta": THETA}),
        TypeError,
        "parameter theta must be a real number, not theta",
    ),
    "values without names": (lambda: Circuit(1).rx(THETA, 0).bind([0.5]), TypeError, r"mapping .*, not \[0.5\]"),
    "a text as angle": (lambda: Circuit(1).rx("0.5", 0), TypeError, "number or an expression of parameters, not '0.5'"),
    "too large a unitary": (lambda: Circuit(1).unitary([[10**400, 0], [0, 1]], [0]), ValueError, "matrix of numbers"),
    "no such clbit": (lambda: Circuit(1).measure(0, 0), ValueError, "no clbit 0; the circuit has none"),
    "unequal measure": (lambda: Circuit(2, 2).measure([0, 1], [0]), ValueError, "2 qubits but 1"),
    "condition on nothing": (lambda: Circuit(1, 1).c_if(0), ValueError, "behind a gate"),
    "condition never met": (lambda: Circuit(1, 1).x(0).c_if("c", 2), ValueError, "never holds 2"),
    "no such register": (lambda: Circuit(1, 1).x(0).c_if("d"), ValueError, r"no register 'd'; there are \['c'\]"),
    "register twice": (lambda: Circuit(1, 1).add_register("c", 1), ValueError, "already"),
    "too many clbits": (lambda: Circuit(1, 63), ValueError, "62 classical bits"),
}


def test_bits_may_stand_in_arrays():
    bits = np.array([1, 0])
    circuit = Circuit(2, 2).measure(bits, bits).x(0).c_if(bits, 2)
    assert circuit == Circuit(2, 2).measure([1, 0], [1, 0]).x(0).c_if([1, 0], 2)


@pytest.mark.parametrize(("build", "error", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_refused_with_what_and_value(build, error, message):
    with pytest.raises(error, match=message):
        build()
