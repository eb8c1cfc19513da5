"""Engines execute tasks. `Engine` is the one seam between jobs and whatever runs them.

    Job.submit ──> Engine.submit(task, sink) ──> Future       and, to the sink:
                   Accepted, Started, Progressed | Logged ..., Finished     (then the future is final)

The sink is called by the engine's threads and must not block; callbacks of the user go through `Engine.post`.
"""

from __future__ import annotations

from procjob.engine.choice import checked_engine, make_engine
from procjob.engine.executor import ExecutorEngine
from procjob.engine.inline import InlineEngine
from procjob.engine.process import ProcessEngine
from procjob.engine.protocol import Capabilities, Engine, Task

__all__ = [
    "Capabilities",
    "Engine",
    "ExecutorEngine",
    "InlineEngine",
    "ProcessEngine",
    "Task",
    "checked_engine",
    "make_engine",
]
