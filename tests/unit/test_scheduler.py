"""The scheduler as a pure state machine: examples to read."""

from __future__ import annotations

import pytest

from procjob.pool.scheduler import (
    EXIT_GRACE,
    FREE_RETRIES,
    MEASURE_EVERY,
    SPARE_AFTER,
    START_ATTEMPTS,
    Action,
    Assign,
    Completed,
    Died,
    Interrupt,
    Kill,
    Limits,
    Measure,
    Refused,
    Retire,
    Scheduler,
    Settle,
    StartWorker,
    Stopped,
    StopReason,
    TaskSpec,
)

CANCELLED = Stopped(StopReason.CANCEL)


def starts(actions: list[Action]) -> list[int]:
    return [action.worker for action in actions if isinstance(action, StartWorker)]


def with_idle_worker(max_workers: int = 1) -> Scheduler:
    """A pool of which worker 1 is idle: a task has come, has been cancelled, and its worker has started."""
    scheduler = Scheduler(max_workers)
    assert scheduler.submit(TaskSpec(0)) == [StartWorker(1)]
    assert scheduler.stop(0, StopReason.CANCEL, 0.0) == [Settle(0, 0, CANCELLED)]
    assert scheduler.worker_ready(1, 0.0) == []
    return scheduler


def with_running_task(limits: Limits = Limits(), *, now: float = 10.0) -> Scheduler:  # noqa: B008  (frozen)
    """A pool of one worker, which has begun task 1."""
    scheduler = with_idle_worker()
    scheduler.submit(TaskSpec(1, limits))
    assert scheduler.started(1, 1, 0, now)
    return scheduler


# ---------------------------------------------------------------- examples


def test_a_task_waits_for_a_worker_runs_and_completes():
    scheduler = Scheduler(2)
    assert scheduler.submit(TaskSpec(1)) == [StartWorker(1)]
    assert scheduler.queued() == [1]
    assert scheduler.worker_ready(1, 0.0) == [Assign(1, 1, 0)]
    assert scheduler.queued() == []
    assert scheduler.started(1, 1, 0, 0.1)
    assert scheduler.finished_task(1, 1, 0, "result", 0.2) == [Settle(1, 1, Completed("result"))]


def test_workers_are_started_for_tasks_and_not_before():
    scheduler = Scheduler(3)
    assert [starts(scheduler.submit(TaskSpec(task))) for task in range(5)] == [[1], [2], [3], [], []]


def test_an_idle_worker_is_used_before_one_is_started():
    assert with_idle_worker(max_workers=4).submit(TaskSpec(1)) == [Assign(1, 1, 0)]


def test_tasks_are_assigned_in_the_order_of_submission():
    scheduler = Scheduler(1)
    for task in (7, 3, 5):
        scheduler.submit(TaskSpec(task))
    assigned = scheduler.worker_ready(1, 0.0)
    for task in (7, 3, 5):
        assert assigned == [Assign(1, task, 0)]
        scheduler.started(1, task, 0, 0.0)
        *assigned, settled = scheduler.finished_task(1, task, 0, None, 0.0)
        assert settled == Settle(task, 1, Completed(None))


def test_nothing_is_prefetched_so_a_queued_task_can_always_be_withdrawn():
    scheduler = with_running_task()
    scheduler.submit(TaskSpec(2))
    assert scheduler.stop(2, StopReason.CANCEL, 11.0) == [Settle(2, 0, CANCELLED)]


def test_a_stopped_task_is_interrupted_and_its_worker_used_again():
    scheduler = with_running_task()
    scheduler.submit(TaskSpec(2))
    assert scheduler.stop(1, StopReason.CANCEL, 11.0) == [Interrupt(1, 1, 0)]
    assert scheduler.finished_task(1, 1, 0, "interrupted", 11.001) == [Assign(1, 2, 0), Settle(1, 1, CANCELLED)]
    assert scheduler.next_deadline() is None


def test_a_task_that_completes_after_its_stop_was_accepted_is_not_completed():
    scheduler = with_running_task()
    scheduler.stop(1, StopReason.CANCEL, 11.0)
    assert scheduler.finished_task(1, 1, 0, "a result all the same", 11.0) == [Settle(1, 1, CANCELLED)]


