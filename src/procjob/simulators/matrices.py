"""The matrices of a plan for a whole batch of points at once.

`MatrixProgram` is built by `lowering`, one entry a block, and evaluated once a batch. Angles of all gates are
evaluated together; runs of one-qubit gates with the same names are multiplied together, wherever they stand in the
circuit; Kronecker products of the same size are made together. All of it is elementwise, or a matmul of one point's
matrices, so that a point's matrices have the same bits in any batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from procjob.simulators.expressions import Angle, Expression, Reals, linear
from procjob.simulators.fusion import Element
from procjob.simulators.gates import GATES, Complexes, controlled
from procjob.simulators.operations import Operation

#: A run's gates, angles aside: names, and the bytes of unitaries.
Signature: TypeAlias = tuple[tuple[str, bytes], ...]


class AngleTable:
    """All angles of a plan. `slot` gives an angle's row in what `evaluate` returns."""

    def __init__(self, parameters: Sequence[str]) -> None:
        self._columns = {name: index for index, name in enumerate(parameters)}
        self._slots: dict[Angle, int] = {}
        self._order: NDArray[np.intp] = np.empty(0, dtype=np.intp)
        self._factors = self._offsets = np.empty((0, 1))
        self._others: list[tuple[int, Expression]] = []

    def slot(self, angle: Angle) -> int:
        """The row of an angle; a new one if it is new."""
        return self._slots.setdefault(angle, len(self._slots))

    def seal(self) -> None:
        """Make the arrays, once all angles are known."""
        lines = []
        for angle, slot in self._slots.items():
            form = linear(angle)
            if form is None or len(form[1]) > 1:
                assert isinstance(angle, Expression)
                self._others.append((slot, angle))
                form = (0.0, {})
            name, factor = next(iter(form[1].items()), (None, 0.0))
            lines.append((self._columns[name] if name is not None else 0, factor, form[0]))
        self._order = np.array([line[0] for line in lines], dtype=np.intp)
        self._factors = np.array([[line[1]] for line in lines]).reshape(-1, 1)
        self._offsets = np.array([[line[2]] for line in lines]).reshape(-1, 1)

    def evaluate(self, values: Reals) -> Reals:
        """Angles of shape (slots, points) from values of shape (parameters, points).

        Raises:
            ValueError: an angle is NaN or infinite.
        """
        if not self._slots:
            return np.empty((0, values.shape[1]))
        if not len(values):
            return np.repeat(self._offsets, values.shape[1], axis=1)
        with np.errstate(all="ignore"):  # what is not finite is refused below
            angles = values[self._order] * self._factors + self._offsets
            named = {name: values[column] for name, column in self._columns.items()} if self._others else {}
            for slot, expression in self._others:
                angles[slot] = expression.evaluate(named)
        if not np.isfinite(angles).all():
            slot = int(np.argwhere(~np.isfinite(angles))[0, 0])
            raise ValueError(f"the angle {list(self._slots)[slot]!r} is NaN or infinite at some point")
        return angles


@dataclass(frozen=True, slots=True)
class Kron:
    """Runs of one-qubit gates on all qubits of a block, the least significant first."""

    runs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Fixed:
    """A constant matrix of a whole block."""

    matrix: Complexes = field(compare=False)


@dataclass(frozen=True, slots=True)
class Embedded:
    """A gate with parameters on some bits of a block."""

    operation: Operation
    slots: tuple[int, ...]
    bits: tuple[int, ...]


Factor: TypeAlias = Kron | Fixed | Embedded


