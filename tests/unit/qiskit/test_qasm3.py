"""OpenQASM 3 programs, read by Qiskit's parser, simulated, and compared with Qiskit's own reading of them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import qiskit
from qiskit import qasm3
from qiskit.quantum_info import Operator

from procjob.qiskit import from_qasm3
from procjob.simulators import StatevectorSimulator

HEADER = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'
STDGATES = (Path(qiskit.__file__).parent / "qasm/libs/stdgates.inc").read_text(encoding="utf-8")
#: Name, parameters and qubits of every gate of the standard library, and of the three of the language itself.
GATES = [
    *re.findall(r"^gate (\w+)(?:\((.*?)\))? (.*?) *{", STDGATES, re.MULTILINE),
    ("U", "a, b, c", "q"),
    ("gphase", "a", ""),
    ("ctrl @ gphase", "a", "q"),
]

pytest.importorskip("qiskit_qasm3_import", reason="needs the parser that the extra qiskit brings")


def operator_of(circuit):
    """The whole matrix, by simulating every basis state as one batch."""
    size = 1 << circuit.num_qubits
    run = StatevectorSimulator().run(circuit, shots=None, parameters=np.empty((size, 0)), initial_state=np.eye(size))
    return run.get_statevector().T


@pytest.mark.parametrize(("name", "angles", "qubits"), GATES, ids=[gate[0] for gate in GATES])
def test_every_standard_gate_of_open_qasm_3_is_the_operator_that_qiskit_reads(name, angles, qubits):
    values = ", ".join(str(0.3 + 0.4 * number) for number, _ in enumerate(filter(None, angles.split(","))))
    wires = ", ".join(f"q[{number}]" for number, _ in reversed(list(enumerate(filter(None, qubits.split(","))))))
    text = f"{HEADER}qubit[3] q;\n{name}{f'({values})' if values else ''} {wires};"
    np.testing.assert_allclose(operator_of(from_qasm3(text)), Operator(qasm3.loads(text)).data, atol=1e-12)


def test_the_list_of_standard_gates_is_that_of_open_qasm_3():
    assert {"p", "sx", "cu", "cswap", "CX", "phase", "cphase", "id", "u1", "u2", "u3"} < {gate[0] for gate in GATES}
    assert len(GATES) == 32 + 3


@pytest.mark.filterwarnings("ignore:.*annotated:DeprecationWarning")  # the parser calls Qiskit as Qiskit 2.3 would not
def test_modifiers_and_own_gates_are_the_operator_that_qiskit_reads():
    text = f"""{HEADER}
        gate mine(a) p, q {{ rx(a/2) p; cx p, q; rz(-a) q; }}
        qubit[3] q;
        h q;
        negctrl @ x q[0], q[2];
        inv @ s q[1];
        pow(2) @ t q[0];
        ctrl(2) @ ry(pi/5) q[2], q[0], q[1];
        inv @ mine(0.7) q[2], q[1];
    """
    np.testing.assert_allclose(operator_of(from_qasm3(text)), Operator(qasm3.loads(text)).data, atol=1e-12)


def test_a_program_with_inputs_measurements_and_conditions_runs():
    circuit = from_qasm3(f"""{HEADER}
        input float[64] theta;
        qubit[3] q;
        bit[2] c;
        bit[1] last;
        ry(theta) q[0];
        h q[1]; cx q[1], q[2];
        cx q[0], q[1]; h q[0];
        c[0] = measure q[0];
        c[1] = measure q[1];
        if (c[1] == true) {{ x q[2]; }}
        if (c[0]) {{ z q[2]; }} else {{ id q[2]; }}
        ry(-theta) q[2];
        last[0] = measure q[2];
        reset q[0];
    """)
    assert circuit.parameters == ("theta",)
    assert [(register.name, register.size) for register in circuit.registers] == [("c", 2), ("last", 1)]
    counts = StatevectorSimulator().run(circuit, parameters={"theta": [0.4, 2.1]}, shots=400, seed=1).counts_array()
    assert counts[:, 4:].sum() == 0  # the teleported state, turned back, is |0>
    assert (counts[:, :4] > 50).all()


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (f"{HEADER}qubit q;\nx q", ValueError, "no OpenQASM 3: line 4, at '<EOF>'"),
        ("OPENQASM 3.0; return 3;", ValueError, "'return' statement outside subroutine"),
        ("\n", ValueError, "it is empty"),
        (None, TypeError, "must be an OpenQASM 3 program, not None"),
        (f"{HEADER}qubit q;\nfoo q;", qasm3.QASM3ImporterError, "gate 'foo' is not defined"),
        (f"{HEADER}qubit[2] q;\nx q[0]; x q[2];", ValueError, "line 4: IndexError"),
        (f"{HEADER}qubit q;\nrx() q;", ValueError, "line 4: TypeError: RXGate"),
        (f"{HEADER}qubit q;\nrx(1/0) q;", ValueError, "line 4: ZeroDivisionError"),
        (f"{HEADER}qubit[2] q;\ncx q[0], q[0];", ValueError, "line 4: CircuitError: duplicate"),
        (f"{HEADER}qubit q; bit[2] c;\nif (c == 4) {{ x q; }}", ValueError, "condition that never holds 'if_else'"),
        (f"{HEADER}rx({'(' * 9999}1{')' * 9999}) q;", ValueError, "RecursionError"),
        (f"{HEADER}qubit q;\nfor uint i in [0:2] {{ x q; }}", ValueError, "has the instruction 'for_loop'"),
    ],
    ids=[
        "cut off",
        "grammar",
        "empty",
        "no text",
        "unknown gate",
        "index",
        "no angle",
        "no number",
        "same qubit",
        "condition",
        "depth",
        "loop",
    ],
)
def test_what_is_wrong_with_a_program_is_said(text, error, message):
    with pytest.raises(error, match=message):
        from_qasm3(text)


def test_a_missing_parser_is_named_with_how_to_install_it():
    code = "import sys; sys.modules['qiskit_qasm3_import'] = None; import procjob.qiskit as q; q.from_qasm3('qubit q;')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 1
    assert "pip install qiskit_qasm3_import" in run.stderr.splitlines()[-1]
