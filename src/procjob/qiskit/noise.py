"""Noise models of Aer, trimmed to the qubits that circuits use.

Aer converts the whole noise model in each run, and again in its C++ part: 0.4 s for 127 qubits in a line. An error of one
instruction on some qubits (``_local_quantum_errors``, ``_local_readout_errors``) is looked up by exactly these qubits, so
those on qubits that no instruction touches can be left out. Errors of an instruction on all qubits, and passes that add
noise, are kept.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from qiskit import QuantumCircuit


def qubits_used(circuits: Iterable[QuantumCircuit]) -> frozenset[int]:
    """Return the numbers of the qubits that an instruction of any of the circuits acts on."""
    return frozenset(
        circuit.find_bit(qubit).index
        for circuit in circuits
        for instruction in circuit.data
        if instruction.operation.name != "barrier"
        for qubit in instruction.qubits
    )


def trimmed(model: Any, qubits: frozenset[int]) -> Any:
    """Return a noise model that does to circuits on these qubits what ``model`` does.

    Args:
        model: a ``qiskit_aer.noise.NoiseModel``; it is not changed.
        qubits: those that the circuits use.
    """
    try:
        quantum, readout = model._local_quantum_errors, model._local_readout_errors
    except AttributeError:  # a version that keeps them elsewhere
        return model
    small = copy.copy(model)
    small._local_quantum_errors = {
        name: {on: error for on, error in errors.items() if qubits.issuperset(on)} for name, errors in quantum.items()
    }
    small._local_readout_errors = {on: error for on, error in readout.items() if qubits.issuperset(on)}
    return small
