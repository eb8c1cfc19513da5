"""Shots of a sweep on two cores: procjob's backend beside every way in which Aer runs many points, in one run.

    python benchmarks/shots.py [--seconds S] [--qubits 6,10,14]

The ansatz of `simulator.py` with 1024 shots a point, counted. All take turns; printed are the medians, in milliseconds for all points,
and how many times longer Aer takes in its best form. Transpiling and binding of Aer's circuits, and compiling of ours, are done before.

list run: circuits bound before. binds: one circuit with ``parameter_binds``. experiments: ``max_parallel_experiments=2``, else the two
threads work on one circuit. runtime: ``runtime_parameter_bind_enable``. processes: binds, half of the points in each of two processes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from concurrent.futures import ProcessPoolExecutor

os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "2"  # Aer's

import numpy as np
from simulator import ansatz, circuit_of

from procjob import Backend
from procjob.simulators import StatevectorSimulator, compile  # noqa: A004

POINTS = {6: 1000, 10: 200, 14: 32}
SHOTS = 1024


def aer_circuit(num_qubits):
    from qiskit import QuantumCircuit
    from qiskit.circuit import ParameterVector

    gates = ansatz(num_qubits)
    vector = ParameterVector("t", 1 + max(number for _, _, number, factor in gates if factor))
    circuit = QuantumCircuit(num_qubits)
    for name, qubits, number, factor in gates:
        getattr(circuit, name)(*([vector[number]] if factor else []), *qubits)
    circuit.measure_all()
    return circuit, list(vector)


def aer_binds(num_qubits, points, **options):
    """Run one circuit at all points; also what each of two processes does."""
    from qiskit_aer import AerSimulator

    circuit, parameters = aer_circuit(num_qubits)
    binds = [{parameter: points[:, index] for index, parameter in enumerate(parameters)}]
    simulator = AerSimulator(method="statevector", **options)
    return lambda: simulator.run([circuit], parameter_binds=binds, shots=SHOTS).result().get_counts()


_in_process = {}


def half(num_qubits, points, key):
    if key not in _in_process:
        _in_process[key] = aer_binds(num_qubits, points, max_parallel_threads=1)
    return _in_process[key]()


def aer_forms(num_qubits, points, processes):
    from qiskit_aer import AerSimulator
    from qiskit_aer.primitives import SamplerV2

    circuit, parameters = aer_circuit(num_qubits)
    bound = [circuit.assign_parameters(dict(zip(parameters, row, strict=True))) for row in points]
    two = {"max_parallel_threads": 2, "max_parallel_experiments": 2}
    listed = AerSimulator(method="statevector", **two)
    sampler = SamplerV2(options={"backend_options": {"method": "statevector", **two}})
    halves = np.array_split(points, 2)

    def in_processes():
        keys = [(num_qubits, number) for number in range(2)]
        return list(processes.map(half, [num_qubits] * 2, halves, keys))

    return {
        "list run, experiments": lambda: listed.run(bound, shots=SHOTS).result().get_counts(),
        "binds": aer_binds(num_qubits, points, max_parallel_threads=2, max_parallel_experiments=1),
        "binds, experiments": aer_binds(num_qubits, points, **two),
        "binds, experiments, runtime": aer_binds(num_qubits, points, **two, runtime_parameter_bind_enable=True),
        "SamplerV2": lambda: sampler.run([(circuit, points)], shots=SHOTS).result()[0].data.meas.get_counts(0),
        "binds, processes": in_processes,
    }


def medians(runs, seconds):
    """Median time of each in milliseconds, taking turns."""
    for run in runs.values():
        run()
    times = {name: [] for name in runs}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or min(map(len, times.values())) < 3:
        for name, run in runs.items():
            short = "Aer" not in name
            if short:
                run()  # Aer has taken the caches
            for _ in range(5 if short else 1):
                began = time.perf_counter()
                run()
                times[name].append(1e3 * (time.perf_counter() - began))
    return {name: statistics.median(values) for name, values in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="a line")
    parser.add_argument("--qubits", default=",".join(map(str, POINTS)))
    arguments = parser.parse_args()
    local = StatevectorSimulator().run
    with Backend(workers=2) as backend, ProcessPoolExecutor(2) as processes:
        for num_qubits in map(int, arguments.qubits.split(",")):
            gates = ansatz(num_qubits)
            points = np.random.default_rng(1).normal(size=(POINTS[num_qubits], 8 * num_qubits))
            plan = compile(circuit_of(num_qubits, gates).measure_all())
            print(f"{num_qubits} qubits, {len(points)} points, {SHOTS} shots: milliseconds")

            def counted(run=backend.run, plan=plan, points=points):
                return run(plan, parameters=points, shots=SHOTS, seed=1)

            runs = {
                "procjob, 2 workers": lambda: counted().result().counts_array(),
                "procjob, 1 process": lambda: counted(local),
            }
            runs |= {f"Aer {name}": run for name, run in aer_forms(num_qubits, points, processes).items()}
            found = medians(runs, arguments.seconds)
            for name, value in found.items():
                print(f"  {name:34} {value:9.1f}  {value / found['procjob, 2 workers']:8.1f}")
            best = min(value for name, value in found.items() if name.startswith("Aer"))
            print(f"  best of Aer takes {best / found['procjob, 2 workers']:.1f} times as long", flush=True)


if __name__ == "__main__":
    main()
