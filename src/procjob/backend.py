"""`Backend`: a simulator plus the engine it runs on; ``run`` returns a job."""

from __future__ import annotations

import inspect
import os
import reprlib
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from procjob.engine import Engine, Task, checked_engine, make_engine
from procjob.errors import JobError
from procjob.events import Accepted
from procjob.job import Job
from procjob.parts import Parts
from procjob.pool import checks
from procjob.pool.actions import Limits
from procjob.pool.constants import unshared
from procjob.progress import is_wanted, show
from procjob.status import JobStatus

if TYPE_CHECKING:
    from procjob.store import Store, StoredJob

#: Sets of option names that a backend knows to be right.
NAMES_KEPT = 1000
_UNSET: Any = object()


@runtime_checkable
class Divisible(Protocol):
    """What a simulator has besides its call if one run can be divided among workers.

    The joined results have to be those of the undivided run, to the bit, for any division.
    """

    def divide(
        self, run_input: Any, options: Mapping[str, Any], pieces: int
    ) -> tuple[Sequence[tuple[Any, Mapping[str, Any]]], Callable[[list[Any]], Any]]:
        """Return input and options of at most ``pieces`` smaller runs, and what makes one result of theirs, in order.

        An input that is the same object in all of them travels to each worker once, also if later runs have an equal one;
        so does the hashable input of a single one. The simulator should not change it.
        """


