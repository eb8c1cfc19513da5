"""How pubs are cut: every point once, in order, and the same random numbers for any number of workers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.primitives import StatevectorEstimator, StatevectorSampler
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit_aer.primitives import EstimatorV2, SamplerV2

from procjob.qiskit.pieces import packed
from procjob.qiskit.pubs import BLOCK, cuts, plan
from procjob.qiskit.streams import Children, stream_of


def sampler_pub(*shape, qubits=2, shots=10):
    circuit = QuantumCircuit(qubits)
    circuit.rx(Parameter("angle"), 0)
    circuit.measure_all()
    return SamplerPub.coerce((circuit, np.arange(math.prod(shape), dtype=float).reshape(*shape, 1), shots))


def estimator_pub(*shape, precision=0.0):
    circuit = QuantumCircuit(2)
    circuit.rx(Parameter("angle"), 0)
    values = np.arange(math.prod(shape), dtype=float).reshape(*shape, 1)
    return EstimatorPub.coerce((circuit, "ZZ", values, precision))


@given(st.lists(st.integers(0, 7), max_size=4), st.integers(1, 40))
@settings(max_examples=100, deadline=None)
def test_the_cuts_of_a_pub_are_its_points_in_order(shape, limit):
    pub = sampler_pub(*shape)
    values = pub.parameter_values.as_array()
    points = []
    for cut in cuts(0, pub, limit):
        slab = values[cut.slab].ravel()
        assert cut.first == len(points)
        assert len(slab) == cut.points
        assert cut.points <= limit
        points.extend(slab)
    assert points == list(values.ravel())


def test_items_are_packed_in_order_and_one_that_is_too_large_stands_alone():
    assert list(packed([1, 2, 3, 9, 1, 1], lambda item: item, 4)) == [[1, 2], [3], [9], [1, 1]]


@pytest.mark.parametrize("limit", [1, 5, 1000])
def test_a_point_of_a_sampler_of_aer_has_the_seed_of_its_number_among_those_with_the_same_shots(limit):
    pubs = [sampler_pub(3, 4), sampler_pub(2, shots=99), sampler_pub(5), sampler_pub(4, shots=99)]
    seeds = {}
    for call in plan(pubs, stream_of(SamplerV2(seed=7)), limit):
        number = call.seed
        for cut in call.cuts:
            for point in range(cut.points):
                seeds[cut.pub, cut.first + point] = number
                number += 2113
    begins = {0: 0, 2: 12, 1: 0, 3: 2}
    expected = {(pub, point): 7 + 2113 * (begins[pub] + point) for pub in range(4) for point in range(pubs[pub].size)}
    assert seeds == expected


@pytest.mark.parametrize(
    "primitive", [StatevectorEstimator(seed=7), EstimatorV2(options={"run_options": {"seed_simulator": 7}})]
)
def test_points_that_draw_in_turn_are_in_the_same_calls_for_any_number_of_workers(primitive):
    pubs = [estimator_pub(30, precision=0.1), estimator_pub(3, precision=0.1)]
    few, many = (plan(pubs, stream_of(primitive), limit) for limit in (33, 2))
    assert [(call.cuts, call.seed) for call in few] == [(call.cuts, call.seed) for call in many]
    assert few[0].seed == 7
    assert few[0].points == BLOCK
    assert len({call.seed for call in few if call.cuts[0].pub == 0}) == 4


def test_the_seed_of_a_block_is_that_of_its_place_and_does_not_change_between_releases():
    children = Children(7)
    assert [children.seed_of(pub, block) for pub, block in [(0, 0), (0, 1), (1, 0)]] == [7, 917354989, 37985749]
    assert Children(7, generators=True).seed_of(0, 1).integers(1000, size=3).tolist() == [625, 872, 479]


def test_seeds_go_on_from_the_other_end_where_those_of_aer_do():
    calls = plan([sampler_pub(3)], stream_of(SamplerV2(seed=2**63 - 2000)), 1)
    assert [call.seed for call in calls] == [2**63 - 2000, -(2**63) + 113, -(2**63) + 2226]


def test_each_point_of_a_wide_circuit_is_a_block():
    stream = Children(7)
    assert [call.points for call in plan([sampler_pub(4, qubits=10)], stream, 100)] == [1] * 4


def test_a_generator_gives_every_run_another_stream():
    sampler = StatevectorSampler(seed=np.random.default_rng(3))
    assert stream_of(sampler) != stream_of(sampler)
    assert stream_of(StatevectorSampler(seed=np.random.default_rng(3))).generators


@pytest.mark.parametrize(("seed", "error"), [(1.5, TypeError), ("7", TypeError), (-1, ValueError)])
def test_a_seed_that_is_none_is_refused_with_its_value(seed, error):
    with pytest.raises(error, match=str(seed)):
        stream_of(StatevectorSampler(seed=seed))
