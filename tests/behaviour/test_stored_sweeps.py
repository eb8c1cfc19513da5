"""Sweeps that are read from a store by somebody else."""

import os
import re
import subprocess
import sys
import threading

import numpy as np
import pytest

import procjob
from procjob.errors import RemoteError, StoreError


def test_a_finished_sweep_is_read_back_as_it_was(tmp_path):
    def measured(x, n, seed):
        return {"value": x * n, "noise": seed % 7, "name": f"{n}"}

    points = procjob.grid(x=np.linspace(0, 1, 30), n=[1, 2])
    result = procjob.sweep(measured, points, seed=7, workers=2, store=tmp_path / "s.db")
    (record,) = procjob.Store(tmp_path / "s.db").sweeps()
    found = procjob.SweepResult.from_store(tmp_path / "s.db", record.sweep_id)
    assert found == result
    assert found.shape == (30, 2)
    assert found.metadata["status"] == "DONE"
    assert found.metadata["sweep_id"] == result.metadata["sweep_id"]


def test_points_that_failed_have_their_errors_and_the_rest_is_pending(tmp_path):
    def root(x):
        if x < 0:
            raise ValueError("no root")
        return x**0.5

    store = tmp_path / "s.db"
    with pytest.raises(ValueError, match="no root"):
        procjob.sweep(root, procjob.grid(x=[-1.0, 4.0]), workers=1, store=store)
    found = procjob.SweepResult.from_store(store, procjob.Store(store).sweeps()[0].sweep_id)
    assert found.metadata["status"] == "ERROR"
    assert found.partial
    assert isinstance(found.errors[0], RemoteError)
    assert "ValueError: no root" in str(found.errors[0])


def test_an_error_of_a_type_that_is_not_built_in_has_the_text_in_the_store_that_it_has_in_the_result(tmp_path):
    def fail(x):
        raise StoreError("its file") if x else AssertionError

    store = tmp_path / "s.db"
    result = procjob.sweep(fail, procjob.grid(x=[0, 1]), workers=0, store=store, errors="store")
    assert procjob.SweepResult.from_store(store, result.metadata["sweep_id"]) == result


def test_points_that_failed_have_their_seconds_in_the_store_and_in_the_result(tmp_path):
    def fail(x):
        if x == 0:
            raise ValueError
        if x == 1:
            os._exit(1)
        return threading.Lock()  # cannot be pickled

    store = tmp_path / "s.db"
    result = procjob.sweep(fail, procjob.grid(x=[0, 1, 2]), workers=1, store=store, errors="store")
    assert np.isnan(result.seconds).tolist() == [False, True, False]
    found = procjob.SweepResult.from_store(store, result.metadata["sweep_id"])
    np.testing.assert_array_equal(found.seconds, result.seconds)


def test_a_sweep_whose_process_was_killed_is_an_error_and_keeps_its_points(tmp_path):
    script = f"""
import os, signal, procjob
def f(x):
    return x
job = procjob.sweep(f, procjob.grid(x=[1, 2, 3]), workers=0, store={str(tmp_path / "s.db")!r}, wait=False)
record = procjob.Store({str(tmp_path / "s.db")!r}).sweeps()[0]
import dataclasses
procjob.Store({str(tmp_path / "s.db")!r}).put_sweep(dataclasses.replace(record, status="RUNNING"))
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script], check=False, timeout=60)
    (record,) = procjob.Store(tmp_path / "s.db").sweeps()
    assert record.status == "ERROR"
    assert re.fullmatch(r"interrupted: process \d+ on .* ended before the sweep was final", record.error)
    found = procjob.SweepResult.from_store(tmp_path / "s.db", record.sweep_id)
    assert found.metadata["status"] == "ERROR"
    assert found["f"].tolist() == [1, 2, 3]


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(StoreError, match="there is no store"):
        procjob.SweepResult.from_store(tmp_path / "none.db", "1")
    assert not (tmp_path / "none.db").exists()
    with procjob.Store(tmp_path / "s.db") as store, pytest.raises(StoreError, match="there is no sweep 'abc'"):
        procjob.SweepResult.from_store(store, "abc")
