"""One run as several smaller ones with the same bits, for whoever has several workers.

Points and circuits draw their random numbers by their own numbers (`first`), and arithmetic does not depend on the size of
a batch, so that any division gives the results of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from procjob.simulators import sampling
from procjob.simulators.circuit import Circuit
from procjob.simulators.inputs import (
    check_one_state,
    check_options,
    checked_dtype,
    checked_first,
    checked_seed,
    checked_values,
    initial_states,
    paired,
)
from procjob.simulators.plan import Plan
from procjob.simulators.result import CircuitResult, Result

#: A run of fewer amplitudes than this in all is over before a second worker has begun.
LEAST_AMPLITUDES = 1 << 14

Run = tuple[Any, Mapping[str, Any]]
Join = Callable[[list[Result]], Result]


def divide(
    circuits: Any, options: Mapping[str, Any], pieces: int, plan: Callable[[Circuit | Plan], Plan]
) -> tuple[list[Run], Join]:
    """Divide a run by its points, or by its circuits if there are several.

    Args:
        circuits: as `StatevectorSimulator.run` takes them.
        options: of that call.
        pieces: at most so many.
        plan: gives the plan of a circuit.

    Returns:
        Arguments of the smaller runs, and what makes one result of theirs. If the points are divided, the plan is made
        here, once, and is the same object in all runs; of several circuits, each is compiled where it runs.

    Raises:
        Exception: what the run would raise for the same arguments, before anything is computed.
    """
    settled = {**options, "seed": checked_seed(options.get("seed"))}
    given, parameters = paired(circuits, settled.pop("parameters", None))
    check_options(given, settled)
    if len(given) == 1:
        return _by_points(plan(given[0]), parameters[0], settled, pieces)
    return _by_circuits(given, parameters, settled, pieces)


def _by_points(plan: Plan, parameters: Any, options: dict[str, Any], pieces: int) -> tuple[list[Run], Join]:
    columns, points = checked_values(parameters, plan.parameters)  # of an array, its rows stay as they lie in memory
    check_one_state(plan.is_unitary, options.get("shots", 1), keep_states=options.get("keep_states"))
    if options.get("initial_state") is not None:
        dtype = checked_dtype(options.get("precision", "double"))
        initial_states(options["initial_state"], plan.num_qubits, points, dtype)
    count = columns.shape[1]
    if not points or count << plan.num_qubits < LEAST_AMPLITUDES:
        return [(plan, {**options, "parameters": parameters})], _only
    circuit, point = checked_first(options.pop("first", (0, 0)))
    state = options.pop("initial_state", None)
    each = state is not None and np.ndim(state) == 2
    runs: list[Run] = []
    for at, end in _ranges(count, pieces):
        number = point + at if isinstance(point, int) else point[at:end]
        own = {"parameters": columns[:, at:end].T, "first": (circuit, number)}
        runs.append((plan, {**options, **own, "initial_state": np.asarray(state)[at:end] if each else state}))
    return runs, _join_points


def _by_circuits(
    circuits: Sequence[Circuit | Plan], parameters: Sequence[Any], options: dict[str, Any], pieces: int
) -> tuple[list[Run], Join]:
    circuit, point = checked_first(options.pop("first", (0, 0)))
    runs: list[Run] = []
    for at, end in _ranges(len(circuits), pieces):
        own = {"parameters": parameters[at:end], "first": (circuit + at, point)}
        runs.append((circuits[at:end], {**options, **own}))
    return runs, _join_circuits


def _ranges(count: int, pieces: int) -> list[tuple[int, int]]:
    bounds = [count * piece // pieces for piece in range(pieces + 1)]
    return [(at, end) for at, end in pairwise(bounds) if at < end]


def _only(results: list[Result]) -> Result:
    return results[0]


def _join_circuits(results: list[Result]) -> Result:
    circuits = tuple(circuit for result in results for circuit in result.circuits)
    return Result(circuits, results[0].shots, results[0].seed)


def _join_points(results: list[Result]) -> Result:
    parts = [result.circuits[0] for result in results]
    head = parts[0]
    tallies = [part.tally for part in parts if part.tally is not None]
    whole = CircuitResult(
        (sum(part.points[0] for part in parts),),
        head.registers,
        head.num_clbits,
        sampling.joined(tallies) if tallies else None,
        *(_joined(parts, name) for name in ("memory", "statevectors", "expectation_values", "standard_errors")),
    )
    return Result((whole,), results[0].shots, results[0].seed)


def _joined(parts: list[CircuitResult], name: str) -> Any:
    arrays = [getattr(part, name) for part in parts]
    return None if arrays[0] is None else np.concatenate(arrays)
