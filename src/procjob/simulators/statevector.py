"""`StatevectorSimulator`: runs circuits at all points of a parameter batch, in batches that stay in cache."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from procjob.simulators import sampling
from procjob.simulators.circuit import Circuit
from procjob.simulators.division import Join, Run, divide
from procjob.simulators.expressions import Reals
from procjob.simulators.gates import Complexes
from procjob.simulators.inputs import (
    Numbers,
    Parameters,
    check_one_state,
    checked_batch,
    checked_dtype,
    checked_first,
    checked_flag,
    checked_observables,
    checked_seed,
    checked_shots,
    initial_states,
    paired,
    parameter_values,
    planned,
)
from procjob.simulators.memory import check_memory
from procjob.simulators.noise import NoiseModel
from procjob.simulators.observables import Expectation, Observable, pauli_sum, probabilities
from procjob.simulators.passes import Buffers
from procjob.simulators.plan import Plan, Plans, Unitary, batch_size, place_bits
from procjob.simulators.result import CircuitResult, Result
from procjob.simulators.trajectories import Trajectories, misread

# Arrays of a batch are made and freed again and again. glibc gives freed blocks back to the system, and each page of the
# next one costs a fault, a third of the time of a batch of small circuits; but from when it sees a block freed it keeps
# blocks of up to that size. This one is never written to, so it takes no memory.
np.empty(1 << 22, dtype=np.uint8)


class StatevectorSimulator:
    """Simulates circuits by their state, in double or single precision, with no more than NumPy.

    The same seed gives the same bits for a point in every batch, whatever else is in it: random numbers belong to (seed,
    number of the circuit, number of the point, number of the shot), see `procjob.simulators.sampling`.

    A run, compiling included, takes at most three times the memory of the states that it has at once (those of a batch, and with
    ``keep_states`` all that are kept), 24 MB, of which up to 16 are the plan's tables of permutations and phases, and the matrices of
    gates, of which those of several qubits are merged to one of at most 64 kB. Beside these come twice the arrays that are returned, and
    for each shot of one point 8 bytes, with ``memory``, noise or measurements in the middle up to 100.

    Args:
        noise: what goes wrong; circuits then run as trajectories, one for each shot.
        batch: how many states share one call; None: as many as stay in cache. Results do not depend on it.

    Raises:
        TypeError: ``noise`` is no `NoiseModel`, or ``batch`` not an integer.
        ValueError: ``batch`` is less than 1.

    Example:
        >>> import numpy as np
        >>> from procjob.simulators import Circuit, Parameter, StatevectorSimulator
        >>> simulator = StatevectorSimulator()
        >>> simulator.run(Circuit(2).h(0).cx(0, 1).measure_all(), shots=100, seed=1).get_counts()
        {'00': 49, '11': 51}
        >>> circuit = Circuit(1).ry(Parameter("theta"), 0)
        >>> angles = np.linspace(0, np.pi, 3)
        >>> simulator.run(circuit, parameters={"theta": angles}, observables=["Z"], shots=None).expectation_values.round(6)
        array([[ 1.], [ 0.], [-1.]])
    """

    def __init__(self, *, noise: NoiseModel | None = None, batch: int | None = None) -> None:
        if noise is not None and not isinstance(noise, NoiseModel):
            raise TypeError(f"noise must be a NoiseModel or None, not {noise!r}")
        self._noise = noise
        self._batch = checked_batch(batch)
        self._plans = Plans()

    def run(
        self,
        circuits: Circuit | Plan | Sequence[Circuit | Plan],
        *,
        shots: int | None = 1024,
        seed: int | None = None,
        memory: bool = False,
        parameters: Parameters | Sequence[Parameters | None] | None = None,
        observables: Sequence[Observable] | None = None,
        initial_state: int | ArrayLike | None = None,
        precision: Literal["double", "single"] = "double",
        keep_states: bool | None = None,
        first: tuple[int, Numbers] = (0, 0),
    ) -> Result:
        """Simulate.

        Args:
            circuits: one or several; a `Plan`, which `compile` made of a circuit and its noise, saves compiling.
            shots: of each point; None for exact values and no counts.
            seed: of measurements and noise; None draws one, which the result names.
            memory: keep the outcome of each shot.
            parameters: for one circuit an array of shape (parameters,) or (points, parameters), columns in the order of
                `Circuit.parameters`, or a mapping of name to number or array of shape (points,). For several circuits a
                sequence of such.
            observables: Pauli sums, see `procjob.simulators.observables.pauli_sum`. Values are exact without noise and
                measurements in the middle, else means over the shots.
            initial_state: None, the number of a basis state, or amplitudes of shape (2**n,) or (points, 2**n).
            precision: "double" (complex128) or "single" (complex64).
            keep_states: keep the statevectors; None: if there are neither shots nor observables.
            first: numbers of the first circuit and the first point, for a caller that splits a run and wants the same random
                numbers as without splitting; or the number of every point, each at least 0.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: an argument has a wrong value or shape; a parameter has no value.
            MemoryError: the states do not fit in memory.
        """
        given, values = paired(circuits, parameters)
        checked = checked_shots(shots)
        sums = checked_observables(observables)
        first_circuit, first_point = checked_first(first)
        options = _Options(
            checked,
            checked_seed(seed),
            checked_flag(memory, "memory"),
            sums,
            checked_dtype(precision),
            (checked is None and not sums) if keep_states is None else checked_flag(keep_states, "keep_states"),
            first_point,
            self._batch,
            {},
        )
        results: list[CircuitResult] = []
        waiting: list[Plan] = []  # for others of as many qubits to share a batch with
        num_qubits = room = 0
        for circuit, value in zip(given, values, strict=True):
            plan = planned(circuit, self._noise, self._plans)
            shares = plan.is_fixed and value is None and initial_state is None
            if waiting and not (shares and plan.num_qubits == num_qubits and len(waiting) < room):
                results += _run_fixed(waiting, first_circuit + len(results), options)
                waiting = []
            if shares:
                waiting.append(plan)
                num_qubits = plan.num_qubits
                room = self._batch or batch_size(num_qubits)
            else:
                results.append(_run_circuit(plan, value, initial_state, first_circuit + len(results), options))
        if waiting:
            results += _run_fixed(waiting, first_circuit + len(results), options)
        return Result(tuple(results), options.shots, options.seed)

    #: The simulator of a backend is called.
    __call__ = run

    def divide(self, circuits: Any, options: Mapping[str, Any], pieces: int) -> tuple[list[Run], Join]:
        """See `procjob.simulators.division.divide`; a backend divides a run among its workers by this."""
        return divide(circuits, options, pieces, lambda circuit: planned(circuit, self._noise, self._plans))


#: Random numbers that are sampled with in one call.
_NUMBERS = 1 << 16


@dataclass(frozen=True, slots=True)
class _Options:
    shots: int | None
    seed: int
    memory: bool
    observables: tuple[Observable, ...]
    dtype: np.dtype[np.complexfloating]
    keep_states: bool
    first_point: Numbers
    batch: int | None
    expectations: dict[int, Expectation]

    def numbers(self, at: int, count: int) -> Sequence[int]:
        """Numbers of some of the points."""
        if isinstance(self.first_point, int):
            return range(self.first_point + at, self.first_point + at + count)
        return [int(number) for number in self.first_point[at : at + count]]  # those of an array would overflow

    def expectation(self, num_qubits: int) -> Expectation:
        """What evaluates the observables, made once for all circuits of the same width."""
        if num_qubits not in self.expectations:
            sums = [pauli_sum(observable, num_qubits) for observable in self.observables]
            self.expectations[num_qubits] = Expectation(sums)
        return self.expectations[num_qubits]


def _run_fixed(plans: Sequence[Plan], number: int, options: _Options) -> list[CircuitResult]:
    """Circuits that have one final state each, from |0...0>; each has a row of a batch. They are numbered from `number` on."""
    num_qubits = plans[0].num_qubits
    check_memory(
        (2 + len(plans)) * options.dtype.itemsize << num_qubits,
        "a batch of states of {} qubits",
        num_qubits,
        remedy="use fewer qubits, precision='single', or keep_states=False",
    )
    states = _final_states(plans, options.dtype)
    if options.shots is None:
        kept = list(states) if options.keep_states else [None] * len(plans)
        values = list(options.expectation(num_qubits).evaluate(states)) if options.observables else [None] * len(plans)
        return [
            CircuitResult(
                (), plan.registers, plan.num_clbits, None, None, state, value, None if value is None else 0 * value
            )
            for plan, state, value in zip(plans, kept, values, strict=True)
        ]
    results = []
    for row, plan in enumerate(plans):
        _check_shots(plan, 1, options)
        collected = _Collected(plan, options, number + row)
        collected.final(states[row : row + 1], 0)
        results.append(collected.result(()))
    return results


def _final_states(plans: Sequence[Plan], dtype: np.dtype[np.complexfloating]) -> Complexes:
    """Final states of plans that have one each, from |0...0>: shape (plans, 2**n)."""
    size = 1 << plans[0].num_qubits
    states = np.empty((len(plans), size), dtype)
    known = [plan.amplitudes for plan in plans if plan.amplitudes is not None]
    if len(known) == len(plans):
        np.concatenate(known, out=states.reshape(-1), casting="same_kind")
        return states
    no_values = np.empty((0, 1))
    spare = np.empty((1, size), dtype)
    for row, plan in enumerate(plans):
        goal = states[row : row + 1]
        buffers = Buffers(goal, spare)
        (step,) = plan.steps
        assert isinstance(step, Unitary)
        step.apply(buffers, no_values, from_zero=True)
        if buffers.state is spare:
            goal[...] = spare
    return states


def _run_circuit(
    plan: Plan, parameters: Parameters | None, initial_state: int | ArrayLike | None, number: int, options: _Options
) -> CircuitResult:
    values, points = parameter_values(parameters, plan.parameters)
    size = 1 << plan.num_qubits
    batch = options.batch or batch_size(plan.num_qubits)
    kept = 2 * values.shape[1] if options.keep_states else 0  # parts, then the whole
    check_memory(
        (3 * min(batch, max(values.shape[1], options.shots or 1)) + kept) * size * options.dtype.itemsize,
        "a batch of states of {} qubits",
        plan.num_qubits,
        remedy="use fewer qubits or points, precision='single', or keep_states=False",
    )
    check_memory(
        2 * 2 * 8 * values.shape[1] * len(options.observables),  # with their errors; parts, then the whole
        "{:,} expectation values at {:,} points",
        len(options.observables),
        values.shape[1],
        remedy="use fewer points or observables at a time",
    )
    _check_shots(plan, values.shape[1], options)
    unitary = plan.is_unitary
    check_one_state(unitary, options.shots, keep_states=options.keep_states)
    from_zero = unitary and initial_state is None and len(plan.steps) > 0
    start = None if from_zero else initial_states(initial_state, plan.num_qubits, points, options.dtype)
    collected = _Collected(plan, options, number)
    for first in range(0, values.shape[1], batch):
        part = slice(first, first + batch)
        begin = start if start is None or len(start) == 1 else start[part]
        if unitary:
            collected.unitary(values[:, part], begin, first)
        else:
            assert begin is not None
            collected.trajectories(values[:, part], begin, first)
    return collected.result(points)


def _check_shots(plan: Plan, points: int, options: _Options) -> None:
    """Refuse shots of one point, or outcomes of all points, that do not fit, and points without a number."""
    if not isinstance(options.first_point, int) and len(options.first_point) != points:
        raise ValueError(f"first must have a number for each of the {points} points, not {len(options.first_point)}")
    shots = options.shots or 0
    each = 64 + (8 if plan.draws == 1 or not plan.is_unitary else 32 * -(-plan.draws // 4))  # outcomes, random numbers
    if _only_counts(plan, options):
        each = 48  # random numbers, sorted, and at most as many basis states, with what is counted of them
    if not plan.is_unitary:
        each += 24 * len(options.observables)  # values of each shot: parts, the whole, and their deviations
    at_once = each * shots
    outcomes = 8 * shots * points if options.memory else 16 * points * min(shots, 1 << plan.num_clbits)
    check_memory(
        at_once + 2 * outcomes,  # parts, then the whole
        "sampling {:,} shots at {:,} points",
        shots,
        points,
        remedy="use fewer shots or points at a time, memory=False, or shots=None for exact values",
    )


def _only_counts(plan: Plan, options: _Options) -> bool:
    """Whether nothing needs the outcome of each shot, so that it is counted without being found."""
    few = options.shots is not None and 1 << plan.num_qubits <= options.shots
    return plan.is_unitary and not options.memory and plan.readout_error is None and few


class _Collected:
    """Gathers the results of batches of points."""

    def __init__(self, plan: Plan, options: _Options, number: int) -> None:
        self._plan = plan
        self._options = options
        self._expectation = options.expectation(plan.num_qubits)
        measures = plan.num_clbits and options.shots is not None
        self._stream = sampling.stream(options.seed, number, options.shots, plan.draws) if options.shots else None
        self._measures = bool(measures)
        self._buffers: Buffers | None = None
        self._tallies: list[sampling.Tally] = []
        self._memory: list[NDArray[np.int64]] = []
        self._states: list[Complexes] = []
        self._values: list[Reals] = []
        self._errors: list[Reals] = []

    def unitary(self, values: Reals, start: Complexes | None, first: int) -> None:
        """A batch of points of a circuit whose final state is pure; it begins with |0...0> if `start` is None."""
        count = values.shape[1]
        if self._buffers is None or len(self._buffers.state) != count:
            shape = (count, 1 << self._plan.num_qubits)
            self._buffers = Buffers(np.empty(shape, self._options.dtype), np.empty(shape, self._options.dtype))
        buffers = self._buffers
        if start is not None:
            buffers.state[:] = start
        for number, step in enumerate(self._plan.steps):
            assert isinstance(step, Unitary)
            step.apply(buffers, values, from_zero=start is None and number == 0)
        # What was the spare array has room for one real number for each amplitude.
        room = buffers.spare.reshape(-1).view(np.float64)[: buffers.spare.size].reshape(buffers.spare.shape)
        self.final(buffers.state, first, room)
        if self._options.keep_states:
            buffers.state = np.empty_like(buffers.state)  # the other one is kept

    def final(self, states: Complexes, first: int, room: Reals | None = None) -> None:
        """The final states of a batch of points; `room` is for probabilities."""
        if self._options.keep_states:
            self._states.append(states)
        if self._options.observables:
            found = self._expectation.evaluate(states)
            self._values.append(found)
            self._errors.append(np.zeros_like(found))
        if self._measures:
            self._sample(probabilities(states, room), first)

    def _sample(self, weights: Reals, first: int) -> None:
        """Sample the final measurement of a batch of points."""
        stream = self._stream
        assert stream is not None
        stride = max(1, min(sampling.MAX_POINTS, _NUMBERS // stream.shots))
        for at in range(0, len(weights), stride):
            part = weights[at : at + stride]
            own = self._options.numbers(first + at, len(part))
            if _only_counts(self._plan, self._options):
                drawn = sampling.histogram(part, stream.upper(own), partial(stream.lower, own))
                points, states = np.nonzero(drawn)
                self._tallies.append(self._tally(points, states, drawn[points, states], len(part)))
            else:
                numbers = stream.points(own)
                self._keep(self._read(sampling.sample(part, numbers[:, :, 0]), numbers))

    def _tally(
        self, points: NDArray[np.int64], states: NDArray[np.int64], counts: NDArray[np.int64], count: int
    ) -> sampling.Tally:
        """Counts of basis states, sorted, as counts of classical bits."""
        if self._plan.measured == tuple((qubit, qubit) for qubit in range(self._plan.num_qubits)):
            return sampling.Tally.of(states, counts, np.searchsorted(points, np.arange(count + 1)))
        return sampling.tally(points, place_bits(states, self._plan.measured), counts, count)

    def _read(self, states: NDArray[np.int64], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        outcomes = place_bits(states, self._plan.measured)
        if self._plan.readout_error is not None:
            for column, (_, clbit) in enumerate(self._plan.measured, start=1):
                bits = misread(outcomes >> clbit & 1, numbers[:, :, column], self._plan.readout_error)
                outcomes = (outcomes & ~(1 << clbit)) | bits << clbit
        return outcomes

    def _keep(self, outcomes: NDArray[np.int64]) -> None:
        """Count outcomes of shape (points, shots), and keep them if asked to."""
        count, shots = outcomes.shape
        points = np.repeat(np.arange(count, dtype=np.int64), shots)
        ones = np.ones(outcomes.size, dtype=np.int64)
        self._tallies.append(sampling.tally(points, outcomes.ravel(), ones, count))
        if self._options.memory:
            self._memory.append(outcomes)

    def trajectories(self, values: Reals, start: Complexes, first: int) -> None:
        """A batch of points of a circuit in which every shot goes its own way."""
        for point in range(values.shape[1]):
            begin = start[0 if len(start) == 1 else point]
            outcomes: list[NDArray[np.int64]] = []
            found: list[Reals] = []
            for numbers in self._shot_batches(first + point):
                shots = Trajectories(self._plan, values[:, point : point + 1], begin, numbers)
                states = shots.run()
                if self._options.observables:
                    found.append(self._expectation.evaluate(states))
                if self._measures:
                    outcomes.append(shots.measure(states))
                del states  # before the next ones are made
            if self._measures:
                self._keep(np.concatenate(outcomes)[None])
            if self._options.observables:
                self._average(np.concatenate(found))

    def _shot_batches(self, point: int) -> Iterator[NDArray[np.int64]]:
        assert self._stream is not None
        total = self._stream.shots
        # Each shot of a batch is sampled as a point of its own.
        batch = min(self._options.batch or batch_size(self._plan.num_qubits), sampling.MAX_POINTS)
        number = self._options.numbers(point, 1)[0]
        for at in range(0, total, batch):
            yield self._stream.shot_range(number, at, min(batch, total - at))

    def _average(self, found: Reals) -> None:
        shots = len(found)
        self._values.append(found.mean(axis=0)[None])
        error = found.std(axis=0, ddof=1) / np.sqrt(shots) if shots > 1 else np.full(found.shape[1], np.nan)
        self._errors.append(error[None])

    def result(self, points: tuple[int, ...]) -> CircuitResult:
        def stacked(parts: list[NDArray[np.generic]]) -> NDArray[np.generic] | None:
            if not parts:
                return None
            return (parts[0] if len(parts) == 1 else np.concatenate(parts)).reshape(*points, -1)

        return CircuitResult(
            points,
            self._plan.registers,
            self._plan.num_clbits,
            sampling.joined(self._tallies) if self._tallies else None,
            stacked(self._memory),  # type: ignore[arg-type]
            stacked(self._states),  # type: ignore[arg-type]
            stacked(self._values),  # type: ignore[arg-type]
            stacked(self._errors),  # type: ignore[arg-type]
        )
