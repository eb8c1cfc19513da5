"""`ExecutorEngine`, whose executor goes on when the engine is closed."""

from __future__ import annotations

import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import pytest

from procjob import WorkerDiedError
from procjob.engine import Task
from procjob.engine.executor import ExecutorEngine
from procjob.events import Accepted, Finished, Started

DEADLINE = 10.0


@pytest.fixture
def gate():
    """An event that tasks may wait for; it stays in this process, by a name that pickle finds."""
    threading.gate_of_the_test = threading.Event()
    yield threading.gate_of_the_test
    del threading.gate_of_the_test


def test_a_task_that_ends_after_a_close_has_its_callbacks_called_one_at_a_time_in_one_thread(gate):
    def wait_for_the_gate():
        import threading

        threading.gate_of_the_test.wait(10.0)

    called, told = [], threading.Semaphore(0)

    def note(_):
        called.append(threading.current_thread().name)
        told.release()

    with ThreadPoolExecutor(2) as executor:
        engine = ExecutorEngine(executor)
        futures = [engine.submit(Task(wait_for_the_gate), lambda _: None) for _ in range(2)]
        engine.post(int)  # the thread for callbacks has begun
        for future in futures:
            future.add_done_callback(note)
        engine.close(wait=False)
        engine._callbacks._dispatcher.join(0.2)  # time for it to end, which it must not
        gate.set()
        for _ in futures:
            assert told.acquire(timeout=DEADLINE)
        engine.close()
    assert called == ["procjob-callbacks"] * 2


@pytest.mark.parametrize(("brought", "message"), [(None, "it returned None"), (SystemExit(3), "SystemExit: 3")])
def test_a_task_of_which_an_executor_brings_back_something_else_is_lost(brought, message):
    class Careless(Executor):
        def submit(self, fn, /, *args, **kwargs):
            future = Future()
            (future.set_exception if isinstance(brought, BaseException) else future.set_result)(brought)
            return future

    engine = ExecutorEngine(Careless())
    future = engine.submit(Task(int), lambda _: None)
    with pytest.raises(WorkerDiedError, match=message):
        future.result(DEADLINE)
    engine.close()


def test_a_task_ends_once_however_often_its_executor_calls_back():
    """As two callbacks do, where a Ctrl-C has struck as the first was added."""

    class Twice(ThreadPoolExecutor):
        def submit(self, fn, /, *args, **kwargs):
            future = super().submit(fn, *args, **kwargs)
            add = future.add_done_callback
            future.add_done_callback = lambda fn: add(lambda _: in_threads(fn, future))
            return future

    def in_threads(fn, future):
        barrier = threading.Barrier(2)
        ends.extend(threading.Thread(target=lambda: (barrier.wait(DEADLINE), fn(future))) for _ in range(2))
        for end in ends:
            end.start()

    def sink(event):
        events.append(type(event))
        if type(event) is Started:
            for end in ends:
                if end is not threading.current_thread():
                    end.join(0.5)  # it has nothing to do

    ends, events = [], []
    with Twice(1) as executor:
        engine = ExecutorEngine(executor)
        assert engine.submit(Task(abs, (-1,)), sink).result(DEADLINE) == 1
        engine.close()
    for end in ends:
        end.join()
    assert events == [Accepted, Started, Finished]
