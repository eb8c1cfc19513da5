"""Messages between the parent and one worker, and the frames that carry them over a duplex pipe.

    parent                                worker
      Initialize ───────────────────────>   runs the initializer
                 <───────────────────────  Ready | StartFailed
      StoreConstant* Run ───────────────>   sets its mark (see `procjob.pool.mark`)
                 <───────────────────────  Started, Report*, Finished
      RunAhead* ────────────────────────>   takes a permit for each, in turn (see `procjob.pool.permits`)
                 <───────────────────────  as after Run, or Returned if there is no permit any more
      GoOn ─────────────────────────────>   what the task has printed is read: the worker begins nothing before
      Interrupt (then SIGUSR1) ─────────>   only while a task runs; a late one names a task that is gone
      DropConstant, Leave ──────────────>

A frame is a fixed header (kind, task, attempt, length of the body) and the body. Frames of one direction arrive whole and
in order, or the stream has ended; a reader never blocks on half a frame unless its descriptor blocks. The most of a large
body is in memory of its own (see `procjob.pool.memory`); its frame has the head and announces the rest.

Messages are values that nobody changes; they are not frozen for the reason given in `procjob.pool.actions`.
"""

from __future__ import annotations

import os
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar

from procjob.events import Usage
from procjob.pool.memory import NO_ROOM, Contents, Memory
from procjob.pool.payload import Payload

_HEADER = struct.Struct("<BQIQ")
_USAGE = struct.Struct("<B?ddq")
_SIZE = struct.Struct("<Q")
_IN_MEMORY = 1 << 7  # in the kind of a message: its body is so
_CHUNK = 1 << 16
Buffer = bytes | bytearray | memoryview


@dataclass(slots=True)
class Outgoing:
    """A body that is a short head and memory, for the sender."""

    head: bytes
    memory: Memory


@dataclass(slots=True)
class Incoming:
    """The same for the receiver; ``contents`` is None if there was no room for them."""

    head: Buffer
    contents: Contents | None


Body = Buffer | Outgoing | Incoming


def joined(head: bytes, payload: Payload) -> Body:
    """Return the body that is made of a head and a payload."""
    return Outgoing(head, payload) if type(payload) is Memory else head + payload  # type: ignore[operator]  # bytes


def parted(body: Body, length: int) -> tuple[Buffer, Buffer | Contents | None]:
    """Undo `joined`: return what begins with the head, which has that length, and what is behind the head."""
    if type(body) is Incoming:
        return body.head, body.contents
    data: Any = body  # nobody gets what is outgoing
    return data, memoryview(data)[length:] if length else data


@dataclass(slots=True)
class Initialize:
    """``body``: the pickled call of the user's initializer, or empty."""

    body: Buffer


@dataclass(slots=True)
class Ready:
    """The worker waits for its first task."""


@dataclass(slots=True)
class StartFailed:
    """``body``: the packed exception of the initializer."""

    body: Buffer


@dataclass(slots=True)
class StoreConstant:
    """``body``: digest (`DIGEST_SIZE` bytes) and pickle of an object that later calls refer to."""

    body: Body


@dataclass(slots=True)
class DropConstant:
    """``body``: digest of a constant to forget."""

    body: Buffer


@dataclass(slots=True)
class Run:
    """``body``: the pickled call ``(fn, args, kwargs)``."""

    announced: ClassVar = True
    ahead: ClassVar = False
    task: int
    attempt: int
    body: Body


class RunUnannounced(Run):
    """As `Run`, for a task that nobody is to be told about: the worker only sets its `Mark`."""

    announced = False


class RunAhead(Run):
    """As `Run`, sent to a worker that still executes another task: it must take a permit first."""

    ahead = True


class RunAheadUnannounced(RunAhead):
    """As `RunAhead`, for a task that nobody is to be told about."""

    announced = False


