"""`ProcessBackend`: any Qiskit backend, run by killable worker processes."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import inspect
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Never

import psutil
from qiskit import QuantumCircuit
from qiskit.providers import BackendV2, Options
from qiskit.transpiler import Target

from procjob.backend import Backend
from procjob.engine import Engine, ExecutorEngine
from procjob.errors import NotPicklableError
from procjob.parts import Parts
from procjob.pool import checks
from procjob.pool.actions import Limits
from procjob.pool.environment import cores_granted
from procjob.pool.pickling import dumps
from procjob.qiskit.builtin import StatevectorBackend
from procjob.qiskit.errors import CircuitError
from procjob.qiskit.job import QiskitJob
from procjob.qiskit.pieces import Run, free_parameters
from procjob.qiskit.simulation import Simulation, is_aer
from procjob.simulators import StatevectorSimulator

#: Qubits from which on Aer uses threads for one circuit (its ``statevector_parallel_threshold``).
WIDE = 14
#: Run options of Qiskit's own layers (its backend primitives, say), which hand them to any backend: passed on.
RUN_OPTIONS = ("meas_level", "meas_return", "rep_delay", "init_qubits", "use_measure_esp", "memory_slots")
JOB_OPTIONS = ("time_limit", "memory_limit", "retries", "grace", "tags", "metadata", "job_id")
_PLAIN = (bool, int, float, complex, str, bytes, type(None))


class ProcessBackend(BackendV2):
    """A Qiskit backend whose ``run`` uses all cores and returns jobs that can be watched, limited and cancelled.

    Everything but ``run`` is that of the wrapped backend: ``target``, ``options``, ``configuration()`` and the rest. The
    workers get a copy of it that is made here. Later changes of its options are noticed, and those made with
    ``set_options``; other changes of the wrapped object are not.

    Aer's options ``executor``, ``max_job_size`` and ``max_shot_size``, which Aer itself ignores, are honoured: pieces of
    that size run on that executor.

    Circuits and parameter values are divided among the workers. For AerSimulator and its relatives a seed gives the same
    counts as without procjob, for any number of workers. A run with a seed on another backend is not divided unless
    ``max_circuits_per_task`` says so.

    Args:
        backend: any BackendV2, or the built-in `procjob.StatevectorSimulator`; None takes AerSimulator where qiskit-aer
            is installed, else BasicSimulator.
        workers: number of worker processes; None takes PROCJOB_WORKERS or the cores granted; 0 runs each job in the
            caller's process, inside ``run``.
        engine: what executes the jobs instead; see `procjob.Backend`.
        max_circuits_per_task: most experiments that a worker runs in one go; None chooses.
        max_shots_per_task: most shots of a circuit that a worker runs in one go. The seeds of the blocks after the first
            are those of `procjob.qiskit.shots`, so the counts differ from those of the undivided run, but depend on
            nothing else. None divides the shots of few noisy or dynamic circuits without a seed, and no others.
            Circuits that save something are never divided so.
        **settings: further ones of `procjob.Backend`: ``time_limit``, ``memory_limit``, ``retries``, ``grace``,
            ``initializer``, ``initargs``, ``threads_per_worker``, ``environment``.

    Raises:
        TypeError: ``backend`` is no BackendV2, or another argument has the wrong type.
        ValueError: an argument is out of range.
        NotPicklableError: the backend cannot be sent to a worker; the message names what in it.

    Example:
        >>> from qiskit import QuantumCircuit
        >>> from qiskit.providers.basic_provider import BasicSimulator
        >>> from procjob.qiskit import ProcessBackend
        >>> bell = QuantumCircuit(2)
        >>> _ = bell.h(0), bell.cx(0, 1), bell.measure_all()
        >>> with ProcessBackend(BasicSimulator(), workers=2) as backend:
        ...     job = backend.run([bell, bell], shots=100, seed_simulator=7)
        ...     sorted(job.result().get_counts(1))
        ['00', '11']
    """

    def __init__(
        self,
        backend: BackendV2 | StatevectorSimulator | None = None,
        *,
        workers: int | None = None,
        engine: Engine | None = None,
        max_circuits_per_task: int | None = None,
        max_shots_per_task: int | None = None,
        **settings: Any,
    ) -> None:
        if backend is None:
            backend = _default_backend()
        if isinstance(backend, StatevectorSimulator):
            backend = StatevectorBackend(backend)
        if not isinstance(backend, BackendV2):
            raise TypeError(
                f"backend must be a qiskit.providers.BackendV2 or a procjob StatevectorSimulator, not {backend!r}"
            )
        most = [
            value if value is None else checks.whole(name, value, lowest=1, expected=", or None")
            for name, value in (
                ("max_circuits_per_task", max_circuits_per_task),
                ("max_shots_per_task", max_shots_per_task),
            )
        ]
        executor = getattr(backend.options, "executor", None)
        if executor is not None and engine is None and workers is None:
            engine = ExecutorEngine(executor)
        self._wrapped = backend
        super().__init__(
            provider=backend.provider,
            name=backend.name,
            description=backend.description,
            online_date=backend.online_date,
            backend_version=backend.backend_version,
        )
        self._cores, self._memory = cores_granted(), psutil.virtual_memory().total // 2**20
        self._aer = is_aer(backend)
        if self._aer and engine is None and "threads_per_worker" not in settings:
            # Aer never uses more threads than this says; each run says how many it may use (`_share`).
            given = settings.get("environment") or {}
            settings["environment"] = {"OMP_NUM_THREADS": str(self._cores), **given}
        try:
            self._runner = _Runner(self, Simulation(backend, *most), workers=workers, engine=engine, **settings)
        except NotPicklableError:
            dumps(backend, label="backend")  # raises with the path from there
            raise
        self._sent = _options_of(backend)
        self._stale = False
        self._original: ProcessBackend | None = None  # whose workers a copy uses

    # ------------------------------------------------------------ what is the wrapped one's

    @property
    def wrapped(self) -> BackendV2:
        """The backend that runs in the workers."""
        return self._wrapped

    @property
    def target(self) -> Target:
        """See the wrapped backend."""
        return self._wrapped.target

    @property
    def max_circuits(self) -> int | None:
        """See the wrapped backend."""
        limit: int | None = self._wrapped.max_circuits
        return limit

    def set_options(self, **fields: Any) -> None:
        """Set options of the wrapped backend; the runs after this have them."""
        self._wrapped.set_options(**fields)
        known = _options_of(self._wrapped)
        self._stale |= any(field not in known for field in fields)  # it is kept elsewhere: Aer's configuration, say

    @classmethod
    def _default_options(cls) -> Options:
        return Options()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_wrapped" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self._wrapped, name)

    # ------------------------------------------------------------ jobs

    @property
    def workers(self) -> int:
        """Number of tasks that can execute at once; 0: in the caller."""
        return self._runner.workers

    def run(
        self,
        run_input: QuantumCircuit | Iterable[QuantumCircuit] = (),
        parameter_binds: Iterable[Mapping[Any, Any]] | None = None,
        **options: Any,
    ) -> QiskitJob:
        """Run circuits and return their job at once.

        Args:
            run_input: one or more circuits; they are not changed. The wrapped backend's own name for it may be used
                instead: ``circuits`` for Aer.
            parameter_binds: for each circuit, a list of values for each of its parameters.
            **options: what the wrapped backend's ``run`` takes (``shots``, ``seed_simulator``, ...), and the job options
                ``time_limit``, ``memory_limit``, ``retries``, ``grace``, ``tags``, ``metadata`` and ``job_id`` of
                `procjob.Backend.run`. ``time_limit`` is that of the whole run, ``memory_limit`` and ``retries`` hold for
                each task that it is divided into.

        Raises:
            TypeError: an option that neither of the two takes, or something that is no circuit.
            CircuitError: a parameter has no value, or the values do not fit the circuits.
            NotPicklableError: a circuit or an option cannot be sent to a worker.
            RuntimeError: the backend is closed.
        """
        if isinstance(run_input, tuple) and not run_input:
            their_name = _parameters(self._wrapped.run)[:1]
            run_input = options.pop(their_name[0], ()) if their_name else ()
        circuits = _checked_circuits(run_input)
        binds = _checked_binds(circuits, parameter_binds)
        self._check_options(options)
        run = Run(circuits, binds)
        try:
            news = self._news(options)
            share = {key: value for key, value in self._share(run).items() if options.get(key) is None}
            job = self._runner.run(run, **{**news, **options, **share})
        except NotPicklableError:
            for index, circuit in enumerate(circuits):
                dumps(circuit, label=f"circuit {index} ({circuit.name!r})")  # raises for the one that it is about
            raise
        assert isinstance(job, QiskitJob)  # what `_Runner` makes
        return job

    def close(self, *, wait: bool = True, cancel: bool = False) -> None:
        """End the workers; see `procjob.Backend.close`."""
        self._runner.close(wait=wait, cancel=cancel)

    def __enter__(self) -> ProcessBackend:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._runner.__exit__(exc_type, exc, traceback)

    def __reduce__(self) -> Never:
        raise TypeError("a ProcessBackend has workers and cannot be pickled; make one around its `wrapped`")

    def __copy__(self) -> ProcessBackend:
        return self._around(copy.copy(self._wrapped))

    def __deepcopy__(self, memo: dict[int, Any]) -> ProcessBackend:
        return self._around(copy.deepcopy(self._wrapped, memo))

    def _around(self, wrapped: BackendV2) -> ProcessBackend:
        """Return a backend around a copy of the wrapped one. It uses the workers of this one, and keeps them."""
        runner = self._runner
        twin = ProcessBackend(
            wrapped,
            engine=runner.engine,
            max_circuits_per_task=runner.simulation.max_circuits,
            max_shots_per_task=runner.simulation.max_shots,
            **dataclasses.asdict(runner.limits),
        )
        twin._original = self
        return twin

    def __repr__(self) -> str:
        return f"ProcessBackend({self._wrapped!r}, workers={self.workers})"

    def _share(self, run: Run) -> dict[str, Any]:
        """Return the options that keep Aer's threads and memory within what the machine has, for all workers together.

        Each worker has its share of the cores; a run of few wide circuits that has the workers for itself has them all.
        """
        if not self._aer or self.workers == 0:
            return {}
        tasks = self.workers
        if max(circuit.num_qubits for circuit in run.circuits) >= WIDE and not self._runner.busy():
            tasks = min(tasks, sum(run.experiments()))
        share = {
            "max_parallel_threads": max(1, self._cores // tasks),
            "max_memory_mb": self._memory // tasks,
        }
        return {key: value for key, value in share.items() if not getattr(self._wrapped.options, key, None)}

    def _news(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that were changed since the workers got their copy; make a new copy for the heavy ones.

        One that a run gives as None is as a rule that of the backend, so the workers need a new copy for it, too.
        """
        current = _options_of(self._wrapped)
        changed = {key for key in current.keys() | self._sent.keys() if not _same(current, self._sent, key)}
        light = all(isinstance(current.get(key), _PLAIN) and current.get(key) is not None for key in changed)
        if self._stale or not light or any(key in options and options[key] is None for key in changed):
            self._runner.ship()
            self._sent, self._stale = current, False
            return {}
        return {key: current[key] for key in changed}

    def _check_options(self, options: Mapping[str, Any]) -> None:
        allowed = (*JOB_OPTIONS, *RUN_OPTIONS)
        strange = [name for name in options if name not in allowed and name not in self._wrapped.options]
        if options.get("executor") is not None:
            raise TypeError("executor cannot be given to run: give it to AerSimulator, or to ProcessBackend as engine=")
        for name in strange:
            known = {*_options_of(self._wrapped), *JOB_OPTIONS, *_parameters(self._wrapped.run)[1:]}
            if name not in known and not _aer_takes(self._wrapped, name):
                close = difflib.get_close_matches(name, known, n=3)
                hint = f"did you mean {' or '.join(close)}?" if close else f"it takes {', '.join(sorted(known))}"
                raise TypeError(f"{self.name} takes no option {name!r}; {hint}")


