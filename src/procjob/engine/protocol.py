"""What jobs and engines say to each other: a task, what an engine can do with it, and the `Engine` protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from procjob.events import EventSink
from procjob.pool.actions import NO_LIMITS, Limits


@dataclass(frozen=True, slots=True)
class Task:
    """One call to execute.

    Attributes:
        fn: the callable, or what `Engine.ship` returned for it.
        args: its positional arguments.
        kwargs: its keyword arguments.
        limits: what it may use.
        describe: names the task in error messages and logs; called only when needed.
        group: a number that the tasks of one job share; their ``time_limit`` runs from the first one that begins.
    """

    fn: Any
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits = NO_LIMITS
    describe: Callable[[], str] | None = None
    group: int | None = None

    def with_input(self, run_input: Any, options: Mapping[str, Any]) -> Task:
        """Return the same call with other arguments."""
        return Task(self.fn, (run_input,), options, self.limits, self.describe, self.group)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can honestly do.

    Attributes:
        can_interrupt: a running task can be stopped.
        can_kill: a running task can be stopped even if it never returns to the interpreter.
        truthful_running: a future is running only when its task is.
        live_events: events arrive while the task runs, not only when it ends.
        captures_output: what a task prints and warns about is in its job's logs.
        survives_crash: a task that ends its process costs only itself.
    """

    can_interrupt: bool
    can_kill: bool
    truthful_running: bool
    live_events: bool
    captures_output: bool
    survives_crash: bool


class Engine(Protocol):
    """What a job needs of whatever executes it."""

    @property
    def capabilities(self) -> Capabilities:
        """What this engine can do."""

    @property
    def workers(self) -> int:
        """Number of tasks that can execute at once; 0: in the caller."""

    def submit(self, task: Task, sink: EventSink) -> Future[Any]:
        """Take a task: pickle it here and now, then queue it.

        Raises:
            NotPicklableError: the call cannot be pickled.
            JobError: a limit is set that this engine cannot keep.
            WorkerDiedError: no worker can start; its initializer fails, say.
            RuntimeError: the engine is closed.
        """

    def ship(self, value: object, *, label: str) -> Any:
        """Return what stands for ``value`` in tasks so that it travels to each worker at most once."""

    def queue_position(self, future: Future[Any]) -> int | None:
        """Return how many tasks are queued before this one; None if it is not queued or nobody knows."""

    def post(self, fn: Callable[..., object], *args: Any) -> None:
        """Run a callback of the user in the engine's dispatcher thread."""

    def close(self, *, wait: bool = True, cancel: bool = False) -> None:
        """Accept nothing more. ``cancel``: stop what is queued or runs. ``wait``: return when nothing is left."""
