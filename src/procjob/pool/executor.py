"""The concurrent.futures face of the pool."""

from __future__ import annotations

import itertools
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, ParamSpec, TypeVar

from procjob.errors import NotPicklableError
from procjob.events import Event, Finished
from procjob.pool import checks
from procjob.pool.constants import pack_call, plain
from procjob.pool.environment import default_workers
from procjob.pool.pool import Pool
from procjob.pool.session import TaskInterrupt, runs_inline

#: Seconds of work that a chunk of a `map` gets where its size is not given, and items that it has at most.
CHUNK_SECONDS = 0.001
LARGEST_CHUNK = 1000

P = ParamSpec("P")
T = TypeVar("T")


class ProcessPoolExecutor(Executor):
    """Run calls in worker processes: `concurrent.futures.ProcessPoolExecutor` with futures that tell the truth.

    A drop-in for the standard class, without the need for an ``if __name__ == "__main__"`` guard. A future is running
    only when a worker has begun it; `Future.cancel` also stops a running call, and then returns True; a worker that
    dies costs only the call that it ran. Inside a worker, calls run inline, so that pools do not multiply, and
    inside one of `multiprocessing.Pool` or another daemonic process, which may not have children.

    Args:
        max_workers: number of worker processes; None takes PROCJOB_WORKERS or the cores granted.
        initializer: called in each worker before its first call.
        initargs: its arguments.
        threads_per_worker: threads of numerical libraries in each worker; None shares the cores granted.
        environment: variables to set in the workers.
        warmup: names of modules that each worker imports before its first call. With this, also if it is empty, the
            workers start at once, and one more as a spare; else when there are calls for them.

    Raises:
        ValueError: ``max_workers`` or ``threads_per_worker`` is less than 1, or a variable in ``environment`` cannot be set.
        TypeError: an argument has the wrong type.
        ModuleNotFoundError: there is no module of a name in ``warmup``.
        NotPicklableError: the initializer or its arguments cannot be pickled.

    Example:
        >>> with ProcessPoolExecutor(2) as pool:
        ...     list(pool.map(pow, [2, 3], [5, 2]))
        [32, 9]
    """

    def __init__(
        self,
        max_workers: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        threads_per_worker: int | None = None,
        environment: Mapping[str, str] | None = None,
        warmup: Iterable[str] | None = None,
    ) -> None:
        self._inline = runs_inline()
        self._pool = Pool(
            default_workers() if max_workers is None else checks.whole("max_workers", max_workers, lowest=1),
            initializer=initializer,
            initargs=initargs,
            threads_per_worker=threads_per_worker,
            environment=environment,
            warmup=None if self._inline else warmup,
        )
        # The finalizer must not keep the executor alive; the pool ends by itself when nothing is left to do.
        weakref.finalize(self, self._pool.close).atexit = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Queue ``fn(*args, **kwargs)`` and return its future.

        A call that cannot be pickled gives a future with a `NotPicklableError`, as with the standard executor.

        Raises:
            TypeError: ``fn`` cannot be called.
            RuntimeError: the executor has been shut down.
            WorkerDiedError: its workers cannot start.
        """
        checks.call("fn", fn)
        if self._inline:
            self._pool.check_open()
            return _run_here(fn, args, kwargs)
        try:
            payload, constants = pack_call(fn, args, kwargs)
        except NotPicklableError as exc:
            failed: Future[T] = Future()
            failed.set_exception(exc)
            return failed
        return self._pool.submit(payload, constants)

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Return an iterator over ``fn(*items)`` in order.

        Args:
            fn: a callable that takes as many arguments as there are iterables.
            *iterables: its arguments, item by item.
            timeout: seconds from now until which the results must have come.
            chunksize: items that travel to a worker together. None: as many as have taken a millisecond so far, one at
                first; for items that are nearly all quick and small, as others among them are no longer spread evenly.
            buffersize: chunks submitted whose results have not been taken yet; None submits all at once.

        Raises:
            ValueError: ``chunksize`` or ``buffersize`` is less than 1, or ``timeout`` is no number of seconds.
            TypeError: an argument has the wrong type.
            TimeoutError: from the iterator, when ``timeout`` has run out.
        """
        checks.call("fn", fn)
        timeout = checks.seconds("timeout", timeout)
        pace = _Pace(1 if chunksize is None else checks.whole("chunksize", chunksize, lowest=1))
        send = self._send_chunk if chunksize is not None or self._inline else partial(self._send_measured, pace)
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError(f"buffersize must be an integer or None, not {buffersize!r}")
        if buffersize is not None and buffersize < 1:
            raise ValueError(f"buffersize must be None or > 0, not {buffersize!r}")
        deadline = None if timeout is None else time.monotonic() + timeout
        chunks = _batched(zip(*iterables), pace)  # noqa: B905  (map stops with the shortest, as builtins.map)
        sent = (send(fn, chunk) for chunk in chunks)
        return _results(deque(itertools.islice(sent, buffersize)), sent, deadline)

    def _send_chunk(self, fn: Callable[..., T], chunk: list[tuple[Any, ...]]) -> Future[list[T]]:
        return self.submit(_run_chunk, fn, chunk)

    def _send_measured(self, pace: _Pace, fn: Callable[..., T], chunk: list[tuple[Any, ...]]) -> Future[list[T]]:
        began = time.perf_counter()
        try:
            payload, constants = pack_call(_run_chunk, (fn, chunk), {})
        except NotPicklableError:
            return self._send_chunk(fn, chunk)  # the future tells
        pace.pickled(len(chunk), time.perf_counter() - began)
        return self._pool.submit(payload, constants, sink=partial(pace.on_event, len(chunk)))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept nothing more; finish what was submitted, or with ``cancel_futures`` only what already runs."""
        self._pool.close(cancel_queued=cancel_futures)
        if wait:
            self._pool.join()

    def __exit__(self, exc_type: type[BaseException] | None, exc_val: object, exc_tb: object) -> None:
        """Shut down; after a Ctrl-C inside the block or meanwhile, stop what runs instead of finishing it."""
        if exc_type is not None and issubclass(exc_type, KeyboardInterrupt):
            self._pool.close(cancel_queued=True, stop_running=True)
        try:
            self.shutdown(wait=True)
        except KeyboardInterrupt:
            self._pool.close(cancel_queued=True, stop_running=True)
            raise

    @property
    def _max_workers(self) -> int:
        """Number of workers, under the name by which other libraries ask an executor for it."""
        return self._pool.workers

    def __repr__(self) -> str:
        return f"<ProcessPoolExecutor {self._pool.workers} workers>"


def _run_here(fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[T]:
    """Run a call in this process and return its future, which is done."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()
    try:
        fn, args, kwargs = plain((fn, args, kwargs))
        future.set_result(fn(*args, **kwargs))
    except TaskInterrupt:  # of the worker that we are in
        raise
    except BaseException as exc:  # noqa: BLE001  (the call's own end, whatever it raised, is its outcome)
        future.set_exception(exc)
    return future


