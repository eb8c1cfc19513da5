"""Pauli sums and their expectation values for a batch of states."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from procjob.simulators.expressions import Reals, checked_number
from procjob.simulators.gates import Complexes

#: A Pauli string, or a mapping of strings to coefficients.
Observable: TypeAlias = str | Mapping[str, float]

_SPARSE = re.compile(r"(?:[IXYZ]\d+)(?:\s*[IXYZ]\d+)*")


@dataclass(frozen=True, slots=True)
class PauliSum:
    """A real linear combination of Pauli strings, those that flip the same bits together.

    Attributes:
        num_qubits: of the states.
        terms: pairs (bits that are flipped, ((bits with Z or Y, number of Y, coefficient), ...)).
    """

    num_qubits: int
    terms: tuple[tuple[int, tuple[tuple[int, int, float], ...]], ...]

    def weights(self) -> list[tuple[int, NDArray[np.inexact]]]:
        """For each set of flipped bits the factor of every basis state, shape (2**n,)."""
        states = np.arange(1 << self.num_qubits, dtype=np.int64)
        out: list[tuple[int, NDArray[np.inexact]]] = []
        for flips, terms in self.terms:
            factors: NDArray[np.inexact] = np.zeros(len(states), dtype=np.complex128 if flips else np.float64)
            for signs, ys, coefficient in terms:
                factor = coefficient * 1j**ys if flips else coefficient
                factors = factors + np.where(_parity(states & signs), -factor, factor)
            out.append((flips, factors))
        return out


def pauli_sum(observable: Observable, num_qubits: int) -> PauliSum:
    """Parse an observable.

    Args:
        observable: a string such as "ZIX" (one letter a qubit, qubit 0 last, as in Qiskit) or "X0 Z2", or a mapping
            of such strings to real coefficients.
        num_qubits: of the circuit.

    Raises:
        TypeError: it is neither, or a coefficient is not a real number.
        ValueError: a string does not fit the circuit, or a coefficient is NaN or infinite.

    Example:
        >>> pauli_sum({"ZZ": 1.0, "Z0": 0.5}, 2) == pauli_sum({"Z0 Z1": 1.0, "IZ": 0.5}, 2)
        True
    """
    if isinstance(observable, str):
        observable = {observable: 1.0}
    if not isinstance(observable, Mapping):
        raise TypeError(f"an observable is a Pauli string or a mapping of strings to coefficients, not {observable!r}")
    found: dict[int, list[tuple[int, int, float]]] = {}
    for text, coefficient in observable.items():
        flips, signs, ys = _masks(text, num_qubits)
        found.setdefault(flips, []).append((signs, ys, checked_number(coefficient, f"the coefficient of {text!r}")))
    return PauliSum(num_qubits, tuple((flips, tuple(terms)) for flips, terms in found.items()))


def _masks(text: str, num_qubits: int) -> tuple[int, int, int]:
    if _SPARSE.fullmatch(text):
        pairs = [(letter, int(number)) for letter, number in re.findall(r"([IXYZ])(\d+)", text)]
    elif re.fullmatch("[IXYZ]+", text) and len(text) == num_qubits:
        pairs = [(letter, qubit) for qubit, letter in enumerate(reversed(text))]
    else:
        raise ValueError(f"{text!r} is no Pauli string for {num_qubits} qubits; write {'Z' * num_qubits!r} or 'X0 Z1'")
    qubits = [qubit for _, qubit in pairs]
    if max(qubits) >= num_qubits or len(set(qubits)) != len(qubits):
        raise ValueError(f"{text!r} names a qubit twice, or one beyond the circuit's {num_qubits}")
    flips = sum(1 << qubit for letter, qubit in pairs if letter in "XY")
    signs = sum(1 << qubit for letter, qubit in pairs if letter in "YZ")
    return flips, signs, sum(letter == "Y" for letter, _ in pairs)


def _parity(values: NDArray[np.int64]) -> NDArray[np.integer]:
    """Whether the number of ones is odd."""
    if hasattr(np, "bitwise_count"):  # NumPy 2
        return np.bitwise_count(values) & 1
    for shift in (32, 16, 8, 4, 2, 1):
        values = values ^ (values >> shift)
    return values & 1


class Expectation:
    """Expectation values of several observables, prepared once for many batches.

    Terms that flip the same bits share one product of the state with itself. Sums are NumPy's pairwise sums over one point's
    contiguous terms: their order depends on the number of qubits only.
    """

    def __init__(self, observables: Sequence[PauliSum]) -> None:
        self._count = len(observables)
        self._parts: dict[int, list[tuple[int, NDArray[np.inexact]]]] = {}
        for number, observable in enumerate(observables):
            for flips, weights in observable.weights():
                self._parts.setdefault(flips, []).append((number, weights))

    def evaluate(self, states: Complexes) -> Reals:
        """Values of shape (points, observables) for states of shape (points, 2**n)."""
        out = np.zeros((len(states), self._count))
        for flips, parts in self._parts.items():
            product = probabilities(states) if not flips else _flipped_product(states, flips)
            for number, weights in parts:
                out[:, number] += np.sum((product * weights).real, axis=1)
        return out


def probabilities(states: Complexes) -> Reals:
    """|amplitude|**2, in double precision."""
    real, imag = states.real.astype(np.float64), states.imag.astype(np.float64)
    real *= real
    imag *= imag
    real += imag
    return real


def _flipped_product(states: Complexes, flips: int) -> Complexes:
    """conj(a[x ^ flips]) * a[x]."""
    index = np.arange(states.shape[1]) ^ flips
    product: Complexes = np.take(states, index, axis=1).astype(np.complex128, copy=False).conj()
    product *= states
    return product
