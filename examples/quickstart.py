"""A batch of Qiskit circuits in two worker processes. Three jobs go wrong, and none of the others notices."""

import os
import signal
from collections import Counter
from pathlib import Path
from textwrap import shorten

import numpy as np
from qiskit import QuantumCircuit, qasm2, transpile
from qiskit.circuit.library import QFTGate, efficient_su2, quantum_volume
from qiskit_aer import AerSimulator

from procjob import Backend
from procjob.progress import track

aer = AerSimulator()
rng = np.random.default_rng(2024)


# ---------------------------------------------------------------- what runs in the workers


def simulate(circuit, *, shots=1000, seed=7, crash=False):
    """Return the counts of a circuit. Any function will do; whatever it needs travels along."""
    if crash:
        os.kill(os.getpid(), signal.SIGKILL)  # what the kernel does to a process when memory runs out
    compiled = transpile(circuit, aer, seed_transpiler=seed)
    return aer.run(compiled, shots=shots, seed_simulator=seed).result().get_counts()


# ---------------------------------------------------------------- circuits from Qiskit's library


def ghz(qubits):
    circuit = QuantumCircuit(qubits)
    circuit.h(0)
    for qubit in range(1, qubits):
        circuit.cx(0, qubit)
    circuit.measure_all()
    return circuit


def qft(qubits):
    circuit = QuantumCircuit(qubits)
    circuit.x(0)
    circuit.append(QFTGate(qubits), range(qubits))
    circuit.measure_all()
    return circuit


def ansatz(qubits):
    circuit = efficient_su2(qubits, reps=2)
    circuit.measure_all()
    return circuit.assign_parameters(rng.uniform(0, 2 * np.pi, circuit.num_parameters))


def volume(qubits):
    circuit = quantum_volume(qubits, depth=50, seed=1)
    circuit.measure_all()
    return circuit


circuits = {"W state": qasm2.load(Path(__file__).with_name("w_state.qasm"))}
for qubits in range(3, 15):
    circuits[f"GHZ {qubits}"] = ghz(qubits)
    circuits[f"QFT {qubits}"] = qft(qubits)
for number in range(1, 25):
    circuits[f"EfficientSU2 {number}"] = ansatz(qubits=6)


# ---------------------------------------------------------------- the batch

with Backend(simulate, workers=2) as backend:
    too_large = backend.run(volume(26), job_id="too large")
    crash = backend.run(ghz(3), job_id="kills its worker", crash=True)
    too_slow = backend.run(volume(24), job_id="too slow", time_limit=1)
    batch = [backend.run(circuit, job_id=name) for name, circuit in circuits.items()]

    jobs = [too_large, crash, too_slow, *batch]
    for _ in track(jobs, desc="circuits"):
        if too_large.running():
            too_large.cancel()


# ---------------------------------------------------------------- what became of each


def outcome(job):
    if job.errored():
        return shorten(job.error_message(), 100, placeholder=" ...")
    if job.cancelled():
        return "it would have taken minutes"
    counts = job.result()
    most_frequent = max(counts, key=counts.get)
    return f"{len(counts):4} outcomes, most often {most_frequent} ({counts[most_frequent]})"


print(f"{'job':18} {'status':9} {'ran':>7}  outcome")
for job in jobs:
    print(f"{job.job_id():18} {job.status().name:9} {job.metrics().run_seconds:5.2f} s  {outcome(job)}")

print(", ".join(f"{number} {status}" for status, number in Counter(job.status().name for job in jobs).items()))
