"""Qiskit's primitives on workers give the results of the undivided ones, and their jobs can be stopped."""

from __future__ import annotations

import copy
import pickle
import threading
import time
import warnings
from concurrent.futures import Future

import numpy as np
import psutil
import pytest
from qiskit import ClassicalRegister, QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.primitives import (
    BackendEstimatorV2,
    BackendSamplerV2,
    BaseEstimatorV2,
    BasePrimitiveJob,
    BaseSamplerV2,
    BitArray,
    DataBin,
    PrimitiveJob,
    PrimitiveResult,
    SamplerPubResult,
    StatevectorEstimator,
    StatevectorSampler,
)
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.providers import JobStatus
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, depolarizing_error
from qiskit_aer.primitives import EstimatorV2, SamplerV2

import procjob
from procjob.engine import InlineEngine, ProcessEngine
from procjob.qiskit import CircuitError, ProcessBackend, ProcessEstimator, ProcessSampler, QiskitPrimitiveJob
from procjob.qiskit.machine import megabytes_granted

DEADLINE = 60.0


@pytest.fixture(scope="module")
def engine():
    """Two workers that have begun, and so are there before each test."""
    engine = ProcessEngine(2, threads_per_worker=1)
    with ProcessSampler(StatevectorSampler(), engine=engine) as sampler:
        sampler.run([measured()] * 8).result(DEADLINE)
    yield engine
    engine.close(cancel=True)


def ansatz(name="ansatz"):
    circuit = QuantumCircuit(2, name=name, metadata={"made": "here"})
    circuit.ry(Parameter("a"), 0)
    circuit.cx(0, 1)
    circuit.rx(Parameter("b"), 1)
    return circuit


def measured(values=(0.3, 0.4)):
    circuit = ansatz().assign_parameters(values)
    circuit.measure_all()
    return circuit


def two_registers():
    circuit = QuantumCircuit(2)
    circuit.add_register(ClassicalRegister(1, "left"), ClassicalRegister(9, "right"))
    circuit.ry(Parameter("a"), 0)
    circuit.cx(0, 1)
    circuit.measure([0, 0, 1], [0, 1, 9])
    return circuit


def values(*shape):
    return np.random.default_rng(len(shape)).uniform(0, 3, shape)


def sampler_pubs():
    circuit = ansatz()
    circuit.measure_all()
    return [
        (circuit, values(4, 5, 2)),
        (measured(), None, 30),
        (two_registers(), values(17, 1), 30),
        (circuit, values(18, 2)),
        (circuit, values(3, 2)),
    ]


def estimator_pubs():
    circuit = ansatz()
    return [
        (circuit, [["ZZ"], ["XX"], ["IZ"]], values(20, 2)),
        (circuit, "ZZ", [1.0, 2.0]),
        (circuit, ["ZZ", "XI"], values(5, 1, 2)),
        (circuit, [[["ZZ"]], [["XI"]]], values(3, 4, 2)),
        (circuit.assign_parameters([1.0, 2.0]), ["ZZ", "XI", "IY"]),
    ]


def contents(result):
    """Everything of a result that can be compared, bit by bit."""
    return [
        (type(pub), pub.data.shape, {name: _contents(value) for name, value in pub.data.items()}, _metadata(pub))
        for pub in result
    ] + [result.metadata]


def _contents(value):
    array = value.array if isinstance(value, BitArray) else np.asarray(value)
    return type(value), getattr(value, "num_bits", None), array.shape, array.dtype, array.tobytes()


def _metadata(pub):
    return {name: value if name != "simulator_metadata" else type(value) for name, value in pub.metadata.items()}


def noise():
    model = NoiseModel()
    model.add_all_qubit_quantum_error(depolarizing_error(0.1, 1), ["ry", "rx"])
    return model


def noisy():
    """Options of Aer, with one thread: the sums of several are rounded differently."""
    return {"noise_model": noise(), "method": "statevector", "max_parallel_threads": 1}


class OtherSampler(BackendSamplerV2):
    """Nobody knows which seeds it uses."""


# ---------------------------------------------------------------- results


