"""Runs whose results are stored in golden.json, which `python golden.py write` makes anew."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from procjob.simulators import Circuit, NoiseModel, Parameter, StatevectorSimulator

OBSERVABLES = ["Z0 Z1", {"X0 Y1": 0.5, "Z2": 2.0, "I0": 0.25}]


def batch(num_qubits, precision="double"):
    """Every kind of pass at three points: blocks, gathers, phases and, from nine qubits up, walks."""
    t = Parameter.array("t", num_qubits)
    circuit = Circuit(num_qubits)
    for layer in range(3):
        for qubit in range(num_qubits):
            circuit.ry(t[qubit] + layer, qubit).rz(t[qubit - 1], qubit)
        for qubit in range(num_qubits - 1):
            circuit.cx(qubit, qubit + 1)
    circuit.crx(t[0] * t[1], 0, num_qubits - 1).iswap(0, 2).u(0.1, t[2], np.sin(t[0]), 1).ccx(2, 0, 1)
    for qubit in range(num_qubits - 1):
        circuit.rzz(2 * t[qubit] + 0.1, qubit, qubit + 1)
    circuit.unitary([[0.6, 0.8], [0.8j, -0.6j]], [2]).rxx(t[1], 0, 1).measure_all()
    points = np.linspace(-3, 3, 3 * num_qubits).reshape(3, num_qubits)
    return StatevectorSimulator().run(
        circuit, parameters=points, shots=300, seed=11, memory=True, keep_states=True, observables=OBSERVABLES,
        precision=precision,
    ).circuits[0]  # fmt: skip


def trajectories(noise):
    """Measurement in the middle, conditions and reset, ideal or with every channel of noise."""
    angle = Parameter("angle")
    circuit = Circuit(3, 3).ry(angle, 0).h(1).cx(1, 2).cx(0, 1).h(0).measure([0, 1], [0, 1])
    circuit.x(2).c_if(1).z(2).c_if(0).reset(0).ry(0.3, 0).crz(0.4, 0, 2).measure(2, 2)
    return StatevectorSimulator(noise=noise).run(
        circuit, parameters=[[0.4], [2.0]], shots=300, seed=12, memory=True, observables=OBSERVABLES
    ).circuits[0]  # fmt: skip


NOISE = (
    NoiseModel().depolarizing(0.1).pauli({"X": 0.05, "Y": 0.1}, gates=["cx"]).amplitude_damping(0.2).readout(0.02, 0.05)
)


def runs():
    """Results by name."""
    return {
        "3 qubits": batch(3),
        "6 qubits": batch(6),
        "10 qubits": batch(10),
        "6 qubits, single precision": batch(6, "single"),
        "measurements in the middle": trajectories(None),
        "noise": trajectories(NOISE),
    }


def draws(found):
    """Digest of the memory and counts of all runs: integers, the same on every machine."""
    arrays = [array for run in found.values() for array in (run.memory, run.tally.outcomes, run.tally.counts)]
    return _digest(np.ascontiguousarray(array, dtype="<i8") for array in arrays)


def bits(found):
    """Digest of all states, probabilities and expectation values: the same for the same code paths of BLAS and NumPy."""
    states = [run.statevectors for run in found.values() if run.statevectors is not None]
    return _digest(
        [*states, *(np.abs(state) ** 2 for state in states), *(r.expectation_values for r in found.values())]
    )


def values(run):
    """The states, if there are few, and the expectation values of a run, in lists."""
    states = run.statevectors
    few = states is not None and states.shape[-1] <= 64
    parts = {"states": np.stack([states.real, states.imag])} if few else {}
    return {name: array.tolist() for name, array in {**parts, "expectations": run.expectation_values}.items()}


def _digest(arrays):
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:16]


def on_plain_code_paths():
    """Run this file as a script on the code paths that every x86-64 processor has; return what it prints, read."""
    try:
        from numpy._core import _multiarray_umath as core
    except ImportError:  # NumPy 1
        from numpy.core import _multiarray_umath as core
    optional = [feature for feature in core.__cpu_dispatch__ if core.__cpu_features__.get(feature)]
    paths = {"OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": " ".join(optional)}
    run = subprocess.run(
        [sys.executable, __file__], env={**os.environ, **paths}, capture_output=True, text=True, check=True, timeout=60
    )
    return json.loads(run.stdout)


def stored():
    """What golden.json holds."""
    return json.loads(Path(__file__).with_name("golden.json").read_text())


if __name__ == "__main__":
    if sys.argv[1:] == ["write"]:
        Path(__file__).with_name("golden.json").write_text(json.dumps(on_plain_code_paths()) + "\n")
    else:
        results = runs()
        named = {name: values(run) for name, run in results.items()}
        print(json.dumps({"draws": draws(results), "bits": bits(results), "values": named}))
