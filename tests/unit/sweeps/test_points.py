"""Points: grids, zips, sums, products and iterators, and what is wrong with those that cannot be run."""

from __future__ import annotations

import itertools
import math
import threading
import time
import tracemalloc
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import procjob
from procjob.sweeps.equality import same, same_points
from procjob.sweeps.points import Axes, Points, Reader, Stream, as_points, axis, column, from_spec, grid, zipped

DEADLINE = 30.0


def test_a_grid_is_the_product_of_its_axes_and_the_last_varies_fastest():
    points = grid(x=[1, 2], y=[0.5, 1.5, 2.5], z=["a", "b"])
    expected = [dict(zip("xyz", row, strict=True)) for row in itertools.product([1, 2], [0.5, 1.5, 2.5], "ab")]
    assert list(points) == expected
    assert (points.shape, points.names, len(points)) == ((2, 3, 2), ("x", "y", "z"), 12)


def test_zipped_axes_vary_together():
    points = zipped(x=[1, 2], y=np.array([0.5, 1.5]))
    assert list(points) == [{"x": 1, "y": 0.5}, {"x": 2, "y": 1.5}]
    assert points.shape == (2,)


def test_a_product_keeps_the_dimensions_of_its_factors():
    points = grid(a=[1, 2], b=[3]) * zipped(c=[4, 5], d=[6, 7])
    assert points.shape == (2, 1, 2)
    assert list(points)[1] == {"a": 1, "b": 3, "c": 5, "d": 7}


def test_a_sum_has_the_points_of_both_with_their_own_types_in_any_order_of_names():
    points = grid(x=[1, 2], y=[0.5]) + zipped(y=["three"], x=[3.0])
    assert list(points) == [{"x": 1, "y": 0.5}, {"x": 2, "y": 0.5}, {"x": 3.0, "y": "three"}]
    assert [type(point["x"]) for point in points] == [int, int, float]
    assert points.shape == (3,)


AXES = st.lists(st.integers(-5, 5), min_size=1, max_size=4)
X_AND_Y = st.recursive(
    st.builds(lambda x, y: grid(x=x, y=y), AXES, AXES)
    | AXES.map(lambda x: zipped(y=x, x=[float(n) for n in x]))
    | AXES.map(lambda x: grid(x=x) * grid(y=["text", None])),
    lambda inner: st.builds(lambda one, other: one + other, inner, inner),
    max_leaves=4,
)
POINTS = X_AND_Y | st.builds(lambda points, z: points * grid(z=z), X_AND_Y, AXES)


@settings(max_examples=150, deadline=None)
@given(POINTS, st.data())
def test_points_taken_by_position_are_those_that_an_iteration_gives(points, data):
    listed = list(points)
    assert len(points) == len(listed) == math.prod(points.shape)
    positions = data.draw(st.lists(st.integers(0, len(points) - 1), max_size=6))
    taken = points.take(np.array(positions, dtype=np.int64))
    assert set(taken) == set(points.names)
    values = [dict(zip(taken, row, strict=True)) for row in zip(*(c.tolist() for c in taken.values()), strict=True)]
    assert same([dict(sorted(value.items())) for value in values], [dict(sorted(listed[p].items())) for p in positions])


@settings(max_examples=50, deadline=None)
@given(POINTS)
def test_points_come_back_from_their_specification(points):
    again = from_spec(points.spec())
    assert same_points(again, points)
    assert same([c.tolist() for c in again.columns(0, len(again)).values()],
                [c.tolist() for c in points.columns(0, len(points)).values()])  # fmt: skip


def test_points_cost_the_memory_of_their_axes():
    tracemalloc.start()
    try:
        points = grid(x=np.arange(1_000_000), y=np.arange(1_000_000), z=range(1000))
        assert len(points) == 10**15
        last = points.columns(10**15 - 3, 10**15)
        assert [c.tolist() for c in last.values()] == [[999_999] * 3, [999_999] * 3, [997, 998, 999]]
        assert tracemalloc.get_traced_memory()[1] < 40e6
    finally:
        tracemalloc.stop()


