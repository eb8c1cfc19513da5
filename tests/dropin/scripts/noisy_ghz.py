"""A noise model of one's own, for growing GHZ states."""

from qiskit import QuantumCircuit, transpile
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error, thermal_relaxation_error

noise = NoiseModel()
noise.add_all_qubit_quantum_error(depolarizing_error(0.02, 2), ["cx"])
noise.add_all_qubit_quantum_error(thermal_relaxation_error(50e3, 30e3, 300), ["h"])
noise.add_all_qubit_readout_error(ReadoutError([[0.98, 0.02], [0.05, 0.95]]))

backend = AerSimulator(noise_model=noise, method="statevector")


def ghz(size):
    circuit = QuantumCircuit(size, name=f"ghz-{size}", metadata={"size": size})
    circuit.h(0)
    for target in range(1, size):
        circuit.cx(target - 1, target)
    circuit.measure_all()
    return circuit


circuits = transpile([ghz(size) for size in range(2, 9)], backend)
result = backend.run(circuits, shots=500, seed_simulator=2024).result()
for circuit, counts in zip(circuits, result.get_counts(), strict=True):
    size = circuit.metadata["size"]
    fidelity = (counts.get("0" * size, 0) + counts.get("1" * size, 0)) / 500
    print(circuit.name, fidelity, sorted(counts.items()))
    headers = [experiment.to_dict()["header"] for experiment in result.results]
    print([header["name"] for header in headers if header["metadata"]["size"] == size])
print(backend.options.noise_model.noise_instructions == noise.noise_instructions, backend.options.method)
