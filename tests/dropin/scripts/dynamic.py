"""Control flow: if and else, switch with a default case, for and while loops."""

import numpy as np
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Parameter
from qiskit_aer import AerSimulator
from qiskit_aer.noise import pauli_error

backend = AerSimulator()


def if_else():
    circuit = QuantumCircuit(2, 2, name="if")
    circuit.h(0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)) as otherwise:
        circuit.x(1)
    with otherwise:
        circuit.h(1)
    circuit.measure(1, 1)
    return circuit


def switch(default):
    qubits, bits = QuantumRegister(3, "q"), ClassicalRegister(2, "c")
    circuit = QuantumCircuit(qubits, bits, ClassicalRegister(1, "out"), name="switch", metadata={"default": default})
    circuit.h([0, 1])
    circuit.measure([0, 1], bits)
    with circuit.switch(bits) as case:
        with case(0):
            circuit.x(2)
        with case(1, 2):
            circuit.h(2)
        if default:
            with case(case.DEFAULT):
                circuit.ry(0.7, 2)
    circuit.measure(2, 2)
    return circuit


def for_loop():
    circuit = QuantumCircuit(1, 3, name="for")
    angle = Parameter("angle")
    with circuit.for_loop((0, 2, 5), angle):
        circuit.rx(0.2 * angle, 0)
    with circuit.for_loop(range(3)):
        circuit.ry(0.3, 0)
    circuit.measure(0, 0)
    return circuit


def while_loop():
    circuit = QuantumCircuit(1, 1, name="while")
    circuit.h(0)
    circuit.measure(0, 0)
    with circuit.while_loop((circuit.clbits[0], 0)):
        circuit.h(0)
        circuit.measure(0, 0)
    return circuit


circuits = [if_else(), switch(default=False), switch(default=True), for_loop(), while_loop()]
result = backend.run(circuits, shots=1000, seed_simulator=9).result()
for index, circuit in enumerate(circuits):
    header = result.results[index].to_dict()["header"]
    print(circuit.name, header["name"], header["metadata"], sorted(result.get_counts(index).items()))

saved = switch(default=True)
saved.append(pauli_error([("X", 0.5), ("I", 0.5)]), [2])
saved.metadata = {"angles": np.linspace(0, 1, 3)}
saved.save_statevector(label="end", pershot=True)
result = backend.run(saved, shots=5, seed_simulator=9).result()
print(result.results[0].to_dict()["header"]["metadata"], [state.data.tolist() for state in result.data()["end"]])