class MatrixProgram:
    """Recipes of all block matrices of a plan."""

    def __init__(self, parameters: Sequence[str]) -> None:
        self.angles = AngleTable(parameters)
        self._groups: dict[Signature, list[tuple[int, tuple[int, ...]]]] = {}
        self._num_runs = 0
        self._blocks: list[tuple[int, tuple[Factor, ...]]] = []
        #: The matrices of all blocks if none has parameters.
        self.fixed: list[Complexes] | None = None

    def __len__(self) -> int:
        return len(self._blocks)

    def add(self, elements: Sequence[Element], qubits: Sequence[int]) -> int:
        """Add a block on these qubits, the least significant first; return its number."""
        bit = {qubit: index for index, qubit in enumerate(qubits)}
        layers: list[dict[int, Element] | Element | list[Element]] = []
        for element in elements:
            self._stack(layers, element, bit)
        factors = tuple(self._factor(layer, bit) for layer in layers)
        self._blocks.append((len(qubits), factors))
        return len(self._blocks) - 1

    def constant(self, number: int) -> Complexes | None:
        """The matrix of a block if it does not depend on parameters."""
        _, factors = self._blocks[number]
        return factors[0].matrix[0] if len(factors) == 1 and isinstance(factors[0], Fixed) else None

    @staticmethod
    def _stack(
        layers: list[dict[int, Element] | Element | list[Element]], element: Element, bit: dict[int, int]
    ) -> None:
        """Layers: a dict holds one run a qubit (a Kronecker product), a list constants, an element itself."""
        last = layers[-1] if layers else None
        if len(element.qubits) == 1:
            where = bit[next(iter(element.qubits))]
            if isinstance(last, dict) and where not in last:
                last[where] = element
                return
            if element.parametric:
                layers.append({where: element})
                return
        if element.parametric:
            layers.append(element)
        elif isinstance(last, list):
            last.append(element)
        else:
            layers.append([element])

    def _factor(self, layer: dict[int, Element] | Element | list[Element], bit: dict[int, int]) -> Factor:
        width = len(bit)
        if isinstance(layer, dict):
            return Kron(tuple(self._run(layer[b].operations if b in layer else ()) for b in range(width)))
        if isinstance(layer, list):
            matrix = np.eye(1 << width, dtype=np.complex128)[None]
            for operation in (operation for element in layer for operation in element.operations):
                small = controlled(operation.base_matrix(), len(operation.controls))[None]
                matrix = embed(small, [bit[qubit] for qubit in operation.qubits], matrix)
            return Fixed(matrix)
        (operation,) = layer.operations
        slots = tuple(self.angles.slot(angle) for angle in operation.angles)
        return Embedded(operation, slots, tuple(bit[qubit] for qubit in operation.qubits))

    def _run(self, operations: Sequence[Operation]) -> int:
        signature = tuple((operation.name, operation.unitary) for operation in operations)
        slots = tuple(self.angles.slot(angle) for operation in operations for angle in operation.angles)
        self._groups.setdefault(signature, []).append((self._num_runs, slots))
        self._num_runs += 1
        return self._num_runs - 1

    def seal(self) -> None:
        """Call once all blocks are added."""
        self.angles.seal()
        constants = [self.constant(number) for number in range(len(self._blocks))]
        found = [matrix[None] for matrix in constants if matrix is not None]
        self.fixed = found if len(found) == len(constants) else None

    def evaluate(self, angles: Reals, dtype: np.dtype[np.complexfloating]) -> list[Complexes]:
        """Block matrices of shape (points or 1, 2**k, 2**k)."""
        if self.fixed is not None:
            return self.fixed if dtype == np.complex128 else [matrix.astype(dtype) for matrix in self.fixed]
        runs = self._evaluate_runs(angles)  # none in a block of constants
        out: list[Complexes] = [np.empty(0, dtype=np.complex128)] * len(self._blocks)
        krons: dict[int, list[tuple[int, Kron]]] = {}
        for index, (width, factors) in enumerate(self._blocks):
            if len(factors) == 1 and isinstance(factors[0], Kron):
                krons.setdefault(width, []).append((index, factors[0]))
            else:
                out[index] = self._product(width, factors, runs, angles).astype(dtype, copy=False)
        for alike in krons.values():
            matrices = kron_all(runs, [kron.runs for _, kron in alike])
            stacked = np.ascontiguousarray(matrices.transpose(2, 3, 0, 1)).astype(dtype, copy=False)
            for (index, _), matrix in zip(alike, stacked, strict=True):
                out[index] = matrix
        return out

    def _evaluate_runs(self, angles: Reals) -> Complexes:
        out = np.empty((2, 2, self._num_runs, angles.shape[1]), dtype=np.complex128)
        for signature, members in self._groups.items():
            out[:, :, [index for index, _ in members]] = _run_matrices(
                signature, angles[np.array([slots for _, slots in members], dtype=np.intp).T]
            )
        return out

    def _product(self, width: int, factors: Sequence[Factor], runs: Complexes, angles: Reals) -> Complexes:
        if len(factors) == 1 and isinstance(factors[0], Fixed):
            return factors[0].matrix
        result: Complexes = np.eye(1 << width, dtype=np.complex128)[None]
        for position, factor in enumerate(factors):
            if isinstance(factor, Embedded):
                small = GATES[factor.operation.name].matrix(*angles[list(factor.slots)])
                small = controlled(small, len(factor.operation.controls)).transpose(2, 0, 1)
                result = embed(np.ascontiguousarray(small), factor.bits, result)
                continue
            if isinstance(factor, Kron):
                matrix = np.ascontiguousarray(kron_all(runs, [factor.runs])[:, :, 0].transpose(2, 0, 1))
            else:
                matrix = factor.matrix
            result = matrix if position == 0 else np.matmul(matrix, result)
        return result


