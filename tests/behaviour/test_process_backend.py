"""`ProcessBackend` against the backend that it wraps: the same attributes, circuits and counts."""

from __future__ import annotations

import copy
import pickle
import re
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import Parameter
from qiskit.exceptions import QiskitError
from qiskit.providers import BackendV2
from qiskit.providers.basic_provider import BasicSimulator
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, depolarizing_error
from qiskit_aer.primitives import EstimatorV2, SamplerV2

from procjob import NotPicklableError
from procjob.engine import ExecutorEngine, InlineEngine, ProcessEngine, Task
from procjob.pool.memory import Lane
from procjob.qiskit import ProcessBackend

DEADLINE = 60.0
WRAPPED = {
    "aer": AerSimulator,
    "aer-of-device": lambda: AerSimulator.from_backend(GenericBackendV2(5, seed=1)),
    "device": lambda: GenericBackendV2(5, seed=1),
    "basic": BasicSimulator,
}


@pytest.fixture(scope="module")
def engine():
    engine = ProcessEngine(2)
    for future in [engine.submit(Task(time.sleep, (0.2,)), lambda _: None) for _ in range(2)]:
        future.result(DEADLINE)
    yield engine
    engine.close(cancel=True)


@pytest.fixture
def pair(request):
    stock = WRAPPED[request.param]()
    return stock, ProcessBackend(stock, engine=InlineEngine())


every_backend = pytest.mark.parametrize("pair", WRAPPED, indirect=True)


def ghz(size, name=None, **metadata):
    circuit = QuantumCircuit(size, name=name or f"ghz {size}", metadata=metadata)
    circuit.h(0)
    for target in range(1, size):
        circuit.cx(0, target)
    circuit.measure_all()
    return circuit


def noise():
    model = NoiseModel()
    model.add_all_qubit_quantum_error(depolarizing_error(0.1, 2), ["cx"])
    return model


# ---------------------------------------------------------------- what is the wrapped one's


def outcome(backend, name):
    """Return what an attribute is, in a form that compares."""
    try:
        value = getattr(backend, name)
    except Exception as exc:
        return type(exc), str(exc)
    if callable(value):
        return "a method"
    if isinstance(value, list):
        return sorted(map(written, value))
    return list(value.get_edges()) if hasattr(value, "get_edges") else written(value)


def written(value):
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


@every_backend
def test_every_public_attribute_is_the_wrapped_ones(pair):
    stock, backend = pair
    assert isinstance(backend, BackendV2)
    names = [name for name in dir(stock) if not name.startswith("_")]
    assert len(names) > 20
    assert set(names) <= set(dir(backend))
    theirs = {name: outcome(stock, name) for name in names}
    assert {name: outcome(backend, name) for name in names} == theirs


@every_backend
def test_what_it_does_not_have_is_an_attribute_error(pair):
    assert not hasattr(pair[1], "calibrate")
    assert not hasattr(pair[1], "__array__")


def test_methods_of_the_wrapped_backend_answer(engine):
    stock = AerSimulator.from_backend(GenericBackendV2(5, seed=1))
    backend = ProcessBackend(stock, engine=engine)
    assert backend.configuration().to_dict() == stock.configuration().to_dict()
    assert backend.available_methods() == stock.available_methods()
    assert backend.available_devices() == stock.available_devices()
    assert backend.properties() == stock.properties()
    assert repr(backend.qubit_properties([0, 1])) == repr(stock.qubit_properties([0, 1]))


@every_backend
def test_transpile_gives_the_same_circuit(pair):
    stock, backend = pair
    circuit = ghz(4)
    ours, theirs = (transpile(circuit, where, seed_transpiler=3, optimization_level=2) for where in (backend, stock))
    assert ours == theirs


def test_another_simulator_and_a_noise_model_are_made_from_it(engine):
    stock = GenericBackendV2(5, seed=1)
    backend = ProcessBackend(stock, engine=engine)
    assert NoiseModel.from_backend(backend) == NoiseModel.from_backend(stock)
    assert AerSimulator.from_backend(backend).target.qargs == AerSimulator.from_backend(stock).target.qargs


