"""How a sweep cuts its points into chunks: large enough that a chunk costs nothing to send, small enough to stop, keep and share out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from procjob.sweeps.columns import Column
from procjob.sweeps.points import Points, Positions, Reader, Stream

#: Seconds that a chunk should take.
SECONDS = 0.1
#: Share of these seconds below which no chunk gets because few points are left: to send it would take longer than it saves.
LEAST = 0.05
#: A chunk grows at most so many times from one to the next.
GROWTH = 16
#: Most points of a chunk.
MOST = 1 << 16


class Sizer:
    """How many points the next chunk should have, from what those before have taken.

    Args:
        workers: that share the points.
        single: every chunk has one point; a limit that holds for a point is then that of a task.
        first: points of the first chunks, of which nothing is known yet.
        total: points of the sweep; None: nobody knows. If the first chunks of all workers have room for all of them, they are
            shared out evenly, at once, two chunks a worker, or one if that is half as long: what is over soon should not
            wait for the parent again.
    """

    def __init__(self, workers: int, *, single: bool = False, first: int = 1, total: int | None = None) -> None:
        self._workers = workers
        self._most = 1 if single else MOST
        self._size = float(first)
        shares = [] if total is None else [-(-total // workers), -(-total // (2 * workers))]
        self._even = next((share for share, room in zip(shares, (first // 2, first), strict=False) if share <= room), 0)

    def took(self, points: int, seconds: float) -> None:
        """A chunk has ended."""
        wanted = points * SECONDS / seconds if seconds > 0 else float(MOST)
        # Of the past a half: one slow point among fast ones must not make chunks of one.
        self._size = min(
            max(1.0, (self._size + wanted) / 2 if wanted < self._size else wanted), self._size * GROWTH, MOST
        )

    def size(self, left: int | None) -> int:
        """Return the number of points of the next chunk.

        Args:
            left: points that are in no chunk yet; None: nobody knows. Towards the end chunks get smaller, so that the
                workers end together.
        """
        fair = self._most if left is None else -(-left // (2 * self._workers))
        return max(1, min(int(self._size), max(fair, int(self._size * LEAST), self._even), self._most))


@dataclass(frozen=True, slots=True)
class Chunk:
    """Points that one task runs.

    Attributes:
        positions: ascending.
        columns: their values; None: the worker takes them by position.
        keys: their keys in the store; None without one.
    """

    positions: Positions
    columns: Mapping[str, Column] | None = None
    keys: tuple[bytes, ...] | None = None

    def __len__(self) -> int:
        return len(self.positions)

    def values(self, points: Points | Stream) -> Mapping[str, Column]:
        """Return the values of its points."""
        if self.columns is not None:
            return self.columns
        assert isinstance(points, Points)
        return points.take(self.positions)

    def part(self, start: int, stop: int) -> Chunk:
        """Return some of its points."""
        columns = None if self.columns is None else {name: values[start:stop] for name, values in self.columns.items()}
        return Chunk(self.positions[start:stop], columns, None if self.keys is None else self.keys[start:stop])


#: Returns what is left to run of a chunk; of a large one whatever is quick to find out together.
Filter = Callable[[Chunk], Chunk]


class Supply:
    """Cuts points into chunks, in order, as far as they are asked for.

    Args:
        points: that are run.
        on_read: is told first position and values of what a stream has given.
        sift: leaves the points that have no result yet, and keys; None: all of them.
        wake: called when a stream has points, after there were none yet (`waiting`); None: streams are waited for.

    Attributes:
        waiting: there may be points later, and ``wake`` will tell.
        failure: what reading a stream has raised; the points before it are given out all the same.
    """

    def __init__(
        self,
        points: Points | Stream,
        on_read: Callable[[int, Mapping[str, Column]], object],
        sift: Filter | None = None,
        wake: Callable[[], object] | None = None,
    ) -> None:
        self._points = points
        self._on_read = on_read
        self._sift = sift
        self._ready: deque[Chunk] = deque()
        self._next = 0
        self._kept = 0  # points of the last reading, if none of them need run
        self._ended = False
        self._reader = Reader(points, wake) if isinstance(points, Stream) and wake is not None else None
        self.waiting = False
        self.failure: Exception | None = None

    @property
    def left(self) -> int | None:
        """How many points may be left at most; None: nobody knows."""
        if isinstance(self._points, Stream) and not self._ended:
            return None
        unread = 0 if isinstance(self._points, Stream) else len(self._points) - self._next
        return unread + sum(map(len, self._ready))

    def close(self) -> None:
        """Read no further."""
        if self._reader is not None:
            self._reader.close()

    def again(self, chunk: Chunk) -> None:
        """Give a chunk out once more, point by point."""
        self._ready.extendleft(chunk.part(number, number + 1) for number in reversed(range(len(chunk))))

    def halve(self, chunk: Chunk) -> None:
        """Give a chunk out once more, in two halves."""
        middle = len(chunk) // 2
        self._ready.extendleft((chunk.part(middle, len(chunk)), chunk.part(0, middle)))

    def back(self, chunk: Chunk) -> None:
        """Give out once more what of a chunk has not been run."""
        self._ready.appendleft(chunk)

    def take(self, size: int) -> Chunk | None:
        """Return the next chunk, of at most ``size`` points; None at the end.

        It has none at all if those that were read need not run, or if none is there yet (`waiting`).
        """
        self.waiting = False
        if not self._ready and not self._ended:
            self._read(max(size, self._at_once()))
        if not self._ready:
            return None if self._ended else Chunk(np.empty(0, dtype=np.int64))
        chunk = self._ready.popleft()
        if len(chunk) > size:
            self._ready.appendleft(chunk.part(size, len(chunk)))
            chunk = chunk.part(0, size)
        return chunk

    def _at_once(self) -> int:
        """Return how many points to look up together, though not so many should run: of an iterator more where nothing is left to run."""
        if self._sift is None:
            return 1
        return min(2 * self._kept, 1024) if isinstance(self._points, Stream) else 1024

    def _read(self, count: int) -> None:
        chunk = (
            self._stream(self._points, count) if isinstance(self._points, Stream) else self._range(self._points, count)
        )
        self._next += len(chunk)
        self._ended = (not len(chunk) and not self.waiting) or (
            not isinstance(self._points, Stream) and self._next == len(self._points)
        )
        if self._sift is not None and len(chunk):
            read, chunk = len(chunk), self._sift(chunk)
            self._kept = 0 if len(chunk) else read
        if len(chunk):
            self._ready.append(chunk)

    def _range(self, points: Points, count: int) -> Chunk:
        return Chunk(np.arange(self._next, min(self._next + count, len(points)), dtype=np.int64))

    def _stream(self, stream: Stream, count: int) -> Chunk:
        columns: Mapping[str, Column] = {}
        try:
            found = stream.read(count) if self._reader is None else self._reader.read(count)
            self.waiting = found is None
            columns = found or {}
        except Exception as exc:  # noqa: BLE001  (the user's own iterator)
            self.failure = exc
        length = len(next(iter(columns.values()))) if columns else 0
        if length:
            self._on_read(self._next, columns)
        return Chunk(np.arange(self._next, self._next + length, dtype=np.int64), columns)
