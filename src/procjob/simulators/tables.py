"""Runs of permutations and phases to passes; equal runs of a plan share their tables. Called by `lowering`.

A table has an entry for each basis state. Small ones are kept, as long as there is room for them in the plan; else the run becomes
passes that make what they need when they are applied, see `compact`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from procjob.simulators.compact import Affine, Term, combined
from procjob.simulators.expressions import Expression, Parameter, Reals
from procjob.simulators.monomials import Diagonal, Move, Relayout, as_exchange, follow, follow_affine, is_affine
from procjob.simulators.passes import Exchange, Gather, Pass, Phase, Product

#: Bytes of the largest index array that is kept: a larger one would have to come from memory, and is not faster.
TABLE = 1 << 20

#: Bytes of all tables of a plan.
ROOM = 1 << 24

#: Terms of phases from which it is worth while to look for basis states that have the same.
_MANY_TERMS = 8
#: The most different phases for which a table is kept.
_LEVELS = 1 << 14


@dataclass(frozen=True, slots=True)
class _Terms:
    """The phases of a run in compact form; those with parameters have an expression."""

    terms: tuple[tuple[Expression | None, Term], ...]


class Tables:
    """Makes the passes of runs.

    Args:
        num_qubits: of the states.
    """

    def __init__(self, num_qubits: int) -> None:
        self._num_qubits = num_qubits
        self._room = ROOM
        self._known: dict[tuple[Move | Relayout, ...], list[Gather | Exchange | Diagonal | _Terms]] = {}
        self._walks: dict[int | None, NDArray[np.intp] | Affine] = {}

    def passes(self, moves: Sequence[Move | Relayout], slot: Callable[[Expression], int]) -> list[Pass]:
        """The passes of a run; `slot` numbers the angles of its step."""
        names: dict[Expression, Parameter] = {}
        run = tuple(_renamed(move, names) for move in moves)
        if run not in self._known:
            self._known[run] = self._made(run)
        slots: dict[Expression, int] = {name: slot(expression) for expression, name in names.items()}
        return [_with_slots(made, slots) for made in self._known[run]]

    def walk(self, gather: Pass | None) -> tuple[NDArray[np.intp] | Affine, bool]:
        """What a walk gathers, and whether the pass behind it, if it is a gather, is in it."""
        size = 1 << self._num_qubits
        if isinstance(gather, Gather):
            if id(gather) not in self._walks and (isinstance(gather.index, Affine) or self._admits(16 * size)):
                self._walks[id(gather)] = _of_parts(gather.index, size)
            if id(gather) in self._walks:
                return self._walks[id(gather)], True
        if None not in self._walks:
            index = _of_parts(Affine(tuple(1 << bit for bit in range(self._num_qubits))), size)
            small = 16 * size <= TABLE and self._admits(16 * size)
            self._walks[None] = index.table() if small and isinstance(index, Affine) else index
        return self._walks[None], False

    def _admits(self, nbytes: int) -> bool:
        """Whether there is room; then it is taken."""
        admitted = nbytes <= self._room
        self._room -= nbytes * admitted
        return admitted

    def _made(self, run: tuple[Move | Relayout, ...]) -> list[Gather | Exchange | Diagonal | _Terms]:
        moving = sum(not is_affine(move) for move in run)
        phases = any(isinstance(move, Move) and (move.phases or move.rows) for move in run)
        nbytes = 8 << self._num_qubits
        if nbytes <= TABLE or (moving > 1 and not phases and nbytes <= self._room):
            index, diagonal = follow(run, self._num_qubits)
            parts = [index] if diagonal is None else [index, diagonal.constant, diagonal.table, diagonal.levels]
            if self._admits(sum(part.nbytes for part in parts if part is not None)):
                return [*([] if diagonal is None else [diagonal]), *([] if index is None else [Gather(index)])]
        return self._compact(run)

    def _compact(self, run: Sequence[Move | Relayout]) -> list[Gather | Exchange | Diagonal | _Terms]:
        """Cut at the permutations that are not affine."""
        made: list[Gather | Exchange | Diagonal | _Terms] = []
        affine: list[Move | Relayout] = []
        for move in run:
            if isinstance(move, Relayout) or move.affine:
                affine.append(move)
                continue
            affine.append(replace(move, shifts=None, affine=True))
            made += self._affine(affine)
            made.append(as_exchange(move))
            affine = []
        return made + self._affine(affine)

    def _affine(self, moves: Sequence[Move | Relayout]) -> list[Gather | Exchange | Diagonal | _Terms]:
        index, terms = follow_affine(moves, self._num_qubits)
        made: list[Gather | Exchange | Diagonal | _Terms] = []
        levels = self._levels(terms)
        if levels is not None:
            made.append(levels)
            terms = [(expression, term) for expression, term in terms if expression is None]
        if terms:
            made.append(_Terms(tuple(terms)))
        return made if index is None else [*made, Gather(index)]

    def _levels(self, terms: Sequence[tuple[Expression | None, Term]]) -> Diagonal | None:
        """The phases with parameters as a table, if many basis states have the same ones."""
        rows: dict[Expression, list[tuple[Term, NDArray[Any]]]] = {}
        for expression, term in terms:
            if expression is not None:
                rows.setdefault(expression, []).append((term, np.array(term.values, dtype=np.float64)))
        size = 1 << self._num_qubits
        if sum(map(len, rows.values())) < _MANY_TERMS or size > self._room:
            return None
        weights: list[Reals] = []
        count = 1
        for row in rows.values():
            found = np.empty(0)
            for part, _ in combined(row, np.add):
                found = np.union1d(found, part)
                if count * len(found) > _LEVELS:
                    return None
            weights.append(found)
            count *= len(found)
        if not self._admits(size * np.min_scalar_type(count - 1).itemsize):
            return None
        levels = np.zeros(size, dtype=np.min_scalar_type(count - 1))
        table: list[Reals] = []
        step = 1
        for row, found in zip(rows.values(), weights, strict=True):
            at = 0
            for part, length in combined(row, np.add):
                levels[at : at + length] += (step * np.searchsorted(found, part)).astype(levels.dtype)
                at += length
            table.append(found[np.arange(count) // step % len(found)])
            step *= len(found)
        return Diagonal(None, tuple(rows), np.array(table), levels)


def _of_parts(index: NDArray[np.intp] | Affine, size: int) -> NDArray[np.intp] | Affine:
    """The same for real and imaginary parts: their bit is the highest before and the lowest behind."""
    if isinstance(index, Affine):
        return Affine((size, *index.columns), index.offset)
    return np.stack([index, index + size], axis=1).ravel()


def _renamed(move: Move | Relayout, names: dict[Expression, Parameter]) -> Move | Relayout:
    """Expressions by the order in which they come."""
    if isinstance(move, Relayout) or not move.rows:
        return move
    rows = tuple(
        (names.setdefault(expression, Parameter(str(len(names)))), weights) for expression, weights in move.rows
    )
    return replace(move, rows=rows)


def _with_slots(made: Gather | Exchange | Diagonal | _Terms, slots: dict[Expression, int]) -> Pass:
    if isinstance(made, Diagonal):
        return Phase(made.constant, tuple(slots[name] for name in made.expressions), made.table, made.levels)
    if isinstance(made, _Terms):
        return Product(tuple((None if name is None else slots[name], term) for name, term in made.terms))
    return made
