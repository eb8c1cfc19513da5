"""Random numbers by identity, and sampling of all shots of many points at once.

The stream. One Philox4x64 generator for each circuit of a run, its key the first two 64-bit words of
``numpy.random.SeedSequence(seed, spawn_key=(number of the circuit,))``. A number has 53 bits. Its position says what it is
for, so it does not matter in which order, process or batch points and shots are computed.

Where a shot takes several numbers, these are the upper bits of Philox outputs. A shot takes `width` outputs, a multiple of 4, so
that any range of shots can be drawn alone; point p starts at counter ``p * shots * width / 4``.

Where a shot takes one number, for its final measurement, the upper 32 bits nearly always decide. They are half an output, the
lower half first; point p starts at counter ``p * ceil(shots / 8)``. The other 21 bits are the upper ones of the half at the
same position of another Philox, whose key is the next two words, and are only drawn where they are needed.

Sampling compares integers of 53 bits, so it is exact for every batch: a basis state is drawn with its probability
rounded to 2**-53.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from procjob.simulators.expressions import Reals

#: Its number: what another one has drawn belongs to other results.
STREAM = 2

BITS = 53
#: Of these, the ones that are drawn at first where a shot takes one number.
UPPER_BITS = 32
#: Points that are sampled in one call: their number and 53 bits fit into an int64.
MAX_POINTS = 1 << 62 - BITS

Key = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Stream:
    """The random numbers of one circuit.

    Attributes:
        keys: of Philox, and of the one for lower bits.
        shots: of each point.
        draws: numbers that a shot takes.
    """

    keys: tuple[Key, Key]
    shots: int
    draws: int

    def points(self, numbers: Sequence[int]) -> NDArray[np.int64]:
        """Random numbers of points by their own: shape (points, shots, draws), 0 to 2**53 - 1."""
        if self.draws == 1:
            return whole(self.upper(numbers), self.lower(numbers))[:, :, None]
        raw = _outputs(self.keys[0], numbers, self.shots * self._quarter)
        raw >>= np.uint64(64 - BITS)  # in place: with noise these are the largest arrays of a run
        return raw.view(np.int64).reshape(len(numbers), self.shots, -1)[:, :, : self.draws]

    def shot_range(self, point: int, first: int, count: int) -> NDArray[np.int64]:
        """Numbers of some shots of one point: shape (count, draws), for more than one draw."""
        begin = (point * self.shots + first) * self._quarter
        raw = _philox(self.keys[0], begin, count * self._quarter)
        raw >>= np.uint64(64 - BITS)
        return raw.view(np.int64).reshape(count, -1)[:, : self.draws]

    def upper(self, numbers: Sequence[int]) -> NDArray[np.uint32]:
        """The upper 32 bits of the numbers of points: shape (points, shots), for one draw."""
        return self._halves(self.keys[0], numbers)

    def lower(self, numbers: Sequence[int], rows: Iterable[int] | None = None) -> NDArray[np.uint32]:
        """The lower 21 bits of the numbers of points, or of those at some places: shape (points, shots), for one draw."""
        chosen = numbers if rows is None else [numbers[row] for row in rows]
        return self._halves(self.keys[1], chosen) >> np.uint32(2 * UPPER_BITS - BITS)

    @property
    def _quarter(self) -> int:
        """A quarter of the outputs that are set aside for a shot that takes several."""
        return -(-self.draws // 4)

    def _halves(self, key: Key, numbers: Sequence[int]) -> NDArray[np.uint32]:
        raw = _outputs(key, numbers, -(-self.shots // 8)).astype("<u8", copy=False)
        return raw.view("<u4").astype(np.uint32, copy=False)[:, : self.shots]


def whole(upper: NDArray[np.uint32], lower: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Numbers of 53 bits from their parts."""
    return upper.astype(np.int64) << (BITS - UPPER_BITS) | lower


