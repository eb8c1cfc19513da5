"""The built-in simulator beside qulacs and Aer, one process and one thread each, in one run.

    python benchmarks/simulator.py [--seconds S] [--families ansatz,qaoa,volume,fresh,shots] [--qubits 6,10,14]
    python benchmarks/simulator.py --families workers

Prints microseconds a point (or circuit) and the ratio to each peer; peers that are not installed are left out. Times are the best of
several rounds, in which all take turns in changing order. Absolute times change with the machine; the ratios are what counts.

ansatz: <Z0 Z1> of 4 layers of ry, rz and a ladder of cx, all angles different at every point.
qaoa: the same value after MaxCut of a 3-regular graph, p = 4.
volume: states of a list of random circuits: unitaries on random pairs, as many layers as qubits. Circuits are prepared before: ours as
    plans that one call runs, those of qulacs, one after the other, by its optimizer with the block size that is fastest. Matrices are
    constant, so preparing takes the products of gates; up to 6 qubits both sides prepare one matrix, and what is measured is the call
    (for the state |0...0>, of which ours copies a column). There are as many circuits as in a quantum volume experiment, 256, and
    fewer from 8 qubits up, where a call's own time no longer matters.
fresh: the same, but building and compiling such circuits are in the time; qulacs without its optimizer, which takes longer than it saves.
shots: the ansatz with 1024 shots a point, counted.
workers: the ansatz through `procjob.Backend`: no workers (in the caller), one, two. The machine should be quiet. The last columns are
    the time in the caller by that of two workers, and that of one worker by that of two; the goal is 1.8 for the first.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import time
from functools import partial

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402  reads the variables

import procjob  # noqa: E402
from procjob.simulators import Circuit, Parameter, StatevectorSimulator, compile  # noqa: A004, E402

FAMILIES = {
    "ansatz": [4, 6, 8, 10, 12, 14, 16, 18, 20],
    "qaoa": [6, 8, 10, 12, 14, 16, 18],
    "volume": [4, 6, 8, 10, 12, 14, 16],
    "fresh": [4, 6, 8, 10, 12, 14, 16],
    "shots": [6, 10, 14],
}
#: Qubits and points of the family "workers".
DIVIDED = [(6, 1000), (6, 4000), (14, 32), (14, 128)]
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


def volume(num_qubits, seed):
    from scipy.stats import unitary_group

    rng = np.random.default_rng([num_qubits, seed])
    gates = []
    for _ in range(num_qubits):
        order = [int(q) for q in rng.permutation(num_qubits)]
        pairs = zip(order[::2], order[1::2], strict=False)
        gates += [("unitary", pair, unitary_group.rvs(4, random_state=rng), None) for pair in pairs]
    return gates


def circuit_of(num_qubits, gates):
    parameters = Parameter.array("t", 1 + max((n for _, _, n, f in gates if f), default=-1))
    circuit = Circuit(num_qubits)
    for name, qubits, number, factor in gates:
        if name == "unitary":
            circuit.unitary(number, qubits)
        elif name == "cx":
            circuit.cx(*qubits)
        else:
            circuit.gate(name, qubits, [factor * parameters[number]] if factor else [])
    return circuit


def run_ours(family, num_qubits, gates, points):
    circuit = circuit_of(num_qubits, gates)
    plan = compile(circuit.measure_all() if family == "shots" else circuit)
    simulator = StatevectorSimulator()
    if family == "shots":
        return lambda: simulator.run(plan, shots=SHOTS, seed=1, parameters=points).counts_array()
    return lambda: simulator.run(plan, shots=None, parameters=points, observables=["Z0 Z1"]).expectation_values[:, 0]


def run_qulacs(family, num_qubits, gates, points):
    import qulacs

    circuit = qulacs.ParametricQuantumCircuit(num_qubits)
    used = []
    for name, qubits, number, factor in gates:
        if name == "cx":
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
        getattr(circuit, name)(*([factor * vector[number]] if factor else []), *qubits)
    simulator = AerSimulator(method="statevector", max_parallel_threads=1)
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


def ours_volume(num_qubits, circuits, *, fresh):
    def run():
        built = [circuit_of(num_qubits, gates) for gates in circuits] if fresh else plans
        result = StatevectorSimulator().run(built, shots=None)
        return [result.get_statevector(number) for number in range(len(circuits))]

    plans = [compile(circuit_of(num_qubits, gates)) for gates in circuits]
    return run


def qulacs_volume(num_qubits, circuits, *, fresh):
    import qulacs
    from qulacs.circuit import QuantumCircuitOptimizer

    def build(gates):
        circuit = qulacs.QuantumCircuit(num_qubits)
        for _, pair, matrix, _ in gates:
            circuit.add_dense_matrix_gate(list(pair), matrix)
        return circuit

    def run():
        states = []
        for circuit in map(build, circuits) if fresh else prepared:
            state.set_zero_state()
            circuit.update_quantum_state(state)
            states.append(state.get_vector())
        return states

    state = qulacs.QuantumState(num_qubits)
    prepared = [build(gates) for gates in circuits]
    for circuit in prepared:
        QuantumCircuitOptimizer().optimize(circuit, num_qubits if num_qubits <= 6 else 2)
    return run


def aer_volume(num_qubits, circuits, *, fresh):
    from qiskit import QuantumCircuit
    from qiskit_aer import AerSimulator

    def build(gates):
        circuit = QuantumCircuit(num_qubits)
        for _, pair, matrix, _ in gates:
            circuit.unitary(matrix, list(pair))
        circuit.save_statevector()
        return circuit

    def run():
        built = [build(gates) for gates in circuits] if fresh else prepared
        result = simulator.run(built).result()
        return [np.asarray(result.get_statevector(number)) for number in range(len(circuits))]

    simulator = AerSimulator(method="statevector", max_parallel_threads=1)
    prepared = [build(gates) for gates in circuits]
    return run


def points_for(family, num_qubits, gates):
    wanted = {"shots": {6: 1000, 10: 200, 14: 32}}.get(family, {}).get(num_qubits)
    count = wanted or max(4, min(512, (1 << 18) >> num_qubits))
    return np.random.default_rng(1).normal(size=(count, 1 + max((n for _, _, n, f in gates if f), default=-1)))


def measure(runs, seconds):
    """Best time of each, taking turns, each behind every other one; and what each returned."""
    results = {name: run() for name, run in runs.items()}
    order = list(runs)
    best = dict.fromkeys(runs, float("inf"))
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < 2 or time.perf_counter() < end:
        random.shuffle(order)  # what ran before leaves its data in the cache
        for name in order:
            began = time.perf_counter()
            runs[name]()
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
        if family == "workers":
            divided(arguments.seconds)
            continue
        for num_qubits in [n for n in FAMILIES[family] if not chosen or n in chosen]:
            line(family, num_qubits, arguments.seconds)


def makers(family, num_qubits):
    """Number of points or circuits; and for each simulator what prepares its run."""
    if family in {"volume", "fresh"}:
        count = 256 if num_qubits <= 6 else max(4, min(64, (1 << 16) >> num_qubits))
        circuits = [volume(num_qubits, seed) for seed in range(count)]
        return count, {
            "procjob": lambda: ours_volume(num_qubits, circuits, fresh=family == "fresh"),
            "qulacs": lambda: qulacs_volume(num_qubits, circuits, fresh=family == "fresh"),
            "Aer": lambda: aer_volume(num_qubits, circuits, fresh=family == "fresh"),
        }
    gates = (qaoa if family == "qaoa" else ansatz)(num_qubits)
    points = points_for(family, num_qubits, gates)
    return len(points), {
        "procjob": lambda: run_ours(family, num_qubits, gates, points),
        "qulacs": lambda: run_qulacs(family, num_qubits, gates, points),
        "Aer": lambda: run_aer(family, num_qubits, gates, points),
    }


def line(family, num_qubits, seconds):
    count, prepare = makers(family, num_qubits)
    runs = {}
    for name, make in prepare.items():
        try:
            runs[name] = make()
        except ImportError:
            continue
    best, results = measure(runs, seconds)
    for name, result in results.items():
        if result is not None and family != "shots":
            np.testing.assert_allclose(result, results["procjob"], atol=1e-9, err_msg=name)
    times = {name: value / count * 1e6 for name, value in best.items()}
    mine = times["procjob"]
    columns = [f"{times[name]:9.1f}" if name in times else " " * 9 for name in ("procjob", "qulacs", "Aer")]
    ratios = [f"{mine / times[name]:8.3f}" if name in times else " " * 8 for name in ("qulacs", "Aer")]
    print(f"{family:8} {num_qubits:6} {count:6} {' '.join(columns)}   {' '.join(ratios)}", flush=True)


def values_of(backend, plan, points):
    result = backend.run(plan, shots=None, parameters=points, observables=["Z0 Z1"]).result()
    return result.expectation_values.tobytes()


def divided(seconds):
    """The family "workers"."""
    print(f"{'':8} qubits points    caller  1 worker 2 workers   caller/2    1/2       (milliseconds a run)")
    with contextlib.ExitStack() as stack:
        backends = [stack.enter_context(procjob.Backend(workers=workers)) for workers in (0, 1, 2)]
        for num_qubits, count in DIVIDED:
            plan = compile(circuit_of(num_qubits, ansatz(num_qubits)))
            points = np.random.default_rng(1).normal(size=(count, len(plan.parameters)))
            runs = {backend.workers: partial(values_of, backend, plan, points) for backend in backends}
            best, results = measure(runs, seconds)
            assert len(set(results.values())) == 1, "the bits depend on the division"
            times = "".join(f"{best[workers] * 1e3:10.2f}" for workers in (0, 1, 2))
            print(
                f"workers  {num_qubits:6} {count:6}{times}   {best[0] / best[2]:8.2f} {best[1] / best[2]:8.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