def test_a_list_of_mappings_is_one_dimension_of_points():
    points = as_points([{"x": 1, "y": "a"}, {"y": "b", "x": 2}])
    assert isinstance(points, Axes)
    assert list(points) == [{"x": 1, "y": "a"}, {"x": 2, "y": "b"}]


def test_values_of_axes_keep_what_they_are():
    rows = [np.array([1, 2]), np.array([3, 4])]
    points = zipped(
        whole=[1, 1 << 62], big=[1, 1 << 63], mixed=[1, 0.5], flag=[True, False], lists=[[1, 2], [3]], rows=rows,
        exact=[Fraction(1, 3), Decimal("0.1")], text=["a", "b"], number=[1j, 2.0],
    )  # fmt: skip
    found = list(points)
    types = {name: [type(point[name]) for point in found] for name in points.names}
    assert types == {
        "whole": [int, int], "big": [int, int], "mixed": [int, float], "flag": [bool, bool], "lists": [list, list],
        "rows": [np.ndarray, np.ndarray], "exact": [Fraction, Decimal], "text": [str, str], "number": [complex, float],
    }  # fmt: skip
    assert found[1]["big"] == 1 << 63
    assert found[0]["lists"] == [1, 2]


def test_what_a_value_of_numpy_is_does_not_depend_on_those_beside_it():
    values = [np.float32(0.5), np.int64(3), np.bool_(True), np.longdouble(2), np.timedelta64(1, "s"), np.str_("a")]
    together = [{"x": value} for value in values] + [{"x": None}]
    alone = [point for value in values for point in as_points([{"x": value}])]
    assert same(list(as_points(together))[:-1], alone)
    assert same(list(as_points(iter(together)))[:-1], alone)
    assert [type(point["x"]) for point in alone[:3]] == [float, int, bool]


def test_an_array_with_a_mask_that_hides_nothing_is_an_axis_of_numbers():
    points = grid(x=np.ma.array([1.0, 2.0]))
    assert [type(values) for values in points.columns(0, 2).values()] == [np.ndarray]
    assert list(points) == [{"x": 1.0}, {"x": 2.0}]


def test_an_axis_is_a_copy():
    values = np.array([1.0, 2.0])
    points = grid(x=values)
    values[0] = 9.0
    assert next(iter(points)) == {"x": 1.0}


# ---------------------------------------------------------------- iterators


def test_an_iterator_is_read_no_further_than_is_asked_for():
    read = []

    def points():
        for number in itertools.count():
            read.append(number)
            yield {"n": number}

    stream = as_points(points())
    assert isinstance(stream, Stream)
    assert read == []
    assert stream.names == ("n",)
    assert stream.read(3)["n"].tolist() == [0, 1, 2]
    assert read == [0, 1, 2]


def test_a_slow_iterator_is_read_for_a_moment_at_a_time():
    def points():
        for number in range(100):
            time.sleep(0.03)
            yield {"n": number}

    stream = as_points(points())
    first = stream.read(100)["n"]
    assert 1 <= len(first) < 20
    assert stream.read(2)["n"].tolist() == [len(first), len(first) + 1]


def test_a_quick_iterator_is_not_waited_for_and_who_asks_a_slow_one_too_early_is_told():
    go_on, told = threading.Event(), threading.Event()

    def points():
        yield from ({"n": number} for number in range(3000))
        go_on.wait(DEADLINE)
        yield {"n": 3000}

    reader = Reader(as_points(points()), told.set)
    try:
        began, found = time.monotonic(), []
        while len(found) < 3000:
            found += (reader.read(10) or {"n": np.empty(0)})["n"].tolist()
        assert found == list(range(3000))
        assert time.monotonic() - began < 15, "300 readings that take as long as one may are 30 s"
        told.clear()
        assert reader.read(1) is None
        go_on.set()
        assert told.wait(DEADLINE)
        assert reader.read(1)["n"].tolist() == [3000]
    finally:
        go_on.set()
        reader.close()