def _pass_on(name: str) -> property:
    return property(lambda self: getattr(self._wrapped, name), doc="See the wrapped backend.")


# What BackendV2 brings along must not hide what the wrapped backend has instead.
for _name in vars(BackendV2).keys() - vars(ProcessBackend).keys():
    if not _name.startswith("_") and _name != "version":
        setattr(ProcessBackend, _name, _pass_on(_name))


class _Runner(Backend):
    """The `procjob.Backend` behind a `ProcessBackend`, whose jobs are Qiskit's."""

    def __init__(self, owner: ProcessBackend, simulation: Simulation, **settings: Any) -> None:
        super().__init__(simulation, name=owner.name, **settings)
        self.simulation = simulation
        self._owner = owner

    @property
    def limits(self) -> Limits:
        """Those of a job that sets none."""
        return self._limits

    def busy(self) -> bool:
        """Whether a job of this backend is not final."""
        with self._jobs_lock:
            jobs = list(self._jobs)
        return not all(job.in_final_state() for job in jobs)

    def ship(self) -> None:
        """Have the jobs from now on use the simulator as it is now."""
        self._shipped = self._engine.ship(self.simulator, label="backend")

    def _brief(self, run_input: Run) -> str:
        names = [repr(circuit.name) for circuit in run_input.circuits]
        return f"circuit{'s' * (len(names) > 1)} {', '.join(names[:3])}{', ...' * (len(names) > 3)}"

    def _make_job(self, job_id: str, **settings: Any) -> QiskitJob:
        job = QiskitJob(self._owner, job_id, **settings)
        task = settings["task"]
        if isinstance(task, Parts):
            job.pieces, job.join = tuple(part.args[0] for part in task.tasks), task.join
            task = task.tasks[0]
        job.threads = task.kwargs.get("max_parallel_threads")
        return job


