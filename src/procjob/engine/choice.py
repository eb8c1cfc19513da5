"""Which engine serves: one of the user's, or one made for a number of workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from procjob.engine.inline import InlineEngine
from procjob.engine.process import ProcessEngine
from procjob.engine.protocol import Engine
from procjob.pool import checks
from procjob.pool.session import runs_inline


def make_engine(workers: Any, settings: Mapping[str, Any]) -> Engine:
    """Make the engine for a number of workers; where no pool is to be, one that runs tasks in place.

    Args:
        workers: 0: in the caller; None: PROCJOB_WORKERS or the cores granted.
        settings: arguments of `ProcessEngine`.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: one is out of range.
    """
    if workers is not None:
        workers = checks.whole("workers", workers, lowest=0, expected=", or None")
    if workers == 0 or runs_inline():
        checks.worker_settings(None, (), settings.get("threads_per_worker"), settings.get("environment"))
        checks.modules("warmup", settings.get("warmup"))
        return InlineEngine(**{key: settings[key] for key in ("initializer", "initargs") if key in settings})
    return ProcessEngine(workers, **settings)


def checked_engine(engine: Engine, workers: int | None, settings: Mapping[str, Any]) -> Engine:
    """Return an engine that the user gave, instead of whatever would set up another one.

    Raises:
        TypeError: it is no engine, or something else was given with it.
    """
    excluded = [*(["workers"] if workers is not None else []), *settings]
    if excluded:
        raise TypeError(f"engine= excludes {', '.join(excluded)}: give them to the engine")
    methods = ("submit", "ship", "queue_position", "post", "close")
    if isinstance(engine, type) or not all(callable(getattr(engine, method, None)) for method in methods):
        raise TypeError(
            f"engine must be a procjob.engine.Engine, such as ExecutorEngine(executor) or None, not {engine!r}"
        )
    return engine