def test_a_task_that_does_not_answer_its_interrupt_loses_its_worker_after_the_grace():
    scheduler = with_running_task(Limits(grace=0.5))
    scheduler.stop(1, StopReason.CANCEL, 11.0)
    assert scheduler.next_deadline() == 11.0 + SPARE_AFTER
    assert scheduler.tick(11.0 + SPARE_AFTER) == [StartWorker(2)]  # a spare, so that it stands ready at the kill
    assert scheduler.next_deadline() == 11.5
    assert scheduler.tick(11.4) == []
    assert scheduler.tick(11.5) == [Kill(1), StartWorker(3)]  # the spare takes its place, and is replaced as a spare
    assert scheduler.worker_gone(1, "SIGKILL", 11.51) == [Settle(1, 1, CANCELLED)]


def test_the_first_stop_is_the_one_that_counts():
    scheduler = with_running_task(Limits(time_limit=1.0))
    assert scheduler.tick(11.0) == [Interrupt(1, 1, 0)]
    assert scheduler.stop(1, StopReason.CANCEL, 11.1) == []
    settled = Settle(1, 1, Stopped(StopReason.TIME_LIMIT))
    assert scheduler.finished_task(1, 1, 0, None, 11.2) == [settled]


def test_stopping_an_unknown_or_settled_task_does_nothing():
    scheduler = with_running_task()
    scheduler.finished_task(1, 1, 0, None, 11.0)
    assert scheduler.stop(1, StopReason.CANCEL, 11.0) == scheduler.stop(99, StopReason.CANCEL, 11.0) == []


def test_a_time_limit_counts_from_the_start_of_the_execution():
    scheduler = with_idle_worker()
    scheduler.submit(TaskSpec(1, Limits(time_limit=2.0)))
    assert scheduler.next_deadline() is None  # assigned, not begun
    scheduler.started(1, 1, 0, 10.0)
    assert scheduler.next_deadline() == 12.0
    assert scheduler.tick(11.9) == []
    assert scheduler.tick(12.0) == [Interrupt(1, 1, 0)]


def test_a_time_limit_counts_all_attempts_together():
    scheduler = with_running_task(Limits(time_limit=2.0, retries=1), now=10.0)
    scheduler.worker_gone(1, "SIGSEGV", 11.5)
    scheduler.worker_ready(2, 20.0)
    scheduler.started(2, 1, 1, 20.0)
    assert scheduler.next_deadline() == 20.5
    assert scheduler.tick(20.5) == [Interrupt(2, 1, 1)]


def test_a_task_that_has_used_up_its_time_limit_is_not_run_again_after_a_death():
    scheduler = with_running_task(Limits(time_limit=2.0, retries=1), now=10.0)
    settled, *_ = scheduler.worker_gone(1, "SIGSEGV", 12.0)
    assert settled == Settle(1, 1, Stopped(StopReason.TIME_LIMIT))


def test_memory_is_measured_before_the_task_begins_and_regularly_after():
    scheduler = with_idle_worker()
    assert scheduler.submit(TaskSpec(1, Limits(memory_limit=100))) == [Measure(1), Assign(1, 1, 0)]
    assert scheduler.measured(1, 1000, 10.0) == []  # the baseline
    scheduler.started(1, 1, 0, 10.0)
    assert scheduler.tick(10.0) == [Measure(1)]
    assert scheduler.next_deadline() == 10.0 + MEASURE_EVERY
    assert scheduler.measured(1, 1100, 10.0) == []
    assert scheduler.measured(1, 1101, 10.1) == [Interrupt(1, 1, 0)]
    settled = Settle(1, 1, Stopped(StopReason.MEMORY_LIMIT, 101))
    assert scheduler.finished_task(1, 1, 0, None, 10.2) == [settled]


def test_a_worker_is_not_measured_once_its_task_is_stopped_or_has_ended():
    scheduler = with_idle_worker()
    scheduler.submit(TaskSpec(1, Limits(memory_limit=100, grace=5.0)))
    scheduler.stop(1, StopReason.CANCEL, 10.0)
    assert scheduler.tick(10.0) == []
    scheduler.started(1, 1, 0, 10.0)
    scheduler.finished_task(1, 1, 0, None, 10.0)
    assert scheduler.measured(1, 10_000, 10.0) == []
    assert scheduler.next_deadline() is None


def test_a_death_fails_the_task_that_the_worker_ran_and_no_other():
    scheduler = with_running_task()
    scheduler.submit(TaskSpec(2))
    actions = scheduler.worker_gone(1, "SIGKILL", 11.0)
    assert [action for action in actions if isinstance(action, Settle)] == [Settle(1, 1, Died("SIGKILL"))]
    assert scheduler.queued() == [2]
    assert starts(actions)


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_a_task_is_run_again_after_a_death_as_often_as_asked(retries):
    scheduler = Scheduler(1)
    actions = scheduler.submit(TaskSpec(1, Limits(retries=retries)))
    for attempt in range(retries + 1):
        worker = starts(actions)[0]
        assert scheduler.worker_ready(worker, 0.0)[0] == Assign(worker, 1, attempt)
        assert scheduler.started(worker, 1, attempt, 0.0)
        actions = scheduler.worker_gone(worker, "SIGKILL", 0.0)
    assert actions[0] == Settle(1, retries + 1, Died("SIGKILL"))