# ---------------------------------------------------------------- checks


def _default_backend() -> BackendV2:
    try:
        from qiskit_aer import AerSimulator
    except ImportError:
        from qiskit.providers.basic_provider import BasicSimulator

        return BasicSimulator()
    return AerSimulator()


def _options_of(backend: BackendV2) -> dict[str, Any]:
    return dict(backend.options.items())


def _same(one: Mapping[str, Any], other: Mapping[str, Any], key: str) -> bool:
    if key not in one or key not in other:
        return False
    a, b = one[key], other[key]
    return a is b or (type(a) is type(b) and isinstance(a, _PLAIN) and a == b)


def _parameters(run: Any) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [name for name, parameter in inspect.signature(run).parameters.items() if parameter.kind in kinds]


def _aer_takes(backend: BackendV2, name: str) -> bool:
    try:
        from qiskit_aer.backends.aerbackend import AerBackend
        from qiskit_aer.backends.controller_wrappers import AerConfig
    except ImportError:
        return False
    return isinstance(backend, AerBackend) and not name.startswith("_") and hasattr(AerConfig, name)


def _checked_circuits(run_input: Any) -> list[QuantumCircuit]:
    circuits = [run_input] if isinstance(run_input, QuantumCircuit) else run_input
    if isinstance(circuits, (str, bytes)) or not isinstance(circuits, Iterable):
        raise TypeError(f"run_input must be a QuantumCircuit or a list of them, not {run_input!r}")
    circuits = list(circuits)
    if not circuits:
        raise CircuitError("run_input has no circuit; give at least one")
    for index, circuit in enumerate(circuits):
        if not isinstance(circuit, QuantumCircuit):
            raise TypeError(f"run_input[{index}] must be a QuantumCircuit, not {circuit!r}")
    return circuits


