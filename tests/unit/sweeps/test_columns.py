"""Columns: the values of points as arrays that do not depend on how the points were cut into chunks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procjob.sweeps.columns import collected, columns_of, combined, exact, of_one_type, spread, unpacked
from procjob.sweeps.equality import same
from procjob.sweeps.gathered import Gathered
from procjob.sweeps.points import column, grid
from procjob.sweeps.result import DONE
from procjob.sweeps.targets import Outcome, VectorizedTarget

NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([1 << 53, (1 << 53) + 1, (1 << 63) - 1, 1 << 63, -(1 << 63), 1 << 70]),
    st.floats(allow_nan=False),
    st.complex_numbers(allow_nan=False),
    st.sampled_from(
        [np.float32(0.1), np.float64(0.1), np.int8(3), np.int64(3), np.uint8(200), np.uint64(1 << 63), np.float16(2)]
    ),
)
ARRAYS = st.sampled_from(
    [
        np.zeros(2),
        np.ones(2),
        np.zeros(3),
        np.zeros((2, 2)),
        np.zeros(2, dtype=int),
        np.array(1.5),
        np.array(["a", "bc"]),
    ]
)
OTHERS = st.sampled_from([None, "text", b"bytes", (1, 2), [1], {"a": 1}, True, False, np.True_, np.str_("x"), {1: 2}])
SEQUENCES = st.one_of(
    st.lists(NUMBERS, min_size=1, max_size=8),
    st.lists(st.integers(-3, 3) | st.floats(-1, 1), min_size=1, max_size=8),
    st.lists(ARRAYS, min_size=1, max_size=6),
    st.lists(st.booleans() | st.sampled_from([np.True_, 1, 0.5]), min_size=1, max_size=6),
    st.lists(NUMBERS | ARRAYS | OTHERS, min_size=1, max_size=8),
)


@st.composite
def cut(draw, sequences=SEQUENCES):
    """Values, and the same in pieces."""
    values = draw(sequences)
    ends = sorted(draw(st.sets(st.integers(1, len(values) - 1)))) if len(values) > 1 else []
    return values, [values[start:stop] for start, stop in zip([0, *ends], [*ends, len(values)], strict=True)]


@settings(max_examples=500, deadline=None)
@given(cut())
def test_a_column_does_not_depend_on_how_its_values_were_cut(values_and_pieces):
    values, pieces = values_and_pieces
    assert same(combined([exact(piece) for piece in pieces]), collected(values))


@settings(max_examples=300, deadline=None)
@given(SEQUENCES)
def test_what_a_chunk_sends_and_a_store_keeps_are_the_values_themselves(values):
    values = [value[()] if isinstance(value, np.ndarray) and not value.ndim else value for value in values]
    python = [value.item() if type(value) in (np.float64, np.int64, np.bool_) else value for value in values]
    assert same(unpacked(exact(values)), python)
    assert same(exact(unpacked(exact(values))), exact(values))


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1, 2], np.int64),
        ([1, 2.5], np.float64),
        ([1, 2.5, 1j], np.complex128),
        ([True, False], np.bool_),
        ([True, np.False_], np.bool_),
        ([True, 1], object),
        ([1, "a"], object),
        ([1 << 63], object),
        ([1, 1 << 63], object),
        ([np.float32(1), np.float32(2)], np.float32),
        ([np.float32(1), 2.0], np.float64),
        (["a", "b"], object),
        ([None, 1.0], object),
    ],
)
def test_numbers_become_an_array_of_the_type_that_holds_them_all(values, dtype):
    found = collected(values)
    assert found.dtype == dtype
    assert found.tolist() == values


def test_arrays_of_equal_shape_become_one_array():
    assert collected([np.zeros((2, 3))] * 4).shape == (4, 2, 3)
    assert collected([np.zeros(2), np.zeros(3)]).shape == (2,)


RESULTS = st.lists(
    st.dictionaries(st.sampled_from(["a", "b"]), st.integers(0, 3) | st.floats(0, 1), max_size=2)
    | st.sampled_from([1.5, None, {1: 2}]),
    min_size=1,
    max_size=6,
)


def gathered(pieces):
    points = grid(x=range(sum(map(len, pieces))))
    found, at = Gathered(points), 0
    for piece in pieces:
        outcome = Outcome(columns_of(piece, "f"), np.full(len(piece), DONE, dtype=np.int8), np.full(len(piece), 0.5))
        found.add(np.arange(at, at + len(piece)), outcome)
        at += len(piece)
    return found.result(1, "f", {})


@settings(max_examples=300, deadline=None)
@given(cut(RESULTS))
def test_a_result_does_not_depend_on_which_names_stood_in_which_chunk(values_and_pieces):
    values, pieces = values_and_pieces
    assert gathered(pieces) == gathered([values])


def test_what_a_point_lacks_is_none():
    found = gathered([[{"a": 1.0}], [{"b": 2}], [3]])
    assert found["a"].tolist() == [1.0, None, None]
    assert found["b"].tolist() == [None, 2, None]
    assert found["f"].tolist() == [None, None, 3]


def test_points_without_a_value_are_nan_or_none():
    at = np.array([1, 3])
    assert np.isnan(spread(np.array([1.0, 2.0]), at, 4)).tolist() == [True, False, True, False]
    assert spread(np.array([1, 2]), at, 4).dtype == np.float64
    assert spread(np.array([True, False]), at, 4).tolist() == [None, True, None, False]
    assert spread(np.array(["a", None], dtype=object), at, 4).tolist() == [None, "a", None, None]


# ---------------------------------------------------------------- what a vectorized function is called with

ARGUMENTS = st.lists(
    st.integers(-2, 2) | st.floats(-1, 1) | st.booleans() | st.sampled_from(["a", 1 << 64]), min_size=1, max_size=8
)


@settings(max_examples=200, deadline=None)
@given(ARGUMENTS)
def test_each_call_has_numbers_of_one_type_and_every_point_is_in_one(values):
    given_columns = {"x": column(values), "n": np.arange(len(values), dtype=np.uint8)}
    seen = {}
    for positions, columns in of_one_type(given_columns):
        assert columns["n"].dtype == np.int64
        for position, value, number in zip(
            positions.tolist(), columns["x"].tolist(), columns["n"].tolist(), strict=True
        ):
            assert position == number
            seen[position] = value
        kinds = {type(value) if value != 1 << 64 else None for value in columns["x"].tolist()} - {str, None}
        assert columns["x"].dtype == (kinds.pop() if kinds else object)
    assert same([seen[position] for position in range(len(values))], values)


def reciprocal(x):
    return {"type": np.full(len(x), str(x.dtype)), "value": 7 // x if x.dtype == np.int64 else 7 / x}


@settings(max_examples=100, deadline=None)
@given(cut(st.lists(st.integers(1, 5) | st.floats(1, 5), min_size=1, max_size=8)))
def test_what_a_vectorized_function_finds_does_not_depend_on_the_points_beside(values_and_pieces):
    values, pieces = values_and_pieces
    target = VectorizedTarget(reciprocal, None)
    target.check(["x"])

    def run(piece):
        return target.run({"x": column(piece)}, 1, stop_at_error=True).columns

    together, apart = run(values), [run(piece) for piece in pieces]
    for name in ("type", "value"):
        assert same(combined([found[name] for found in apart]), combined([together[name]]))
    assert together["type"].tolist() == ["int64" if type(value) is int else "float64" for value in values]


def test_what_a_vectorized_function_has_masked_is_masked():
    target = VectorizedTarget(lambda x: np.ma.array(x, mask=x > 1), None)
    target.check(["x"])
    found = target.run({"x": np.array([1.0, 2.0])}, 1, stop_at_error=True).columns["value"]
    assert found.tolist() == [1.0, np.ma.masked]
    assert target.run({"x": np.array([0.0, 1.0])}, 1, stop_at_error=True).columns["value"].dtype == np.float64
