"""A run that is divided has the counts of the undivided one, for the same seed."""

from __future__ import annotations

import pytest
from qiskit import QuantumCircuit
from qiskit.providers.basic_provider import BasicSimulator
from qiskit_aer import AerSimulator

from procjob.qiskit import ProcessBackend


@pytest.mark.parametrize("simulator", [AerSimulator, BasicSimulator])
def test_many_equal_circuits_with_a_seed_have_the_counts_of_the_undivided_run(simulator):
    circuit = QuantumCircuit(3)
    circuit.h(range(3))
    circuit.measure_all()
    stock = simulator().run([circuit] * 9, shots=50, seed_simulator=5).result()
    with ProcessBackend(simulator(), workers=0) as backend:
        result = backend.run([circuit] * 9, shots=50, seed_simulator=5).result()
    assert result.get_counts() == stock.get_counts()