@pytest.mark.parametrize(
    ("primitive", "observable", "seen"),
    [(SamplerV2, (), lambda data: data.meas.get_counts()), (EstimatorV2, ("Z",), lambda data: data.evs)],
    ids=["sampler", "estimator"],
)
def test_primitives_of_aer_that_are_made_from_it_run_on_it_with_its_noise(engine, primitive, observable, seen):
    noise = NoiseModel()
    noise.add_all_qubit_quantum_error(depolarizing_error(0.3, 1), ["x"])
    stock = AerSimulator(noise_model=noise, coupling_map=[[0, 1]], seed_simulator=7)
    circuit = QuantumCircuit(1)
    circuit.x(0)
    if not observable:
        circuit.measure_all()
    ours, theirs = (primitive.from_backend(where) for where in (ProcessBackend(stock, engine=engine), stock))
    assert isinstance(ours._backend, ProcessBackend)
    ours, theirs = (seen(made.run([(circuit, *observable)]).result()[0].data) for made in (ours, theirs))
    assert ours == theirs


def test_options_that_are_set_hold_for_the_runs_after_however_they_are_set(engine):
    stock = AerSimulator()
    backend = ProcessBackend(stock, engine=engine)
    assert backend.options is stock.options
    backend.set_options(shots=70, seed_simulator=5)
    backend.options.memory = True
    result = backend.run(ghz(2)).result(DEADLINE)
    assert (result.results[0].shots, result.get_memory()) == (70, stock.run(ghz(2)).result().get_memory())
    stock.options.noise_model = noise()
    assert backend.run(ghz(3)).result(DEADLINE).get_memory() == stock.run(ghz(3)).result().get_memory()
    backend.set_options(noise_model=None, memory=None, shots=30)
    assert backend.run(ghz(3)).result(DEADLINE).get_counts() == stock.run(ghz(3)).result().get_counts()
    assert backend.run(ghz(3)).result(DEADLINE).data() == stock.run(ghz(3)).result().data()


@every_backend
def test_an_option_that_cannot_be_set_is_refused_as_by_the_wrapped_one(pair):
    with pytest.raises(Exception) as theirs:
        pair[0].set_options(schots=5)
    with pytest.raises(type(theirs.value)):
        pair[1].set_options(schots=5)


def test_an_option_that_nobody_knows_is_refused_by_name(engine):
    backend = ProcessBackend(AerSimulator(), engine=engine)
    with pytest.raises(TypeError, match="'schots'; did you mean shots"):
        backend.run(ghz(2), schots=5)
    with pytest.raises(TypeError, match="'frobnicate'"):
        ProcessBackend(BasicSimulator(), engine=engine).run(ghz(2), frobnicate=1)


def test_job_options_are_taken_by_the_job_and_not_by_the_simulator(engine):
    backend = ProcessBackend(AerSimulator(), engine=engine)
    given = {"time_limit": 60, "memory_limit": 2**40, "retries": 1, "grace": 1.0}
    job = backend.run(ghz(2), tags=["a"], metadata={"b": 1}, job_id="mine", **given)
    assert job.result(DEADLINE).success
    assert (job.job_id(), job.tags, job.metadata, job.result().job_id) == ("mine", ("a",), {"b": 1}, "mine")


def test_circuits_may_be_given_by_the_name_that_the_wrapped_backend_has_for_them(engine):
    backend = ProcessBackend(AerSimulator(), engine=engine)
    assert backend.run(circuits=ghz(2), shots=8).result(DEADLINE).results[0].shots == 8
    assert len(backend.run(circuits=[ghz(2)] * 2).result(DEADLINE).results) == 2
    assert len(backend.run(run_input=(ghz(n) for n in (1, 2))).result(DEADLINE).results) == 2


def test_without_an_argument_it_wraps_aer():
    with ProcessBackend(workers=1) as backend:
        assert type(backend.wrapped) is AerSimulator
        assert backend.workers == 1


def test_without_workers_a_job_is_done_when_run_returns():
    stock = AerSimulator(noise_model=noise())
    with ProcessBackend(stock, workers=0) as backend:
        job = backend.run([ghz(2), ghz(3)], seed_simulator=4)
        assert job.done()
    assert job.result().get_counts() == stock.run([ghz(2), ghz(3)], seed_simulator=4).result().get_counts()


def test_a_pickle_is_refused_with_what_to_do_instead(engine):
    with pytest.raises(TypeError, match="make one around its `wrapped`"):
        pickle.dumps(ProcessBackend(AerSimulator(), engine=engine))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_runs_on_the_same_workers(engine, copied):
    backend = ProcessBackend(AerSimulator(shots=100), engine=engine, max_circuits_per_task=1)
    twin = copied(backend)
    job = twin.run([ghz(2), ghz(2)], seed_simulator=4)
    assert job.result().get_counts() == backend.run([ghz(2), ghz(2)], seed_simulator=4).result().get_counts()
    assert len(job.pieces) == 2
    assert job.backend() is twin


