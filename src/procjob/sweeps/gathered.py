"""The results of a sweep as they come in, in any order, from workers and from the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from procjob.forks import SharedLock
from procjob.pool.pickling import unpack_exception
from procjob.sweeps.columns import Column, combined, spread
from procjob.sweeps.points import Axes, Points, Positions, Stream, joined
from procjob.sweeps.result import DONE, FAILED, SweepResult
from procjob.sweeps.targets import Outcome

#: Of all sweeps, which hold it for a few lines. Nothing is called meanwhile: a signal handler may ask for a `result` there, raise,
#: or wait for another sweep.
_shared = SharedLock()


class Gathered:
    """What is known of the points of a sweep. One thread adds; any may ask for a `result`."""

    def __init__(self, points: Points | Stream) -> None:
        self._points = points
        count = 1024 if isinstance(points, Stream) else len(points)
        self._count = 0 if isinstance(points, Stream) else count
        self._status = np.zeros(count, dtype=np.int8)
        self._seconds = np.full(count, np.nan)
        self._blocks: list[tuple[Positions, dict[str, Column]]] = []
        self._errors: dict[int, BaseException] = {}
        self._values: dict[int, Mapping[str, Column]] = {}  # of a stream, by first position
        self.done = 0
        self.failed = 0
        self.reused = 0

    def read(self, first: int, columns: Mapping[str, Column]) -> None:
        """Keep the values of points that a stream has given."""
        count = max(self._count, first + len(next(iter(columns.values()))))
        status, seconds = self._status, self._seconds
        while len(status) < count:
            status = np.concatenate([status, np.zeros_like(status)])
            seconds = np.concatenate([seconds, np.full_like(seconds, np.nan)])
        with _shared.lock:
            self._values[first] = columns
            self._count, self._status, self._seconds = count, status, seconds

    def add(self, positions: Positions, outcome: Outcome, *, reused: bool = False) -> None:
        """Keep what came of some points."""
        done = positions[outcome.status == DONE]
        blocks = [(done, outcome.columns)] if len(done) else []
        errors = {int(positions[number]): unpack_exception(packed) for number, packed in outcome.errors.items()}
        count, failed = len(done), len(errors)
        with _shared.lock:
            self._status[positions] = outcome.status
            self._seconds[positions] = outcome.seconds
            self._blocks += blocks
            self._errors |= errors
            self.done += count
            self.failed += failed
            self.reused += count if reused else 0

    def fail(self, position: int, error: BaseException, seconds: float) -> None:
        """A point has failed without an outcome: its worker died, say; what it took is 0 where nobody knows."""
        with _shared.lock:
            self._status[position] = FAILED
            self._seconds[position] = seconds or np.nan
            self._errors[position] = error
            self.failed += 1

    def error(self, position: int) -> BaseException:
        """Return what a failed point raised."""
        return self._errors[position]

    def point(self, position: int) -> dict[str, Any]:
        """Return the values of one point."""
        columns = self._all_points(self._values).take(np.array([position], dtype=np.int64))
        return {name: column.tolist()[0] for name, column in columns.items()}

    def result(self, seed: int | None, target: str, metadata: Mapping[str, Any]) -> SweepResult:
        """Return what is known now."""
        with _shared.lock:
            blocks, errors, values, count = [*self._blocks], {**self._errors}, {**self._values}, self._count
            status, seconds = +self._status[:count], +self._seconds[:count]  # copies
        blocks.sort(key=lambda block: int(block[0][0]))
        names = dict.fromkeys(name for _, columns in blocks for name in columns)
        return SweepResult(
            points=self._all_points(values),
            columns={name: _column(name, blocks, count) for name in names},
            status=status,
            seconds=seconds,
            errors=dict(sorted(errors.items())),
            seed=seed,
            target=target,
            metadata=metadata,
        )

    def _all_points(self, values: Mapping[int, Mapping[str, Column]]) -> Points:
        if isinstance(self._points, Points):
            return self._points
        pieces = [columns for _, columns in sorted(values.items())]
        return Axes({name: joined([piece[name] for piece in pieces]) for name in self._points.names})


def _column(name: str, blocks: Sequence[tuple[Positions, dict[str, Column]]], count: int) -> NDArray[Any]:
    parts = [columns.get(name, np.full(len(positions), None, dtype=object)) for positions, columns in blocks]
    return spread(combined(parts), np.concatenate([at for at, _ in blocks]), count)
