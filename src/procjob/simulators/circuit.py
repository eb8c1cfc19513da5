"""`Circuit`: a list of operations on numbered qubits and classical bits, with a fluent builder."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self, SupportsIndex, TypeGuard

import numpy as np
from numpy.typing import ArrayLike

from procjob.simulators.builder import GateMethods
from procjob.simulators.drawing import draw
from procjob.simulators.expressions import Angle, ByParameter, Expression, Parameter, checked_number, evaluate, sort_key
from procjob.simulators.gates import GATES, checked_unitary
from procjob.simulators.operations import Condition, Operation

#: Classical bits of one circuit fit into an int64.
MAX_CLBITS = 62


@dataclass(frozen=True, slots=True)
class Register:
    """Some classical bits of a circuit under a name."""

    name: str
    start: int
    size: int

    @property
    def clbits(self) -> tuple[int, ...]:
        """Their numbers in the circuit, least significant first."""
        return tuple(range(self.start, self.start + self.size))


class Circuit(GateMethods):
    """A quantum circuit. Every method that adds something returns the circuit itself, so calls can be chained.

    Qubit 0 is the least significant bit of a basis state's number, and the last character of a bit string.
    Two circuits are equal if they have the same bits and operations.

    Args:
        num_qubits: at least 1.
        num_clbits: size of a first classical register, called "c".

    Raises:
        TypeError: a number is not an integer.
        ValueError: a number is too small or too large.

    Example:
        >>> theta = Parameter("theta")
        >>> circuit = Circuit(2).h(0).cx(0, 1).rz(2 * theta + 1, 0).measure_all()
        >>> circuit
        <Circuit 2 qubits, 2 clbits, 5 operations, depth 4, parameters: theta>
        >>> print(circuit.draw())
        q0: ─h──●──rz(2*theta + 1)──M0─────
                │
        q1: ────x───────────────────────M1─
    """

    def __init__(self, num_qubits: int, num_clbits: int = 0) -> None:
        self.num_qubits = _integer(num_qubits, "num_qubits", 1)
        self._operations: list[Operation] = []
        self._registers: list[Register] = []
        if _integer(num_clbits, "num_clbits", 0):
            self.add_register("c", num_clbits)

    @property
    def operations(self) -> tuple[Operation, ...]:
        """What it does, in order."""
        return tuple(self._operations)

    @property
    def registers(self) -> tuple[Register, ...]:
        """Classical registers in the order of their bits."""
        return tuple(self._registers)

    @property
    def num_clbits(self) -> int:
        """Number of classical bits in all registers."""
        return sum(register.size for register in self._registers)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of its parameters, sorted, numbers in names by value: the order of the columns of a parameter array."""
        names = frozenset[str]().union(*(operation.parameters for operation in self._operations))
        return tuple(sorted(names, key=sort_key))

    def gate(
        self, name: str, targets: Sequence[int], angles: Sequence[Angle] = (), *, controls: Sequence[int] = ()
    ) -> Self:
        """Append a gate by the name of its base, with any number of controls.

        Args:
            name: a key of `procjob.simulators.gates.GATES`.
            targets: qubits, the least significant bit of the matrix first.
            angles: numbers in radians, or expressions of parameters.
            controls: qubits that all must be 1.

        Raises:
            TypeError: a qubit is not an integer, or an angle is neither a number nor an expression.
            ValueError: the gate is unknown, has another number of qubits or angles, a qubit is out of range or named twice, or an
                angle is NaN or infinite.

        Example:
            >>> Circuit(3).gate("ry", [2], [0.5], controls=[0, 1]).operations[0].qubits
            (2, 0, 1)
        """
        if name not in GATES:
            raise ValueError(f"there is no gate {name!r}; known: {', '.join(GATES)}; for others use unitary()")
        base = GATES[name]
        for several in (targets, angles, controls):
            if not isinstance(several, Collection):
                raise TypeError(f"{name}: targets, angles and controls must be sequences such as [0], not {several!r}")
        if len(targets) != base.num_qubits or len(angles) != base.num_params:
            raise ValueError(
                f"{name} takes {base.num_qubits} qubits and {base.num_params} angles, "
                f"not {len(targets)} and {len(angles)}"
            )
        qubits = self._checked_qubits(name, [*targets, *controls])
        checked = tuple(
            angle
            if isinstance(angle, Expression)
            else checked_number(angle, f"an angle of {name}", " or an expression of parameters")
            for angle in angles
        )
        split = base.num_qubits
        return self._append(Operation(name, qubits[:split], qubits[split:], checked))

    def unitary(self, matrix: ArrayLike, qubits: Sequence[int], *, controls: Sequence[int] = ()) -> Self:
        """Append any unitary matrix.

        Args:
            matrix: shape (2**k, 2**k) for k qubits.
            qubits: the least significant bit of the matrix first, as in Qiskit.
            controls: qubits that all must be 1.

        Raises:
            TypeError: a qubit is not an integer, or ``qubits`` or ``controls`` is no sequence.
            ValueError: the matrix is not unitary (its deviation is said), does not fit the number of qubits, or a qubit is out of
                range or named twice.
        """
        checked = checked_unitary(matrix)
        for several in (qubits, controls):
            if not isinstance(several, Collection):
                raise TypeError(f"unitary: qubits and controls must be sequences such as [0], not {several!r}")
        if len(checked) != 1 << len(qubits):
            raise ValueError(f"a matrix of shape {checked.shape} does not fit {len(qubits)} qubits")
        found = self._checked_qubits("unitary", [*qubits, *controls])
        split = len(qubits)
        return self._append(Operation("unitary", found[:split], found[split:], unitary=checked.tobytes()))

    def barrier(self, *qubits: int) -> Self:
        """Keep gates on both sides apart in the drawing; on all qubits if none is named. The state stays as it is."""
        return self._append(
            Operation("barrier", self._checked_qubits("barrier", qubits) or tuple(range(self.num_qubits)))
        )

    def reset(self, qubit: int) -> Self:
        """Set a qubit to 0: measure it, and flip it if it was 1."""
        return self._append(Operation("reset", self._checked_qubits("reset", [qubit])))

    def measure(self, qubits: int | Sequence[int], clbits: int | Sequence[int]) -> Self:
        """Measure qubits in the computational basis into classical bits, which must exist.

        Raises:
            TypeError: a bit is not an integer.
            ValueError: a bit is out of range or named twice, or the numbers of qubits and bits differ.
        """
        sources = self._checked_qubits("measure", qubits)
        found = _checked_bits("measure", clbits, self.num_clbits, "clbit")
        if len(sources) != len(found):
            raise ValueError(f"measure has {len(sources)} qubits but {len(found)} classical bits")
        for qubit, clbit in zip(sources, found, strict=True):
            self._append(Operation("measure", (qubit,), clbits=(clbit,)))
        return self

    def measure_all(self) -> Self:
        """Measure all qubits into a new classical register "meas", as Qiskit does."""
        self.add_register("meas", self.num_qubits)
        return self.measure(range(self.num_qubits), self._registers[-1].clbits)

    def add_register(self, name: str, size: int) -> Self:
        """Add a classical register behind (more significant than) those that are there.

        Raises:
            TypeError: the name is not a string, or the size not an integer.
            ValueError: the name is taken, the size is less than 1, or there would be more classical bits than `MAX_CLBITS`.
        """
        if not isinstance(name, str):
            raise TypeError(f"the name of a register must be a string, not {name!r}")
        if any(register.name == name for register in self._registers):
            raise ValueError(f"there is a classical register {name!r} already; use another name")
        start = self.num_clbits
        if start + _integer(size, "size", 1) > MAX_CLBITS:
            raise ValueError(f"a circuit can have {MAX_CLBITS} classical bits, not {start + size}")
        self._registers.append(Register(name, start, size))
        return self

    def c_if(self, classical: int | str | Sequence[int], value: int = 1) -> Self:
        """Put a condition on the last operation: it runs only where a classical bit or register holds a value.

        Args:
            classical: number of a bit, numbers of bits, the first least significant, or name of a register.
            value: what it must hold.

        Raises:
            TypeError: a bit or the value is not an integer.
            ValueError: there is nothing to put it on, no such bit or register, or the value does not fit.

        Example:
            >>> print(*Circuit(2, 1).measure(0, 0).x(1).c_if(0).operations, sep="; ")
            measure 0 -> 0; x 1 if c[0] == 1
        """
        if not self._operations or self._operations[-1].name == "barrier":
            raise ValueError("c_if goes behind a gate, a measurement or a reset")
        clbits = self._classical(classical)
        if not is_integer(value) and not isinstance(value, bool):
            raise TypeError(f"c_if: the value must be an integer, not {value!r}")
        if not 0 <= operator.index(value) < 1 << len(clbits):
            raise ValueError(f"{classical!r} has {len(clbits)} bits and never holds {value}")
        self._operations[-1] = replace(self._operations[-1], condition=Condition(clbits, int(value)))
        return self

    def bind(self, values: ByParameter[float]) -> Circuit:
        """A copy with numbers in place of some or all parameters.

        Raises:
            TypeError: ``values`` is no mapping, or a value is no real number.
            ValueError: the circuit has no such parameter, or an angle becomes NaN or infinite.
        """
        if not isinstance(values, Mapping):
            raise TypeError(f"bind takes a mapping such as {{'theta': 0.5}}, not {values!r}")
        named = {key.name if isinstance(key, Parameter) else key: value for key, value in values.items()}
        if unknown := named.keys() - set(self.parameters):
            raise ValueError(f"the circuit has no parameter {min(unknown)!r}; it has {list(self.parameters)}")
        arrays = {name: evaluate(checked_number(value, f"parameter {name}"), {}) for name, value in named.items()}
        copy = self.copy()
        for index, operation in enumerate(copy._operations):
            if operation.parameters & named.keys():
                if missing := operation.parameters - named.keys():
                    raise ValueError(f"parameter {min(missing)!r} shares an angle with a bound one; bind it too")
                with np.errstate(all="ignore"):  # what comes of it is checked
                    values_of = [evaluate(angle, arrays).item() for angle in operation.angles]
                angles = tuple(checked_number(value, f"an angle of {operation}") for value in values_of)
                copy._operations[index] = replace(operation, angles=angles)
        return copy

    def copy(self) -> Circuit:
        """Another circuit with the same content."""
        other = Circuit(self.num_qubits)
        other._registers, other._operations = list(self._registers), list(self._operations)
        return other

    def depth(self) -> int:
        """Largest number of operations, barriers aside, that follow each other on shared bits."""
        level: dict[tuple[str, int], int] = {}
        for op in self._operations:
            bits = [("q", q) for q in op.qubits] + [("c", c) for c in op.clbits]
            bits += [("c", c) for c in op.condition.clbits] if op.condition else []
            top = max((level.get(bit, 0) for bit in bits), default=0) + (op.name != "barrier")
            level.update(dict.fromkeys(bits, top))
        return max(level.values(), default=0)

    def draw(self) -> str:
        """A drawing in text, one line a qubit."""
        return draw(self.num_qubits, self._operations)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Circuit):
            return NotImplemented
        mine, theirs = ((c.num_qubits, c._registers, c._operations) for c in (self, other))
        return mine == theirs

    __hash__ = None  # type: ignore[assignment]  # a circuit grows

    def __len__(self) -> int:
        return len(self._operations)

    def __repr__(self) -> str:
        names = self.parameters
        shown = f", parameters: {', '.join(names[:4])}{', ...' if len(names) > 4 else ''}" if names else ""
        return (
            f"<Circuit {self.num_qubits} qubits, {self.num_clbits} clbits, {len(self)} operations, "
            f"depth {self.depth()}{shown}>"
        )

    def _append(self, operation: Operation) -> Self:
        self._operations.append(operation)
        return self

    def _checked_qubits(self, name: str, qubits: int | Iterable[int]) -> tuple[int, ...]:
        return _checked_bits(name, qubits, self.num_qubits, "qubit")

    def _classical(self, classical: int | str | Sequence[int]) -> tuple[int, ...]:
        if isinstance(classical, str):
            for register in self._registers:
                if register.name == classical:
                    return register.clbits
            raise ValueError(f"there is no register {classical!r}; there are {[r.name for r in self._registers]}")
        return _checked_bits("c_if", classical, self.num_clbits, "clbit")


def is_integer(value: object) -> TypeGuard[SupportsIndex]:
    """Whether it is one integer, no truth value; an array of NumPy's is one if it has no axis."""
    return isinstance(value, SupportsIndex) and not isinstance(value, bool) and not getattr(value, "ndim", 0)


def _integer(value: SupportsIndex, name: str, least: int) -> int:
    if not is_integer(value):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    number = operator.index(value)
    if number < least:
        raise ValueError(f"{name} must be at least {least}, not {number}")
    return number


def _checked_bits(name: str, bits: object, count: int, kind: str) -> tuple[int, ...]:
    given = (bits,) if is_integer(bits) or not isinstance(bits, Iterable) else tuple(bits)
    for bit in given:
        if not is_integer(bit):
            raise TypeError(f"{name}: a {kind} must be an integer, not {bit!r}")
    found = tuple(operator.index(bit) for bit in given)
    for bit in found:
        if not 0 <= bit < count:
            has = f"0 to {count - 1}" if count else "none"
            raise ValueError(f"{name}: there is no {kind} {bit}; the circuit has {has}")
    if len(set(found)) != len(found):
        raise ValueError(f"{name}: a {kind} is named twice in {list(found)}")
    return found
