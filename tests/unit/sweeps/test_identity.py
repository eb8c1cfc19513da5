"""What a value is, as bytes: the keys and seeds of points, the same in every process and on every Python."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import math
import os
import pathlib
import struct
import subprocess
import sys
from collections import OrderedDict, namedtuple
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procjob.sweeps.identity import NoIdentity, _keys_of_numbers, digest, encode, point_keys, point_seed
from procjob.sweeps.points import column, grid


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Mode(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass(frozen=True)
class Molecule:
    name: str
    distances: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Atom:
    name: str
    distances: tuple[float, ...]


Pair = namedtuple("Pair", "left right")


class Known:
    def __init__(self, value):
        self.value = value

    def __procjob_identity__(self):
        return {"value": self.value}


SIMPLE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(1 << 64), 1 << 64),
    st.floats(allow_nan=False),
    st.complex_numbers(allow_nan=False),
    st.text(st.characters(), max_size=4),
    st.binary(max_size=4),
    st.sampled_from([Colour.RED, Colour.BLUE, Mode.READ, Mode(0), Mode.READ | Mode.WRITE]),
    st.decimals(allow_nan=False),
    st.fractions(),
    st.dates(),
)
HASHABLE = st.recursive(SIMPLE, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=5)
VALUES = st.recursive(
    HASHABLE,
    lambda inner: st.lists(inner | st.just(math.nan), max_size=3) | st.dictionaries(HASHABLE, inner, max_size=3),
    max_leaves=8,
)


def canonical(value):
    """A value in a form that is equal exactly if type and content are, with bits for numbers."""
    kind = type(value)
    if kind in (float, complex):
        return (kind, struct.pack("<dd", value.real, value.imag))
    if kind in (list, tuple):
        return (kind, tuple(map(canonical, value)))
    if kind is frozenset:
        return (kind, frozenset(map(canonical, value)))
    if kind is dict:
        return (kind, frozenset((canonical(key), canonical(item)) for key, item in value.items()))
    return (kind, str(value) if kind is decimal.Decimal else value)


@settings(max_examples=400, deadline=None)
@given(VALUES, VALUES)
def test_two_values_have_the_same_encoding_exactly_if_they_are_equal_and_of_one_type(one, other):
    assert (encode(one, "one") == encode(other, "other")) == (canonical(one) == canonical(other))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.floats(allow_nan=False) | st.integers(-5, 5), max_size=2), min_size=2, max_size=6))
def test_lists_that_differ_in_where_they_are_cut_differ(lists):
    encodings = {encode(value, "value") for value in lists}
    assert len(encodings) == len({canonical(value) for value in lists})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        (0.0, -0.0),
        (complex(0.0, 0.0), complex(0.0, -0.0)),
        ("1", 1),
        ("ab", b"ab"),
        ([1, 2], (1, 2)),
        ([1, [2]], [[1], 2]),
        (["a", "b"], ["ab"]),
        (1 << 63, -(1 << 63)),
        (np.float32(0.5), 0.5),
        (np.array([1, 2]), np.array([1.0, 2.0])),
        (np.array([0.5], np.float32), np.array([0.5])),
        (np.array([[1, 2]]), np.array([1, 2])),
        (np.array([1, 2]), [1, 2]),
        (np.zeros((2, 0)), np.zeros((0, 2))),
        (Colour.RED, Colour.BLUE),
        (Colour.RED, 1),
        (Mode(0), Mode.READ),
        (Molecule("H2", (0.7,)), Atom("H2", (0.7,))),
        (Molecule("H2", (0.7,)), Molecule("H2", (0.8,))),
        (Pair(1, 2), (1, 2)),
        (Known(1), Known(2)),
        (Known(1), {"value": 1}),
        (dt.date(2024, 1, 1), dt.datetime(2024, 1, 1)),  # noqa: DTZ001
        (decimal.Decimal("1.0"), fractions.Fraction(1)),
        (pathlib.PurePosixPath("a"), "a"),
        (range(3), range(0, 3, 2)),
        (slice(1, 2), slice(1, 3)),
        (None, ...),
        ({1: 2}, {2: 1}),
        ({1}, [1]),
        (np.longdouble(1) / 3, np.longdouble(1.0 / 3.0)),
    ],
)
def test_values_that_differ_have_different_encodings(one, other):
    assert encode(one, "one") != encode(other, "other")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.float64(0.5), 0.5),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (np.complex128(1j), 1j),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": 1}, MappingProxyType({"a": 1})),
        ({"x", "y", "z"}, {"z", "y", "x"}),
        (np.arange(6).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3))),
        (np.arange(8)[::2], np.array([0, 2, 4, 6])),
        (Molecule("H2", (0.7,)), Molecule("H2", (0.7,))),
        (np.array([1, "a"], dtype=object), np.array([1, "a"], dtype=object)),
        (np.full(2, np.longdouble(1) / 3), np.array([np.longdouble(1) / 3] * 2)),
    ],
)
def test_values_that_mean_the_same_have_the_same_encoding(one, other):
    assert encode(one, "one") == encode(other, "other")


def test_what_contains_itself_has_an_encoding():
    one, other = [1], [1]
    one.append(one)
    other.append(other)
    assert encode(one, "one") == encode(other, "other") != encode([1, [1]], "value")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (object(), "the thing, a object, has no stable identity"),
        ([1, object()], r"the thing\[1\], a object"),
        ({"rng": object()}, r"the thing\['rng'\], a object"),
        (lambda: 1, "a function"),
        (OrderedDict(), "a OrderedDict"),
        (Known(object()), r"the __procjob_identity__\(\) of the thing\['value'\]"),
    ],
)
def test_what_has_no_identity_is_named(value, words):
    with pytest.raises(NoIdentity, match=words) as caught:
        encode(value, "the thing")
    assert "__procjob_identity__()" in str(caught.value)
    assert isinstance(caught.value, TypeError)


# ---------------------------------------------------------------- keys and seeds of points

#: What each Python and each process has to find; made with Python 3.13, numpy 2.3.
GOLDEN = {
    "numbers": (
        {"theta": np.array([0.0, -0.0, 0.5]), "depth": np.array([1, 2, -(1 << 63)])},
        ["faa4f2c048089d9a", "32a50498bea06b32", "bcf60bafdd7830c2"],
    ),
    "others": (
        {"what": column([1, 1.0, True, None, "é", (1, "a"), frozenset({"a", "b", "c"}), 1 << 80, b"\0"])},
        [
            "eaf6697facb06500",
            "a7f65a7bbc3eadac",
            "bfc0d2fa91f922c1",
            "05e68d70a0d128d7",
            "e0e2e98492e6d4ee",
            "1f131b891c7ea56a",
            "fa7a9ce0793f7ae1",
            "acbb401fc1f5091c",
            "5b080e11d4d849cf",
        ],
    ),
    "rare": (
        {
            "what": column(
                [
                    decimal.Decimal("1.10"),
                    fractions.Fraction(1, 3),
                    dt.date(2024, 2, 29),
                    pathlib.PurePosixPath("a/b"),
                ]
            )
        },
        ["7c9e96deeca0df59", "42dd2c5e8b177f2c", "d7851976d113adff", "098f9ee83a20cbae"],
    ),
}
SEEDS = [2150419055573183586, 1231906524526273470, 4616833331243878621]


@pytest.mark.parametrize("name", GOLDEN)
def test_keys_are_the_same_on_every_python(name):
    columns, expected = GOLDEN[name]
    assert [key.hex()[:16] for key in point_keys(columns)] == expected


def test_seeds_are_the_same_on_every_python():
    assert [point_seed(root, bytes(range(16))) for root in (0, 1, 1 << 100)] == SEEDS


def test_seeds_have_63_bits_and_belong_to_root_and_key():
    seeds = {point_seed(root, key.to_bytes(16, "big")) for root in range(20) for key in range(50)}
    assert len(seeds) == 1000
    assert max(seeds).bit_length() == 63


HASHES = """
import sys; sys.path.insert(0, {path!r})
from procjob.sweeps.identity import encode
from procjob.sweeps.points import column
import hashlib
print(hashlib.sha256(encode([{{"a", "b", "c", (1, "d")}}, {{"x": 1, "y": {{"u", "v"}}}}, frozenset("hello")], "x")).hexdigest())
"""


def test_the_order_of_hashes_is_in_no_encoding():
    path = str(pathlib.Path(sys.modules["procjob"].__file__).parents[1])
    found = {
        subprocess.run(
            [sys.executable, "-c", HASHES.format(path=path)],
            env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True, text=True, timeout=60,
        ).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert len(found) == 1


NUMBERS = st.lists(
    st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(1 << 63), (1 << 63) - 1)),
    min_size=1,
    max_size=5,
)


@settings(max_examples=200, deadline=None)
@given(NUMBERS)
def test_the_quick_keys_of_numbers_are_those_of_the_slow_way(points):
    columns = {"a": np.array([x for x, _ in points]), "b": np.array([n for _, n in points], dtype=np.int64)}
    slow = [digest(digest(b"a", b"b"), encode(x, "x"), encode(n, "n")) for x, n in points]
    assert point_keys(columns) == slow == _keys_of_numbers(digest(b"a", b"b"), list(columns.values()))


def test_the_key_of_a_point_does_not_depend_on_the_other_points_or_the_order_of_its_axes():
    alone = point_keys({"y": np.array([0.5]), "x": np.array([1])})[0]
    among = point_keys({"x": column([1, "other"]), "y": column([0.5, None])})[0]
    assert alone == among
    assert alone != point_keys({"x": np.array([0.5]), "y": np.array([1])})[0]


def test_a_value_that_has_no_identity_is_named_with_its_axis():
    columns = grid(molecule=[object()], x=[1]).columns(0, 1)
    with pytest.raises(NoIdentity, match=r"the value <object object at 0x[0-9a-f]+> of axis molecule, a object"):
        point_keys(columns)
