"""How a task has ended, as its user is told: what the scheduler and a dead worker leave, as results and exceptions."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from procjob.errors import MemoryLimitExceeded, RemoteError, TimeLimitExceeded, WorkerDiedError
from procjob.events import Usage
from procjob.pool import foreign, wire
from procjob.pool.actions import Completed, Died, Limits, Refused, Stopped, StopReason, Verdict
from procjob.pool.pickling import add_note, loads, unpack_exception
from procjob.pool.relay import named


def outcome_of(
    verdict: Verdict, describe: Callable[[], str] | None, limits: Limits, host: str
) -> tuple[Any, BaseException | None, Usage | None]:
    """Return the result or the exception, and the usage; neither for a cancel.

    Args:
        verdict: how the task ended.
        describe: how messages call the task, see `procjob.pool.relay.named`.
        limits: those of the task.
        host: this machine.
    """
    match verdict:
        case Completed((wire.Outcome(wire.OutcomeKind.RETURNED, _, usage, value), _)):
            try:
                return loads(value, what=lambda: f"the result of {named(describe)}"), None, usage
            except (RemoteError, MemoryError) as exc:
                return None, exc, usage
        case Completed((wire.Outcome(_, _, usage, value), pid)):
            exception = unpack_exception(value)
            add_note(exception, origin(describe, pid, host))
            return None, exception, usage
        case Stopped(reason, measured):
            return None, _stop_error(named(describe), limits, reason, measured), None
        case Died(cause):
            return None, cause.error(describe), None
        case Refused(cause):
            return None, refusal(cause), None
        case _:
            raise AssertionError(verdict)


def origin(describe: Callable[[], str] | None, worker_pid: int, host: str) -> str:
    """Return the note for an exception that a task has raised."""
    return f"procjob: raised by {named(describe)} in worker {worker_pid} on {host}"


@dataclass(frozen=True, slots=True)
class Death:
    """What is known about the end of a worker process."""

    pid: int
    exitcode: int | None
    stderr: str

    def how(self) -> str:
        """In words."""
        if self.exitcode is None:
            return "ended in an unknown way (something else reaped it)"
        if self.exitcode >= 0:
            return f"exited with code {self.exitcode}"
        try:
            name = signal.Signals(-self.exitcode).name
        except ValueError:
            name = f"signal {-self.exitcode}"
        hint = " (out of memory, unless somebody killed it)" if name == "SIGKILL" else ""
        return f"was killed by {name}{hint}"

    def last_words(self) -> str:
        """The end of its standard error, for a message."""
        return f"\nLast lines of its standard error:\n{self.stderr.rstrip()}" if self.stderr.strip() else ""

    def error(self, describe: Callable[[], str] | None) -> WorkerDiedError:
        """The exception of the task that it held."""
        advice = "" if describe is None else "; retries=n runs such a job again"  # an executor's call has no limits
        return WorkerDiedError(
            f"the worker (pid {self.pid}) {self.how()} while it held {named(describe)}{advice}{self.last_words()}",
            exitcode=self.exitcode,
            stderr=self.stderr,
        )


def refusal(cause: Any) -> WorkerDiedError:
    """The exception of tasks that no worker can be started for."""
    if isinstance(cause, Death):
        text, exitcode = f"the last one (pid {cause.pid}) {cause.how()}{cause.last_words()}", cause.exitcode
    else:
        text, exitcode = foreign.describe(cause), None
    error = WorkerDiedError(f"workers cannot start: {text}", exitcode=exitcode)
    error.__cause__ = cause if isinstance(cause, BaseException) else None
    return error


def _stop_error(name: str, limits: Limits, reason: StopReason, measured: int) -> BaseException | None:
    match reason:
        case StopReason.TIME_LIMIT:
            return TimeLimitExceeded(f"{name} executed for longer than its time_limit of {limits.time_limit:g} s")
        case StopReason.MEMORY_LIMIT:
            return MemoryLimitExceeded(
                f"{name} grew by {measured / 2**20:.0f} MiB, more than its memory_limit of "
                f"{(limits.memory_limit or 0) / 2**20:.0f} MiB"
            )
        case StopReason.CANCEL:
            return None
