"""The built-in simulator beside qulacs and Aer, one process and one thread each, in one run.

    python benchmarks/simulator.py [--seconds S] [--families ansatz,qaoa,volume,shots] [--qubits 6,10,14]

Prints microseconds a point (or circuit) and the ratio to each peer; peers that are not installed are left out. Times are the best of
several rounds, in which all take turns. Absolute times change with the machine; the ratios are what counts.

ansatz: <Z0 Z1> of 4 layers of ry, rz and a ladder of cx, all angles different at every point.
qaoa: the same value after MaxCut of a 3-regular graph, p = 4.
volume: the state after random unitaries on random pairs, as many layers as qubits; without compiling. qulacs is slower with its optimizer.
shots: the ansatz with 1024 shots a point, counted.
"""

from __future__ import annotations

import argparse
import os
import time

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402  reads the variables

from procjob.simulators import Circuit, Parameter, StatevectorSimulator, compile  # noqa: A004, E402

FAMILIES = {
    "ansatz": [4, 6, 8, 10, 12, 14, 16, 18, 20],
    "qaoa": [6, 8, 10, 12, 14, 16, 18],
    "volume": [4, 6, 8, 10, 12, 14, 16],
    "shots": [6, 10, 14],
}
SHOTS = 1024


def ansatz(num_qubits):
    """Our circuit, and a list of (name, qubits, parameter numbers) for the peers."""
    gates, number = [], 0
    for _ in range(4):
        for qubit in range(num_qubits):
            gates += [("ry", (qubit,), number, 1.0), ("rz", (qubit,), number + 1, 1.0)]
            number += 2
        gates += [("cx", (qubit, qubit + 1), None, None) for qubit in range(num_qubits - 1)]
    return gates


def qaoa(num_qubits):
    half = num_qubits // 2  # a ring with all diameters is 3-regular
    edges = [(q, (q + 1) % num_qubits) for q in range(num_qubits)] + [(q, q + half) for q in range(half)]
    gates = [("h", (qubit,), None, None) for qubit in range(num_qubits)]
    for layer in range(4):
        gates += [("rzz", edge, 2 * layer, 2.0) for edge in edges]
        gates += [("rx", (qubit,), 2 * layer + 1, 2.0) for qubit in range(num_qubits)]
    return gates


def volume(num_qubits):
    from scipy.stats import unitary_group

    rng = np.random.default_rng(num_qubits)
    gates = []
    for _ in range(num_qubits):
        order = [int(q) for q in rng.permutation(num_qubits)]
        pairs = zip(order[::2], order[1::2], strict=False)
        gates += [("unitary", pair, unitary_group.rvs(4, random_state=rng), None) for pair in pairs]
    return gates


def ours(num_qubits, gates, *, measured=False):
    parameters = Parameter.array("t", 1 + max((n for _, _, n, f in gates if f), default=-1))
    circuit = Circuit(num_qubits)
    for name, qubits, number, factor in gates:
        if name == "unitary":
            circuit.unitary(number, qubits)
        elif name == "cx":
            circuit.cx(*qubits)
        else:
            circuit.gate(name, qubits, [factor * parameters[number]] if factor else [])
    return compile(circuit.measure_all() if measured else circuit)


def run_ours(family, num_qubits, gates, points):
    plan = ours(num_qubits, gates, measured=family == "shots")
    simulator = StatevectorSimulator()
    if family == "volume":
        return lambda: simulator.run(plan, shots=None).get_statevector()
    if family == "shots":
        return lambda: simulator.run(plan, shots=SHOTS, seed=1, parameters=points).counts_array()
    return lambda: simulator.run(plan, shots=None, parameters=points, observables=["Z0 Z1"]).expectation_values[:, 0]


