"""What circuits and simulators of Qiskit are: equal ones the same, different ones not."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from qiskit import QuantumCircuit, QuantumRegister
from qiskit.circuit import Parameter, SwitchCaseOp
from qiskit.circuit.classical import expr
from qiskit.circuit.library import UnitaryGate, XGate
from qiskit.quantum_info import SparsePauliOp
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, depolarizing_error

from procjob.qiskit import ProcessBackend
from procjob.qiskit.content import Unknown, content_of
from procjob.sweeps.fingerprint import fingerprint


def told(value):
    return fingerprint(value, "it")["it"]


def circuit(fill, *registers, **options):
    made = QuantumCircuit(*(registers or (2, 2)), **options)
    fill(made)
    return made


def branching(value, gate="x"):
    def fill(made):
        made.measure(0, 0)
        with made.if_test((made.clbits[0], value)):
            getattr(made, gate)(1)

    return fill


def switching(first):
    def fill(made):
        body, other = (circuit(lambda inner: inner.x(0), 1, 2) for _ in range(2))
        made.append(SwitchCaseOp(made.cregs[0], [(first, body), (3, other)]), [0], made.clbits)

    return fill


def looping(indices, parameter=None):
    def fill(made):
        with made.for_loop(indices, parameter):
            made.rx(0.5 if parameter is None else parameter, 0)

    return fill


def conditional(value):
    return lambda made: made.append(XGate().c_if(made.clbits[0], value), [0])


def controlled(state):
    return lambda made: made.append(XGate().control(1, ctrl_state=state), [0, 1])


def opaque(angle):
    return lambda made: made.append(circuit(lambda inner: inner.rx(angle, 0), 1, name="mine").to_gate(), [0])


DIFFERENT = [
    lambda: circuit(lambda made: None),
    lambda: circuit(lambda made: None, name="named"),
    lambda: circuit(lambda made: None, global_phase=0.5),
    lambda: circuit(lambda made: None, QuantumRegister(2, "other")),
    lambda: circuit(lambda made: made.h(0)),
    lambda: circuit(lambda made: made.h(1)),
    lambda: circuit(lambda made: made.ry(0.5, 0)),
    lambda: circuit(lambda made: made.ry(np.nextafter(0.5, 1), 0)),
    lambda: circuit(lambda made: made.ry(Parameter("a"), 0)),
    lambda: circuit(lambda made: made.ry(Parameter("b"), 0)),
    lambda: circuit(lambda made: made.ry(Parameter("a") * 2, 0)),
    lambda: circuit(lambda made: made.ry(Parameter("a") / 3, 0)),
    lambda: circuit(lambda made: made.append(UnitaryGate(np.eye(2)), [0])),
    lambda: circuit(lambda made: made.append(UnitaryGate(-np.eye(2)), [0])),
    lambda: circuit(controlled(0)),
    lambda: circuit(controlled(1)),
    lambda: circuit(opaque(0.5)),
    lambda: circuit(opaque(0.25)),
    lambda: circuit(branching(1)),
    lambda: circuit(branching(0)),
    lambda: circuit(branching(1, "y")),
    lambda: circuit(looping(range(2))),
    lambda: circuit(looping(range(3))),
    lambda: circuit(looping(range(2), Parameter("a"))),
    lambda: circuit(looping(range(2), Parameter("b"))),
    lambda: circuit(switching(0)),
    lambda: circuit(switching(1)),
    lambda: circuit(lambda made: made.delay(10, 0)),
    lambda: circuit(lambda made: made.delay(10, 0, unit="ns")),
    lambda: circuit(lambda made: made.measure(0, 0)),
    lambda: circuit(lambda made: made.measure(0, 1)),
    lambda: Parameter("a"),
    AerSimulator,
    lambda: AerSimulator(method="statevector"),
    lambda: AerSimulator(coupling_map=[[0, 1]]),
    lambda: AerSimulator(noise_model=noise(0.1)),
    lambda: AerSimulator(noise_model=noise(0.2)),
    lambda: noise(0.1),
    lambda: noise(0.2),
    lambda: depolarizing_error(0.1, 1),
    lambda: depolarizing_error(0.2, 1),
    lambda: ProcessBackend(AerSimulator(method="stabilizer")),
    lambda: SparsePauliOp("XX"),
    lambda: SparsePauliOp("XY"),
]
if hasattr(XGate, "c_if"):  # Qiskit 1.x
    DIFFERENT += [lambda: circuit(conditional(0)), lambda: circuit(conditional(1))]


def noise(probability):
    model = NoiseModel()
    model.add_all_qubit_quantum_error(depolarizing_error(probability, 1), ["x"])
    return model


@pytest.mark.filterwarnings("ignore:.*c_if:DeprecationWarning")
def test_what_differs_differs_and_what_is_made_twice_is_the_same():
    once, again = ([told(make()) for make in DIFFERENT] for _ in range(2))
    assert once == again
    for (number, one), (other, two) in itertools.combinations(enumerate(once), 2):
        assert one != two, (number, other)


def test_a_condition_that_is_an_expression_is_told_to_be_unknown():
    def fill(made):
        with made.if_test(expr.less(made.cregs[0], 2)):
            made.x(0)

    with pytest.raises(Unknown, match="a condition that is an expression"):
        content_of(circuit(fill))
