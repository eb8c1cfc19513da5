"""Errors that are procjob's and Qiskit's at once, so that scripts of either kind catch them."""

from __future__ import annotations

import qiskit.providers.exceptions as theirs
from qiskit.exceptions import QiskitError

from procjob import errors as ours


class JobError(ours.JobError, theirs.JobError):
    """Misuse of a job."""


class JobTimeoutError(ours.JobTimeoutError, theirs.JobTimeoutError):
    """A wait ran out; the job goes on."""


class JobCancelledError(ours.JobCancelledError, theirs.JobError):
    """The job was cancelled and has no result."""


class CircuitError(QiskitError, ValueError):
    """A circuit, or the values for its parameters, cannot be run."""
