"""`sweep` and `Sweep`: one target at many points, as one job with partial results."""

from __future__ import annotations

import inspect
import os
import platform
import re
import secrets
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, TypedDict, Unpack, overload

from procjob.engine import Engine, Task, checked_engine, make_engine
from procjob.errors import JobError
from procjob.job import Job
from procjob.pool import checks
from procjob.pool.actions import Limits
from procjob.progress import Bar, is_wanted
from procjob.simulators import Circuit, Plan
from procjob.status import JobStatus
from procjob.store import Store
from procjob.sweeps.gathered import Gathered
from procjob.sweeps.identity import encode
from procjob.sweeps.keeping import StoreKeeper, noted
from procjob.sweeps.points import Points, Stream, as_points
from procjob.sweeps.result import SweepResult
from procjob.sweeps.runner import Runner, Setting, settings_of_workers
from procjob.sweeps.targets import (
    CircuitTarget,
    FunctionTarget,
    Observables,
    QiskitTarget,
    Target,
    VectorizedTarget,
    named,
)
from procjob.sweeps.versions import library_versions

_UNSET: Any = object()


class Sweep(Job):
    """A target at many points: a job whose result is a `SweepResult`, partial while it runs.

    Made by `procjob.sweep` with ``wait=False``; for the arguments and what is raised see there. One that you make yourself begins with
    `submit`; before that `reusable` tells what its store has.

    Example:
        >>> import procjob
        >>> def square(x):
        ...     return x * x
        >>> job = procjob.sweep(square, procjob.grid(x=range(100)), workers=2, wait=False)
        >>> int(job.result(timeout=60)["square"].sum())
        328350
        >>> job.progress().done, job.status().name
        (100, 'DONE')
    """

    def __init__(
        self,
        target: Any,
        points: Any,
        *,
        seed: int | None = None,
        workers: int | None = None,
        engine: Engine | None = None,
        backend: Any = None,
        store: Store | str | os.PathLike[str] | None = None,
        progress: bool | None = None,
        errors: Literal["raise", "store"] = "raise",
        time_limit: float | None = None,
        retries: int = 0,
        shots: int | None = _UNSET,
        observables: Observables | None = None,
        version: str | None = None,
        tags: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        if errors not in ("raise", "store"):
            raise ValueError(f"errors must be 'raise' or 'store', not {errors!r}")
        if version is not None:
            checks.text("version", version)
        words = checks.words("tags", tags)
        if metadata is not None and not isinstance(metadata, Mapping):
            raise TypeError(f"metadata must be a mapping, not {metadata!r}")
        notes = dict(metadata or {})
        limits = Limits(
            time_limit=checks.seconds("time_limit", time_limit, positive=True),
            retries=checks.whole("retries", retries, lowest=0),
        )
        shown = is_wanted(progress)
        given_seed = None if seed is None else checks.whole("seed", seed, lowest=0)
        source = as_points(points)
        what = as_target(target, backend=backend, shots=shots, observables=observables, version=version)
        what.check(source.names, source.axes() if isinstance(source, Points) else ())
        if isinstance(source, Points) and (what.seeded or store is not None):
            _check_identity(source)
        parts = {} if store is None else what.parts()  # now: workers compare what they import
        chosen = (
            make_engine(workers, settings_of_workers(what, limits))
            if engine is None
            else checked_engine(engine, workers, {})
        )
        if limits.time_limit is not None and not chosen.capabilities.can_interrupt:
            raise JobError("time_limit needs worker processes, which can be stopped; drop it or take workers=1 or more")
        if limits.retries and chosen.workers and not chosen.capabilities.survives_crash:  # without workers none dies
            raise JobError("retries needs worker processes, which can be replaced; drop it or leave out engine=")
        identity = uuid.uuid4().hex
        self._name, self._points = what.name, source
        self._gathered = Gathered(source)
        self._provenance = _provenance(identity)
        self._noted = noted(words, notes)
        self._keeper: StoreKeeper | None = None
        self._seed = secrets.randbits(63) if given_seed is None else given_seed
        if store is not None:
            self._keeper = StoreKeeper(
                store,
                what,
                parts,
                source,
                self._gathered,
                seed=given_seed,
                drawn=self._seed,
                provenance=self._provenance,
                tags=words,
                metadata=notes,
            )
        setting = Setting(what, source, self.seed, errors == "raise", limits, engine is None)
        total = None if isinstance(source, Stream) else len(source)
        runner = Runner(
            setting,
            chosen,
            self._gathered,
            keeper=self._keeper,
            bar=lambda: Bar(total, what.name, "point") if shown else None,
            finish=self._made,
        )
        super().__init__(None, identity, task=Task(_nothing), engine=runner, inputs=source, tags=words)
        self.metadata.update(notes)

    def result(self, timeout: float | None = None, *, partial: bool = False) -> SweepResult:
        """Wait for the result and return it.

        Args:
            timeout: seconds to wait at most; None waits for ever.
            partial: return at once what there is, whatever has happened.

        Raises:
            JobTimeoutError: the wait ran out; the sweep goes on.
            JobCancelledError: the sweep was cancelled; ``partial=True`` gives what had been finished.
            Exception: what the first point that failed has raised, unless ``errors="store"``; likewise.
        """
        if partial:
            return self._made()
        found: SweepResult = super().result(timeout)
        return found

    @property
    def seed(self) -> int:
        """The seed of the sweep, given or drawn; with a store, one that is drawn is final when the sweep is submitted."""
        return self._seed if self._keeper is None else self._keeper.seed

    @property
    def seed_is_from_store(self) -> bool:
        """Whether the seed is the one that was drawn when the store was first given the same target."""
        return self._keeper is not None and self._keeper.seed_is_from_store

    def reusable(self) -> int:
        """Return how many of the points the store has, so that they would not be run; 0 without a store.

        Raises:
            JobError: the points come from an iterator, which is read only once.
            StoreError: the store cannot be read.
        """
        if self._keeper is None:
            return 0
        if isinstance(self._points, Stream):
            raise JobError("points of an iterator are not known before they run; make a list of them")
        try:
            return self._keeper.count_done(self._points)
        finally:
            self._keeper.close()

    def _made(self) -> SweepResult:
        known = self._provenance | self._noted | {"reused": self._gathered.reused}
        return self._gathered.result(self.seed, self._name, known)

    def _interrupted(self) -> str:
        """Return what somebody who pressed Ctrl-C wants to know."""
        gathered = self._gathered
        finished = f"procjob: {gathered.done} points of the sweep of {self._name} were finished"
        if self._keeper is None:
            return f"{finished}; with store=FILE they would have been kept"
        return f"{finished} and are kept in {self._keeper.store.path}; the same call goes on from there"


class SweepOptions(TypedDict, total=False):
    """The options of a sweep, those of `Sweep`, for type checkers."""

    seed: int | None
    workers: int | None
    engine: Engine | None
    backend: Any
    store: Store | str | os.PathLike[str] | None
    progress: bool | None
    errors: Literal["raise", "store"]
    time_limit: float | None
    retries: int
    shots: int | None
    observables: Sequence[Any] | Mapping[str, Any] | None
    version: str | None
    tags: Iterable[str]
    metadata: Mapping[str, Any] | None


@overload
def sweep(target: Any, points: Any, *, wait: Literal[True] = True, **options: Unpack[SweepOptions]) -> SweepResult: ...
@overload
def sweep(target: Any, points: Any, *, wait: Literal[False], **options: Unpack[SweepOptions]) -> Sweep: ...
@overload
def sweep(target: Any, points: Any, *, wait: bool, **options: Unpack[SweepOptions]) -> SweepResult | Sweep: ...


def sweep(target: Any, points: Any, *, wait: bool = True, **options: Unpack[SweepOptions]) -> SweepResult | Sweep:
    """Run a target at every point, on all cores, and return the results as arrays in the shape of the grid.

    A result belongs to its point: the same seed gives the same bits for any number of workers, any order, and whatever other points
    there are. Points with equal values are one point, with equal random numbers; for repetitions give them an axis. Each of them is
    computed all the same, unless a store has it when its turn comes.

    Args:
        target: a function, called with the values of a point as keywords, that returns a number, an array, a mapping of
            names to such, or any other object; a function marked by `vectorized`; a `Circuit` with free parameters, or one of
            Qiskit's. If a function takes ``seed``, an int of 63 bits, or ``rng``, a `numpy.random.Generator` of that seed, and no axis is
            called so, it gets those of the point. ``np.random.seed`` and others that take 32 bits only want ``seed % 2**32``; ``rng`` is
            simpler. A value that can be changed is a copy for each point; what else the function refers to is not, and if it changes that, a
            result depends on which points its worker had before.
        points: made by `grid` and `zipped`, or an iterable of mappings, which is read as far as it is needed, in a thread of its own.
            It may choose points by the partial results of a `Sweep`.
        wait: return the result when it is there; False: return a `Sweep`, a job, at once. A script that ends before it stops it.
        **options: the options of a sweep:

            - ``seed``: of all random numbers, an int of 0 or more; None draws one, which the result names, or goes on with the one that
              was drawn when the store was first given the same target.
            - ``workers``: number of worker processes; None: the cores granted; 0: in the caller, for debuggers.
            - ``engine``: what executes it instead; stays yours to close.
            - ``backend``: of Qiskit, on which a circuit of Qiskit's runs in the workers instead of the built-in simulator.
              Each point has the counts, or means, of its own seed, if the backend takes one. The circuit has to be transpiled for it.
            - ``store``: path of a file, or a `Store`: what it has of this target at these points (and with this seed, if it takes
              random numbers) is not run again, and each chunk of points is written to it when it ends. So after Ctrl-C, a crash or a power cut
              the same call goes on. Points that failed are run again. A target of the same name whose code, or data
              that the code refers to, has changed, is another target; so is each version of Python. Installed packages count by
              their names: points that other versions of procjob, NumPy, Qiskit or Aer have computed are reused, and a
              `UserWarning` says so; to compute them again, take another file or ``version``.
            - ``version``: says instead of the code (for a circuit: instead of circuit and backend) whether a target is the same.
            - ``progress``: a bar on stderr; None: if that is a terminal (see ``PROCJOB_PROGRESS``).
            - ``errors``: "raise": the first point that fails ends the sweep with what it raised; "store": the result has it
              in ``errors``.
            - ``time_limit``: seconds that one point may execute. What the target imports when it arrives in a worker does not count, what it
              imports when it is called does; with ``engine`` both do, for the first point of each worker.
            - ``retries``: how often a point is run again after its worker died.
            - ``shots``: of a circuit; None for exact values. The default is 1024, or None with observables; with a backend 1024.
            - ``observables``: of a circuit, Pauli sums, or a mapping of names to such; their means are the results.
            - ``tags``: words to find the sweep by, see `Store.sweeps`.
            - ``metadata``: a mapping, kept with the sweep. Both are also in ``result.metadata``, under these names.

    Raises:
        TypeError: an argument has the wrong type; the target does not take an axis, or needs one that is not there; a value has no stable
            identity, and a store or random numbers need one.
        ValueError: an argument is out of range; an axis is empty or not finite.
        StoreError: the store cannot be used; nothing has been run, or what had been finished is in ``Sweep.result(partial=True)``.
        JobError: ``time_limit`` without worker processes; ``retries`` on somebody else's executor; with a store, workers import other
            code of the user's than is here.
        Exception: what the first point that failed has raised, with a note of its values.

    Example:
        >>> import numpy as np
        >>> import procjob
        >>> def energy(theta, depth):
        ...     return depth * np.cos(theta)
        >>> result = procjob.sweep(energy, procjob.grid(theta=[0.0, np.pi], depth=[1, 2, 3]), workers=2)
        >>> result["energy"]
        array([[ 1.,  2.,  3.],
               [-1., -2., -3.]])
    """
    unknown = sorted(options.keys() - _OPTIONS.keys())
    if unknown:
        raise TypeError(f"sweep has no option {unknown[0]!r}; it has {', '.join(_OPTIONS)} and wait")
    job = Sweep(target, points, **options)
    try:
        job.submit()
        return job.result() if wait else job
    except KeyboardInterrupt as interrupt:
        try:
            submitted = _cancel(job)
        finally:  # nobody gets the job: stop it also if a second Ctrl-C strikes, which a wrapper has passed on, say
            _cancel(job)
        if submitted:
            job.wait_for_final_state()
            interrupt.add_note(job._interrupted())
        raise


def _cancel(job: Sweep) -> bool:
    """Cancel a sweep, and return whether it had been submitted."""
    if job.status() is JobStatus.INITIALIZING:
        return False
    job.cancel()
    return True


#: The options of a sweep, as `Sweep` has them.
_OPTIONS = {
    name: each
    for name, each in inspect.signature(Sweep).parameters.items()
    if each.kind is inspect.Parameter.KEYWORD_ONLY
}
# What editors and `help` show.
sweep.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # functions take attributes
    [*inspect.signature(Sweep).parameters.values(), inspect.signature(sweep).parameters["wait"]]
)


