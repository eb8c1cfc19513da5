"""A Qiskit `QuantumCircuit` as a `procjob.simulators.circuit.Circuit`.

Gates that both know are taken as they are; composite instructions are decomposed by their definition; what is left and
has a matrix becomes a unitary. Parameter expressions stay symbolic. The user's circuit is only read.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from qiskit import QuantumCircuit, qasm2, qasm3
from qiskit.circuit import (
    AnnotatedOperation,
    Barrier,
    ClassicalRegister,
    Clbit,
    ControlledGate,
    ControlModifier,
    Delay,
    Gate,
    IfElseOp,
    Instruction,
    InverseModifier,
    Measure,
    Reset,
)
from qiskit.circuit.library import PermutationGate, UnitaryGate
from qiskit.circuit.library.standard_gates import get_standard_gate_name_mapping
from qiskit.exceptions import QiskitError
from qiskit.quantum_info import Clifford
from qiskit.synthesis import synth_permutation_basic

from procjob.qiskit.expressions import angle_of
from procjob.simulators.circuit import Circuit
from procjob.simulators.expressions import Angle, Parameter
from procjob.simulators.gates import GATES

#: Qiskit's name of a gate without controls: ours.
NAMES = {
    **{name: name for name in GATES if name not in {"cu", "gphase"}},
    "u1": "p",
    "u3": "u",
}
#: Classes of Qiskit's own gates: a gate of the user's may have the name of one, and be another.
_CLASSES = {name: gate.base_class for name, gate in get_standard_gate_name_mapping().items()}
_HALF_PI = np.pi / 2
#: Gates of Qiskit whose angles are not ours as they are.
_REWRITTEN: dict[str, Callable[..., tuple[str, list[Angle]]]] = {
    "r": lambda theta, phi: ("u", [theta, phi - _HALF_PI, _HALF_PI - phi]),
}
#: Classical bits, the first least significant, and the value they must hold.
_Condition = tuple[tuple[int, ...], int]


def from_qiskit(circuit: QuantumCircuit) -> Circuit:
    """Convert a circuit of Qiskit.

    Args:
        circuit: gates, measurements, resets, barriers, and ``if_test`` on bits and registers; parameters may be free.

    Returns:
        A circuit with the same qubits, classical bits, registers and parameter names. Delays take no time here.

    Raises:
        TypeError: it is no `QuantumCircuit`.
        ValueError: an instruction that the built-in simulator does not have; the message names it.

    Example:
        >>> from qiskit import QuantumCircuit
        >>> bell = QuantumCircuit(2)
        >>> _ = bell.h(0), bell.cx(0, 1), bell.measure_all()
        >>> from_qiskit(bell)
        <Circuit 2 qubits, 2 clbits, 4 operations, depth 3>
    """
    if not isinstance(circuit, QuantumCircuit):
        raise TypeError(f"circuit must be a qiskit QuantumCircuit, not {circuit!r}")
    if not circuit.num_qubits:
        raise ValueError(f"circuit {circuit.name!r} has no qubits")
    target = Circuit(circuit.num_qubits)
    _Converter(target, circuit.name, _add_registers(target, circuit)).convert(circuit, range(circuit.num_qubits))
    for name in sorted({parameter.name for parameter in circuit.parameters} - set(target.parameters)):
        target.global_phase(0 * Parameter(name))  # of delays, or x - x: still the circuit's, and given a value
    return target


def from_qasm2(text: str) -> Circuit:
    """Convert an OpenQASM 2 program, read by Qiskit's parser with its legacy gates.

    Raises:
        ValueError: it has an instruction that the built-in simulator does not have.
        qiskit.qasm2.QASM2ParseError: the text is no OpenQASM 2.

    Example:
        >>> from_qasm2('OPENQASM 2.0; include "qelib1.inc"; qreg q[1]; creg c[1]; h q[0]; measure q[0] -> c[0];')
        <Circuit 1 qubits, 1 clbits, 2 operations, depth 2>
    """
    return from_qiskit(loads_qasm2(text))


def from_qasm3(text: str) -> Circuit:
    """Convert an OpenQASM 3 program, read by Qiskit's parser; ``input float`` variables become free parameters.

    Raises:
        TypeError: it is no text.
        ValueError: it is no OpenQASM 3, or Qiskit's parser fails (the place is named), or it has an instruction that the
            built-in simulator does not have.
        qiskit.qasm3.QASM3ImporterError: it is OpenQASM 3 that Qiskit does not read.
        ImportError: the parser is missing; the extra ``qiskit`` brings it.

    Example:
        >>> from_qasm3('OPENQASM 3.0; include "stdgates.inc"; input float a; qubit q; bit c; ry(a/2) q; c = measure q;')
        <Circuit 1 qubits, 1 clbits, 2 operations, depth 2, parameters: a>
    """
    return from_qiskit(loads_qasm3(text))


def loads_qasm2(text: str) -> QuantumCircuit:
    """Read an OpenQASM 2 program as a circuit of Qiskit; see `from_qasm2`."""
    return qasm2.loads(text, custom_instructions=qasm2.LEGACY_CUSTOM_INSTRUCTIONS)


def loads_qasm3(text: str) -> QuantumCircuit:
    """Read an OpenQASM 3 program as a circuit of Qiskit; see `from_qasm3`."""
    if not isinstance(text, str):
        raise TypeError(f"text must be an OpenQASM 3 program, not {text!r}")
    if not text.strip():
        raise ValueError("the text is no OpenQASM 3: it is empty")
    try:
        return qasm3.loads(text)
    except (ImportError, qasm3.QASM3ImporterError):
        raise
    except Exception as exc:
        if type(exc).__name__ == "QASM3ParsingError":  # of the parser, which is imported when it is used
            raise ValueError(f"the text is no OpenQASM 3: {_place(exc)}") from exc
        what = f"{type(exc).__name__}: {getattr(exc, 'message', exc)}"  # an index out of range, say: it checks little
        raise ValueError(f"Qiskit's parser of OpenQASM 3 gave up{_line(exc)}: {what}") from exc


def _place(error: Exception) -> str:
    """What a syntax error says, or where the token is on which the parser gave up, for it then says nothing."""
    cause = error.__cause__.args[0] if error.__cause__ is not None and error.__cause__.args else None
    token = getattr(cause, "offendingToken", None)
    return str(error) or (f"line {token.line}, at {token.text!r}" if token is not None else "it cannot be parsed")


def _line(error: Exception) -> str:
    """Where the innermost statement or expression is that the parser was at, if it was at one."""
    nodes = [frame.f_locals.get("node") for frame, _ in traceback.walk_tb(error.__traceback__)]
    spans = [span for node in nodes if (span := getattr(node, "span", None))]
    return f" at line {spans[-1].start_line}" if spans else ""


def _add_registers(target: Circuit, circuit: QuantumCircuit) -> dict[Clbit, int]:
    """Give the classical bits a place: those in registers with their register, loose and shared ones where they are."""
    index = {bit: number for number, bit in enumerate(circuit.clbits)}
    at = 0
    for register in sorted(circuit.cregs, key=lambda register: index[register[0]] if len(register) else -1):
        places = [index[bit] for bit in register]
        if places != list(range(at, at + len(places))) or not places:
            continue
        target.add_register(register.name, len(places))
        at += len(places)
    if at < len(index):
        taken = {register.name for register in target.registers}
        name = next(name for name in (f"loose{n}" for n in range(len(index) + 1)) if name not in taken)
        target.add_register(name, len(index) - at)
    return index


def _definition(operation: Any) -> QuantumCircuit | None:
    """The circuit that an instruction is made of, if it has one; two of Qiskit's have a matrix, of 12 qubits 256 MB, instead."""
    if isinstance(operation, PermutationGate):
        return synth_permutation_basic(operation.pattern)
    if isinstance(operation, Clifford):
        return operation.to_circuit()
    return getattr(operation, "definition", None)


