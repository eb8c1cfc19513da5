"""The way into the pool thread: commands of any thread, in order, and a pipe that wakes it.

    any thread ── tell ──> commands, wake pipe ──> select, serve ── pool thread

Invariants:
- Nothing is called while the lock is held: a signal handler that ran there could close the pool and wait for its thread,
  which waits for the lock. (CPython answers a signal when a call ends, a function begins or a loop turns.) A finalizer may
  come in between any two bytecodes and enter commands of its own; it leaves nothing half-changed, and neither does a Ctrl-C.
- Once it is closed, no task enters, and once it is over, nothing. What has entered before is served a last time, unless the
  pool thread has failed.
"""

from __future__ import annotations

import os
import selectors
from collections import deque
from collections.abc import Callable
from threading import RLock
from typing import Any

from procjob.pool.actions import Action

Command = Callable[..., list[Action]]


class _Pipe:
    """A pipe that is closed with the last reference to it: by nobody while another thread may write there."""

    ends: tuple[int, ...] = ()  # if there are no more descriptors

    def __init__(self) -> None:
        self.ends = self.read_end, self.write_end = os.pipe()
        for end in self.ends:
            os.set_blocking(end, False)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        for end in self.ends:
            close(end)


class Inbox:
    """Commands that the pool thread has not carried out yet.

    Args:
        selector: in which the pool thread sleeps, and which watches `wake_fd`.

    Attributes:
        closed: whether no more tasks are taken.
        over: whether nothing is taken any more.
    """

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self.closed = self.over = False
        self._lock = RLock()  # re-entered by a finalizer
        self._selector = selector
        self._commands: deque[tuple[Command, tuple[Any, ...]]] = deque()
        self._asleep = False
        self._pipe: _Pipe | None = _Pipe()
        self.wake_fd = self._pipe.read_end

    # ------------------------------------------------------------ any thread

    def tell(self, command: Command, *args: Any, is_task: bool = False) -> bool:
        """Have the pool thread carry out the actions of ``command(*args)``; False: it takes no more of them."""
        entered = False
        try:
            with self._lock:
                if not (self.over or (is_task and self.closed)):
                    self._commands += ((command, args),)
                    entered = True
        finally:  # also if a Ctrl-C strikes when the lock is released; until the write, nothing is called that it could strike
            if entered and self._asleep and (pipe := self._pipe) is not None:
                try:  # noqa: SIM105  (suppress() is a call, where a Ctrl-C could strike)
                    os.write(pipe.write_end, b"\0")
                except BlockingIOError:
                    pass  # full: it is awake as soon as it looks
        return entered

    # ------------------------------------------------------------ the pool thread

    def select(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        """Sleep until a descriptor is ready, a command is put or the time has run out."""
        self._asleep = True
        ready = self._selector.select(0 if self._commands else timeout)
        self._asleep = False
        return ready

    def serve(self, perform: Callable[[list[Action]], None]) -> None:
        """Run the commands that are there, and have each one's actions performed."""
        for _ in range(len(self._commands)):
            try:
                command, args = self._commands.popleft()
            except IndexError:  # taken by another call of `Loop.end`
                return
            perform(command(*args))

    def on_wake(self, _: int) -> list[Action]:
        """Empty the wake pipe."""
        os.read(self.wake_fd, 4096)
        return []

    def shut(self) -> None:
        """Let nothing more enter."""
        with self._lock:
            self.over = True

    def close(self) -> None:
        """Release the wake pipe."""
        self._pipe = None
