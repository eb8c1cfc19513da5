"""Values come back from a store as they were, type and bits, and as text that a person can read."""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import procjob
from procjob.errors import StoreError
from procjob.store import values
from procjob.store.values import decode, encode, encode_or_say_why


@pytest.fixture(autouse=True)
def _own_secret(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))


def there_and_back(value):
    kept = encode(value, "a row")
    json.loads(kept.text)
    kept.text.encode()
    return decode(kept.text, kept.data, "a row")


def same(a, b):
    """Whether two values have the same types and bits all through."""
    match a:
        case float():
            equal = struct.pack("<d", a) == struct.pack("<d", b)
        case complex():
            equal = same(a.real, b.real) and same(a.imag, b.imag)
        case np.longdouble():  # has bytes that nothing is in
            equal = a == b
        case np.str_() | np.bytes_():
            equal = [*a] == [*b]
        case np.ndarray() | np.generic():
            equal = a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        case list() | tuple():
            equal = len(a) == len(b) and all(map(same, a, b))
        case dict():
            equal = len(a) == len(b) and all(map(same, a.items(), b.items()))
        case _:
            equal = a == b
    return type(a) is type(b) and equal


PLAIN = [
    None, True, False, 0, -1, 2**63, -(10**400), 1 << 20_000, -(1 << 20_000), 0.1, -0.0, 5e-324, 1e308, 1e16, math.inf,
    -math.inf, math.nan, struct.unpack("<d", bytes.fromhex("010000000000f8ff"))[0], 1j, complex(-0.0, math.nan), "", "é€😀",
    "a\0b", "\ud800", '"$array"', b"", b"\x00\xff", bytearray(b"x"), (), (1, (2,)), [], [1, [2.5, None]], {}, {"a": {"b": 1}},
    {"$array": [0]}, {"$": 1, "b": 2}, {1: "one", (2, 3): "pair", None: 0}, {1, 2}, frozenset({"a"}), range(1, 10, 3),
]  # fmt: skip
NUMPY = [
    np.float64(0.1), np.float64("nan"), np.float32(0.1), np.float16(-0.0), np.int64(-5), np.uint8(255), np.uint64(2**64 - 1),
    np.bool_(True), np.str_("a\0"), np.bytes_(b"a\0"), np.complex128(1 - 2j), np.complex64(1j), np.longdouble("0.1"), np.datetime64("2026-11-22T17:00"),
    np.timedelta64(5, "s"), np.zeros(()), np.zeros((0, 3)), np.arange(6.0).reshape(2, 3)[:, ::2], np.asfortranarray(np.eye(3)),
    np.arange(4, dtype=">i2"), np.array(["ab", "c"]), np.array([b"x"]), np.array([math.nan, -0.0]), np.array([1 + 2j]),
    np.array([(1, 2.0)], dtype=[("n", "i4"), ("x", "f8")]), np.array([(1, 2.0)], dtype=[("n", "i4"), ("x", "f8")])[0],
    {"energy": -1.1, "states": [np.eye(2), np.ones(3, bool)], "n": np.int32(3), "z": np.complex128(1j)},
]  # fmt: skip


@dataclass
class Energy:
    value: float


@pytest.mark.parametrize("value", PLAIN, ids=map(str, range(len(PLAIN))))
def test_plain_data_comes_back_as_it_was_and_is_text_alone(value):
    assert encode(value, "a row").data is None
    assert same(there_and_back(value), value)


@pytest.mark.parametrize("value", NUMPY, ids=map(str, range(len(NUMPY))))
def test_numpy_comes_back_as_it_was_without_a_pickle(value):
    assert "$pickle" not in encode(value, "a row").text
    assert same(there_and_back(value), value)


