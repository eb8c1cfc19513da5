"""Jobs in a store: found by any process, with their results, whatever happens to the one that ran them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import procjob
from procjob import JobStatus, Store
from procjob.engine import ExecutorEngine
from procjob.store import StoredJob, values

DEADLINE = 30.0


@pytest.fixture(autouse=True)
def own_secret(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "jobs.db"


def script(text, path):
    command = [sys.executable, "-c", f"import os, sys, time, procjob\n{textwrap.dedent(text)}", str(path)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def output_of(text, path):
    """What a script writes that has the store as its first argument."""
    with script(text, path) as process:
        out, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, err
    return out.strip()


def sqlite(path, statement, *values):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(statement, values).fetchall()


def add(x, *, y=1):
    return x + y


# ---------------------------------------------------------------- another process


def test_another_process_finds_a_job_with_everything_about_it(path):
    def simulate(angle, *, scale):
        return {"energy": angle * scale, "state": np.arange(3.0), "exact": Fraction(1, 3)}

    with procjob.Backend(simulate, workers=1, store=path) as backend:
        job = backend.run(0.5, scale=2.0, tags=["vqe", "h2"], metadata={"note": "first", "depth": 3})
        job.result(DEADLINE)
    text = f"""
        job = procjob.Store(sys.argv[1]).job({job.job_id()!r})
        print(job.status().name, job.done(), job.tags, job.metadata, job.inputs(), job.backend_name, job.error_message())
        print(job.result()["energy"], job.result()["state"].sum(), job.result()["exact"])
        print(job.creation_date.isoformat(), job.metrics().attempts, job.metrics().worker_pid, job.metrics().run_seconds)
        print([status.name for status in job.metrics().timestamps])
    """
    metrics = job.metrics()
    assert output_of(text, path).splitlines() == [
        "DONE True ('vqe', 'h2') {'note': 'first', 'depth': 3} 0.5 simulate None",
        "1.0 3.0 1/3",
        f"{job.creation_date.isoformat()} 1 {metrics.worker_pid} {metrics.run_seconds}",
        "['INITIALIZING', 'VALIDATING', 'QUEUED', 'RUNNING', 'DONE']",
    ]


def test_a_job_whose_result_was_returned_is_there_after_a_kill(path):
    text = """
        def work(n):
            return "x" * n
        with procjob.Backend(work, workers=1, store=sys.argv[1]) as backend:
            backend.run(1).result()
            backend.run(10_000_000).result()
            os.kill(os.getpid(), 9)
    """
    with script(text, path) as process:
        process.communicate(timeout=DEADLINE)
    with Store(path) as store:
        assert [len(job.result()) for job in store.jobs()] == [10_000_000, 1]


def test_a_copy_of_the_process_made_by_fork_reads_and_records_jobs_without_waiting_for_a_thread_that_it_lacks(path):
    text = """
        backend = procjob.Backend(abs, workers=0, store=procjob.Store(sys.argv[1], timeout=1))
        backend.run(-1).result()
        if os.fork() == 0:
            backend.run(-2).result()
            print(*[job.result() for job in backend.jobs()], flush=True)
            os.kill(os.getpid(), 9)
        os.wait()
    """
    assert output_of(text, path) == "2 1"


HELD = "import threading; threading.Thread(target=lambda _: time.sleep(60), args=(backend,), daemon=True).start()"
ENDS = {"end": "", "Ctrl-C": "os.kill(os.getpid(), 2)", "exception": "1 / 0", "held by a thread": HELD}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_script_that_ends_leaves_no_job_without_its_end(path, end):
    text = f"""
        import signal
        signal.signal(signal.SIGINT, signal.default_int_handler)
        def work(seconds):
            time.sleep(seconds)
        backend = procjob.Backend(work, workers=1, store=sys.argv[1])
        quick, running, queued = backend.run(0), backend.run(60), backend.run(60)
        procjob.wait([quick])
        while not running.running():
            time.sleep(0.01)
        {end}
    """
    with script(text, path) as process:
        process.communicate(timeout=DEADLINE)
    assert [file.name for file in path.parent.iterdir()] == ["jobs.db"]
    with Store(path) as store:
        found = store.jobs(descending=False)
        assert [job.status().name for job in found] == ["DONE", "CANCELLED", "CANCELLED"]
        with pytest.raises(procjob.JobCancelledError):
            found[1].result()


RUNNING = """
    def work(seconds):
        time.sleep(seconds)
    backend = procjob.Backend(work, workers=1, store=sys.argv[1])
    running, queued = backend.run(60, job_id="running"), backend.run(60, job_id="queued")
    while [job.status().name for job in backend.store.jobs(descending=False)] != ["RUNNING", "QUEUED"]:
        time.sleep(0.01)
    print("ready", flush=True)
    sys.stdin.readline()
    {then}
