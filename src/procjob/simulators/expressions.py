"""`Parameter` and its arithmetic: expressions that are kept as a tree and evaluated for all points at once.

`Circuit` takes expressions wherever a gate takes an angle; a plan asks for `linear()` to treat the common case
(scale * parameter + offset) as arrays, and falls back to `evaluate`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Reals: TypeAlias = NDArray[np.float64]
Angle: TypeAlias = "Expression | float"

_BINARY: dict[str, Callable[[Reals, Reals], Reals]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "**": np.power,
}
_UNARY: dict[str, Callable[[Reals], Reals]] = {
    name: getattr(np, name)
    for name in ("negative", "abs", "sin", "cos", "tan", "arcsin", "arccos", "arctan", "exp", "log", "sqrt")
}


class Expression:
    """A real function of parameters. Made by arithmetic on `Parameter`; ``np.sin(theta)`` and its kin work too.

    Example:
        >>> import numpy as np
        >>> theta = Parameter("theta")
        >>> 2 * theta + 1
        2*theta + 1
        >>> np.cos(theta / 2)
        cos(theta/2)
    """

    __slots__ = ()

    @property
    def parameters(self) -> frozenset[str]:
        """Names of the parameters in it."""
        raise NotImplementedError

    def evaluate(self, values: Mapping[str, Reals]) -> Reals:
        """Its value at every point.

        Args:
            values: name to array; all of one shape, or broadcastable.

        Raises:
            KeyError: a parameter has no value.
        """
        raise NotImplementedError

    def linear(self) -> tuple[float, dict[str, float]] | None:
        """``(offset, {name: factor})`` if it is offset + sum of factor * parameter, else None."""
        raise NotImplementedError

    def __add__(self, other: Angle) -> Expression:
        return _binary("+", self, other)

    def __radd__(self, other: Angle) -> Expression:
        return _binary("+", other, self)

    def __sub__(self, other: Angle) -> Expression:
        return _binary("-", self, other)

    def __rsub__(self, other: Angle) -> Expression:
        return _binary("-", other, self)

    def __mul__(self, other: Angle) -> Expression:
        return _binary("*", self, other)

    def __rmul__(self, other: Angle) -> Expression:
        return _binary("*", other, self)

    def __truediv__(self, other: Angle) -> Expression:
        return _binary("/", self, other)

    def __rtruediv__(self, other: Angle) -> Expression:
        return _binary("/", other, self)

    def __pow__(self, other: Angle) -> Expression:
        return _binary("**", self, other)

    def __rpow__(self, other: Angle) -> Expression:
        return _binary("**", other, self)

    def __neg__(self) -> Expression:
        return _Unary("negative", self)

    def __abs__(self) -> Expression:
        return _Unary("abs", self)

    # NumPy calls these for np.sin(expression) and so on.
    def sin(self) -> Expression:
        """Sine."""
        return _Unary("sin", self)

    def cos(self) -> Expression:
        """Cosine."""
        return _Unary("cos", self)

    def tan(self) -> Expression:
        """Tangent."""
        return _Unary("tan", self)

    def arcsin(self) -> Expression:
        """Inverse sine."""
        return _Unary("arcsin", self)

    def arccos(self) -> Expression:
        """Inverse cosine."""
        return _Unary("arccos", self)

    def arctan(self) -> Expression:
        """Inverse tangent."""
        return _Unary("arctan", self)

    def exp(self) -> Expression:
        """Exponential."""
        return _Unary("exp", self)

    def log(self) -> Expression:
        """Natural logarithm."""
        return _Unary("log", self)

    def sqrt(self) -> Expression:
        """Square root."""
        return _Unary("sqrt", self)


@dataclass(frozen=True, slots=True, repr=False)
class Parameter(Expression):
    """A named real number that a circuit leaves open. Two parameters of one name are the same parameter.

    Args:
        name: any text that is not empty.

    Raises:
        TypeError: the name is not a string.
        ValueError: the name is empty.

    Example:
        >>> Parameter("theta") == Parameter("theta")
        True
        >>> Parameter.array("x", 3)
        (x[0], x[1], x[2])
    """

    name: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(f"the name of a parameter must be a string, not {self.name!r}")
        if not self.name:
            raise ValueError("the name of a parameter must not be empty")

    @classmethod
    def array(cls, name: str, length: int) -> tuple[Parameter, ...]:
        """Parameters ``name[0]`` to ``name[length - 1]``, which sort by their number."""
        return tuple(cls(f"{name}[{index}]") for index in range(length))

    @property
    def parameters(self) -> frozenset[str]:
        """Its own name."""
        return frozenset([self.name])

    def evaluate(self, values: Mapping[str, Reals]) -> Reals:
        """Its values."""
        return values[self.name]

    def linear(self) -> tuple[float, dict[str, float]]:
        """``(0, {name: 1})``."""
        return 0.0, {self.name: 1.0}

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, repr=False)
class _Unary(Expression):
    function: str
    argument: Expression

    @property
    def parameters(self) -> frozenset[str]:
        return self.argument.parameters

    def evaluate(self, values: Mapping[str, Reals]) -> Reals:
        return _UNARY[self.function](np.asarray(self.argument.evaluate(values), order="C"))

    def linear(self) -> tuple[float, dict[str, float]] | None:
        inner = self.argument.linear()
        if inner is None or self.function != "negative":
            return None
        return -inner[0], {name: -factor for name, factor in inner[1].items()}

    def __repr__(self) -> str:
        return f"-{_grouped(self.argument)}" if self.function == "negative" else f"{self.function}({self.argument!r})"


@dataclass(frozen=True, slots=True, repr=False)
class _Binary(Expression):
    symbol: str
    left: Angle
    right: Angle

    @property
    def parameters(self) -> frozenset[str]:
        return parameters_of(self.left) | parameters_of(self.right)

    def evaluate(self, values: Mapping[str, Reals]) -> Reals:
        return _BINARY[self.symbol](evaluate(self.left, values), evaluate(self.right, values))

    def linear(self) -> tuple[float, dict[str, float]] | None:
        left, right = linear(self.left), linear(self.right)
        if left is None or right is None:
            return None
        if self.symbol in {"+", "-"}:
            return _sum(left, right, 1.0 if self.symbol == "+" else -1.0)
        if self.symbol == "*" and not left[1]:
            left, right = right, left
        if right[1] or self.symbol == "**" or (self.symbol == "/" and right[0] == 0):
            return None
        factor = right[0] if self.symbol == "*" else 1 / right[0]
        return left[0] * factor, {name: value * factor for name, value in left[1].items()}

    def __repr__(self) -> str:
        if self.symbol in {"+", "-"}:
            sum_on_the_right = isinstance(self.right, _Binary) and self.right.symbol in {"+", "-"}
            right = _grouped(self.right) if self.symbol == "-" and sum_on_the_right else _text(self.right)
            return f"{_text(self.left)} {self.symbol} {right}"
        left = self.left
        bare = isinstance(left, _Binary) and left.symbol == "*" and self.symbol in {"*", "/"}
        return f"{_text(left) if bare else _grouped(left)}{self.symbol}{_grouped(self.right)}"


def _sum(
    left: tuple[float, dict[str, float]], right: tuple[float, dict[str, float]], sign: float
) -> tuple[float, dict[str, float]]:
    factors = dict(left[1])
    for name, factor in right[1].items():
        factors[name] = factors.get(name, 0.0) + sign * factor
    return left[0] + sign * right[0], factors


def _binary(symbol: str, left: Angle, right: Angle) -> Expression:
    for operand in (left, right):
        if not isinstance(operand, Expression):
            checked_number(operand, "a number in a parameter expression")
    return _Binary(symbol, _plain(left), _plain(right))


def _plain(value: Angle) -> Angle:
    return value if isinstance(value, Expression) else float(value)


def checked_number(value: object, what: str) -> float:
    """A finite real number as a float.

    Raises:
        TypeError: it is no real number.
        ValueError: it is NaN or infinite.
    """
    if isinstance(value, (str, bytes, complex)) or not hasattr(value, "__float__") or getattr(value, "ndim", False):
        raise TypeError(f"{what} must be a real number or an expression of parameters, not {value!r}")
    try:
        number = float(value) + 0.0  # -0.0 becomes 0.0: what is equal has the same bits
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{what} must be finite, not {number}; look where it was computed")
    return number


def evaluate(angle: Angle, values: Mapping[str, Reals]) -> Reals:
    """Value of an expression or number at every point; a number has shape ()."""
    return angle.evaluate(values) if isinstance(angle, Expression) else np.asarray(angle, dtype=np.float64)


def linear(angle: Angle) -> tuple[float, dict[str, float]] | None:
    """`Expression.linear` for expressions and numbers."""
    return angle.linear() if isinstance(angle, Expression) else (float(angle), {})


def parameters_of(angle: Angle) -> frozenset[str]:
    """Names of the parameters in an expression; none in a number."""
    return angle.parameters if isinstance(angle, Expression) else frozenset()


def sort_key(name: str) -> tuple[tuple[int, int | str], ...]:
    """Orders names with numbers by value: x[2] before x[10]."""
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", name))


def _text(value: Angle) -> str:
    return repr(value) if isinstance(value, Expression) else f"{value:g}"


def _grouped(value: Angle) -> str:
    return f"({value!r})" if isinstance(value, _Binary) else _text(value)
