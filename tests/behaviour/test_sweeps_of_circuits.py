"""Sweeps of Qiskit's circuits, on the built-in simulator and on a backend of Qiskit's."""

import subprocess
import sys
import time

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector
from qiskit.providers.basic_provider import BasicSimulator
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import SparsePauliOp, Statevector
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, depolarizing_error

import procjob
from procjob.engine import ProcessEngine
from procjob.qiskit import ProcessBackend

THETA = Parameter("theta")
POINTS = procjob.grid(theta=np.linspace(0, np.pi, 5))


@pytest.fixture(scope="module")
def engine():
    def nap(seconds):
        time.sleep(seconds)

    engine = ProcessEngine(2)
    procjob.sweep(nap, procjob.grid(seconds=[0.05] * 8), engine=engine)
    assert len(engine.worker_pids()) == 2
    yield engine
    engine.close()


@pytest.fixture
def rotated():
    circuit = QuantumCircuit(2, name="rotated")
    circuit.ry(THETA, 0)
    circuit.cx(0, 1)
    return circuit


@pytest.fixture
def measured(rotated):
    return rotated.measure_all(inplace=False)


def noisy():
    noise = NoiseModel()
    noise.add_all_qubit_quantum_error(depolarizing_error(0.2, 1), ["ry"])
    return AerSimulator(noise_model=noise)


def test_means_on_the_built_in_simulator_are_exact(rotated, engine):
    operator = SparsePauliOp(["XX", "ZI"], [0.5, -1.0])
    result = procjob.sweep(rotated, POINTS, observables={"energy": operator, "parity": "ZZ"}, engine=engine)
    for theta, energy in zip(result["theta"], result["energy"], strict=True):
        assert energy == pytest.approx(Statevector(rotated.assign_parameters([theta])).expectation_value(operator).real)
    assert result["parity"] == pytest.approx(np.ones(5))


def test_counts_on_a_backend_are_those_of_each_points_own_seed(measured, engine):
    together = procjob.sweep(measured, POINTS, backend=noisy(), seed=3, shots=200, engine=engine)
    assert {sum(counts.values()) for counts in together["counts"]} == {200}
    alone = procjob.sweep(
        measured, procjob.grid(theta=[POINTS.columns(2, 3)["theta"][0]]), backend=noisy(), seed=3, shots=200, workers=0
    )
    assert alone["counts"][0] == together["counts"][2]
    assert together["counts"][0] != together["counts"][4]


def test_a_process_backend_lends_what_it_wraps(measured, engine):
    with ProcessBackend(AerSimulator(), workers=1) as backend:
        wrapped = procjob.sweep(measured, POINTS, backend=backend, seed=3, engine=engine)
    assert list(wrapped["counts"]) == list(
        procjob.sweep(measured, POINTS, backend=AerSimulator(), seed=3, engine=engine)["counts"]
    )


def test_means_on_a_backend_come_from_shots(rotated, engine):
    result = procjob.sweep(
        rotated, POINTS, backend=AerSimulator(), seed=3, shots=4000, observables=["XX"], engine=engine
    )
    assert result["XX"] == pytest.approx(np.sin(result["theta"]), abs=0.1)  # six standard deviations
    assert (result["XX"] != np.sin(result["theta"])).any()


def test_parameters_of_a_vector_are_axes(engine):
    vector = ParameterVector("v", 2)
    circuit = QuantumCircuit(1, name="turned")
    circuit.ry(vector[0], 0)
    circuit.ry(vector[1], 0)
    points = procjob.grid(**{"v[0]": [0.0, np.pi], "v[1]": [0.0, np.pi]})
    for backend in (None, AerSimulator()):
        options = {"backend": backend, "shots": 100, "seed": 1}
        result = procjob.sweep(circuit.measure_all(inplace=False), points, engine=engine, **options)
        assert [counts for row in result["counts"] for counts in row] == [
            {"0": 100},
            {"1": 100},
            {"1": 100},
            {"0": 100},
        ]


@pytest.mark.parametrize("backend", [None, AerSimulator()], ids=["built in", "Aer"])
def test_a_version_stands_for_the_circuit_and_not_for_shots_and_observables(rotated, measured, backend, tmp_path):
    options = {"backend": backend, "version": "1", "store": tmp_path / "points.db", "workers": 0, "seed": 1}
    for _ in range(2):
        counts = [procjob.sweep(measured, POINTS, shots=shots, **options)["counts"] for shots in (10, 100)]
        assert [sum(each[0].values()) for each in counts] == [10, 100]
        names = [procjob.sweep(rotated, POINTS, observables=[label], **options).names for label in ("ZZ", "XX")]
        assert names == [("ZZ",), ("XX",)]


def test_basic_simulator_is_a_backend_too(measured, engine):
    result = procjob.sweep(measured, POINTS, backend=BasicSimulator(), seed=3, shots=50, engine=engine)
    assert result["counts"][0] == {"00": 50}


RESUMED = """
import numpy as np, procjob
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, depolarizing_error

noise = NoiseModel()
noise.add_all_qubit_quantum_error(depolarizing_error(0.2, 1), ["ry"])
circuit = QuantumCircuit(2, name="rotated")
circuit.ry(Parameter("theta"), 0)
circuit.cx(0, 1)
circuit.measure_all()
points = procjob.grid(theta=np.linspace(0, np.pi, 5))
result = procjob.sweep(circuit, points, backend=AerSimulator(noise_model=noise), seed=3, shots=200, workers=0, store="points.db")
print(result.metadata["reused"])
"""


