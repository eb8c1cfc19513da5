"""`ProcessBackend` around AerSimulator beside AerSimulator itself, in its best setting, in one run.

    python benchmarks/qiskit_backend.py [--rounds N] [--families wide,noisy,python,small,status]

Prints medians over interleaved rounds, and the ratio of procjob's time to stock Aer's. ``python`` is a batch whose
circuits are bound and transpiled where they run. ``status`` is the longest time that ``job.status()`` took while a job
of wide circuits ran.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from qiskit import QuantumCircuit, transpile
from qiskit.circuit.library import quantum_volume
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, depolarizing_error
from timing import medians, seconds

import procjob
from procjob.qiskit import ProcessBackend


def volume(qubits: int, depth: int, seed: int) -> QuantumCircuit:
    circuit = quantum_volume(qubits, depth, seed=seed).decompose()
    circuit.measure_all()
    return circuit


def noise() -> NoiseModel:
    model = NoiseModel()
    model.add_all_qubit_quantum_error(depolarizing_error(0.01, 1), ["u", "u3", "u2", "u1"])
    model.add_all_qubit_quantum_error(depolarizing_error(0.02, 2), ["cx"])
    return model


def wide() -> tuple[dict[str, Callable[[], object]], list[ProcessBackend]]:
    circuits = [volume(21, 6, seed) for seed in range(4)]
    return beside(AerSimulator(method="statevector"), circuits, 1024)


def noisy() -> tuple[dict[str, Callable[[], object]], list[ProcessBackend]]:
    circuits = [transpile(volume(8, 8, seed), basis_gates=["u", "cx"]) for seed in range(200)]
    return beside(AerSimulator(method="statevector", noise_model=noise()), circuits, 200)


def beside(
    aer: AerSimulator, circuits: list[QuantumCircuit], shots: int
) -> tuple[dict[str, Callable[[], object]], list[ProcessBackend]]:
    ours = ProcessBackend(aer)
    run = aer.run
    return {
        "procjob": lambda: ours.run(circuits, shots=shots).result(),
        "Aer": lambda: run(circuits, shots=shots).result(),
        "Aer, experiments": lambda: run(circuits, shots=shots, max_parallel_experiments=0).result(),
        "Aer, shots": lambda: run(circuits, shots=shots, max_parallel_shots=0).result(),
    }, [ours]


def small() -> tuple[dict[str, Callable[[], object]], list[ProcessBackend]]:
    bell = QuantumCircuit(2)
    bell.h(0)
    bell.cx(0, 1)
    bell.measure_all()
    aer = AerSimulator()
    ours = ProcessBackend(aer)

    def all_of(backend: AerSimulator | ProcessBackend) -> None:
        for job in [backend.run(bell) for _ in range(200)]:
            job.result()

    return {"procjob": lambda: all_of(ours), "Aer": lambda: all_of(aer)}, [ours]


def prepare_and_run(seed: int) -> dict[str, int]:
    circuit = transpile(volume(10, 10, seed), basis_gates=["u", "cx"], optimization_level=3, seed_transpiler=1)
    counts: dict[str, int] = AerSimulator(max_parallel_threads=1).run(circuit, shots=200).result().get_counts()
    return counts


def python() -> tuple[dict[str, Callable[[], object]], list[procjob.Backend]]:
    ours = procjob.Backend(prepare_and_run)

    def here() -> None:
        for seed in range(24):
            prepare_and_run(seed)

    def there() -> None:
        for job in [ours.run(seed) for seed in range(24)]:
            job.result()

    return {"procjob": there, "Aer": here}, [ours]


def status() -> None:
    with ProcessBackend(AerSimulator(method="statevector")) as backend:
        job = backend.run([volume(21, 6, seed) for seed in range(4)])
        longest = 0.0
        while not job.in_final_state():
            longest = max(longest, seconds(job.status))
            time.sleep(0.001)
    print(f"status: at most {longest * 1e3:.1f} ms while 4 circuits of 21 qubits run")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--families", default="wide,noisy,python,small,status")
    options = parser.parse_args()
    for family in options.families.split(","):
        if family == "status":
            status()
            continue
        forms, backends = globals()[family]()
        found = medians(forms, options.rounds, warm=1)
        for backend in backends:
            backend.close()
        best = min(median for name, median in found.items() if name != "procjob")
        shown = ", ".join(f"{name} {median:.3f} s" for name, median in found.items())
        print(f"{family}: {shown}; procjob takes {found['procjob'] / best:.2f} of the best of Aer")


if __name__ == "__main__":
    main()
