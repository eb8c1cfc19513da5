"""`ProcessBackend`: any Qiskit backend, run by killable worker processes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from qiskit import QuantumCircuit
from qiskit.providers import BackendV2, Options
from qiskit.transpiler import Target

from procjob.engine import Engine, ExecutorEngine
from procjob.errors import NotPicklableError
from procjob.parts import Parts
from procjob.pool import checks
from procjob.pool.environment import cores_granted
from procjob.pool.pickling import dumps
from procjob.qiskit.builtin import StatevectorBackend
from procjob.qiskit.inputs import check_options, checked_binds, checked_circuits, options_of, parameters_of
from procjob.qiskit.job import QiskitJob
from procjob.qiskit.machine import megabytes_granted
from procjob.qiskit.pieces import Run
from procjob.qiskit.simulation import Simulation, is_aer
from procjob.qiskit.wrapping import Runner, Wrapping, changed, is_plain
from procjob.simulators import StatevectorSimulator

if TYPE_CHECKING:
    from procjob.job import Job
    from procjob.store import Store, StoredJob

#: Qubits from which on Aer uses threads for one circuit (its ``statevector_parallel_threshold``).
WIDE = 14


class ProcessBackend(Wrapping[BackendV2], BackendV2):
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
            ``initializer``, ``initargs``, ``threads_per_worker``, ``environment``, ``warmup``, ``store``.

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

    _runner: _Runner

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
        self._cores = cores_granted()
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
        self._sent = options_of(backend)
        self._stale = False

    # ------------------------------------------------------------ what is the wrapped one's

    @property  # type: ignore[misc]  # instances only: the class of this class is its own affair
    def __class__(self) -> type[BackendV2]:
        """The class of the wrapped backend if it is Aer's: of others, Aer's primitives run a copy made from the target."""
        return type(self._wrapped) if self.__dict__.get("_aer") else type(self)

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
        known = options_of(self._wrapped)
        self._stale |= any(field not in known for field in fields)  # it is kept elsewhere: Aer's configuration, say

    @classmethod
    def _default_options(cls) -> Options:
        return Options()

    # ------------------------------------------------------------ jobs

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
                ``time_limit``, ``memory_limit``, ``retries``, ``grace``, ``tags``, ``metadata``, ``job_id`` and
                ``progress`` of `procjob.Backend.run`. ``time_limit`` is that of the whole run, ``memory_limit`` and ``retries`` hold for
                each task that it is divided into.

        Raises:
            TypeError: an option that neither of the two takes, or something that is no circuit.
            CircuitError: a parameter has no value, or the values do not fit the circuits.
            ValueError: a limit out of range.
            JobError: a limit that the engine cannot keep, or an id that another job in the store has.
            NotPicklableError: a circuit or an option cannot be sent to a worker.
            RuntimeError: the backend is closed.
        """
        if isinstance(run_input, tuple) and not run_input:
            their_name = parameters_of(self._wrapped.run)[:1]
            run_input = options.pop(their_name[0], ()) if their_name else ()
        circuits = checked_circuits(run_input)
        binds = checked_binds(circuits, parameter_binds)
        check_options(self._wrapped, options)
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

    @property
    def store(self) -> Store | None:
        """Where jobs are recorded."""
        return self._runner.store

    def job(self, job_id: str) -> Job | StoredJob:
        """Return a job by its id: the live one if this backend has it, else what the store knows of it."""
        return self._runner.job(job_id)

    def jobs(self, limit: int | None = 10, skip: int = 0, **query: Any) -> list[Job | StoredJob]:
        """Return the jobs in the store; without one, those alive of this backend. See `procjob.Backend.jobs`."""
        return self._runner.jobs(limit, skip, **query)

    def _settings(self) -> dict[str, Any]:
        simulation = self._runner.simulation
        most = {"max_circuits_per_task": simulation.max_circuits, "max_shots_per_task": simulation.max_shots}
        return {**super()._settings(), **most}

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
            "max_memory_mb": megabytes_granted() // tasks,
        }
        return {key: value for key, value in share.items() if not getattr(self._wrapped.options, key, None)}

    def _news(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that were changed since the workers got their copy; make a new copy for the heavy ones.

        One that a run gives as None is as a rule that of the backend, so the workers need a new copy for it, too.
        """
        current = options_of(self._wrapped)
        names = changed(current, self._sent)
        light = all(is_plain(current.get(key)) and current.get(key) is not None for key in names)
        if self._stale or not light or any(key in options and options[key] is None for key in names):
            self._runner.ship()
            self._sent, self._stale = current, False
            return {}
        return {key: current[key] for key in names}


def _pass_on(name: str) -> property:
    return property(lambda self: getattr(self._wrapped, name), doc="See the wrapped backend.")


# What BackendV2 brings along must not hide what the wrapped backend has instead.
for _name in vars(BackendV2).keys() - vars(ProcessBackend).keys():
    if not _name.startswith("_") and _name != "version":
        setattr(ProcessBackend, _name, _pass_on(_name))


class _Runner(Runner):
    """The `procjob.Backend` behind a `ProcessBackend`, whose jobs are Qiskit's."""

    def __init__(self, owner: ProcessBackend, simulation: Simulation, **settings: Any) -> None:
        super().__init__(simulation, name=owner.name, **settings)
        self.simulation = simulation
        self._owner = owner

    def _as_seen(self) -> ProcessBackend:
        return self._owner

    def _brief(self, run_input: Run) -> str:
        names = [repr(circuit.name) for circuit in run_input.circuits]
        return f"circuit{'s' * (len(names) > 1)} {', '.join(names[:3])}{', ...' * (len(names) > 3)}"

    def _make_job(self, job_id: str, **settings: Any) -> QiskitJob:
        job = QiskitJob(self._owner, job_id, **settings)
        task = settings["task"]
        if isinstance(task, Parts):
            whole = settings["inputs"]  # in blocks of shots, if something that is shipped once stands for all pieces
            pieces = (part.args[0] for part in task.tasks)
            job.pieces, job.join = tuple(p if isinstance(p, Run) else whole for p in pieces), task.join
            task = task.tasks[0]
        job.threads = task.kwargs.get("max_parallel_threads")
        return job


def _default_backend() -> BackendV2:
    try:
        from qiskit_aer import AerSimulator
    except ImportError:
        from qiskit.providers.basic_provider import BasicSimulator

        return BasicSimulator()
    return AerSimulator()
