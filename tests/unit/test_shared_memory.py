"""Memory without a name, the lane by which it changes hands, and the payloads and frames that are made of it."""

from __future__ import annotations

import gc
import mmap
import os
import pickle
import socket
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from procjob.errors import RemoteError
from procjob.pool import memory, wire
from procjob.pool.memory import LEAST_MAPPED, Lane, Memory, fill
from procjob.pool.payload import LEAST, AllBuffers, Buffers, pack, unpack
from procjob.pool.pickling import dumps, loads

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory without a name")


@pytest.fixture
def lanes():
    ends = [Lane(end.detach()) for end in socket.socketpair()]
    yield ends
    for end in ends:
        end.close()


def filled(size: int) -> Memory:
    memory = fill([(0, b"begin"), (size - 3, b"end")], size)
    assert memory is not None
    return memory


@pytest.mark.parametrize("size", [100, LEAST_MAPPED, LEAST_MAPPED + 1], ids=["copied", "mapped", "odd"])
def test_memory_arrives_with_its_contents_as_often_as_it_is_sent(lanes, size):
    sent = filled(size)
    for _ in range(2):
        assert lanes[0].send(sent)
        arrived = lanes[1].receive(size)
        assert bytes(arrived) == b"begin" + bytes(size - 8) + b"end"
        assert isinstance(arrived, mmap.mmap) == (size >= LEAST_MAPPED)
        arrived[:5] = b"BEGIN"


def test_memory_arrives_in_order_and_after_its_sender_has_let_go_of_it_and_is_gone(lanes):
    for size in (10, 20):
        assert lanes[0].send(filled(size))
    lanes[0].close()
    gc.collect()
    assert [len(lanes[1].receive(size)) for size in (10, 20)] == [10, 20]


def test_a_lane_that_is_full_or_has_no_other_end_says_so(lanes):
    memory = filled(100)
    count = 0
    while lanes[0].send(memory):
        count += 1
    assert count > 10
    lanes[1].close()
    assert not lanes[0].send(memory)


def test_a_receiver_that_expects_memory_where_none_was_sent_is_told(lanes):
    with pytest.raises(OSError):
        lanes[1].receive(100)


def test_there_is_no_room_for_contents_that_cannot_be_mapped(lanes):
    assert lanes[0].send(filled(100))
    assert lanes[1].receive(1 << 60) is None
    assert lanes[0].send(filled(100))
    assert lanes[1].receive(100) is not None


def test_descriptors_are_left_to_others(monkeypatch):
    monkeypatch.setattr(memory, "HIGHEST_DESCRIPTOR", 2)
    assert fill([(0, b"x")], 1) is None


# ---------------------------------------------------------------- payloads

arrays = st.builds(lambda n, k: np.arange(n, dtype=np.uint8) + k, st.integers(0, 200), st.integers(0, 9))
values = st.recursive(st.one_of(st.integers(), st.binary(max_size=9), arrays), st.lists, max_leaves=8)


def plain(value):
    return [plain(item) for item in value] if isinstance(value, list) else getattr(value, "tolist", lambda: value)()


@given(values, st.booleans())
def test_any_value_is_the_same_after_packing(value, frozen):
    buffers = AllBuffers()
    assert plain(unpack(pack(dumps(value, buffers=buffers), buffers, frozen=frozen))) == plain(value)


@pytest.mark.parametrize("kind", [bytes, bytearray, lambda data: memoryview(b"!" + data)[1:]])
def test_an_array_can_be_written_whatever_its_payload_came_in(kind):
    array = np.arange(LEAST // 8)
    buffers = Buffers()
    packed = pack(dumps(array, buffers=buffers), buffers)
    back = unpack(kind(bytes(packed.read())))
    assert back.flags.writeable
    assert back.flags.aligned
    assert (back == array).all()


def test_small_values_are_plain_pickles():
    buffers = Buffers()
    value = {"x": np.arange(100)}
    packed = pack(dumps(value, buffers=buffers), buffers)
    assert buffers == []
    assert (pickle.loads(packed)["x"] == value["x"]).all()


def test_a_payload_for_which_there_was_no_room_is_a_memory_error_that_names_it():
    with pytest.raises(MemoryError, match="for the result of job 7"):
        loads(None, what="the result of job 7")


@pytest.mark.parametrize("damaged", [b"", b"\0", b"\0" * 100, b"\0\1" + b"\xff" * 30])
def test_a_damaged_payload_is_a_remote_error(damaged):
    with pytest.raises(RemoteError, match="the call could not be unpickled"):
        loads(damaged, what="the call")


# ---------------------------------------------------------------- frames


def arrive(frame: list[wire.Buffer], take_over) -> wire.Message:
    read_fd, write_fd = os.pipe()
    try:
        os.write(write_fd, b"".join(frame))
        reader = wire.FrameReader(read_fd, take_over)
        assert reader.fill()
        return reader.messages.popleft()
    finally:
        os.close(read_fd)
        os.close(write_fd)


def test_a_body_in_memory_is_announced_by_a_small_frame(lanes):
    body = wire.joined(b"digest", filled(LEAST))
    frame = wire.encode(wire.StoreConstant(body), lanes[0].send)
    assert sum(map(len, frame)) < 100
    arrived = arrive(frame, lanes[1].receive)
    head, contents = wire.parted(arrived.body, 6)
    assert head[:6] == b"digest"
    assert bytes(contents[:5]) == b"begin"


def test_a_body_whose_memory_cannot_be_handed_over_is_in_the_frame():
    body = wire.joined(b"digest", filled(1000))
    arrived = arrive(wire.encode(wire.StoreConstant(body), lambda _: False), None)
    head, contents = wire.parted(arrived.body, 6)
    assert head[:6] == b"digest"
    assert bytes(contents) == b"begin" + bytes(992) + b"end"


def test_a_body_that_can_be_neither_handed_over_nor_read_arrives_without_contents():
    body = wire.joined(b"", Memory(filled(100).fd, 1 << 60))
    arrived = arrive(wire.encode(wire.Run(1, 0, body), lambda _: False), None)
    assert wire.parted(arrived.body, 0) == (b"", None)


def test_memory_that_was_announced_and_does_not_come_ends_the_stream(lanes):
    frame = wire.encode(wire.Run(1, 0, wire.joined(b"", filled(100))), lambda _: True)
    with pytest.raises(wire.BrokenStream):
        arrive(frame, lanes[1].receive)
