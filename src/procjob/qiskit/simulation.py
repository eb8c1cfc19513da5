"""What runs in a worker: any Qiskit backend, one piece of a run at a time."""

from __future__ import annotations

import copy
import copyreg
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from functools import cache
from types import SimpleNamespace
from typing import Any

from qiskit import QuantumCircuit
from qiskit.providers import Options
from qiskit.result import Result
from qiskit.result.models import ExperimentResult

from procjob.pool.pickling import add_note
from procjob.pool.session import in_worker, report_progress
from procjob.qiskit.builtin import StatevectorBackend
from procjob.qiskit.noise import qubits_used, trimmed
from procjob.qiskit.pieces import AER_SEED_STEP, Cut, Run, divide, not_run, operations, saves


class Simulation:
    """A Qiskit backend as a simulator of `procjob.Backend`: ``simulation(run, **options)`` gives a Result.

    Args:
        backend: any BackendV2.
        max_circuits: experiments a piece; None chooses.
        max_shots: shots a piece; None: all, but for a run of few noisy or dynamic circuits without a seed.
    """

    def __init__(self, backend: Any, max_circuits: int | None = None, max_shots: int | None = None) -> None:
        self._backend = backend
        self.max_circuits = max_circuits
        self.max_shots = max_shots
        self._seed_step = seed_step(backend)

    def __call__(self, run: Run, **options: Any) -> Result:
        """Run circuits, in the thread that asks, and return the simulator's result."""
        if in_worker():
            stay_in_this_thread()
        if run.binds is not None:
            options["parameter_binds"] = [dict(binds) for binds in run.binds]
        if isinstance(self._backend, StatevectorBackend):
            options["first"] = run.first
        noise = self._noise(options)
        if noise is not None:
            options["noise_model"] = trimmed(noise, qubits_used(run.circuits))
        try:
            result: Result = self._backend.run(list(run.circuits), **options).result()
        except Exception as exc:
            names = ", ".join(f"circuit {n} ({c.name!r})" for n, c in enumerate(run.circuits[:5], run.first[0]))
            more = f" and {len(run.circuits) - 5} more" if len(run.circuits) > 5 else ""
            add_note(exc, f"procjob: raised by {self._backend.name} while it ran {names}{more}")
            raise
        if run.divided:  # else it is as good as done
            report_progress(1, 1)
            if not result.results:  # Aer could not load a circuit; those of other pieces must keep their places
                lost = not_run(run, str(result.status).strip())
                result.results = [ExperimentResult.from_dict(each) for each in lost]
        if in_worker():
            _pickle_headers_without_warning(result)
        return result

    def divide(
        self, run: Run, options: Mapping[str, Any], workers: int
    ) -> tuple[Sequence[tuple[Run, Mapping[str, Any]]], Callable[[list[Any]], Result]]:
        """See `procjob.backend.Divisible`."""
        given, shots = self._option("seed_simulator", options), _whole(self._option("shots", options))
        seed = _whole(given)
        if seed is None and given is not None:
            raise TypeError(f"seed_simulator must be a whole number or None, not {given!r}")
        circuits = self.max_circuits or self._option("max_job_size", options)
        most = self._backend.max_circuits if self._seed_step is None else None  # Aer takes any number
        cut = Cut(circuits, self._shots_a_piece(run, options, workers, shots), seed, self._seed_step, most)
        pieces, joined = divide(run, options, cut, workers, shots or 1)
        if options.get("noise_model") is not None:  # it travels with each piece
            for part, own in pieces:
                own["noise_model"] = trimmed(own["noise_model"], qubits_used(part.circuits))
        return pieces, joined

    def _shots_a_piece(self, run: Run, options: Mapping[str, Any], workers: int, shots: int | None) -> int | None:
        """Return what the user said, or divide where every shot is simulated for itself and no seed fixes the counts."""
        if not shots or any(map(saves, run.circuits)) or self._option("meas_return", options) == "avg":
            return None  # what is saved in a circuit, or an average, cannot be joined
        noisy = self._noise(options) is not None
        most = self.max_shots or (self._option("max_shot_size", options) if noisy else None)
        if most is not None:
            return int(most)
        free = workers // sum(run.experiments())
        if free < 2 or self._seed_step is None or self._option("seed_simulator", options) is not None:
            return None  # what another backend measures besides counts, nobody knows
        return math.ceil(shots / free) if noisy or any(map(is_dynamic, run.circuits)) else None

    def __getstate__(self) -> dict[str, Any]:
        """The workers' copy has no ``executor``: that is what runs the pieces, and no worker needs it."""
        backend = self._backend
        if getattr(backend.options, "executor", None) is not None:
            backend = copy.copy(backend)
            backend._options = Options(**{**dict(backend.options.items()), "executor": None})
        return {**self.__dict__, "_backend": backend}

    def _option(self, name: str, options: Mapping[str, Any]) -> Any:
        value = options.get(name)  # Aer takes None for not given
        return getattr(self._backend.options, name, None) if value is None else value

    def _noise(self, options: Mapping[str, Any]) -> Any:
        """Return the noise model of a run; if that is None, it is none: Aer has it so for this option."""
        own = getattr(self._backend.options, "noise_model", None)
        return options.get("noise_model", own)


