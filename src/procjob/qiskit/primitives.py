"""`ProcessSampler` and `ProcessEstimator`: any V2 primitive of Qiskit, run by killable worker processes."""

from __future__ import annotations

import copyreg
import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from numbers import Real
from typing import Any, TypeVar

from qiskit import QuantumCircuit
from qiskit.primitives import (
    BaseEstimatorV2,
    BasePrimitiveJob,
    BaseSamplerV2,
    DataBin,
    PrimitiveResult,
    StatevectorEstimator,
    StatevectorSampler,
)
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.providers import JobStatus as QiskitStatus
from qiskit.providers import JobV1

from procjob.engine import Engine, Task
from procjob.job import Job
from procjob.parts import Parts
from procjob.pool import checks
from procjob.qiskit.backend import ProcessBackend
from procjob.qiskit.errors import CircuitError
from procjob.qiskit.errors import JobCancelledError as QiskitJobCancelledError
from procjob.qiskit.errors import JobError as QiskitJobError
from procjob.qiskit.errors import JobTimeoutError as QiskitJobTimeoutError
from procjob.qiskit.machine import megabytes_granted
from procjob.qiskit.pieces import PIECES_PER_WORKER, packed
from procjob.qiskit.pubs import Call, Outcome, PrimitiveSimulation, join, plan
from procjob.qiskit.streams import stream_of
from procjob.qiskit.wrapping import Runner, Wrapping, changed
from procjob.status import JobStatus

P = TypeVar("P", BaseSamplerV2, BaseEstimatorV2)


def _data_bin(shape: tuple[int, ...], data: dict[str, Any]) -> DataBin:
    return DataBin(shape=shape, **data)


def _reduced(data: DataBin) -> tuple[Any, ...]:
    return _data_bin, (data.shape, dict(data.items()))


# Those of Qiskit 1.4 are pickled, but cannot be unpickled: a store would lose results.
if "__setattr__" in vars(DataBin):
    copyreg.pickle(DataBin, _reduced)


class QiskitPrimitiveJob(Job, BasePrimitiveJob[PrimitiveResult[Any], QiskitStatus]):
    """One ``run`` call of a `ProcessSampler` or a `ProcessEstimator`.

    A ``qiskit.primitives.BasePrimitiveJob`` with Qiskit's ``JobStatus`` and errors, and everything that `procjob.Job` has.
    ``backend()`` is the sampler or estimator, ``inputs()`` the pubs.
    """

    _error_type = QiskitJobError
    _timeout_type = QiskitJobTimeoutError
    _cancelled_type = QiskitJobCancelledError

    done, running, cancelled, in_final_state = JobV1.done, JobV1.running, JobV1.cancelled, JobV1.in_final_state

    def circuits(self) -> list[QuantumCircuit]:
        """Return the circuit of each pub."""
        return [pub.circuit for pub in self._inputs]

    def _shown(self, status: JobStatus) -> Any:
        return QiskitStatus[status.name]


class _ProcessPrimitive(Wrapping[P]):
    """What the two have in common: all but the kind of their pubs."""

    def __init__(self, primitive: P, workers: int | None, engine: Engine | None, settings: Mapping[str, Any]) -> None:
        self._wrapped = primitive
        self._sent = _settings_of(primitive)
        self._runner = _Runner(self, primitive, workers=workers, engine=engine, **settings)

    @property
    def name(self) -> str:
        """The name of the wrapped primitive's class."""
        return type(self._wrapped).__name__

    def _submit(self, pubs: list[Any], job_options: Mapping[str, Any]) -> QiskitPrimitiveJob:
        _check_points(self._wrapped, pubs)
        current = _settings_of(self._wrapped)
        if changed(current, self._sent):
            self._runner.ship()
            self._sent = current
        job = self._runner.run(pubs, **job_options)
        assert isinstance(job, QiskitPrimitiveJob)  # what `_Runner` makes
        return job