def test_a_task_that_is_run_again_goes_before_those_that_wait():
    scheduler = with_running_task(Limits(retries=1))
    scheduler.submit(TaskSpec(2))
    scheduler.worker_gone(1, "SIGKILL", 11.0)
    assert scheduler.queued() == [1, 2]


def test_a_worker_lost_before_the_task_began_is_no_death_of_the_task_unless_it_happens_too_often():
    scheduler = Scheduler(1)
    actions = scheduler.submit(TaskSpec(1))
    for _ in range(FREE_RETRIES + 1):
        worker = starts(actions)[0]
        assert scheduler.worker_ready(worker, 0.0)[0] == Assign(worker, 1, 0)
        actions = scheduler.worker_gone(worker, "SIGKILL", 0.0)
    assert actions[0] == Settle(1, 0, Died("SIGKILL"))


def test_a_late_word_about_a_task_that_the_worker_no_longer_holds_is_ignored():
    scheduler = with_running_task()
    scheduler.submit(TaskSpec(2))
    scheduler.finished_task(1, 1, 0, None, 11.0)
    assert not scheduler.started(1, 1, 0, 11.0)
    assert scheduler.finished_task(1, 1, 0, None, 11.0) == []
    assert scheduler.finished_task(1, 2, 5, "of another attempt", 11.0) == []


def test_a_task_cancelled_on_its_way_to_a_worker_is_declined_and_the_next_one_is_assigned():
    scheduler = with_running_task()
    scheduler.submit(TaskSpec(2))
    scheduler.submit(TaskSpec(3))
    scheduler.finished_task(1, 1, 0, None, 11.0)
    assert scheduler.declined(1, 2, 11.0) == [Settle(2, 0, CANCELLED), Assign(1, 3, 0)]
    assert scheduler.stop(2, StopReason.CANCEL, 11.1) == []


def test_workers_that_cannot_start_are_not_started_for_ever():
    scheduler = Scheduler(1)
    scheduler.submit(TaskSpec(1))
    for worker in range(1, START_ATTEMPTS):
        assert scheduler.worker_gone(worker, "no memory", 0.0) == [StartWorker(worker + 1)]
    assert scheduler.worker_gone(START_ATTEMPTS, "no memory", 0.0) == [Settle(1, 0, Refused("no memory"))]
    assert scheduler.submit(TaskSpec(2)) == [Settle(2, 0, Refused("no memory"))]


def test_a_task_that_is_refused_after_it_has_begun_tells_so():
    scheduler = with_running_task(Limits(retries=1))
    first, second = starts(scheduler.worker_gone(1, "SIGKILL", 11.0))
    assert scheduler.worker_gone(first, "no memory", 11.0, hopeless=True) == []
    assert scheduler.worker_gone(second, "no memory", 11.0) == [Settle(1, 1, Refused("no memory"))]


def test_a_start_that_is_hopeless_is_not_tried_again():
    scheduler = Scheduler(1)
    scheduler.submit(TaskSpec(1))
    assert scheduler.worker_gone(1, "initializer", 0.0, hopeless=True) == [Settle(1, 0, Refused("initializer"))]


def test_failed_starts_do_not_refuse_what_a_living_worker_can_do():
    scheduler = Scheduler(2)
    for task in (1, 2):
        scheduler.submit(TaskSpec(task))
    scheduler.worker_ready(1, 0.0)
    assert scheduler.worker_gone(2, "initializer", 0.0, hopeless=True) == []
    scheduler.started(1, 1, 0, 0.0)
    assert scheduler.finished_task(1, 1, 0, None, 1.0) == [Assign(1, 2, 0), Settle(1, 1, Completed(None))]


def test_failed_starts_do_not_refuse_what_a_worker_that_is_still_starting_may_do():
    scheduler = Scheduler(8)
    for task in range(8):
        scheduler.submit(TaskSpec(task))
    for worker in range(1, 8):
        actions = scheduler.worker_gone(worker, "no memory", 0.0)
        assert not [action for action in actions if isinstance(action, Settle)]
    assert Assign(8, 0, 0) in scheduler.worker_ready(8, 0.0)
    assert scheduler.broken is None


