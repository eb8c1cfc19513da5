"""The tasks that wait for a worker, in order: an ordered dictionary that takes half the memory of Python's.

Ids are given in ascending order, so the next one is found by counting up, and no list of them has to be kept. What has
been taken and comes back is rare; it has an `OrderedDict` of its own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class TaskQueue(Generic[T]):
    """First those that were put back, the last of them first, then the others by their ids.

    Example:
        >>> queue = TaskQueue()
        >>> for task_id in (1, 2, 3):
        ...     queue.add(task_id, f"task {task_id}")
        >>> queue.pop()
        'task 1'
        >>> queue.remove(2)
        'task 2'
        >>> queue.put_back(1, "task 1 again")
        >>> list(queue), queue.first()
        ([1, 3], 'task 1 again')
    """

    def __init__(self) -> None:
        self._added: dict[int, T] = {}
        self._next = 0  # no lower id is in `_added`
        self._put_back: OrderedDict[int, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._added) + len(self._put_back)

    def __iter__(self) -> Iterator[int]:
        """Yield the ids, in order."""
        yield from self._put_back
        yield from sorted(self._added)

    def add(self, task_id: int, task: T) -> None:
        """Append a task; ids need not come exactly in order."""
        self._added[task_id] = task
        self._next = min(self._next, task_id)

    def put_back(self, task_id: int, task: T) -> None:
        """Put a task that was taken at the head."""
        self._put_back[task_id] = task
        self._put_back.move_to_end(task_id, last=False)

    def remove(self, task_id: int) -> T | None:
        """Take a task out; None: it is not here."""
        return self._added.pop(task_id, None) or self._put_back.pop(task_id, None)

    def first(self) -> T:
        """Return the task at the head; there must be one."""
        if self._put_back:
            return next(iter(self._put_back.values()))
        while self._next not in self._added:  # taken, or removed
            self._next += 1
        return self._added[self._next]

    def pop(self) -> T:
        """Take the task at the head; there must be one."""
        first = self.first()
        if self._put_back:
            self._put_back.popitem(last=False)
        else:
            del self._added[self._next]
        return first

    def clear(self) -> list[T]:
        """Take all tasks, in order."""
        return [self.pop() for _ in range(len(self))]