"""


def test_a_job_whose_process_was_killed_is_an_error_and_not_running_for_ever(path):
    with script(RUNNING.format(then=""), path) as process, Store(path) as store:
        assert process.stdout.readline() == "ready\n"
        held = store.job("running")
        assert [held.status(), store.job("queued").status()] == [JobStatus.RUNNING, JobStatus.QUEUED]
        assert [job.job_id() for job in store.jobs(status="RUNNING")] == ["running"]
        process.kill()
        process.wait(DEADLINE)
        held.wait_for_final_state(DEADLINE)
        message = f"interrupted: process {process.pid} on .* ended before the job was final"
        for job in (held, store.job("running"), store.job("queued"), *store.jobs(status=JobStatus.ERROR)):
            assert job.errored()
            with pytest.raises(procjob.RemoteError, match=message):
                job.result()
        assert sqlite(path, "SELECT DISTINCT status FROM jobs") == [("ERROR",)]


def test_how_long_a_job_has_run_or_waited_is_told_once_it_is_known(path):
    with script(RUNNING.format(then=""), path) as process, Store(path) as store:
        process.stdout.readline()
        running, queued = store.job("running"), store.job("queued")
        for status in ("RUNNING", "ERROR"):
            assert repr(running) == f"<StoredJob running {status} work>"
            assert running.metrics().run_seconds is None
            assert running.metrics().queue_seconds > 0
            assert queued.metrics().queue_seconds is None
            process.kill()
            process.wait(DEADLINE)
            running.wait_for_final_state(DEADLINE)


def test_another_process_can_wait_for_a_job_that_runs(path):
    with (
        script(RUNNING.format(then="running.cancel(); running.wait_for_final_state()"), path) as process,
        Store(path) as store,
    ):
        assert process.stdout.readline() == "ready\n"
        job = store.job("running")
        assert not job.cancel(), "only its own process can"
        with pytest.raises(TypeError, match="callback must be callable, not 5"):
            job.wait_for_final_state(callback=5)
        with pytest.raises(procjob.JobTimeoutError, match="is RUNNING after waiting"):
            job.result(timeout=0.2)
        with pytest.raises(procjob.JobError, match="submitted"):
            job.submit()
        calls = []
        for wait in (60, None):
            with pytest.raises(procjob.JobTimeoutError):
                job.wait_for_final_state(0.35, wait, lambda *call: calls.append(call))
            assert calls == [("running", JobStatus.RUNNING, job)]
            calls.clear()

        def go_on(*call):
            calls.append(call)
            if len(calls) == 2:
                process.stdin.write("\n")
                process.stdin.flush()

        began = time.monotonic()
        job.wait_for_final_state(DEADLINE, 0.01, go_on)
        assert time.monotonic() - began < DEADLINE / 2
        assert job.cancelled()
        process.communicate(timeout=DEADLINE)


def test_a_job_of_another_process_that_was_deleted_has_its_last_status_and_no_result(path):
    with script(RUNNING.format(then=""), path) as process, Store(path) as store:
        process.stdout.readline()
        job = store.job("queued")
        sqlite(path, "DELETE FROM jobs WHERE job_id = 'queued'")
        assert job.status() is JobStatus.QUEUED
        with pytest.raises(procjob.StoreError, match="job queued was deleted from the store while it was QUEUED"):
            job.result(DEADLINE)
        process.kill()


def test_of_a_process_on_another_machine_nobody_can_tell(path):
    with script(RUNNING.format(then=""), path) as process:
        process.stdout.readline()
        process.kill()
    sqlite(path, "UPDATE processes SET host = 'another'")
    with Store(path) as store:
        assert store.job("running").running()
        sqlite(path, "UPDATE processes SET host = ?, boot = 'before'", os.uname().nodename)
        assert store.job("running").errored(), "this one, before it was started again"


def test_a_later_process_with_the_same_pid_is_not_taken_for_the_one_that_died(path):
    with script(RUNNING.format(then=""), path) as process, Store(path) as store:
        process.stdout.readline()
        sqlite(path, "UPDATE processes SET started = started - 1")
        assert store.job("running").errored()
        process.kill()


# ---------------------------------------------------------------- this process


def test_a_live_job_is_returned_itself(path):
    with procjob.Backend(add, workers=1, store=path) as backend:
        job = backend.run(1)
        assert backend.job(job.job_id()) is job
        assert backend.jobs() == [job]
        job.result(DEADLINE)
        job_id = job.job_id()
        del job
        other = procjob.Backend(add, workers=1, store=path)
        found = other.job(job_id)
        assert isinstance(found, StoredJob)
        assert found.backend() is other
        assert found.result() == 2
        other.close()
        with pytest.raises(procjob.JobError, match="no job 'unknown'"):
            backend.job("unknown")
    assert backend.store.path == path


def test_without_a_store_the_jobs_that_are_alive_are_listed():
    with procjob.Backend(add, workers=0) as backend:
        jobs = [backend.run(n, tags=["even"] if n % 2 == 0 else []) for n in range(12)]
        assert backend.jobs() == jobs[:1:-1]
        assert backend.jobs(limit=2, skip=1, tags=["even"], descending=False) == [jobs[2], jobs[4]]
        assert backend.jobs(status="ERROR") == []
        assert backend.jobs(backend_name="add", limit=None) == jobs[::-1]
        assert backend.jobs(backend_name="other") == []
        assert backend.job(jobs[3].job_id()) is jobs[3]
        with pytest.raises(procjob.JobError, match="store="):
            backend.job("unknown")


def test_jobs_are_found_by_status_tags_time_and_backend(path):
    def may_fail(n):
        if n % 3 == 0:
            raise ValueError(n)
        return n

    awkward = ['a"b', "x, y", "[", "\\", "é", ""]
    with procjob.Backend(may_fail, workers=0, store=path) as backend:
        for n in range(6):
            backend.run(n, job_id=f"{n}", tags=["all", f"n{n}", *awkward[: n + 1]])
    with procjob.Backend(add, workers=0, store=path) as backend:
        backend.run(1, job_id="other", tags=['x"all'])
    start = time.time()
    for n in range(6):
        sqlite(path, "UPDATE jobs SET created = ? WHERE job_id = ?", start + n, f"{n}")
    with Store(path) as store:

        def ids(**query):
            return [job.job_id() for job in store.jobs(**({"backend_name": "may_fail"} | query))]

        assert ids() == ["5", "4", "3", "2", "1", "0"]
        assert ids(limit=2, skip=1, descending=False) == ["1", "2"]
        assert ids(limit=None) == ids(limit=1 << 63) == ids()
        assert ids(skip=1 << 63) == []
        assert ids(limit=0) == []
        assert ids(status="ERROR") == ids(status=[JobStatus.ERROR]) == ids(status=JobStatus.ERROR) == ["3", "0"]
        assert ids(status=["DONE", JobStatus.ERROR]) == ids()
        assert ids(tags=["all", "n2"]) == ["2"]
        assert ids(tags=["n"]) == ids(tags=["all", "nothing"]) == ids(tags=["b"]) == []
        for n, tag in enumerate(awkward):
            assert ids(tags=[tag], descending=False) == [f"{k}" for k in range(n, 6)]
        assert ids(tags=["all"], backend_name=None) == ids()
        middle = datetime.fromtimestamp(start + 2.5, UTC)
        assert ids(created_after=middle) == ["5", "4", "3"]
        assert ids(created_before=middle) == ["2", "1", "0"]
        elsewhere = middle.astimezone(tz=UTC).astimezone(datetime.now().astimezone().tzinfo)
        assert ids(created_after=elsewhere.replace(tzinfo=None)) == ["5", "4", "3"], "without a zone it is local time"
        assert ids(created_after=middle, created_before=middle + timedelta(seconds=1)) == ["3"]
        assert ids(backend_name="add") == ["other"]


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({"limit": -1}, ValueError),
        ({"skip": "2"}, TypeError),
        ({"status": "FINISHED"}, ValueError),
        ({"status": 3}, ValueError),
        ({"tags": "vqe"}, TypeError),
        ({"created_after": "yesterday"}, TypeError),
        ({"created_before": 1.8e9}, TypeError),
        ({"created_after": datetime(1, 1, 1)}, ValueError),  # noqa: DTZ001  (local time is the point)
        ({"descending": "no"}, TypeError),
        ({"backend_name": 3}, TypeError),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_wrong_question_is_refused(path, query, error):
    (name,) = query
    with Store(path) as store, procjob.Backend(add, workers=0) as backend:
        for place in (store, backend):
            with pytest.raises(error, match=name):
                place.jobs(**query)


@pytest.mark.parametrize("wrong", [None, 3, Path("mine")], ids=str)
def test_what_is_no_id_is_named_and_the_store_is_not_to_blame(path, wrong):
    with Store(path) as store, procjob.Backend(add, workers=0) as backend:
        for ask in (store.job, store.sweep, store.delete_sweep, store.ids, backend.job):
            with pytest.raises(TypeError, match=f"must be a string, not {re.escape(repr(wrong))}"):
                ask(wrong)
    with pytest.raises(TypeError, match="name must be a string, not 3"):
        Store(path).sweeps(name=3)


def test_an_id_that_is_taken_is_refused_before_anything_is_spent(path, tmp_path):
    def touch(name):
        (tmp_path / name).touch()

    with procjob.Backend(touch, workers=1, store=path) as backend:
        backend.run("first", job_id="mine").result(DEADLINE)
        with pytest.raises(procjob.JobError, match=r"job 'mine' in .*jobs\.db already.*store\.delete"):
            backend.run("second", job_id="mine")
        with pytest.raises(procjob.NotPicklableError):
            backend.run((n for n in "ab"), job_id="refused")
        assert backend.engine.workers == 1
        assert len(backend.jobs()) == 1, "what was refused has left no record"
        backend.run("third", job_id="refused").result(DEADLINE)
        backend.store.delete("mine")
        backend.run("fourth", job_id="mine").result(DEADLINE)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["first", "fourth", "jobs.db", "third"]


def test_a_deleted_job_is_gone_and_not_recorded_again(path):
    def wait(file):
        while not file.exists():
            time.sleep(0.01)

    with procjob.Backend(wait, workers=1, store=path) as backend:
        jobs = [backend.run(path.parent / "go", job_id=f"{n}") for n in range(3)]
        assert backend.store.delete(["0", "1", "unknown"]) == 2
        (path.parent / "go").touch()
        procjob.wait(jobs, DEADLINE)
        jobs[0].result()
    with Store(path) as store:
        assert [job.job_id() for job in store.jobs()] == ["2"]
        assert store.delete("2") == 1
        assert store.delete([]) == 0


def test_an_error_a_cancel_and_a_limit_are_recorded_as_they_were(path):
    def work(what):
        if what == "raise":
            raise ZeroDivisionError("no shots")
        time.sleep(60)

    with procjob.Backend(work, workers=2, store=path) as backend:
        live = [backend.run("raise"), backend.run("limit", time_limit=0.1), backend.run("cancel")]
        live[2].cancel()
        procjob.wait(live, DEADLINE)
        messages = [job.error_message() for job in live]
    with Store(path) as store:
        found = store.jobs(descending=False)
        assert [job.status().name for job in found] == ["ERROR", "ERROR", "CANCELLED"]
        assert [job.error_message() for job in found] == messages
        with pytest.raises(procjob.RemoteError, match="ZeroDivisionError: no shots") as caught:
            found[0].result()
        assert "in work" in str(caught.value.__cause__)
        assert repr(found[0]).startswith(f"<StoredJob {found[0].job_id()[:8]} ERROR")
    assert sqlite(path, "SELECT error_type FROM jobs ORDER BY created") == [
        ("ZeroDivisionError",), ("procjob.errors.TimeLimitExceeded",), (None,)
    ]  # fmt: skip


def test_what_cannot_be_kept_costs_the_result_and_not_the_job(path):
    def generate(n):
        return (k for k in range(n))

    with procjob.Backend(generate, workers=0, store=path) as backend:
        job = backend.run(3, metadata={"lock": threading.Lock()}, tags=["kept"])
        assert list(job.result()) == [0, 1, 2]
        job_id = job.job_id()
    with Store(path) as store:
        (job,) = store.jobs(tags=["kept"])
        assert (job.job_id(), job.status()) == (job_id, JobStatus.DONE)
        with pytest.raises(procjob.StoreError, match=r"metadata.*not kept.*lock"):
            _ = job.metadata
        with pytest.raises(procjob.StoreError, match=r"result.*not kept.*generator"):
            job.result()


def test_a_text_that_is_too_large_for_the_store_costs_the_result_and_no_other_job(path, monkeypatch):
    monkeypatch.setattr(values, "MAX_BYTES", 1_000)
    with procjob.Backend("x".__mul__, workers=0, store=path) as backend:
        results = [len(backend.run(n).result()) for n in (1, 2_000, 3)]
        assert results == [1, 2_000, 3]
    with Store(path) as store:
        small, large, last = store.jobs(descending=False)
        assert [job.status() for job in (small, large, last)] == [JobStatus.DONE] * 3
        assert (small.result(), last.result()) == ("x", "xxx")
        with pytest.raises(procjob.StoreError, match=r"not kept: result has 2,\d{3} bytes"):
            large.result()


def test_halves_of_characters_in_texts_are_escaped(path):
    def fail(name):
        raise FileNotFoundError(name)

    with procjob.Backend(fail, workers=0, store=path) as backend:
        job = backend.run("caf\udce9", tags=["t\udce9"], metadata={"file": "caf\udce9"})
        job.wait_for_final_state(DEADLINE)
    with Store(path) as store:
        (job,) = store.jobs(status="ERROR")
        assert job.error_message() == r"FileNotFoundError: caf\udce9"
        assert job.metadata == {"file": "caf\udce9"}
        assert job.tags == ("t\udce9",)


def test_what_has_halves_of_characters_in_its_name_is_kept_and_found(path):
    name = "caf\udce9"
    with Store(path) as store, procjob.Backend(add, workers=0, store=store) as backend:
        assert backend.run(1, job_id=name, tags=[name]).result() == 2
        with pytest.raises(procjob.JobError, match="already"):
            backend.run(1, job_id=name)
        assert [job.result() for job in store.jobs(tags=[name])] == [2]
        assert store.job(name).result() == 2
        assert list(store.ids(name).values()) == ["job"]
        assert store.delete(name) == 1
        assert store.ids(name) == {}
        assert store.jobs(backend_name=name) == store.sweeps(name=name) == store.targets(name) == []
        with pytest.raises(procjob.StoreError, match="no sweep"):
            store.sweep(name)


def test_a_sweep_whose_version_has_halves_of_characters_goes_on(path):
    def double(x):
        return 2 * x

    for reused in (0, 2):
        result = procjob.sweep(
            double, procjob.grid(x=[1, 2]), workers=0, store=path, version="v\udce9", tags=["t\udce9"]
        )
        assert result.metadata["reused"] == reused
    with Store(path) as store:
        assert len(store.sweeps(tags=["t\udce9"])) == 2


@pytest.mark.parametrize("engine", ["workers", "inline", "executor"])
def test_jobs_of_every_engine_are_recorded(path, engine):
    with ThreadPoolExecutor(2) as pool, Store(path) as store:
        settings = {"workers": {"workers": 2}, "inline": {"workers": 0}, "executor": {"engine": ExecutorEngine(pool)}}
        with procjob.Backend(add, store=store, **settings[engine]) as backend:
            assert sorted(backend.run(n).result(DEADLINE) for n in range(5)) == [1, 2, 3, 4, 5]
            assert asyncio.run(_awaited(backend.run(7))) == 8
        assert [job.result() for job in store.jobs(descending=False)] == [1, 2, 3, 4, 5, 8]


async def _awaited(job):
    return await job


def test_the_built_in_simulator_keeps_its_results_without_pickle(path):
    circuit = procjob.Circuit(2).h(0).cx(0, 1).measure_all()
    with procjob.Backend(workers=2, store=path) as backend:
        counts = backend.run(circuit, shots=100, seed=1).result(DEADLINE).get_counts()
    assert "$pickle" not in sqlite(path, "SELECT result FROM jobs")[0][0]
    with Store(path) as store:
        assert store.jobs()[0].result().get_counts() == counts


# ---------------------------------------------------------------- a store that fails


def test_a_disk_that_fills_up_costs_a_warning_and_no_job(path):
    text = """
        import logging, resource
        logging.basicConfig(format="%(levelname)s %(message)s")
        def work(n):
            return str(n) * 40_000
        with procjob.Backend(work, workers=1, store=sys.argv[1]) as backend:
            resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
            jobs = [backend.run(n) for n in range(10)]
            print([len(job.result()) for job in jobs])
            print([job.status().name for job in jobs])
    """
    with script(text, path) as process:
        out, err = process.communicate(timeout=DEADLINE)
    assert out.splitlines() == [str([40_000] * 10), str(["DONE"] * 10)]
    assert err.count("WARNING jobs go on, but are not all recorded: the store") == 1
    assert "Traceback" not in err
    with Store(path) as store:
        assert {job.status().name for job in store.jobs()} <= {"DONE", "ERROR"}


@pytest.mark.parametrize(
    "result", [lambda job: job.result(DEADLINE), lambda job: asyncio.run(_awaited(job))], ids=["result", "await"]
)
def test_a_store_that_is_locked_delays_the_first_result_and_no_other(path, caplog, result):
    with Store(path, timeout=0.5) as store, contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        with procjob.Backend(add, workers=1, store=store) as backend:
            backend.run(0).result(DEADLINE)
            other.execute("BEGIN IMMEDIATE")
            began = time.monotonic()
            assert [result(backend.run(n)) for n in range(20)] == list(range(1, 21))
            assert time.monotonic() - began < 6, "20 waits of half a second are 10"
            other.execute("ROLLBACK")
            backend.run(20).result(DEADLINE)
        assert len(store.jobs(limit=None)) == 22, "what could not be written then is written later"
    assert [record.levelno for record in caplog.records if "recorded" in record.message] == [logging.WARNING]


def test_a_wait_that_runs_out_while_the_store_is_locked_is_no_timeout_of_a_job_that_is_done(path):
    with Store(path, timeout=5) as store, contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        with procjob.Backend(add, workers=1, store=store) as backend:
            backend.run(0).result(DEADLINE)
            other.execute("BEGIN IMMEDIATE")
            job = backend.run(1)
            procjob.wait([job], DEADLINE)
            assert job.result(timeout=0.1) == 2
            job.wait_for_final_state(timeout=0.1)
            other.execute("ROLLBACK")
        assert len(store.jobs()) == 2


@pytest.mark.parametrize(
    "settings",
    [{"workers": -1}, {"threads_per_worker": 0}, {"engine": 3}, {"simulator": threading.Lock().acquire, "warmup": []}],
    ids=lambda settings: next(iter(settings)),
)
def test_a_backend_that_is_refused_leaves_neither_a_file_nor_a_thread(path, settings):
    with pytest.raises((TypeError, ValueError)) as refusal:
        procjob.Backend(**{"simulator": add, "store": path} | settings)
    assert not path.exists()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("procjob")], refusal.traceback


def test_a_file_that_cannot_be_a_store_is_refused_when_the_backend_is_made(path):
    path.write_text("theta, energy")
    with pytest.raises(procjob.StoreError, match="not a SQLite file"):
        procjob.Backend(add, store=path)
    with pytest.raises(TypeError):
        procjob.Backend(add, store=3)


def test_many_processes_record_into_one_store(path):
    text = """
        def work(n):
            return n
        with procjob.Backend(work, workers=1, store=sys.argv[1]) as backend:
            print(sum(job.result() for job in [backend.run(n) for n in range(50)]))
    """
    running = [script(text, path) for _ in range(3)]
    for process in running:
        with process:
            assert process.communicate(timeout=DEADLINE) == ("1225\n", "")
    with Store(path) as store:
        assert len(store.jobs(limit=None, status="DONE")) == 150


def test_a_closed_backend_leaves_no_thread_and_can_still_be_asked(path):
    backend = procjob.Backend(add, workers=1, store=path)
    job_id = backend.run(1).job_id()
    backend.close()
    assert not [thread.name for thread in threading.enumerate() if thread.name == "procjob-store"]
    assert backend.job(job_id).result() == 2
    backend.close(wait=False)
