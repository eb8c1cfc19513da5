"""Qiskit's parameter expressions as ours: symbolic before and after, so that a batch evaluates them for all points.

Qiskit has no public way to walk an expression, and its symbolic engine changed between 1.x and 2.x; but the text of one
is plain arithmetic in both once its parameters have plain names. So it is renamed, printed, and read back; a few random
points then have to agree with Qiskit's own value.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from qiskit.circuit import Parameter as QiskitParameter
from qiskit.circuit import ParameterExpression

from procjob.simulators.expressions import Angle, Expression, Parameter, evaluate

#: Largest relative difference from Qiskit's value that is taken for rounding (Qiskit 1.x prints 15 digits).
TOLERANCE = 1e-12

#: How tight an operator binds, and what it does; "neg" is the minus sign in front.
_OPERATORS: dict[str, tuple[int, Callable[..., Any]]] = {
    "+": (1, operator.add),
    "-": (1, operator.sub),
    "*": (2, operator.mul),
    "/": (2, operator.truediv),
    "neg": (3, operator.neg),
    "**": (4, operator.pow),
}
_TOKENS = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[A-Za-z_]\w*|\*\*|\S")
_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "sign": lambda value: value.sign() if isinstance(value, Expression) else float(np.sign(value)),
    "abs": abs,
    "Abs": abs,
    "conj": lambda value: value,  # parameters are real
    "conjugate": lambda value: value,
}


def angle_of(value: object) -> Angle:
    """Return a number or one of our expressions for an angle of a Qiskit instruction.

    Raises:
        ValueError: the expression uses something that real angles do not need, such as a complex number.
        TypeError: the value is neither a number nor an expression.
    """
    if not isinstance(value, ParameterExpression):
        return float(value)  # type: ignore[arg-type]  # what is no number raises TypeError here
    if not value.parameters:
        return float(value.numeric())
    parameters = sorted(value.parameters, key=lambda parameter: parameter.name)
    if isinstance(value, QiskitParameter):
        return Parameter(value.name)
    renamed = {parameter: QiskitParameter(f"p{index}") for index, parameter in enumerate(parameters)}
    names: dict[str, Angle] = {plain.name: Parameter(parameter.name) for parameter, plain in renamed.items()}
    names |= {"pi": np.pi, "E": np.e}  # Qiskit 1.x writes the arctangent of 1 as pi/4
    text = str(value.subs(renamed))
    try:
        angle = _read(text, names)
    except (IndexError, KeyError, SyntaxError, TypeError) as exc:
        raise ValueError(f"the parameter expression {value} cannot be converted ({exc}); bind it first") from exc
    _check(value, angle, parameters)
    return angle


def _read(text: str, names: dict[str, Angle]) -> Angle:
    """Read arithmetic as Python does, but with a stack of its own: Python's parser gives up on some thousand terms.

    Raises:
        KeyError: a name or sign is unknown.
        SyntaxError: it is something else.
    """
    values: list[Any] = []
    pending: list[str] = []  # operators, functions and opening brackets
    complete = False  # whether a value has just ended
    for token in _TOKENS.findall(text):
        if token == "-" and not complete:
            pending.append("neg")
            continue
        if complete != (token in _OPERATORS or token == ")"):
            raise SyntaxError(f"{token!r} is not expected")
        if token in _OPERATORS:
            # Powers are taken from the right.
            _apply(values, pending, _OPERATORS[token][0] + (token == "**"))
            pending.append(token)
        elif token == ")":
            _apply(values, pending, 0)
            if not pending:
                raise SyntaxError("')' is not expected")
            pending.pop()
            if pending and pending[-1] in _FUNCTIONS:
                values.append(_FUNCTIONS[pending.pop()](values.pop()))
        elif token == "(" or token in _FUNCTIONS:
            pending.append(token)
        else:
            values.append(float(token) if token[0] in ".0123456789" else names[token])
        complete = token not in _OPERATORS and token != "(" and token not in _FUNCTIONS
    _apply(values, pending, 0)
    if pending or len(values) != 1:
        raise SyntaxError("it ends too early")
    angle: Angle = values[0]
    return angle


def _apply(values: list[Any], pending: list[str], least: int) -> None:
    """Apply the last operators that bind at least so tight."""
    while pending and pending[-1] in _OPERATORS and _OPERATORS[pending[-1]][0] >= least:
        symbol = pending.pop()
        arguments = [values.pop() for _ in range(1 if symbol == "neg" else 2)]
        values.append(_OPERATORS[symbol][1](*reversed(arguments)))


def _check(value: ParameterExpression, angle: Angle, parameters: list[QiskitParameter]) -> None:
    """Compare with Qiskit at points in (0.1, 0.9), where every function that is known here is defined by itself."""
    generator = np.random.default_rng(len(parameters))
    points = {parameter: generator.uniform(0.1, 0.9, 24) for parameter in parameters}
    with np.errstate(all="ignore"):
        got = np.broadcast_to(evaluate(angle, {parameter.name: numbers for parameter, numbers in points.items()}), 24)
    left = 3
    for index in range(24):
        try:
            bound = value.bind({parameter: float(numbers[index]) for parameter, numbers in points.items()})
        except (RuntimeError, ZeroDivisionError):  # it is not defined there, such as the arcsine of a quotient
            continue
        expected = complex(bound.numeric())
        if not np.isfinite(expected):
            continue
        if abs(got[index] - expected) > TOLERANCE * max(1.0, abs(expected)):
            raise ValueError(
                f"the parameter expression {value} was converted to {angle!r}, which differs; bind it first"
            )
        left -= 1
        if not left:
            return
