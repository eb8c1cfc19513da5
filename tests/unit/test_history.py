"""The times of a job are those of the clock on the wall, whatever happened while another job was made."""

import time

from procjob import metrics
from procjob.metrics import History


def test_a_thread_that_is_interrupted_while_it_looks_at_the_clocks_spoils_the_times_of_no_later_job(monkeypatch):
    """`Store.jobs(created_after=...)` would miss a job that seems to have been made before its call."""
    late = History().clock - 0.0009
    monkeypatch.setattr(metrics, "_clock", late)
    before = time.time()
    made = History().creation_date.timestamp()
    assert made > before - 0.0005


def test_jobs_share_what_they_know_of_the_clocks():
    clocks = [History().clock for _ in range(1000)]
    assert len(set(map(id, clocks))) < 100