def _outputs(key: Key, numbers: Sequence[int], blocks: int) -> NDArray[np.uint64]:
    """Outputs of Philox for points that have so many blocks of 4 of them each: a row for each point."""
    if isinstance(numbers, range):
        raw = _philox(key, numbers[0] * blocks, len(numbers) * blocks)
    else:
        raw = np.concatenate([_philox(key, number * blocks, blocks) for number in numbers])
    return raw.reshape(len(numbers), -1)


def _philox(key: Key, counter: int, blocks: int) -> NDArray[np.uint64]:
    source = np.random.Philox(key=np.array(key, dtype=np.uint64), counter=counter)
    raw: NDArray[np.uint64] = source.random_raw(4 * blocks)
    return raw


def stream(seed: int, circuit: int, shots: int, draws: int) -> Stream:
    """The stream of a circuit of a run."""
    words = np.random.SeedSequence(seed, spawn_key=(circuit,)).generate_state(4, np.uint64).tolist()
    return Stream(((words[0], words[1]), (words[2], words[3])), shots, draws)


def thresholds(probabilities: Reals) -> NDArray[np.int64]:
    """Cumulative probabilities as integers: shape (points, states), the last one 2**53. What is given is overwritten."""
    sums = np.cumsum(probabilities, axis=1, out=probabilities)
    total = sums[:, -1:].copy()
    # States behind the last one that is possible get nothing of what rounding leaves over.
    ends = sums >= total
    sums *= float(1 << BITS) / total
    out = sums.astype(np.int64)
    out[ends] = 1 << BITS
    return out


def sample(probabilities: Reals, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Basis states of shots in order.

    Args:
        probabilities: shape (points, states); overwritten.
        numbers: shape (points, shots).
    """
    points, size = probabilities.shape
    offsets = np.arange(points, dtype=np.int64)[:, None] << BITS
    table = thresholds(probabilities)
    table += offsets
    found = np.searchsorted(table.ravel(), (numbers + offsets).ravel(), side="right").reshape(numbers.shape)
    return np.asarray(found - (np.arange(points, dtype=np.int64) * size)[:, None])


def histogram(
    probabilities: Reals, upper: NDArray[np.uint32], lower: Callable[[NDArray[np.intp]], NDArray[np.uint32]]
) -> NDArray[np.int64]:
    """How often each basis state is drawn, shape (points, states): the counts of what `sample` returns, faster.

    Args:
        probabilities: shape (points, states); overwritten.
        upper: the upper 32 bits of the numbers of all shots, shape (points, shots).
        lower: gives their lower bits for some of the points.
    """
    table = thresholds(probabilities)
    below, unsure = _below_by_upper_bits(table, upper)
    if len(unsure):
        below[unsure] = _below(table[unsure], whole(upper[unsure], lower(unsure)))
    return np.asarray(np.diff(below, axis=1, prepend=0))


def _below(table: NDArray[np.int64], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many of a point's numbers are below each of its thresholds."""
    points, shots = numbers.shape
    offsets = np.arange(points, dtype=np.int64)[:, None] << BITS
    drawn = np.sort(numbers, axis=1)
    drawn += offsets
    below = np.searchsorted(drawn.reshape(-1), (table + offsets).ravel(), side="left")
    return np.asarray(below.reshape(table.shape) - (np.arange(points) * shots)[:, None])


def _below_by_upper_bits(
    table: NDArray[np.int64], upper: NDArray[np.uint32]
) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """The same from the bits that fit into 32 beside the point, which are sorted in half the time; and where they do not decide."""
    points, shots = upper.shape
    kept = 32 - points.bit_length()  # 2**53 becomes the beginning of the next point
    offsets = np.arange(points, dtype=np.uint32)[:, None] << np.uint32(kept)
    drawn = upper >> np.uint32(UPPER_BITS - kept)
    drawn.sort(axis=1)
    drawn += offsets
    edges = np.empty(table.shape, dtype=np.uint32)
    np.right_shift(table, BITS - kept, out=edges, casting="unsafe")
    edges += offsets
    keys = drawn.reshape(-1)
    below = np.searchsorted(keys, edges.reshape(-1), side="left").reshape(table.shape)
    unsure = np.flatnonzero((keys.take(below, mode="clip") == edges).any(axis=1))
    below -= (np.arange(points) * shots)[:, None]
    return below, unsure


Integers: TypeAlias = NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Counts of many points: those of point p stand at ``starts[p]:starts[p + 1]``, outcomes ascending.

    Kept, and sent, in the smallest integers that hold the values: of few qubits and shots a fifth of the bytes. Given as int64, in
    which sums and products do not overflow.
    """

    _outcomes: Integers
    _counts: Integers
    _starts: Integers

    @classmethod
    def of(cls, outcomes: Integers, counts: Integers, starts: Integers) -> Tally:
        """Keep integers of any type."""
        return cls(_narrowed(outcomes), _narrowed(counts), _narrowed(starts))

    @property
    def outcomes(self) -> NDArray[np.int64]:
        """Classical bits as integers, bit 0 least significant."""
        return self._outcomes.astype(np.int64)

    @property
    def counts(self) -> NDArray[np.int64]:
        """How often each was seen."""
        return self._counts.astype(np.int64)

    @property
    def starts(self) -> NDArray[np.int64]:
        """Where each point begins, and where the last one ends: shape (points + 1,)."""
        return self._starts.astype(np.int64)

    def point(self, index: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Outcomes and counts of one point."""
        part = slice(self._starts[index], self._starts[index + 1])
        return self._outcomes[part].astype(np.int64), self._counts[part].astype(np.int64)

    def table(self, num_clbits: int) -> NDArray[np.int64]:
        """Counts of every outcome: shape (points, 2**num_clbits)."""
        table = np.zeros((len(self._starts) - 1, 1 << num_clbits), dtype=np.int64)
        table[np.repeat(np.arange(len(table)), np.diff(self.starts)), self._outcomes] = self._counts
        return table

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tally):
            return NotImplemented
        pairs = (self._outcomes, other._outcomes), (self._counts, other._counts), (self._starts, other._starts)
        return all(np.array_equal(one, another) for one, another in pairs)

    __hash__ = None  # type: ignore[assignment]  # of arrays