def test_a_deep_copy_has_options_of_its_own(engine):
    backend = ProcessBackend(AerSimulator(), engine=engine)
    twin = copy.deepcopy(backend)
    twin.set_options(method="statevector")
    assert backend.options.method == "automatic"
    assert twin.run(ghz(2)).result().results[0].metadata["method"] == "statevector"


def test_run_options_of_qiskits_own_layers_are_passed_on(engine):
    backend = ProcessBackend(AerSimulator(), engine=engine)
    assert sum(backend.run(ghz(2), shots=10, meas_level=2, meas_return="single").result().get_counts().values()) == 10


def test_no_shots_are_not_divided(engine):
    circuit = QuantumCircuit(1, 1)
    circuit.reset(0)
    circuit.measure(0, 0)
    assert ProcessBackend(AerSimulator(), engine=engine).run(circuit, shots=0).result(DEADLINE).results[0].shots == 0


# ---------------------------------------------------------------- counts and results


@pytest.fixture(scope="module")
def batch():
    """Circuits with and without parameters, noise, conditions, equal names, and their binds."""
    a, b = Parameter("a"), Parameter("b")
    one = QuantumCircuit(2, name="same", metadata={"number": 0})
    one.rx(a, 0)
    one.cx(0, 1)
    one.measure_all()
    two = QuantumCircuit(2, 2, name="same", metadata={"number": 1})
    two.ry(a, 0)
    two.measure(0, 0)
    with two.if_test((two.clbits[0], 1)):
        two.rx(b, 1)
    two.measure(1, 1)
    binds = [{a: [0.1, 1.0, 2.0, 3.0]}, {a: np.linspace(0, 3, 5), b: [1, 2, 3, 4, 5]}, {}, {a: [1.5]}]
    return [one, two, ghz(4, number=2), one], binds


def described(result):
    """Return what does not depend on the time and the machine."""
    experiments = [experiment.to_dict() for experiment in result.results]
    for experiment in experiments:
        kept = ("method", "noise", "num_qubits", "active_input_qubits", "measure_sampling")
        experiment["metadata"] = {key: experiment["metadata"].get(key) for key in kept}
        del experiment["time_taken"]
    return result.success, result.status, result.backend_name, result.backend_version, experiments


def test_results_are_those_of_the_undivided_run_for_any_workers_and_pieces(batch, engine):
    circuits, binds = batch
    options = {"parameter_binds": binds, "shots": 200, "seed_simulator": 11, "memory": True}
    stock = AerSimulator(noise_model=noise())
    expected = described(stock.run(circuits, **options).result())
    assert len(expected[-1]) == 11
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(3) as three:  # engines of other sizes, quick to start
        jobs = [ProcessBackend(stock, engine=ExecutorEngine(n)).run(circuits, **options) for n in (one, three)]
        jobs += [
            ProcessBackend(stock, engine=engine, max_circuits_per_task=most).run(circuits, **options)
            for most in (None, 1, 2, 3, 4, 100)
        ]
        for job in jobs:
            assert described(job.result(DEADLINE)) == expected
    assert {len(job.pieces) for job in jobs} >= {3, 4, 6, 11}


def test_a_seed_of_the_backend_counts_as_one_of_the_run_also_where_the_run_has_none(engine):
    stock = AerSimulator(seed_simulator=6)
    backend = ProcessBackend(stock, engine=engine, max_circuits_per_task=1)
    expected = stock.run([ghz(2)] * 3).result().get_counts()
    for given in ({}, {"seed_simulator": None}):
        assert backend.run([ghz(2)] * 3, **given).result(DEADLINE).get_counts() == expected


def test_none_for_an_option_means_what_it_means_to_the_wrapped_backend(engine):
    """Aer takes it for not given, but for the noise."""
    stock, parallel = (AerSimulator(noise_model=noise(), seed_simulator=4) for _ in range(2))
    backend = ProcessBackend(parallel, engine=engine)
    for later in ({}, {"shots": 30, "max_parallel_threads": 1}):
        stock.set_options(**later)
        backend.set_options(**later)
        for given in ({"noise_model": None}, {"shots": None}, {}):
            expected = stock.run(ghz(3), **given).result().get_counts()
            assert backend.run(ghz(3), **given).result(DEADLINE).get_counts() == expected


