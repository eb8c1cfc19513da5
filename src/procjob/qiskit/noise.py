"""Noise models of Aer, trimmed to the qubits that circuits use.

Aer converts the whole noise model in each run, and again in its C++ part: 0.4 s for 127 qubits in a line. An error of one
instruction on some qubits (``_local_quantum_errors``, ``_local_readout_errors``) is looked up by exactly these qubits, so
those on qubits that no instruction touches can be left out. Errors of an instruction on all qubits, and passes that add
noise, are kept.

But how Aer simulates a circuit, and so which random numbers it draws, depends on which operations occur in the errors of
the whole model: with one Kraus operator anywhere it treats all errors as such. So a few errors that a circuit never meets
are kept, which together have every operation that the model has.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from qiskit import QuantumCircuit

Place = tuple[str, tuple[int, ...]]


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
    """Return a noise model that does to circuits on these qubits what ``model`` does, with the same random numbers.

    Args:
        model: a ``qiskit_aer.noise.NoiseModel``; it is not changed.
        qubits: those that the circuits use.
    """
    try:
        quantum, readout = model._local_quantum_errors, model._local_readout_errors
    except AttributeError:  # a version that keeps them elsewhere
        return model
    kept, one_readout = _kept(quantum, qubits), next(iter(readout), None)
    small = copy.copy(model)
    small._local_quantum_errors = {
        name: {on: error for on, error in errors.items() if (name, on) in kept} for name, errors in quantum.items()
    }
    small._local_readout_errors = {
        on: error for on, error in readout.items() if qubits.issuperset(on) or on == one_readout
    }
    return small


def _kept(quantum: Mapping[str, Mapping[tuple[int, ...], Any]], qubits: frozenset[int]) -> set[Place]:
    """Return the places of the errors on these qubits, and of some others for the operations that these have not."""
    places = tuple((name, on) for name, errors in quantum.items() for on in errors)
    kinds = _kinds(places, _Identical(quantum[name][on] for name, on in places))
    kept = {place for place in places if qubits.issuperset(place[1])}
    seen = set[str]().union(*(kinds[place] for place in kept))
    for place, names in kinds.items():
        if not seen.issuperset(names):
            kept.add(place)
            seen |= names
    return kept


class _Identical(tuple[Any, ...]):
    """Objects that are compared by identity: errors have no hash."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identical) and len(self) == len(other) and all(map(operator.is_, self, other))

    def __hash__(self) -> int:
        return hash(tuple(map(id, self)))


@lru_cache(maxsize=2)  # to look at all errors of 127 qubits takes longer than to simulate a small circuit
def _kinds(places: tuple[Place, ...], errors: _Identical) -> dict[Place, set[str]]:
    """Return which operations occur in each error, those on the fewest qubits first."""
    ordered = sorted(zip(places, errors, strict=True), key=lambda pair: len(pair[0][1]))
    return {place: _operations(error) for place, error in ordered}


def _operations(error: Any) -> set[str]:
    circuits = getattr(error, "circuits", ())  # a PauliLindbladError has none
    names = {instruction.operation.name for circuit in circuits for instruction in circuit.data}
    return {type(error).__name__, *names}
