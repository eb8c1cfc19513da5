"""Run `JobV1Contract` on the job class of qiskit-aer and print, as JSON, how each of its tests ended.

A script, so that what Aer misses is no failure of ours: ``python aer_job_contract.py``.
"""

from __future__ import annotations

import json
import sys

import pytest
from qiskit import QuantumCircuit
from qiskit.circuit.library import quantum_volume
from qiskit_aer import AerSimulator

from procjob.testing import JobV1Contract

#: How bad an ending is: a test with several parameters counts with its worst.
RANK = ("skipped", "passed", "failed")


class TestAerJob(JobV1Contract):
    stops_running_jobs = False
    patience = 10.0

    backend_used = AerSimulator(method="statevector", max_parallel_threads=1)
    slow = quantum_volume(19, depth=10, seed=1).decompose()
    slow.measure_all()

    def quick_job(self):
        return self.backend_used.run(_ghz(), shots=10)

    def slow_job(self):
        return self.backend_used.run(self.slow, shots=10)

    def failing_job(self):
        return AerSimulator(method="stabilizer").run(self.slow, shots=10)


def _ghz():
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    return circuit


class Outcomes:
    """A pytest plugin that notes how each test ended."""

    def __init__(self):
        self.worst = {}

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.outcome != "passed":
            name = report.nodeid.rpartition("::test_")[2].partition("[")[0].replace("_", " ").replace(" ", ": ", 1)
            self.worst[name] = max(report.outcome, self.worst.get(name, "skipped"), key=RANK.index)


if __name__ == "__main__":
    outcomes = Outcomes()
    pytest.main([__file__, "-q", "-p", "no:cacheprovider", "--noconftest", *sys.argv[1:]], plugins=[outcomes])
    print(json.dumps(outcomes.worst))
