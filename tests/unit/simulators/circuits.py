"""Random circuits, and the same in Qiskit."""

from __future__ import annotations

import contextlib

import numpy as np
from qiskit.circuit import QuantumCircuit, library
from scipy.stats import unitary_group

from procjob.simulators.circuit import Circuit
from procjob.simulators.gates import GATES

#: Qiskit's class for each of our bases.
QISKIT = {
    "id": library.IGate,
    "x": library.XGate,
    "y": library.YGate,
    "z": library.ZGate,
    "h": library.HGate,
    "s": library.SGate,
    "sdg": library.SdgGate,
    "t": library.TGate,
    "tdg": library.TdgGate,
    "sx": library.SXGate,
    "sxdg": library.SXdgGate,
    "p": library.PhaseGate,
    "rx": library.RXGate,
    "ry": library.RYGate,
    "rz": library.RZGate,
    "u2": library.U2Gate,
    "u": library.UGate,
    "swap": library.SwapGate,
    "iswap": library.iSwapGate,
    "rxx": library.RXXGate,
    "ryy": library.RYYGate,
    "rzz": library.RZZGate,
}


def random_circuit(rng, num_qubits, num_gates, parameters=()):
    """A random circuit over all gates and unitaries, with up to three controls; and a function from values to Qiskit's.

    Angles are taken from `parameters`, if there are any, as often as from numbers.
    """
    circuit, recipe = Circuit(num_qubits), []
    for _ in range(num_gates):
        name = rng.choice([*QISKIT, "cu", "gphase", "unitary"])
        size = GATES[name].num_qubits if name in GATES else int(rng.integers(1, 4))
        controls = 1 if name == "cu" else int(rng.choice([0, 0, 0, 0, 1, 1, 2, 3]))
        if size + controls > num_qubits:
            continue
        qubits = [int(q) for q in rng.permutation(num_qubits)[: size + controls]]
        targets, above = qubits[:size], qubits[size:]
        if name == "unitary":
            matrix = unitary_group.rvs(1 << size, random_state=rng).reshape(1 << size, -1)
            circuit.unitary(matrix, targets, controls=above)
            recipe.append((matrix, (), targets, above))
            continue
        angles = [
            2 * parameters[rng.integers(len(parameters))] + 0.5
            if len(parameters) and rng.random() < 0.5
            else float(rng.normal())
            for _ in range(GATES[name].num_params)
        ]
        circuit.gate(name, targets, angles, controls=above)
        recipe.append((name, angles, targets, above))
    return circuit, lambda values: as_qiskit(num_qubits, recipe, values)


def as_qiskit(num_qubits, recipe, values):
    circuit = QuantumCircuit(num_qubits)
    for what, angles, targets, controls in recipe:
        numbers = [a if isinstance(a, float) else float(a.evaluate(values)) for a in angles]
        append(circuit, what, numbers, targets, controls)
    return circuit


def append(circuit, what, numbers, targets, controls):
    """Append to a circuit of Qiskit one of our gates by name, or a unitary by its matrix."""
    if isinstance(what, str) and what == "gphase":
        if not controls:
            circuit.global_phase += numbers[0]
            return
        what, targets, controls = "p", controls[:1], controls[1:]
    if isinstance(what, str) and what == "cu":
        circuit.cu(*numbers, controls[0], targets[0])
        return
    gate = QISKIT[what](*numbers) if isinstance(what, str) else library.UnitaryGate(what)
    if len(controls) == 1 and isinstance(what, str):
        circuit.append(gate.control(annotated=False), [*controls, *targets])
    elif controls:  # as a matrix: Qiskit takes long to decompose it
        matrix = np.eye(1 << len(targets) + len(controls), dtype=complex)
        matrix[-1 << len(targets) :, -1 << len(targets) :] = gate.to_matrix()
        circuit.append(library.UnitaryGate(matrix), [*targets, *controls])
    else:
        circuit.append(gate, targets)


def random_dynamic_circuit(rng, num_qubits, num_steps):
    """A random circuit with measurements in the middle, resets and conditions; and the same in Qiskit."""
    circuit, theirs = Circuit(num_qubits, num_qubits), QuantumCircuit(num_qubits, num_qubits)
    for _ in range(num_steps):
        kind = rng.choice(["gate", "gate", "gate", "conditional gate", "measure", "reset", "conditional reset"])
        clbit, value = int(rng.integers(num_qubits)), int(rng.integers(2))
        condition = theirs.if_test((theirs.clbits[clbit], value)) if "conditional" in kind else contextlib.nullcontext()
        qubit, other = (int(q) for q in rng.permutation(num_qubits)[:2])
        angles = rng.normal(size=3).tolist()
        with condition:
            if kind == "measure":
                circuit.measure(qubit, clbit)
                theirs.measure(qubit, clbit)
            elif "reset" in kind:
                circuit.reset(qubit)
                theirs.reset(qubit)
            elif rng.random() < 0.5:
                circuit.u(*angles, qubit)
                theirs.u(*angles, qubit)
            else:
                circuit.cry(angles[0], qubit, other)
                theirs.cry(angles[0], qubit, other)
        if "conditional" in kind:
            circuit.c_if(clbit, value)
    circuit.measure(range(num_qubits), range(num_qubits))
    theirs.measure(range(num_qubits), range(num_qubits))
    return circuit, theirs
