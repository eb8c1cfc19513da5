"""The scheduler as a pure state machine: examples to read, and a model that plays the executor on random schedules."""

from __future__ import annotations

import math
import sys
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from procjob.pool.actions import (
    Action,
    Assign,
    Completed,
    Died,
    Interrupt,
    Kill,
    Limits,
    Measure,
    Prefetch,
    Recall,
    Refused,
    Retire,
    Settle,
    StartWorker,
    Stopped,
    StopReason,
    TaskSpec,
    Verdict,
)
from procjob.pool.scheduler import (
    AHEAD_SECONDS,
    EXIT_GRACE,
    FREE_RETRIES,
    MEASURE_EVERY,
    MOST_AHEAD,
    RECALL_AFTER,
    SLOW,
    SPARE_AFTER,
    START_ATTEMPTS,
    Scheduler,
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


def test_tasks_are_assigned_in_the_order_of_their_ids():
    scheduler = Scheduler(1)
    for task in (3, 7, 5):  # two threads may submit at once
        scheduler.submit(TaskSpec(task))
    assigned = scheduler.worker_ready(1, 0.0)
    for task in (3, 5, 7):
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
    again, spare = Interrupt(1, 1, 0), StartWorker(2)  # the first may be lost; the spare stands ready at the kill
    assert scheduler.tick(11.0 + SPARE_AFTER) == [again, spare]
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


def test_a_worker_of_a_closed_pool_that_was_told_to_leave_gets_no_task_that_is_run_again():
    scheduler = Scheduler(2)
    for task in (1, 2):
        scheduler.submit(TaskSpec(task, Limits(retries=1)))
        scheduler.worker_ready(task, 0.0)
        scheduler.started(task, task, 0, 0.0)
    scheduler.finished_task(2, 2, 0, "result", 1.0)
    assert scheduler.close(1.0) == [Retire(2)]
    assert scheduler.worker_gone(1, "SIGKILL", 1.0) == [StartWorker(3)]
    assert scheduler.worker_ready(3, 1.1) == [Assign(3, 1, 1)]


def test_the_time_limit_of_a_group_runs_from_its_first_task_that_begins():
    scheduler = with_idle_worker()
    limits = Limits(time_limit=10.0)
    for task in (1, 2, 3):
        scheduler.submit(TaskSpec(task, limits, group=None if task == 3 else 7))
    assert scheduler.started(1, 1, 0, 100.0)
    assert scheduler.next_deadline() == 110.0
    scheduler.finished_task(1, 1, 0, "result", 106.0)
    assert scheduler.started(1, 2, 0, 106.0)
    assert scheduler.next_deadline() == 110.0
    assert scheduler.tick(110.0) == [Interrupt(1, 2, 0)]
    stopped = Settle(2, 1, Stopped(StopReason.TIME_LIMIT))
    assert scheduler.finished_task(1, 2, 0, "interrupted", 110.1)[-1] == stopped
    assert scheduler.started(1, 3, 0, 111.0)
    assert scheduler.next_deadline() == 121.0  # of no group


def test_a_group_is_forgotten_with_its_last_task():
    scheduler = with_idle_worker()
    scheduler.submit(TaskSpec(1, Limits(time_limit=10.0), group=7))
    assert scheduler.started(1, 1, 0, 100.0)
    scheduler.finished_task(1, 1, 0, "result", 101.0)
    assert not scheduler._groups


# ---------------------------------------------------------------- examples: tiny tasks, held ahead


def with_tasks_ahead(count: int = 3) -> Scheduler:
    """A pool of one worker, which executes task 1 and holds tasks 2, 3 ... ahead; as many again are queued."""
    scheduler = Scheduler(1, pace=0.0)
    for task in range(2 * count + 2):
        scheduler.submit(TaskSpec(task, prefetch=True))
    scheduler.pace = AHEAD_SECONDS / (count + 0.5)
    assert scheduler.worker_ready(1, 0.0) == [Assign(1, 0, 0)]
    ahead = Prefetch(1, tuple((task + 2, 0) for task in range(count)))
    settle = Settle(0, 1, Completed("result"))
    scheduler.started(1, 0, 0, 0.0)
    assert scheduler.finished_task(1, 0, 0, "result", 0.0, seconds=scheduler.pace) == [Assign(1, 1, 0), ahead, settle]
    return scheduler


def test_a_worker_that_is_quick_gets_tasks_ahead_and_goes_on_by_itself():
    scheduler = with_tasks_ahead(3)
    assert scheduler.queued() == [5, 6, 7]
    assert scheduler.finished_task(1, 1, 0, "result", 0.0, seconds=scheduler.pace) == [
        Settle(1, 1, Completed("result"))
    ]
    assert scheduler.started(1, 2, 0, 0.0)
    more = Prefetch(1, ((5, 0), (6, 0)))
    assert scheduler.finished_task(1, 2, 0, "result", 0.0, seconds=scheduler.pace) == [
        more,
        Settle(2, 1, Completed("result")),
    ]


def test_tasks_of_unknown_or_long_duration_and_those_with_limits_stay_in_the_queue():
    for pace, spec in (
        (SLOW, TaskSpec(2, prefetch=True)),
        (AHEAD_SECONDS * 2, TaskSpec(2, prefetch=True)),
        (0.0, TaskSpec(2)),
    ):
        scheduler = Scheduler(1, pace)
        for task in (TaskSpec(0), TaskSpec(1), spec):
            scheduler.submit(task)
        scheduler.worker_ready(1, 0.0)
        assert scheduler.finished_task(1, 0, 0, "result", 0.0, seconds=pace)[:-1] == [Assign(1, 1, 0)]


def test_what_waits_behind_a_task_that_takes_long_is_recalled_and_runs_elsewhere():
    scheduler = Scheduler(2, pace=0.0)
    for task in range(8):
        scheduler.submit(TaskSpec(task, prefetch=True))
    scheduler.worker_ready(1, 0.0)
    assert scheduler.finished_task(1, 0, 0, "result", 0.0, seconds=0.0)[:-1] == [
        Assign(1, 1, 0),
        Prefetch(1, ((2, 0), (3, 0), (4, 0))),
    ]
    assert scheduler.worker_ready(2, 0.0) == [Assign(2, 5, 0)]
    assert scheduler.next_deadline() == RECALL_AFTER
    assert scheduler.tick(RECALL_AFTER) == [Recall(1)]
    assert scheduler.recalled(1, 3, RECALL_AFTER) == []
    assert scheduler.queued() == [2, 3, 4, 6, 7]
    assert scheduler.finished_task(2, 5, 0, "result", RECALL_AFTER, seconds=0.0)[0] == Assign(2, 2, 0)


def test_what_is_held_ahead_is_recalled_if_the_tasks_before_it_take_longer_than_expected_together():
    scheduler = with_tasks_ahead(3)
    for task in (1, 2):
        finished = scheduler.finished_task(1, task, 0, "result", task * 0.6 * RECALL_AFTER)
        assert finished == [Settle(task, 1, Completed("result"))]
    assert scheduler.next_deadline() == RECALL_AFTER
    assert scheduler.tick(1.2 * RECALL_AFTER) == [Recall(1)]
    assert scheduler.recalled(1, 1, 1.2 * RECALL_AFTER) == []
    assert scheduler.queued() == [4, 5, 6, 7]


def test_a_worker_gets_nothing_ahead_until_it_has_come_across_what_was_recalled():
    scheduler = with_tasks_ahead(2)
    assert scheduler.tick(RECALL_AFTER) == [Recall(1)]
    assert scheduler.recalled(1, 2, RECALL_AFTER) == []
    assert scheduler.finished_task(1, 1, 0, "result", 0.02, seconds=0.0)[:-1] == [Assign(1, 2, 0)]
    scheduler.returned(1)
    assert scheduler.finished_task(1, 2, 0, "result", 0.02, seconds=0.0)[:-1] == [Assign(1, 3, 0)]
    scheduler.returned(1)
    assert scheduler.finished_task(1, 3, 0, "result", 0.02, seconds=0.0)[:-1] == [
        Assign(1, 4, 0),
        Prefetch(1, ((5, 0),)),
    ]


def test_a_task_held_ahead_is_cancelled_without_being_begun():
    scheduler = with_tasks_ahead(3)
    assert scheduler.stop(3, StopReason.CANCEL, 0.0) == [Recall(1)]
    assert scheduler.recalled(1, 3, 0.0) == [Settle(3, 0, CANCELLED)]
    assert scheduler.queued() == [2, 4, 5, 6, 7]


def test_a_task_that_the_worker_had_just_taken_on_when_its_stop_came_is_interrupted():
    scheduler = with_tasks_ahead(2)
    assert scheduler.stop(2, StopReason.CANCEL, 0.0) == [Recall(1)]
    assert scheduler.recalled(1, 1, 0.0) == []  # only task 3: the worker is past task 1, and executes task 2
    scheduler.returned(1)
    finished = scheduler.finished_task(1, 1, 0, "result", 0.0, seconds=0.0)
    assert finished == [Interrupt(1, 2, 0), Settle(1, 1, Completed("result"))]
    assert scheduler.finished_task(1, 2, 0, "interrupted", 0.0, seconds=0.0)[-1] == Settle(2, 1, CANCELLED)


def test_a_close_that_cancels_what_is_queued_leaves_alone_what_was_held_ahead_and_has_begun():
    scheduler = with_tasks_ahead(2)
    cancelled = [Settle(task, 0, CANCELLED) for task in (4, 5)]
    assert scheduler.close(0.0, cancel_queued=True) == [*cancelled, Recall(1)]
    assert scheduler.recalled(1, 1, 0.0) == [Settle(3, 0, CANCELLED)]  # the worker is past task 1, and executes task 2
    assert scheduler.finished_task(1, 1, 0, "result", 0.0, seconds=0.0) == [Settle(1, 1, Completed("result"))]
    assert scheduler.finished_task(1, 2, 0, "result", 0.0)[-1] == Settle(2, 1, Completed("result"))


def test_a_closed_pool_keeps_its_idle_workers_for_what_others_hold_ahead():
    scheduler = Scheduler(2, pace=0.0)
    for task in range(5):
        scheduler.submit(TaskSpec(task, prefetch=True))
    scheduler.worker_ready(1, 0.0)
    assert scheduler.finished_task(1, 0, 0, "result", 0.0, seconds=0.0)[:-1] == [
        Assign(1, 1, 0),
        Prefetch(1, ((2, 0),)),
    ]
    assert scheduler.worker_ready(2, 0.0) == [Assign(2, 3, 0)]
    assert scheduler.finished_task(2, 3, 0, "result", 0.0)[:-1] == [Assign(2, 4, 0)]
    scheduler.close(0.0)
    assert scheduler.finished_task(2, 4, 0, "result", 0.0) == [Settle(4, 1, Completed("result"))]
    assert scheduler.tick(RECALL_AFTER) == [Recall(1)]
    assert scheduler.recalled(1, 1, RECALL_AFTER) == [Assign(2, 2, 0)]
    assert scheduler.finished_task(2, 2, 0, "result", RECALL_AFTER) == [Retire(2), Settle(2, 1, Completed("result"))]


def test_a_closed_pool_lets_idle_workers_leave_once_what_others_held_ahead_has_begun():
    scheduler = Scheduler(2, pace=0.0)
    for task in range(4):
        scheduler.submit(TaskSpec(task, prefetch=True))
    scheduler.worker_ready(1, 0.0)
    assert scheduler.finished_task(1, 0, 0, "result", 0.0, seconds=0.0)[:-1] == [
        Assign(1, 1, 0),
        Prefetch(1, ((2, 0),)),
    ]
    assert scheduler.worker_ready(2, 0.0) == [Assign(2, 3, 0)]
    scheduler.finished_task(2, 3, 0, "result", 0.0)
    assert scheduler.close(0.0) == []
    assert scheduler.finished_task(1, 1, 0, "result", 0.0) == [Retire(2), Settle(1, 1, Completed("result"))]


def test_a_warm_pool_starts_all_workers_and_a_spare_and_replaces_one_that_dies_under_a_task():
    scheduler = Scheduler(2)
    assert scheduler.warm_up() == [StartWorker(1), StartWorker(2), StartWorker(3)]
    assert scheduler.worker_ready(1, 0.0) == []
    assert scheduler.submit(TaskSpec(1)) == [Assign(1, 1, 0)]
    assert scheduler.worker_gone(1, "killed", 0.0) == [StartWorker(4)]
    assert scheduler.worker_ready(2, 0.0) == [Assign(2, 1, 0)]


def test_a_warm_pool_whose_idle_workers_die_does_not_start_workers_for_ever():
    scheduler = Scheduler(1)
    assert scheduler.warm_up() == [StartWorker(1), StartWorker(2)]
    scheduler.worker_ready(1, 0.0)
    assert scheduler.worker_gone(1, "killed", 0.0) == []


def test_what_could_not_be_handed_over_ahead_is_at_the_head_of_the_queue_again():
    scheduler = with_tasks_ahead(3)
    assert scheduler.kept_back(1, 2, 0.0) == []
    assert scheduler.queued() == [3, 4, 5, 6, 7]
    assert scheduler.finished_task(1, 1, 0, "result", 0.0, seconds=1.0) == [Settle(1, 1, Completed("result"))]
    assert scheduler.finished_task(1, 2, 0, "result", 0.0, seconds=1.0)[0] == Assign(1, 3, 0)


def test_a_worker_that_got_nothing_ahead_is_asked_for_nothing_back():
    scheduler = with_tasks_ahead(3)
    assert scheduler.stop(3, StopReason.CANCEL, 0.0) == [Recall(1)]
    assert scheduler.kept_back(1, 3, 0.0) == [Settle(3, 0, CANCELLED)]
    assert scheduler.next_deadline() is None or scheduler.tick(RECALL_AFTER) == []
    assert scheduler.queued() == [2, 4, 5, 6, 7]


def test_what_a_killed_worker_held_ahead_runs_elsewhere():
    scheduler = with_tasks_ahead(2)
    assert scheduler.worker_gone(1, "killed", 0.0) == [StartWorker(2), StartWorker(3)]
    assert scheduler.queued() == [1, 2, 3, 4, 5]  # nobody said that task 1 had begun


def test_a_worker_that_has_gone_on_to_the_next_task_is_not_killed_for_the_stopped_one_before():
    scheduler = with_tasks_ahead(2)
    assert scheduler.stop(1, StopReason.CANCEL, 0.0) == [Recall(1), Interrupt(1, 1, 0)]
    assert scheduler.recalled(1, 1, 0.0) == []  # only task 3: it has just ended task 1, but is not heard
    assert scheduler.tick(1.0) == []  # the pool's thread was held up
    assert scheduler.next_deadline() is None
    assert scheduler.finished_task(1, 1, 0, "result", 1.0) == [Settle(1, 1, CANCELLED)]
    assert scheduler.finished_task(1, 2, 0, "result", 1.0)[-1] == Settle(2, 1, Completed("result"))


# ---------------------------------------------------------------- random schedules

#: Of a rounding error in a moment.
TINY = 1e-9

some_limits = st.builds(
    Limits,
    time_limit=st.sampled_from([None, 0.125, 1.0, 3.0]),
    memory_limit=st.sampled_from([None, None, 1, 100]),
    retries=st.sampled_from([0, 1, 2]),
    grace=st.sampled_from([0.0, 0.03125, 0.5, math.inf]),
)
picks = st.integers(0, 5)
T = TypeVar("T")


def choose(n: int, candidates: list[T]) -> T:
    return candidates[n % len(candidates)]


@dataclass(eq=False)
class ModelTask:
    """What must be true of a task."""

    id: int
    limits: Limits
    prefetch: bool = False
    begun: int = 0
    lost_before_start: int = 0
    executed: float = 0.0
    started_at: float | None = None
    stop: Stopped | None = None
    stopped_at: float = math.inf
    asked_again: bool = False
    wanted: Stopped | None = None  # a stop that came while it was ahead, and the worker may already have taken it on
    cancelled: bool = False  # in the caller's eyes; the pool may not know it yet

    @property
    def attempt(self) -> int:
        return self.begun - (self.started_at is not None)

    def time_is_up_at(self) -> float:
        if self.stop is not None or self.started_at is None or self.limits.time_limit is None:
            return math.inf
        return self.started_at + self.limits.time_limit - self.executed


@dataclass(eq=False)
class ModelWorker:
    """A process as the executor sees it."""

    id: int
    live: bool = False
    ready: bool = False
    killed: bool = False
    told_to_leave_at: float = math.inf
    task: ModelTask | None = None
    ahead: list[ModelTask] = field(default_factory=list)
    permits: int = 0  # for the last ones of its tasks; the first one is among them until the worker takes it on
    unreturned: int = 0
    to_end_first: set[int] = field(default_factory=set)  # before it comes across what was recalled
    sent_ahead_at: float = 0.0
    rss: int = 1000
    baseline: int | None = None
    measured_at: float = -math.inf
    history: list[tuple[int, int]] = field(default_factory=list)

    @property
    def doomed(self) -> bool:
        return self.killed or self.told_to_leave_at < math.inf

    @property
    def starting(self) -> bool:
        return not self.ready and not self.doomed

    @property
    def idle(self) -> bool:
        return self.ready and self.task is None and not self.doomed

    @property
    def tasks(self) -> list[ModelTask]:
        return ([] if self.task is None else [self.task]) + self.ahead

    @property
    def returns(self) -> bool:
        """Whether it comes across a recalled task next."""
        return self.unreturned > 0 and not self.to_end_first

    def recall_at(self) -> float:
        return self.sent_ahead_at + RECALL_AFTER if self.ahead and self.permits and not self.doomed else math.inf

    def kill_at(self) -> float:
        if self.killed or self.ahead:  # it has begun what was not recalled
            return math.inf
        unanswered = math.inf if self.task is None else self.task.stopped_at + self.task.limits.grace
        return min(unanswered, self.told_to_leave_at + EXIT_GRACE)

    def measure_at(self) -> float:
        task = self.task
        measured = task is not None and task.limits.memory_limit is not None and task.stop is None
        return self.measured_at + MEASURE_EVERY if measured else math.inf


class Schedules(RuleBasedStateMachine):
    """Random events; the model carries the actions out as the executor does and knows what they have to be.

    For each event the model says which tasks it settles, how, and which stops it begins (`expect`). What the scheduler
    asks of workers is judged action by action, in the order in which it asks (`judge`), and then done (`carry_out`).
    """

    @initialize(
        max_workers=st.integers(1, 3),
        closes=st.booleans(),
        starts_fail=st.booleans(),
        pace=st.sampled_from([SLOW, AHEAD_SECONDS / 4, 0.0]),
        most_handed_over=st.sampled_from([MOST_AHEAD, 0, 1, 3]),
    )
    def make(self, max_workers: int, closes: bool, starts_fail: bool, pace: float, most_handed_over: int) -> None:
        self.max_workers = max_workers
        self.most_handed_over = most_handed_over
        self.closes = closes  # what ends everything is left out of some schedules, so that more happens in them
        self.starts_fail = starts_fail
        self.scheduler = Scheduler(max_workers, pace)
        self.now = 0.0
        self.last_task = 0
        self.unsettled: dict[int, ModelTask] = {}
        self.queue: list[ModelTask] = []
        self.workers: dict[int, ModelWorker] = {}
        self.cancels: deque[int] = deque()  # accepted from the caller, on their way to the scheduler
        self.outbox: deque[Action] = deque()
        self.failing_starts = 0
        self.failures = 0
        self.broken: str | None = None
        self.closing = False
        self.cancels_what_comes_back = False
        self.spare_wanted = False
        self.warm = False

    # ------------------------------------------------------------ what the model knows

    def held(self) -> list[ModelTask]:
        return [worker.task for worker in self.workers.values() if worker.task is not None]

    def ahead(self) -> list[ModelTask]:
        return [task for worker in self.workers.values() for task in worker.ahead]

    def living(self) -> list[ModelWorker]:
        return [worker for worker in self.workers.values() if not worker.doomed]

    def not_ready(self) -> list[ModelWorker]:
        return [worker for worker in self.workers.values() if not worker.ready]

    def ready(self) -> list[ModelWorker]:
        return [worker for worker in self.workers.values() if worker.ready]

    def assigned(self) -> list[ModelWorker]:
        return [worker for worker in self.ready() if worker.task is not None and worker.task.started_at is None]

    def running(self) -> list[ModelWorker]:
        return [worker for worker in self.ready() if worker.task is not None and worker.task.started_at is not None]

    # ------------------------------------------------------------ what has to follow an event

    def expect(
        self,
        actions: list[Action],
        settles: dict[int, tuple[Verdict, int]] | None = None,
        stops: dict[int, Stopped] | None = None,
        may_stop: dict[int, Stopped] | None = None,
    ) -> None:
        """Check the actions of one event against what it must bring about, then carry them out."""
        settled = [action for action in actions if isinstance(action, Settle)]
        assert [(s.task, (s.verdict, s.attempts)) for s in settled] == list((settles or {}).items())
        for settle in settled:
            del self.unsettled[settle.task]
        interrupts = {action.task for action in actions if isinstance(action, Interrupt)}
        assert set(stops or {}) <= interrupts
        reasons = {**(may_stop or {}), **(stops or {})}
        before = {worker.id for worker in self.living()}
        for action in actions:
            self.judge(action, reasons, before)
        first = not self.outbox
        self.outbox.extend(actions)
        while first and self.outbox:  # an action may be an event in turn: what that asks for comes after the rest
            self.carry_out(self.outbox[0])
            self.outbox.popleft()

    def judge(self, action: Action, reasons: dict[int, Stopped], before: set[int]) -> None:
        """Check one action, and note what is true once it has been asked for."""
        match action:
            case StartWorker(worker):
                assert worker not in self.workers
                assert self.broken is None
                assert self.failures < START_ATTEMPTS or not before & {living.id for living in self.living()}
                self.workers[worker] = ModelWorker(worker)
                spare = (self.spare_wanted or self.warm) and not self.closing
                assert self.queue or spare
                assert len(self.living()) <= spare + (
                    self.max_workers if self.warm else min(self.max_workers, len(self.queue) + len(self.held()))
                )
            case Measure(worker):
                assert not self.workers[worker].doomed
                assert self.workers[worker].task is None or self.workers[worker].task.stop is None
                self.workers[worker].measured_at = self.now
            case Prefetch() | Recall():
                self.judge_ahead(action, reasons)
            case Assign(worker, task, attempt):
                head = self.queue.pop(0)
                assert (task, attempt) == (head.id, head.attempt)
                assert self.workers[worker].idle
                assert head.limits.memory_limit is None or self.workers[worker].measured_at == self.now
                self.workers[worker].task, self.workers[worker].baseline = head, None
                assert len(self.held()) <= self.max_workers
            case Interrupt(worker, task, attempt):
                interrupted = self.workers[worker].task
                assert interrupted is not None
                assert (task, attempt) == (interrupted.id, interrupted.attempt)
                assert not self.workers[worker].doomed
                if interrupted.stop is None:
                    interrupted.stop, interrupted.stopped_at = reasons.pop(task), self.now
                else:
                    assert not interrupted.asked_again
                    assert interrupted.stopped_at + SPARE_AFTER <= self.now + TINY
                    interrupted.asked_again = True
            case Kill(worker):
                useless = self.closing and self.workers[worker].starting and not (self.queue or self.held())
                assert useless or self.workers[worker].kill_at() <= self.now + TINY
                self.workers[worker].killed = True
            case Retire(worker):
                assert self.closing
                assert not self.queue
                assert self.workers[worker].idle
                self.workers[worker].told_to_leave_at = self.now

    def judge_ahead(self, action: Prefetch | Recall, reasons: dict[int, Stopped]) -> None:
        match action:
            case Prefetch(worker, tasks):
                busy = self.workers[worker]
                assert tasks
                assert busy.task is not None
                assert busy.task.stop is None
                assert not busy.doomed
                assert not busy.unreturned
                heads, self.queue = self.queue[: len(tasks)], self.queue[len(tasks) :]
                assert [(head.id, head.attempt) for head in heads] == list(tasks)
                assert all(head.prefetch for head in heads)
                busy.ahead += heads
                assert len(busy.ahead) <= MOST_AHEAD
                assert len(busy.ahead) * self.scheduler.pace <= AHEAD_SECONDS
                busy.sent_ahead_at = self.now
            case Recall(worker):
                lender = self.workers[worker]
                late = lender.sent_ahead_at + RECALL_AFTER <= self.now + TINY
                stops = any(task.stop or task.wanted or task.id in reasons for task in lender.tasks)
                assert late or stops or self.cancels_what_comes_back

    def carry_out(self, action: Action) -> None:
        match action:
            case StartWorker(worker):
                assert not self.workers[worker].doomed
                self.workers[worker].live = True
                if self.failing_starts:
                    self.failing_starts -= 1
                    self.lose(self.workers[worker])
            case Measure(worker):
                self.measure(self.workers[worker])
            case Assign(worker, task, attempt):
                assert self.workers[worker].live
                if self.unsettled[task].cancelled:
                    self.decline(self.workers[worker])
                else:
                    self.workers[worker].history.append((task, attempt))
            case Prefetch(worker, tasks):
                assert self.workers[worker].live
                self.hand_over_ahead(self.workers[worker], tasks)
            case Recall(worker):
                self.recall(self.workers[worker])
            case Interrupt(worker) | Kill(worker) | Retire(worker):
                assert self.workers[worker].live

    def hand_over_ahead(self, worker: ModelWorker, tasks: tuple[tuple[int, int], ...]) -> None:
        for index, (task, attempt) in enumerate(tasks):
            assert self.unsettled[task] in worker.tasks
            if index == self.most_handed_over:
                self.keep_back(worker, len(tasks) - index)
                return
            if self.unsettled[task].cancelled:
                self.decline_ahead(worker, self.unsettled[task])
            else:
                worker.permits += 1
                worker.history.append((task, attempt))

    def decline(self, worker: ModelWorker) -> None:
        task = self.advance(worker)
        actions = self.scheduler.declined(worker.id, task.id, self.now)
        self.expect(actions, {task.id: (CANCELLED, task.begun)})

    def advance(self, worker: ModelWorker) -> ModelTask:
        """Go on from the present task, which is returned, to the next one."""
        task = worker.task
        assert task is not None
        worker.task = worker.ahead.pop(0) if worker.ahead and not worker.killed else None
        return task

    def decline_ahead(self, worker: ModelWorker, task: ModelTask) -> None:
        if task is worker.task:
            self.decline(worker)
            return
        worker.ahead.remove(task)
        actions = self.scheduler.declined(worker.id, task.id, self.now)
        self.expect(actions, {task.id: (CANCELLED, task.begun)})

    def keep_back(self, worker: ModelWorker, count: int) -> None:
        """Hand over no more of a batch: what they need is too large, say."""
        tasks, worker.task, worker.ahead = worker.tasks, None, []
        kept, back = tasks[: len(tasks) - count], tasks[len(tasks) - count :]
        if kept:
            worker.task, worker.ahead = kept[0], kept[1:]
        settles, again = self.taken_back(back)
        self.queue[:0] = again
        self.expect(self.scheduler.kept_back(worker.id, count, self.now), settles)

    def recall(self, worker: ModelWorker) -> None:
        """Take out the permits that are left: what they belong to goes back to the queue, in order."""
        count, worker.permits = worker.permits, 0
        kept, back = worker.tasks[: len(worker.tasks) - count], worker.tasks[len(worker.tasks) - count :]
        worker.task, worker.ahead = (kept[0], kept[1:]) if kept else (None, [])
        worker.unreturned += count
        worker.to_end_first |= {task.id for task in kept}
        settles, again = self.taken_back(back)
        self.queue[:0] = again
        self.expect(self.scheduler.recalled(worker.id, count, self.now), settles)

    def taken_back(self, back: list[ModelTask]) -> tuple[dict[int, tuple[Verdict, int]], list[ModelTask]]:
        """Say which of the tasks that nobody has begun end, and which are queued again."""
        settles: dict[int, tuple[Verdict, int]] = {}
        for task in reversed(back):
            if stop := task.stop or task.wanted or (CANCELLED if self.cancels_what_comes_back else None):
                settles[task.id] = (stop, task.begun)
        return settles, [task for task in back if task.id not in settles]

    def measure(self, worker: ModelWorker) -> None:
        task = worker.task
        assert task is not None
        assert task.limits.memory_limit is not None
        worker.baseline = worker.rss if worker.baseline is None else worker.baseline
        growth = worker.rss - worker.baseline
        exceeded = growth > task.limits.memory_limit and task.stop is None
        actions = self.scheduler.measured(worker.id, worker.rss, self.now)
        self.expect(actions, stops={task.id: Stopped(StopReason.MEMORY_LIMIT, growth)} if exceeded else {})

    def lose(self, worker: ModelWorker, *, hopeless: bool = False) -> None:
        """End a process, for whatever reason, and know what becomes of its task or of all that wait."""
        cause = f"end of worker {worker.id}"
        del self.workers[worker.id]
        settles: dict[int, tuple[Verdict, int]] = {}
        if worker.starting:
            self.failures = START_ATTEMPTS if hopeless else self.failures + 1
            if self.failures >= START_ATTEMPTS and not self.living():
                self.broken = cause
                settles = {task.id: (Refused(cause), task.begun) for task in self.queue}
                self.queue.clear()
        elif worker.idle:
            self.spare_wanted = self.warm = False
        elif worker.task is not None:
            self.spare_wanted = True
            settles, again = self.taken_back(worker.ahead)
            self.queue[:0] = again
            verdict = self.verdict_of_death(worker.task, cause)
            if verdict is None:
                self.queue.insert(0, worker.task)
            else:
                settles[worker.task.id] = (verdict, worker.task.begun)
            worker.task.started_at = None
        self.expect(self.scheduler.worker_gone(worker.id, cause, self.now, hopeless=hopeless), settles)

    def verdict_of_death(self, task: ModelTask, cause: str) -> Verdict | None:
        """Say how a task ends that has lost its worker; None: it is run again."""
        if task.stop is not None:
            return task.stop
        if task.started_at is None:
            task.lost_before_start += 1
            return Died(cause) if task.lost_before_start > FREE_RETRIES else None
        task.executed += self.now - task.started_at
        if task.begun > task.limits.retries:
            return Died(cause)
        used_up = task.limits.time_limit is not None and task.executed >= task.limits.time_limit
        return Stopped(StopReason.TIME_LIMIT) if used_up else None

    # ------------------------------------------------------------ the user

    @rule(limits=some_limits, count=st.integers(1, 3))
    def submit(self, limits: Limits, count: int) -> None:
        self.submit_all(limits, count, prefetch=False)

    @rule(limits=st.one_of(st.just(Limits()), some_limits), count=st.integers(1, 12))
    def submit_tiny_ones(self, limits: Limits, count: int) -> None:
        self.submit_all(replace(limits, memory_limit=None), count, prefetch=True)

    @rule()
    def warm_up(self) -> None:
        self.warm = not self.closing
        self.expect(self.scheduler.warm_up())

    def submit_all(self, limits: Limits, count: int, *, prefetch: bool) -> None:
        for _ in range(count):
            self.last_task += 1
            task = self.unsettled[self.last_task] = ModelTask(self.last_task, limits, prefetch)
            settles: dict[int, tuple[Verdict, int]] = {}
            if self.broken is not None:
                settles = {task.id: (Refused(self.broken), 0)}
            elif self.closing:
                settles = {task.id: (CANCELLED, 0)}
            else:
                self.queue.append(task)
            self.expect(self.scheduler.submit(TaskSpec(task.id, limits, prefetch)), settles)

    @precondition(held)
    @rule(n=picks)
    def stop_a_task_that_a_worker_holds(self, n: int) -> None:
        self.stop(choose(n, self.held() + self.ahead()).id)

    @precondition(lambda self: self.last_task > len(self.unsettled))
    @rule(n=picks)
    def stop_a_task_that_has_ended_or_never_was(self, n: int) -> None:
        self.stop(choose(n, [task for task in range(self.last_task + 2) if task not in self.unsettled]))

    @precondition(lambda self: any(not task.cancelled for task in self.unsettled.values()))
    @rule(n=picks)
    def cancel_a_future(self, n: int) -> None:
        task = choose(n, [task for task in self.unsettled.values() if not task.cancelled])
        task.cancelled = True
        self.cancels.append(task.id)

    @precondition(lambda self: self.cancels)
    @rule()
    def hear_of_a_cancel(self) -> None:
        self.stop(self.cancels.popleft())

    def stop(self, task_id: int) -> None:
        task = self.unsettled.get(task_id)
        settles, stops = {}, {}
        if task in self.queue:
            self.queue.remove(task)
            settles = {task_id: (CANCELLED, task.begun)}
        elif task in self.ahead():
            task.wanted = CANCELLED
        elif task is not None and task.stop is None:
            stops = {task_id: CANCELLED}
        self.expect(self.scheduler.stop(task_id, StopReason.CANCEL, self.now), settles, stops)

    @precondition(lambda self: self.closes and self.last_task > 3)
    @rule(cancel_queued=st.booleans(), stop_running=st.booleans())
    def close(self, cancel_queued: bool, stop_running: bool) -> None:
        self.closing, self.warm = True, False
        kept = self.queue
        if cancel_queued:
            starting = 0 if stop_running else sum(worker.starting for worker in self.workers.values())
            kept = self.queue[: min(starting, self.max_workers - len(self.held()))]
        settles = {task.id: (CANCELLED, task.begun) for task in self.queue[len(kept) :]}
        self.queue = kept
        stops = {task.id: CANCELLED for task in self.held() if stop_running and task.stop is None}
        for task in self.ahead() if stop_running else ():
            task.wanted = CANCELLED
        self.cancels_what_comes_back |= cancel_queued
        actions = self.scheduler.close(self.now, cancel_queued=cancel_queued, stop_running=stop_running)
        self.expect(actions, settles, stops)

    # ------------------------------------------------------------ the workers

    @rule()
    def everybody_does_the_next_thing(self) -> None:
        for worker in list(self.workers.values()):
            if worker.id in self.workers and not worker.idle:
                self.proceed(worker)

    def proceed(self, worker: ModelWorker) -> None:
        if worker.doomed:
            self.lose(worker)
        elif not worker.ready:
            self.say_ready(worker)
        elif worker in self.assigned():
            self.say_started(worker)
        else:
            self.say_finished(worker)

    @precondition(not_ready)
    @rule(n=picks)
    def become_ready(self, n: int) -> None:
        self.say_ready(choose(n, self.not_ready()))

    def say_ready(self, worker: ModelWorker) -> None:
        worker.ready = True
        self.failures = 0
        self.expect(self.scheduler.worker_ready(worker.id, self.now))

    @precondition(lambda self: self.starts_fail and self.not_ready())
    @rule(n=picks, hopeless=st.booleans())
    def fail_to_start(self, n: int, hopeless: bool) -> None:
        self.lose(choose(n, self.not_ready()), hopeless=hopeless)

    @precondition(lambda self: self.starts_fail)
    @rule(count=st.integers(1, 4))
    def let_the_next_starts_fail_at_once(self, count: int) -> None:
        self.failing_starts = count

    @precondition(assigned)
    @rule(n=picks)
    def begin(self, n: int) -> None:
        self.say_started(choose(n, self.assigned()))

    def say_started(self, worker: ModelWorker) -> None:
        task = worker.task
        assert task is not None
        worker.permits = min(worker.permits, len(worker.ahead))
        while worker.returns:
            self.say_returned(worker)
        heard = self.scheduler.started(worker.id, task.id, task.attempt, self.now)
        assert heard is not worker.killed  # what comes after the kill makes no difference
        if heard:
            task.started_at = self.now
            task.begun += 1

    @precondition(running)
    @rule(n=picks)
    def finish(self, n: int) -> None:
        self.say_finished(choose(n, self.running()))

    def say_finished(self, worker: ModelWorker) -> None:
        task = self.advance(worker)
        worker.to_end_first.discard(task.id)
        stops = {} if worker.task is None or worker.task.wanted is None else {worker.task.id: worker.task.wanted}
        outcome = f"outcome of task {task.id}"
        seconds = 0.0 if task.prefetch else SLOW
        actions = self.scheduler.finished_task(worker.id, task.id, task.attempt, outcome, self.now, seconds=seconds)
        self.expect(actions, {task.id: (task.stop or Completed(outcome), task.begun)}, stops)

    @precondition(lambda self: any(worker.permits for worker in self.workers.values()))
    @rule(n=picks)
    def take_on_a_task_before_the_end_of_the_last_is_heard(self, n: int) -> None:
        choose(n, [worker for worker in self.workers.values() if worker.permits]).permits -= 1

    @precondition(lambda self: any(worker.returns for worker in self.workers.values()))
    @rule(n=picks)
    def pass_over_a_recalled_task(self, n: int) -> None:
        self.say_returned(choose(n, [worker for worker in self.workers.values() if worker.returns]))

    def say_returned(self, worker: ModelWorker) -> None:
        worker.unreturned -= 1
        self.scheduler.returned(worker.id)

    @precondition(ready)
    @rule(n=picks)
    def say_something_late(self, n: int) -> None:
        worker = choose(n, self.ready())
        current = None if worker.task is None else (worker.task.id, worker.task.attempt)
        for task, attempt in worker.history:
            stale = [(task, attempt)] if (task, attempt) != current else []
            for late in (*stale, (task, attempt + 1)):
                assert not self.scheduler.started(worker.id, *late, self.now)
                self.expect(self.scheduler.finished_task(worker.id, *late, "late", self.now))

    @precondition(ready)
    @rule(n=picks)
    def end(self, n: int) -> None:
        self.lose(choose(n, self.ready()))

    @precondition(running)
    @rule(n=picks)
    def end_under_a_task(self, n: int) -> None:
        self.lose(choose(n, self.running()))

    @precondition(lambda self: self.held())
    @rule(n=picks, growth=st.sampled_from([-50, 1, 2, 101]))
    def grow(self, n: int, growth: int) -> None:
        choose(n, [worker for worker in self.ready() if worker.task is not None]).rss += growth

    # ------------------------------------------------------------ time

    @precondition(held)
    @rule(seconds=st.sampled_from([0.03125, 0.125, 1.0, 4.0]), wake_up=st.booleans())
    def pass_time(self, seconds: float, wake_up: bool) -> None:
        self.now += seconds
        if wake_up:
            self.tick()

    def deadline(self) -> float:
        deadline = self.scheduler.next_deadline()
        return math.inf if deadline is None else deadline

    @precondition(lambda self: self.deadline() < math.inf)
    @rule()
    def sleep_until_the_next_deadline(self) -> None:
        self.now = max(self.now, self.deadline())
        self.tick()

    def tick(self) -> None:
        """Do what the executor does when a deadline has come, until none is left; it must not go on for ever."""
        for _ in range(3 * (len(self.workers) + 1)):
            if self.deadline() > self.now:
                break
            if any(task.stopped_at + SPARE_AFTER <= self.now + TINY for task in self.held()):
                self.spare_wanted = True
            due = {task.id: task.time_is_up_at() for task in self.held() if task.time_is_up_at() <= self.now + TINY}
            stop = Stopped(StopReason.TIME_LIMIT)
            must = {task: stop for task, moment in due.items() if moment < self.now - TINY}
            self.expect(self.scheduler.tick(self.now), stops=must, may_stop=dict.fromkeys(due, stop))
        else:
            pytest.fail(f"a busy loop: the next deadline does not get past {self.now}")
        assert all(worker.kill_at() > self.now - TINY for worker in self.workers.values())

    # ------------------------------------------------------------ always

    @invariant()
    def the_queue_is_in_order(self) -> None:
        assert self.scheduler.queued() == [task.id for task in self.queue]

    @invariant()
    def each_unsettled_task_is_queued_or_held(self) -> None:
        assert {task.id for task in self.queue + self.held() + self.ahead()} == set(self.unsettled)

    @invariant()
    def there_are_no_more_workers_than_allowed(self) -> None:
        assert len(self.living()) <= self.max_workers + 1

    @invariant()
    def nothing_waits_without_a_reason(self) -> None:
        if self.queue:
            assert len(self.held()) == self.max_workers or not any(w.idle for w in self.workers.values())
            assert self.held() or any(worker.starting for worker in self.workers.values())

    @invariant()
    def a_warm_pool_has_all_its_workers_and_a_spare(self) -> None:
        if self.warm and self.failures < START_ATTEMPTS:
            assert len(self.living()) == self.max_workers + 1

    @invariant()
    def a_closed_pool_keeps_nobody_who_has_nothing_to_do(self) -> None:
        if self.closing and not self.queue and not self.ahead():
            assert not any(worker.idle for worker in self.workers.values())
            assert self.held() or not self.living()
        assert self.scheduler.finished == (self.closing and not self.unsettled and not self.workers)

    @invariant()
    def the_next_deadline_comes_in_time(self) -> None:
        own = [task.time_is_up_at() for task in self.held()]
        for worker in self.workers.values():
            own += [worker.kill_at(), worker.measure_at(), worker.recall_at()]
        assert self.deadline() <= min(own, default=math.inf) + TINY
        if min(own, default=math.inf) == math.inf and not any(task.stop for task in self.held()) and not self.ahead():
            assert self.scheduler.next_deadline() is None

    def teardown(self) -> None:
        """Once everybody behaves, everything ends."""
        if sys.exception() is None and hasattr(self, "scheduler"):
            self.failing_starts = 0
            self.behave()
            assert not self.unsettled
            self.close(cancel_queued=False, stop_running=False)
            self.behave()
            assert self.scheduler.finished

    def behave(self) -> None:
        """Let every worker do what it is asked for, until nobody is asked for anything."""
        for _ in range(5000):
            busy = [worker for worker in self.workers.values() if not worker.idle]
            if not busy:
                return
            for worker in busy:
                self.proceed(worker)
        pytest.fail("it does not come to an end")


Schedules.TestCase.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
TestSchedules = Schedules.TestCase
