"""What runs in a worker: any Qiskit backend, one piece of a run at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from typing import Any

from qiskit.result import Result

from procjob.pool.pickling import add_note
from procjob.pool.session import in_worker
from procjob.qiskit.pieces import AER_SEED_STEP, Run, divide, join


class Simulation:
    """A Qiskit backend as a simulator of `procjob.Backend`: ``simulation(run, **options)`` gives a Result.

    Args:
        backend: any BackendV2.
        largest: circuits a piece; None chooses.
    """

    def __init__(self, backend: Any, largest: int | None) -> None:
        self._backend = backend
        self._largest = largest
        self._aer = is_aer(backend)

    def __call__(self, run: Run, **options: Any) -> Result:
        """Run circuits, in the thread that asks, and return the simulator's result."""
        if in_worker():
            _stay_in_this_thread()
        if run.binds is not None:
            options["parameter_binds"] = [dict(binds) for binds in run.binds]
        try:
            result: Result = self._backend.run(list(run.circuits), **options).result()
        except Exception as exc:
            names = ", ".join(repr(circuit.name) for circuit in run.circuits[:5])
            more = f" and {len(run.circuits) - 5} more" if len(run.circuits) > 5 else ""
            add_note(exc, f"procjob: raised by {self._backend.name} while it ran {names}{more}")
            raise
        return result

    def divide(
        self, run: Run, options: Mapping[str, Any], workers: int
    ) -> tuple[Sequence[tuple[Run, Mapping[str, Any]]], Callable[[list[Any]], Result]]:
        """See `procjob.backend.Divisible`."""
        seed = options.get("seed_simulator", getattr(self._backend.options, "seed_simulator", None))
        step = AER_SEED_STEP if self._aer else 0 if is_basic(self._backend) else None
        return divide(run, options, workers, seed=seed, seed_step=step, largest=self._largest), join


def is_aer(backend: Any) -> bool:
    """Whether the seeds of a backend's circuits are those of Aer."""
    try:
        from qiskit_aer.backends.aerbackend import AerBackend
    except ImportError:
        return False
    from qiskit.providers.fake_provider import GenericBackendV2  # it runs on Aer where Aer is there

    return isinstance(backend, (AerBackend, GenericBackendV2))


def is_basic(backend: Any) -> bool:
    """Whether a backend is Qiskit's BasicSimulator, which gives each circuit the same seed."""
    from qiskit.providers.basic_provider import BasicSimulator

    return isinstance(backend, BasicSimulator)


class _Here(Executor):
    """Runs what is submitted at once."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as exc:  # noqa: BLE001  (whoever asks for the result gets it)
            future.set_exception(exc)
        return future


def _stay_in_this_thread() -> None:
    """Have Aer run its jobs in the thread that asks: one in a thread of its own would go on after it was stopped."""
    try:
        from qiskit_aer.jobs import aerjob, utils
    except ImportError:
        return
    if not isinstance(utils.DEFAULT_EXECUTOR, _Here):
        for module in (utils, aerjob):
            if hasattr(module, "DEFAULT_EXECUTOR"):
                module.DEFAULT_EXECUTOR = _Here()
