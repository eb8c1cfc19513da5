"""Show in the parent what a task printed, logged and warned about. Runs in a dispatcher thread of its own."""

from __future__ import annotations

import builtins
import logging
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

from procjob.events import Logged

#: Where log records of tasks are re-issued, with ``job`` and ``task_logger`` as extra attributes.
task_logger = logging.getLogger("procjob.task")
_registry: dict[str | tuple[str, type[Warning], int], int] = {}


def captured_level() -> int:
    """Return the level at which workers capture: ``PROCJOB_LOG_LEVEL``, else that of this process's root logger.

    Raises:
        ValueError: the variable names no level.
    """
    text = os.environ.get("PROCJOB_LOG_LEVEL", "").strip().upper()
    if not text:
        return logging.getLogger().getEffectiveLevel()
    level = int(text) if text.isdecimal() else logging.getLevelNamesMapping().get(text)
    if level is None:
        raise ValueError(f"PROCJOB_LOG_LEVEL must be a level such as INFO or 20, not {text!r}")
    return level


def named(describe: Callable[[], str] | None) -> str:
    """Return how the description of a task calls it; "the task" without one, or with one that fails."""
    try:
        return describe() if describe is not None else "the task"
    except Exception:  # noqa: BLE001  (it may be the user's code, and a name is not worth a job)
        return "the task"


def relay(event: Logged, describe: Callable[[], str] | None = None) -> None:
    """Write, log or warn, as the task did."""
    if event.source in ("stdout", "stderr"):
        _write(getattr(sys, event.source), event.text)
    elif event.source == "warning":
        try:
            warnings.warn_explicit(event.text, _category(event.name), event.filename, event.lineno, registry=_registry)
        except Warning as exc:
            task_logger.error(
                "%s: %s:%d: %s: %s (a filter of the script makes it an error, too late for the task)",
                named(describe), event.filename, event.lineno, type(exc).__name__, exc,
            )  # fmt: skip
    else:
        name = named(describe)
        task_logger.log(
            event.level, "%s: %s: %s", name, event.name, event.text, extra={"job": name, "task_logger": event.name}
        )


def _write(stream: TextIO | None, text: str) -> None:
    """Write as far as the stream of the script takes it; the rest is in the logs of the job."""
    if stream is None:
        return
    with suppress(OSError, ValueError):  # its reader has gone, the disk is full, or it has been closed
        try:
            stream.write(text)
        except UnicodeEncodeError as exc:
            stream.write(text.encode(exc.encoding, "backslashreplace").decode(exc.encoding))
        stream.flush()


def _category(name: str) -> type[Warning]:
    """Return the warning class ``module:name`` if this process knows it, else `UserWarning`."""
    module, _, qualname = name.partition(":")
    found = getattr(sys.modules.get(module, builtins), qualname, None)
    return found if isinstance(found, type) and issubclass(found, Warning) else UserWarning