@pytest.mark.parametrize("seed", [np.int64(5), True, -1, 2**63 - 1])
def test_a_seed_may_be_any_number_that_aer_takes(seed, engine):
    options = {"seed_simulator": seed, "shots": 50}
    backend = ProcessBackend(AerSimulator(), engine=engine, max_circuits_per_task=1)
    result = backend.run([ghz(2)] * 2, **options).result(DEADLINE)
    assert result.get_counts() == AerSimulator().run([ghz(2)] * 2, **options).result().get_counts()


def test_values_for_a_circuit_without_parameters_make_no_more_of_it(engine):
    options = {"parameter_binds": [{a: [1, 2, 3]}, {a: [1], b: [2]}], "seed_simulator": 3}
    backend = ProcessBackend(AerSimulator(), engine=engine, max_circuits_per_task=1)
    result = backend.run([ghz(2), rotated()], **options).result(DEADLINE)
    assert result.get_counts() == AerSimulator().run([ghz(2), rotated()], **options).result().get_counts()


def test_saved_states_have_the_global_phase_of_the_undivided_run(engine):
    circuit = QuantumCircuit(1, global_phase=a)
    circuit.rx(b, 0)
    circuit.save_statevector()
    options = {"parameter_binds": [{a: [0.1, 0.2, 0.3], b: [1, 2, 3]}]}
    result = ProcessBackend(AerSimulator(), engine=engine).run(circuit, **options).result(DEADLINE)
    stock = AerSimulator().run(circuit, **options).result()
    for ours, theirs in zip(result.results, stock.results, strict=True):
        assert ours.data.statevector == theirs.data.statevector


def test_without_a_seed_equal_circuits_have_different_memories(engine):
    backend = ProcessBackend(AerSimulator(), engine=engine, max_circuits_per_task=1)
    result = backend.run([ghz(2)] * 4, memory=True, shots=100).result(DEADLINE)
    assert len({tuple(result.get_memory(index)) for index in range(4)}) == 4


@pytest.mark.parametrize("make", [BasicSimulator, lambda: GenericBackendV2(3, seed=2)])
def test_counts_of_other_backends_with_a_seed_are_the_same_too(make, engine):
    circuits = [ghz(2), ghz(3), ghz(2)]
    expected = make().run(circuits, seed_simulator=3, shots=300).result().get_counts()
    result = ProcessBackend(make(), engine=engine).run(circuits, seed_simulator=3, shots=300).result(DEADLINE)
    assert result.get_counts() == expected


def test_the_circuits_of_the_user_are_never_written_to(batch, engine):
    circuits, binds = batch
    before = copy.deepcopy((circuits, binds))
    job = ProcessBackend(AerSimulator(), engine=engine).run(circuits, parameter_binds=binds)
    job.result(DEADLINE)
    assert circuits == before[0]
    assert [circuit.metadata for circuit in circuits] == [circuit.metadata for circuit in before[0]]
    assert [circuit.name for circuit in circuits] == [circuit.name for circuit in before[0]]
    assert [{str(key): list(values) for key, values in table.items()} for table in binds] == [
        {str(key): list(values) for key, values in table.items()} for table in before[1]
    ]
    assert job.circuits() == job.inputs() == circuits


def test_a_circuit_changed_after_the_run_call_runs_as_it_was(engine):
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    job = ProcessBackend(AerSimulator(), engine=engine).run(circuit, shots=5)
    circuit.data.clear()
    circuit.name = "changed"
    assert job.result(DEADLINE).get_counts() == {"0": 5}


# ---------------------------------------------------------------- bad input


class Unsendable(AerSimulator):
    def __init__(self):
        super().__init__()
        self.calibration = {"lock": threading.Lock()}


a, b = Parameter("a"), Parameter("b")


def rotated():
    circuit = QuantumCircuit(1, name="rotated")
    circuit.rx(a, 0)
    circuit.rz(b, 0)
    circuit.measure_all()
    return circuit


BAD_RUNS = {
    "unbound": ([ghz(1), rotated()], None, QiskitError, r"circuit 1 \('rotated'\).* a, b"),
    "lengths": ([rotated()], [{a: [1, 2], b: [1]}], QiskitError, r"\[0\].*'rotated'.*same length.*'a': 2.*'b': 1"),
    "tables": ([ghz(1), rotated()], [{a: [1], b: [1]}], QiskitError, r"1 tables for 2 circuits"),
    "missing": ([ghz(1), rotated()], [{}, {a: [1]}], QiskitError, r"\[1\].*'rotated'.* b"),
    "no-list": ([rotated()], [{a: 1, b: [1]}], TypeError, r"\[0\].*'rotated'.*values of a .*1"),
    "no-table": ([rotated()], [[1]], TypeError, r"\[0\].*'rotated'.*\[1\]"),
    "no-circuit": ([ghz(1), "ghz"], None, TypeError, r"run_input\[1\].*'ghz'"),
    "no-list-of-circuits": (5, None, TypeError, r"run_input .*5"),
    "nothing": ([], None, QiskitError, r"run_input has no circuit"),
}


