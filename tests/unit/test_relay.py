"""What a task printed, logged and warned about is shown in the parent as if it had been done there."""

from __future__ import annotations

import io
import logging
import sys
import warnings

import pytest

from procjob.events import Logged
from procjob.pool.relay import captured_level, named, relay


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_output_goes_to_the_stream_of_the_same_name(capsys, stream):
    relay(Logged(0.0, stream, "half a line"))
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == (("half a line", "") if stream == "stdout" else ("", "half a line"))


def test_output_is_dropped_where_there_is_no_stream(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    relay(Logged(0.0, "stdout", "as in pythonw"))


def test_output_is_shown_at_once(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8"))
    relay(Logged(0.0, "stdout", "héllo"))
    assert raw.getvalue() == "héllo".encode()


def test_a_log_record_is_logged_under_the_name_of_its_job(caplog):
    with caplog.at_level(logging.INFO, "procjob"):
        relay(Logged(0.0, "log", "100% done", logging.INFO, "simulator.noise"), lambda: "job 7 (%s)")
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("procjob.task", logging.INFO)
    assert record.getMessage() == "job 7 (%s): simulator.noise: 100% done"
    assert (record.job, record.task_logger) == ("job 7 (%s)", "simulator.noise")


@pytest.mark.parametrize("describe", [None, lambda: 1 / 0], ids=["none", "one that fails"])
def test_a_task_without_a_usable_description_is_the_task(describe):
    assert named(describe) == "the task"


@pytest.mark.parametrize(
    ("name", "category"),
    [
        ("builtins:RuntimeWarning", RuntimeWarning),
        ("procjob.nowhere:NoiseWarning", UserWarning),
        ("builtins:NoiseWarning", UserWarning),
        ("builtins:print", UserWarning),
        ("builtins:int", UserWarning),
        ("", UserWarning),
    ],
)
def test_a_warning_is_issued_again_with_its_category_where_it_was_issued(name, category):
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        relay(Logged(0.0, "warning", "too few shots", logging.WARNING, name, "simulate.py", 7))
    (warning,) = shown
    assert (warning.category, warning.filename, warning.lineno) == (category, "simulate.py", 7)
    assert str(warning.message) == "too few shots"


def test_a_warning_that_a_filter_of_the_parent_makes_an_error_is_logged_as_what_it_is(caplog):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        relay(
            Logged(0.0, "warning", "too few shots", logging.WARNING, "builtins:UserWarning", "a.py", 7), lambda: "job 7"
        )
    (record,) = caplog.records
    assert record.getMessage().startswith("job 7: a.py:7: UserWarning: too few shots (")


def test_the_filters_of_the_parent_decide_how_often_a_warning_is_shown():
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("default")
        for _ in range(3):
            relay(Logged(0.0, "warning", "once for each place", logging.WARNING, "builtins:UserWarning", "a.py", 1))
    assert len(shown) == 1


@pytest.mark.parametrize(
    ("text", "level"), [("DEBUG", 10), ("info", 20), (" Warning ", 30), ("35", 35), ("", logging.getLogger().level)]
)
def test_the_level_of_capture_comes_from_the_environment_or_the_root_logger(monkeypatch, text, level):
    monkeypatch.setenv("PROCJOB_LOG_LEVEL", text)
    assert captured_level() == level


@pytest.mark.parametrize("text", ["LOUD", "-1", "1.5"])
def test_a_wrong_level_in_the_environment_is_refused(monkeypatch, text):
    monkeypatch.setenv("PROCJOB_LOG_LEVEL", text)
    with pytest.raises(ValueError, match=f"PROCJOB_LOG_LEVEL must be a level such as INFO or 20, not '{text}'"):
        captured_level()