def as_target(target: Any, *, backend: Any, shots: Any, observables: Any, version: str | None) -> Target:
    """Return what a user gave as a target in its right form.

    Raises:
        TypeError: it is none, or something else does not go with it.
        ValueError: an argument is out of range.
    """
    if _is_of_qiskit(target):
        return _circuit_of_qiskit(target, backend, shots, observables, version)
    if backend is not None:
        raise TypeError(f"backend= is for circuits of Qiskit, not for {target!r:.200}; leave it out")
    if isinstance(target, (Circuit, Plan)):
        return _circuit(target, "circuit", shots, observables, version)
    if not callable(target):
        raise TypeError(f"target must be a function, a Circuit or a Qiskit circuit, not {target!r:.200}")
    for name, value in (("shots", shots), ("observables", observables)):
        if value is not _UNSET and value is not None:
            raise TypeError(f"{name} is for circuits; a function takes it as an axis, or by functools.partial")
    kind = VectorizedTarget if getattr(target, "__procjob_vectorized__", False) else FunctionTarget
    return kind(target, version)


def _is_of_qiskit(target: Any) -> bool:
    kinds = type(target).__mro__
    return any(kind.__name__ == "QuantumCircuit" and kind.__module__.partition(".")[0] == "qiskit" for kind in kinds)


