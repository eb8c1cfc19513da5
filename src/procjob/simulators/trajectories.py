"""Shots as a batch of trajectories: measurements in the middle, resets, conditions and noise.

Each row of the batch is one shot of one point. A step that is not unitary takes one column of random numbers; which one is
fixed by the plan, so that a shot's fate does not depend on its batch. Sums over a row have an order that depends on
the number of qubits only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from procjob.simulators.expressions import Reals
from procjob.simulators.gates import Complexes
from procjob.simulators.noise import AmplitudeDamping, PauliChannel
from procjob.simulators.observables import probabilities
from procjob.simulators.operations import Condition
from procjob.simulators.passes import Buffers
from procjob.simulators.plan import Measure, Noise, Plan, Reset, Step, Unitary
from procjob.simulators.sampling import BITS, sample


class Trajectories:
    """Some shots of one point.

    Args:
        plan: of the circuit.
        values: parameters, shape (parameters, 1).
        start: the initial state, shape (2**n,).
        numbers: shape (shots, draws), 0 to 2**53 - 1.
    """

    def __init__(self, plan: Plan, values: Reals, start: Complexes, numbers: NDArray[np.int64]) -> None:
        self._plan = plan
        self._values = values
        self._start = start
        self._numbers = numbers
        self._column = 0
        self.clbits: NDArray[np.int64] = np.zeros(len(numbers), dtype=np.int64)

    def run(self) -> Complexes:
        """The states before the final measurement, shape (shots, 2**n); `clbits` then has what was measured so far."""
        common = 0
        state = self._start[None].copy()
        for step in self._plan.steps:  # what all shots have in common is computed once
            if not isinstance(step, Unitary) or step.condition is not None:
                break
            state = _evolved(step, state, self._values)
            common += 1
        states = state if len(self._numbers) == 1 else np.repeat(state, len(self._numbers), axis=0)
        del state
        for step in self._plan.steps[common:]:
            states = self._conditional(step, states)
        return states

    def measure(self, states: Complexes) -> NDArray[np.int64]:
        """The classical bits at the end, one integer a shot."""
        outcomes = sample(probabilities(states), self._take()[:, None])[:, 0]
        for qubit, clbit in self._plan.measured:
            self._record(clbit, outcomes >> qubit & 1, slice(None))
        return self.clbits

    def _take(self) -> NDArray[np.int64]:
        self._column += 1
        return self._numbers[:, self._column - 1]

    def _conditional(self, step: Step, states: Complexes) -> Complexes:
        if step.condition is None:
            return self._apply(step, states, np.arange(len(states)))
        rows = np.flatnonzero(_holds(step.condition, self.clbits))
        if len(rows) == len(states):
            return self._apply(step, states, rows)
        states[rows] = self._apply(step, states[rows], rows)
        return states

    def _apply(self, step: Step, states: Complexes, rows: NDArray[np.intp]) -> Complexes:
        if isinstance(step, Unitary):
            return _evolved(step, states, self._values)
        numbers = self._take()[rows]
        if isinstance(step, Noise):
            if isinstance(step.channel, PauliChannel):
                return _pauli(step.channel, states, numbers)
            return _damp(step.channel, states, numbers)
        ones = _collapse(step.qubit, states, numbers, flip=isinstance(step, Reset))
        if isinstance(step, Measure):
            self._record(step.clbit, ones.astype(np.int64), rows)
        return states

    def _record(self, clbit: int, bits: NDArray[np.int64], rows: NDArray[np.intp] | slice) -> None:
        if self._plan.readout_error is not None:
            bits = misread(bits, self._take()[rows], self._plan.readout_error)
        self.clbits[rows] = (self.clbits[rows] & ~(1 << clbit)) | bits << clbit


def misread(
    bits: NDArray[np.int64], numbers: NDArray[np.int64], readout_error: tuple[float, float]
) -> NDArray[np.int64]:
    """Flip bits with the probabilities of readout errors."""
    limits = np.array([int(p * (1 << BITS)) for p in readout_error], dtype=np.int64)
    return bits ^ (numbers < limits[bits])


def _evolved(step: Unitary, states: Complexes, values: Reals) -> Complexes:
    if not len(states):
        return states
    buffers = Buffers(states, np.empty_like(states))
    step.apply(buffers, values)
    return buffers.state


def _holds(condition: Condition, clbits: NDArray[np.int64]) -> NDArray[np.bool_]:
    held = np.zeros_like(clbits)
    for bit, clbit in enumerate(condition.clbits):
        held |= (clbits >> clbit & 1) << bit
    return np.asarray(held == condition.value)


def _halves(qubit: int, states: Complexes) -> tuple[Complexes, Complexes]:
    """Views of the amplitudes with the qubit 0 and 1, shape (rows, high, low)."""
    view = states.reshape(len(states), states.shape[1] >> qubit + 1, 2, 1 << qubit)
    return view[:, :, 0], view[:, :, 1]


def _weight(part: Complexes) -> Reals:
    weights: Reals = np.ascontiguousarray(probabilities(part)).reshape(len(part), part.shape[1] * part.shape[2])
    return np.asarray(np.sum(weights, axis=1))


def _collapse(qubit: int, states: Complexes, numbers: NDArray[np.int64], *, flip: bool) -> NDArray[np.bool_]:
    """Project each row in place onto an outcome, normalised; return where it is 1, and put those back to 0 if told."""
    zero, one = _halves(qubit, states)
    weights = np.stack([_weight(zero), _weight(one)])
    total = weights[0] + weights[1]
    ones: NDArray[np.bool_] = numbers * 2.0**-BITS * total < weights[1]
    scale = 1 / np.sqrt(np.where(ones, weights[1], weights[0]))[:, None, None]
    kept = np.where(ones[:, None, None], one, zero)
    kept *= scale.astype(states.real.dtype)
    to_one = ones & (not flip)
    zero[:] = kept
    zero[to_one] = 0
    one[:] = kept
    one[~to_one] = 0
    return ones


def _damp(channel: AmplitudeDamping, states: Complexes, numbers: NDArray[np.int64]) -> Complexes:
    """Jump |1> to |0> with probability gamma * P(1), else shrink the amplitudes of |1>; normalised."""
    zero, one = _halves(channel.qubit, states)
    weights = np.stack([_weight(zero), _weight(one)])
    total = weights[0] + weights[1]
    decayed = numbers * 2.0**-BITS * total < channel.gamma * weights[1]
    left = np.where(decayed, weights[1], weights[0] + (1 - channel.gamma) * weights[1])
    scale = (1 / np.sqrt(left))[:, None, None].astype(states.real.dtype)
    new_zero = np.where(decayed[:, None, None], one, zero)
    new_zero *= scale
    one *= states.dtype.type(np.sqrt(1 - channel.gamma))
    one *= scale
    one[decayed] = 0
    zero[:] = new_zero
    return states


def _pauli(channel: PauliChannel, states: Complexes, numbers: NDArray[np.int64]) -> Complexes:
    limits = np.cumsum(channel.probabilities)
    chosen = np.searchsorted(limits, numbers * 2.0**-BITS, side="right")
    for index, string in enumerate(channel.strings):
        rows = np.flatnonzero(chosen == index)
        if len(rows) == len(states):
            _apply_paulis(string, channel.qubits, states)
        elif len(rows):
            some = states[rows]
            _apply_paulis(string, channel.qubits, some)
            states[rows] = some
    return states


def _apply_paulis(string: str, qubits: tuple[int, ...], states: Complexes) -> None:
    """Apply a Pauli string in place, up to a global phase."""
    for letter, qubit in zip(reversed(string), qubits, strict=True):
        zero, one = _halves(qubit, states)
        if letter in "XY":
            kept = zero.copy()
            zero[:] = one
            one[:] = kept
        if letter in "YZ":
            np.negative(one, out=one)
