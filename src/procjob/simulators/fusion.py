"""Operations to groups: which gates share a pass over the state. Pure; called by `plan.compile`.

A group is either a block, a few qubits whose gates become one dense matrix, or monomial: gates that only permute basis
states and multiply phases, on any qubits, which become one gather and one phase multiplication. A gate goes into the
first group that fits and after which nothing touches its qubits. Several policies are tried; the cost model decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter

import numpy as np

from procjob.simulators.gates import GATES
from procjob.simulators.operations import Operation

#: Nanoseconds an amplitude of one pass, by log2 of the block's size. Measured; only the ratios matter.
MATMUL = {1: 1.3, 2: 1.6, 3: 2.0, 4: 2.9, 5: 4.4, 6: 7.6}
#: The same where the block is a part of a chain, and nanoseconds of Python for one step of it.
LINKED, LINK = {1: 1.2, 2: 1.0, 3: 1.2, 4: 1.8, 5: 3.4, 6: 8.6}, 500.0
GATHER, MULTIPLY, PHASE_ROW, SINCOS = 0.7, 0.45, 0.6, 11.0
#: Nanoseconds of Python for one pass of a whole batch, and of one entry of a matrix: to make it, or to read one that is constant and
#: not in the cache any more.
CALL, ENTRY = 3000.0, 2.5

_MONOMIAL = {name for name, gate in GATES.items() if gate.phases is not None} | {
    "id", "x", "y", "z", "s", "sdg", "t", "tdg", "swap", "iswap",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Element:
    """Operations that are never separated: all one-qubit gates in a row on one qubit, or one gate on several."""

    operations: tuple[Operation, ...]
    qubits: frozenset[int]
    monomial: bool
    parametric: bool


@dataclass(slots=True)
class Group:
    """Elements that share a pass."""

    monomial: bool
    qubits: set[int] = field(default_factory=set)
    elements: list[Element] = field(default_factory=list)

    @property
    def controlled(self) -> Operation | None:
        """Its gate, if that has controls and is on more qubits than a block, so that no other is in the group."""
        operation = self.elements[0].operations[0]
        wide = not self.monomial and len(self.qubits) > max(MATMUL)
        return operation if wide and operation.controls else None


@dataclass(frozen=True, slots=True)
class Policy:
    """How to group.

    Attributes:
        width: largest number of qubits of a block.
        absorb: put permutations and phases that fit into a block there.
        dense_phases: treat one-qubit phases with parameters as dense.
    """

    width: int
    absorb: bool
    dense_phases: bool


def best_groups(operations: Sequence[Operation], num_qubits: int, batch: int, *, chained: bool) -> list[Group]:
    """Group operations by the cheapest policy.

    Args:
        operations: gates only.
        num_qubits: of the state.
        batch: number of points that share one call.
        chained: blocks will be parts of chains.
    """
    elements = list(fuse_runs(operations))
    widths = sorted({min(width, num_qubits) for width in (2, 3, 4, 5, 6)})
    phases = any(e.monomial and e.parametric and len(e.qubits) == 1 for e in elements)
    entangled = any(e.monomial and len(e.qubits) > 1 for e in elements)
    policies = [
        Policy(width, absorb, dense)
        for width in widths
        for absorb in ((False, True) if entangled else (False,))
        for dense in ((False, True) if phases else (False,))
    ]
    candidates = [group(elements, policy) for policy in policies]
    if chained:
        return min(candidates, key=lambda groups: chained_cost(groups, num_qubits))
    return min(candidates, key=lambda groups: cost(groups, num_qubits, batch))


def fuse_runs(operations: Iterable[Operation]) -> Iterable[Element]:
    """Yield elements in an order that gives the same product as the operations."""
    open_runs: dict[int, list[Operation]] = {}
    for operation in map(_normalised, operations):
        if operation.name == "id":
            continue
        if len(operation.qubits) == 1:
            open_runs.setdefault(operation.qubits[0], []).append(operation)
            continue
        for qubit in operation.qubits:
            if qubit in open_runs:
                yield element_of(open_runs.pop(qubit))
        yield element_of([operation])
    for run in open_runs.values():
        yield element_of(run)


def _normalised(operation: Operation) -> Operation:
    """A controlled global phase is a phase gate."""
    if operation.name != "gphase" or not operation.controls:
        return operation
    return replace(operation, name="p", targets=operation.controls[:1], controls=operation.controls[1:])


def element_of(operations: list[Operation]) -> Element:
    """All one-qubit gates in a row on one qubit, or one gate on several."""
    qubits = frozenset(qubit for operation in operations for qubit in operation.qubits)
    parametric = any(operation.parameters for operation in operations)
    return Element(tuple(operations), qubits, all(map(is_monomial, operations)), parametric)


def is_monomial(operation: Operation) -> bool:
    """Whether the matrix has one entry that is not zero in each row."""
    if operation.name == "unitary":
        matrix = operation.base_matrix()
        return int(np.count_nonzero(matrix)) == len(matrix)  # a unitary matrix has at least one in each row
    return operation.name in _MONOMIAL


def _by_stage(pairs: list[tuple[Element, bool]]) -> list[tuple[Element, bool]]:
    """Sort by the number of changes between dense and monomial elements on the way to each; the product stays."""
    if len({monomial for _, monomial in pairs}) < 2:
        return pairs
    stages: dict[int, int] = {}
    keyed: list[tuple[int, tuple[Element, bool]]] = []
    for element, monomial in pairs:
        stage = max([stages.get(qubit, 0) for qubit in element.qubits], default=0)
        stage += stage % 2 != monomial
        stages.update(dict.fromkeys(element.qubits, stage))
        keyed.append((stage, (element, monomial)))
    return [pair for _, pair in sorted(keyed, key=itemgetter(0))]


def group(elements: Iterable[Element], policy: Policy) -> list[Group]:
    """Put each element into the first group that fits and after which nothing touches its qubits."""
    groups: list[Group] = []
    touched: dict[int, int] = {}
    for element, monomial in _by_stage([(element, _goes_with_monomials(element, policy)) for element in elements]):
        at = max([touched.get(qubit, 0) for qubit in element.qubits], default=0)
        while at < len(groups) and not _fits(element, groups[at], monomial, policy):
            at += 1
        if at == len(groups):
            groups.append(Group(monomial))
        groups[at].elements.append(element)
        groups[at].qubits |= element.qubits
        touched.update(dict.fromkeys(element.qubits, at))
    return groups


def _goes_with_monomials(element: Element, policy: Policy) -> bool:
    if not element.monomial:
        return False
    if not element.qubits:
        return True
    if len(element.qubits) == 1:
        return not (policy.absorb or (policy.dense_phases and element.parametric))
    return not policy.absorb or len(element.qubits) > policy.width


def _fits(element: Element, candidate: Group, monomial: bool, policy: Policy) -> bool:
    if monomial or candidate.monomial:
        return monomial and candidate.monomial
    return len(candidate.qubits | element.qubits) <= policy.width


def cost(groups: Sequence[Group], num_qubits: int, batch: int) -> float:
    """Estimated nanoseconds a point."""
    size = 1 << num_qubits
    total = 0.0
    for number, found in enumerate(groups):
        parametric = any(element.parametric for element in found.elements)
        total += CALL / batch * (2 if parametric and not found.monomial else 1)
        if found.monomial:
            total += _monomial_cost(found, size)
            continue
        total += _block_cost(found, size)
        if parametric:
            total += _making_cost(found)
        elif number:  # of the first block only a column is read, if the state is |0...0>
            total += ENTRY / batch * (1 << 2 * len(found.qubits))
    return total


def chained_cost(groups: Sequence[Group], num_qubits: int) -> float:
    """Estimated nanoseconds, where blocks are constant and parts of chains; those that make the product state are next to nothing."""
    size = 1 << num_qubits
    total = 0.0
    used: set[int] = set()
    leading = True
    for found in groups:
        leading = leading and not found.monomial and not used & found.qubits
        used |= found.qubits
        width = len(found.qubits)
        if found.monomial:
            total += LINK + _monomial_cost(found, size)
        elif leading:
            total += LINK + size * MULTIPLY
        else:
            total += 2 * LINK + size * (LINKED.get(width, 0.14 * (1 << width)) + GATHER) + ENTRY * (1 << 2 * width)
    return total


def _block_cost(block: Group, size: int) -> float:
    width = len(block.qubits)
    moved = max(block.qubits) - min(block.qubits) >= width
    return size * (_matmul(width) + GATHER * moved)


def _making_cost(block: Group) -> float:
    width = len(block.qubits)
    entries = 1 << 2 * width
    kron = all(len(element.qubits) == 1 for element in block.elements) and len(block.elements) == width
    return entries * (ENTRY if kron else ENTRY + (_matmul(width) + 1) * len(block.elements))


def _matmul(width: int) -> float:
    return MATMUL.get(width, 0.125 * (1 << width))


def _monomial_cost(found: Group, size: int) -> float:
    operations = [operation for element in found.elements for operation in element.operations]
    rows = len({angle for operation in operations if operation.parameters for angle in operation.angles})
    moves = any(GATES[o.name].phases is None if o.name in GATES else True for o in operations)
    phase = MULTIPLY + (GATHER if rows == 1 else rows * PHASE_ROW + SINCOS if rows else 0.0)
    return size * (GATHER * moves + phase)
