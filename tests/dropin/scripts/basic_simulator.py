"""Qiskit's own small simulator."""

from qiskit import QuantumCircuit, transpile
from qiskit.providers.basic_provider import BasicSimulator

backend = BasicSimulator()

circuits = []
for size in (1, 2, 3, 4):
    circuit = QuantumCircuit(size, name=f"w{size}")
    circuit.ry(1.0, 0)
    for qubit in range(1, size):
        circuit.cry(0.8, qubit - 1, qubit)
    circuit.measure_all()
    circuits.append(circuit)

job = backend.run(transpile(circuits, backend), shots=100, seed_simulator=12, memory=True)
result = job.result()
for index in range(len(circuits)):
    print(result.results[index].to_dict()["header"]["name"], result.get_counts(index), result.get_memory(index)[:10])
print(backend.name, backend.num_qubits, backend.options.shots, job.status(), result.success)
