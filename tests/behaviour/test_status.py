"""Whatever becomes of a job, it goes only the ways that the one table of transitions allows."""

from __future__ import annotations

import itertools
import os
import threading
import time

import pytest

import procjob
from procjob.status import TRANSITIONS, JobStatus

DEADLINE = 30.0


def act(what):
    if what == "die":
        os._exit(1)
    if what == "fail":
        raise ValueError(what)
    if what == "endless":
        time.sleep(600)
    return what


def reachable(status: JobStatus) -> set[JobStatus]:
    """The states a job may be in at some time after it was in this one."""
    found = set(TRANSITIONS[status])
    while more := set().union(*(TRANSITIONS[s] for s in found)) - found:
        found |= more
    return found - {JobStatus.INITIALIZING}  # only a refused submit goes back to it


def test_final_states_are_final_and_the_others_lead_to_them():
    assert {status for status in JobStatus if not TRANSITIONS[status]} == set(procjob.JOB_FINAL_STATES)
    assert all(set(procjob.JOB_FINAL_STATES) <= reachable(s) for s in JobStatus if TRANSITIONS[s])


@pytest.mark.parametrize("options", [{}, {"retries": 2}], ids=["once", "with retries"])
@pytest.mark.parametrize("what", ["done", "fail", "die", "endless", "over its limit", "cancelled in the queue"])
def test_what_is_seen_and_what_is_recorded_are_legal_ways(what, options):
    with procjob.Backend(act, workers=1) as backend:
        if what == "cancelled in the queue":
            backend.run("endless", time_limit=0.3)
        limit = {"time_limit": 0.2} if what == "over its limit" else {}
        job = backend.run("endless" if limit else what, **limit, **options)
        seen = [job.status()]
        watching = threading.Event()

        def watch():
            watching.set()
            while seen[-1] not in procjob.JOB_FINAL_STATES:
                status = job.status()
                if status is not seen[-1]:
                    seen.append(status)
                time.sleep(0.0005)  # a sample, not a wait: the others need the interpreter too

        watcher = threading.Thread(target=watch)
        watcher.start()
        watching.wait(DEADLINE)
        if what == "cancelled in the queue" or (what == "endless" and job.cancel()):
            job.cancel()
        job.wait_for_final_state(DEADLINE)
        watcher.join(DEADLINE)
    assert all(after in reachable(before) for before, after in itertools.pairwise(seen)), seen
    recorded = sorted(job.metrics().timestamps.items(), key=lambda item: item[1])
    assert all(b in TRANSITIONS[a] for a, b in itertools.pairwise(status for status, _ in recorded)), recorded
    assert recorded[-1][0] is seen[-1]