@dataclass(slots=True)
class Interrupt:
    """Stop this attempt of this task, if it still runs."""

    task: int
    attempt: int


@dataclass(slots=True)
class Leave:
    """End the process."""


@dataclass(slots=True)
class Started:
    """The worker begins the task now."""

    task: int
    attempt: int


@dataclass(slots=True)
class Returned:
    """The worker has passed over a task for which it got no permit."""

    task: int
    attempt: int


@dataclass(slots=True)
class Report:
    """``body``: a pickled `procjob.events.Event` of the running task."""

    task: int
    attempt: int
    body: Buffer


@dataclass(slots=True)
class Finished:
    """The worker has let go of the task. ``body``: see `pack_outcome`."""

    task: int
    attempt: int
    body: Body


@dataclass(slots=True)
class GoOn:
    """Answers a `Finished` that says that the task has printed: what comes now belongs to the next one."""


Message = (
    Initialize
    | Ready
    | StartFailed
    | StoreConstant
    | DropConstant
    | Run
    | RunUnannounced
    | RunAhead
    | RunAheadUnannounced
    | Interrupt
    | Leave
    | Started
    | Returned
    | Report
    | Finished
    | GoOn
)
_KINDS: tuple[type[Message], ...] = (
    Initialize, Ready, StartFailed, StoreConstant, DropConstant, Run, RunUnannounced, RunAhead, RunAheadUnannounced,
    Interrupt, Leave, Started, Returned, Report, Finished, GoOn,
)  # fmt: skip
_CODE = {kind: code for code, kind in enumerate(_KINDS)}
_WITH_TASK = tuple("task" in kind.__match_args__ for kind in _KINDS)
_WITH_BODY = tuple("body" in kind.__match_args__ for kind in _KINDS)


def encode(message: Message, hand_over: Callable[[Memory], bool] | None = None) -> list[Buffer]:
    """Return the buffers to write, in order, for one message.

    Args:
        message: the message.
        hand_over: sends memory ahead of its message; False: it cannot, so the contents become part of the frame.
    """
    code = _CODE[type(message)]
    task, attempt = (message.task, message.attempt) if _WITH_TASK[code] else (0, 0)  # type: ignore[union-attr]  # the table knows which kinds have it
    body: Any = message.body if _WITH_BODY[code] else b""  # type: ignore[union-attr]  # likewise
    if type(body) is Outgoing:
        if hand_over is not None and hand_over(body.memory):
            code |= _IN_MEMORY
            body = _SIZE.pack(body.memory.size) + body.head
        else:
            try:
                body = b"".join((body.head, body.memory.read()))
            except NO_ROOM:  # the receiver is told that there is no room
                code |= _IN_MEMORY
                body = _SIZE.pack(0) + body.head
    header = _HEADER.pack(code, task, attempt, len(body))
    if len(body) < _CHUNK:
        return [b"".join((header, body))]
    return [header, body]


def _decode(code: int, task: int, attempt: int, body: Body) -> Message:
    kind: Any = _KINDS[code]
    if _WITH_TASK[code]:
        return kind(task, attempt, body) if _WITH_BODY[code] else kind(task, attempt)  # type: ignore[no-any-return]
    return kind(body) if _WITH_BODY[code] else kind()  # type: ignore[no-any-return]


class BrokenStream(Exception):
    """What came is no frame, or one too large for this process's memory; nothing behind it can be understood."""


