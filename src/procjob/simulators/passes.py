"""The passes over the state that a plan is made of, and how each is applied to a batch.

A batch of states has shape (points, 2**n). BLAS gets arrays whose shape depends on the block only, never on the batch, and small
enough that it never splits them among threads: the same point has the same bits in every batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from procjob.simulators.compact import Affine, Term, combined, take
from procjob.simulators.expressions import Reals
from procjob.simulators.gates import Complexes, phase_factor

#: OpenBLAS works in one thread up to this many multiplications.
ONE_THREAD = 1 << 18

#: log2 of the amplitudes that a walk takes through all its lower blocks before it goes on to the next: they stay in cache.
SLICE = 15

#: Bytes up to which the arrays of a chain are put side by side, and of a line of the cache.
PACKED, _LINE = 1 << 19, 64

#: log2 of the largest product state that a plan without parameters keeps.
FOLDED = 10

#: Phases that are computed together where every basis state has its own, so that they take little memory beside the states.
PHASES = 1 << 16


@dataclass(slots=True)
class Buffers:
    """Two arrays of states that passes write in turn.

    Attributes:
        state: shape (rows, 2**n).
        spare: like state; its content means nothing.
    """

    state: Complexes
    spare: Complexes

    def swap(self) -> None:
        """The spare becomes the state."""
        self.state, self.spare = self.spare, self.state


@dataclass(frozen=True, slots=True)
class Block:
    """A dense matrix on neighbouring bits.

    Attributes:
        low: the lowest bit.
        width: number of bits.
        matrix: its number in the program.
        right: the same matrix for `_multiply_rows`, where it is constant and `low` is 0; else None.
    """

    low: int
    width: int
    matrix: int
    right: Reals | None = field(default=None, compare=False)

    def apply(self, buffers: Buffers, matrices: Sequence[Complexes], angles: Reals) -> None:
        """Multiply every state of the batch with its matrix."""
        if self.right is not None:
            _multiply_rows(buffers.state, self.right, buffers.spare)
            buffers.swap()
            return
        rows, size = buffers.state.shape
        matrix = matrices[self.matrix]
        inner = 1 << self.width
        limit = max(1, ONE_THREAD >> 2 * self.width)
        if self.low == 0:
            shape: tuple[int, ...] = (rows, -1, min(limit, size // inner), inner)
            state, out = buffers.state.reshape(shape), buffers.spare.reshape(shape)
            np.matmul(state, matrix.transpose(0, 2, 1)[:, None], out=out)
        else:
            columns = min(limit, 1 << self.low)
            shape = (rows, -1, inner, (1 << self.low) // columns, columns)
            state = buffers.state.reshape(shape).swapaxes(2, 3)
            out = buffers.spare.reshape(shape).swapaxes(2, 3)
            np.matmul(matrix[:, None, None], state, out=out)
        buffers.swap()

    def __str__(self) -> str:
        return f"block of {self.width} qubits at bit {self.low}"


def right_factor(matrix: Complexes) -> Reals:
    """What rows of complex numbers, seen as twice as many reals, are multiplied with from the right; of shape (2K, 2K)."""
    size = len(matrix)
    out = np.empty((size, 2, size, 2))
    out[:, 0, :, 0] = out[:, 1, :, 1] = matrix.real.T
    out[:, 0, :, 1] = matrix.imag.T
    out[:, 1, :, 0] = -matrix.imag.T
    return out.reshape(2 * size, 2 * size)


def _multiply_rows(source: Complexes, right: Reals, goal: Complexes) -> None:
    """Multiply the lowest bits of states with a matrix from `right_factor`; OpenBLAS is faster at this than with complex numbers."""
    state, spare = (array.view(array.real.dtype) for array in (source, goal))
    rows, size = state.shape
    inner = len(right)
    shape = (rows, -1, min(max(1, ONE_THREAD // inner**2), size // inner), inner)
    np.matmul(state.reshape(shape), right.astype(state.dtype, copy=False), out=spare.reshape(shape))


@dataclass(frozen=True, slots=True)
class Gather:
    """Permute the basis states: new[x] = old[index[x]]."""

    index: NDArray[np.intp] | Affine = field(compare=False)

    def apply(self, buffers: Buffers, matrices: Sequence[Complexes], angles: Reals) -> None:
        """Permute every state of the batch."""
        take(buffers.state, self.index, buffers.spare)
        buffers.swap()

    def __str__(self) -> str:
        return "gather"


@dataclass(frozen=True, slots=True)
class Exchange:
    """Permute the basis states in place, by few of their bits, where others are 1.

    Attributes:
        targets: bit positions, least significant first.
        controls: bit positions that must be 1.
        goals: where the bits of the targets go.
    """

    targets: tuple[int, ...]
    controls: tuple[int, ...]
    goals: tuple[int, ...]

    def apply(self, buffers: Buffers, matrices: Sequence[Complexes], angles: Reals) -> None:
        """Permute every state of the batch."""
        parts = _parts(buffers.state, self.targets, self.controls)
        left = {local for local, goal in enumerate(self.goals) if goal != local}
        while left:
            local = begin = left.pop()
            held = parts[local].copy()
            while (goal := self.goals[local]) != begin:
                left.remove(goal)
                held, parts[goal][...] = parts[goal].copy(), held
                local = goal
            parts[begin][...] = held

    def __str__(self) -> str:
        return f"exchange by {len(self.targets)} qubits with {len(self.controls)} controls"


@dataclass(frozen=True, slots=True)
class Controlled:
    """A dense matrix on few bits, in place, where others are 1: with these it would be a large one, most of it the identity.

    Attributes:
        targets: bit positions, the least significant bit of the matrix first.
        controls: bit positions that must be 1, at least one.
        matrix: its number in the program.
    """

    targets: tuple[int, ...]
    controls: tuple[int, ...]
    matrix: int

    def apply(self, buffers: Buffers, matrices: Sequence[Complexes], angles: Reals) -> None:
        """Multiply a part of every state of the batch with its matrix."""
        parts = _parts(buffers.state, self.targets, self.controls)
        rows, inner = len(buffers.state), len(parts)
        # The parts side by side, and what becomes of them: together they are at most as large as the spare.
        held, out = buffers.spare.reshape(-1)[: 2 * inner * parts[0].size].reshape(2, rows, inner, -1)
        for local, part in enumerate(parts):
            held[:, local].reshape(part.shape)[...] = part
        columns = min(max(1, ONE_THREAD // inner**2), held.shape[2])
        shape = (rows, inner, held.shape[2] // columns, columns)
        held, out = held.reshape(shape).swapaxes(1, 2), out.reshape(shape).swapaxes(1, 2)
        np.matmul(matrices[self.matrix][:, None], held, out=out)
        for local, part in enumerate(parts):
            part[...] = out[:, :, local].reshape(part.shape)

    def __str__(self) -> str:
        return f"matrix of {len(self.targets)} qubits with {len(self.controls)} controls"


def _parts(states: Complexes, targets: Sequence[int], controls: Sequence[int]) -> list[Complexes]:
    """Views of the amplitudes whose bits at the controls are 1, by their bits at the targets."""
    rows, size = states.shape
    tensor = states.reshape(rows, *(2,) * (size.bit_length() - 1))  # axis 0 is that of the rows, the last one is bit 0
    found = []
    for local in range(1 << len(targets)):
        where: list[int | slice] = [slice(None)] * tensor.ndim
        for control in controls:
            where[tensor.ndim - 1 - control] = 1
        for bit, target in enumerate(targets):
            where[tensor.ndim - 1 - target] = local >> bit & 1
        found.append(tensor[tuple(where)])
    return found


@dataclass(frozen=True, slots=True)
class Phase:
    """Multiply with phases: a constant, and exp(i * angles @ table), of which state x takes column levels[x]."""

    constant: Complexes | None = field(compare=False)
    slots: tuple[int, ...]
    table: Reals = field(compare=False)
    levels: NDArray[np.unsignedinteger | np.intp] | None = field(compare=False)

    def apply(self, buffers: Buffers, matrices: Sequence[Complexes], angles: Reals) -> None:
        """Multiply every state of the batch with its phases."""
        if self.constant is not None:
            buffers.state *= self.constant
        if not self.slots:
            return
        if self.levels is None:
            for at in range(0, buffers.state.shape[1], PHASES):
                part = slice(at, at + PHASES)
                buffers.state[:, part] *= self._factors(angles, part, buffers.state.dtype)
            return
        factors = self._factors(angles, slice(None), buffers.state.dtype)
        if self.levels.dtype != np.intp:
            for at in range(0, len(self.levels), PHASES):
                part = slice(at, at + PHASES)
                buffers.state[:, part] *= factors.take(self.levels[part].astype(np.intp), axis=1)
        elif len(factors) == len(buffers.state):
            factors.take(self.levels, axis=1, out=buffers.spare, mode="clip")
            buffers.state *= buffers.spare
        else:
            buffers.state *= factors[:, self.levels]

    def _factors(self, angles: Reals, part: slice, dtype: np.dtype[np.complexfloating]) -> Complexes:
        """Those of some columns of the table."""
        exponents = angles[self.slots[0]][:, None] * self.table[0, part]
        for slot, row in zip(self.slots[1:], self.table[1:, part], strict=True):
            exponents += angles[slot][:, None] * row  # in this order for every batch
        return phase_factor(exponents).astype(dtype, copy=False)

    def __str__(self) -> str:
        levels = f" with {self.table.shape[1]} levels" if self.levels is not None else ""
        return f"phase of {len(self.slots)} parameters{levels}" if self.slots else "constant phase"


@dataclass(frozen=True, slots=True)
class Product:
    """Multiply with phases that are a product of terms, made run by run of the basis states.

    Attributes:
        terms: each with the row of the angle that its values are weights of; None: they are factors.
    """

    terms: tuple[tuple[int | None, Term], ...]

    def apply(self, buffers: Buffers, matrices: Sequence[Complexes], angles: Reals) -> None:
        """Multiply every state of the batch with its phases."""
        shared = angles.shape[1] == 1 or all(slot is None for slot, _ in self.terms)
        for point, states in enumerate([buffers.state] if shared else buffers.state[:, None]):
            values = [
                np.array(term.values, dtype=np.complex128)
                if slot is None
                else phase_factor(angles[slot, point] * np.array(term.values))
                for slot, term in self.terms
            ]
            at = 0
            terms = [(term, value) for (_, term), value in zip(self.terms, values, strict=True)]
            for factor, size in combined(terms, np.multiply):
                states[:, at : at + size] *= factor
                at += size

    def __str__(self) -> str:
        return f"phase of {len(self.terms)} terms"


@dataclass(frozen=True, slots=True)
class Walk:
    """Blocks on all bits from the lowest up, then a gather, in real arithmetic.

    OpenBLAS multiplies small real matrices about twice as fast as complex ones. A complex block is a real one on one bit
    more, which says whether a number is a real or an imaginary part. In NumPy's complex arrays this bit is the lowest;
    every block moves it above its own bits, where the next one finds it, and the gather brings it back. The blocks on the
    lowest bits are applied slice by slice of the state, so that a large one goes through the memory less often.

    Attributes:
        blocks: side by side, from bit 0 to the highest.
        index: new[x] = old[index[x]] for reals, shape (2 * 2**n,), the bit of the part highest in old, lowest in new.
    """

    blocks: tuple[Block, ...]
    index: NDArray[np.intp] | Affine = field(compare=False)

    def apply(self, buffers: Buffers, matrices: Sequence[Complexes], angles: Reals) -> None:
        """Apply the blocks and the gather to every state of the batch."""
        size = buffers.state.shape[1]
        state, spare = (array.view(array.real.dtype) for array in (buffers.state, buffers.spare))
        blocks = [(block, _as_real(matrices[block.matrix])) for block in self.blocks]
        inside = [(block, matrix) for block, matrix in blocks if block.low + block.width <= SLICE]
        length = 2 * min(size, 1 << SLICE)
        for at in range(0, 2 * size, length):
            source, goal = state[:, at : at + length], spare[:, at : at + length]
            for block, matrix in inside:
                _multiply_real(block, matrix, source, goal)
                source, goal = goal, source
        if len(inside) % 2:
            state, spare = spare, state
        for block, matrix in blocks[len(inside) :]:
            _multiply_real(block, matrix, state, spare)
            state, spare = spare, state
        take(state, self.index, spare)
        if len(self.blocks) % 2 == 0:
            buffers.swap()

    def __str__(self) -> str:
        return f"walk over blocks of {', '.join(str(block.width) for block in self.blocks)} qubits, and gather"


def _multiply_real(block: Block, matrix: Reals, source: Reals, goal: Reals) -> None:
    """Multiply states or slices of them, shape (rows, reals), with a matrix from `_as_real`."""
    rows = len(source)
    inner = 2 << block.width
    limit = max(1, ONE_THREAD // inner**2)
    if block.low == 0:
        shape: tuple[int, ...] = (rows, -1, min(limit, source.shape[1] // inner), inner)
        np.matmul(source.reshape(shape), matrix.transpose(0, 2, 1)[:, None], out=goal.reshape(shape))
    else:
        columns = min(limit, 1 << block.low)
        shape = (rows, -1, inner, (1 << block.low) // columns, columns)
        np.matmul(matrix[:, None, None], source.reshape(shape).swapaxes(2, 3), out=goal.reshape(shape).swapaxes(2, 3))


def _as_real(matrix: Complexes) -> Reals:
    """Real matrices of shape (points, 2K, 2K) that do the same as complex ones of shape (points, K, K).

    Columns stand in the order (number, part), rows in the order (part, number).
    """
    points, size, _ = matrix.shape
    out = np.empty((points, 2, size, size, 2), dtype=matrix.real.dtype)
    out[:, 0, :, :, 0] = out[:, 1, :, :, 1] = matrix.real
    out[:, 1, :, :, 0] = matrix.imag
    np.negative(matrix.imag, out=out[:, 0, :, :, 1])
    return out.reshape(points, 2 * size, 2 * size)


@dataclass(frozen=True, slots=True)
class Chain:
    """Constant blocks on the lowest bits, and the gathers that bring their qubits there, one state after the other.

    For plans without parameters: most of the time of a small state is what NumPy and Python do around a product, so that every
    step is one call, on views that are made once.

    Attributes:
        steps: gathers that have a table, and blocks that have a `right`.
        links: for each step, how many reals a row has that is multiplied, and with what; or 0, and an index.
        sizes: the different lengths of rows.
    """

    steps: tuple[Block | Gather, ...]
    links: tuple[tuple[int, NDArray[Any]], ...] = field(init=False, repr=False, compare=False)
    sizes: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        links = tuple(map(_link, self.steps))
        object.__setattr__(self, "links", links)
        object.__setattr__(self, "sizes", tuple({size for size, _ in links if size}))

    def apply(self, buffers: Buffers, matrices: Sequence[Complexes], angles: Reals) -> None:
        """Apply all steps to every state of the batch."""
        links = self.links
        real = np.dtype(np.float64)
        if buffers.state.dtype != np.complex128:
            real = buffers.state.real.dtype
            links = tuple((size, factor.astype(real) if size else factor) for size, factor in links)
        shapes = {size: _pieces(2 * buffers.state.shape[1], size) for size in self.sizes}
        for state, spare in zip(buffers.state, buffers.spare, strict=True):
            reals, others = state.view(real), spare.view(real)
            here = {size: reals.reshape(shape) for size, shape in shapes.items()}
            there = {size: others.reshape(shape) for size, shape in shapes.items()}
            source, goal = state, spare
            for size, factor in links:
                if not size:
                    source.take(factor, 0, goal, "clip")
                elif len(shapes[size]) == 2:
                    here[size].dot(factor, there[size])
                else:
                    np.matmul(here[size], factor, there[size])
                source, goal, here, there = goal, source, there, here
        if len(links) % 2:
            buffers.swap()

    def __str__(self) -> str:
        gathers = sum(isinstance(step, Gather) for step in self.steps)
        widths = ", ".join(str(step.width) for step in self.steps if isinstance(step, Block))
        return f"chain of {gathers} gathers and constant blocks of {widths} qubits"


def packed(steps: Sequence[Block | Gather]) -> tuple[Block | Gather, ...]:
    """The same steps, their arrays side by side if they are few bytes in all: the processor then fetches the next ones ahead of time."""
    arrays = [factor for _, factor in map(_link, steps)]
    sizes = [-(-array.nbytes // _LINE) * _LINE for array in arrays]
    if sum(sizes) > PACKED:
        return tuple(steps)
    room = np.empty(sum(sizes) + _LINE, dtype=np.uint8)
    at = -room.ctypes.data % _LINE
    out: list[Block | Gather] = []
    for step, array, size in zip(steps, arrays, sizes, strict=True):
        there = room[at : at + array.nbytes].view(array.dtype).reshape(array.shape)
        there[...] = array
        out.append(replace(step, index=there) if isinstance(step, Gather) else replace(step, right=there))
        at += size
    return tuple(out)


def _link(step: Block | Gather) -> tuple[int, NDArray[Any]]:
    found = step.index if isinstance(step, Gather) else step.right
    assert isinstance(found, np.ndarray)
    return 0 if isinstance(step, Gather) else len(found), found


def _pieces(reals: int, size: int) -> tuple[int, ...]:
    """The shape in which rows of `size` reals are multiplied from the right: in pieces where OpenBLAS would use threads for all."""
    limit = max(1, ONE_THREAD // size**2)
    return (reals // size, size) if reals // size <= limit else (-1, limit, size)


Pass: TypeAlias = Block | Controlled | Gather | Exchange | Phase | Product | Walk | Chain


def keeps_zero(step: Pass) -> bool:
    """Whether a pass leaves |0...0> as it is."""
    if isinstance(step, Exchange):
        return step.goals[0] == 0 or len(step.controls) > 0
    if not isinstance(step, Gather):
        return False
    return (step.index.offset if isinstance(step.index, Affine) else int(step.index[0])) == 0


def leading_blocks(passes: Sequence[Pass]) -> tuple[Block, ...]:
    """The blocks with which the passes begin, as far as they act on different bits."""
    found: list[Block] = []
    used = 0
    for step in passes:
        bits = ((1 << step.width) - 1) << step.low if isinstance(step, Block) else 0
        if not isinstance(step, Block) or used & bits:
            break
        used |= bits
        found.append(step)
    return tuple(found)


def product_part(passes: Sequence[Pass]) -> int:
    """How many passes, the first ones, make a product state of |0...0>."""
    start = int(len(passes) > 0 and keeps_zero(passes[0]))
    return start + len(leading_blocks(passes[start:]))


def first_columns(blocks: Sequence[Block], matrices: Sequence[Complexes]) -> list[tuple[int, Complexes]]:
    """What blocks on different bits, from the lowest up, make of |0...0>: each its lowest bit, and the first column of its matrix."""
    return [(block.low, np.ascontiguousarray(matrices[block.matrix][:, :, 0])) for block in blocks]


def folded(columns: Sequence[tuple[int, Complexes]]) -> Sequence[tuple[int, Complexes]]:
    """The same as one column, if that is small."""
    top = max((low + column.shape[1].bit_length() - 1 for low, column in columns), default=0)
    if top > FOLDED:
        return columns
    whole = np.empty((1, 1 << top), dtype=np.complex128)
    fill_product_state(whole, columns)
    return [(0, whole)]


def fill_product_state(out: Complexes, columns: Sequence[tuple[int, Complexes]]) -> None:
    """Write the product of what `first_columns` returns."""
    if not columns or columns[0][0] > 0:
        columns = [(0, np.ones((1, 1), dtype=out.dtype)), *columns]
    (_, state), *others = columns
    size = state.shape[1]
    if not others:
        out[:, :size] = state
    for number, (low, column) in enumerate(others, start=1):
        if size < 1 << low:
            state = _with_zeros(state, low)
        size = column.shape[1] << low
        factors = column[:, :, None]
        if number < len(others):
            state = (factors * state[:, None, :]).reshape(-1, size)
        else:  # the largest is made where it belongs
            np.multiply(factors, state[:, None, :], out=out[:, :size].reshape(len(out), -1, 1 << low))
    if size < out.shape[1]:
        out[:, size:] = 0


def _with_zeros(state: Complexes, bits: int) -> Complexes:
    """The state with more bits above its own, all 0."""
    wide = np.zeros((len(state), 1 << bits), dtype=state.dtype)
    wide[:, : state.shape[1]] = state
    return wide