def _whole(value: Any) -> int | None:
    """Return a number that is whole, whatever its type; None for anything else."""
    whole = value.is_integer() if isinstance(value, float) else hasattr(value, "__index__")
    return int(value) if whole else None


def is_dynamic(circuit: QuantumCircuit) -> bool:
    """Whether what happens in a circuit depends on what was measured before."""
    return any(op.name == "reset" or getattr(op, "blocks", None) for op in operations(circuit))


def seed_step(backend: Any) -> int | None:
    """Return by how much ``seed_simulator`` grows from one experiment to the next; None: nobody knows."""
    if is_aer(backend):
        return AER_SEED_STEP
    # Ours is told the numbers of circuit and point. Qiskit's own draws for one circuit after the other since 2.0.
    return 0 if isinstance(backend, StatevectorBackend) else None


def is_aer(backend: Any) -> bool:
    """Whether a backend runs on Aer: its own, and Qiskit's GenericBackendV2."""
    try:
        from qiskit_aer.backends.aerbackend import AerBackend
    except ImportError:
        return False
    # By name: to import the class makes Qiskit 1.4 warn of what is deprecated in its module.
    return isinstance(backend, AerBackend) or any(cls.__name__ == "GenericBackendV2" for cls in type(backend).__mro__)


def _pickle_headers_without_warning(result: Result) -> None:
    """Have the headers of Qiskit 1.4, whose class warns when it is called, unpickled without calling it."""
    headers = [result.header, *(getattr(experiment, "header", None) for experiment in result.results)]
    for kind in {type(header) for header in headers if isinstance(header, SimpleNamespace)}:
        copyreg.pickle(kind, _reduce_header)


def _reduce_header(header: Any) -> tuple[Any, ...]:
    return type(header).__new__, (type(header),), vars(header)


class _Here(Executor):
    """Runs what is submitted at once."""

    def __init__(self, max_workers: int | None = None) -> None: ...

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as exc:  # noqa: BLE001  (whoever asks for the result gets it)
            future.set_exception(exc)
        return future


@cache  # once a worker: a job that is stopped in the middle of an import costs its worker
def stay_in_this_thread() -> None:
    """Have Aer and Qiskit's primitives run their jobs in the thread that asks.

    One in a thread of its own would go on after it was stopped.
    """
    from qiskit.primitives import primitive_job

    if primitive_job.ThreadPoolExecutor is not _Here:
        primitive_job.ThreadPoolExecutor = _Here
    try:
        from qiskit_aer.jobs import aerjob, utils
    except ImportError:
        return
    if not isinstance(utils.DEFAULT_EXECUTOR, _Here):
        for module in (utils, aerjob):
            if hasattr(module, "DEFAULT_EXECUTOR"):
                module.DEFAULT_EXECUTOR = _Here()