class FrameReader:
    """Cut the bytes of one descriptor into messages; one system call a `fill`."""

    def __init__(self, fd: int, take_over: Callable[[int], Contents | None] | None = None) -> None:
        self._fd = fd
        self._take_over = take_over
        self._small = bytearray()
        self._large: memoryview | None = None
        self._large_filled = 0
        self._large_head = (0, 0, 0)
        self._ended = False
        self.total = 0  # bytes read so far
        self.messages: deque[Message] = deque()

    @property
    def in_large_body(self) -> bool:
        """Whether the next `fill` goes on with a message of which more than one read's worth is expected."""
        return self._large is not None

    def fill(self) -> bool:
        """Read once and queue what became whole in `messages`. False at the end of the stream.

        Raises:
            BlockingIOError: the descriptor does not block and has nothing.
            BrokenStream: nothing more can be read, as if at the end; what was whole before is in `messages`.
        """
        if self._ended:
            return False
        if self._large is not None:
            count = os.readv(self._fd, [self._large[self._large_filled :]])
            self._large_filled += count
            self.total += count
            if self._large_filled == len(self._large):
                self.messages.append(_decode(*self._large_head, self._large))
                self._large = None
            return count > 0
        chunk = os.read(self._fd, _CHUNK)
        self._small += chunk
        self.total += len(chunk)
        self._cut()
        return len(chunk) > 0

    def _cut(self) -> None:
        small, at = self._small, 0
        while len(small) - at >= _HEADER.size:
            code, task, attempt, length = _HEADER.unpack_from(small, at)
            if code >= len(_KINDS) and (code ^ _IN_MEMORY >= len(_KINDS) or length > _CHUNK):
                raise self._broken(f"no message is of kind {code}")
            body_at = at + _HEADER.size
            if length > _CHUNK and len(small) - body_at < length:
                self._begin_large((code, task, attempt), length, small[body_at:])
                at = len(small)
                break
            if len(small) - body_at < length:
                break
            body = bytes(small[body_at : body_at + length])
            at = body_at + length
            if code >= _IN_MEMORY:
                self.messages.append(_decode(code ^ _IN_MEMORY, task, attempt, self._completed(body)))
            else:
                self.messages.append(_decode(code, task, attempt, body))
        del small[:at]

    def _begin_large(self, head: tuple[int, int, int], length: int, begun: bytearray) -> None:
        try:
            self._large = memoryview(bytearray(length))
        except (MemoryError, OverflowError) as exc:
            raise self._broken(f"no memory for a message of {length} bytes") from exc
        self._large[: len(begun)] = begun
        self._large_filled, self._large_head = len(begun), head

    def _completed(self, body: bytes) -> Incoming:
        try:
            (size,) = _SIZE.unpack_from(body)
            return Incoming(body[_SIZE.size :], self._take_over(size) if size and self._take_over else None)
        except (OSError, struct.error) as exc:
            raise self._broken("memory was announced and did not come") from exc

    def _broken(self, why: str) -> BrokenStream:
        self._ended = True
        return BrokenStream(why)


class OutcomeKind(IntEnum):
    """What a `Finished` message carries behind its usage."""

    RETURNED = 0  # the pickled result
    RAISED = 1  # the packed exception
    INTERRUPTED = 2  # nothing


_OUTCOMES = tuple(OutcomeKind)


@dataclass(slots=True)
class Outcome:
    """A decoded `Finished`.

    Attributes:
        kind: how the call ended.
        printed: whether its standard streams may hold something that the parent has not read yet; the worker then waits
            for `GoOn`.
        usage: what it cost.
        value: the packed result or exception; None: there was no memory for it.
    """

    kind: OutcomeKind
    printed: bool
    usage: Usage
    value: Buffer | Contents | None


def pack_outcome(kind: OutcomeKind, printed: bool, usage: Usage, value: Payload) -> Body:
    """Return the body of a `Finished` message."""
    return joined(_USAGE.pack(kind, printed, usage.run_seconds, usage.cpu_seconds, usage.peak_rss), value)


def unpack_outcome(body: Body) -> Outcome:
    """Undo `pack_outcome`; the value is a view into ``body``."""
    head, value = parted(body, _USAGE.size)
    kind, printed, run_seconds, cpu_seconds, peak_rss = _USAGE.unpack_from(head)
    return Outcome(_OUTCOMES[kind], printed, Usage(run_seconds, cpu_seconds, peak_rss), value)