class ProcessSampler(_ProcessPrimitive[BaseSamplerV2], BaseSamplerV2):
    """A V2 sampler whose ``run`` uses all cores and returns jobs that can be watched, limited and cancelled.

    Pubs, and the points of the parameter values of a pub, are divided among the workers; the result has the shape and the
    order of the undivided one. The metadata of a pub are those of its first points.

    A seed gives the same bits for any number of workers. For StatevectorSampler, Aer's SamplerV2, and BackendSamplerV2 on
    Aer, they are those of the undivided sampler. For others, and for a numpy ``Generator`` as the seed, the points of a pub
    are run in blocks of 8 (of 1, from 10 qubits on), each with a child of the seed for the numbers of pub and block; the
    first block of the first pub has the seed itself. See docs/decisions/0012.

    Everything but ``run`` is that of the wrapped sampler. The workers get a copy that is made here. Later changes of its
    options are noticed, those of its backend are not.

    Args:
        sampler: any ``BaseSamplerV2``.
        workers: number of worker processes; None takes PROCJOB_WORKERS or the cores granted; 0 runs each job in the
            caller's process, inside ``run``.
        engine: what executes the jobs instead; see `procjob.Backend`.
        **settings: further ones of `procjob.Backend`: ``time_limit``, ``memory_limit``, ``retries``, ``grace``,
            ``initializer``, ``initargs``, ``threads_per_worker``, ``environment``, ``warmup``, ``store``.

    Raises:
        TypeError: ``sampler`` is no V2 sampler, or another argument has the wrong type.
        ValueError: an argument is out of range.
        NotPicklableError: the sampler cannot be sent to a worker; the message names what in it.

    Example:
        >>> from qiskit import QuantumCircuit
        >>> from qiskit.circuit import Parameter
        >>> from qiskit.primitives import StatevectorSampler
        >>> from procjob.qiskit import ProcessSampler
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.rx(Parameter("angle"), 0), circuit.measure_all()
        >>> with ProcessSampler(StatevectorSampler(seed=7), workers=2) as sampler:
        ...     job = sampler.run([(circuit, [[0.0], [3.141592653589793]])], shots=100)
        ...     [job.result()[0].data.meas.get_counts(point) for point in range(2)]
        [{'0': 100}, {'1': 100}]
    """

    def __init__(
        self, sampler: BaseSamplerV2, *, workers: int | None = None, engine: Engine | None = None, **settings: Any
    ) -> None:
        _check_primitive("sampler", sampler, BaseSamplerV2, BaseEstimatorV2, "ProcessEstimator")
        super().__init__(sampler, workers, engine, settings)

    def run(self, pubs: Iterable[Any], *, shots: int | None = None, **job_options: Any) -> QiskitPrimitiveJob:
        """Sample every pub and return the job at once.

        Args:
            pubs: circuits, or tuples of a circuit, parameter values and shots, as Qiskit describes them.
            shots: for pubs that do not say; None takes the default of the wrapped sampler.
            **job_options: ``time_limit``, ``memory_limit``, ``retries``, ``grace``, ``tags``, ``metadata``, ``job_id`` and
                ``progress`` of `procjob.Backend.run`. ``time_limit`` runs for all of the run, the other limits hold for each task
                that it is divided into.

        Raises:
            TypeError: ``shots`` is no whole number, something is no pub, or an option is unknown.
            ValueError: ``shots`` is less than 1, or a limit is out of range.
            JobError: a limit that the engine cannot keep.
            CircuitError: a pub has no values for its parameters, or no points; its number is said.
            NotPicklableError: a pub cannot be sent to a worker.
            RuntimeError: the sampler is closed.
        """
        if shots is not None:
            shots = checks.whole("shots", shots, lowest=1, expected=", or None")
        else:  # pubs with the same shots are one run for some samplers, so it has to be known here
            shots = _default(self._wrapped, "default_shots")
        coerced = _coerced(pubs, SamplerPub, shots)
        for index, pub in enumerate(coerced):
            if not pub.circuit.cregs:
                warnings.warn(
                    f"The {index}-th pub's circuit has no output classical registers and so the result will be empty. "
                    "Did you mean to add measurement instructions?",
                    UserWarning,
                    stacklevel=2,
                )
        return self._submit(coerced, job_options)


