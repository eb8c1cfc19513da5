"""Groups to passes: where each qubit lies in the state at each moment, and what is gathered when. Pure.

Moves of monomial groups wait until a block comes; then all of them, together with the change of layout that puts the
block's qubits side by side, are one phase multiplication and one gather.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeGuard

from procjob.simulators.compact import Affine
from procjob.simulators.fusion import GATHER, MATMUL, Group, element_of
from procjob.simulators.matrices import MatrixProgram
from procjob.simulators.monomials import Move, Relayout, as_move
from procjob.simulators.operations import Operation
from procjob.simulators.passes import (
    Block,
    Chain,
    Controlled,
    Gather,
    Pass,
    Walk,
    leading_blocks,
    packed,
    product_part,
    right_factor,
)
from procjob.simulators.tables import Tables

#: What a matmul costs more, in nanoseconds an amplitude, where the block lies this many bits above the lowest.
_SHORT_ROWS = {1: 5.0, 2: 2.0, 3: 0.8}

#: Number of qubits from which a walk is faster; below, making real matrices takes too long.
_SHORTEST_WALK = 9


def lower(
    groups: Sequence[Group], num_qubits: int, program: MatrixProgram, tables: Tables, *, chained: bool
) -> tuple[Pass, ...]:
    """The passes of groups; the layout is back in order at the end.

    Args:
        groups: what is lowered.
        num_qubits: of the state.
        program: takes the matrices.
        tables: makes the passes of monomial groups.
        chained: put constant blocks into chains.
    """
    lowering = _Lowering(num_qubits, program, tables, chained)
    for number, group in enumerate(groups):
        if group.monomial:
            lowering.move(group)
        elif operation := group.controlled:
            lowering.controlled(operation)
        else:
            lowering.block(group, groups[number + 1 :])
    return lowering.finish()


class _Lowering:
    def __init__(self, num_qubits: int, program: MatrixProgram, tables: Tables, chained: bool) -> None:
        self._num_qubits = num_qubits
        self._chained = chained
        self._program = program
        self._tables = tables
        self._place = list(range(num_qubits))  # the bit of each qubit
        self._moves: list[Move | Relayout] = []
        self._passes: list[Pass] = []

    def move(self, group: Group) -> None:
        for element in group.elements:
            for operation in element.operations:
                self._moves.append(as_move(operation, tuple(self._place[qubit] for qubit in operation.qubits)))

    def controlled(self, operation: Operation) -> None:
        self._flush()
        base = replace(operation, controls=())
        matrix = self._program.add([element_of([base])], base.targets)
        targets, controls = ([self._place[q] for q in qubits] for qubits in (operation.targets, operation.controls))
        self._passes.append(Controlled(tuple(targets), tuple(controls), matrix))

    def block(self, group: Group, later: Sequence[Group]) -> None:
        if not self._lies_well(group):
            begins = not any(isinstance(step, Block) for step in self._passes)
            self._relayout(_front(group, later) if begins or not self._chained else sorted(group.qubits))
        self._flush()
        qubits = sorted(group.qubits, key=lambda qubit: self._place[qubit])
        matrix = self._program.add(group.elements, qubits)
        low = self._place[qubits[0]]
        constant = self._program.constant(matrix) if low == 0 else None
        self._passes.append(Block(low, len(qubits), matrix, None if constant is None else right_factor(constant)))

    def finish(self) -> tuple[Pass, ...]:
        self._relayout(range(self._num_qubits))
        self._flush()
        if self._chained:
            return _with_chains(self._passes)
        return _with_walks(self._passes, self._num_qubits, self._tables)

    def _lies_well(self, group: Group) -> bool:
        places = sorted(self._place[qubit] for qubit in group.qubits)
        if places[-1] - places[0] >= len(places):
            return False
        if self._chained and places[0] and not self._leads(places):
            return False
        saved = _SHORT_ROWS.get(places[0], 0.0) * min(1.0, MATMUL.get(len(places), 9.0) / 2)
        return saved <= (0.0 if self._gathers() else GATHER * 1.5)

    def _leads(self, places: Sequence[int]) -> bool:
        """Whether a block here would be one of the first, which make a product state."""
        passes = [*self._passes, Block(places[0], len(places), 0)]
        return not self._moves and product_part(passes) == len(passes)

    def _gathers(self) -> bool:
        return any(isinstance(move, Relayout) or move.shifts is not None for move in self._moves)

    def _relayout(self, front: Sequence[int]) -> None:
        """Put qubits at the lowest bits, in this order; the others follow in the order they have."""
        rest = sorted(set(range(self._num_qubits)) - set(front), key=lambda qubit: self._place[qubit])
        new = {qubit: place for place, qubit in enumerate([*front, *rest])}
        places = [0] * self._num_qubits
        for qubit, place in enumerate(self._place):
            places[place] = new[qubit]
        if places != list(range(self._num_qubits)):
            self._moves.append(Relayout(tuple(places)))
        self._place = [new[qubit] for qubit in range(self._num_qubits)]

    def _flush(self) -> None:
        if self._moves:
            self._passes += self._tables.passes(self._moves, self._program.angles.slot)
            self._moves = []


def _with_walks(passes: Sequence[Pass], num_qubits: int, tables: Tables) -> tuple[Pass, ...]:
    """Put stretches of blocks that cover all bits, with the gather behind them, into walks; not the first blocks."""
    start = len(leading_blocks(passes))
    out: list[Pass] = list(passes[:start])
    rest = list(passes[start:])
    while rest:
        stretch = leading_blocks(rest)
        if not _pays_to_walk(stretch, num_qubits):
            out += rest[: max(1, len(stretch))]
            del rest[: max(1, len(stretch))]
            continue
        index, with_next = tables.walk(rest[len(stretch)] if len(rest) > len(stretch) else None)
        out.append(Walk(tuple(sorted(stretch, key=lambda block: block.low)), index))
        del rest[: len(stretch) + with_next]
    return tuple(out)


def _with_chains(passes: Sequence[Pass]) -> tuple[Pass, ...]:
    """Put stretches of constant blocks on the lowest bits, and gathers with tables, into chains; not the first blocks."""
    start = product_part(passes)
    out: list[Pass] = list(passes[:start])
    links: list[Block | Gather] = []
    for step in passes[start:]:
        if _links(step):
            links.append(step)
            continue
        out += _chains(links)
        out.append(step)
        links = []
    return (*out, *_chains(links))


def _links(step: Pass) -> TypeGuard[Block | Gather]:
    if isinstance(step, Block):
        return step.right is not None
    return isinstance(step, Gather) and not isinstance(step.index, Affine)


def _chains(links: Sequence[Block | Gather]) -> list[Chain]:
    return [Chain(packed(links))] if links else []


def _pays_to_walk(blocks: Sequence[Block], num_qubits: int) -> bool:
    covered = sum(block.width for block in blocks) == num_qubits
    return covered and len(blocks) > 1 and num_qubits >= _SHORTEST_WALK


def _front(group: Group, later: Sequence[Group]) -> list[int]:
    """The qubits of a block and of those that follow on other qubits, the largest first."""
    blocks: list[set[int]] = [group.qubits]
    for following in later:
        if following.monomial or following.controlled or any(following.qubits & block for block in blocks):
            break
        blocks.append(following.qubits)
    return [qubit for block in sorted(blocks, key=len, reverse=True) for qubit in sorted(block)]
