"""Wait for many jobs: `wait` and `as_completed`, as in `concurrent.futures`, for jobs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, Future
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from procjob.errors import JobTimeoutError
from procjob.job import Job
from procjob.pool import checks
from procjob.pool.watching import wait_for, watch


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
    by_future = {job.future: job for job in checked_jobs(jobs)}
    wait_for(by_future, timeout, return_when)
    done = {job for future, job in by_future.items() if future.done()}
    return DoneAndNotDone(done, set(by_future.values()) - done)


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
    by_future = {job.future: job for job in checked_jobs(jobs)}
    return _jobs_of(by_future, None if timeout is None else time.monotonic() + timeout)


def _jobs_of(by_future: dict[Future[Any], Job], deadline: float | None) -> Iterator[Job]:
    final: SimpleQueue[Future[Any]] = SimpleQueue()
    ends = {future: watch(future, final.put) for future in list(by_future)}
    try:
        while by_future:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            future = final.get(timeout=left)
            del ends[future]
            yield by_future.pop(future)
    except Empty:
        raise JobTimeoutError(f"{len(by_future)} jobs are not final yet; wait again or cancel them") from None
    finally:
        for end in ends.values():
            end()


def checked_jobs(jobs: Iterable[Job]) -> list[Job]:
    """Return jobs as a list.

    Raises:
        TypeError: it is no iterable, or something in it is no job.
    """
    if not isinstance(jobs, Iterable):
        raise TypeError(f"jobs must be a list or another iterable of jobs, not {jobs!r}")
    found = list(jobs)
    for index, job in enumerate(found):
        if not isinstance(job, Job):
            raise TypeError(f"jobs[{index}] must be a procjob Job, not {job!r}")
    return found
