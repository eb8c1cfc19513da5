"""Permutations and phases of large states, without a table of all basis states. Pure; used by `passes`.

What depends on the basis state is made for a run of them at a time, those that have their high bits in common: it takes
next to no memory and stays in cache. x, cx, swap and changes of layout, one after the other, are an affine map over bits,
where the entries of a run are those of the first one, each xor a number that belongs to the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_, xor
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

#: log2 of the basis states of a run.
RUN = 13

#: Index arrays of a run that are kept while a permutation is applied.
_VARIANTS = 8

Number = TypeVar("Number", bound=np.generic)
#: Factors or weights.
Numbers: TypeAlias = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Affine:
    """A map over bits: y goes to `offset` xor the columns of those bits of y that are 1.

    Attributes:
        columns: of bit 0, bit 1, ...
        offset: where 0 goes.
    """

    columns: tuple[int, ...]
    offset: int = 0

    @property
    def is_identity(self) -> bool:
        """Whether nothing moves."""
        return not self.offset and all(column == 1 << bit for bit, column in enumerate(self.columns))

    def table(self) -> NDArray[np.intp]:
        """Where every y goes."""
        out = np.empty(1 << len(self.columns), dtype=np.intp)
        out[0] = self.offset
        for bit, column in enumerate(self.columns):
            np.bitwise_xor(out[: 1 << bit], column, out=out[1 << bit : 2 << bit])
        return out

    def split(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The entries of the first run, and for each run what they are xored with to be its own."""
        return Affine(self.columns[:RUN], self.offset).table(), Affine(self.columns[RUN:]).table()

    def inverse(self) -> Affine:
        """The way back, of a map that is a permutation."""
        pairs = [(column, 1 << bit) for bit, column in enumerate(self.columns)]  # (goal, source), but for the offset
        for bit in range(len(pairs)):
            at = next(at for at in range(bit, len(pairs)) if pairs[at][0] >> bit & 1)
            goal, source = pairs[at]
            pairs[at] = pairs[bit]
            pairs = [(g ^ goal, s ^ source) if g >> bit & 1 else (g, s) for g, s in pairs]
            pairs[bit] = goal, source
        columns = tuple(source for _, source in pairs)
        return Affine(columns, reduce(xor, (c for bit, c in enumerate(columns) if self.offset >> bit & 1), 0))


def take(source: NDArray[Number], index: NDArray[np.intp] | Affine, out: NDArray[Number]) -> None:
    """``out[r, x] = source[r, index[x]]``; mode "raise" of NumPy's `take` would copy."""
    if isinstance(index, Affine) and len(index.columns) <= RUN:
        index = index.table()
    if not isinstance(index, Affine):
        source.take(index, axis=1, out=out, mode="clip")
        return
    first, runs = index.split()
    used = reduce(or_, index.columns[:RUN], index.offset)
    entries: dict[int, NDArray[np.intp]] = {}
    for row, goal in zip(source, out.reshape(len(out), len(runs), len(first)), strict=True):
        for number, run in enumerate(runs.tolist()):
            common = run & used
            if common not in entries:
                if len(entries) == _VARIANTS:
                    entries.clear()
                entries[common] = first ^ common if common else first
            # Bits that no entry has: with them, xor is a sum.
            row[run - common :].take(entries[common], out=goal[number], mode="clip")


@dataclass(frozen=True, slots=True)
class Term:
    """A factor of a diagonal, by few bits that are affine in the basis state.

    Attributes:
        local: from the basis state to the bits.
        controls: how many of them, the highest, must all be 1; else the factor is 1.
        values: by the other bits: factors, or weights of an angle.
    """

    local: Affine
    controls: int
    values: tuple[complex, ...]

    def chosen(self, local: NDArray[np.intp], values: Numbers, neutral: int) -> Numbers:
        """What some bits choose from `values`, which are those of the term or what is made of them."""
        if not self.controls:
            return np.asarray(values[local])
        bits = len(values).bit_length() - 1
        on = local >> bits == (1 << self.controls) - 1
        return np.asarray(np.where(on, values[local & len(values) - 1], values.dtype.type(neutral)))


def combined(terms: Sequence[tuple[Term, Numbers]], operation: np.ufunc) -> Iterator[tuple[complex | Numbers, int]]:
    """The products or sums of terms, run by run of the basis states, with the length of the run.

    What is yielded is overwritten by the next one, and is one number where it is the same for a whole run. Terms that depend on
    the run in the same way are combined once for all runs.

    Args:
        terms: with their values, or what is made of them, all of one dtype.
        operation: `np.multiply` or `np.add`.
    """
    num_qubits = len(terms[0][0].local.columns)
    count = 1 << max(0, num_qubits - RUN)
    scalars = np.full(count, operation.identity, dtype=terms[0][1].dtype)
    groups: dict[bytes, tuple[NDArray[np.intp], Numbers]] = {}
    for term, values in terms:
        first, runs = term.local.split()
        if not any(term.local.columns[:RUN]):
            operation(scalars, term.chosen(runs ^ term.local.offset, values, operation.identity), out=scalars)
            continue
        which, rows = _distinct(term, values, first, runs, operation.identity)
        if (key := which.tobytes()) in groups:
            operation(groups[key][1], rows, out=groups[key][1])
        else:
            groups[key] = which, rows
    same = np.zeros(count, dtype=np.intp).tobytes()
    if same in groups and len(groups) > 1:
        _, rows = groups.pop(same)
        _, others = next(iter(groups.values()))
        operation(others, rows, out=others)
    return ((found, 1 << min(RUN, num_qubits)) for found in _runs(scalars, list(groups.values()), operation))


def _distinct(
    term: Term, values: Numbers, first: NDArray[np.intp], runs: NDArray[np.intp], neutral: int
) -> tuple[NDArray[np.intp], Numbers]:
    """What the term is in runs in which it differs, and which of them each run is like."""
    kinds, kind = np.unique(runs, return_inverse=True)
    known: dict[bytes, int] = {}
    rows: list[Numbers] = []
    numbers = np.empty(len(kinds), dtype=np.intp)
    for number, local in enumerate(kinds):
        row = term.chosen(first ^ local, values, neutral)
        numbers[number] = known.setdefault(row.tobytes(), len(rows))
        if numbers[number] == len(rows):
            rows.append(row)
    return numbers[kind], np.array(rows)


def _runs(
    scalars: Numbers, groups: list[tuple[NDArray[np.intp], Numbers]], operation: np.ufunc
) -> Iterator[complex | Numbers]:
    if not groups:
        yield from scalars.tolist()
        return
    (which, rows), *others = groups
    out = np.empty_like(rows[0])
    for number, scalar in enumerate(scalars.tolist()):
        found = rows[which[number]]
        for which_other, rows_other in others:
            found = operation(found, rows_other[which_other[number]], out=out)
        yield found if scalar == operation.identity else operation(found, scalar, out=out)