@pytest.mark.parametrize(
    "value",
    [
        Fraction(1, 3),
        Decimal("0.1"),
        Counter("aab"),
        Energy(-1.1),
        np.array([1, "a"], dtype=object),
        np.ma.array([1, 2]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_anything_else_is_pickled_and_comes_back_as_it_was(value):
    assert encode(value, "a row").text.startswith('{"$pickle": "')
    back = there_and_back(value)
    assert type(back) is type(value)
    assert np.all(back == value)


plain_data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.complex_numbers() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=20,
)


@given(plain_data)
def test_nested_plain_data_comes_back_as_it_was(value):
    assert same(there_and_back(value), value)


def test_what_is_within_itself_or_very_deep_is_pickled_or_refused_but_never_cut():
    ring = [1]
    ring.append(ring)
    back = there_and_back(ring)
    assert back[0] == 1
    assert back[1] is back
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(StoreError):
        encode(deep, "a row")
    while deep:  # to free it in one go would need as deep a stack
        deep = deep[0]


def test_text_is_as_a_person_would_write_it():
    kept = encode({"theta": 0.5, "name": "Zürich", "counts": {"00": 3}}, "a row")
    assert kept.text == '{"theta": 0.5, "name": "Zürich", "counts": {"00": 3}}'


def test_the_blob_of_one_array_is_a_file_of_numpy(tmp_path):
    kept = encode(np.arange(3.0), "a row")
    (tmp_path / "a.npy").write_bytes(kept.data)
    assert np.load(tmp_path / "a.npy").tolist() == [0.0, 1.0, 2.0]
    assert kept.text == '{"$array": [0, "float64", [3]]}'


def test_a_result_of_the_built_in_simulator_needs_no_pickle():
    circuit = procjob.Circuit(2).h(0).cx(0, 1).measure_all()
    for options in ({"shots": 100, "memory": True}, {"shots": None, "keep_states": True}):
        result = procjob.StatevectorSimulator()(circuit, seed=1, **options)
        kept = encode(result, "a row")
        assert "$pickle" not in kept.text
        back = decode(kept.text, kept.data, "a row")
        assert type(back) is type(result)
        assert (back.shots, back.seed, back.circuits[0].registers) == (result.shots, 1, result.circuits[0].registers)
        if options["shots"]:
            assert back.get_counts() == result.get_counts()
            assert back.get_memory() == result.get_memory()
        else:
            assert same(back.get_statevector(), result.get_statevector())


def test_a_text_that_names_another_class_makes_no_object_of_it():
    for path in ("os.system", "procjob.simulators.statevector.StatevectorSimulator", "procjob.simulators.circuit.np"):
        with pytest.raises(StoreError, match="damaged"):
            decode(f'{{"$object": ["{path}", {{}}]}}', None, "a row")


@pytest.mark.parametrize("text", ["", "{", '{"$array": [3]}', '{"$float": "x"}', '{"$numpy": ["nothing", 1]}'])
def test_a_damaged_text_is_a_store_error(text):
    with pytest.raises(StoreError, match="damaged"):
        decode(text, None, "a row")


def test_a_damaged_array_is_a_store_error():
    kept = encode(np.arange(3.0), "a row")
    with pytest.raises(StoreError, match="its array is damaged"):
        decode(kept.text, kept.data[:-1], "a row")


@pytest.mark.parametrize(
    "value", ["x" * 1_000, "é" * 600, np.zeros(125), ["x" * 500, np.zeros(60)], Counter(y="x" * 1_000)]
)
def test_what_is_too_large_for_sqlite_is_a_store_error_as_text_too(value, monkeypatch):
    monkeypatch.setattr(values, "MAX_BYTES", 1_000)
    with pytest.raises(StoreError, match=r"result has 1,\d{3} bytes, more than SQLite takes .*; return less"):
        encode(value, "a row", label="result")
    kept = encode_or_say_why(value, "a row", label="result")
    with pytest.raises(StoreError, match=r"^it was not kept: result has"):
        decode(*kept, "a row")


def test_what_cannot_be_pickled_is_a_store_error_that_names_it():
    with pytest.raises(StoreError, match=r"result\['f'\]"):
        encode({"f": (n for n in range(3))}, "a row", label="result")
    kept = encode_or_say_why({"f": print, "g": (n for n in range(3))}, "a row", label="result")
    with pytest.raises(StoreError, match=r"^it was not kept: result\['g'\]: "):
        decode(*kept, "a row")
