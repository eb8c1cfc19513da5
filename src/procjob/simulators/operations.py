"""`Operation`: one step of a circuit as a frozen, hashable value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from procjob.simulators.expressions import Angle, parameters_of
from procjob.simulators.gates import GATES, Complexes

_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Condition:
    """Run an operation only where these classical bits, the first least significant, hold `value`."""

    clbits: tuple[int, ...]
    value: int


@dataclass(frozen=True, slots=True)
class Operation:
    """A gate, a unitary, or one of measure, reset and barrier.

    Attributes:
        name: a key of `GATES`, or unitary, measure, reset, barrier.
        targets: the qubits of the base gate, least significant first.
        controls: qubits that must be 1.
        angles: numbers or expressions.
        clbits: where a measurement goes.
        unitary: the bytes of a unitary's matrix, complex128 in C order.
        condition: None for always.
    """

    name: str
    targets: tuple[int, ...] = ()
    controls: tuple[int, ...] = ()
    angles: tuple[Angle, ...] = ()
    clbits: tuple[int, ...] = ()
    unitary: bytes = b""
    condition: Condition | None = None

    @property
    def qubits(self) -> tuple[int, ...]:
        """Targets, then controls: the order of the bits of its matrix, least significant first."""
        return self.targets + self.controls

    @property
    def full_name(self) -> str:
        """The name with one "c" for each control; cu has that of the first one."""
        return "c" * (len(self.controls) - (self.name == "cu")) + self.name

    @property
    def parameters(self) -> frozenset[str]:
        """Names of the parameters in its angles."""
        return frozenset[str]().union(*map(parameters_of, self.angles)) if self.angles else _NONE

    @property
    def is_gate(self) -> bool:
        """Whether it is unitary (a barrier is not a gate)."""
        return self.name in GATES or self.name == "unitary"

    def base_matrix(self) -> Complexes:
        """The matrix without controls. Only for operations without parameters."""
        if self.name == "unitary":
            size = 1 << len(self.targets)
            return np.frombuffer(self.unitary, dtype=np.complex128).reshape(size, size)
        return GATES[self.name].matrix(*(np.asarray(angle, dtype=np.float64) for angle in self.angles))

    def label(self) -> str:
        """Name with angles, for drawings: ``rz(2*theta + 1)``."""
        return self.name + self._shown_angles()

    def _shown_angles(self) -> str:
        angles = ", ".join(repr(a) if parameters_of(a) else f"{a:.4g}" for a in self.angles)
        return f"({angles})" if angles else ""

    def __str__(self) -> str:
        where = ", ".join(map(str, self.controls + self.targets))
        text = f"{self.full_name}{self._shown_angles()} {where}".rstrip()
        if self.clbits:
            text += f" -> {self.clbits[0]}"
        if self.condition is not None:
            text += f" if c{list(self.condition.clbits)} == {self.condition.value}"
        return text