class ProcessEstimator(_ProcessPrimitive[BaseEstimatorV2], BaseEstimatorV2):
    """A V2 estimator whose ``run`` uses all cores and returns jobs that can be watched, limited and cancelled.

    Pubs, and the points of the parameter values of a pub, are divided among the workers, the observables with them; the
    result has the shape and the order of the undivided one. The metadata of a pub are those of its first points.

    Exact values are those of the undivided estimator. Values that are drawn have the same bits for any number of workers, if
    there is a seed: the points of a pub are run in blocks of 8 (of 1, from 10 qubits on), each with a seed of its own. The
    first block has that of the estimator, so a run of one point is that of the undivided estimator. See
    docs/decisions/0012.

    Each worker has one thread, unless ``threads_per_worker`` says otherwise: sums that several threads share are rounded
    differently. Raise it for a few circuits of many qubits. With ``workers=0`` the threads are those of the caller.

    Everything but ``run`` is that of the wrapped estimator. The workers get a copy that is made here. Later changes of its
    options are noticed, those of its backend are not.

    Args:
        estimator: any ``BaseEstimatorV2``.
        workers: number of worker processes; None takes PROCJOB_WORKERS or the cores granted; 0 runs each job in the
            caller's process, inside ``run``.
        engine: what executes the jobs instead; see `procjob.Backend`.
        **settings: further ones of `procjob.Backend`: ``time_limit``, ``memory_limit``, ``retries``, ``grace``,
            ``initializer``, ``initargs``, ``threads_per_worker``, ``environment``, ``warmup``, ``store``.

    Raises:
        TypeError: ``estimator`` is no V2 estimator, or another argument has the wrong type.
        ValueError: an argument is out of range.
        NotPicklableError: the estimator cannot be sent to a worker; the message names what in it.

    Example:
        >>> from qiskit import QuantumCircuit
        >>> from qiskit.circuit import Parameter
        >>> from qiskit.primitives import StatevectorEstimator
        >>> from procjob.qiskit import ProcessEstimator
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.rx(Parameter("angle"), 0)
        >>> with ProcessEstimator(StatevectorEstimator(), workers=2) as estimator:
        ...     job = estimator.run([(circuit, "Z", [[0.0], [3.141592653589793]])])
        ...     job.result()[0].data.evs.round(9).tolist()
        [1.0, -1.0]
    """

    def __init__(
        self, estimator: BaseEstimatorV2, *, workers: int | None = None, engine: Engine | None = None, **settings: Any
    ) -> None:
        _check_primitive("estimator", estimator, BaseEstimatorV2, BaseSamplerV2, "ProcessSampler")
        if engine is None:
            settings.setdefault("threads_per_worker", 1)
        super().__init__(estimator, workers, engine, settings)

    def run(self, pubs: Iterable[Any], *, precision: float | None = None, **job_options: Any) -> QiskitPrimitiveJob:
        """Estimate the observables of every pub and return the job at once.

        Args:
            pubs: tuples of a circuit, observables, parameter values and precision, as Qiskit describes them.
            precision: for pubs that do not say; None takes the default of the wrapped estimator.
            **job_options: ``time_limit``, ``memory_limit``, ``retries``, ``grace``, ``tags``, ``metadata``, ``job_id`` and
                ``progress`` of `procjob.Backend.run`. ``time_limit`` runs for all of the run, the other limits hold for each task
                that it is divided into.

        Raises:
            TypeError: ``precision`` is no number, something is no pub, or an option is unknown.
            ValueError: ``precision`` is negative or not finite, or a limit is out of range.
            JobError: a limit that the engine cannot keep.
            CircuitError: a pub is not consistent, or has no points; its number is said.
            NotPicklableError: a pub cannot be sent to a worker.
            RuntimeError: the estimator is closed.
        """
        if precision is not None:
            precision = _checked_precision("precision", precision)
        else:  # what is exact can be divided anywhere, so it has to be known here
            precision = _default(self._wrapped, "default_precision")
        coerced = _coerced(pubs, EstimatorPub, precision)
        for index, pub in enumerate(coerced):
            if pub.precision is not None:
                _checked_precision(f"the precision of pub {index}", pub.precision)
        return self._submit(coerced, job_options)


