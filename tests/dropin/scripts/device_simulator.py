"""A simulator with the noise of a device."""

from qiskit import QuantumCircuit, transpile
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit_aer import AerSimulator

backend = AerSimulator.from_backend(GenericBackendV2(5, seed=8), seed_simulator=17)

circuits = []
for secret in ("1011", "0100", "1111"):
    circuit = QuantumCircuit(5, 4, name=f"secret {secret}")
    circuit.x(4)
    circuit.h(range(5))
    for qubit, bit in enumerate(reversed(secret)):
        if bit == "1":
            circuit.cx(qubit, 4)
    circuit.h(range(4))
    circuit.measure(range(4), range(4))
    circuits.append(circuit)

backend.set_options(shots=256)
routed = transpile(circuits, backend, seed_transpiler=4)
print([circuit.depth() for circuit in routed], backend.options.shots, backend.options.seed_simulator)
print(backend.name, backend.configuration().n_qubits, sorted(backend.configuration().basis_gates)[:5])
result = backend.run(routed).result()
for index, circuit in enumerate(circuits):
    counts = result.get_counts(index)
    print(circuit.name, max(counts, key=counts.get), sum(counts.values()), sorted(counts.items()))