def _narrowed(values: Integers) -> Integers:
    """The same in the smallest type: of at most 32 bits without a sign, so that mixed ones join to integers, or of 64 with one."""
    lowest, highest = (int(np.min(values)), int(np.max(values))) if values.size else (0, 0)
    if lowest < 0 or highest >= 1 << 32:
        return values.astype(np.int64, copy=False)
    return values.astype(np.min_scalar_type(highest), copy=False)


def tally(points: NDArray[np.int64], outcomes: NDArray[np.int64], weights: NDArray[np.int64], count: int) -> Tally:
    """Add up weights of equal outcomes of equal points.

    Args:
        points: the point of each entry, ascending.
        outcomes: of each entry.
        weights: of each entry.
        count: number of points.
    """
    order = np.lexsort((outcomes, points))
    points, outcomes, weights = points[order], outcomes[order], weights[order]
    new = np.ones(len(points), dtype=bool)
    new[1:] = (points[1:] != points[:-1]) | (outcomes[1:] != outcomes[:-1])
    first = np.flatnonzero(new)
    sums = np.add.reduceat(weights, first) if len(first) else weights
    starts = np.searchsorted(points[first], np.arange(count + 1))
    return Tally.of(outcomes[first], sums, starts)


def joined(parts: list[Tally]) -> Tally:
    """The tally of all points of several tallies, in order."""
    ends = np.cumsum([0, *(len(part._outcomes) for part in parts)])
    starts = [part.starts[:-1] + end for part, end in zip(parts, ends, strict=False)]
    return Tally(
        np.concatenate([part._outcomes for part in parts]),
        np.concatenate([part._counts for part in parts]),
        _narrowed(np.concatenate([*starts, ends[-1:]])),
    )
