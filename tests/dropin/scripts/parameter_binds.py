"""Templates and tables of values."""

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit_aer import AerSimulator

backend = AerSimulator()

a, b = Parameter("a"), Parameter("b")
one = QuantumCircuit(1, name="one")
one.rx(a, 0)
one.rz(2 * a, 0)
one.measure_all()
two = QuantumCircuit(2, name="two")
two.ry(a, 0)
two.crx(b - a, 0, 1)
two.measure_all()
none = QuantumCircuit(1, name="none")
none.h(0)
none.measure_all()

table = [{a: list(np.linspace(0, np.pi, 7))}, {a: [0.1, 0.2, 0.3], b: np.array([1.0, 2.0, 3.0])}, {}]
job = backend.run([one, two, none], parameter_binds=table, shots=400, seed_simulator=3)
result = job.result()
print(len(result.results), len(result.get_counts()))
for index, experiment in enumerate(result.results):
    name = experiment.to_dict()["header"]["name"]
    print(index, name, experiment.shots, experiment.seed_simulator, result.get_counts(index))
print(one.num_parameters, two.num_parameters)
print(backend.run(one, parameter_binds=[{a: [0.5]}], seed_simulator=3).result().get_counts())
