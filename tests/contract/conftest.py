"""The four engines of the contract suites, warmed up so that a test starts no process or thread that outlives it."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import loky
import pytest

from procjob import Backend, WorkerDiedError
from procjob.engine import ExecutorEngine, InlineEngine, ProcessEngine

ENGINES = ("process", "inline", "threads", "loky")
WORKERS = 2


@contextmanager
def open_one(kind):
    """Open an engine with two workers (inline: none); at the end it and its executor are closed."""
    with _opened(kind) as engine:
        engine.post(int)  # its dispatcher thread runs from here on
        yield engine
        engine.close(cancel=True)


@contextmanager
def _opened(kind):
    match kind:
        case "process":
            engine = ProcessEngine(WORKERS)
            _start_all_processes(engine)
            yield engine
        case "inline":
            yield InlineEngine()
        case "threads":
            with ThreadPoolExecutor(WORKERS) as executor:
                yield ExecutorEngine(executor)
        case "loky":
            executor = loky.get_reusable_executor(WORKERS, timeout=600)
            for future in [executor.submit(time.sleep, 0.05) for _ in range(2 * WORKERS)]:
                future.result()
            yield ExecutorEngine(executor)
            executor.shutdown(wait=True, kill_workers=True)


def _start_all_processes(engine):
    """The workers, and the spare, which is started by a death."""
    with pytest.raises(WorkerDiedError):
        Backend(os._exit, engine=engine).run(3).result(60)
    for job in [Backend(time.sleep, engine=engine).run(0.2) for _ in range(WORKERS)]:
        job.result(60)
    deadline = time.monotonic() + 60
    while len(engine.worker_pids()) != WORKERS + 1 and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.fixture(scope="session")
def open_engine():
    """Open an engine of a kind for a ``with`` block."""
    return open_one


@pytest.fixture(scope="module", params=ENGINES)
def engine(request):
    """Each engine in turn, shared by the tests of a module."""
    with open_one(request.param) as opened:
        yield opened
