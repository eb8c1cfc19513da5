"""Frames: whatever the pieces in which their bytes arrive, the messages are the same."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procjob.events import Usage
from procjob.pool import wire
from procjob.pool.wire import (
    BrokenStream,
    DropConstant,
    Finished,
    FrameReader,
    GoOn,
    Initialize,
    Interrupt,
    Leave,
    Message,
    OutcomeKind,
    Ready,
    Report,
    Returned,
    Run,
    RunAhead,
    RunAheadUnannounced,
    RunUnannounced,
    Started,
    StartFailed,
    StoreConstant,
    encode,
    pack_outcome,
    unpack_outcome,
)

DEADLINE = 10.0
READ = 1 << 16  # bytes that one read of the reader takes at most

tasks = st.integers(0, 2**64 - 1)
attempts = st.integers(0, 2**32 - 1)
bodies = st.binary(max_size=40)
messages = st.one_of(
    st.builds(Initialize, bodies),
    st.just(Ready()),
    st.builds(StartFailed, bodies),
    st.builds(StoreConstant, bodies),
    st.builds(DropConstant, bodies),
    st.builds(Run, tasks, attempts, bodies),
    st.builds(RunUnannounced, tasks, attempts, bodies),
    st.builds(RunAhead, tasks, attempts, bodies),
    st.builds(RunAheadUnannounced, tasks, attempts, bodies),
    st.builds(Interrupt, tasks, attempts),
    st.just(Leave()),
    st.builds(Started, tasks, attempts),
    st.builds(Returned, tasks, attempts),
    st.builds(Report, tasks, attempts, bodies),
    st.builds(Finished, tasks, attempts, bodies),
    st.just(GoOn()),
)
ONE_OF_EACH: list[Message] = [
    Initialize(b"call"), Ready(), StartFailed(b"why"), StoreConstant(b"digest and pickle"), DropConstant(b"digest"),
    Run(2**64 - 1, 2**32 - 1, b"call"), RunUnannounced(1, 0, b"call"),
    RunAhead(2, 0, b"call"), RunAheadUnannounced(3, 0, b"call"), Interrupt(1, 2), Leave(), Started(3, 4),
    Returned(2, 0), Report(5, 6, b""), Finished(7, 8, b"x"), GoOn(),
]  # fmt: skip


def framed(*sent: Message) -> bytes:
    return b"".join(bytes(buffer) for message in sent for buffer in encode(message))


class Pipe:
    """A pipe whose reading end does not block, and the reader of it."""

    def __init__(self) -> None:
        self.read_fd, self.write_fd = os.pipe()
        os.set_blocking(self.read_fd, False)
        self.reader = FrameReader(self.read_fd)

    def write(self, data: bytes) -> None:
        """Write what the pipe must have room for."""
        assert os.write(self.write_fd, data) == len(data)

    def hang_up(self) -> None:
        os.close(self.write_fd)
        self.write_fd = -1

    def take(self) -> list[Message]:
        """Read until nothing is there, and return the messages that have become whole."""
        try:
            while self.reader.fill():
                pass
        except BlockingIOError:
            pass
        taken = list(self.reader.messages)
        self.reader.messages.clear()
        return taken

    def close(self) -> None:
        os.close(self.read_fd)
        if self.write_fd >= 0:
            os.close(self.write_fd)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def with_pipe(check: Callable[[Pipe], None]) -> None:
    """As the fixture, for each example of hypothesis."""
    pipe = Pipe()
    try:
        check(pipe)
    finally:
        pipe.close()


def test_there_is_an_example_of_each_kind_of_message():
    assert [type(message) for message in ONE_OF_EACH] == list(wire._KINDS)


@pytest.mark.parametrize("message", ONE_OF_EACH, ids=lambda message: type(message).__name__)
def test_a_message_arrives_as_it_was_sent(pipe, message):
    pipe.write(framed(message))
    (arrived,) = pipe.take()
    assert type(arrived) is type(message)
    assert arrived == message


@given(messages)
def test_any_message_arrives_as_it_was_sent(message):
    def check(pipe: Pipe) -> None:
        pipe.write(framed(message))
        assert pipe.take() == [message]

    with_pipe(check)


def test_many_messages_in_one_read_arrive_in_order(pipe):
    sent = [Started(n, 0) for n in range(2000)]
    assert len(framed(*sent)) < READ
    pipe.write(framed(*sent))
    assert pipe.reader.fill()
    assert list(pipe.reader.messages) == sent


def test_a_cut_at_any_byte_changes_nothing(pipe):
    data = framed(*ONE_OF_EACH)
    for cut in range(len(data) + 1):
        pipe.write(data[:cut])
        first = pipe.take()
        pipe.write(data[cut:])
        assert first + pipe.take() == ONE_OF_EACH


@given(st.lists(messages, max_size=6), st.data())
def test_any_cuts_change_nothing(sent, data):
    whole = framed(*sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]

    def check(pipe: Pipe) -> None:
        arrived = []
        for piece in pieces:
            pipe.write(piece)
            arrived += pipe.take()
        assert arrived == sent

    with_pipe(check)


def test_a_message_is_there_as_soon_as_its_last_byte_is(pipe):
    data = framed(Run(1, 0, b"call"))
    pipe.write(data[:-1])
    assert pipe.take() == []
    pipe.write(data[-1:])
    assert pipe.take() == [Run(1, 0, b"call")]


# ---------------------------------------------------------------- large bodies


def pump(pipe: Pipe, data: bytes) -> list[Message]:
    """Send more than a pipe holds, from a thread, and read as long as something comes."""

    def write() -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(pipe.write_fd, view) :]
        pipe.hang_up()

    os.set_blocking(pipe.read_fd, True)
    writer = threading.Thread(target=write)
    writer.start()
    while pipe.reader.fill():
        pass
    writer.join(DEADLINE)
    return list(pipe.reader.messages)


@pytest.mark.parametrize("size", [READ - 1, READ, READ + 1, READ * 3 + 7, 5_000_000])
@pytest.mark.parametrize("before", [0, 1, 22, 5000])
def test_a_large_body_arrives_whole_between_its_neighbours(pipe, size, before):
    body = os.urandom(size)
    sent = [Report(1, 0, bytes(before)), Finished(1, 0, body), Started(2, 0)]
    assert pump(pipe, framed(*sent)) == sent


def test_large_bodies_one_after_the_other_arrive_whole(pipe):
    sent = [Finished(n, 0, os.urandom(READ + n)) for n in range(10)]
    assert pump(pipe, framed(*sent)) == sent


@pytest.mark.parametrize("cut", [1, 20, 21, 22, 100, 20_000, 32_768])
def test_a_large_body_that_comes_in_pieces_never_blocks_the_reader(pipe, cut):
    sent = [Finished(1, 0, os.urandom(2 * READ + 100)), Started(2, 0)]
    data = framed(*sent)
    arrived = []
    for piece in (data[:cut], *(data[start : start + 32_768] for start in range(cut, len(data), 32_768))):
        pipe.write(piece)
        arrived += pipe.take()
    assert arrived == sent


def test_a_large_body_is_written_without_being_copied():
    body = bytes(READ * 4)
    assert any(buffer is body for buffer in encode(Run(1, 0, body)))


# ---------------------------------------------------------------- the end of the stream


@pytest.mark.parametrize("body", [b"small", bytes(READ + 100)], ids=["small", "large"])
def test_half_a_message_at_the_end_of_the_stream_is_dropped(pipe, body):
    data = framed(Started(1, 0)) + framed(Finished(1, 0, body))[:-1]
    assert pump(pipe, data) == [Started(1, 0)]
    assert not pipe.reader.fill()


def test_the_end_of_the_stream_is_told_after_the_last_message(pipe):
    pipe.write(framed(Started(1, 0)))
    pipe.hang_up()
    assert pipe.take() == [Started(1, 0)]
    assert not pipe.reader.fill()


def test_a_reader_of_which_nothing_is_asked_says_so_and_does_not_block(pipe):
    with pytest.raises(BlockingIOError):
        pipe.reader.fill()


@pytest.mark.parametrize(
    "rubbish",
    [b"\xff" * 100, wire._HEADER.pack(len(wire._KINDS), 0, 0, 0), wire._HEADER.pack(10, 1, 0, 2**62)],
    ids=["no header", "unknown kind", "no memory for it"],
)
def test_what_is_no_frame_ends_the_stream_after_the_messages_before_it(pipe, rubbish):
    pipe.write(framed(Started(1, 0)) + rubbish + framed(Started(2, 0)))
    with pytest.raises(BrokenStream):
        pipe.take()
    assert list(pipe.reader.messages) == [Started(1, 0)]
    assert not pipe.reader.fill()


# ---------------------------------------------------------------- outcomes

numbers = st.floats(allow_nan=False)


@given(
    st.sampled_from(OutcomeKind),
    st.booleans(),
    st.builds(Usage, numbers, numbers, st.integers(-(2**63), 2**63 - 1)),
    st.binary(max_size=40),
)
def test_an_outcome_arrives_as_it_was_packed(kind, printed, usage, value):
    outcome = unpack_outcome(pack_outcome(kind, printed, usage, value))
    assert (outcome.kind, outcome.printed, outcome.usage, bytes(outcome.value)) == (kind, printed, usage, value)


def test_an_outcome_of_a_large_message_is_not_copied():
    body = memoryview(bytearray(pack_outcome(OutcomeKind.RETURNED, False, Usage(), bytes(100))))
    value = unpack_outcome(body).value
    body[-1] = 1
    assert value[-1] == 1
