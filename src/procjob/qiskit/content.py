"""What an object of Qiskit *is*, as plain data that is the same in every process: for functions that refer to one.

Pickles of these objects have random numbers in them (the UUID of a parameter, the id of an error of Aer's) and names that count
(``circuit-166``), so nobody could tell from them whether a target has changed. Called by `procjob.sweeps.fingerprint`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from qiskit import QuantumCircuit
from qiskit.circuit import (
    AnnotatedOperation,
    ClassicalRegister,
    Clbit,
    ControlFlowOp,
    ControlledGate,
    Operation,
    Parameter,
    ParameterExpression,
    ParameterVector,
    SwitchCaseOp,
)
from qiskit.providers import BackendV2
from qiskit.providers.basic_provider import BasicSimulator
from qiskit.transpiler import CouplingMap

from procjob.qiskit.backend import ProcessBackend
from procjob.qiskit.expressions import angle_of

_COUNTED_NAME = re.compile(r"circuit-\d+(-\d+)*")
#: Where gates come from that name and parameters say all of.
_STANDARD = ("qiskit.circuit.library.standard_gates", "qiskit.circuit.library.generalized_gates.unitary",
             "qiskit.circuit.measure", "qiskit.circuit.reset", "qiskit.circuit.barrier", "qiskit.circuit.delay",
             "qiskit_aer.library")  # fmt: skip
#: Whose pickles have nothing random in them but what is known here.
_PLAIN = ("qiskit.quantum_info.", "qiskit.primitives.", "qiskit_aer.primitives.")


class Unknown(Exception):
    """Nobody can tell what an object is; the message says what it is about it."""


def content_of(value: Any) -> tuple[Any, ...] | None:  # noqa: PLR0911  (one for each type)
    """Return what an object of Qiskit or Aer is; None if its pickle may say so.

    Raises:
        Unknown: nobody can tell.
    """
    if isinstance(value, (Parameter, ParameterExpression)):
        return "parameter", _angle(value)
    if isinstance(value, ParameterVector):
        return "vector", value.name, len(value)
    if isinstance(value, QuantumCircuit):
        return _circuit(value)
    if isinstance(value, Operation):
        return _operation(value, [], [])
    if isinstance(value, CouplingMap):
        return "coupling", value.size(), sorted(value.get_edges())
    if isinstance(value, ProcessBackend):
        return content_of(value.wrapped)
    if isinstance(value, BackendV2):
        return _backend(value)
    module = type(value).__module__
    if module.startswith("qiskit_aer.noise.") and hasattr(value, "to_dict"):
        return "noise", noise_content(value)
    if module.startswith(_PLAIN) or module.partition(".")[0] not in ("qiskit", "qiskit_aer"):
        return None
    raise Unknown("its pickle is another one in each process")


def simulator_content(backend: BackendV2) -> tuple[str, dict[str, Any]]:
    """Return what decides the results of a simulator: its name and options.

    Raises:
        TypeError: it is another backend than Qiskit's own simulator and Aer's.
    """
    if not isinstance(backend, BasicSimulator) and type(backend).__module__.partition(".")[0] != "qiskit_aer":
        raise TypeError(
            f"whether the backend {backend.name} has changed, nobody can tell; give version= to say so yourself, or leave out store="
        )
    options = dict(backend.options)
    noise = options.get("noise_model")
    if noise is not None:
        options["noise_model"] = noise_content(noise)
    return backend.name, options


def noise_content(noise: Any) -> Any:
    """Return a noise model, or an error, of Aer's without the random names that each error has."""
    try:
        return _without_ids(noise.to_dict(serializable=True))
    except TypeError:  # an error, which has no such form
        return _without_ids(noise.to_dict())


def _without_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_ids(each) for key, each in value.items() if key != "id"}
    return [_without_ids(each) for each in value] if isinstance(value, list) else value


def _backend(backend: BackendV2) -> tuple[Any, ...]:
    try:
        content = simulator_content(backend)
    except TypeError:
        raise Unknown("a backend that is no simulator of Qiskit's or Aer's") from None
    return "backend", content, sorted(backend.operation_names), sorted(backend.coupling_map or [])


# ---------------------------------------------------------------- circuits


