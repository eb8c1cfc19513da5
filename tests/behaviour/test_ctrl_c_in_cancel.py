"""A Ctrl-C in the cancel of a queued task, wherever it strikes, leaves nobody waiting who was told that it is accepted."""

import concurrent.futures
import itertools
import sys
import threading
import time
from pathlib import Path

from procjob import ProcessPoolExecutor

DEADLINE = 20.0


def until_there(path):
    while not Path(path).exists():
        time.sleep(0.005)


def struck(call, number):
    """Have ``call()`` struck by a Ctrl-C when the ``number``-th function begins; False: fewer do."""
    begun = itertools.count()

    def strike(_frame, event, _):
        if event == "call" and next(begun) == number:
            sys.setprofile(None)
            raise KeyboardInterrupt

    sys.setprofile(strike)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    return False


def waiters_of(future, count):
    """Threads that wait for it, and have begun to."""
    threads = [threading.Thread(target=concurrent.futures.wait, args=([future],), daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + DEADLINE
    while len(future._waiters) < count:  # no event tells
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return threads


def test_whoever_waits_is_told(tmp_path):
    release = tmp_path / "release"
    with ProcessPoolExecutor(1) as executor:
        running = executor.submit(until_there, str(release))
        for number in itertools.count(1):  # 0 is `cancel` itself
            future = executor.submit(abs, -1)
            called = threading.Event()
            future.add_done_callback(lambda _, called=called: called.set())
            waiters = waiters_of(future, 2)
            was_struck = struck(future.cancel, number)
            assert future.cancelled()
            release.touch()  # where the stop was not requested, the task's turn comes
            for waiter in waiters:
                waiter.join(DEADLINE)
                assert not waiter.is_alive(), f"struck in function {number}"
            assert called.wait(DEADLINE)
            if not was_struck:
                break
            assert running.result(DEADLINE) is None
            release.unlink()
            running = executor.submit(until_there, str(release))
        release.touch()
    assert number > 1
