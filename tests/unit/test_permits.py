"""Permits: each is used by the worker or taken back by the parent, never both, whatever the moment."""

from __future__ import annotations

import os
import threading

import pytest

from procjob.pool.permits import Permits


@pytest.fixture
def ends():
    read_fd, write_fd = os.pipe()
    yield Permits(read_fd, write_fd), Permits(read_fd)
    os.close(read_fd)
    os.close(write_fd)


def test_a_permit_is_used_once(ends):
    parent, worker = ends
    assert not worker.take()
    parent.grant(2)
    assert [worker.take() for _ in range(3)] == [True, True, False]
    assert parent.recall() == 0


def test_recalled_permits_are_gone(ends):
    parent, worker = ends
    parent.grant(5)
    assert worker.take()
    assert parent.recall() == 4
    assert not worker.take()


def test_a_recall_and_a_worker_that_goes_on_share_the_permits_without_rest(ends):
    parent, worker = ends
    for _ in range(200):
        parent.grant(32)
        used = []
        thread = threading.Thread(target=lambda used=used: used.extend(iter(worker.take, False)))
        thread.start()
        recalled = parent.recall()
        thread.join()
        assert len(used) + recalled == 32


def test_where_the_parent_has_gone_there_is_no_permit():
    read_fd, write_fd = os.pipe()
    worker = Permits(read_fd)
    os.close(write_fd)
    assert not worker.take()
    os.close(read_fd)
