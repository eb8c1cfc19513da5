"""The gate methods of `Circuit`, each with its matrix.

Formulas: OpenQASM 3 standard library (openqasm.com/language/standard_library.html); for the global phases of u and u2 and for
csx, ccz, iswap, rxx, ryy and rzz the circuit library of Qiskit. Qubit arguments stand in Qiskit's order: angles,
controls, targets. Matrices of several qubits are written with the first qubit as the least significant bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self

from procjob.simulators.expressions import Angle


class GateMethods(Protocol):
    """One method a gate; each appends it and returns the circuit.

    All raise what `Circuit.gate` raises.
    """

    def gate(
        self, name: str, targets: Sequence[int], angles: Sequence[Angle] = (), *, controls: Sequence[int] = ()
    ) -> Self:
        """Append a gate by name."""
        ...

    def id(self, qubit: int) -> Self:
        """Do nothing: the identity."""
        return self.gate("id", [qubit])

    def x(self, qubit: int) -> Self:
        """Pauli X: [[0, 1], [1, 0]]."""
        return self.gate("x", [qubit])

    def y(self, qubit: int) -> Self:
        """Pauli Y: [[0, -i], [i, 0]]."""
        return self.gate("y", [qubit])

    def z(self, qubit: int) -> Self:
        """Pauli Z: diag(1, -1)."""
        return self.gate("z", [qubit])

    def h(self, qubit: int) -> Self:
        """Hadamard: [[1, 1], [1, -1]] / sqrt(2)."""
        return self.gate("h", [qubit])

    def s(self, qubit: int) -> Self:
        """Square root of Z: diag(1, i)."""
        return self.gate("s", [qubit])

    def sdg(self, qubit: int) -> Self:
        """Inverse of s: diag(1, -i)."""
        return self.gate("sdg", [qubit])

    def t(self, qubit: int) -> Self:
        """Square root of s: diag(1, e^(i pi/4))."""
        return self.gate("t", [qubit])

    def tdg(self, qubit: int) -> Self:
        """Inverse of t: diag(1, e^(-i pi/4))."""
        return self.gate("tdg", [qubit])

    def sx(self, qubit: int) -> Self:
        """Square root of X: [[1+i, 1-i], [1-i, 1+i]] / 2."""
        return self.gate("sx", [qubit])

    def sxdg(self, qubit: int) -> Self:
        """Inverse of sx: [[1-i, 1+i], [1+i, 1-i]] / 2."""
        return self.gate("sxdg", [qubit])

    def p(self, lam: Angle, qubit: int) -> Self:
        """Phase: diag(1, e^(i lam)). Also `phase` and `u1`."""
        return self.gate("p", [qubit], [lam])

    def phase(self, lam: Angle, qubit: int) -> Self:
        """The same as p: diag(1, e^(i lam)), by its other name in OpenQASM 3."""
        return self.p(lam, qubit)

    def u1(self, lam: Angle, qubit: int) -> Self:
        """The same as p: diag(1, e^(i lam)), by its name in OpenQASM 2."""
        return self.p(lam, qubit)

    def rx(self, theta: Angle, qubit: int) -> Self:
        """Rotation exp(-i theta X / 2): [[cos, -i sin], [-i sin, cos]] of theta/2."""
        return self.gate("rx", [qubit], [theta])

    def ry(self, theta: Angle, qubit: int) -> Self:
        """Rotation exp(-i theta Y / 2): [[cos, -sin], [sin, cos]] of theta/2."""
        return self.gate("ry", [qubit], [theta])

    def rz(self, theta: Angle, qubit: int) -> Self:
        """Rotation exp(-i theta Z / 2): diag(e^(-i theta/2), e^(i theta/2))."""
        return self.gate("rz", [qubit], [theta])

    def u(self, theta: Angle, phi: Angle, lam: Angle, qubit: int) -> Self:
        """[[cos, -e^(i lam) sin], [e^(i phi) sin, e^(i (phi+lam)) cos]] of theta/2, the phase convention of Qiskit."""
        return self.gate("u", [qubit], [theta, phi, lam])

    def u2(self, phi: Angle, lam: Angle, qubit: int) -> Self:
        """U(pi/2, phi, lam), in the phase convention of Qiskit."""
        return self.gate("u2", [qubit], [phi, lam])

    def u3(self, theta: Angle, phi: Angle, lam: Angle, qubit: int) -> Self:
        """The same as u, by its name in OpenQASM 2, in the phase convention of Qiskit."""
        return self.u(theta, phi, lam, qubit)

    def cx(self, control: int, target: int) -> Self:
        """Controlled X: |1><1| (x) X + |0><0| (x) 1."""
        return self.gate("x", [target], controls=[control])

    def cy(self, control: int, target: int) -> Self:
        """Controlled Y: |1><1| (x) Y + |0><0| (x) 1."""
        return self.gate("y", [target], controls=[control])

    def cz(self, control: int, target: int) -> Self:
        """Controlled Z: diag(1, 1, 1, -1)."""
        return self.gate("z", [target], controls=[control])

    def ch(self, control: int, target: int) -> Self:
        """Controlled Hadamard: |1><1| (x) H + |0><0| (x) 1."""
        return self.gate("h", [target], controls=[control])

    def csx(self, control: int, target: int) -> Self:
        """Controlled square root of X: |1><1| (x) SX + |0><0| (x) 1."""
        return self.gate("sx", [target], controls=[control])

    def ccx(self, control1: int, control2: int, target: int) -> Self:
        """Toffoli: X where both controls are 1."""
        return self.gate("x", [target], controls=[control1, control2])

    def ccz(self, control1: int, control2: int, target: int) -> Self:
        """-1 where all three qubits are 1."""
        return self.gate("z", [target], controls=[control1, control2])

    def cp(self, lam: Angle, control: int, target: int) -> Self:
        """Controlled phase: diag(1, 1, 1, e^(i lam))."""
        return self.gate("p", [target], [lam], controls=[control])

    def cphase(self, lam: Angle, control: int, target: int) -> Self:
        """The same as cp: diag(1, 1, 1, e^(i lam)), by its other name in OpenQASM 3."""
        return self.cp(lam, control, target)

    def crx(self, theta: Angle, control: int, target: int) -> Self:
        """Controlled rx: |1><1| (x) RX(theta) + |0><0| (x) 1."""
        return self.gate("rx", [target], [theta], controls=[control])

    def cry(self, theta: Angle, control: int, target: int) -> Self:
        """Controlled ry: |1><1| (x) RY(theta) + |0><0| (x) 1."""
        return self.gate("ry", [target], [theta], controls=[control])

    def crz(self, theta: Angle, control: int, target: int) -> Self:
        """Controlled rz: |1><1| (x) RZ(theta) + |0><0| (x) 1."""
        return self.gate("rz", [target], [theta], controls=[control])

    def cu(  # noqa: PLR0917  the order of Qiskit
        self, theta: Angle, phi: Angle, lam: Angle, gamma: Angle, control: int, target: int
    ) -> Self:
        """Controlled e^(i gamma) U(theta, phi, lam)."""
        return self.gate("cu", [target], [theta, phi, lam, gamma], controls=[control])

    def swap(self, qubit1: int, qubit2: int) -> Self:
        """Exchange two qubits: |ab> to |ba>."""
        return self.gate("swap", [qubit1, qubit2])

    def iswap(self, qubit1: int, qubit2: int) -> Self:
        """exp(i pi (XX + YY) / 4): exchange, and i on |01> and |10>."""
        return self.gate("iswap", [qubit1, qubit2])

    def cswap(self, control: int, qubit1: int, qubit2: int) -> Self:
        """Fredkin: exchange two qubits where the control is 1."""
        return self.gate("swap", [qubit1, qubit2], controls=[control])

    def rxx(self, theta: Angle, qubit1: int, qubit2: int) -> Self:
        """exp(-i theta XX / 2) = cos(theta/2) - i sin(theta/2) XX."""
        return self.gate("rxx", [qubit1, qubit2], [theta])

    def ryy(self, theta: Angle, qubit1: int, qubit2: int) -> Self:
        """exp(-i theta YY / 2) = cos(theta/2) - i sin(theta/2) YY."""
        return self.gate("ryy", [qubit1, qubit2], [theta])

    def rzz(self, theta: Angle, qubit1: int, qubit2: int) -> Self:
        """exp(-i theta ZZ / 2) = cos(theta/2) - i sin(theta/2) ZZ."""
        return self.gate("rzz", [qubit1, qubit2], [theta])

    def mcx(self, controls: Sequence[int], target: int) -> Self:
        """X where all controls are 1."""
        return self.gate("x", [target], controls=controls)

    def global_phase(self, gamma: Angle) -> Self:
        """Multiply the state by e^(i gamma): gphase of OpenQASM 3."""
        return self.gate("gphase", [], [gamma])
