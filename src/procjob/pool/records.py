"""What the pool remembers of a task from its submit to its end, and of a worker while its process lives."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any

from procjob.events import EventSink
from procjob.pool.actions import NO_LIMITS, TaskSpec
from procjob.pool.constants import Constant
from procjob.pool.futures import TaskFuture
from procjob.pool.payload import Payload
from procjob.pool.process import WorkerProcess


@dataclass(slots=True, eq=False)
class Call:
    """A task, until it is settled.

    What it prints is shown in the context that submitted it: a notebook shows it under that cell.
    """

    spec: TaskSpec
    payload: Payload
    constants: tuple[Constant, ...]
    future: TaskFuture[Any]
    sink: EventSink | None
    describe: Callable[[], str] | None
    context: Context = field(default_factory=copy_context)
    held: tuple[WorkerProcess, int] | None = None  # by whom, and which attempt

    @property
    def announced(self) -> bool:
        """Whether the worker has to tell that it begins: a job waits for that, or a limit counts from then."""
        return self.sink is not None or self.spec.limits is not NO_LIMITS

    def has_begun(self) -> bool:
        """Whether the worker that holds it has begun it. Safe to call from any thread."""
        held = self.held
        return held is not None and held[0].has_begun(self.spec.id, held[1])


@dataclass(slots=True, eq=False)
class LiveWorker:
    """A worker process and the calls that it holds: the first one is its task, the others it holds ahead."""

    id: int
    process: WorkerProcess
    calls: deque[Call] = field(default_factory=deque)
    writing: bool = False
    unrelayed: int = 0
    start_failure: BaseException | None = None

    @property
    def call(self) -> Call | None:
        """What it executes, or will execute next."""
        return self.calls[0] if self.calls else None

    def take(self, call: Call, attempt: int) -> None:
        """It is given a call."""
        self.calls.append(call)
        call.held = self.process, attempt

    def let_go(self) -> None:
        """It has ended its call, if it has one."""
        if self.calls:
            self.calls.popleft().held = None

    def give_back(self, count: int) -> None:
        """It will not begin the last ``count`` of its calls, or is not there to go on with them."""
        for _ in range(count):
            self.calls.pop().held = None
