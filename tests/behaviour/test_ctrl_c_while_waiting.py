"""A Ctrl-C in a wait for a job locks out none of the threads that make it final."""

import sys
import threading
import time

import procjob
import procjob.job

DEADLINE = 20.0


def interrupted_in_the_lock_of(wait):
    """Have ``wait()`` struck by a Ctrl-C in the first lock of a future that is taken in Python; False: there was none."""

    def strike(frame, event, _):
        caller = frame.f_back
        if event != "return" or frame.f_code.co_name != "__enter__" or caller is None:
            return
        if frame.f_code.co_filename == threading.__file__ and isinstance(
            caller.f_locals.get("future", caller.f_locals.get("self")), procjob.job.Future
        ):
            sys.setprofile(None)
            raise KeyboardInterrupt

    sys.setprofile(strike)
    try:
        wait()
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    return False


def test_in_a_wait_for_each_change_of_status():
    with procjob.Backend(time.sleep, workers=1) as backend:
        first, job = backend.run(0.3), backend.run(0)
        interrupted_in_the_lock_of(lambda: job.wait_for_final_state(DEADLINE, None, lambda *_: None))
        assert first.result(DEADLINE) is job.result(DEADLINE) is None


def test_in_a_wait_for_the_store(tmp_path):
    with procjob.Store(tmp_path / "jobs.sqlite") as store, procjob.Backend(abs, workers=1, store=store) as backend:
        job = backend.run(-1)
        interrupted_in_the_lock_of(lambda: job.result(DEADLINE))
        assert not interrupted_in_the_lock_of(lambda: job._observer.settled.result(DEADLINE))
        assert job.result(DEADLINE) == backend.run(-1).result(DEADLINE) == 1


def test_the_tests_above_would_strike():
    assert interrupted_in_the_lock_of(procjob.job.Future().done)
