"""How many workers and threads there are, and the environment that makes workers keep to it."""

from __future__ import annotations

import pytest

from procjob.pool import environment
from procjob.pool.environment import THREAD_VARIABLES, cores_granted, default_workers, worker_environment


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in (*THREAD_VARIABLES, "PROCJOB_WORKERS", "LOKY_MAX_CPU_COUNT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def eight_cores(monkeypatch):
    monkeypatch.setattr(environment, "cores_granted", lambda: 8)  # of the machine, not of our code


def test_at_least_one_core_is_granted():
    assert cores_granted() >= 1


def test_fewer_cores_can_be_granted_by_the_environment(monkeypatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    assert cores_granted() == 1


def test_there_are_as_many_workers_as_cores_unless_the_environment_says_otherwise(monkeypatch, eight_cores):
    assert default_workers() == 8
    monkeypatch.setenv("PROCJOB_WORKERS", " 1 ")
    assert default_workers() == 1
    monkeypatch.setenv("PROCJOB_WORKERS", "")
    assert default_workers() == 8


@pytest.mark.parametrize("text", ["0", "-2", "2.5", "two", "1e3"])
def test_a_wrong_number_of_workers_in_the_environment_is_refused(monkeypatch, text):
    monkeypatch.setenv("PROCJOB_WORKERS", text)
    with pytest.raises(ValueError, match=f"PROCJOB_WORKERS must be a whole number >= 1, not '{text}'"):
        default_workers()


@pytest.mark.parametrize(("workers", "share"), [(1, "8"), (2, "4"), (3, "2"), (8, "1"), (100, "1")])
def test_workers_share_the_cores(eight_cores, workers, share):
    variables = worker_environment(workers)
    assert {variables[name] for name in THREAD_VARIABLES} == {share}


@pytest.mark.parametrize(
    ("mine", "expected"), [("2", "2"), ("16", "4"), ("0", "4"), ("", "4"), ("4,2", "4"), ("x", "4")]
)
def test_a_smaller_limit_that_the_user_has_set_is_kept(monkeypatch, eight_cores, mine, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", mine)
    variables = worker_environment(2)
    assert variables["OMP_NUM_THREADS"] == expected
    assert variables["MKL_NUM_THREADS"] == "4"


def test_an_explicit_number_of_threads_wins_over_everything(monkeypatch, eight_cores):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    variables = worker_environment(8, threads_per_worker=6)
    assert {variables[name] for name in THREAD_VARIABLES} == {"6"}


def test_qiskit_starts_no_processes_inside_a_worker():
    assert worker_environment(1).items() >= {"QISKIT_IN_PARALLEL": "TRUE", "QISKIT_PARALLEL": "FALSE"}.items()


def test_every_variable_can_be_set_in_an_environment():
    assert all(isinstance(text, str) for pair in worker_environment(2, 3).items() for text in pair)
