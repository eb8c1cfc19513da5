"""Qiskit's parameter expressions as ours: symbolic before and after, so that a batch evaluates them for all points.

Qiskit has no public way to walk an expression, and its symbolic engine changed between 1.x and 2.x; but the text of one
is plain arithmetic in both once its parameters have plain names. So it is renamed, printed, and read back as Python
arithmetic; a few random points then have to agree with Qiskit's own value.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from qiskit.circuit import Parameter as QiskitParameter
from qiskit.circuit import ParameterExpression

from procjob.simulators.expressions import Angle, Parameter, evaluate

#: Largest relative difference from Qiskit's value that is taken for rounding (Qiskit 1.x prints 15 digits).
TOLERANCE = 1e-12

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
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
    names = {plain.name: Parameter(parameter.name) for parameter, plain in renamed.items()}
    text = str(value.subs(renamed))
    try:
        angle = _read(ast.parse(text, mode="eval").body, names)
    except (KeyError, SyntaxError, TypeError) as exc:
        raise ValueError(f"the parameter expression {value} cannot be converted ({exc}); bind it first") from exc
    _check(value, angle, parameters)
    return angle


def _read(node: ast.AST, names: dict[str, Parameter]) -> Angle:
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id=name):
            return names[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_read(operand, names)
        case ast.BinOp(left=left, op=op, right=right):
            result: Angle = _BINARY[type(op)](_read(left, names), _read(right, names))
            return result
        case ast.Call(func=ast.Name(id=function), args=[argument]):
            value: Angle = _FUNCTIONS[function](_read(argument, names))
            return value
        case _:
            raise TypeError(f"unknown term {ast.unparse(node) if isinstance(node, ast.expr) else node!r}")


def _check(value: ParameterExpression, angle: Angle, parameters: list[QiskitParameter]) -> None:
    """Compare with Qiskit at points in (0.1, 0.9), where every function that is known here is defined."""
    generator = np.random.default_rng(len(parameters))
    points = {parameter: generator.uniform(0.1, 0.9, 3) for parameter in parameters}
    with np.errstate(invalid="ignore"):
        got = np.broadcast_to(evaluate(angle, {parameter.name: numbers for parameter, numbers in points.items()}), 3)
    for index in range(3):
        bound = value.bind({parameter: float(numbers[index]) for parameter, numbers in points.items()})
        expected = complex(bound.numeric())
        if np.isfinite(expected) and abs(got[index] - expected) > TOLERANCE * max(1.0, abs(expected)):
            raise ValueError(
                f"the parameter expression {value} was converted to {angle!r}, which differs; bind it first"
            )