def _run_matrices(signature: Signature, angles: Reals) -> Complexes:
    """The product of a run's gates, shape (2, 2, runs, points); angles have shape (angles of a run, runs, points)."""
    product = None
    diagonal = False
    used = 0
    for name, unitary in signature:
        if unitary or not GATES[name].num_params:
            base = np.frombuffer(unitary, dtype=np.complex128).reshape(2, 2) if unitary else GATES[name].matrix()
            matrix = base[:, :, None, None]
        else:
            count = GATES[name].num_params
            matrix = GATES[name].matrix(*angles[used : used + count])
            used += count
        is_diagonal = name in GATES and GATES[name].phases is not None
        if product is None:
            product, diagonal = matrix, is_diagonal
        else:
            product = _multiply(matrix, is_diagonal, product, diagonal)
            diagonal = diagonal and is_diagonal
    return np.eye(2, dtype=np.complex128)[:, :, None, None] if product is None else product


def _multiply(left: Complexes, left_diagonal: bool, right: Complexes, right_diagonal: bool) -> Complexes:
    """2x2 matrices times 2x2 matrices, elementwise in the points."""
    if left_diagonal:
        return left[[0, 1], [0, 1]][:, None] * right
    if right_diagonal:
        return left * right[[0, 1], [0, 1]][None]
    return left[:, 0, None] * right[None, 0] + left[:, 1, None] * right[None, 1]


def kron_all(runs: Complexes, blocks: Sequence[Sequence[int]]) -> Complexes:
    """Kronecker products of runs: shape (2**k, 2**k, blocks, points) from (2, 2, runs, points)."""
    members = np.array(blocks, dtype=np.intp)
    product = runs[:, :, members[:, -1]]
    for bit in reversed(range(members.shape[1] - 1)):
        low = runs[:, :, members[:, bit]]
        size = 2 * len(product)
        product = (product[:, None, :, None] * low[None, :, None, :]).reshape(size, size, *low.shape[2:])
    return product


def embed(small: Complexes, bits: Sequence[int], matrix: Complexes) -> Complexes:
    """Multiply a matrix from the left with a gate on some of its row bits.

    Args:
        small: shape (points or 1, 2**m, 2**m).
        bits: bit of the row number for each bit of `small`, the least significant first.
        matrix: shape (points or 1, 2**k, 2**k).
    """
    points, size, _ = matrix.shape
    width = size.bit_length() - 1
    there, back = _to_front(tuple(bits), width)
    tensor = matrix.reshape(points, *(2,) * width, size).transpose(there)
    product: Complexes = np.matmul(small, tensor.reshape(points, 1 << len(bits), -1))
    return product.reshape(-1, *tensor.shape[1:]).transpose(back).reshape(-1, size, size)


@lru_cache(maxsize=1024)
def _to_front(bits: tuple[int, ...], width: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The order of axes that has some bits of the row number first, behind the points; and the way back."""
    front = [width - bit for bit in reversed(bits)]
    there = [0, *front, *(axis for axis in range(1, width + 2) if axis not in front)]
    return tuple(there), tuple(sorted(range(len(there)), key=there.__getitem__))