@pytest.mark.parametrize(
    "sampler",
    [
        SamplerV2(seed=5, default_shots=30),
        SamplerV2(seed=5, default_shots=30, options={"backend_options": noisy()}),
        StatevectorSampler(seed=5, default_shots=40),
        BackendSamplerV2(backend=AerSimulator(), options={"seed_simulator": 5}),
        BackendSamplerV2(backend=AerSimulator(seed_simulator=9)),
    ],
    ids=["Aer", "noisy Aer", "Statevector", "Backend", "Backend with a seed of its own"],
)
def test_a_sampler_has_the_bits_shapes_and_metadata_of_the_undivided_one(sampler, engine):
    stock = contents(sampler.run(sampler_pubs()).result())
    for where in (engine, InlineEngine()):
        with ProcessSampler(sampler, engine=where) as parallel:
            assert isinstance(parallel, BaseSamplerV2)
            assert contents(parallel.run(sampler_pubs()).result(DEADLINE)) == stock


@pytest.mark.parametrize(
    "make",
    [
        lambda: OtherSampler(backend=AerSimulator(), options={"seed_simulator": 5}),
        lambda: StatevectorSampler(seed=np.random.default_rng(5)),
    ],
    ids=["unknown", "Statevector with a generator"],
)
def test_a_sampler_of_another_kind_has_the_same_bits_for_any_number_of_workers(make, engine):
    runs = []
    for where in (engine, InlineEngine()):
        with ProcessSampler(make(), engine=where) as parallel:
            runs.append(contents(parallel.run(sampler_pubs()).result(DEADLINE)))
    assert runs[0] == runs[1]


def test_a_small_run_of_a_sampler_of_another_kind_is_that_of_the_undivided_one(engine):
    sampler = OtherSampler(backend=AerSimulator(), options={"seed_simulator": 5})
    pubs = sampler_pubs()[4:]
    with ProcessSampler(sampler, engine=engine) as parallel:
        assert contents(parallel.run(pubs).result(DEADLINE)) == contents(sampler.run(pubs).result())


@pytest.mark.parametrize(
    "estimator",
    [
        StatevectorEstimator(),
        StatevectorEstimator(seed=5),
        EstimatorV2(),
        EstimatorV2(options={"backend_options": noisy(), "run_options": {"seed_simulator": 5, "shots": 20}}),
        EstimatorV2(options={"backend_options": {**noisy(), "seed_simulator": 5}, "run_options": {"shots": 20}}),
    ],
    ids=["Statevector", "Statevector with a seed", "Aer", "noisy Aer", "noisy Aer with a seed of its own"],
)
def test_an_estimator_has_the_exact_values_shapes_and_metadata_of_the_undivided_one(estimator, engine):
    stock = contents(estimator.run(estimator_pubs()).result())
    for where in (engine, InlineEngine()):
        with ProcessEstimator(estimator, engine=where) as parallel:
            assert isinstance(parallel, BaseEstimatorV2)
            assert contents(parallel.run(estimator_pubs()).result(DEADLINE)) == stock


@pytest.mark.parametrize(
    ("make", "precision"),
    [
        (lambda: StatevectorEstimator(seed=5), 0.1),
        (lambda: EstimatorV2(options={"run_options": {"seed_simulator": 5}}), 0.1),
        (lambda: EstimatorV2(options={"default_precision": 0.1, "run_options": {"seed_simulator": 5}}), None),
        (lambda: BackendEstimatorV2(backend=AerSimulator(), options={"seed_simulator": 5}), 0.1),
    ],
    ids=["Statevector", "Aer", "Aer by default", "Backend"],
)
def test_an_estimator_with_a_precision_has_the_same_bits_for_any_number_of_workers(make, precision, engine):
    runs = []
    for where in (engine, InlineEngine()):
        with ProcessEstimator(make(), engine=where) as parallel:
            runs.append(parallel.run(estimator_pubs(), precision=precision).result(DEADLINE))
    assert contents(runs[0]) == contents(runs[1])
    noise_of_points = runs[0][0].data.evs - StatevectorEstimator().run(estimator_pubs()).result()[0].data.evs
    assert len(np.unique(noise_of_points)) == noise_of_points.size


@pytest.mark.parametrize(
    "estimator",
    [
        StatevectorEstimator(seed=5),
        EstimatorV2(options={"run_options": {"seed_simulator": 5}}),
        BackendEstimatorV2(backend=AerSimulator(), options={"seed_simulator": 5}),
    ],
    ids=["Statevector", "Aer", "Backend"],
)
def test_a_small_run_of_an_estimator_with_a_precision_is_that_of_the_undivided_one(estimator, engine):
    pubs = estimator_pubs()[1:2]
    with ProcessEstimator(estimator, engine=engine) as parallel:
        result = parallel.run(pubs, precision=0.1).result(DEADLINE)
    assert contents(result) == contents(estimator.run(pubs, precision=0.1).result())