class Backend:
    """Run a simulator in worker processes, each ``run`` a job.

    The backend owns its workers: they start with the first run and end with `close`, at the end of a ``with`` block,
    when the backend is garbage, and at interpreter exit (which stops what still runs). Inside a worker a backend runs
    inline, so that pools do not multiply, and inside one of `multiprocessing.Pool` or another daemonic process, which may not
    have children.

    Args:
        simulator: a callable ``simulate(run_input, **options)``; None takes a
            `procjob.simulators.StatevectorSimulator`. It is sent to each worker once and shared by the
            jobs there, so it should not keep state between calls. One that is `Divisible` has each run divided among
            the workers; ``time_limit`` then runs for all pieces together, from the first one that begins, the other limits
            hold for each piece.
        workers: number of worker processes; None takes PROCJOB_WORKERS or the cores granted; 0 runs each job in the
            caller's process, inside ``run``.
        engine: what executes the jobs instead; stays yours to close. Excludes ``workers`` and the worker settings.
        name: how the backend is called; None takes the name of the simulator.
        time_limit: seconds that a job may execute, unless its ``run`` says otherwise; None: no limit.
        memory_limit: bytes by which a job's worker may grow, likewise.
        retries: how often a job is run again after its worker died, likewise.
        grace: seconds between the interrupt of a stopped job and the kill of its worker, likewise.
        initializer: called in each worker before its first job; inline, once in this process.
        initargs: its arguments.
        threads_per_worker: threads of numerical libraries in each worker; None shares the cores granted.
        environment: variables to set in the workers.
        warmup: names of modules that each worker imports before its first job. With this, also if it is empty, the
            workers start at once, and one more as a spare that replaces one that dies; None: when there are jobs for them.
        store: a `procjob.Store`, or the path of its file: each job is recorded there, and its result kept.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument is out of range.
        ModuleNotFoundError: there is no module of a name in ``warmup``.
        NotPicklableError: the simulator cannot be sent to a worker.
        StoreError: the store cannot be opened.

    Example:
        >>> import procjob
        >>> def simulate(angle, *, scale=1.0):
        ...     return angle * scale
        >>> with procjob.Backend(simulate, workers=2) as backend:
        ...     backend.run(0.5, scale=2.0).result()
        1.0
    """

    def __init__(
        self,
        simulator: Callable[..., Any] | None = None,
        *,
        workers: int | None = None,
        engine: Engine | None = None,
        name: str | None = None,
        time_limit: float | None = None,
        memory_limit: int | None = None,
        retries: int = 0,
        grace: float = 0.5,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        threads_per_worker: int | None = None,
        environment: Mapping[str, str] | None = None,
        warmup: Iterable[str] | None = None,
        store: Store | str | os.PathLike[str] | None = None,
    ) -> None:
        if simulator is None:
            from procjob.simulators import StatevectorSimulator

            simulator = StatevectorSimulator()
        if not callable(simulator):
            raise TypeError(f"simulator must be callable as simulate(run_input, **options), not {simulator!r}")
        if name is not None:
            checks.text("name", name)
        self.simulator = simulator
        self.name = name or getattr(simulator, "__name__", type(simulator).__name__)
        self._limits = _checked_limits(time_limit, memory_limit, retries, grace)
        self._divisible = isinstance(simulator, Divisible)  # once: it takes longer than the rest of a run
        self._signature = _signature(simulator)
        self._names_taken: set[tuple[str, ...]] = set()
        settings = {
            "initializer": initializer,
            "initargs": None if isinstance(cast("Any", initargs), tuple) and not initargs else initargs,
            "threads_per_worker": threads_per_worker,
            "environment": environment,
            "warmup": warmup,
        }
        given = {key: value for key, value in settings.items() if value is not None}
        self._owns_engine = engine is None
        self._engine: Engine = make_engine(workers, given) if engine is None else checked_engine(engine, workers, given)
        try:
            self._shipped = self._engine.ship(simulator, label="simulator")
            self._store: Store | None = None
            if store is not None:  # last: a backend that is refused makes no file
                from procjob.store.store import opened

                self._store = opened(store)
        except BaseException:  # also a Ctrl-C: nobody gets the backend
            if self._owns_engine:  # with warmup its workers have started
                self._engine.close(cancel=True)
            raise
        self._owns_store = self._store is not store
        self._recorder = None if self._store is None else self._store._recorder()
        self._jobs: weakref.WeakSet[Job] = weakref.WeakSet()
        self._jobs_lock = threading.RLock()  # a signal handler may close the backend in the middle of a `run`
        self._closed = False
        if self._owns_engine:
            weakref.finalize(self, self._engine.close, wait=False).atexit = False

    @property
    def engine(self) -> Engine:
        """What executes the jobs."""
        return self._engine

    @property
    def workers(self) -> int:
        """Number of jobs that can execute at once; 0: in the caller."""
        return self._engine.workers

    def run(
        self,
        run_input: Any,
        *,
        time_limit: float | None = _UNSET,
        memory_limit: int | None = _UNSET,
        retries: int = _UNSET,
        grace: float = _UNSET,
        tags: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        job_id: str | None = None,
        progress: bool | None = False,
        **options: Any,
    ) -> Job:
        """Submit ``simulator(run_input, **options)`` and return its job.

        Args:
            run_input: what to simulate.
            time_limit: seconds that the job may execute; None: no limit. The default is the backend's.
            memory_limit: bytes by which the resident memory of its worker may grow; None: no limit.
            retries: how often it is run again after its worker died.
            grace: seconds between the interrupt of a stop and the kill of the worker.
            tags: words to find the job by.
            metadata: kept with the job.
            job_id: its id; None makes a unique one.
            progress: show a bar on stderr, of what the simulator reports or of the pieces that the run is divided into; None: if that is
                a terminal (see ``PROCJOB_PROGRESS``).
            **options: for the simulator.

        Raises:
            TypeError: an option that the simulator does not take, or an argument of the wrong type.
            ValueError: a limit out of range.
            NotPicklableError: the input cannot be sent to a worker; the message names the path to the culprit.
            JobError: a limit that the engine cannot keep, or an id that another job in the store has.
            WorkerDiedError: no worker can start; the initializer fails, say.
            RuntimeError: the backend is closed.
        """
        limits = given = self._limits
        if not time_limit is memory_limit is retries is grace is _UNSET:
            limits = _checked_limits(
                given.time_limit if time_limit is _UNSET else time_limit,
                given.memory_limit if memory_limit is _UNSET else memory_limit,
                given.retries if retries is _UNSET else retries,
                given.grace if grace is _UNSET else grace,
            )
        self._check_options(run_input, options)
        words = checks.words("tags", tags)
        shown = is_wanted(progress)
        if metadata is not None and not isinstance(metadata, Mapping):
            raise TypeError(f"metadata must be a mapping, not {metadata!r}")
        identity = uuid.uuid4().hex if job_id is None else job_id
        text = self._brief(run_input)  # now: the input may be changed while the job runs
        task = self._task(run_input, options, Task(self._shipped, limits=limits, describe=_Description(identity, text)))
        job = self._make_job(identity, task=task, engine=self._engine, inputs=run_input, tags=words)
        if metadata:
            job.metadata.update(metadata)
        with self._jobs_lock:
            if self._closed:
                raise RuntimeError(f"backend {self.name} is closed; make a new one")
            self._jobs.add(job)
        try:
            self._submit(job, text, given_id=job_id is not None)
            if shown:
                show(job)
        except BaseException:  # also a Ctrl-C: nobody gets the job
            if job._future is not None:
                job.cancel()
            raise
        return job

    def _submit(self, job: Job, text: str, *, given_id: bool) -> None:
        """Submit a job; with a store, have it recorded, under an id that is not taken there."""
        if self._recorder is None:
            job.submit()
            return
        job._observer = following = self._recorder.follow(job, text)
        if given_id:
            following.claim(str(self.name))
        try:
            job.submit()
        except BaseException:  # also a Ctrl-C: an id that was claimed is given back
            if job.status().name == "INITIALIZING":
                following.refused()
            else:  # it was accepted, and the Ctrl-C may have struck what takes note of that
                following.on_event(Accepted(time.monotonic(), job.future))
            raise

    @property
    def store(self) -> Store | None:
        """Where jobs are recorded."""
        return self._store

    def job(self, job_id: str) -> Job | StoredJob:
        """Return a job by its id: the live one if this backend has it, else what the store knows of it.

        Raises:
            TypeError: ``job_id`` is no string.
            JobError: there is none.
            StoreError: the store cannot be read.

        Example:
            >>> import os, tempfile, procjob
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     path = os.path.join(folder, "jobs.db")
            ...     with procjob.Backend(abs, workers=0, store=path) as backend:
            ...         job_id = backend.run(-2).job_id()
            ...     with procjob.Backend(abs, workers=0, store=path) as backend:  # days later
            ...         backend.job(job_id).result()
            2
        """
        checks.text("job_id", job_id)
        with self._jobs_lock:
            for job in self._jobs:
                if job.job_id() == job_id:
                    return job
        if self._store is None:
            raise JobError(f"backend {self.name} has no job {job_id!r}; with store= jobs are kept")
        return self._store._job(job_id, self._as_seen())

    def jobs(
        self,
        limit: int | None = 10,
        skip: int = 0,
        *,
        status: JobStatus | str | Iterable[JobStatus | str] | None = None,
        tags: Iterable[str] | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        descending: bool = True,
        backend_name: str | None = None,
    ) -> list[Job | StoredJob]:
        """Return the jobs in the store, of all backends and processes; without a store, those alive of this backend.

        See `procjob.Store.jobs`; a job that is alive in this backend is the live one.

        Args:
            limit: how many at most; None: all.
            skip: how many to leave out at the beginning.
            status: only those with this status, or one of these.
            tags: only those that have all of these tags.
            created_after: only those made then or later; a time without a zone is local.
            created_before: only those made then or earlier.
            descending: the newest first.
            backend_name: only those that ran on a backend of this name.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: a number is negative, or there is no such status.
            StoreError: the store cannot be read.

        Example:
            >>> import procjob
            >>> with procjob.Backend(abs, workers=0) as backend:
            ...     live = [backend.run(-n, tags=["test"]) for n in range(3)]
            ...     [job.result() for job in backend.jobs(tags=["test"], limit=2)]
            [2, 1]
        """
        from procjob.store.query import JobQuery

        query = JobQuery.checked(
            limit,
            skip,
            status=status,
            tags=tags,
            created_after=created_after,
            created_before=created_before,
            descending=descending,
            backend_name=backend_name,
        )
        with self._jobs_lock:
            live = {job.job_id(): job for job in self._jobs}
        if self._store is None:
            return [*query.among(live.values())]
        return [live.get(job.job_id(), job) for job in self._store._find(query, self._as_seen())]

    def _as_seen(self) -> Any:
        """Return the backend that the user knows."""
        return self

    def _brief(self, run_input: Any) -> str:
        """Return what messages call the input of a job."""
        return brief(run_input)

    def _make_job(self, job_id: str, **settings: Any) -> Job:
        return Job(self, job_id, **settings)

    def _task(self, run_input: Any, options: Mapping[str, Any], empty: Task) -> Task | Parts:
        """Return the task of a run, or the tasks that it is divided into."""
        if self._divisible:
            given = {name: unshared(value) for name, value in options.items()}
            pieces, join = cast("Divisible", self.simulator).divide(unshared(run_input), given, max(1, self.workers))
            if not pieces:
                raise ValueError(f"{self.name}: divide must return at least one run, not {pieces!r}")
            first = pieces[0][0]
            # One piece counts if an equal input may come again: a list of circuits would only fill the worker's memory.
            shared = all(part is first for part, _ in pieces) and (len(pieces) > 1 or isinstance(first, Hashable))
            shipped = self._engine.ship(first, label="run_input") if shared else None
            tasks = [empty.with_input(shipped if shared else part, part_options) for part, part_options in pieces]
            return tasks[0] if len(tasks) == 1 else Parts(tasks, join)
        return empty.with_input(run_input, options)

    def close(self, *, wait: bool = True, cancel: bool = False) -> None:
        """End the workers once nothing is left to do; ``cancel`` stops the jobs first. May be called again.

        Args:
            wait: return when everything has ended.
            cancel: cancel the jobs that are not final.
        """
        with self._jobs_lock:
            self._closed = True
        if self._owns_engine:
            self._engine.close(wait=wait, cancel=cancel)
        else:
            self._end_jobs(wait=wait, cancel=cancel)
        if self._recorder is not None:
            self._recorder.close(wait=wait)
        if self._store is not None and self._owns_store and wait:
            self._store.close()

    def _end_jobs(self, *, wait: bool, cancel: bool) -> None:
        """Do for the jobs of this backend what an engine of its own would do by closing."""
        with self._jobs_lock:
            jobs = [job for job in self._jobs if job.status().name not in ("INITIALIZING", "VALIDATING")]
        for job in jobs if cancel else ():
            job.cancel()
        for job in jobs if wait else ():
            job.wait_for_final_state()

    def __enter__(self) -> Backend:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, exc: object, traceback: object) -> None:
        """Wait for all jobs and close; after an exception in the block, or a Ctrl-C while waiting, cancel them."""
        try:
            self.close(cancel=exc_type is not None)
        except KeyboardInterrupt:
            self.close(wait=False, cancel=True)
            raise

    def __repr__(self) -> str:
        return f"<Backend {self.name} {self.workers} workers>"

    def _check_options(self, run_input: Any, options: Mapping[str, Any]) -> None:
        names = tuple(options)
        if self._signature is None or names in self._names_taken:
            return
        try:
            self._signature.bind(run_input, **options)
        except TypeError as exc:
            allowed = [
                p.name
                for p in list(self._signature.parameters.values())[1:]
                if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
            ]
            raise TypeError(
                f"{self.name} cannot be called so: {exc}. Its options: {', '.join(allowed) or 'none'}; job options: "
                "time_limit, memory_limit, retries, grace, tags, metadata, job_id, progress"
            ) from None
        if len(self._names_taken) < NAMES_KEPT:
            self._names_taken.add(names)


