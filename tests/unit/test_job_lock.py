"""The lock that all jobs share makes no job wait for another, whatever strikes while a thread holds it."""

from __future__ import annotations

import sys
import threading

import pytest

import procjob.job
from procjob import Backend
from procjob.errors import JobError


def calls_under_the_lock(use):
    """Return what was called while a thread held the lock: where signal handlers and finalizers can strike."""
    called = []

    def note(frame, event, arg):
        if event in ("call", "c_call") and procjob.job._shared.lock._is_owned():
            name = frame.f_code.co_name if event == "call" else arg.__name__
            if name != "__exit__":  # with which it lets go
                called.append((frame.f_code.co_name, name))

    def run():
        sys.setprofile(note)
        try:
            use()
        finally:
            sys.setprofile(None)

    threading.setprofile(note)  # the threads of the engine, too
    try:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join(30)
    finally:
        threading.setprofile(None)
    assert not thread.is_alive()
    return called


def test_nothing_is_called_while_it_is_held():
    """A signal handler that runs another job and waits for it would never return, and neither would anybody else."""
    seen = []

    def use():
        with Backend(abs, workers=1) as backend:
            job = backend.run(-1)
            job.on_status(seen.append)
            job.on_progress(seen.append)
            job.wait_for_final_state(30, None, lambda *_: None)
            with pytest.raises(JobError, match="submitted before"):
                job.submit()
            seen.append(job.result())

    assert calls_under_the_lock(use) == []
    assert seen.count(1) == 1


def test_the_test_above_would_see_a_call():
    def use():
        with procjob.job._shared.lock:
            abs(-1)

    assert calls_under_the_lock(use) == [("use", "abs")]
