"""Objects that travel to each worker once: named by the hash of their pickle, kept there until the parent drops them.

In the parent a `Constant` stands for the object inside a call; pickling it leaves only its digest in the call and notes
the reference (`referenced`), so that the executor can send what the chosen worker lacks. In the worker the digest turns
back into the object, which is unpickled at first use. Tasks share it, so it should not be changed by them.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import blake2b
from typing import Any

from procjob.pool.pickling import dumps

DIGEST_SIZE = 16

_noted: ContextVar[list[Constant] | None] = ContextVar("procjob_constants", default=None)
_stored: dict[bytes, bytes] = {}
_loaded: dict[bytes, Any] = {}


class Constant:
    """Handle of an object that is sent to each worker at most once.

    Args:
        value: the object; pickled here, so later changes to it have no effect.
        label: how error messages call it.

    Raises:
        NotPicklableError: ``value`` cannot be pickled.
    """

    __slots__ = ("digest", "pickled")

    def __init__(self, value: object, *, label: str = "value") -> None:
        self.pickled = dumps(value, label=label)
        self.digest = blake2b(self.pickled, digest_size=DIGEST_SIZE).digest()

    def __reduce__(self) -> tuple[Callable[[bytes], Any], tuple[bytes]]:
        noted = _noted.get()
        if noted is None:
            raise pickle.PicklingError("a shipped constant can only be used in a call to the engine that shipped it")
        noted.append(self)
        return fetch, (self.digest,)


@contextmanager
def referenced() -> Iterator[list[Constant]]:
    """Collect the constants that are pickled inside the block, in order, duplicates included."""
    found: list[Constant] = []
    token = _noted.set(found)
    try:
        yield found
    finally:
        _noted.reset(token)


def store(body: bytes | bytearray | memoryview) -> None:
    """Worker: keep a constant (digest and pickle)."""
    view = memoryview(body)
    _stored[bytes(view[:DIGEST_SIZE])] = bytes(view[DIGEST_SIZE:])


def drop(digest: bytes) -> None:
    """Worker: forget a constant."""
    _stored.pop(digest, None)
    _loaded.pop(digest, None)


def fetch(digest: bytes) -> Any:
    """Worker: return the object of a digest, unpickling it at first use."""
    if digest not in _loaded:
        _loaded[digest] = pickle.loads(_stored[digest])
        del _stored[digest]
    return _loaded[digest]
