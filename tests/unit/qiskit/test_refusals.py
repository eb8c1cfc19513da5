"""What cannot be run or sent to a worker is named as the user knows it, at the call."""

from __future__ import annotations

import threading

import pytest
from qiskit import QuantumCircuit
from qiskit_aer import AerSimulator

import procjob
from procjob.qiskit import ProcessBackend


def test_an_unpicklable_backend_says_what_in_it():
    aer = AerSimulator()
    aer.handles = {"log": [threading.Lock()]}
    with pytest.raises(
        procjob.NotPicklableError, match=r"^backend\.handles\['log'\]\[0\]: cannot pickle '_thread.lock'"
    ):
        ProcessBackend(aer, workers=1)


def test_an_unpicklable_circuit_is_named_by_its_place_and_name():
    good, bad = QuantumCircuit(1, name="good"), QuantumCircuit(1, name="bad", metadata={"handle": threading.Lock()})
    with (
        ProcessBackend(AerSimulator(), workers=1) as backend,
        pytest.raises(procjob.NotPicklableError, match=r"^circuit 1 \('bad'\).*\['handle'\]: cannot pickle"),
    ):
        backend.run([good, bad])


def test_a_seed_that_is_no_number_is_refused_at_the_call():
    with ProcessBackend(AerSimulator(), workers=1) as backend, pytest.raises(TypeError, match=r"seed_simulator.*'x'"):
        backend.run(QuantumCircuit(1), seed_simulator="x")
