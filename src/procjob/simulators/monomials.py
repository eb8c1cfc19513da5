"""Runs of permutations and phases as one index array and one phase factor. Pure; called by `tables`.

A `Move` acts on bit positions. Basis state y goes to y + shifts[l] and takes the factor phases[l], where l are the
bits of y at the move's targets, if those at its controls are 1. Following all basis states through all moves gives the whole
run at once; following zero and the powers of two gives it in a compact form, if the permutation is affine over bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from procjob.simulators.compact import Affine, Term
from procjob.simulators.expressions import Expression, Parameter, Reals, linear
from procjob.simulators.gates import GATES, Complexes
from procjob.simulators.operations import Operation
from procjob.simulators.passes import Exchange


@dataclass(frozen=True, slots=True)
class Move:
    """A monomial gate on bit positions.

    Attributes:
        positions: targets, least significant first, then controls.
        controls: how many.
        shifts: what is added to a basis state's number, by the bits of the targets; None: nothing moves.
        phases: constant factors by the bits of the targets; None: all 1.
        rows: pairs (expression, weights): the factor exp(i * expression * weights[bits of the targets]).
        affine: whether the permutation is linear over bits, up to flips.
    """

    positions: tuple[int, ...]
    controls: int = 0
    shifts: tuple[int, ...] | None = None
    phases: tuple[complex, ...] | None = None
    rows: tuple[tuple[Expression, tuple[float, ...]], ...] = ()
    affine: bool = True


@dataclass(frozen=True, slots=True)
class Relayout:
    """Bit positions change: bit p goes to `places[p]`."""

    places: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Diagonal:
    """The phases of a run, before anything moves.

    Attributes:
        constant: factors, shape (2**n,); None: all 1.
        expressions: what the rows of the table are multiplied with.
        table: shape (rows, levels): weights.
        levels: the column of each basis state, shape (2**n,); None: state x has column x.
    """

    constant: Complexes | None
    expressions: tuple[Expression, ...]
    table: Reals
    levels: NDArray[np.unsignedinteger | np.intp] | None


def as_move(operation: Operation, positions: tuple[int, ...]) -> Move:
    """A monomial operation on the positions of its qubits."""
    gate = GATES.get(operation.name)
    controls = len(operation.controls)
    if gate is not None and gate.phases is not None and operation.parameters:
        return _phase_move(operation.angles[0], gate.phases, positions, controls)
    matrix = operation.base_matrix()
    goals = np.abs(matrix).argmax(axis=0)  # column j goes to row goals[j]
    factors = matrix[goals, np.arange(len(matrix))]
    targets = positions[: len(positions) - controls]
    places = [sum((l >> j & 1) << p for j, p in enumerate(targets)) for l in range(len(matrix))]  # noqa: E741
    moves = (goals != np.arange(len(goals))).any()
    return Move(
        positions,
        controls,
        tuple(places[goal] - places[l] for l, goal in enumerate(goals)) if moves else None,  # noqa: E741
        tuple(factors.tolist()) if (factors != 1).any() else None,
        affine=not moves or len(positions) <= 2,
    )


def _phase_move(
    angle: Expression | float, weights: tuple[float, ...], positions: tuple[int, ...], controls: int
) -> Move:
    form = linear(angle)
    if form is None:
        assert isinstance(angle, Expression)
        return Move(positions, controls, rows=((angle, weights),))
    offset, factors = form
    rows = tuple((Parameter(name), tuple(factor * w for w in weights)) for name, factor in factors.items())
    constant = tuple(np.exp(1j * offset * np.array(weights)).tolist()) if offset else None
    return Move(positions, controls, phases=constant, rows=rows)


def as_exchange(move: Move) -> Exchange:
    """The permutation of a move."""
    assert move.shifts is not None
    count = len(move.positions) - move.controls
    targets = move.positions[:count]
    places = [sum((l >> j & 1) << p for j, p in enumerate(targets)) for l in range(1 << count)]  # noqa: E741
    goals = tuple(places.index(place + shift) for place, shift in zip(places, move.shifts, strict=True))
    return Exchange(targets, move.positions[count:], goals)


def is_affine(move: Move | Relayout) -> bool:
    """Whether its permutation is linear over bits, up to flips."""
    return isinstance(move, Relayout) or move.affine


def follow(moves: Sequence[Move | Relayout], num_qubits: int) -> tuple[NDArray[np.intp] | None, Diagonal | None]:
    """The index array of a gather and the phases before it; None where nothing is to do.

    The run maps a state to ``(state * phases)[index]``.
    """
    if all(isinstance(move, Relayout) or (move.affine and not move.phases and not move.rows) for move in moves):
        index = follow_affine(moves, num_qubits)[0]
        return None if index is None else index.table(), None
    at = np.arange(1 << num_qubits, dtype=np.intp)
    constant: Complexes | None = None
    rows: dict[Expression, Reals] = {}
    for move in moves:
        if isinstance(move, Relayout):
            at = _step(move, at)
            continue
        local = _local(move, at)
        if move.phases is not None:
            factors = _chosen(move, np.array(move.phases), local, 1)
            constant = factors if constant is None else constant * factors
        for expression, weights in move.rows:
            rows[expression] = rows.get(expression, 0.0) + _chosen(move, np.array(weights), local, 0)
        at = _step(move, at)
    return _not_identity(_inverse(at)), _diagonal(constant, rows)


def follow_affine(
    moves: Sequence[Move | Relayout], num_qubits: int
) -> tuple[Affine | None, list[tuple[Expression | None, Term]]]:
    """The same in a compact form, for moves whose permutations are affine: phases are terms, with an expression or constant."""
    if len(moves) == 1 and isinstance(moves[0], Relayout):  # most gathers of circuits of dense gates
        columns = [0] * num_qubits
        for position, place in enumerate(moves[0].places):
            columns[place] = 1 << position
        index = Affine(tuple(columns))
        return None if index.is_identity else index, []
    at = np.array([0, *(1 << bit for bit in range(num_qubits))], dtype=np.intp)
    terms: list[tuple[Expression | None, Term]] = []
    for move in moves:
        if isinstance(move, Move):
            local = _map(_local(move, at))
            if move.phases is not None:
                terms.append((None, Term(local, move.controls, move.phases)))
            terms += [(expression, Term(local, move.controls, weights)) for expression, weights in move.rows]
        at = _step(move, at)
    index = _map(at).inverse()
    return None if index.is_identity else index, terms


def _map(probes: NDArray[np.intp]) -> Affine:
    """The affine map, from where zero and the powers of two go."""
    return Affine(tuple((probes[1:] ^ probes[0]).tolist()), int(probes[0]))


def _step(move: Move | Relayout, at: NDArray[np.intp]) -> NDArray[np.intp]:
    if isinstance(move, Relayout):
        out = np.zeros_like(at)
        for position, place in enumerate(move.places):
            out |= (at >> position & 1) << place
        return out
    if move.shifts is None:
        return at
    return np.asarray(at + _chosen(move, np.array(move.shifts, dtype=np.intp), _local(move, at), 0))


def _local(move: Move, at: NDArray[np.intp]) -> NDArray[np.intp]:
    local = np.zeros_like(at)
    for bit, position in enumerate(move.positions):
        local |= (at >> position & 1) << bit
    return local


def _chosen(move: Move, values: NDArray[Any], local: NDArray[np.intp], neutral: int) -> NDArray[Any]:
    """What a move does to basis states with these local bits, by the bits of its targets."""
    if not move.controls:
        return np.asarray(values[local])
    on = local // len(values) == (1 << move.controls) - 1
    return np.where(on, values[local % len(values)], values.dtype.type(neutral))


def _inverse(at: NDArray[np.intp]) -> NDArray[np.intp]:
    index = np.empty_like(at)
    index[at] = np.arange(len(at), dtype=np.intp)
    return index


def _not_identity(index: NDArray[np.intp]) -> NDArray[np.intp] | None:
    return None if (index == np.arange(len(index))).all() else index


def _diagonal(constant: Complexes | None, rows: dict[Expression, Reals]) -> Diagonal | None:
    if not rows:
        return None if constant is None else Diagonal(constant, (), np.empty((0, 0)), None)
    size = len(next(iter(rows.values())))
    levels: NDArray[np.intp] = np.zeros(size, dtype=np.intp)
    for row in rows.values():
        values, inverse = np.unique(row, return_inverse=True)
        levels = np.unique(levels * len(values) + inverse, return_inverse=True)[1]
    table = np.array(list(rows.values()))
    count = int(np.max(levels)) + 1
    if count > size // 2:
        return Diagonal(constant, tuple(rows), table, None)
    first = np.empty(count, dtype=np.intp)
    first[levels] = np.arange(size)
    return Diagonal(constant, tuple(rows), np.ascontiguousarray(table[:, first]), levels.astype(np.intp))
