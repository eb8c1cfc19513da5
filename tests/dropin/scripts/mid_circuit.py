"""Measure, reset and go on: repeated parity checks, and a teleported state."""

from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit_aer import AerSimulator

backend = AerSimulator()

parity = QuantumCircuit(QuantumRegister(3, "data"), QuantumRegister(1, "ancilla"), ClassicalRegister(4, "syndrome"))
parity.h([0, 1])
for check in range(4):
    parity.cx(check % 3, 3)
    parity.cx((check + 1) % 3, 3)
    parity.measure(3, check)
    parity.reset(3)

teleport = QuantumCircuit(3)
bell, out = ClassicalRegister(2, "bell"), ClassicalRegister(1, "out")
teleport.add_register(bell, out)
teleport.ry(1.1, 0)
teleport.h(1)
teleport.cx(1, 2)
teleport.cx(0, 1)
teleport.h(0)
teleport.measure([0, 1], bell)
with teleport.if_test((bell[1], 1)):
    teleport.x(2)
with teleport.if_test((bell[0], 1)):
    teleport.z(2)
teleport.measure(2, out[0])

for name, circuit in {"parity": parity, "teleport": teleport}.items():
    job = backend.run(circuit, shots=2000, seed_simulator=5)
    print(name, sorted(job.result().get_counts().items()))