def test_an_iterator_takes_part_in_sums_and_products():
    def points():
        return iter([{"x": 1}, {"x": 2}])

    expected = [{"x": x, "y": y} for x in (1, 2) for y in (5, 6)]
    assert list(as_points(points()) * grid(y=[5, 6])) == expected
    assert list(grid(y=[5, 6]) * points()) == expected
    assert list(points() * grid(y=[5, 6])) == expected
    assert list(grid(x=[0]) + points()) == [{"x": 0}, {"x": 1}, {"x": 2}]
    assert list(points() + grid(x=[0])) == [{"x": 1}, {"x": 2}, {"x": 0}]
    assert list(as_points(points()) + points()) == [{"x": 1}, {"x": 2}] * 2


def test_a_list_takes_part_in_sums_and_products():
    points = [{"x": 1}, {"x": 2}]
    assert list(grid(y=[5]) * points) == [{"y": 5, "x": 1}, {"y": 5, "x": 2}]
    assert list(points * grid(y=[5])) == [{"x": 1, "y": 5}, {"x": 2, "y": 5}]
    assert list(points + grid(x=[3])) == [{"x": 1}, {"x": 2}, {"x": 3}]
    assert isinstance(points + grid(x=[3]), Points)


# ---------------------------------------------------------------- bad input


BAD = [
    (grid, ValueError, "a grid needs at least one axis"),
    (zipped, ValueError, "zipped needs at least one axis"),
    (lambda: grid(x=[]), ValueError, "axis x is empty; give it at least one value"),
    (lambda: grid(x=np.array([])), ValueError, "axis x is empty"),
    (lambda: grid(x=iter(())), ValueError, "axis x is empty"),
    (lambda: grid(x=[1.0, math.nan]), ValueError, r"axis x has .*nan.* at position 1; every number must be finite"),
    (lambda: grid(x=[math.inf]), ValueError, "axis x has .*inf.* at position 0"),
    (lambda: grid(x=[1, math.inf]), ValueError, "axis x has inf at position 1"),
    (lambda: grid(x=["a", math.nan]), ValueError, "axis x has nan at position 1"),
    (lambda: grid(x=[complex(0, math.nan)]), ValueError, "axis x has .* at position 0"),
    (lambda: grid(x=np.array([1, np.inf], dtype=np.float32)), ValueError, "axis x has .*inf.* at position 1"),
    (lambda: grid(x=np.ma.array([1, 2], mask=[False, True])), ValueError, "axis x has masked at position 1; every number"),
    (lambda: grid(x=[Decimal(1), Decimal("Infinity")]), ValueError, "axis x has Decimal.* at position 1"),
    (lambda: grid(x=1), TypeError, r"axis x must be a list or an array of values, not 1; for one value: \[value\]"),
    (lambda: grid(x="abc"), TypeError, "axis x must be a list or an array of values, not 'abc'"),
    (lambda: grid(x=None), TypeError, "axis x must be a list or an array"),
    (lambda: grid(x=np.array(1.0)), ValueError, r"axis x must have one dimension, not the shape \(\)"),
    (lambda: grid(x=np.ones((2, 3))), ValueError, r"not the shape \(2, 3\); list\(array\) makes each row one value"),
    (lambda: zipped(x=[1, 2], y=[1]), ValueError, "zipped axes need the same length, not x 2, y 1; use grid"),
    (lambda: grid(x=[1]) * grid(x=[2]), ValueError, "axis 'x' is in both factors of a product"),
    (lambda: list(grid(x=[1]) * iter([{"x": 2}])), ValueError, "axis 'x' is in both factors of a product"),
    (lambda: grid(x=[1]) + grid(y=[2]), ValueError, "points of x and points of y cannot be added"),
    (lambda: grid(x=[1]) * 3, TypeError, "unsupported operand"),
    (lambda: grid(x=[1]) + {"x": 1}, TypeError, "unsupported operand"),
    (lambda: as_points(iter([{"x": 1}])) + 3, TypeError, "unsupported operand"),
    (lambda: as_points(iter([{"x": 1}])) * as_points(iter([{"y": 1}])), TypeError, "product of two iterators"),
    (lambda: grid(**{c: np.arange(1 << 13) for c in "abcde"}),
     ValueError, "more than can be counted"),
    (lambda: as_points([]), ValueError, "points is empty"),
    (lambda: as_points(iter(())).names, ValueError, "points is empty: the iterable gave none"),
    (lambda: as_points({"x": [1]}), TypeError, "points must be made by grid or zipped"),
    (lambda: as_points(5), TypeError, "points must be made by grid or zipped, or be an iterable of mappings, not 5"),
    (lambda: as_points("ab"), TypeError, "not 'ab'"),
    (lambda: as_points([1, 2]), TypeError, r"points\[0\] must be a mapping of axis names to values, not 1"),
    (lambda: as_points([{1: 2}]), TypeError, r"points\[0\] must be a mapping of axis names"),
    (lambda: as_points([{}]), ValueError, r"points\[0\] has no axes"),
    (lambda: as_points([{"x": 1}, {"y": 1}]), ValueError, r"points\[1\] has the axes y, but points\[0\] has x"),
    (lambda: as_points([{"x": 1}, {"x": math.nan}]), ValueError, "axis x has .*nan.* at position 1"),
    (lambda: list(as_points(iter([{"x": 1}, {"x": 2, "y": 1}]))), ValueError, r"points\[1\] has the axes x, y"),
    (lambda: list(as_points(iter([{"x": 1}, 7]))), TypeError, r"points\[1\] must be a mapping"),
    (lambda: list(as_points(iter([{"x": 1.0}, {"x": math.inf}]))), ValueError, "axis x has .*inf.* at position 1"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "error", "words"), BAD, ids=[str(number) for number in range(len(BAD))])