@dataclass(slots=True)
class _Converter:
    target: Circuit
    name: str
    clbits: dict[Clbit, int]

    def convert(self, circuit: QuantumCircuit, qubits: Sequence[int], condition: _Condition | None = None) -> None:
        """Append the instructions of a circuit that acts on these qubits of the target."""
        if circuit.global_phase:
            self._append_gate("gphase", [], [angle_of(circuit.global_phase)], [], condition)
        where = {bit: qubits[number] for number, bit in enumerate(circuit.qubits)}
        for item in circuit.data:
            self._instruction(item.operation, [where[bit] for bit in item.qubits], list(item.clbits), condition)

    def _instruction(
        self, operation: Any, qubits: list[int], clbits: list[Clbit], condition: _Condition | None
    ) -> None:
        # c_if of Qiskit 1.x; its public property warns, and is gone in 2.x
        legacy = None if isinstance(operation, IfElseOp) else getattr(operation, "_condition", None)
        if legacy is not None:
            condition = self._both(condition, self._read(legacy, operation), operation)
            operation = operation.to_mutable()
            operation._condition = None  # or the definition of a gate with open controls has it again
        if isinstance(operation, (Barrier, Delay)):
            return
        if isinstance(operation, IfElseOp):
            self._if_else(operation, qubits, clbits, condition)
        elif isinstance(operation, Measure):
            self.target.measure(qubits[0], self.clbits[clbits[0]])
            self._conditioned(condition)
        elif isinstance(operation, Reset):
            self.target.reset(qubits[0])
            self._conditioned(condition)
        elif isinstance(operation, AnnotatedOperation):
            self._instruction(self._plain(operation), qubits, clbits, condition)
        elif not (isinstance(operation, Gate) and self._gate(operation, qubits, condition)):
            self._composite(operation, qubits, clbits, condition)

    # ------------------------------------------------------------ gates

    def _gate(self, gate: Gate, qubits: list[int], condition: _Condition | None) -> bool:
        """Append a gate that both know; False: it is not one."""
        controls: list[int] = []
        base, open_controls = gate, []
        if isinstance(gate, ControlledGate):
            base, controls, qubits = gate.base_gate, qubits[: gate.num_ctrl_qubits], qubits[gate.num_ctrl_qubits :]
            open_controls = [q for n, q in enumerate(controls) if not gate.ctrl_state >> n & 1]
        is_unitary = isinstance(base, UnitaryGate) and base.num_qubits
        known = None if is_unitary else self._known(base, gate.params)
        if not (is_unitary or known) or base.num_qubits != len(qubits):  # several targets, as of an MCMTGate
            return False
        for qubit in open_controls:
            self._append_gate("x", [qubit], [], [], condition)
        if known is None:
            self.target.unitary(base.to_matrix(), qubits, controls=controls)
            self._conditioned(condition)
        else:
            self._append_gate(known[0], qubits, known[1], controls, condition)
        for qubit in open_controls:
            self._append_gate("x", [qubit], [], [], condition)
        return True

    def _plain(self, operation: AnnotatedOperation) -> Gate:
        """The gate that a gate with modifiers is."""
        gate = operation.base_op
        if not isinstance(gate, Gate):
            raise self._unsupported(operation)
        try:
            # Controls last, where it is the same: Qiskit loses the phase of a cu when it inverts one with further controls.
            for modifier in sorted(operation.modifiers, key=lambda modifier: isinstance(modifier, ControlModifier)):
                if isinstance(modifier, ControlModifier):
                    gate = gate.control(modifier.num_ctrl_qubits, ctrl_state=modifier.ctrl_state, annotated=False)
                elif isinstance(modifier, InverseModifier):
                    gate = gate.inverse()
                elif float(modifier.power).is_integer():
                    gate = gate.power(modifier.power)
                else:  # the principal root of its matrix: half the angle of a rotation may be another root
                    gate = Gate.power(gate, modifier.power)
        except (TypeError, QiskitError):  # as of a permutation under controls, or of a power with a free parameter
            raise self._unsupported(operation) from None
        return gate

    def _known(self, gate: Gate, params: Sequence[Any]) -> tuple[str, list[Angle]] | None:
        """Our name and angles of a gate without its controls; `params` are those that it has with them."""
        if isinstance(gate, UnitaryGate):  # on no qubits, as of a power of a global phase
            return "gphase", [float(np.angle(gate.to_matrix().item()))]
        if not isinstance(gate, _CLASSES.get(gate.name, ())):
            return None
        angles = [angle_of(p) for p in params] if gate.name in NAMES or gate.name in _REWRITTEN else []
        if gate.name == "u" and len(angles) == 4:  # the last one is the phase of what a cu controls
            return "cu", angles
        if gate.name in _REWRITTEN:
            return _REWRITTEN[gate.name](*angles)
        if gate.name == "global_phase":
            return "gphase", [angle_of(params[0])]
        return (NAMES[gate.name], angles) if gate.name in NAMES else None

    def _append_gate(
        self,
        name: str,
        targets: Sequence[int],
        angles: Sequence[Angle],
        controls: Sequence[int],
        condition: _Condition | None,
    ) -> None:
        self.target.gate(name, targets, angles, controls=controls)
        self._conditioned(condition)

    def _composite(
        self,
        operation: Instruction,
        qubits: list[int],
        clbits: list[Clbit],
        condition: _Condition | None,
    ) -> None:
        try:
            definition = _definition(operation)
            matrix: Any = operation.to_matrix() if definition is None else None
        except (AttributeError, TypeError, QiskitError):  # TypeError: of a matrix with a free parameter
            raise self._unsupported(operation) from None
        if definition is not None:
            self._inline(operation, definition, qubits, clbits, condition)
            return
        self.target.unitary(matrix, qubits)
        self._conditioned(condition)

    def _inline(
        self,
        operation: Instruction,
        circuit: QuantumCircuit,
        qubits: list[int],
        clbits: list[Clbit],
        condition: _Condition | None,
    ) -> None:
        """Append a circuit that an instruction is made of."""
        where = {inner: self.clbits[outer] for inner, outer in zip(circuit.clbits, clbits, strict=True)}
        begin = len(self.target)
        _Converter(self.target, self.name, where).convert(circuit, qubits, condition)
        if condition is not None:
            written = {bit for appended in self.target.operations[begin:] for bit in appended.clbits}
            if written & set(condition[0]):
                raise self._unsupported(operation, "a branch that measures into its own condition")

    # ------------------------------------------------------------ conditions

    def _if_else(
        self,
        operation: IfElseOp,
        qubits: list[int],
        clbits: list[Clbit],
        condition: _Condition | None,
    ) -> None:
        own = self._read(operation.condition, operation)
        body, otherwise = operation.blocks[0], operation.blocks[1] if len(operation.blocks) > 1 else None
        if otherwise is not None and len(own[0]) > 1:
            raise self._unsupported(operation, "an else branch of a condition on a register")
        self._inline(operation, body, qubits, clbits, self._both(condition, own, operation))
        if otherwise is not None:
            opposite = own[0], 1 - own[1]
            self._inline(operation, otherwise, qubits, clbits, self._both(condition, opposite, operation))

    def _read(self, condition: Any, operation: Instruction) -> _Condition:
        """Return a condition of Qiskit's as bits and value."""
        if not isinstance(condition, tuple):
            raise self._unsupported(operation, "a condition that is an expression")
        what, value = condition
        bits = [what] if isinstance(what, Clbit) else list(what) if isinstance(what, ClassicalRegister) else None
        if bits is None:
            raise self._unsupported(operation, "a condition on something else than a bit or a register")
        if int(value) >> len(bits):
            raise self._unsupported(operation, "a condition that never holds")
        return tuple(self.clbits[bit] for bit in bits), int(value)

    def _both(self, outer: _Condition | None, condition: _Condition, operation: Instruction) -> _Condition:
        """Return the condition, joined with the one around it."""
        if outer is None:
            return condition
        places, number = condition
        if set(places) & set(outer[0]):
            raise self._unsupported(operation, "a condition within a condition on the same bits")
        return outer[0] + places, outer[1] | number << len(outer[0])

    def _conditioned(self, condition: _Condition | None) -> None:
        if condition is not None:
            self.target.c_if(*condition)

    def _unsupported(self, operation: Instruction, what: str = "") -> ValueError:
        return ValueError(
            f"circuit {self.name!r} has {what or 'the instruction'} {operation.name!r}, which the built-in simulator does "
            "not have; run it on another backend such as AerSimulator, or decompose it, or bind its parameters, first"
        )
