"""The exception tree.

    ProcjobError
    ├── JobError                      a job or backend was used in a way it does not allow
    │   ├── JobTimeoutError           the wait ran out; the job goes on        (also TimeoutError)
    │   └── JobCancelledError         the job was cancelled                    (also CancelledError)
    ├── NotPicklableError             an input cannot be sent to a worker      (also PicklingError, TypeError)
    ├── TimeLimitExceeded             the job executed for longer than allowed (also TimeoutError)
    ├── MemoryLimitExceeded           the job used more memory than allowed    (also MemoryError)
    ├── StoreError                    a store cannot be opened, read or written
    ├── WorkerDiedError               the worker process ended under the job   (also BrokenProcessPool)
    └── RemoteError                   a call, result or exception could not be unpickled (also BrokenProcessPool)

The last two are also `BrokenProcessPool`, so that ``except BrokenProcessPool`` around another pool keeps working.
Every one survives pickling with its attributes.
"""

from __future__ import annotations

import pickle
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool


class ProcjobError(Exception):
    """Base of every error that procjob raises on its own account."""


class JobError(ProcjobError):
    """A job or backend was used in a way that it does not allow."""


class JobTimeoutError(JobError, TimeoutError):
    """The caller's wait ran out. The job itself goes on; wait again or cancel it."""


class JobCancelledError(JobError, CancelledError):
    """The job was cancelled, so there is no result."""


class NotPicklableError(ProcjobError, pickle.PicklingError, TypeError):
    """An input cannot be pickled; the message names the path to the culprit."""


class TimeLimitExceeded(ProcjobError, TimeoutError):
    """The job executed for longer than its ``time_limit`` and was stopped."""


class MemoryLimitExceeded(ProcjobError, MemoryError):
    """The worker's process tree grew by more than ``memory_limit`` and the job was stopped."""


class StoreError(ProcjobError):
    """A store cannot be opened, read or written; the message says what, which file, and what to do."""


class WorkerDiedError(ProcjobError, BrokenProcessPool):
    """The worker process ended while it held the job, or no worker could be started.

    Attributes:
        exitcode: exit code of the worker, negative for a signal (as in `subprocess`), None if unknown.
        stderr: the last lines that the worker wrote to its standard error during the job.
    """

    def __init__(self, message: str = "", *, exitcode: int | None = None, stderr: str = "") -> None:
        super().__init__(message)
        self.exitcode = exitcode
        self.stderr = stderr


class RemoteError(ProcjobError, BrokenProcessPool):
    """A call, a result or an exception did not survive the trip between processes; carries its text."""


class RemoteTraceback(Exception):
    """The traceback of a worker as text; stands as ``__cause__`` of an exception raised there."""

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'
