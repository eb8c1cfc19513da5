"""Energies without sampling."""

from qiskit import QuantumCircuit
from qiskit.quantum_info import Operator, Pauli, SparsePauliOp
from qiskit_aer import AerSimulator

backend = AerSimulator(method="statevector")

ising = SparsePauliOp.from_list([("ZZI", 1.0), ("IZZ", 1.0), ("XII", 0.5), ("IXI", 0.5), ("IIX", 0.5)])
circuits = []
for step in range(6):
    circuit = QuantumCircuit(3, name=f"step {step}")
    for _ in range(step):
        circuit.rzz(0.2, 0, 1)
        circuit.rzz(0.2, 1, 2)
        circuit.rx(0.1, [0, 1, 2])
    circuit.save_expectation_value(ising, [0, 1, 2], label="energy")
    circuit.save_expectation_value(Pauli("Z"), [0], label="magnetization")
    circuit.save_expectation_value_variance(Operator.from_label("XX"), [0, 2], label="correlation")
    circuits.append(circuit)

result = backend.run(circuits, shots=1).result()
for index, circuit in enumerate(circuits):
    data = result.data(index)
    print(circuit.name, data["energy"], data["magnetization"], data["correlation"].tolist())