def _circuit(circuit: QuantumCircuit) -> tuple[Any, ...]:
    if any(getattr(circuit, name, 0) for name in ("num_identifiers", "num_vars", "num_stretches")):
        raise Unknown("a circuit with variables")
    if getattr(circuit, "_calibrations_prop", None):  # Qiskit 1.x; its public property warns
        raise Unknown("a circuit with calibrations")
    qubits = {bit: number for number, bit in enumerate(circuit.qubits)}
    clbits = {bit: number for number, bit in enumerate(circuit.clbits)}
    layout = circuit.layout
    return (
        "circuit",
        None if _COUNTED_NAME.fullmatch(circuit.name) else circuit.name,
        circuit.num_qubits,
        circuit.num_clbits,
        [(register.name, [qubits[bit] for bit in register]) for register in circuit.qregs],
        [(register.name, [clbits[bit] for bit in register]) for register in circuit.cregs],
        _angle(circuit.global_phase),
        circuit.metadata,
        None if layout is None else (layout.initial_index_layout(), layout.final_index_layout(filter_ancillas=False)),
        [
            (_operation(item.operation, item.clbits, circuit.clbits), [qubits[bit] for bit in item.qubits],
             [clbits[bit] for bit in item.clbits])
            for item in circuit.data
        ],
    )  # fmt: skip


def _operation(operation: Any, own: Any, clbits: Any) -> tuple[Any, ...]:
    """Return what an operation is.

    Args:
        operation: that is meant.
        own: classical bits that it acts on.
        clbits: those of its circuit, whose places its condition is about.
    """
    places = {bit: number for number, bit in enumerate(clbits)}
    if isinstance(operation, AnnotatedOperation):
        return "annotated", _operation(operation.base_op, own, clbits), operation.modifiers
    head = (
        operation.name,
        operation.num_qubits,
        operation.num_clbits,
        getattr(operation, "label", None),
        getattr(operation, "unit", None) if operation.name == "delay" else None,
    )
    condition = None if isinstance(operation, SwitchCaseOp) else getattr(operation, "_condition", None)
    if isinstance(operation, ControlFlowOp):
        return "control flow", *head, _flow(operation, places)
    return (
        "operation",
        *head,
        [_angle(each) for each in getattr(operation, "params", [])],
        operation.ctrl_state if isinstance(operation, ControlledGate) else None,
        None if condition is None else _condition(condition, places),
        getattr(operation, "_subtype", None),  # of what Aer saves
        _definition(operation),
    )


def _flow(operation: ControlFlowOp, places: Mapping[Any, int]) -> list[Any]:
    blocks = [_circuit(block) for block in operation.blocks]
    if isinstance(operation, SwitchCaseOp):
        labels = [
            [each if isinstance(each, int) else "default" for each in values]
            for values, _ in operation.cases_specifier()
        ]
        return [_condition((operation.target, 0), places), labels, blocks]
    if operation.name == "for_loop":
        indices, parameter, _ = operation.params
        return [list(indices), None if parameter is None else parameter.name, blocks]
    condition = getattr(operation, "condition", None)
    return [None if condition is None else _condition(condition, places), blocks]


def _condition(condition: Any, places: Mapping[Any, int]) -> tuple[list[int], int]:
    """Return the places of the bits that a condition is about, and their value."""
    if isinstance(condition, tuple) and isinstance(condition[0], (Clbit, ClassicalRegister)):
        bits = [condition[0]] if isinstance(condition[0], Clbit) else list(condition[0])
        if all(bit in places for bit in bits):
            return [places[bit] for bit in bits], int(condition[1])
    raise Unknown("a circuit with a condition that is an expression")


def _definition(operation: Any) -> tuple[Any, ...] | None:
    """Return of what a gate consists that its name does not tell."""
    kind = getattr(operation, "base_class", type(operation))
    if kind.__module__.startswith(_STANDARD):
        return None
    definition = getattr(operation, "definition", None)
    return None if definition is None else _circuit(definition)


def _angle(value: Any) -> Any:
    """Return a parameter of a gate: an expression of Qiskit's as ours, whatever else as it is."""
    if isinstance(value, QuantumCircuit):
        return _circuit(value)
    if not isinstance(value, ParameterExpression):
        return value
    try:
        return angle_of(value)
    except ValueError as exc:
        raise Unknown(str(exc)) from exc
