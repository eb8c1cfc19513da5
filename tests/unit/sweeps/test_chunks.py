"""How points become chunks: `Sizer` and `Supply`, without any engine."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procjob.sweeps.chunks import GROWTH, LEAST, MOST, SECONDS, Chunk, Sizer, Supply
from procjob.sweeps.points import as_points, grid

HISTORY = st.lists(st.tuples(st.integers(1, 1000), st.floats(0, 10)), max_size=20)


@settings(max_examples=200, deadline=None)
@given(HISTORY, st.integers(1, 64), st.none() | st.integers(0, 10**9))
def test_a_chunk_has_a_point_and_no_more_than_its_share_of_what_is_left(history, workers, left):
    sizer = Sizer(workers)
    for points, seconds in history:
        before = sizer.size(None)
        sizer.took(points, seconds)
        assert 1 <= sizer.size(None) <= min(MOST, (before + 1) * GROWTH)
    assert 1 <= sizer.size(left) <= MOST
    if left is not None:
        assert sizer.size(left) <= max(1, -(-left // (2 * workers)), LEAST * (sizer.size(None) + 1))


def test_the_first_chunks_have_one_point_and_then_what_takes_the_time_of_a_chunk():
    sizer = Sizer(2)
    assert sizer.size(None) == 1
    for _ in range(10):
        sizer.took(sizer.size(None), sizer.size(None) * 1e-3)
    assert sizer.size(None) == pytest.approx(SECONDS / 1e-3, rel=0.02)
    sizer.took(1, 10.0)
    assert sizer.size(None) >= 40, "one slow point does not make chunks of one"
    for _ in range(10):
        sizer.took(1, 10.0)
    assert sizer.size(None) == 1


def test_the_first_chunks_are_larger_where_points_are_known_to_be_quick():
    sizer = Sizer(2, first=256)
    assert sizer.size(10**6) == 256
    sizer.took(256, 1e-9)
    assert sizer.size(10**6) == 256 * GROWTH
    assert Sizer(2, single=True, first=256).size(10**6) == 1


def test_points_for_which_the_first_chunks_have_room_are_shared_out_evenly_at_once():
    sizer, left, given = Sizer(2, first=2000, total=4001), 4001, []
    while left:
        given.append(min(left, sizer.size(left)))
        left -= given[-1]
    assert given == [1001, 1001, 1001, 998]
    assert Sizer(2, first=4002, total=4001).size(4001) == 2001, "one for each worker if that is over in half the time"
    assert Sizer(2, first=1000, total=4001).size(4001) == 1000
    assert Sizer(2, single=True, first=2000, total=4000).size(4000) == 1


def test_with_a_limit_for_each_point_every_chunk_has_one():
    sizer = Sizer(2, single=True)
    sizer.took(1, 1e-9)
    assert sizer.size(10**6) == sizer.size(None) == 1


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 60),
    st.booleans(),
    st.none() | st.integers(0, 2**32),
    st.integers(0, 2**32),
    st.lists(st.integers(1, 9)),
)
def test_every_point_is_given_out_once_whatever_becomes_of_its_chunk(count, lazy, known, seed, sizes):
    chance = random.Random(seed)
    points = as_points({"x": number} for number in range(count)) if lazy else grid(x=range(count))
    stored = set() if known is None else set(random.Random(known).sample(range(count), count // 2))
    read = {}

    def sift(chunk):
        left = np.array([position not in stored for position in chunk.positions.tolist()], dtype=bool)
        columns = chunk.columns and {name: values[left] for name, values in chunk.columns.items()}
        return Chunk(chunk.positions[left], columns, tuple(b"%d" % n for n in chunk.positions[left]))

    supply = Supply(points, lambda first, columns: read.update({first: columns}), None if known is None else sift)
    out, done, asked = [], [], 0
    while True:
        size = sizes[asked % len(sizes)] if sizes else 3
        asked += 1
        assert asked < 2000
        chunk = supply.take(size)
        if chunk is not None:
            assert len(chunk) <= size
            out += [chunk] if len(chunk) else []
        elif not out:
            break
        if out and (chunk is None or chance.random() < 0.5):
            ended = out.pop(chance.randrange(len(out)))
            fate = chance.random()
            if len(ended) > 1 and fate < 0.2:
                supply.halve(ended)
            elif len(ended) > 1 and fate < 0.4:
                supply.again(ended)
            else:
                done.append(ended)
    positions = [position for chunk in done for position in chunk.positions.tolist()]
    assert sorted(positions) == sorted(set(range(count)) - stored)
    assert supply.left == 0
    for chunk in done:
        assert chunk.values(points)["x"].tolist() == chunk.positions.tolist()
        assert chunk.keys is None if known is None else list(chunk.keys) == [b"%d" % n for n in chunk.positions]
    if lazy:
        assert sorted(n for columns in read.values() for n in columns["x"].tolist()) == list(range(count))
        assert all(columns["x"][0] == first for first, columns in read.items())


def test_what_is_left_is_known_of_points_and_at_the_end_of_an_iterator():
    supply = Supply(grid(x=range(10)), lambda *_: None)
    assert supply.left == 10
    chunk = supply.take(4)
    assert supply.left == 6
    supply.halve(chunk)
    assert supply.left == 10
    assert len(supply.take(4)) == 2
    lazy = Supply(as_points(iter([{"x": 1}, {"x": 2}])), lambda *_: None)
    assert lazy.left is None
    assert len(lazy.take(5)) == 2
    assert lazy.take(5) is None
    assert lazy.left == 0


def test_points_that_need_not_run_are_passed_by_in_steps_so_that_a_cancel_is_heard():
    supply = Supply(grid(x=range(10_000)), lambda *_: None, lambda chunk: chunk.part(0, 0))
    steps = 0
    while (chunk := supply.take(1)) is not None:
        assert len(chunk) == 0
        steps += 1
    assert steps >= 9
