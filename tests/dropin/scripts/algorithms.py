"""The ground state of hydrogen by the VQE of qiskit-algorithms, on counts."""

from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.primitives import BackendEstimatorV2
from qiskit.quantum_info import SparsePauliOp
from qiskit_aer import AerSimulator
from qiskit_algorithms import VQE, NumPyMinimumEigensolver
from qiskit_algorithms.optimizers import COBYLA

backend = AerSimulator()

H2 = SparsePauliOp.from_list(
    [("II", -1.0523732), ("IZ", 0.39793742), ("ZI", -0.39793742), ("ZZ", -0.0112801), ("XX", 0.18093119)]
)
angles = ParameterVector("t", 4)
ansatz = QuantumCircuit(2)
for qubit in range(2):
    ansatz.ry(angles[qubit], qubit)
ansatz.cx(0, 1)
for qubit in range(2):
    ansatz.ry(angles[2 + qubit], qubit)

estimator = BackendEstimatorV2(backend=backend, options={"seed_simulator": 7, "default_precision": 0.05})
found = VQE(estimator, ansatz, COBYLA(maxiter=15), initial_point=[0.1, 0.2, 0.3, 0.4]).compute_minimum_eigenvalue(H2)
print(f"VQE {found.eigenvalue.real:.12f} after {found.cost_function_evals} evaluations")
print(f"exact {NumPyMinimumEigensolver().compute_minimum_eigenvalue(H2).eigenvalue.real:.6f}")
