"""TaskFuture: a `concurrent.futures.Future` whose cancel reaches a running task, and whose waiters always wake."""

from __future__ import annotations

import asyncio
import concurrent.futures as cf
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from procjob import ProcessPoolExecutor
from procjob.pool.futures import TaskFuture

DEADLINE = 10.0
TASK = 7


class Owner:
    """What executes the task: notes what it is asked for, and runs callbacks when told to."""

    def __init__(self) -> None:
        self.begun: set[int] = set()
        self.stops: list[int] = []
        self.posted: list[tuple[Callable[..., object], tuple[Any, ...]]] = []

    def has_begun(self, task: int) -> bool:
        return task in self.begun

    def request_stop(self, task: int) -> bool:
        self.stops.append(task)
        return False  # nobody settles but the test

    def post(self, fn: Callable[..., object], *args: Any) -> None:
        self.posted.append((fn, args))

    def run_posted(self) -> None:
        posted, self.posted = self.posted, []
        for fn, args in posted:
            fn(*args)


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def future(owner: Owner) -> TaskFuture[Any]:
    return TaskFuture(owner, TASK)


# What the pool and the user do to a future, and how it ends.
def end_with_a_result(future: TaskFuture[Any]) -> None:
    future.claim()
    future.mark_running()
    future.settle("result")


def end_with_an_exception(future: TaskFuture[Any]) -> None:
    future.claim()
    future.mark_running()
    future.settle(exception=ZeroDivisionError("of the task"))


def end_by_a_cancel_while_queued(future: TaskFuture[Any]) -> None:
    assert future.cancel()


def end_by_a_cancel_before_it_runs(future: TaskFuture[Any]) -> None:
    future.claim()
    assert future.cancel()
    future.settle(cancelled=True)


def end_by_a_cancel_while_it_runs(future: TaskFuture[Any]) -> None:
    future.claim()
    future.mark_running()
    assert future.cancel()
    future.settle(cancelled=True)


def end_by_the_pool_while_queued(future: TaskFuture[Any]) -> None:
    future.settle(cancelled=True)


def end_by_the_pool_while_it_runs(future: TaskFuture[Any]) -> None:
    future.claim()
    future.mark_running()
    future.settle(cancelled=True)


CANCELS = [
    end_by_a_cancel_while_queued,
    end_by_a_cancel_before_it_runs,
    end_by_a_cancel_while_it_runs,
    end_by_the_pool_while_queued,
    end_by_the_pool_while_it_runs,
]
ENDS = [end_with_a_result, end_with_an_exception, *CANCELS]


def test_it_has_all_that_this_python_gives_to_a_future_and_its_condition(future):
    plain = cf.Future()
    assert all(hasattr(future, name) for name in vars(plain))
    of_a_condition = [name for name in vars(plain._condition) if not name.startswith("__")]
    assert all(hasattr(future._condition, name) for name in of_a_condition)
    with future._condition:
        assert not future._condition.wait(0.001)
        future._condition.notify_all()


