"""What the pool's scheduler is told and what it asks for: tasks, verdicts, actions.

Plain values that nobody changes. They are not frozen: making a frozen dataclass takes three times as long, and several of
these are made for each task.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any


class StopReason(Enum):
    """Why a task was stopped."""

    CANCEL = auto()
    TIME_LIMIT = auto()
    MEMORY_LIMIT = auto()


@dataclass(frozen=True, slots=True)
class Limits:
    """What a task may use.

    Attributes:
        time_limit: seconds that it may execute, all attempts together; None: no limit.
        memory_limit: bytes by which the resident memory of its worker's process tree may grow; None: no limit.
        retries: how often it is run again after its worker died.
        grace: seconds between the interrupt of a stop and the kill.
    """

    time_limit: float | None = None
    memory_limit: int | None = None
    retries: int = 0
    grace: float = 0.5


NO_LIMITS = Limits()


@dataclass(slots=True)
class TaskSpec:
    """What the scheduler knows of a task.

    Attributes:
        id: unique in the pool; tasks are assigned in the order of these.
        limits: what it may use.
        prefetch: a worker may hold it before it executes it.
        group: a name for tasks whose ``time_limit`` runs for all of them together, from the first one that begins.
    """

    id: int
    limits: Limits = NO_LIMITS
    prefetch: bool = False
    group: int | None = None


# ---------------------------------------------------------------- verdicts: how a task ended


@dataclass(slots=True)
class Completed:
    """The worker sent an outcome (a result or the task's own exception)."""

    outcome: Any


@dataclass(slots=True)
class Stopped:
    """A stop was accepted; ``measured`` is the growth in bytes where that was the reason."""

    reason: StopReason
    measured: int = 0


@dataclass(slots=True)
class Died:
    """The worker ended under the task; ``cause`` is what the executor knows about it."""

    cause: Any


@dataclass(slots=True)
class Refused:
    """No worker could be started; ``cause`` says why."""

    cause: Any


Verdict = Completed | Stopped | Died | Refused


# ---------------------------------------------------------------- actions


@dataclass(slots=True)
class StartWorker:
    """Start a process and call it ``worker``."""

    worker: int


@dataclass(slots=True)
class Assign:
    """Hand a task over to an idle worker."""

    worker: int
    task: int
    attempt: int


@dataclass(slots=True)
class Prefetch:
    """Hand a busy worker its next tasks (and attempts), to save both sides the wait for each other."""

    worker: int
    tasks: tuple[tuple[int, int], ...]


@dataclass(slots=True)
class Recall:
    """Take back what a worker holds ahead and has not begun; tell how much it was with `Scheduler.recalled`."""

    worker: int


@dataclass(slots=True)
class Interrupt:
    """Ask a worker to stop an attempt."""

    worker: int
    task: int
    attempt: int


@dataclass(slots=True)
class Kill:
    """Kill a worker and everything it has started."""

    worker: int


@dataclass(slots=True)
class Retire:
    """Tell an idle worker to leave."""

    worker: int


@dataclass(slots=True)
class Measure:
    """Look at the memory of a worker and report it with `Scheduler.measured`."""

    worker: int


@dataclass(slots=True)
class Settle:
    """Make a task final; ``attempts`` is how often it was begun."""

    task: int
    attempts: int
    verdict: Verdict


Action = StartWorker | Assign | Prefetch | Recall | Interrupt | Kill | Retire | Measure | Settle