@pytest.mark.parametrize("case", BAD_RUNS)
def test_bad_input_raises_at_the_call_and_says_where(case, engine):
    run_input, binds, error, message = BAD_RUNS[case]
    with pytest.raises(error, match=message):
        ProcessBackend(AerSimulator(), engine=engine).run(run_input, parameter_binds=binds)


def test_a_circuit_wider_than_the_memory_fails_with_its_index_and_name_and_costs_no_other(engine, caplog):
    backend = ProcessBackend(AerSimulator(method="statevector"), engine=engine)
    job = backend.run([ghz(2), ghz(45, name="too wide"), ghz(3)], shots=10)
    result = job.result(DEADLINE)
    assert [experiment.success for experiment in result.results] == [True, False, True]
    assert (result.success, result.status) == (False, "PARTIAL COMPLETED")
    assert sum(result.get_counts(2).values()) == 10
    assert job.status().name == "ERROR"
    assert "circuit 1 ('too wide')" in job.error_message()
    assert "emory" in job.error_message()
    deadline = time.monotonic() + DEADLINE
    while "Simulation failed" not in caplog.text:  # what a worker logs is told by the thread of the callbacks
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_circuits_that_aer_cannot_load_keep_their_places_among_the_others(engine):
    loop = QuantumCircuit(1, 1, name="loop")  # Aer takes it transpiled only
    with loop.while_loop((loop.clbits[0], 0)):
        loop.measure(0, 0)
    backend = ProcessBackend(AerSimulator(), engine=engine, max_shots_per_task=6)
    job = backend.run([ghz(2), loop, ghz(3)], shots=10)
    result = job.result(DEADLINE)
    assert [experiment.success for experiment in result.results] == [True, False, True]
    assert {len(outcome) for outcome in result.get_counts(2)} == {3}
    with pytest.raises(QiskitError, match="not run: ERROR: Failed to load circuits"):
        result.get_counts(1)
    assert re.search(r"circuit 1 \('loop'\): .*Failed to load circuits", job.error_message())


def test_a_circuit_wider_than_the_backend_raises_with_its_index_and_name(engine):
    backend = ProcessBackend(BasicSimulator(), engine=engine)
    job = backend.run([ghz(2), ghz(40, name="too wide")], shots=10)
    with pytest.raises(QiskitError, match="40") as caught:
        job.result(DEADLINE)
    assert any("circuit 1 ('too wide')" in note for note in caught.value.__notes__)
    assert job.status().name == "ERROR"


def test_a_backend_that_cannot_be_sent_says_what_in_it(engine):
    with pytest.raises(NotPicklableError, match=r"calibration.*lock"):
        ProcessBackend(Unsendable(), engine=engine).run(ghz(1))


@pytest.mark.parametrize("wrong", ["aer", AerSimulator, 5])
def test_what_is_no_backend_is_refused(wrong):
    with pytest.raises(TypeError, match="BackendV2"):
        ProcessBackend(wrong)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"max_circuits_per_task": 0}, ValueError),
        ({"max_circuits_per_task": "1"}, TypeError),
        ({"cores": 2}, TypeError),
    ],
)
def test_a_wrong_setting_is_named(settings, error):
    with pytest.raises(error, match=next(iter(settings))):
        ProcessBackend(AerSimulator(), **settings)


@pytest.mark.skipif(sys.platform != "linux", reason="there is no such memory")
def test_a_large_statevector_in_a_result_comes_through_memory_and_is_that_of_the_stock_backend(monkeypatch):
    sizes = []
    receive = Lane.receive

    def noted(lane, size):
        sizes.append(size)
        return receive(lane, size)

    monkeypatch.setattr(Lane, "receive", noted)
    stock = AerSimulator(method="statevector")
    circuit = QuantumCircuit(16)
    for qubit in range(16):
        circuit.ry(0.1 * qubit, qubit)
    circuit.save_statevector()
    with ProcessBackend(stock, workers=1) as backend:
        found = backend.run(circuit).result(DEADLINE).get_statevector()
    assert sizes
    assert min(sizes) >= 16 << 16
    assert np.array_equal(np.asarray(found), np.asarray(stock.run(circuit).result().get_statevector()))
