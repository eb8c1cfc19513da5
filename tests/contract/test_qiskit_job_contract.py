"""`JobV1Contract` on `QiskitJob`."""

from __future__ import annotations

import sys
import time
import uuid

import cloudpickle
import psutil
import pytest
from qiskit import QuantumCircuit
from qiskit.providers import JobStatus, JobV1
from qiskit_aer import AerSimulator

from procjob.engine import Task
from procjob.qiskit import ProcessBackend, QiskitJob
from procjob.qiskit.pieces import Run
from procjob.testing import JobV1Contract

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers need not import tests


class ByName(AerSimulator):
    """Runs circuits as they are called: quick, slow, failing, or endless."""

    def run(self, circuits, parameter_binds=None, **options):
        for circuit in circuits:
            if circuit.name == "slow":
                time.sleep(0.25)  # less than the contract says, to be quick
            elif circuit.name == "failing":
                raise ZeroDivisionError("no shots")
            elif circuit.name == "endless":
                time.sleep(3600)
        return super().run(circuits, parameter_binds, **options)


def bell(name):
    circuit = QuantumCircuit(2, name=name)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    return circuit


@pytest.fixture(scope="module")
def backend(open_engine):
    with open_engine("process") as engine:
        backend = ProcessBackend(ByName(), engine=engine, grace=10)  # what runs here can be interrupted
        backend.run([bell("quick")] * 2).result(60)
        yield backend
        pids = engine.worker_pids()
    assert not [pid for pid in pids if psutil.pid_exists(pid)]


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """Not checked by test: a stop in the middle of an import replaces the worker, and Qiskit imports as it goes."""


class TestQiskitJob(JobV1Contract):
    """One circuit a job: it has one task."""

    failure = ZeroDivisionError
    circuits = 1

    @pytest.fixture(autouse=True)
    def on(self, backend):
        self.backend = backend

    def submitted(self, kind):
        return self.backend.run([bell(kind) for _ in range(self.circuits)], shots=10)

    def quick_job(self):
        return self.submitted("quick")

    def slow_job(self):
        return self.submitted("slow")

    def failing_job(self):
        return self.submitted("failing")

    def endless_job(self):
        return self.submitted("endless")

    def unsubmitted_job(self):
        runner = self.backend._runner
        return QiskitJob(
            self.backend,
            uuid.uuid4().hex,
            task=Task(runner._shipped, (Run([bell("quick")]),)),
            engine=runner.engine,
        )

    def test_it_is_a_job_of_qiskit_with_statuses_of_qiskit(self):
        job = self._new("quick")
        assert isinstance(job, JobV1)
        assert all(type(status) is JobStatus for status in self._statuses_until_final(job))


class TestQiskitJobOfSeveralTasks(TestQiskitJob):
    """Two circuits a job: each is a task. Where one fails, the other is stopped."""

    circuits = 2

    def failing_job(self):
        return self.backend.run([bell("failing"), bell("endless")], shots=10)
