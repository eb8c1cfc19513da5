"""Waiting for futures holds no lock that whoever settles them could wait for, and leaves nothing in them."""

from __future__ import annotations

import threading
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, Future
from concurrent.futures import wait as wait_as_python_does

import pytest

from procjob.pool.futures import SteadyFuture
from procjob.pool.watching import wait_for, watch

DEADLINE = 10.0


class Gate(threading.Condition):
    """A lock that tells that somebody wants it, and lets nobody have it before it is opened."""

    def __init__(self):
        super().__init__()
        vars(self).pop("acquire")  # which the base class has copied from its lock
        self.wanted, self.open = threading.Event(), threading.Event()

    def acquire(self, *args):
        self.wanted.set()
        assert self.open.wait(DEADLINE)
        return self._lock.acquire(*args)

    def __enter__(self):
        return self.acquire()


def locks_held_while_one_is_waited_for(wait):
    futures = [Future() for _ in range(8)]
    gate = max(futures, key=id)._condition = Gate()
    thread = threading.Thread(target=wait, args=(futures, 0.01))
    thread.start()
    assert gate.wanted.wait(DEADLINE)
    held = 0
    for future in futures:
        if future._condition is not gate:
            free = future._condition.acquire(blocking=False)
            held += not free
            if free:
                future._condition.release()
    gate.open.set()
    thread.join(DEADLINE)
    return held


def test_no_lock_is_held_while_another_is_waited_for_unlike_in_the_standard_library():
    assert locks_held_while_one_is_waited_for(wait_for) == 0
    assert locks_held_while_one_is_waited_for(wait_as_python_does) == 7


@pytest.mark.parametrize("return_when", [ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION])
def test_a_wait_whose_time_runs_out_leaves_nothing_in_the_futures(return_when):
    futures = [Future() for _ in range(3)]
    for _ in range(5):
        wait_for(futures, 0.001, return_when)
    assert all(future._waiters == future._done_callbacks == [] for future in futures)


def waiting_for(future):
    thread = threading.Thread(target=wait_for, args=([future],))
    thread.start()
    thread.join(0.05)
    assert thread.is_alive()
    return thread


def test_a_wait_leaves_nothing_in_a_future_of_ours_that_ends_meanwhile():
    future = SteadyFuture()
    thread = waiting_for(future)
    future.set_result(None)
    thread.join(DEADLINE)
    assert future._waiters == []


def test_it_returns_with_a_cancel_of_which_the_executor_has_not_heard_yet():
    future = Future()
    thread = waiting_for(future)
    future.cancel()
    thread.join(DEADLINE)
    left, _ = thread.is_alive(), future.set_running_or_notify_cancel()
    assert not left


def test_it_returns_while_a_callback_of_the_future_waits_for_who_has_waited():
    future, returned = Future(), threading.Event()
    future.add_done_callback(lambda _: returned.wait(DEADLINE))
    waiter = waiting_for(future)
    settler = threading.Thread(target=future.set_result, args=(1,))
    settler.start()
    waiter.join(DEADLINE / 2)
    left, _ = waiter.is_alive(), returned.set()
    settler.join(DEADLINE)
    assert not left


@pytest.mark.parametrize(
    "end",
    [lambda future: future.set_result(1), lambda future: future.cancel() and future.set_running_or_notify_cancel()],
    ids=["result", "cancel"],
)
def test_the_end_of_a_future_of_the_standard_library_is_told_once(end):
    future, told = Future(), []
    watch(future, told.append)
    watch(future, told.append)()
    end(future)
    assert told == [future]


@pytest.mark.parametrize(("return_when", "enough"), [(ALL_COMPLETED, 3), (FIRST_COMPLETED, 1), (FIRST_EXCEPTION, 2)])
def test_it_returns_with_the_future_that_was_wanted(return_when, enough):
    futures = [Future() for _ in range(3)]
    ends = [
        lambda: futures[0].set_result(1),
        lambda: futures[1].set_exception(ZeroDivisionError()),
        lambda: futures[2].cancel() and futures[2].set_running_or_notify_cancel(),
    ]
    thread = threading.Thread(target=wait_for, args=(futures, None, return_when))
    thread.start()
    for end in ends[: enough - 1]:
        end()
    thread.join(0.05)
    assert thread.is_alive()
    ends[enough - 1]()
    thread.join(DEADLINE)
    assert not thread.is_alive()