def test_points_that_cannot_be_run_say_what_is_wrong(make, error, words):
    with pytest.raises(error, match=words):
        make()


def takes(theta, *, depth=1):
    return theta * depth


@pytest.mark.parametrize(
    ("target", "points", "words"),
    [
        (
            takes,
            grid(theta=[0.0], phi=[1.0]),
            r"takes cannot be called with the axes theta, phi: .*'phi'.* It takes theta, depth",
        ),
        (
            takes,
            grid(depth=[1]),
            "takes cannot be called with the axes depth: missing a required argument: 'theta'. It takes",
        ),
        (procjob.vectorized(lambda x: x), grid(y=[1]), r"cannot be called with the axes y: .*'x'.* It takes x"),
        (lambda: 1, grid(y=[1]), "got an unexpected keyword argument 'y'. It takes nothing"),
        (lambda x, /: 1, grid(x=[1]), "cannot be called with the axes x"),
    ],
)
def test_a_grid_that_names_what_the_target_does_not_take_says_so_and_what_it_does(target, points, words):
    with pytest.raises(TypeError, match=words):
        procjob.sweep(target, points, workers=0)


def test_a_grid_that_names_what_the_circuit_does_not_have_says_so_and_what_it_has():
    theta, phi = procjob.Parameter("theta"), procjob.Parameter("phi")
    circuit = procjob.Circuit(1).rx(theta, 0).rz(phi, 0).measure_all()
    with pytest.raises(TypeError, match=r"circuit has no parameter gamma; it has (theta, phi|phi, theta)"):
        procjob.sweep(circuit, grid(theta=[0.0], phi=[0.0], gamma=[0.0]), workers=0)
    with pytest.raises(TypeError, match="parameter phi of circuit has no axis; the points have theta"):
        procjob.sweep(circuit, grid(theta=[0.0]), workers=0)


def test_columns_hold_numbers_exactly():
    assert column([1, 2]).dtype == np.int64
    assert column([-(1 << 63)]).dtype == np.int64
    assert column([1 << 63]).dtype == column([-(1 << 63) - 1]).dtype == object
    assert column([0.5]).dtype == np.float64
    assert column([1, 0.5]).dtype == object
    assert axis("x", range(3)).tolist() == [0, 1, 2]


def test_points_are_compact_where_their_axes_have_fewer_values_than_they_have_points():
    assert grid(x=range(3), y=range(3)).is_compact()
    assert not grid(x=range(100)).is_compact()
    assert not (zipped(x=range(9), y=range(9)) + grid(x=[0], y=[0])).is_compact()
    assert (grid(x=range(9), y=range(9)) + grid(x=[0], y=[0])).is_compact()