class _Pace:
    """How many items the next chunk of a `map` has; as many as fit into `CHUNK_SECONDS` if their seconds are noted.

    Args:
        size: of the first one.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def pickled(self, count: int, seconds: float) -> None:
        """So many items have taken so long in the caller: no more than fit. That they are quick, only workers know."""
        self.size = max(1, min(self.size, _fitting(count, seconds)))

    def on_event(self, count: int, event: Event) -> None:
        """Take note of the end of a chunk."""
        if isinstance(event, Finished) and event.usage is not None:
            fitting = _fitting(count, event.usage.run_seconds)
            self.size = max(1, min(fitting, 2 * max(count, self.size), LARGEST_CHUNK))


def _fitting(count: int, seconds: float) -> int:
    return int(CHUNK_SECONDS * count / max(seconds, 1e-9))


def _results(pending: deque[Future[list[T]]], more: Iterator[Future[list[T]]], deadline: float | None) -> Iterator[T]:
    try:
        while pending:
            chunk = pending.popleft().result(None if deadline is None else deadline - time.monotonic())
            chunk.reverse()
            while chunk:
                yield chunk.pop()  # no reference is kept to one that has been taken
            pending.extend(itertools.islice(more, 1))
    finally:
        for future in pending:
            future.cancel()


def _run_chunk(fn: Callable[..., T], chunk: list[tuple[Any, ...]]) -> list[T]:
    return [fn(*items) for items in chunk]


def _batched(items: Iterable[tuple[Any, ...]], pace: _Pace) -> Iterator[list[tuple[Any, ...]]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, pace.size)):
        yield chunk
