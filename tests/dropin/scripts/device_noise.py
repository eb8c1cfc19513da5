"""A device to transpile for, and its noise."""

from qiskit import QuantumCircuit, transpile
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel

backend = GenericBackendV2(5, seed=8)

circuit = QuantumCircuit(5)
circuit.h(0)
for target in range(1, 5):
    circuit.cx(0, target)
circuit.measure_all()

routed = transpile(circuit, backend, seed_transpiler=1, optimization_level=2)
print(backend.name, backend.num_qubits, backend.coupling_map.get_edges() if backend.coupling_map else None)
print(sorted(backend.operation_names), backend.dt, backend.dtm, backend.max_circuits)
print(backend.qubit_properties(2), backend.target["cx"][(0, 1)])
print(sorted(routed.count_ops().items()), routed.depth(), routed.layout.final_index_layout())

counts = backend.run([routed, routed], shots=300, seed_simulator=6).result().get_counts()
print([sorted(each.items()) for each in counts])

simulator = AerSimulator.from_backend(backend)
model = NoiseModel.from_backend(backend)
print(simulator.name, simulator.num_qubits, sorted(model.noise_instructions), model.noise_qubits)
print(sorted(simulator.run(routed, shots=300, seed_simulator=6).result().get_counts().items()))
