"""Wait for many jobs: `wait` and `as_completed`, as in `concurrent.futures`, for jobs."""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION
from typing import NamedTuple

from procjob.errors import JobTimeoutError
from procjob.job import Job
from procjob.pool import checks


class DoneAndNotDone(NamedTuple):
    """What `wait` returns: the jobs that are final, and the others."""

    done: set[Job]
    not_done: set[Job]


def wait(jobs: Iterable[Job], timeout: float | None = None, return_when: str = ALL_COMPLETED) -> DoneAndNotDone:
    """Wait until jobs are final.

    Args:
        jobs: submitted jobs; duplicates count once.
        timeout: seconds to wait at most; None waits for ever. When it runs out, what is final by then is returned.
        return_when: ``ALL_COMPLETED``, ``FIRST_COMPLETED`` or ``FIRST_EXCEPTION`` of `concurrent.futures`.

    Raises:
        TypeError: one of ``jobs`` is not a job.
        JobError: one was not submitted.
        ValueError: ``return_when`` or ``timeout`` is not one of the allowed values.
    """
    timeout = checks.seconds("timeout", timeout)
    if return_when not in (ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION):
        raise ValueError(f"return_when must be ALL_COMPLETED, FIRST_COMPLETED or FIRST_EXCEPTION, not {return_when!r}")
    by_future = {job.future: job for job in _checked(jobs)}
    done, not_done = concurrent.futures.wait(by_future, timeout, return_when)
    return DoneAndNotDone({by_future[f] for f in done}, {by_future[f] for f in not_done})


def as_completed(jobs: Iterable[Job], timeout: float | None = None) -> Iterator[Job]:
    """Yield jobs as they become final, whatever their final state; duplicates once.

    Args:
        jobs: submitted jobs.
        timeout: seconds from the call until which all must have been yielded; None waits for ever.

    Raises:
        TypeError: one of ``jobs`` is not a job.
        JobError: one was not submitted.
        JobTimeoutError: from the iterator, when ``timeout`` has run out.

    Example:
        >>> import procjob
        >>> with procjob.Backend(abs, workers=2) as backend:
        ...     sorted(job.result() for job in procjob.as_completed([backend.run(-n) for n in range(3)]))
        [0, 1, 2]
    """
    timeout = checks.seconds("timeout", timeout)
    by_future = {job.future: job for job in _checked(jobs)}
    return _jobs_of(by_future, None if timeout is None else time.monotonic() + timeout)


def _jobs_of(by_future: dict[concurrent.futures.Future[object], Job], deadline: float | None) -> Iterator[Job]:
    # The clock of `concurrent.futures.as_completed` starts with the first item that is asked for, ours with the call.
    left = None if deadline is None else max(0.0, deadline - time.monotonic())
    try:
        for future in concurrent.futures.as_completed(list(by_future), left):
            yield by_future.pop(future)
    except TimeoutError:
        raise JobTimeoutError(f"{len(by_future)} jobs are not final yet; wait again or cancel them") from None


def _checked(jobs: Iterable[Job]) -> list[Job]:
    if not isinstance(jobs, Iterable):
        raise TypeError(f"jobs must be a list or another iterable of jobs, not {jobs!r}")
    found = list(jobs)
    for index, job in enumerate(found):
        if not isinstance(job, Job):
            raise TypeError(f"jobs[{index}] must be a procjob Job, not {job!r}")
    return found