def test_a_spare_worker_that_dies_idle_is_not_replaced_for_ever():
    scheduler = with_running_task()
    spare = starts(scheduler.worker_gone(1, "SIGKILL", 11.0))
    assert spare == [2]
    scheduler.worker_ready(2, 11.1)
    assert scheduler.worker_gone(2, "SIGKILL", 11.2) == []


def test_a_closed_pool_finishes_what_it_has_accepted():
    scheduler = with_running_task()
    scheduler.submit(TaskSpec(2))
    assert scheduler.close(11.0) == []
    assert scheduler.submit(TaskSpec(3)) == [Settle(3, 0, CANCELLED)]
    assert scheduler.finished_task(1, 1, 0, None, 12.0) == [Assign(1, 2, 0), Settle(1, 1, Completed(None))]
    scheduler.started(1, 2, 0, 12.0)
    assert scheduler.finished_task(1, 2, 0, None, 13.0) == [Retire(1), Settle(2, 1, Completed(None))]
    assert not scheduler.finished
    assert scheduler.worker_gone(1, "left", 13.1) == []
    assert scheduler.finished


def test_a_worker_that_does_not_leave_is_killed():
    scheduler = with_idle_worker()
    assert scheduler.close(5.0) == [Retire(1)]
    assert scheduler.next_deadline() == 5.0 + EXIT_GRACE
    assert scheduler.tick(5.0 + EXIT_GRACE) == [Kill(1)]
    assert scheduler.next_deadline() is None
    scheduler.worker_gone(1, "SIGKILL", 8.0)
    assert scheduler.finished


def test_closing_with_cancel_finishes_what_runs_and_cancels_what_is_queued():
    scheduler = with_running_task()
    scheduler.submit(TaskSpec(2))
    assert scheduler.close(11.0, cancel_queued=True) == [Settle(2, 0, CANCELLED)]
    assert scheduler.finished_task(1, 1, 0, None, 12.0) == [Retire(1), Settle(1, 1, Completed(None))]


def test_closing_with_cancel_keeps_the_tasks_for_which_a_worker_is_being_started():
    scheduler = Scheduler(2)
    for task in (1, 2, 3):
        scheduler.submit(TaskSpec(task))
    assert scheduler.close(0.0, cancel_queued=True) == [Settle(3, 0, CANCELLED)]
    assert scheduler.worker_ready(1, 0.0) == [Assign(1, 1, 0)]


def test_closing_with_cancel_keeps_no_task_for_a_spare_that_is_being_started():
    scheduler = with_running_task()
    scheduler.worker_gone(1, "SIGKILL", 11.0)  # from now on there is a spare
    scheduler.worker_ready(2, 11.0)
    scheduler.submit(TaskSpec(2))
    scheduler.submit(TaskSpec(3))  # worker 2 runs task 2, worker 3 is being started as a spare
    assert scheduler.close(11.0, cancel_queued=True) == [Settle(3, 0, CANCELLED)]


def test_closing_hard_stops_what_runs_and_what_starts():
    scheduler = Scheduler(2)
    for task in (1, 2, 3):
        scheduler.submit(TaskSpec(task))
    scheduler.worker_ready(1, 0.0)
    scheduler.started(1, 1, 0, 0.0)
    actions = scheduler.close(1.0, cancel_queued=True, stop_running=True)
    assert actions == [Settle(2, 0, CANCELLED), Settle(3, 0, CANCELLED), Interrupt(1, 1, 0)]
    assert scheduler.finished_task(1, 1, 0, None, 1.0) == [Retire(1), Kill(2), Settle(1, 1, CANCELLED)]


def test_closing_starts_no_worker_in_place_of_one_that_is_killed():
    scheduler = with_running_task(Limits(grace=0.5))
    scheduler.close(11.0, cancel_queued=True, stop_running=True)
    assert scheduler.tick(11.5) == [Kill(1)]


def test_withdrawing_the_last_task_of_a_closed_pool_ends_the_worker_that_is_being_started_for_it():
    scheduler = Scheduler(1)
    scheduler.submit(TaskSpec(1))
    assert scheduler.close(0.0) == []
    assert scheduler.stop(1, StopReason.CANCEL, 0.0) == [Settle(1, 0, CANCELLED), Kill(1)]


def test_a_task_of_a_closed_pool_that_lost_its_worker_is_still_run_again():
    scheduler = with_running_task(Limits(retries=1))
    scheduler.close(11.0)
    assert scheduler.worker_gone(1, "SIGKILL", 11.0) == [StartWorker(2)]
    assert scheduler.worker_ready(2, 11.1) == [Assign(2, 1, 1)]
