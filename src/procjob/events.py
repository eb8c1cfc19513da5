"""What a task says about itself while it lives: the only thing that travels upward.

Engines make events and hand them to the sink that came with the task; jobs, progress bars, stores and the command line
consume them. Times are `time.monotonic` seconds of the parent unless stated otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal

Source = Literal["log", "warning", "stdout", "stderr"]


@dataclass(frozen=True, slots=True)
class Accepted:
    """The engine has taken the task; always the first event, before anything else can happen to the future."""

    time: float
    future: Future[Any]


@dataclass(frozen=True, slots=True)
class Started:
    """A worker said that it began executing the task (attempt 0 is the first)."""

    time: float
    attempt: int
    worker_pid: int
    host: str


@dataclass(frozen=True, slots=True)
class Progressed:
    """The task reported progress: ``done`` of ``total`` units (total None: unknown)."""

    time: float
    done: float
    total: float | None = None
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fraction(self) -> float:
        """Share done, 0 to 1; 0 while the total is unknown."""
        return min(1.0, max(0.0, self.done / self.total)) if self.total else 0.0


@dataclass(frozen=True, slots=True)
class Logged:
    """One piece of output of the task: a log record, a warning, or text written to a standard stream.

    ``name`` is the logger, or ``module:category`` of a warning, which also has the place it was issued at.
    """

    time: float
    source: Source
    text: str
    level: int = 0
    name: str = ""
    filename: str = ""
    lineno: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """What one execution cost: wall and CPU seconds of the task, peak resident bytes of its process so far (0: unknown)."""

    run_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_rss: int = 0


@dataclass(frozen=True, slots=True)
class Finished:
    """Nothing of the task executes any more; its future is resolved right after this event."""

    time: float
    attempts: int
    usage: Usage | None = None


Event = Accepted | Started | Progressed | Logged | Finished
EventSink = Callable[[Event], None]