def test_a_generator_gives_the_next_run_other_numbers_and_the_same_ones_to_any_number_of_workers(engine):
    def runs(where):
        seed = np.random.default_rng(5)
        with ProcessEstimator(StatevectorEstimator(seed=seed), engine=where) as parallel:
            return [contents(parallel.run(estimator_pubs(), precision=0.1).result(DEADLINE)) for _ in range(2)]

    first, second = runs(engine)
    assert first != second
    assert runs(InlineEngine()) == [first, second]


def test_without_a_seed_no_two_parts_draw_the_same(engine):
    circuit = QuantumCircuit(8)
    circuit.h(range(8))
    circuit.rz(Parameter("angle"), 0)
    circuit.measure_all()
    for stock in (StatevectorSampler(), SamplerV2()):
        with ProcessSampler(stock, engine=engine) as sampler:
            result = sampler.run([(circuit, np.zeros((20, 1)))], shots=40).result(DEADLINE)
        assert len({point.tobytes() for point in result[0].data.meas.array}) == 20


def test_a_circuit_without_parameters_is_run_as_often_as_the_shape_of_its_values_says(engine):
    pub = (measured(), BindingsArray({}, shape=(2, 9)))
    stock = StatevectorSampler(seed=5)
    with ProcessSampler(stock, engine=engine) as sampler:
        assert contents(sampler.run([pub]).result(DEADLINE)) == contents(stock.run([pub]).result())


@pytest.mark.parametrize(
    ("kind", "stock"),
    [
        (ProcessSampler, SamplerV2()),
        (ProcessSampler, StatevectorSampler(seed=5)),
        (ProcessEstimator, StatevectorEstimator()),
        (ProcessEstimator, BackendEstimatorV2(backend=AerSimulator())),
    ],
    ids=["Aer", "Statevector", "Statevector estimator", "Backend estimator"],
)
def test_no_pub_at_all_gives_what_the_undivided_one_gives(kind, stock, engine):
    with kind(stock, engine=engine) as parallel:
        assert contents(parallel.run([]).result(DEADLINE)) == contents(stock.run([]).result())


