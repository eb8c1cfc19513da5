"""The ground state of hydrogen, by COBYLA on energies from counts."""

import numpy as np
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import ParameterVector
from qiskit_aer import AerSimulator
from scipy.optimize import minimize

backend = AerSimulator(seed_simulator=11)

TERMS = {"II": -1.0523732, "IZ": 0.39793742, "ZI": -0.39793742, "ZZ": -0.0112801, "XX": 0.18093119}
theta = ParameterVector("t", 4)


def ansatz(basis):
    circuit = QuantumCircuit(2, name=basis)
    for qubit in range(2):
        circuit.ry(theta[qubit], qubit)
    circuit.cx(0, 1)
    for qubit in range(2):
        circuit.ry(theta[2 + qubit], qubit)
    for qubit, letter in enumerate(reversed(basis)):
        if letter == "X":
            circuit.h(qubit)
    circuit.measure_all()
    return transpile(circuit, backend, optimization_level=1)


circuits = {term: ansatz(term) for term in TERMS if term != "II"}


def energy(values):
    bound = [circuit.assign_parameters(dict(zip(theta, values, strict=True))) for circuit in circuits.values()]
    result = backend.run(bound, shots=2000).result()
    total = TERMS["II"]
    for index, term in enumerate(circuits):
        counts = result.get_counts(index)
        signs = {bits: (-1) ** sum(b == "1" for b, p in zip(bits, term, strict=True) if p != "I") for bits in counts}
        total += TERMS[term] * sum(signs[bits] * n for bits, n in counts.items()) / 2000
    history.append(total)
    return total


history = []
found = minimize(energy, np.array([0.1, 0.2, -0.3, 0.4]), method="COBYLA", options={"maxiter": 25, "rhobeg": 0.6})
for number, value in enumerate(history):
    print(f"{number:3} {value:.12f}")
print(found.fun, found.x.tolist())
