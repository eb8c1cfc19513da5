"""Objects that travel to each worker once: named by the hash of their pickle, kept there until the parent drops them.

In the parent a `Constant` stands for the object inside a call; pickling it leaves only its digest in the call and notes
the reference (`pack_call`), so that the executor can send what the chosen worker lacks. In the worker the digest turns
back into the object, which is unpickled at first use. Tasks share it, so it should not be changed by them. `Shared` is the
one that users make; it is good outside of such calls, too.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from hashlib import blake2b
from typing import Any, TypeVar, cast

from procjob.pool import wire
from procjob.pool.memory import Contents, Memory
from procjob.pool.payload import AllBuffers, Buffers, Payload, pack, unpack
from procjob.pool.pickling import dumps, dumps_call, dumps_simple_call, loaded, loads

T = TypeVar("T")
DIGEST_SIZE = 16

_noted: ContextVar[list[Constant] | None] = ContextVar("procjob_constants", default=None)
_stored: dict[bytes, wire.Buffer | Contents | None] = {}
_loaded: dict[bytes, Any] = {}
_shared_here = False


class Constant:
    """Handle of an object that is sent to each worker at most once.

    Args:
        value: the object; pickled here, so later changes to it have no effect.
        label: how error messages call it.
        frozen: buffers in it are read-only in the workers.

    Raises:
        NotPicklableError: ``value`` cannot be pickled.
    """

    __slots__ = ("__weakref__", "digest", "payload")

    def __init__(self, value: object, *, label: str = "value", frozen: bool = False) -> None:
        buffers = AllBuffers() if frozen else Buffers()
        pickled = dumps(value, label=label, buffers=buffers)
        digest = blake2b(pickled, digest_size=DIGEST_SIZE, person=b"frozen" if frozen else b"")
        for buffer in buffers:
            digest.update(buffer)
        self.digest = digest.digest()
        self.payload: Payload = pack(pickled, buffers, frozen=frozen)

    def __reduce__(self) -> tuple[Callable[[bytes], Any], tuple[bytes]]:
        noted = _noted.get()
        if noted is None:
            return self._reduce_elsewhere()
        noted.append(self)
        return fetch, (self.digest,)

    def _reduce_elsewhere(self) -> tuple[Callable[[bytes], Any], tuple[bytes]]:
        raise pickle.PicklingError("a shipped constant can only be used in a call to the engine that shipped it")


class Shared(Constant):
    """What `shared` returns: outside of the workers of a pool it is pickled by its value."""

    __slots__ = ()

    def __init__(self, value: object) -> None:
        global _shared_here  # noqa: PLW0603  (a property of the process)
        super().__init__(value, frozen=True)
        _shared_here = True

    def _reduce_elsewhere(self) -> tuple[Callable[[bytes], Any], tuple[bytes]]:
        payload = self.payload
        return unpack, (bytes(payload.read()) if isinstance(payload, Memory) else payload,)

    def __repr__(self) -> str:
        return f"<shared value {self.digest.hex()[:8]}, {len(self.payload)} bytes>"


def shared(value: T) -> T:
    """Return what stands for ``value`` in the arguments of calls, so that it travels to each worker once.

    Use it for what many calls have in common. It may be anywhere in the arguments of `Backend.run` or of a
    `ProcessPoolExecutor` (in a list, in a `functools.partial`); the call gets the value itself. Workers map the same
    memory, so that large arrays exist once on the machine. Equal values count as one.

    Args:
        value: anything that can be pickled. It is copied here: later changes to it have no effect.

    Returns:
        A handle, for arguments only. To type checkers it is the value.

    Calls have to leave the value as it is; the next one gets the same. The arrays in it are read-only there, but for those
    that were not contiguous.

    Raises:
        NotPicklableError: ``value`` cannot be sent to a worker.

    Example:
        >>> import procjob
        >>> table = procjob.shared([0.5, 1.5])
        >>> with procjob.ProcessPoolExecutor(2) as pool:
        ...     [pool.submit(max, table, [n]).result() for n in range(3)]
        [[0.5, 1.5], [1], [2]]
    """
    return cast("T", Shared(value))


def unshared(value: T) -> T:
    """Return the value that a handle stands for; anything else as it is."""
    return plain(value) if isinstance(value, Shared) else value


def plain(value: T) -> T:
    """Return ``value`` with all that is `shared` in it as it was, as a worker would get it."""
    return cast("T", loads(dumps(value), what="a shared value")) if _shared_here else value


def pack_call(
    fn: Callable[..., object], args: tuple[object, ...], kwargs: Mapping[str, object]
) -> tuple[Payload, list[Constant]]:
    """Pickle a call for the workers of a pool.

    Returns:
        What is to be sent, and the constants that it refers to, in order, duplicates included.

    Raises:
        NotPicklableError: see `procjob.pool.pickling.dumps_call`.
    """
    found: list[Constant] = []
    called: Any = fn
    if isinstance(fn, Constant):
        found.append(fn)
        called = fn.digest
    if (simple := dumps_simple_call(called, args, kwargs)) is not None:
        return pack(simple, ()), found
    buffers = Buffers()
    token = _noted.set(found)
    try:
        pickled = dumps_call(called, args, kwargs, buffers=buffers)
    finally:
        _noted.reset(token)
    return pack(pickled, buffers), found


def store(body: wire.Body) -> None:
    """Worker: keep a constant (digest and payload)."""
    digest, payload = wire.parted(body, DIGEST_SIZE)
    _stored[bytes(digest[:DIGEST_SIZE])] = payload if isinstance(body, wire.Incoming) else bytes(payload or b"")


def callable_of(fn: Any) -> Any:
    """Worker: return what a call calls; where that was a constant, `pack_call` has left its digest.

    Raises:
        RemoteError: it cannot be unpickled.
        MemoryError: there is no room for it.
    """
    return loaded(fetch, fn, what="the call") if type(fn) is bytes else fn


def drop(digest: bytes) -> None:
    """Worker: forget a constant."""
    _stored.pop(digest, None)
    _loaded.pop(digest, None)


def fetch(digest: bytes) -> Any:
    """Worker: return the object of a digest, unpickling it at first use."""
    if digest not in _loaded:
        payload = _stored[digest]
        if payload is None:
            raise MemoryError("no memory, or no file descriptor, for a shared value")
        _loaded[digest] = unpack(payload)
        del _stored[digest]
    return _loaded[digest]
