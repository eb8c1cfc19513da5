"""Resident memory at its highest, compiling included, measured in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

#: What a run may take beside three copies of its states; `StatevectorSimulator` says so.
CONSTANT = 24 << 20

MEASURE = """
import json, sys
from pathlib import Path
import numpy as np
from procjob.simulators import Circuit, NoiseModel, Parameter, StatevectorSimulator

def layers(num_qubits):
    theta = iter(Parameter.array("t", 4 * num_qubits))
    circuit = Circuit(num_qubits)
    for _ in range(2):
        for qubit in range(num_qubits):
            circuit.ry(next(theta), qubit).rz(next(theta), qubit)
        for qubit in range(num_qubits - 1):
            circuit.cx(qubit, qubit + 1)
    return circuit

def bytes_of(line):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(text.split()[1] for text in lines if text.startswith(line)))

def volume(num_qubits, layers):
    rng = np.random.default_rng(2)
    circuit = Circuit(num_qubits)
    for _ in range(layers):
        order = rng.permutation(num_qubits).tolist()
        for pair in zip(order[::2], order[1::2]):
            circuit.unitary(np.linalg.qr(rng.normal(size=(4, 4)))[0], pair)
    return circuit

def ising(num_qubits, angle):
    circuit = Circuit(num_qubits)
    for qubit in range(num_qubits):
        circuit.h(qubit)
    for layer in range(2):
        for qubit in range(num_qubits):
            for other in range(qubit):
                circuit.rzz(angle(layer, qubit, other), qubit, other)
        for qubit in range(num_qubits):
            circuit.rx(Parameter(f"b{layer}"), qubit)
    return circuit

def adder(num_qubits):
    circuit = Circuit(num_qubits)
    for qubit in range(num_qubits):
        circuit.h(qubit)
    for layer in range(5):
        for qubit in range(num_qubits - 2):
            circuit.ccx(qubit, qubit + 1, qubit + 2).cx(qubit, qubit + 1)
        circuit.rx(0.1, layer)
    return circuit.mcx(range(num_qubits - 1), num_qubits - 1).gate("h", [0], controls=range(1, num_qubits))

def measure(circuit, points=1, noise=None, **options):
    values = np.random.default_rng(1).normal(size=(points, len(circuit.parameters)))
    Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is resident
    before = bytes_of("VmRSS:")
    StatevectorSimulator(noise=noise).run(circuit, parameters=values, seed=1, **options)
    return {"run": bytes_of("VmHWM:") - before, "process": bytes_of("VmHWM:")}

measure(layers(4).measure_all(), observables=["X0"])  # what is loaded at first use
n = 20
many = [f"Z{q} X{(q + 1) % n}" for q in range(n)]
phases = Circuit(n)
for q in range(n):
    phases.rx(0.3, q).rzz(Parameter(f"p{q}"), q, (q + 1) % n)
state = np.zeros(1 << n, dtype=complex)
state[5] = 1
dynamic = Circuit(n, 1).h(0).measure(0, 0).x(1).c_if(0).reset(0).measure_all()
damped = NoiseModel().amplitude_damping(0.5, gates=["h"]).pauli({"Y": 1.0}, gates=["h"])
print(json.dumps({
    "exact": measure(layers(n), shots=None, observables=["Z0 Z1"]),
    "many observables": measure(layers(n), shots=None, observables=many),
    "counts": measure(layers(n).measure_all(), shots=1000, memory=True),
    "state": measure(layers(n), shots=None),
    "phases": measure(phases, shots=None, observables=["Z0 Z1"]),
    "initial state": measure(layers(n), shots=None, observables=["Z0 Z1"], initial_state=state),
    "single precision": measure(layers(n).measure_all(), shots=1000, precision="single"),
    "trajectories": measure(dynamic, shots=2),
    "noise": measure(Circuit(n).h(0).h(19).measure_all(), noise=damped, shots=2),
    "batch": measure(layers(14), points=64, shots=None),
    "volume": measure(volume(n, 20), shots=None),
    "many permutations": measure(volume(16, 60), shots=None, observables=["Z0"]),
    "noise behind every gate": measure(
        layers(n).measure_all(), noise=NoiseModel().depolarizing(0.01), shots=1
    ),
    "one angle a layer": measure(ising(n, lambda layer, *_: Parameter(f"g{layer}")), shots=None),
    "many angles": measure(ising(n, lambda *numbers: Parameter(f"g{numbers}")), shots=None),
    "constant angles": measure(ising(n, lambda layer, *_: layer + 0.1), shots=None),
    "many controls": measure(adder(n), shots=None),
}))
"""

KINDS = [
    "exact", "many observables", "counts", "state", "phases", "initial state", "single precision", "trajectories",
    "noise", "batch", "volume", "many permutations", "noise behind every gate", "one angle a layer", "many angles", "constant angles",
    "many controls",
]  # fmt: skip


@pytest.fixture(scope="module")
def measured():
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the peak of a part of a process is known on Linux only")
    run = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, timeout=100, check=True)
    return json.loads(run.stdout)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_takes_three_copies_of_its_states_and_a_constant(measured, kind):
    copy = {"single precision": 8, "many permutations": 1}.get(kind, 16) << 20
    assert measured[kind]["run"] < 3 * copy + CONSTANT


@pytest.mark.parametrize("kind", KINDS)
def test_a_process_that_simulates_20_qubits_takes_less_than_200_mb(measured, kind):
    assert measured[kind]["process"] < 200e6
