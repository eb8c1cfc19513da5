"""OpenQASM files as circuits of Qiskit, for the command line."""

from __future__ import annotations

import re
from pathlib import Path

from qiskit import QuantumCircuit, transpile
from qiskit.exceptions import QiskitError
from qiskit.providers import BackendV2

from procjob.qiskit.convert import loads_qasm2, loads_qasm3

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
        text = path.read_text(encoding="utf-8")
        version = _VERSION.match(_COMMENTS.sub(" ", text))
        circuit = loads_qasm2(text) if version is not None and version[1] == "2" else loads_qasm3(text)
    except (QiskitError, ValueError) as exc:
        raise ValueError(f"{path} cannot be read as OpenQASM: {getattr(exc, 'message', exc)}") from exc
    circuit.name = path.stem
    return circuit


def measures(circuit: QuantumCircuit) -> bool:
    """Whether a circuit measures anything."""
    blocks = [block for instruction in circuit.data for block in getattr(instruction.operation, "blocks", ())]
    return "measure" in circuit.count_ops() or any(map(measures, blocks))


def fitted(circuit: QuantumCircuit, backend: BackendV2) -> QuantumCircuit:
    """Return a circuit in the gates of a backend, changed no further."""
    return transpile(circuit, backend, optimization_level=0)
