"""The way into the pool thread: commands of any thread, in order, and a pipe that wakes it.

    any thread ── put, tell ──> commands, wake pipe ──> select, serve ── pool thread

Invariants:
- Callers only append (atomic) and then wake the thread, so a finalizer between any two of their bytecodes leaves
  nothing half-changed, and neither does a Ctrl-C (CPython answers one when a call ends, a function begins or a loop
  turns).
- Once it is over, nothing enters. What has entered before is served a last time, unless the pool thread has failed.
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


class Inbox:
    """Commands that the pool thread has not carried out yet.

    Args:
        gate: the lock of the pool. Whoever holds it and sees that the inbox is not `over` may `put`.
        selector: in which the pool thread sleeps, and which watches `wake_fd`.
    """

    def __init__(self, gate: RLock, selector: selectors.BaseSelector) -> None:
        self.over = False
        self._gate = gate
        self._selector = selector
        self._commands: deque[tuple[Command, tuple[Any, ...]]] = deque()
        self._asleep = False
        self.wake_fd, self._wake_write = os.pipe()
        os.set_blocking(self.wake_fd, False)
        os.set_blocking(self._wake_write, False)

    # ------------------------------------------------------------ any thread

    def tell(self, command: Command, *args: Any) -> bool:
        """Have the pool thread carry out the actions of ``command(*args)``; False: it has ended."""
        with self._gate:
            if not self.over:
                self.put(command, *args)
            return not self.over

    def put(self, command: Command, *args: Any) -> None:
        """Append a command and wake the pool thread, unless it is awake and will look."""
        try:
            self._commands.append((command, args))
        finally:  # also if a Ctrl-C strikes when `append` returns; until the write, nothing is called that it could strike
            if self._asleep:
                try:  # noqa: SIM105  (suppress() is a call, where a Ctrl-C could strike)
                    os.write(self._wake_write, b"\0")
                except BlockingIOError:
                    pass  # full: it is awake as soon as it looks

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
            command, args = self._commands.popleft()
            perform(command(*args))

    def on_wake(self, _: int) -> list[Action]:
        """Empty the wake pipe."""
        os.read(self.wake_fd, 4096)
        return []

    def shut(self) -> None:
        """Let nothing more enter."""
        with self._gate:
            self.over = True

    def close(self) -> None:
        """Release the wake pipe."""
        os.close(self.wake_fd)
        os.close(self._wake_write)
