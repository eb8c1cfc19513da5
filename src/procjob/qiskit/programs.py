"""OpenQASM files as circuits of Qiskit, for the command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from qiskit import QuantumCircuit, transpile
from qiskit.exceptions import QiskitError
from qiskit.providers import BackendV2

from procjob.qiskit.backend import ProcessBackend
from procjob.qiskit.convert import from_qiskit, loads_qasm2, loads_qasm3
from procjob.simulators import Plan, StatevectorSimulator, compile  # noqa: A004
from procjob.simulators.inputs import check_one_state
from procjob.simulators.plan import place_bits

#: Characters of a program: more is something else, or never ends.
_MOST = 100_000_000
#: Probabilities below this are rounding.
_NOISE = 1e-14
_COMMENTS = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_VERSION = re.compile(r"\s*OPENQASM\s+(\d+)")


def read_program(path: Path) -> QuantumCircuit:
    """Read a file of OpenQASM 2 or 3; the circuit is called like the file.

    Raises:
        ValueError: it is neither; the message names the file and the place.
        ImportError: the parser of OpenQASM 3 is missing.
        OSError: it cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:  # editors on Windows write a mark in front
            text = file.read(_MOST + 1)
        if len(text) > _MOST:
            raise ValueError(f"it has more than {_MOST:,} characters")
        version = _VERSION.match(_COMMENTS.sub(" ", text))
        circuit = loads_qasm2(text) if version is not None and version[1] == "2" else loads_qasm3(text)
    except (QiskitError, ValueError) as exc:
        raise ValueError(f"{path} cannot be read as OpenQASM: {getattr(exc, 'message', exc)}") from exc
    circuit.name = path.stem.encode("utf-8", "backslashreplace").decode()  # no other file takes halves of characters
    return circuit


def measures(circuit: QuantumCircuit) -> bool:
    """Whether a circuit measures anything."""
    blocks = [block for instruction in circuit.data for block in getattr(instruction.operation, "blocks", ())]
    return "measure" in circuit.count_ops() or any(map(measures, blocks))


def fitted(circuit: QuantumCircuit, backend: BackendV2) -> QuantumCircuit:
    """Return a circuit in the gates of a backend, changed no further; the same each time.

    Raises:
        ValueError: the backend cannot run it; too few qubits, say.
    """
    try:
        return transpile(circuit, backend, optimization_level=0, seed_transpiler=0)
    except QiskitError as exc:
        raise ValueError(f"{circuit.name} does not fit {backend.name}: {exc.message}") from exc


def as_backend(found: Any) -> BackendV2:
    """Return a backend: what was found, or what it makes if it is called.

    Raises:
        TypeError: it is none.
    """
    made = found() if callable(found) and not isinstance(found, BackendV2) else found
    if isinstance(made, ProcessBackend):
        made = made.wrapped
    if not isinstance(made, BackendV2):
        raise TypeError(f"{made!r:.200} is no qiskit.providers.BackendV2")
    return made


def exact_plan(circuit: QuantumCircuit) -> Plan:
    """Return what the built-in simulator runs for the exact probabilities of a circuit.

    Raises:
        ValueError: it has none without sampling, since it measures or resets in the middle.
    """
    plan = compile(from_qiskit(circuit))
    check_one_state(plan.is_unitary, None, keep_states=True)
    return plan


def probabilities(plan: Plan) -> dict[str, float]:
    """Return the probability of each outcome of the measurements at the end, as Qiskit writes outcomes; in a worker.

    What is less than the noise of rounding is left out.
    """
    result = StatevectorSimulator().run(plan, shots=None)
    weights = result.get_probabilities()
    outcomes, places = np.unique(
        place_bits(np.arange(len(weights), dtype=np.int64), plan.measured), return_inverse=True
    )
    found = np.bincount(places, weights)
    return {
        result.circuits[0].bitstring(outcome): weight
        for outcome, weight in zip(outcomes.tolist(), found.tolist(), strict=True)
        if weight > _NOISE
    }