@dataclass(frozen=True, slots=True)
class _Description:
    """What messages call a job. Smaller than a closure, of which each job would keep one."""

    job_id: str
    text: str

    def __call__(self) -> str:
        return f"job {self.job_id} ({self.text})"


# ---------------------------------------------------------------- checks


def _checked_limits(time_limit: Any, memory_limit: Any, retries: Any, grace: Any) -> Limits:
    return Limits(
        time_limit=checks.seconds("time_limit", time_limit, positive=True),
        memory_limit=None
        if memory_limit is None
        else checks.whole("memory_limit", memory_limit, lowest=1, expected=" of bytes, or None"),
        retries=checks.whole("retries", retries, lowest=0),
        grace=checks.seconds("grace", grace, optional=False) or 0.0,
    )


def _signature(simulator: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(simulator)
    except (TypeError, ValueError):  # some builtins have none: their own error must do
        return None


def brief(value: object) -> str:
    """Return a short text for an input: its repr if it is plain data, else its type."""
    plain = isinstance(value, (str, bytes, int, float, complex, bool, type(None), list, tuple, dict, set))
    try:
        return reprlib.repr(value) if plain else f"a {type(value).__qualname__}"
    except Exception:  # noqa: BLE001  (the repr of an int of many digits raises, and so may those of the user's classes)
        return f"a {type(value).__qualname__}"