class _Runner(Runner):
    """The `procjob.Backend` behind a primitive, whose jobs are Qiskit's."""

    def __init__(self, owner: _ProcessPrimitive[Any], primitive: Any, **settings: Any) -> None:
        super().__init__(PrimitiveSimulation(primitive), name=type(primitive).__name__, **settings)
        self._owner = owner

    def _make_job(self, job_id: str, **settings: Any) -> QiskitPrimitiveJob:
        return QiskitPrimitiveJob(self._owner, job_id, **settings)

    def _task(self, run_input: Any, options: Mapping[str, Any], empty: Task) -> Parts:
        points = sum(max(1, pub.parameter_values.size) for pub in run_input)
        limit = math.ceil(points / (self.workers * PIECES_PER_WORKER)) if self.workers > 1 else points
        nothing = Call((), (), None)  # what comes of no pub the primitive says itself
        calls = plan(run_input, stream_of(self._owner.wrapped), limit) or [nothing]

        def joined(outcomes: list[list[Outcome]]) -> PrimitiveResult[Any]:
            return join(run_input, calls, [outcome for some in outcomes for outcome in some])

        memory = megabytes_granted() // max(1, self.workers)
        return Parts([replace(empty, args=(piece, memory)) for piece in packed(calls, _points, limit)], joined)


# ---------------------------------------------------------------- checks


def _check_primitive(name: str, value: Any, wanted: type, other: type, instead: str) -> None:
    if isinstance(value, other):
        raise TypeError(f"{name} must be a qiskit.primitives.{wanted.__name__}, not {value!r}; for that, use {instead}")
    if not isinstance(value, wanted):
        hint = "; make an instance of it" if isinstance(value, type) else ""
        raise TypeError(f"{name} must be a qiskit.primitives.{wanted.__name__}, not {value!r}{hint}")
    if isinstance(value, _ProcessPrimitive) or isinstance(getattr(value, "_backend", None), ProcessBackend):
        raise TypeError(f"{name} already runs in worker processes: {value!r}; call its run directly")


def _coerced(pubs: Any, kind: Any, default: Any) -> list[Any]:
    if isinstance(pubs, (str, bytes, Mapping, QuantumCircuit, kind)) or not isinstance(pubs, Iterable):
        raise TypeError(f"pubs must be a list of pubs, not {pubs!r}; put a single one into a list")
    coerced = []
    for index, pub in enumerate(pubs):
        try:
            coerced.append(kind.coerce(pub, default))
        except TypeError as exc:
            raise TypeError(f"pub {index} is no pub: {exc}") from exc
        except Exception as exc:
            raise CircuitError(f"pub {index} cannot be run: {exc}") from exc
    return coerced


def _check_points(primitive: Any, pubs: Iterable[Any]) -> None:
    """Refuse pubs without points where they are not known to work: Aer's estimator crashes on them."""
    if not isinstance(primitive, (StatevectorSampler, StatevectorEstimator)):
        for index, pub in enumerate(pubs):
            if pub.size == 0:
                raise CircuitError(
                    f"pub {index} ({pub.circuit.name!r}) has no points: its shape is {pub.shape}; leave it out"
                )


def _checked_precision(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a real number, or None, not {value!r}")
    number = checks.as_float(value)
    if not 0 <= number < math.inf:
        raise ValueError(f"{name} must be 0 or more, or None, not {value!r}")
    return number


def _default(primitive: Any, name: str) -> Any:
    found = getattr(primitive, name, None)
    return getattr(getattr(primitive, "options", None), name, None) if found is None else found


def _settings_of(primitive: Any) -> dict[str, Any]:
    """Return what a user may change of a primitive: its attributes and its options, dictionaries among them by entry."""
    found = {}
    for where, holder in (("", primitive), ("options.", getattr(primitive, "options", None))):
        for name, value in getattr(holder, "__dict__", {}).items():
            found[where + name] = value
            if isinstance(value, Mapping):
                found |= {f"{where}{name}[{key!r}]": entry for key, entry in value.items()}
    return found


def _points(call: Call) -> int:
    return call.points
