"""Random circuits, and the same in Qiskit."""

from __future__ import annotations

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
    """A random circuit over all gates and unitaries, with up to two controls; and a function from values to Qiskit's.

    Angles are taken from `parameters`, if there are any, as often as from numbers.
    """
    circuit, recipe = Circuit(num_qubits), []
    for _ in range(num_gates):
        name = rng.choice([*QISKIT, "cu", "gphase", "unitary"])
        size = GATES[name].num_qubits if name in GATES else int(rng.integers(1, 3))
        controls = 1 if name == "cu" else int(rng.choice([0, 0, 0, 1, 2]))
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
        if name != "gphase" or not above:
            circuit.gate(name, targets, angles, controls=above)
            recipe.append((name, angles, targets, above))
    return circuit, lambda values: as_qiskit(num_qubits, recipe, values)


def as_qiskit(num_qubits, recipe, values):
    circuit = QuantumCircuit(num_qubits)
    for what, angles, targets, controls in recipe:
        numbers = [a if isinstance(a, float) else float(a.evaluate(values)) for a in angles]
        if isinstance(what, str) and what == "gphase":
            circuit.global_phase += numbers[0]
        elif isinstance(what, str) and what == "cu":
            circuit.cu(*numbers, controls[0], targets[0])
        else:
            gate = QISKIT[what](*numbers) if isinstance(what, str) else library.UnitaryGate(what)
            circuit.append(gate.control(len(controls), annotated=False) if controls else gate, [*controls, *targets])
    return circuit
