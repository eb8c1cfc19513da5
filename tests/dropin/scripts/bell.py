"""The first script of everybody."""

from qiskit import QuantumCircuit, transpile
from qiskit_aer import AerSimulator

backend = AerSimulator()

circuit = QuantumCircuit(2, 2)
circuit.h(0)
circuit.cx(0, 1)
circuit.measure([0, 1], [0, 1])

job = backend.run(transpile(circuit, backend), shots=1000, seed_simulator=42)
result = job.result()
print(result.get_counts(circuit))
print(result.success, result.status, job.status(), job.done(), job.running(), job.cancelled(), job.in_final_state())
print(job.backend().name, result.backend_name, result.backend_version == job.backend().backend_version)
print(result.job_id == job.job_id(), result.time_taken > 0)
print(backend.name, backend.num_qubits, backend.version, backend.max_circuits, len(backend.operation_names))
