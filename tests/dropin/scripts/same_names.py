"""Many circuits, all called the same."""

import numpy as np
from qiskit import QuantumCircuit
from qiskit_aer import AerSimulator

backend = AerSimulator()

circuits = []
for angle in np.linspace(0, np.pi, 11):
    circuit = QuantumCircuit(1, 1, name="rabi")
    circuit.metadata = {"angle": round(float(angle), 6)}
    circuit.rx(angle, 0)
    circuit.measure(0, 0)
    circuits.append(circuit)

result = backend.run(circuits, shots=200, seed_simulator=1).result()
print([counts.get("1", 0) for counts in result.get_counts()])
for index, experiment in enumerate(result.results):
    header = experiment.to_dict()["header"]
    print(header["name"], header["metadata"]["angle"], result.get_counts(index))
again = backend.run([circuits[3]] * 4, shots=200, seed_simulator=1).result()
print(again.get_counts())
print({circuit.name for circuit in circuits})
