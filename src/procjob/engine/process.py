"""Tasks in the killable worker processes of a pool: the engine of every backend with ``workers`` of 1 or more."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any

from procjob.engine.protocol import Capabilities, Task
from procjob.events import EventSink
from procjob.pool import checks
from procjob.pool.constants import Constant, pack_call
from procjob.pool.environment import default_workers
from procjob.pool.pool import Pool


class ProcessEngine:
    """Tasks run in killable worker processes; they start with the first task and end with the engine.

    Args:
        workers: number of processes; None takes PROCJOB_WORKERS or the cores granted.
        initializer: called in each worker before its first task.
        initargs: its arguments.
        threads_per_worker: threads of numerical libraries in each worker; None shares the cores granted.
        environment: variables to set in the workers.
        warmup: names of modules that each worker imports before its first task. With this, also if it is empty, the
            workers start at once, and one more as a spare; None: when there are tasks for them.
    """

    capabilities = Capabilities(
        can_interrupt=True,
        can_kill=True,
        truthful_running=True,
        live_events=True,
        captures_output=True,
        survives_crash=True,
    )

    def __init__(
        self,
        workers: int | None = None,
        *,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        threads_per_worker: int | None = None,
        environment: Mapping[str, str] | None = None,
        warmup: Iterable[str] | None = None,
    ) -> None:
        self.workers = default_workers() if workers is None else checks.whole("workers", workers, lowest=1)
        self._pool = Pool(
            self.workers,
            initializer=initializer,
            initargs=initargs,
            threads_per_worker=threads_per_worker,
            environment=environment,
            warmup=warmup,
            finish_at_exit=False,
        )
        weakref.finalize(self, self._pool.close).atexit = False

    def submit(self, task: Task, sink: EventSink) -> Future[Any]:
        """See `Engine.submit`."""
        self._pool.check_open()
        payload, constants = pack_call(task.fn, task.args, dict(task.kwargs))
        return self._pool.submit(payload, constants, task.limits, sink, task.describe, group=task.group)

    def ship(self, value: object, *, label: str) -> Constant:
        """See `Engine.ship`."""
        return Constant(value, label=label)

    def queue_position(self, future: Future[Any]) -> int | None:
        """See `Engine.queue_position`."""
        return self._pool.queue_position(future)

    def worker_pids(self) -> list[int]:
        """Return the pids of the worker processes that live now."""
        return self._pool.worker_pids()

    def post(self, fn: Callable[..., object], *args: Any) -> None:
        """See `Engine.post`."""
        self._pool.post(fn, *args)

    def close(self, *, wait: bool = True, cancel: bool = False) -> None:
        """See `Engine.close`."""
        self._pool.close(cancel_queued=cancel, stop_running=cancel)
        if wait:
            self._pool.join()