def test_another_process_finds_the_points_of_a_noisy_backend_again(tmp_path):
    """Parameters and errors have names of their own in every process."""
    said = [
        subprocess.run(
            [sys.executable, "-c", RESUMED], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
        )
        for _ in range(2)
    ]
    assert [(each.stdout, each.stderr) for each in said] == [("0\n", ""), ("5\n", "")]


REFERRING = """
import sys
import procjob
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, depolarizing_error

for _ in range(int(sys.argv[1])):
    QuantumCircuit(1)  # Qiskit counts those without a name
noise = NoiseModel()
noise.add_all_qubit_quantum_error(depolarizing_error(0.2, 1), ["ry"])
SIMULATOR = AerSimulator(noise_model=noise)
THETA = Parameter("theta")
CIRCUIT = QuantumCircuit(2)
CIRCUIT.ry(THETA / 3, 0)
CIRCUIT.cx(0, 1)
CIRCUIT.measure_all()

def energy(x, seed):
    bound = CIRCUIT.assign_parameters({THETA: x})
    return SIMULATOR.run(bound, shots=20, seed_simulator=seed % 2**31).result().get_counts().get("00", 0)

print(procjob.sweep(energy, procjob.grid(x=[0.0, 1.0]), seed=3, workers=0, store="points.db").metadata["reused"])
x = procjob.Parameter("x")
circuit = procjob.Circuit(1).ry(2 * x + x / 3, 0)
print(procjob.sweep(circuit, procjob.grid(x=[0.0, 1.0]), observables=["Z"], workers=0, store="points.db").metadata["reused"])
"""


def test_another_process_finds_the_points_of_a_function_with_a_global_circuit_and_simulator_again(tmp_path):
    for unnamed, reused in ((0, "0\n0\n"), (3, "2\n2\n")):
        done = subprocess.run(
            [sys.executable, "-c", REFERRING, str(unnamed)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.stdout, done.stderr) == (reused, "")


def test_a_global_that_nobody_can_tell_from_others_is_named_and_a_version_helps(tmp_path):
    manager = generate_preset_pass_manager(0, AerSimulator())

    def depth(theta):
        return manager.run(QuantumCircuit(1)).depth() + theta

    with pytest.raises(TypeError, match=r"depth: manager, a StagedPassManager, has no stable identity.* give version="):
        procjob.sweep(depth, POINTS, store=tmp_path / "points.db", workers=0)
    assert not procjob.sweep(depth, POINTS, store=tmp_path / "points.db", version="1", workers=0).partial


def test_a_backend_that_nobody_can_tell_from_others_needs_a_version_to_be_stored(measured, tmp_path):
    backend = GenericBackendV2(2, seed=1)
    with pytest.raises(TypeError, match="version="):
        procjob.sweep(measured, POINTS, backend=backend, store=tmp_path / "points.db", workers=0)
    result = procjob.sweep(
        measured, POINTS, backend=backend, store=tmp_path / "points.db", version="device 1", workers=0
    )
    assert not result.partial


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"points": procjob.grid(phi=[0.0])}, TypeError, r"rotated has no parameter phi; it has theta"),
        (
            {"points": procjob.grid(phi=[0.0]), "backend": AerSimulator()},
            TypeError,
            "rotated has no parameter phi; it has theta",
        ),
        (
            {"points": procjob.grid(theta=["0.5"]), "backend": AerSimulator()},
            TypeError,
            "parameter theta must be a real number, not '0.5'",
        ),
        ({"backend": "aer"}, TypeError, "backend must be a qiskit.providers.BackendV2, not 'aer'"),
        ({"shots": 0, "backend": AerSimulator()}, ValueError, "shots must be greater than 0"),
        ({"shots": None, "backend": AerSimulator()}, TypeError, "shots must be a whole number"),
        ({"observables": [3.0], "backend": AerSimulator()}, TypeError, "must be a SparsePauliOp"),
        ({"observables": ["ZZ"], "shots": 10}, ValueError, "the means of rotated are exact"),
        ({"observables": {"ZZ": 1.0}}, TypeError, "a list, or a mapping of names to observables"),
        ({"observables": ["ZZ", "ZZ"]}, ValueError, "observables has one twice: ZZ, ZZ"),
        ({"observables": [SparsePauliOp("ZZ", [1j])]}, ValueError, "it must be real"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_runs(measured, arguments, error, match):
    with pytest.raises(error, match=match):
        procjob.sweep(measured, **{"points": POINTS, "workers": 1, **arguments})


@pytest.mark.parametrize(
    ("value", "error"), [(1j, TypeError), ("0.5", TypeError), (None, TypeError), (10**400, ValueError)], ids=str
)
def test_an_angle_that_is_no_real_number_is_refused_and_not_made_one(rotated, engine, value, error):
    for points in (procjob.grid(theta=[value]), procjob.grid(theta=[0, 0.5, value]), iter([{"theta": value}])):
        with pytest.raises(error, match="parameter theta must be"):
            procjob.sweep(rotated, points, observables=["ZZ"], engine=engine)
    result = procjob.sweep(
        rotated, iter([{"theta": 0.0}, {"theta": value}]), observables=["ZZ"], engine=engine, errors="store"
    )
    assert result.status.tolist() == [1, 2]
    assert "parameter theta must be" in str(result.errors[1])


def test_a_circuit_without_measurements_has_no_counts(rotated):
    for backend in (None, AerSimulator()):
        with pytest.raises(ValueError, match="measures nothing"):
            procjob.sweep(rotated, POINTS, backend=backend, workers=1)
