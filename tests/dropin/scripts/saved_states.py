"""Final states instead of counts."""

import numpy as np
from qiskit import QuantumCircuit
from qiskit_aer import AerSimulator

backend = AerSimulator()


def qft(size):
    circuit = QuantumCircuit(size)
    circuit.x(range(0, size, 2))
    for target in reversed(range(size)):
        circuit.h(target)
        for control in range(target):
            circuit.cp(np.pi / 2 ** (target - control), control, target)
    return circuit


states = [qft(size) for size in (1, 2, 3, 5)]
for circuit in states:
    circuit.save_statevector()
result = backend.run(states, shots=1).result()
for index in range(len(states)):
    print(result.get_statevector(index).data.tolist())

middle = qft(2)
middle.save_statevector(label="half way")
middle.h(0)
middle.save_density_matrix(label="end", qubits=[0])
middle.save_probabilities_dict(label="odds")
data = backend.run(middle).result().data()
print(sorted(data), data["half way"].data.tolist(), data["end"].data.tolist(), sorted(data["odds"].items()))

whole = qft(3)
whole.save_unitary()
print(backend.run(whole, method="unitary").result().get_unitary().data.tolist())
