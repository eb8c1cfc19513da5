"""Pauli sums and their expectation values for a batch of states."""

from __future__ import annotations

import functools
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

#: Basis states whose weights and products are computed together, so that they take little memory beside the states.
PART = 1 << 16
#: Bytes of weights that are kept from one batch to the next; more are computed each time.
_KEPT = 1 << 24

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

    def weights(self, first: int) -> list[tuple[int, NDArray[np.inexact]]]:
        """For each set of flipped bits the factor of each basis state of the `PART` that begins with `first`."""
        size = min(PART, 1 << self.num_qubits)
        out: list[tuple[int, NDArray[np.inexact]]] = []
        for flips, terms in self.terms:
            factors: NDArray[np.inexact] = np.zeros(size, dtype=np.complex128 if flips else np.float64)
            for signs, ys, coefficient in terms:
                factor = coefficient * 1j**ys if flips else coefficient
                factor = -factor if (signs & first).bit_count() % 2 else factor
                factors = factors + np.where(_is_odd(signs % PART, size), -factor, factor)
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
    if not isinstance(text, str):
        raise TypeError(f"a Pauli string must be text such as 'ZZ' or 'X0 Z1', not {text!r}")
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


@functools.lru_cache(maxsize=64)
def _is_odd(mask: int, size: int) -> NDArray[np.bool_]:
    """Whether the number of ones of x & mask is odd, for x below size."""
    values = np.arange(size, dtype=np.int64) & mask
    for shift in (32, 16, 8, 4, 2, 1):
        values ^= values >> shift
    return (values & 1).astype(bool)


class Expectation:
    """Expectation values of several observables for many batches.

    Terms that flip the same bits share one product of the state with itself. The sum over a point's basis states is NumPy's pairwise
    sum over each `PART` of them, added in order: it depends on the number of qubits only.
    """

    def __init__(self, observables: Sequence[PauliSum]) -> None:
        self._observables = observables
        self._size = 1 << observables[0].num_qubits if observables else 0
        self._known: dict[int, dict[int, list[tuple[int, NDArray[np.inexact]]]]] = {}
        self._keeps = sum(len(o.terms) for o in observables) * self._size * 16 <= _KEPT

    def evaluate(self, states: Complexes) -> Reals:
        """Values of shape (points, observables) for states of shape (points, 2**n)."""
        out = np.zeros((len(states), len(self._observables)))
        for first in range(0, self._size, PART):
            for flips, weighted in self._weights(first).items():
                product = _product(states, first, flips)
                for number, weights in weighted:
                    out[:, number] += np.sum((product * weights).real, axis=1)
        return out

    def _weights(self, first: int) -> dict[int, list[tuple[int, NDArray[np.inexact]]]]:
        """Weights of a part of the basis states, with the number of the observable, by flipped bits."""
        if first in self._known:
            return self._known[first]
        found: dict[int, list[tuple[int, NDArray[np.inexact]]]] = {}
        for number, observable in enumerate(self._observables):
            for flips, weights in observable.weights(first):
                found.setdefault(flips, []).append((number, weights))
        if self._keeps:
            self._known[first] = found
        return found


def probabilities(states: Complexes, out: Reals | None = None) -> Reals:
    """|amplitude|**2, in double precision; into `out` of the same shape if it is given."""
    if out is None:
        out = np.empty(states.shape)
    for at in range(0, states.shape[1], PART):
        part, goal = states[:, at : at + PART], out[:, at : at + PART]
        goal[:] = part.real
        goal *= goal
        imag = part.imag.astype(np.float64)
        imag *= imag
        goal += imag
    return out


def _product(states: Complexes, first: int, flips: int) -> NDArray[np.inexact]:
    """conj(a[x ^ flips]) * a[x] for a part of the basis states x."""
    part = states[:, first : first + PART]
    if not flips:
        return probabilities(part)
    index = np.arange(first, first + part.shape[1]) ^ flips
    product: Complexes = np.take(states, index, axis=1).astype(np.complex128, copy=False).conj()
    product *= part
    return product
