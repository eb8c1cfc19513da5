"""Kills, stops, cancels, time limits, retries, crashes and exceptions at random moments, all at once, under load.

Every job has to end in a state that its own history allows, and nothing may be left (which every test is checked for).
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import random
import signal
import sys
import threading
import time

import cloudpickle
import pytest

import procjob
from procjob import JobStatus, TimeLimitExceeded, WorkerDiedError
from procjob.status import JOB_FINAL_STATES, TRANSITIONS

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers need not import tests

DEADLINE = 60.0
JOBS = 120
KINDS = ["quick", "nap", "nap", "compute", "c", "raise", "crash", "swallow"]


def act(kind):
    if kind == "nap":
        time.sleep(0.03)
    if kind == "compute":
        sum(n * n for n in range(200_000))
    if kind == "c":
        hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 100_000)
    if kind == "raise":
        raise ValueError(kind)
    if kind == "crash" and random.random() < 0.5:
        os._exit(17)
    if kind == "swallow":
        for _ in range(5):
            with contextlib.suppress(BaseException):
                time.sleep(0.02)
    return kind, os.getpid()


class Harm:
    """Does harm to jobs that run, until told to end; keeps what it did."""

    def __init__(self, jobs, seed):
        self.jobs = jobs
        self.random = random.Random(seed)
        # In turn, at random moments: each has had its turn before a fast machine is through with the jobs.
        self.turns = itertools.cycle(["kill", "cancel", "stop", "cancel a queued one", "cancel"])
        self.cancelled = set()
        self.killed = set()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.do)

    def do(self):
        while not self.ended.wait(self.random.uniform(0.0, 0.05)):
            running = [(job, job.metrics().worker_pid) for job in self.jobs if job.running()]
            job, pid = self.random.choice(running or [(None, None)])
            if pid is None:  # or so short ago that its start is still being noted
                continue
            what = next(self.turns)
            with contextlib.suppress(ProcessLookupError):
                if what == "kill":
                    self.killed.add(pid)
                    os.kill(pid, signal.SIGKILL)
                elif what == "stop":
                    os.kill(pid, signal.SIGSTOP)
                    self.ended.wait(0.03)
                    os.kill(pid, signal.SIGCONT)
                elif what == "cancel":
                    self.cancel(job)
                else:
                    self.cancel(self.random.choice(self.jobs))

    def cancel(self, job):
        if job.cancel():
            self.cancelled.add(job.job_id())


@pytest.mark.parametrize("seed", [1, 2])
def test_every_job_ends_as_its_history_allows(seed):
    dice = random.Random(seed)
    told = {}
    with procjob.Backend(act, workers=3, grace=0.05) as backend:
        jobs, kinds = [], {}
        harm = Harm(jobs, seed)
        for n in range(JOBS):
            kind = dice.choice(KINDS)
            options = {"retries": dice.choice([0, 0, 1, 2]), "time_limit": dice.choice([None, None, None, 0.02, 0.2])}
            job = backend.run(kind, job_id=str(n), metadata=options, **options)
            told[n] = []
            job.on_status(told[n].append)
            kinds[job] = kind
            jobs.append(job)
        harm.thread.start()
        try:
            assert not procjob.wait(jobs, DEADLINE).not_done
        finally:
            harm.ended.set()
            harm.thread.join(DEADLINE)
        assert backend.run("quick").result(DEADLINE)[0] == "quick", "the backend goes on as before"
    assert harm.killed
    assert harm.cancelled
    for n, job in enumerate(jobs):
        check(job, kinds[job], told[n], harm)
    assert {job.status() for job in jobs} == set(JOB_FINAL_STATES)


def check(job, kind, told, harm):
    status, metrics, retries = job.status(), job.metrics(), job.metadata["retries"]
    assert (status is JobStatus.CANCELLED) == (job.job_id() in harm.cancelled)
    error = job.future.exception() if status is JobStatus.ERROR else None
    match error:
        case None if status is JobStatus.DONE:
            assert job.result() == (kind, metrics.worker_pid)
            assert kind != "raise"
        case ValueError():
            assert kind == "raise"
        case TimeLimitExceeded():
            assert job.metadata["time_limit"] is not None
        case WorkerDiedError():
            assert metrics.attempts == retries + 1, "it was run again as often as it may be"
            assert kind == "crash" or metrics.worker_pid in harm.killed
        case _:
            assert status is JobStatus.CANCELLED, error
    assert metrics.attempts <= retries + 1
    times = metrics.timestamps
    assert (JobStatus.RUNNING in times) == (metrics.attempts > 0) == (metrics.worker_pid is not None)
    assert [s for s in times if s in JOB_FINAL_STATES] == [status]
    assert list(times.values()) == sorted(times.values())
    assert metrics.queue_seconds is not None
    assert told[-1] is status
    assert all(after in TRANSITIONS[before] for before, after in itertools.pairwise(told)), told
