"""The results of a sweep as they come in, in any order, from workers and from the store."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from procjob.pool.pickling import unpack_exception
from procjob.sweeps.columns import Column, combined, spread
from procjob.sweeps.points import Axes, Points, Positions, Stream, joined
from procjob.sweeps.result import DONE, FAILED, SweepResult
from procjob.sweeps.targets import Outcome


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
        self._lock = threading.Lock()
        self.done = 0
        self.failed = 0
        self.reused = 0

    def read(self, first: int, columns: Mapping[str, Column]) -> None:
        """Keep the values of points that a stream has given."""
        with self._lock:
            self._values[first] = columns
            self._count = max(self._count, first + len(next(iter(columns.values()))))
            while len(self._status) < self._count:
                self._status = np.concatenate([self._status, np.zeros_like(self._status)])
                self._seconds = np.concatenate([self._seconds, np.full_like(self._seconds, np.nan)])

    def add(self, positions: Positions, outcome: Outcome, *, reused: bool = False) -> None:
        """Keep what came of some points."""
        done = positions[outcome.status == DONE]
        with self._lock:
            self._status[positions] = outcome.status
            self._seconds[positions] = outcome.seconds
            if len(done):
                self._blocks.append((done, outcome.columns))
            for number, packed in outcome.errors.items():
                self._errors[int(positions[number])] = unpack_exception(packed)
            self.done += len(done)
            self.failed += len(outcome.errors)
            self.reused += len(done) if reused else 0

    def fail(self, position: int, error: BaseException) -> None:
        """A point has failed without an outcome: its worker died, say."""
        with self._lock:
            self._status[position] = FAILED
            self._errors[position] = error
            self.failed += 1

    def error(self, position: int) -> BaseException:
        """Return what a failed point raised."""
        return self._errors[position]

    def point(self, position: int) -> dict[str, Any]:
        """Return the values of one point."""
        columns = self._all_points().take(np.array([position], dtype=np.int64))
        return {name: column.tolist()[0] for name, column in columns.items()}

    def result(self, seed: int | None, target: str, metadata: Mapping[str, Any]) -> SweepResult:
        """Return what is known now."""
        with self._lock:
            blocks, count = sorted(self._blocks, key=lambda block: int(block[0][0])), self._count
            status, seconds, errors = self._status[:count].copy(), self._seconds[:count].copy(), dict(self._errors)
            points = self._all_points()
        names = dict.fromkeys(name for _, columns in blocks for name in columns)
        return SweepResult(
            points=points,
            columns={name: _column(name, blocks, count) for name in names},
            status=status,
            seconds=seconds,
            errors=dict(sorted(errors.items())),
            seed=seed,
            target=target,
            metadata=metadata,
        )

    def _all_points(self) -> Points:
        if isinstance(self._points, Points):
            return self._points
        pieces = [columns for _, columns in sorted(self._values.items())]
        return Axes({name: joined([piece[name] for piece in pieces]) for name in self._points.names})


def _column(name: str, blocks: Sequence[tuple[Positions, dict[str, Column]]], count: int) -> NDArray[Any]:
    parts = [columns.get(name, np.full(len(positions), None, dtype=object)) for positions, columns in blocks]
    return spread(combined(parts), np.concatenate([at for at, _ in blocks]), count)
