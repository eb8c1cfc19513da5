"""What `ProcessBackend` and the primitives are alike in: each stands for an object of Qiskit that runs in the workers."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Generic, Never, Self, TypeVar

from procjob.backend import Backend

T = TypeVar("T")

_PLAIN = (bool, int, float, complex, str, bytes, type(None))


class Runner(Backend):
    """The `procjob.Backend` behind one of them."""

    def ship(self) -> None:
        """Have the jobs from now on use the simulator as it is now."""
        self._shipped = self._engine.ship(self.simulator, label="simulator")

    def limits(self) -> dict[str, Any]:
        """Return those of a job that sets none."""
        return dataclasses.asdict(self._limits)

    def busy(self) -> bool:
        """Whether a job is not final."""
        with self._jobs_lock:
            jobs = list(self._jobs)
        return not all(job.in_final_state() for job in jobs)


class Wrapping(Generic[T]):
    """One of them.

    Copies use the workers of the original. What it does not have itself is that of the wrapped object.
    """

    _wrapped: T
    _runner: Runner
    _original: Self | None = None  # whose workers a copy uses, and keeps

    @property
    def wrapped(self) -> T:
        """What runs in the workers."""
        return self._wrapped

    @property
    def workers(self) -> int:
        """Number of tasks that can execute at once; 0: in the caller."""
        return self._runner.workers

    def close(self, *, wait: bool = True, cancel: bool = False) -> None:
        """End the workers; see `procjob.Backend.close`."""
        self._runner.close(wait=wait, cancel=cancel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._runner.__exit__(exc_type, exc, traceback)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_wrapped" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self._wrapped, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self._wrapped)})

    def __reduce__(self) -> Never:
        raise TypeError(f"a {type(self).__name__} has workers and cannot be pickled; make one around its `wrapped`")

    def __copy__(self) -> Self:
        return self._around(copy.copy(self._wrapped))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self._around(copy.deepcopy(self._wrapped, memo))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._wrapped!r}, workers={self.workers})"

    def _settings(self) -> dict[str, Any]:
        """Return with which settings, besides the engine, a copy is made."""
        return {**self._runner.limits(), "store": self._runner.store}

    def _around(self, wrapped: T) -> Self:
        make: Any = type(self)
        twin: Self = make(wrapped, engine=self._runner.engine, **self._settings())
        twin._original = self
        return twin


def changed(now: Mapping[str, Any], before: Mapping[str, Any]) -> set[str]:
    """Return the names whose values are not the same as before, or were not there, or are no more."""
    return {name for name in now.keys() | before.keys() if not _same(now, before, name)}


def is_plain(value: Any) -> bool:
    """Whether a value is small and compares by what it is."""
    return isinstance(value, _PLAIN)


def _same(one: Mapping[str, Any], other: Mapping[str, Any], name: str) -> bool:
    if name not in one or name not in other:
        return False
    a, b = one[name], other[name]
    return a is b or bool(type(a) is type(b) and is_plain(a) and a == b)
