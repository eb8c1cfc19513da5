"""`Parameter` and its arithmetic: expressions that are kept as a tree and evaluated for all points at once.

`Circuit` takes expressions wherever a gate takes an angle; a plan asks for `linear()` to treat the common case
(scale * parameter + offset) as arrays, and falls back to `evaluate`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Reals: TypeAlias = NDArray[np.float64]
Angle: TypeAlias = "Expression | float"
#: An offset and factors of parameters.
_Linear: TypeAlias = tuple[float, dict[str, float]]
Value = TypeVar("Value")

_BINARY: dict[str, Callable[[Reals, Reals], Reals]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "**": np.power,
}
_UNARY: dict[str, Callable[[Reals], Reals]] = {
    name: getattr(np, name)
    for name in ("negative", "abs", "sin", "cos", "tan", "arcsin", "arccos", "arctan", "exp", "log", "sign", "sqrt")
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
        return _Node("negative", (self,))

    def __abs__(self) -> Expression:
        return _Node("abs", (self,))

    # NumPy calls these for np.sin(expression) and so on.
    def sin(self) -> Expression:
        """Sine."""
        return _Node("sin", (self,))

    def cos(self) -> Expression:
        """Cosine."""
        return _Node("cos", (self,))

    def tan(self) -> Expression:
        """Tangent."""
        return _Node("tan", (self,))

    def arcsin(self) -> Expression:
        """Inverse sine."""
        return _Node("arcsin", (self,))

    def arccos(self) -> Expression:
        """Inverse cosine."""
        return _Node("arccos", (self,))

    def arctan(self) -> Expression:
        """Inverse tangent."""
        return _Node("arctan", (self,))

    def exp(self) -> Expression:
        """Exponential."""
        return _Node("exp", (self,))

    def log(self) -> Expression:
        """Natural logarithm."""
        return _Node("log", (self,))

    def sign(self) -> Expression:
        """1, 0 or -1, as its value is above, at or below 0; ``np.sign`` does not ask for it."""
        return _Node("sign", (self,))

    def sqrt(self) -> Expression:
        """Square root."""
        return _Node("sqrt", (self,))


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


#: Values by name or by parameter: to type checkers a dictionary of names is none of names and parameters.
ByParameter: TypeAlias = Mapping[str, Value] | Mapping[Parameter, Value] | Mapping[str | Parameter, Value]


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class _Node(Expression):
    """A function of other expressions. Whatever walks through it does so without recursion: sums have thousands of terms."""

    symbol: str
    arguments: tuple[Angle, ...]
    _hash: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.symbol, self.arguments)))  # those of the arguments are known

    @property
    def parameters(self) -> frozenset[str]:
        return frozenset(node.name for node in _walk(self) if isinstance(node, Parameter))

    def evaluate(self, values: Mapping[str, Reals]) -> Reals:
        return _fold(self, lambda leaf: evaluate(leaf, values), _computed)

    def linear(self) -> tuple[float, dict[str, float]] | None:
        return _fold(self, linear, _combined)

    def __repr__(self) -> str:
        return _fold(self, _text, _written)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Node):
            return NotImplemented
        pairs: list[tuple[Angle, Angle]] = [(self, other)]
        seen: set[tuple[int, int]] = set()
        while pairs:
            left, right = pairs.pop()
            if left is right or (id(left), id(right)) in seen:
                continue
            if not isinstance(left, _Node) or not isinstance(right, _Node):
                if left != right:
                    return False
                continue
            if (left._hash, left.symbol, len(left.arguments)) != (right._hash, right.symbol, len(right.arguments)):
                return False
            seen.add((id(left), id(right)))
            pairs += zip(left.arguments, right.arguments, strict=True)
        return True

    def __reduce__(self) -> tuple[Callable[..., Angle], tuple[object, ...]]:
        order = list(_walk(self))
        number = {id(node): index for index, node in enumerate(order)}
        steps = [
            (node.symbol, *(number[id(argument)] for argument in node.arguments)) if isinstance(node, _Node) else node
            for node in order
        ]
        return _rebuilt, tuple(steps)

    def __procjob_identity__(self) -> list[tuple[str | int, ...]]:
        """What it is in every process, which its hash is not: its steps, each once."""
        numbers: dict[tuple[str | int, ...], int] = {}
        at: dict[int, int] = {}
        for node in _walk(self):
            step: tuple[str | int, ...] = (
                (node.symbol, *(at[id(argument)] for argument in node.arguments)) if isinstance(node, _Node)
                else ("parameter", node.name) if isinstance(node, Parameter)
                else ("number", float(node).hex())  # type: ignore[arg-type]  # what is no expression is a number
            )  # fmt: skip
            at[id(node)] = numbers.setdefault(step, len(numbers))
        return list(numbers)


def _rebuilt(*steps: Any) -> Angle:
    """An expression from its parameters, numbers, and symbols with the numbers of their arguments among the steps."""
    made: list[Angle] = []
    for step in steps:
        made.append(_Node(step[0], tuple(made[index] for index in step[1:])) if isinstance(step, tuple) else step)
    return made[-1]


def _walk(root: Angle) -> Iterator[Angle]:
    """Every expression and number in it once, what is in a node before the node."""
    seen: set[int] = set()
    waiting: list[tuple[Angle, bool]] = [(root, False)]
    while waiting:
        node, is_open = waiting.pop()
        if is_open:
            yield node
        elif id(node) not in seen:
            seen.add(id(node))
            waiting.append((node, True))
            if isinstance(node, _Node):
                waiting += [(argument, False) for argument in reversed(node.arguments)]


def _fold(root: _Node, leaf: Callable[[Angle], Value], combine: Callable[[_Node, list[Value]], Value]) -> Value:
    """Values of parameters and numbers, combined node by node, and let go where no other node needs them."""
    order = list(_walk(root))
    uses = Counter(id(argument) for node in order if isinstance(node, _Node) for argument in node.arguments)
    found: dict[int, Value] = {}
    for node in order:
        if not isinstance(node, _Node):
            found[id(node)] = leaf(node)
            continue
        values = []
        for argument in node.arguments:
            uses[id(argument)] -= 1
            values.append(found[id(argument)] if uses[id(argument)] else found.pop(id(argument)))
        found[id(node)] = combine(node, values)
    return found[id(root)]


def _computed(node: _Node, values: list[Reals]) -> Reals:
    if len(values) == 1:
        return _UNARY[node.symbol](np.asarray(values[0], order="C"))
    return _BINARY[node.symbol](values[0], values[1])


def _combined(node: _Node, forms: list[_Linear | None]) -> _Linear | None:
    left, right = forms[0], forms[-1]
    if left is None or right is None:
        return None
    if len(forms) == 1:
        return (-left[0], {name: -factor for name, factor in left[1].items()}) if node.symbol == "negative" else None
    if node.symbol in {"+", "-"}:
        return _sum(left, right, 1.0 if node.symbol == "+" else -1.0)
    if node.symbol == "*" and not left[1]:
        left, right = right, left
    if right[1] or node.symbol == "**" or (node.symbol == "/" and right[0] == 0):
        return None
    factor = right[0] if node.symbol == "*" else 1 / right[0]
    return left[0] * factor, {name: value * factor for name, value in left[1].items()}


def _written(node: _Node, texts: list[str]) -> str:
    grouped = [
        f"({text})" if isinstance(argument, _Node) and len(argument.arguments) > 1 else text
        for argument, text in zip(node.arguments, texts, strict=True)
    ]
    if len(texts) == 1:
        return f"-{grouped[0]}" if node.symbol == "negative" else f"{node.symbol}({texts[0]})"
    if node.symbol in {"+", "-"}:
        right = grouped[1] if node.symbol == "-" and _symbol(node.arguments[1]) in {"+", "-"} else texts[1]
        return f"{texts[0]} {node.symbol} {right}"
    bare = node.symbol in {"*", "/"} and _symbol(node.arguments[0]) == "*"
    return f"{texts[0] if bare else grouped[0]}{node.symbol}{grouped[1]}"


def _symbol(angle: Angle) -> str | None:
    return angle.symbol if isinstance(angle, _Node) else None


def _sum(left: _Linear, right: _Linear, sign: float) -> _Linear:
    if len(left[1]) >= len(right[1]):
        factors, others = dict(left[1]), {name: sign * factor for name, factor in right[1].items()}
    else:
        factors, others = {name: sign * factor for name, factor in right[1].items()}, left[1]
    for name, factor in others.items():
        factors[name] = factors.get(name, 0.0) + factor
    return left[0] + sign * right[0], factors


def _binary(symbol: str, left: Angle, right: Angle) -> Expression:
    for operand in (left, right):
        if not isinstance(operand, Expression):
            checked_number(operand, "a number in a parameter expression")
    return _Node(symbol, (_plain(left), _plain(right)))


def _plain(value: Angle) -> Angle:
    return value if isinstance(value, Expression) else float(value)


def checked_number(value: object, what: str, otherwise: str = "") -> float:
    """A finite real number as a float.

    Args:
        value: to check.
        what: how messages call it.
        otherwise: what else is allowed, for the message.

    Raises:
        TypeError: it is no real number.
        ValueError: it is NaN or infinite.
    """
    if isinstance(value, np.ndarray) and not value.ndim:
        value = value[()]
    try:
        is_text = isinstance(value, (str, bytes)) or not hasattr(value, "__float__")  # `float` reads other bytes, too
        if is_text or isinstance(value, (complex, np.complexfloating)) or getattr(value, "ndim", False):
            raise TypeError
        number = float(value) + 0.0  # type: ignore[arg-type]  # -0.0 becomes 0.0: what is equal has the same bits
    except OverflowError:
        number = math.inf
    except TypeError:  # also of what is a number at other times, such as a parameter of Qiskit's
        raise TypeError(f"{what} must be a real number{otherwise}, not {value!r}") from None
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


def sort_key(name: str) -> tuple[tuple[tuple[int, int | str], ...], str]:
    """Orders names with numbers by value, x[2] before x[10]; those of one value, x1 and x01, by their text."""
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", name)), name


def _text(value: Angle) -> str:
    return repr(value) if isinstance(value, Expression) else f"{value:g}"
