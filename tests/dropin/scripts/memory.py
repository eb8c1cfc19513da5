"""Every shot, in its order."""

from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit_aer import AerSimulator

backend = AerSimulator(shots=20)

circuits = []
for size in (1, 2, 3):
    circuit = QuantumCircuit(
        QuantumRegister(size, "q"), ClassicalRegister(size, "low"), ClassicalRegister(size, "high")
    )
    circuit.h(range(size))
    circuit.measure(range(size), range(size))
    circuit.h(range(size))
    circuit.measure(range(size), range(size, 2 * size))
    circuits.append(circuit)

result = backend.run(circuits, memory=True, seed_simulator=77).result()
for index, circuit in enumerate(circuits):
    print(circuit.num_clbits, result.get_memory(index))
    print(sorted(result.get_counts(index).items()))
    print(
        result.data(index)["memory"],
        result.results[index].shots,
        result.results[index].to_dict()["header"]["creg_sizes"],
    )