def _checked_binds(circuits: list[QuantumCircuit], given: Any) -> list[dict[Any, list[Any]]] | None:
    if not given:
        for index, circuit in enumerate(circuits):
            if free := free_parameters(circuit):
                names = ", ".join(parameter.name for parameter in free)
                raise CircuitError(
                    f"circuit {index} ({circuit.name!r}) has parameters without values: {names}; give "
                    "parameter_binds, or bind them with assign_parameters"
                )
        return None
    binds = list(given)
    if len(binds) != len(circuits):
        raise CircuitError(f"parameter_binds has {len(binds)} tables for {len(circuits)} circuits; give one for each")
    return [
        _checked_table(index, circuit, table)
        for index, (circuit, table) in enumerate(zip(circuits, binds, strict=True))
    ]


def _checked_table(index: int, circuit: QuantumCircuit, table: Any) -> dict[Any, list[Any]]:
    where = f"parameter_binds[{index}] for circuit {circuit.name!r}"
    if not isinstance(table, Mapping):
        raise TypeError(f"{where} must map parameters to lists of values, not {table!r}")
    columns = {}
    for parameter, values in table.items():
        if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
            raise TypeError(f"{where}: the values of {parameter} must be a list, not {values!r}")
        columns[parameter] = list(values)
    lengths = {str(parameter): len(values) for parameter, values in columns.items()}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise CircuitError(f"{where}: all lists must have the same length, at least 1; they have {lengths}")
    free = free_parameters(circuit)
    missing = [parameter.name for parameter in free if parameter not in columns]
    if missing:
        raise CircuitError(f"{where} has no values for {', '.join(missing)}")
    return columns if free else {}  # one experiment, however many values for nothing there are
