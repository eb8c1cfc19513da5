"""How a run of circuits is cut, and what of its options and results belongs to a piece."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.providers.basic_provider import BasicSimulator
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel

from procjob.qiskit.pieces import Run
from procjob.qiskit.simulation import Simulation


def bell(first=0):
    circuit = QuantumCircuit(5)
    circuit.h(first)
    circuit.cx(first, first + 1)
    circuit.measure_all()
    return circuit


def pieces(backend, circuits, *, workers=2, binds=None, limits=(None, None), **options):
    return Simulation(backend, *limits).divide(Run(circuits, binds), options, workers)[0]


def test_a_noise_model_given_to_a_run_travels_with_the_errors_that_its_circuits_meet():
    whole = NoiseModel.from_backend(GenericBackendV2(30, seed=1))
    circuit = QuantumCircuit(2)
    circuit.h(0)
    for _, options in pieces(AerSimulator(), [circuit] * 8, noise_model=whole):
        travels = options["noise_model"]
        assert len(travels.to_dict()["errors"]) < len(whole.to_dict()["errors"]) / 5
        assert set(travels._local_quantum_errors["sx"]) >= {(0,)}


def test_the_times_of_all_pieces_are_in_the_metadata():
    simulation = Simulation(AerSimulator(), 1)
    parts, join = simulation.divide(Run([bell()] * 3), {}, 2)
    results = [simulation(run, **options) for run, options in parts]
    told = [result.to_dict()["metadata"] for result in results]
    joined = join(results).to_dict()["metadata"]
    assert joined["time_taken_execute"] == pytest.approx(sum(one["time_taken_execute"] for one in told))
    assert joined["omp_enabled"] is told[0]["omp_enabled"]
    assert results[0].to_dict()["metadata"] == told[0]


@pytest.mark.parametrize("shots", [np.int64(10), 10.0, 10])
def test_shots_are_cut_whatever_kind_of_number_they_are(shots):
    parts = pieces(AerSimulator(), [bell()], limits=(None, 4), shots=shots)
    assert [options["shots"] for _, options in parts] == [4, 4, 2]


class Small(BasicSimulator):
    """A backend that takes two circuits at once."""

    max_circuits = 2


def test_a_piece_is_no_larger_than_the_backend_takes():
    assert [len(run.circuits) for run, _ in pieces(Small(), [bell()] * 41, workers=1)] == [2] * 20 + [1]
    assert len(pieces(Small(), [bell()] * 41, seed_simulator=1)) == 1  # nobody knows how to cut it


def test_shots_of_a_backend_that_nobody_knows_are_cut_only_if_asked_for():
    dynamic = bell()
    dynamic.reset(0)
    dynamic.measure_all()
    assert len(pieces(AerSimulator(), [dynamic])) == 2
    assert len(pieces(BasicSimulator(), [dynamic])) == 1
    assert len(pieces(BasicSimulator(), [dynamic], limits=(None, 512), meas_return="single")) == 2
    assert len(pieces(BasicSimulator(), [dynamic], limits=(None, 512), meas_return="avg")) == 1


def test_values_of_a_global_phase_stay_together_where_a_state_is_saved():
    angle = Parameter("angle")
    plain, saved = QuantumCircuit(1, global_phase=angle), QuantumCircuit(1, global_phase=angle)
    saved.save_statevector()
    binds = [{angle: [0.1, 0.2, 0.3]}] * 2
    sizes = [sum(run.experiments()) for run, _ in pieces(AerSimulator(), [plain, saved], binds=binds, limits=(1, None))]
    assert sizes == [1, 1, 1, 3]
