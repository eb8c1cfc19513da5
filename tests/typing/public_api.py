"""What a type checker knows about the public names. Checked by mypy, never run."""

from collections.abc import Iterator
from concurrent.futures import Executor, Future
from typing import assert_type

import numpy as np

import procjob
from procjob import Backend, Job, JobStatus, ProcessPoolExecutor
from procjob.progress import track
from procjob.store import StoredJob
from procjob.sweeps import Points
from procjob.waiting import DoneAndNotDone


def simulate(angle: float, *, shots: int = 100) -> dict[str, int]:
    return {"0": int(angle) * shots}


def a_backend_gives_jobs() -> None:
    with Backend(simulate, workers=2) as backend:
        assert_type(backend, Backend)
        job = backend.run(0.5, shots=10, time_limit=1.0, tags=["first"])
        _ = assert_type(job, Job)
        assert_type(job.status(), JobStatus)
        assert_type(job.cancel(), bool)
        assert_type(job.error_message(), str | None)
        assert_type(job.metrics().run_seconds, float | None)
        base: procjob.JobV1 = job
        assert_type(base.in_final_state(), bool)


def a_store_gives_jobs_and_their_results(store: procjob.Store) -> None:
    assert_type(store.jobs(limit=3, status=["DONE", JobStatus.ERROR], tags=["first"]), list[StoredJob])
    assert_type(store.job("mine").status(), JobStatus)
    assert_type(store.delete("mine"), int)
    with Backend(simulate, store="jobs.db") as backend:
        assert_type(backend.job("mine"), Job | StoredJob)
        base: procjob.JobV1 = store.job("mine")
        assert_type(base.job_id(), str)


def a_sweep_knows_its_options_and_what_wait_gives(points: Points, later: bool) -> None:
    result = procjob.sweep(simulate, points, seed=1, workers=2, store="points.db", errors="store", time_limit=1)
    assert_type(result, procjob.SweepResult)
    _ = assert_type(procjob.sweep(simulate, points, wait=False, progress=True), procjob.Sweep)
    assert_type(procjob.sweep(simulate, points, wait=later), procjob.SweepResult | procjob.Sweep)
    assert_type(
        procjob.sweep(procjob.Circuit(1), points, observables=["Z", {"Z": 0.5}], shots=None), procjob.SweepResult
    )
    procjob.sweep(simulate, points, worker=2)  # type: ignore[call-overload]
    procjob.sweep(simulate, points, errors="ignore")  # type: ignore[call-overload]
    procjob.sweep(simulate, points, seed="1")  # type: ignore[call-overload]


def values_of_parameters_may_be_in_any_dictionary(circuit: procjob.Circuit, theta: procjob.Parameter) -> None:
    simulator = procjob.StatevectorSimulator()
    by_name, by_parameter = {"theta": 0.5}, {theta: np.linspace(0, 1, 5)}
    result = simulator.run([circuit, circuit], parameters=[by_name, by_name])
    assert_type(result.get_counts(1), dict[str, int])
    assert_type(simulator.run(circuit, parameters=by_parameter), procjob.Result)
    assert_type(circuit.bind(by_name).bind({theta: 0.5}), procjob.Circuit)
    circuit.bind([0.5])  # type: ignore[arg-type]
    circuit.ry("theta", 0)  # type: ignore[arg-type]


def waiting_keeps_jobs(jobs: list[Job]) -> None:
    assert_type(procjob.as_completed(jobs), Iterator[Job])
    assert_type(track(jobs), Iterator[Job])
    assert_type(procjob.wait(jobs, timeout=1), DoneAndNotDone)
    assert_type(procjob.wait(jobs).done, set[Job])


def the_executor_knows_the_type_of_the_result(executor: ProcessPoolExecutor) -> None:
    drop_in: Executor = executor
    assert_type(drop_in, Executor)
    assert_type(executor.submit(pow, 2, 3), Future[int])
    assert_type(executor.submit(simulate, 0.5, shots=10), Future[dict[str, int]])
    assert_type(executor.map(simulate, [0.1, 0.2]), Iterator[dict[str, int]])
    assert_type(procjob.shared(0.5), float)
    assert_type(executor.submit(simulate, procjob.shared(0.5)), Future[dict[str, int]])
    executor.submit(simulate, procjob.shared("north"))  # type: ignore[arg-type]
    executor.submit(simulate, "north")  # type: ignore[arg-type]
    executor.submit(simulate, 0.5, shot=10)  # type: ignore[call-arg]


def an_error_is_also_its_standard_kin(job: Job) -> None:
    try:
        job.result(timeout=1)
    except procjob.JobTimeoutError as error:
        timeout: TimeoutError = error
        print(timeout)
    except procjob.WorkerDiedError as error:
        assert_type(error.exitcode, int | None)


def a_name_that_is_not_public_is_an_error() -> None:
    print(procjob.Bakend)  # type: ignore[attr-defined]
