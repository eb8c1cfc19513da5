"""`Result`: what a run of the simulator returns, as arrays, with Qiskit's names for the views on them."""

from __future__ import annotations

import operator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from procjob.simulators.circuit import Register, is_integer
from procjob.simulators.expressions import Reals
from procjob.simulators.gates import Complexes
from procjob.simulators.observables import probabilities
from procjob.simulators.sampling import Tally


@dataclass(frozen=True, slots=True, eq=False)
class CircuitResult:
    """Results of one circuit at all its points; None for what was not asked for. Equal if all values are.

    Attributes:
        points: the leading shape of all arrays: () without a parameter batch, else (points,).
        registers: classical registers, the least significant first.
        num_clbits: of the circuit.
        tally: counts.
        memory: classical bits of each shot as an integer, int64 of shape (*points, shots).
        statevectors: complex, shape (*points, 2**n), before the final measurement.
        expectation_values: float64, shape (*points, observables).
        standard_errors: of the expectation values over trajectories; 0 where they are exact.
    """

    points: tuple[int, ...]
    registers: tuple[Register, ...]
    num_clbits: int
    tally: Tally | None = None
    memory: NDArray[np.int64] | None = None
    statevectors: Complexes | None = None
    expectation_values: Reals | None = None
    standard_errors: Reals | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CircuitResult):
            return NotImplemented
        return all(_same(getattr(self, each.name), getattr(other, each.name)) for each in fields(self))

    def __hash__(self) -> int:
        return hash((self.points, self.registers, self.num_clbits))

    def bitstring(self, outcome: int) -> str:
        """Classical bits as text: bit 0 last, registers apart, the last one first, as in Qiskit."""
        parts = [f"{outcome >> r.start & (1 << r.size) - 1:0{r.size}b}" for r in reversed(self.registers)]
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class Result:
    """Results of a run.

    Every method takes the number of the circuit, and those that return Python objects the number of the point. Arrays have the
    points first; there is no such axis if the run had no parameter batch.

    Attributes:
        circuits: one `CircuitResult` for each circuit, with the arrays.
        shots: of each point; None for exact values.
        seed: with which the same run gives the same bits.
    """

    circuits: tuple[CircuitResult, ...]
    shots: int | None
    seed: int

    def get_counts(self, circuit: int = 0, *, point: int = 0) -> dict[str, int]:
        """Bit strings and how often each was seen, at one point.

        Raises:
            ValueError: nothing was measured, or the run had ``shots=None``.
            IndexError: there is no such circuit or point.
        """
        found = self._circuit(circuit)
        outcomes, counts = self._tally(circuit).point(_checked_point(found, point))
        return {
            found.bitstring(outcome): count for outcome, count in zip(outcomes.tolist(), counts.tolist(), strict=True)
        }

    def counts_array(self, circuit: int = 0) -> NDArray[np.int64]:
        """Counts of every outcome: shape (*points, 2**clbits). For few classical bits.

        Raises:
            ValueError: nothing was measured, or the run had ``shots=None``.
            MemoryError: there are more than 2**26 entries; use ``result.circuits[k].tally``.
        """
        found, tally = self._circuit(circuit), self._tally(circuit)
        points = int(np.prod(found.points, dtype=int))
        if points << found.num_clbits > 1 << 26:
            raise MemoryError(
                f"{points} points x 2**{found.num_clbits} outcomes are too many; use circuits[{circuit}].tally"
            )
        return tally.table(found.num_clbits).reshape(*found.points, -1)

    def get_memory(self, circuit: int = 0, *, point: int = 0) -> list[str]:
        """The bit string of each shot, in order, at one point.

        Raises:
            ValueError: the run had no ``memory=True``.
            IndexError: there is no such circuit or point.
        """
        found = self._circuit(circuit)
        if found.memory is None:
            raise ValueError("there is no memory; run with memory=True, shots and a circuit that measures")
        at = _checked_point(found, point)
        return [found.bitstring(value) for value in found.memory.reshape(-1, found.memory.shape[-1])[at].tolist()]

    def get_statevector(self, circuit: int = 0) -> Complexes:
        """States before the final measurement: complex, shape (*points, 2**n), qubit 0 least significant.

        Raises:
            ValueError: the run did not keep them.
        """
        found = self._circuit(circuit)
        if found.statevectors is None:
            raise ValueError(
                "there are no statevectors; run with shots=None and without observables, or keep_states=True"
            )
        return found.statevectors

    def get_probabilities(self, circuit: int = 0) -> Reals:
        """Exact probabilities of the basis states of all qubits: float64, shape (*points, 2**n).

        Raises:
            ValueError: the run did not keep the states.
        """
        states = self.get_statevector(circuit)
        return probabilities(states.reshape(-1, states.shape[-1])).reshape(states.shape)

    @property
    def expectation_values(self) -> Reals:
        """Those of the first circuit: float64, shape (*points, observables). For others see `circuits`.

        Raises:
            ValueError: the run had no observables.
        """
        values = self._circuit(0).expectation_values
        if values is None:
            raise ValueError("there are no expectation values; run with observables=[...]")
        return values

    def __repr__(self) -> str:
        shots = "exact" if self.shots is None else f"{self.shots} shots"
        points = sum(int(np.prod(circuit.points, dtype=int)) for circuit in self.circuits)
        return f"<Result {len(self.circuits)} circuits, {points} points, {shots}, seed {self.seed}>"

    def _circuit(self, number: int) -> CircuitResult:
        return self.circuits[_checked(number, len(self.circuits), "circuit")]

    def _tally(self, circuit: int) -> Tally:
        found = self._circuit(circuit).tally
        if found is None:
            raise ValueError("there are no counts; run with shots, and measure, for example with measure_all()")
        return found


def _same(one: object, other: object) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(one, other, equal_nan=True)  # a standard error of one shot is NaN
    return type(one) is type(other) and one == other


def _checked_point(found: CircuitResult, point: int) -> int:
    return _checked(point, int(np.prod(found.points, dtype=int)), "point")


def _checked(number: int, count: int, what: str) -> int:
    if not is_integer(number):
        raise TypeError(f"{what} must be an integer, not {number!r}")
    if not 0 <= number < count:
        raise IndexError(f"there is no {what} {number}; the run had {count}")
    return operator.index(number)
