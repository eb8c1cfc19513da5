"""Runs of permutations and phases as one index array and one phase factor. Pure; called by `lowering`.

A `Move` acts on bit positions. Basis state y goes to y + shifts[l] and takes the factor phases[l], where l are the
bits of y at the move's positions. Following all basis states through all moves gives the whole run at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from procjob.simulators.expressions import Expression, Parameter, Reals, linear
from procjob.simulators.gates import GATES, Complexes, controlled
from procjob.simulators.operations import Operation


@dataclass(frozen=True, slots=True)
class Move:
    """A monomial gate on bit positions.

    Attributes:
        positions: least significant first.
        shifts: what is added to a basis state's number, by its local bits; None: nothing moves.
        phases: constant factors by local bits; None: all 1.
        rows: pairs (expression, weights): the factor exp(i * expression * weights[local bits]).
        affine: whether the permutation is linear over bits, up to flips.
    """

    positions: tuple[int, ...]
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
    levels: NDArray[np.intp] | None


def as_move(operation: Operation, positions: tuple[int, ...]) -> Move:
    """A monomial operation on the positions of its qubits."""
    gate = GATES.get(operation.name)
    if gate is not None and gate.phases is not None and operation.parameters:
        return _phase_move(operation.angles[0], (0.0,) * _controlled_off(operation) + gate.phases, positions)
    matrix = controlled(operation.base_matrix(), len(operation.controls))
    goals = np.abs(matrix).argmax(axis=0)  # column j goes to row goals[j]
    factors = matrix[goals, np.arange(len(matrix))]
    places = [sum((l >> j & 1) << p for j, p in enumerate(positions)) for l in range(len(matrix))]  # noqa: E741
    moves = (goals != np.arange(len(goals))).any()
    return Move(
        positions,
        tuple(places[goal] - places[l] for l, goal in enumerate(goals)) if moves else None,  # noqa: E741
        tuple(factors.tolist()) if (factors != 1).any() else None,
        affine=not moves or len(operation.controls) + len(operation.targets) <= 2,
    )


def _controlled_off(operation: Operation) -> int:
    return (1 << len(operation.qubits)) - (1 << len(operation.targets))


def _phase_move(angle: Expression | float, weights: tuple[float, ...], positions: tuple[int, ...]) -> Move:
    form = linear(angle)
    if form is None:
        assert isinstance(angle, Expression)
        return Move(positions, rows=((angle, weights),))
    offset, factors = form
    rows = tuple((Parameter(name), tuple(factor * w for w in weights)) for name, factor in factors.items())
    constant = tuple(np.exp(1j * offset * np.array(weights)).tolist()) if offset else None
    return Move(positions, phases=constant, rows=rows)


def follow(moves: Sequence[Move | Relayout], num_qubits: int) -> tuple[NDArray[np.intp] | None, Diagonal | None]:
    """The index array of a gather and the phases before it; None where nothing is to do.

    The run maps a state to ``(state * phases)[index]``.
    """
    if all(isinstance(move, Relayout) or (move.affine and not move.phases and not move.rows) for move in moves):
        return _not_identity(_inverse(_affine(moves, num_qubits))), None
    at = np.arange(1 << num_qubits, dtype=np.intp)
    constant: Complexes | None = None
    rows: dict[Expression, Reals] = {}
    for move in moves:
        if isinstance(move, Relayout):
            at = _step(move, at)
            continue
        local = _local(move, at)
        if move.phases is not None:
            factors = np.array(move.phases)[local]
            constant = factors if constant is None else constant * factors
        for expression, weights in move.rows:
            rows[expression] = rows.get(expression, 0.0) + np.array(weights)[local]
        if move.shifts is not None:
            at = at + np.array(move.shifts, dtype=np.intp)[local]
    return _not_identity(_inverse(at)), _diagonal(constant, rows)


def _step(move: Move | Relayout, at: NDArray[np.intp]) -> NDArray[np.intp]:
    if isinstance(move, Relayout):
        out = np.zeros_like(at)
        for position, place in enumerate(move.places):
            out |= (at >> position & 1) << place
        return out
    return at if move.shifts is None else at + np.array(move.shifts, dtype=np.intp)[_local(move, at)]


def _local(move: Move, at: NDArray[np.intp]) -> NDArray[np.intp]:
    local = np.zeros_like(at)
    for bit, position in enumerate(move.positions):
        local |= (at >> position & 1) << bit
    return local


def _affine(moves: Sequence[Move | Relayout], num_qubits: int) -> NDArray[np.intp]:
    """Where every basis state goes, from where zero and the powers of two go."""
    probes = np.array([0, *(1 << bit for bit in range(num_qubits))], dtype=np.intp)
    for move in moves:
        probes = _step(move, probes)
    out = np.empty(1 << num_qubits, dtype=np.intp)
    out[0] = probes[0]
    for bit in range(num_qubits):
        out[1 << bit : 2 << bit] = out[: 1 << bit] ^ (probes[bit + 1] ^ probes[0])
    return out


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