def test_each_worker_has_its_share_of_the_memory_unless_the_primitive_says_otherwise(engine):
    said = SamplerV2(options={"backend_options": {"max_memory_mb": 999}})
    for stock, expected in ((SamplerV2(), megabytes_granted() // 2), (said, 999)):
        with ProcessSampler(stock, engine=engine) as sampler:
            told = sampler.run([measured()]).result(DEADLINE)[0].metadata["simulator_metadata"]
        assert told["max_memory_mb"] == expected


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_runs_on_the_same_workers_and_a_pickle_is_refused(copied, engine):
    with ProcessSampler(StatevectorSampler(seed=5), engine=engine, retries=1) as sampler:
        twin = copied(sampler)
        job = twin.run([measured()])
        assert contents(job.result(DEADLINE)) == contents(sampler.run([measured()]).result(DEADLINE))
        assert job.backend() is twin
        assert twin.wrapped is not sampler.wrapped
        with pytest.raises(TypeError, match="ProcessSampler has workers and cannot be pickled"):
            pickle.dumps(sampler)


def test_a_switch_with_a_default_case_travels(engine):
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    with circuit.switch(circuit.clbits[0]) as case, case(case.DEFAULT):
        circuit.x(0)
    circuit.measure(0, 0)
    with ProcessSampler(SamplerV2(), engine=engine) as sampler:
        assert sampler.run([circuit], shots=5).result(DEADLINE)[0].data.c.get_counts() == {"1": 5}


def test_options_that_are_changed_later_are_those_of_the_next_run(engine):
    stock = BackendSamplerV2(backend=AerSimulator(), options={"default_shots": 3})
    with ProcessSampler(stock, engine=engine) as sampler:
        assert sampler.run([measured()]).result(DEADLINE)[0].data.meas.num_shots == 3
        sampler.options.default_shots = 5
        sampler.options.run_options = {"noise_model": noise()}
        assert sampler.run([measured()]).result(DEADLINE)[0].data.meas.num_shots == 5
        stock.options.run_options["meas_level"] = 3
        with pytest.raises(Exception, match="meas_level"):
            sampler.run([measured()]).result(DEADLINE)


def test_the_backend_primitives_of_qiskit_work_on_a_process_backend(engine):
    stock = AerSimulator()
    with ProcessBackend(stock, engine=engine) as parallel:
        samples, estimates = [], []
        for backend in (stock, parallel):
            sampler = BackendSamplerV2(backend=backend, options={"seed_simulator": 5})
            samples.append(contents(sampler.run(sampler_pubs()).result()))
            estimator = BackendEstimatorV2(backend=backend, options={"seed_simulator": 5})
            estimates.append(contents(estimator.run(estimator_pubs(), precision=0.1).result()))
    assert samples[0] == samples[1]
    assert estimates[0] == estimates[1]


# ---------------------------------------------------------------- jobs


class Tells(BaseSamplerV2):
    """A sampler that says where it runs, and first does what the name of a circuit says."""

    def run(self, pubs, *, shots=None):
        job = PrimitiveJob(self._run, pubs)
        job._submit()
        return job

    def _run(self, pubs):
        for pub in pubs:
            if pub.circuit.name == "naps":
                procjob.report_progress(0, 1)
                time.sleep(600)
            if pub.circuit.name == "fails":
                raise ArithmeticError("no luck")
        where = {"main": threading.current_thread() is threading.main_thread()}
        return PrimitiveResult([SamplerPubResult(DataBin(), where) for _ in pubs])


def named(name):
    circuit = measured()
    circuit.name = name
    return circuit


def running(job):
    """Wait until a worker has begun a job."""
    begun = Future()
    job.on_status(lambda status: status is JobStatus.RUNNING and not begun.done() and begun.set_result(None))
    if not job.running():
        begun.result(DEADLINE)
    return job


def napping(job):
    """Wait until a job tells that it has begun to nap."""
    begun = Future()
    job.on_progress(lambda _: begun.done() or begun.set_result(None))
    if job.progress() is None:
        begun.result(DEADLINE)


def test_a_job_is_one_of_qiskit_and_one_of_procjob(engine):
    with ProcessSampler(SamplerV2(seed=1), engine=engine) as sampler:
        job = sampler.run([measured()] * 5, tags=["bell"], job_id="mine")
        assert isinstance(job, BasePrimitiveJob)
        job.wait_for_final_state(DEADLINE)
        assert job.status() is JobStatus.DONE
        assert (job.done(), job.running(), job.cancelled(), job.in_final_state()) == (True, False, False, True)
        assert (job.job_id(), job.tags, job.backend()) == ("mine", ("bell",), sampler)
        assert len(job.circuits()) == len(job.inputs()) == 5
        assert job.progress().fraction == 1
        assert not job.cancel()
        assert repr(job).startswith("<QiskitPrimitiveJob mine DONE")


def test_cancel_of_a_running_job_frees_its_worker_which_goes_on(engine):
    workers = {child.pid for child in psutil.Process().children()}
    with ProcessSampler(Tells(), engine=engine, grace=DEADLINE) as sampler:
        job = sampler.run([named("naps")])
        napping(job)  # before, it can be in code of Qiskit's that no exception gets through, and `grace` would pass
        assert job.status() is JobStatus.RUNNING
        assert job.cancel()
        job.wait_for_final_state(DEADLINE)
        assert job.status() is JobStatus.CANCELLED
        assert job.cancelled()
        result = sampler.run([named("tells")] * 2).result(DEADLINE)
    assert all(pub.metadata["main"] for pub in result)  # what runs in another thread would run on
    assert workers <= {child.pid for child in psutil.Process().children()}


def test_what_is_raised_in_a_worker_is_raised_here_with_the_pub_that_did_it(engine):
    with ProcessSampler(Tells(), engine=engine) as sampler:
        job = sampler.run([named("tells")] * 16 + [named("fails")])
        with pytest.raises(ArithmeticError, match="no luck") as caught:
            job.result(DEADLINE)
    assert any("pub 16 ('fails')" in note for note in caught.value.__notes__)
    assert job.status() is JobStatus.ERROR
    assert "no luck" in job.error_message()


def test_a_circuit_that_measures_nothing_is_warned_about_once_with_its_number(engine):
    with ProcessSampler(SamplerV2(), engine=engine) as sampler:
        with warnings.catch_warnings(record=True) as caught:  # others may come, from the workers
            warnings.simplefilter("always")
            job = sampler.run([measured(), QuantumCircuit(1)])
        job.result(DEADLINE)
    (said,) = [str(warning.message) for warning in caught if "registers" in str(warning.message)]
    assert "1-th pub" in said
    assert not [log for log in job.logs() if "registers" in log.text]


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("kind", "primitive", "words"),
    [
        (ProcessSampler, AerSimulator(), "sampler must be a qiskit.primitives.BaseSamplerV2"),
        (ProcessSampler, StatevectorSampler, "make an instance"),
        (ProcessSampler, StatevectorEstimator(), "use ProcessEstimator"),
        (ProcessEstimator, StatevectorSampler(), "use ProcessSampler"),
        (ProcessEstimator, None, "estimator must be a qiskit.primitives.BaseEstimatorV2"),
        (ProcessSampler, ProcessSampler(StatevectorSampler(), workers=0), "already runs in worker processes"),
        (
            ProcessSampler,
            BackendSamplerV2(backend=ProcessBackend(AerSimulator(), workers=0)),
            "already runs in worker processes",
        ),
    ],
)
def test_what_is_no_primitive_of_the_kind_is_refused(kind, primitive, words):
    with pytest.raises(TypeError, match=words):
        kind(primitive, workers=0)


@pytest.mark.parametrize(
    ("pubs", "error", "words"),
    [
        (measured(), TypeError, "put a single one into a list"),
        ("ab", TypeError, "pubs must be a list"),
        (7, TypeError, "pubs must be a list"),
        ([measured(), 7], TypeError, "pub 1 "),
        ([measured(), ansatz()], CircuitError, "pub 1 .*number of values"),
        ([measured(), (ansatz(), [1.0])], CircuitError, "pub 1 "),
        ([(measured(), None, 0)], CircuitError, "pub 0 .*positive"),
        ([(measured(), None, 1.5)], TypeError, "pub 0 .*integer"),
    ],
)
def test_a_pub_that_is_none_is_refused_with_its_number(pubs, error, words):
    with ProcessSampler(StatevectorSampler(), workers=0) as sampler, pytest.raises(error, match=words):
        sampler.run(pubs)


@pytest.mark.parametrize(("shots", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_shots_that_are_none_are_refused_with_their_value(shots, error):
    with ProcessSampler(StatevectorSampler(), workers=0) as sampler, pytest.raises(error, match=f"shots .*{shots}"):
        sampler.run([measured()], shots=shots)


@pytest.mark.parametrize(
    ("precision", "error"), [(-0.1, ValueError), (float("nan"), ValueError), ("fine", TypeError), (True, TypeError)]
)
def test_a_precision_that_is_none_is_refused_with_its_value(precision, error):
    circuit = ansatz().assign_parameters([1.0, 2.0])
    with ProcessEstimator(StatevectorEstimator(), workers=0) as estimator:
        with pytest.raises(error, match=f"precision .*{precision}"):
            estimator.run([(circuit, "ZZ")], precision=precision)
        with pytest.raises((TypeError, ValueError), match="pub 1"):
            estimator.run([(circuit, "ZZ"), (circuit, "ZZ", None, precision)])


def test_an_observable_of_another_width_is_refused_with_the_number_of_its_pub():
    circuit = ansatz().assign_parameters([1.0, 2.0])
    with ProcessEstimator(StatevectorEstimator(), workers=0) as estimator, pytest.raises(CircuitError, match="pub 1 "):
        estimator.run([(circuit, "ZZ"), (circuit, "ZZZ")])


@pytest.mark.parametrize("option", ["shoots", "max_memory_mb"])
def test_an_option_that_is_none_is_refused_by_name(option):
    with ProcessSampler(StatevectorSampler(), workers=0) as sampler, pytest.raises(TypeError, match=option):
        sampler.run([measured()], **{option: 3})


@pytest.mark.parametrize("shape", [(0,), (3, 0)])
def test_a_pub_without_points_is_refused_with_its_number_where_it_would_crash(shape, engine):
    pub = (ansatz("none"), "ZZ", np.zeros((*shape, 2)))
    refused = pytest.raises(CircuitError, match=r"pub 1 \('none'\) has no points.*0")
    with ProcessEstimator(EstimatorV2(), engine=engine) as estimator, refused:
        estimator.run([(measured(), "ZZ"), pub])
    stock = StatevectorEstimator()
    with ProcessEstimator(stock, engine=engine) as estimator:
        assert contents(estimator.run([pub]).result(DEADLINE)) == contents(stock.run([pub]).result())


def test_a_job_of_a_primitive_is_of_one_type():
    with ProcessEstimator(StatevectorEstimator(), workers=0) as estimator:
        job = estimator.run([(ansatz().assign_parameters([1.0, 2.0]), "ZZ")])
    assert type(job) is QiskitPrimitiveJob