def run_qulacs(family, num_qubits, gates, points):
    import qulacs

    circuit = qulacs.ParametricQuantumCircuit(num_qubits)
    used = []
    for name, qubits, number, factor in gates:
        if name == "unitary":
            circuit.add_dense_matrix_gate(list(qubits), number)
        elif name == "cx":
            circuit.add_CNOT_gate(*qubits)
        elif name == "h":
            circuit.add_H_gate(*qubits)
        else:
            used.append((number, -factor))  # qulacs rotates the other way round
            {
                "rx": circuit.add_parametric_RX_gate,
                "ry": circuit.add_parametric_RY_gate,
                "rz": circuit.add_parametric_RZ_gate,
                "rzz": lambda q, _: circuit.add_parametric_multi_Pauli_rotation_gate(list(q), [3, 3], 0.0),
            }[name](qubits if name == "rzz" else qubits[0], 0.0)
    state = qulacs.QuantumState(num_qubits)
    observable = qulacs.Observable(num_qubits)
    observable.add_operator(1.0, "Z 0 Z 1")

    def evolve(point):
        for index, (number, factor) in enumerate(used):
            circuit.set_parameter(index, factor * point[number])
        state.set_zero_state()
        circuit.update_quantum_state(state)

    def run():
        if family == "volume":
            evolve(())
            return state.get_vector()
        values = []
        for point in points:
            evolve(point)
            values.append(
                np.bincount(state.sampling(SHOTS)) if family == "shots" else observable.get_expectation_value(state)
            )
        return np.array(values) if family != "shots" else None

    return run


def run_aer(family, num_qubits, gates, points):
    from qiskit import QuantumCircuit
    from qiskit.circuit import ParameterVector
    from qiskit.quantum_info import SparsePauliOp
    from qiskit_aer import AerSimulator

    circuit = QuantumCircuit(num_qubits)
    vector = ParameterVector("t", points.shape[1])
    for name, qubits, number, factor in gates:
        if name == "unitary":
            circuit.unitary(number, list(qubits))
        else:
            getattr(circuit, name)(*([factor * vector[number]] if factor else []), *qubits)
    simulator = AerSimulator(method="statevector", max_parallel_threads=1)
    if family == "volume":
        circuit.save_statevector()
        return lambda: np.asarray(simulator.run(circuit).result().get_statevector())
    if family == "shots":
        circuit.measure_all()
    else:
        circuit.save_expectation_value(
            SparsePauliOp.from_sparse_list([("ZZ", [0, 1], 1.0)], num_qubits), [*range(num_qubits)]
        )
    binds = [{parameter: points[:, index] for index, parameter in enumerate(vector)}]

    def run():
        result = simulator.run([circuit], parameter_binds=binds, shots=SHOTS).result()
        if family == "shots":
            return result.get_counts() and None
        return np.array([result.data(index)["expectation_value"] for index in range(len(points))])

    return run


def points_for(family, num_qubits, gates):
    wanted = {"shots": {6: 1000, 10: 200, 14: 32}}.get(family, {}).get(num_qubits)
    count = 1 if family == "volume" else wanted or max(4, min(512, (1 << 18) >> num_qubits))
    return np.random.default_rng(1).normal(size=(count, 1 + max((n for _, _, n, f in gates if f), default=-1)))


def measure(runs, seconds):
    """Best time of each, taking turns; and what each returned."""
    results = {name: run() for name, run in runs.items()}
    best = dict.fromkeys(runs, float("inf"))
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < 2 or time.perf_counter() < end:
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - began)
        rounds += 1
    return best, results


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="a line")
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--qubits", default="")
    arguments = parser.parse_args()
    chosen = [int(text) for text in arguments.qubits.split(",") if text]
    print(f"{'':8} qubits points   procjob    qulacs       Aer   of qulacs  of Aer   (microseconds a point)")
    for family in arguments.families.split(","):
        for num_qubits in [n for n in FAMILIES[family] if not chosen or n in chosen]:
            line(family, num_qubits, arguments.seconds)


def line(family, num_qubits, seconds):
    gates = globals()[family if family != "shots" else "ansatz"](num_qubits)
    points = points_for(family, num_qubits, gates)
    runs = {}
    for name, make in (("procjob", run_ours), ("qulacs", run_qulacs), ("Aer", run_aer)):
        try:
            runs[name] = make(family, num_qubits, gates, points)
        except ImportError:
            continue
    best, results = measure(runs, seconds)
    for name, result in results.items():
        if result is not None and family != "shots":
            np.testing.assert_allclose(result, results["procjob"], atol=1e-9, err_msg=name)
    times = {name: value / len(points) * 1e6 for name, value in best.items()}
    mine = times["procjob"]
    columns = [f"{times[name]:9.1f}" if name in times else " " * 9 for name in ("procjob", "qulacs", "Aer")]
    ratios = [f"{mine / times[name]:8.3f}" if name in times else " " * 8 for name in ("qulacs", "Aer")]
    print(f"{family:8} {num_qubits:6} {len(points):6} {' '.join(columns)}   {' '.join(ratios)}", flush=True)


if __name__ == "__main__":
    main()