def _circuit_of_qiskit(circuit: Any, backend: Any, shots: Any, observables: Any, version: str | None) -> Target:
    from procjob.qiskit import from_qiskit
    from procjob.qiskit.points import CircuitOnBackend

    # Qiskit numbers circuits that have no name: another one each time is none.
    name = "circuit" if re.fullmatch(r"circuit-\d+(-\d+)?", circuit.name) else circuit.name
    if backend is None:
        return _circuit(from_qiskit(circuit), name, shots, observables, version)
    count = 1024 if shots is _UNSET else checks.whole("shots", shots, lowest=1)
    return QiskitTarget(CircuitOnBackend(backend, circuit, name, shots=count, observables=named(observables)), version)


def _circuit(circuit: Circuit | Plan, name: str, shots: Any, observables: Any, version: str | None) -> Target:
    taken = (None if observables is not None else 1024) if shots is _UNSET else shots
    return CircuitTarget(circuit, name, shots=taken, observables=observables, version=version)


def _check_identity(points: Points) -> None:
    for name, values in points.axes():
        if values.dtype == object:
            for value in values:
                encode(value, f"the value {value!r:.50} of axis {name}")


def _provenance(identity: str) -> dict[str, Any]:
    return {
        "sweep_id": identity,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **library_versions(),
        "python": platform.python_version(),
    }


def _nothing() -> None:
    """Stand for the call of a sweep, which is many."""
