"""Contract tests for any JobV1 class: Qiskit's, a provider's, or procjob's own.

A provider subclasses `JobV1Contract` in its test-suite and says how to get jobs; pytest does the rest. What the
documentation of Qiskit's JobV1 asks for is in the tests named ``test_required_...``; what procjob promises on top is in
those named ``test_added_...``. Needs pytest (the extra ``testing``) and neither Qiskit nor anything else of procjob:
statuses and errors are compared by name, so both packages' classes pass.
"""

from __future__ import annotations

try:
    import pytest  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("procjob.testing needs pytest: pip install 'procjob[testing]'", name="pytest") from error

from procjob.testing.added import Added
from procjob.testing.required import Required


class JobV1Contract(Required, Added):
    """Tests of a JobV1 class; subclass it and override the factories. Each test gets fresh jobs.

    The factories are ``quick_job``, ``slow_job`` and ``failing_job``; more tests run with ``endless_job`` (and
    ``release``, if its jobs do not end by ``cancel``) and with ``unsubmitted_job``.

    Attributes:
        additions: whether the tests ``test_added_...`` run; set it to False to ask only for what JobV1 requires.
        stops_running_jobs: whether `cancel` can stop a job that runs; False skips the tests that need it.
        failure: type of the exception that `failing_job` raises from ``result``; None if any will do.
        patience: seconds that any single wait may take before its test fails.
        tolerance: seconds by which a timeout or a call that must not block may be late.

    Example:
        >>> import procjob
        >>> from procjob.testing import JobV1Contract
        >>> class TestMyJob(JobV1Contract):
        ...     backend = procjob.Backend(eval, workers=2)
        ...     failure = ZeroDivisionError
        ...
        ...     def quick_job(self):
        ...         return self.backend.run("1 + 1")
        ...
        ...     def slow_job(self):
        ...         return self.backend.run("__import__('time').sleep(0.5)")
        ...
        ...     def failing_job(self):
        ...         return self.backend.run("1 / 0")
        ...
        ...     def endless_job(self):
        ...         return self.backend.run("__import__('time').sleep(3600)")
    """
