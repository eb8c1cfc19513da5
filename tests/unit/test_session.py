"""What a running task can reach: progress, the request to stop, and the capture of logs and warnings."""

from __future__ import annotations

import contextvars
import decimal
import fractions
import itertools
import logging
import math
import threading
import time
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import procjob
from procjob.events import Event, Logged, Progressed
from procjob.pool import session
from procjob.pool.session import PROGRESS_EVERY, CaptureHandler, Session, bind_context, report_progress, stop_requested

DEADLINE = 30.0


@pytest.fixture
def events() -> Iterator[list[Event]]:
    """What a session of this context emits."""
    emitted: list[Event] = []
    with bind_context(Session(emitted.append)):
        yield emitted


# ---------------------------------------------------------------- progress


def test_progress_outside_of_a_job_does_nothing():
    report_progress(1, 10, energy=-1.0)
    assert session.current() is None


def test_progress_carries_what_it_was_given(events):
    report_progress(3, 12, energy=-1.5)
    (event,) = events
    assert (event.done, event.total, event.info, event.fraction) == (3, 12, {"energy": -1.5}, 0.25)
    assert event.time <= time.monotonic()


@pytest.mark.parametrize("number", [0, 0.5, np.float32(0.5), np.int64(2), fractions.Fraction(1, 3)])
def test_progress_may_be_any_real_number(events, number):
    report_progress(number)
    assert [event.done for event in events] == [number]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("3",), TypeError, "done must be a real number, not '3'"),
        ((None,), TypeError, "done must be a real number, not None"),
        ((True,), TypeError, "done must be a real number, not True"),
        ((1j,), TypeError, "done must be a real number"),
        ((decimal.Decimal(1),), TypeError, "done must be a real number"),
        ((1, "10"), TypeError, "total must be a real number, not '10'"),
        ((-1,), ValueError, "done must be finite and >= 0, not -1"),
        ((math.nan,), ValueError, "done must be finite"),
        ((math.inf,), ValueError, "done must be finite"),
        ((1, 0), ValueError, "total must be finite and > 0, not 0"),
        ((1, -5), ValueError, "total must be finite and > 0, not -5"),
        ((1, math.inf), ValueError, "total must be finite"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("in_a_job", [True, False])
def test_progress_that_is_no_progress_raises_in_a_job_or_out_of_it(arguments, error, message, in_a_job):
    emitted: list[Event] = []
    context = contextvars.copy_context()
    if in_a_job:
        context.run(session._of_context.set, Session(emitted.append))
    with pytest.raises(error, match=message):
        context.run(report_progress, *arguments)
    assert emitted == []


def test_progress_may_exceed_its_total():
    assert Progressed(0.0, 12, 10).fraction == 1.0
    assert Progressed(0.0, 12).fraction == 0.0


@given(st.lists(st.integers(0, 30), min_size=1))
def test_reports_travel_at_a_bounded_rate_and_the_last_one_always_does(milliseconds_between):
    times = [milliseconds / 1000 for milliseconds in itertools.accumulate(milliseconds_between)]
    reports = [Progressed(moment, done) for done, moment in enumerate(times)]
    sent: list[Event] = []
    running = Session(sent.append)
    for report in reports:
        running.progress(report)
    assert all(later.time >= earlier.time + PROGRESS_EVERY for earlier, later in itertools.pairwise(sent))
    on_time = len(sent)
    running.flush()
    assert sent[-1] is reports[-1]
    assert len(sent) <= on_time + 1
    assert [report for report in reports if report in sent] == sent
    running.flush()
    assert sent[-2:].count(reports[-1]) == 1


def test_a_report_that_completes_is_never_held_back():
    sent: list[Event] = []
    running = Session(sent.append)
    reports = [Progressed(0.0, 1, 3), Progressed(0.001, 2, 3), Progressed(0.002, 3, 3)]
    for report in reports:
        running.progress(report)
    assert sent == [reports[0], reports[2]]
    running.flush()
    assert sent == [reports[0], reports[2]]


def test_a_report_that_cannot_be_pickled_is_the_tasks_error_even_when_it_was_held_back():
    def simulate(n):
        procjob.report_progress(1, 10)
        procjob.report_progress(2, 10, lock=threading.Lock())
        if n:
            raise ZeroDivisionError
        return n

    with procjob.Backend(simulate, workers=1) as backend:
        with pytest.raises(TypeError, match=r"cannot pickle '_thread\.lock'"):
            backend.run(0).result(DEADLINE)
        with pytest.raises((TypeError, ZeroDivisionError)):  # whether it is held back depends on the time
            backend.run(1).result(DEADLINE)


# ---------------------------------------------------------------- the request to stop


def test_no_stop_is_requested_outside_of_a_job():
    assert not stop_requested()


def test_a_stop_is_requested_of_the_session_of_this_context_only():
    mine, other = Session(lambda _: None), Session(lambda _: None)
    with bind_context(mine):
        other.stop_requested = True
        assert not stop_requested()
        mine.stop_requested = True
        assert stop_requested()
        with bind_context(Session(lambda _: None)):
            assert not stop_requested()
        assert stop_requested()
    assert not stop_requested()


def test_every_thread_of_a_worker_sees_its_session():
    running = Session(lambda _: None)
    seen = []
    session.bind_process(running)
    try:
        thread = threading.Thread(target=lambda: seen.append(session.current()))
        thread.start()
        thread.join()
    finally:
        session.bind_process(None)
    assert seen == [running]
    assert session.current() is None


def test_the_session_of_a_context_goes_before_that_of_the_process():
    process, context = Session(lambda _: None), Session(lambda _: None)
    session.bind_process(process)
    try:
        with bind_context(context):
            assert session.current() is context
        assert session.current() is process
    finally:
        session.bind_process(None)


def test_who_is_inside_a_task_is_in_a_worker():
    assert not session.in_worker()
    with bind_context(Session(lambda _: None)):
        assert session.in_worker()


# ---------------------------------------------------------------- logs and warnings


@pytest.fixture
def logger() -> logging.Logger:
    """A logger whose records go to the session and nowhere else."""
    logger = logging.Logger("simulator.noise")  # noqa: LOG001  (without a parent)
    logger.addHandler(CaptureHandler())
    return logger


def test_a_log_record_is_captured_with_its_level_and_logger(events, logger):
    logger.warning("%d shots lost", 3)
    (event,) = events
    assert (event.source, event.text, event.level, event.name) == ("log", "3 shots lost", 30, "simulator.noise")


def test_a_logged_exception_comes_with_its_traceback(events, logger):
    try:
        raise ZeroDivisionError("of the task")
    except ZeroDivisionError:
        logger.exception("no luck")
    (event,) = events
    assert event.text.startswith("no luck\nTraceback")
    assert event.text.endswith("ZeroDivisionError: of the task")


def test_a_wrong_log_call_does_not_raise_in_the_task(events, logger, capsys):
    logger.warning("%d shots lost", "three")
    assert events == []
    assert "Logging error" in capsys.readouterr().err


def test_a_record_outside_of_a_task_is_dropped(logger):
    logger.warning("nobody listens")


def test_a_warning_is_captured_with_its_category_and_place(events):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = session.show_warning
        warnings.warn_explicit("too few shots", np.exceptions.ComplexWarning, "simulate.py", 7)
    (event,) = events
    assert isinstance(event, Logged)
    assert (event.source, event.text, event.filename, event.lineno) == ("warning", "too few shots", "simulate.py", 7)
    assert event.name == "numpy.exceptions:ComplexWarning"


def test_a_warning_outside_of_a_task_is_dropped():
    session.show_warning("nobody listens", UserWarning, "simulate.py", 7)


def test_a_number_beyond_all_floats_is_refused_as_one_that_is_not_finite():
    with pytest.raises(ValueError, match="done must be finite"):
        report_progress(10**400)