def test_all_threads_get_the_same_condition_of_a_future():
    for _ in range(200):
        future, found = TaskFuture(None, 1), []
        go = threading.Barrier(4)

        def look(future=future, found=found, go=go):
            go.wait(10)
            found.append(future._condition)

        threads = [threading.Thread(target=look) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert len(found) == 4
        assert len(set(map(id, found))) == 1
        assert future._waiters is found[0].of_future


@pytest.mark.parametrize("before", [False, True], ids=["struck_after_the_post", "struck_before_the_post"])
def test_a_ctrl_c_while_a_cancel_tells_its_callbacks_loses_none_and_calls_none_twice(before):
    class Struck(Owner):
        strikes = 1

        def post(self, fn, *args):
            if before and self.strikes:
                self.strikes -= 1
                raise KeyboardInterrupt
            super().post(fn, *args)
            if self.strikes:
                self.strikes -= 1
                raise KeyboardInterrupt

    owner, called = Struck(), []
    future = TaskFuture(owner, TASK)
    for name in "abc":
        future.add_done_callback(lambda done, name=name: called.append((name, done)))
    with pytest.raises(KeyboardInterrupt):
        future.cancel()
    assert owner.stops == [TASK]  # of which comes:
    future.settle(cancelled=True)
    owner.run_posted()
    assert called == [("a", future), ("b", future), ("c", future)]


@pytest.mark.parametrize("end", ENDS)
def test_whoever_runs_the_callbacks_needs_nothing_of_the_thread_that_ends_the_future(end):
    class Elsewhere(Owner):
        def post(self, fn, *args):
            thread = threading.Thread(target=fn, args=args, daemon=True)
            thread.start()
            thread.join(2)
            assert not thread.is_alive()

    called = []
    future = TaskFuture(Elsewhere(), TASK)
    future.add_done_callback(lambda done: called.append(done.done()))
    end(future)
    assert called == [True]


def test_a_callback_that_is_added_after_a_ctrl_c_in_a_cancel_comes_after_those_before():
    class Struck(Owner):
        strikes = 1

        def post(self, fn, *args):
            if self.strikes:
                self.strikes -= 1
                raise KeyboardInterrupt
            super().post(fn, *args)

    owner, called = Struck(), []
    future = TaskFuture(owner, TASK)
    future.add_done_callback(lambda _: called.append("early"))
    with pytest.raises(KeyboardInterrupt):
        future.cancel()
    future.add_done_callback(lambda _: called.append("late"))
    future.settle(cancelled=True)
    owner.run_posted()
    assert called == ["early", "late"]


def test_one_that_is_passed_to_a_task_is_named_and_nothing_else_of_the_pool():
    with ProcessPoolExecutor(1) as pool:
        mine = pool.submit(abs, -1)
        refused = pool.submit(print, [mine]).exception(DEADLINE)
    assert "args[0][0]: a future belongs to this process" in str(refused)


def test_it_is_running_only_from_the_moment_a_worker_says_so(future):
    assert not future.running()
    assert future.waiting()
    assert future.claim()
    assert not future.running()
    assert future.waiting(), "held by a worker that executes another one"
    future.mark_running()
    assert future.running()
    assert not future.waiting()


def test_one_that_nobody_told_asks_its_owner_and_never_goes_back(owner):
    future = TaskFuture(owner, 7)
    owner.begun.add(7)
    assert not future.running(), "no worker has it yet"
    future.claim()
    assert future.running()
    owner.begun.clear()
    assert future.running()


def test_a_result_is_returned_and_an_exception_raised(owner):
    good, bad = TaskFuture(owner, 1), TaskFuture(owner, 2)
    end_with_a_result(good)
    end_with_an_exception(bad)
    assert good.result(0) == "result"
    assert good.exception(0) is None
    with pytest.raises(ZeroDivisionError, match="of the task"):
        bad.result(0)


def test_a_result_of_none_is_a_result(future):
    future.claim()
    future.settle(None)
    assert future.done()
    assert future.result(0) is None


@pytest.mark.parametrize("end", CANCELS)
def test_a_cancelled_future_raises_for_everyone_who_asks(future, end):
    end(future)
    assert (future.done(), future.cancelled(), future.running()) == (True, True, False)
    with pytest.raises(cf.CancelledError):
        future.result(0)
    with pytest.raises(cf.CancelledError):
        future.exception(0)


def test_a_cancel_before_the_claim_ends_it_at_once_and_keeps_it_from_any_worker(future, owner):
    assert future.cancel()
    assert future.cancelled()
    assert owner.stops == [TASK]
    assert not future.claim()
    assert not future.waiting()


@pytest.mark.parametrize("running", [False, True])
def test_a_cancel_after_the_claim_is_final_only_when_the_worker_has_let_go(future, owner, running):
    future.claim()
    if running:
        future.mark_running()
    assert future.cancel()
    assert owner.stops == [TASK]
    assert not future.done()
    assert future.running() is running
    with pytest.raises(TimeoutError):
        future.result(0)
    future.settle(cancelled=True)
    assert future.cancelled()


@pytest.mark.parametrize("outcome", [{"result": 1}, {"exception": ValueError()}, {"cancelled": True}])
def test_an_accepted_cancel_wins_over_whatever_the_task_ends_with(future, outcome):
    future.claim()
    future.mark_running()
    assert future.cancel()
    future.settle(**outcome)
    assert future.cancelled()


def test_a_cancel_after_the_end_changes_nothing(future, owner):
    end_with_a_result(future)
    assert not future.cancel()
    assert owner.stops == []
    assert future.result(0) == "result"


def test_a_second_cancel_is_accepted_and_asks_again_for_a_ctrl_c_may_have_lost_the_first(future, owner):
    future.claim()
    assert future.cancel()
    assert future.cancel()
    assert owner.stops == [TASK, TASK]


@pytest.mark.parametrize("end", CANCELS)
def test_a_cancel_of_a_cancelled_future_is_accepted_and_asks_for_nothing(future, owner, end):
    end(future)
    asked = list(owner.stops)
    assert future.cancel()
    assert owner.stops == asked


def test_what_is_settled_stays_settled(future):
    end_with_a_result(future)
    future.settle(exception=ValueError())
    future.settle(cancelled=True)
    assert future.result(0) == "result"


@pytest.mark.parametrize("end", ENDS)
def test_a_late_word_that_it_runs_does_not_bring_it_back(future, end):
    end(future)
    future.mark_running()
    assert future.done()
    assert not future.running()


def test_a_further_attempt_keeps_it_running_and_a_cancel_between_attempts_keeps_it_from_the_next_worker(future):
    future.claim()
    future.mark_running()
    assert future.claim()
    future.mark_running()
    assert future.running()
    assert future.cancel()
    assert not future.claim()
    future.settle(cancelled=True)
    assert future.cancelled()


# ---------------------------------------------------------------- callbacks


@pytest.mark.parametrize("end", ENDS)
def test_callbacks_are_posted_in_order_once_it_is_final_and_never_run_by_the_one_who_ends_it(future, owner, end):
    seen: list[tuple[str, Future[Any], bool]] = []
    future.add_done_callback(lambda f: seen.append(("first", f, f.done())))
    future.add_done_callback(lambda f: seen.append(("second", f, f.done())))
    end(future)
    assert seen == []
    owner.run_posted()
    assert seen == [("first", future, True), ("second", future, True)]
    future.cancel()
    owner.run_posted()
    assert len(seen) == 2


@pytest.mark.parametrize("end", ENDS)
def test_a_callback_added_after_the_end_is_posted_too(future, owner, end):
    end(future)
    seen: list[Future[Any]] = []
    future.add_done_callback(seen.append)
    assert seen == []
    owner.run_posted()
    assert seen == [future]


# ---------------------------------------------------------------- waiters


def in_thread(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[threading.Thread, list[Any]]:
    """Run a wait in a thread; what it returned or raised is put into the list."""
    returned: list[Any] = []

    def run() -> None:
        try:
            returned.append(fn(*args, **kwargs))
        except BaseException as exc:
            returned.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, returned


def until_watched(*futures: Future[Any]) -> None:
    """Return once `wait` or `as_completed` of another thread has put its waiter into each future."""
    asleep = threading.Event()
    while not all(future._waiters for future in futures):
        assert not asleep.wait(0.001)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("ask", [Future.result, Future.exception])
def test_whoever_waits_for_the_outcome_is_woken(future, end, ask):
    thread, returned = in_thread(ask, future, DEADLINE)
    end(future)
    thread.join(DEADLINE)
    assert returned
    assert not isinstance(returned[0], TimeoutError)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("return_when", [cf.ALL_COMPLETED, cf.FIRST_COMPLETED])
def test_whoever_is_in_wait_is_woken(owner, end, return_when):
    futures = [TaskFuture(owner, 1), TaskFuture(owner, 2)]
    thread, returned = in_thread(cf.wait, futures, DEADLINE, return_when)
    until_watched(*futures)
    end(futures[0])
    if return_when == cf.ALL_COMPLETED:
        end(futures[1])
    thread.join(DEADLINE)
    assert futures[0] in returned[0].done
    assert bool(returned[0].not_done) is (return_when == cf.FIRST_COMPLETED)


def test_whoever_waits_for_the_first_exception_is_woken_by_one(owner):
    futures = [TaskFuture(owner, 1), TaskFuture(owner, 2)]
    thread, returned = in_thread(cf.wait, futures, DEADLINE, cf.FIRST_EXCEPTION)
    until_watched(*futures)
    end_with_an_exception(futures[1])
    thread.join(DEADLINE)
    assert returned[0] == ({futures[1]}, {futures[0]})


@pytest.mark.parametrize("end", ENDS)
def test_whoever_is_in_as_completed_gets_each_future_once_and_in_the_order_in_which_they_end(owner, end):
    futures = [TaskFuture(owner, n) for n in range(3)]
    thread, returned = in_thread(lambda: list(cf.as_completed(futures, DEADLINE)))
    until_watched(*futures)
    for future in reversed(futures):
        end(future)
        future.cancel()
    thread.join(DEADLINE)
    assert returned == [futures[::-1]]


@pytest.mark.parametrize("end", CANCELS)
def test_a_cancel_of_a_cancelled_future_wakes_nobody_who_waits_for_another(owner, end):
    ended, going = TaskFuture(owner, 1), TaskFuture(owner, 2)
    going.claim()
    thread, returned = in_thread(cf.wait, [ended, going], DEADLINE)
    until_watched(ended, going)
    end(ended)
    ended.cancel()
    thread.join(0.05)
    assert thread.is_alive()
    going.settle("result")
    thread.join(DEADLINE)
    assert returned[0] == ({ended, going}, set())


def test_a_cancel_and_an_end_at_the_same_time_agree(owner):
    for task in range(300):
        future: TaskFuture[Any] = TaskFuture(owner, task)
        future.claim()
        together = threading.Barrier(2)
        thread, accepted = in_thread(lambda f=future, b=together: (b.wait(), f.cancel())[1])
        together.wait()
        future.settle("result")
        thread.join(DEADLINE)
        assert accepted == [future.cancelled()]


# ---------------------------------------------------------------- asyncio


def run_loop(owner: Owner, make: Callable[[], Any]) -> Any:
    """Run a coroutine while a thread runs what is posted, as the dispatcher does."""
    done = threading.Event()

    def dispatch() -> None:
        while not done.wait(0.002):
            owner.run_posted()

    thread = threading.Thread(target=dispatch)
    thread.start()
    try:
        return asyncio.run(asyncio.wait_for(make(), DEADLINE))
    finally:
        done.set()
        thread.join()


def test_asyncio_awaits_it(owner, future):
    async def main():
        wrapped = asyncio.wrap_future(future)
        asyncio.get_running_loop().call_later(0.01, end_with_a_result, future)
        return await wrapped

    assert run_loop(owner, main) == "result"


def test_asyncio_hears_of_a_cancel(owner, future):
    async def main():
        wrapped = asyncio.wrap_future(future)
        asyncio.get_running_loop().call_later(0.01, end_by_a_cancel_while_it_runs, future)
        with pytest.raises(asyncio.CancelledError):
            await wrapped

    run_loop(owner, main)


def test_a_cancel_in_asyncio_stops_a_running_task(owner, future):
    future.claim()
    future.mark_running()

    async def main():
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        owner.request_stop = lambda _: loop.call_soon_threadsafe(stopped.set)
        wrapped = asyncio.wrap_future(future)
        wrapped.cancel()
        await stopped.wait()
        future.settle("too late")

    run_loop(owner, main)
    assert future.cancelled()
