"""Qiskit's own primitives for backends."""

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.primitives import BackendEstimatorV2, BackendSamplerV2
from qiskit.quantum_info import SparsePauliOp
from qiskit_aer import AerSimulator

backend = AerSimulator(seed_simulator=21)

theta = Parameter("theta")
circuit = QuantumCircuit(2)
circuit.ry(theta, 0)
circuit.cx(0, 1)
measured = circuit.copy()
measured.measure_all()

angles = np.linspace(0, np.pi, 5).reshape(5, 1)
samples = BackendSamplerV2(backend=backend).run([(measured, angles, 150)]).result()[0].data.meas
print([sorted(samples.get_counts(index).items()) for index in range(5)])
observables = [[SparsePauliOp("ZZ")], [SparsePauliOp("XX")]]
print(BackendEstimatorV2(backend=backend).run([(circuit, observables, angles[:, 0])]).result()[0].data.evs.tolist())
