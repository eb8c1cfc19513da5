"""What a sweep runs at its points: a function, a vectorized function, or a circuit. Made in the parent, run in workers."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from procjob.errors import JobError
from procjob.pool.culprit import ATOMS
from procjob.pool.foreign import describe
from procjob.pool.pickling import pack_exception
from procjob.simulators import Circuit, Plan, StatevectorSimulator
from procjob.simulators.expressions import checked_number
from procjob.simulators.inputs import check_one_state, checked_observables, checked_shots
from procjob.simulators.observables import Observable, pauli_sum
from procjob.simulators.plan import Plans
from procjob.simulators.sampling import STREAM
from procjob.sweeps.columns import Column, columns_of, exact, of_one_type, unpacked
from procjob.sweeps.fingerprint import fingerprint, fingerprint_and_imported
from procjob.sweeps.identity import NoIdentity, point_keys, point_seed
from procjob.sweeps.points import rows
from procjob.sweeps.result import DONE, FAILED

_Function = TypeVar("_Function", bound=Callable[..., Any])
_RANDOM = ("seed", "rng")

#: Seconds after which a worker hands over what it has, however many points of its chunk are left: those before were quicker.
PATIENCE = 0.5
#: Seconds that the first chunks of a circuit should take, by what is expected of it.
FIRST = 0.05

Observables = Sequence[Observable] | Mapping[str, Observable]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of the points of a chunk.

    Attributes:
        columns: results of the points that are DONE, in order.
        status: of each point; PENDING: it was not run, nor any behind it.
        seconds: that each point took.
        errors: packed exceptions of the points that FAILED.
    """

    columns: dict[str, Column]
    status: NDArray[np.int8]
    seconds: NDArray[np.float64]
    errors: dict[int, bytes] = field(default_factory=dict)


class Indivisible(Exception):
    """A call for several points failed, so that nobody can tell which of them it was."""


class Target(ABC):
    """What is run.

    Attributes:
        name: of the function or circuit; the result's, if it has no names of its own.
        seeded: whether it draws random numbers, so that a point's result depends on the seed of the sweep.
        version: what the user says instead of its code.
        first: points of the first chunks, as long as nobody knows how long a point takes.
    """

    name: str
    seeded: bool
    version: str | None
    first: int = 1

    @abstractmethod
    def check(self, names: Sequence[str], axes: Iterable[tuple[str, Column]] = ()) -> None:
        """Check the axes.

        Args:
            names: of all.
            axes: names and values, if they are known.

        Raises:
            TypeError: one is not a parameter, or a parameter has no axis, or a value of another type than it needs.
            ValueError: a value is out of range.
        """

    @abstractmethod
    def parts(self) -> dict[str, str]:
        """Return what it is made of, see `procjob.sweeps.fingerprint.fingerprint`."""

    def check_imported(self) -> None:  # noqa: B027  (a circuit has no code)
        """Check, in a worker, that what it imports for itself is what the parts name.

        Raises:
            JobError: it is not.
        """

    @abstractmethod
    def run(self, columns: Mapping[str, Column], root: int, *, stop_at_error: bool) -> Outcome:
        """Run it at some points, in a worker.

        Args:
            columns: the values of each axis, shape (points,).
            root: seed of the sweep.
            stop_at_error: leave the points behind the first one that fails.

        Raises:
            Indivisible: several points failed together.
        """


def vectorized(fn: _Function) -> _Function:
    """Mark a function that takes many points at once, for `procjob.sweep`.

    It is called with an array of shape (points,) for each axis, any number of points at a time, and returns an array whose first
    axis is the points, or a mapping of names to such arrays. The arrays are of float64, int64, complex128 or bool, of times or long
    doubles of NumPy's, or of objects if values are something else. If it takes ``seed``, it gets an integer array with the
    seed of each point. What it computes for a point must not depend on the others, or results depend on how the points are cut.

    Raises:
        TypeError: ``fn`` is no function, or one written in C, which takes no mark.

    Example:
        >>> import numpy as np
        >>> import procjob
        >>> @procjob.vectorized
        ... def power(x, n):
        ...     return x**n
        >>> procjob.sweep(power, procjob.grid(x=np.arange(4), n=[1, 2]), workers=1)["power"].tolist()
        [[0, 0], [1, 1], [2, 4], [3, 9]]
    """
    if not callable(fn):
        raise TypeError(f"vectorized takes a function, not {fn!r}")
    try:
        fn.__procjob_vectorized__ = True  # type: ignore[attr-defined]  # functions take attributes
    except (AttributeError, TypeError):
        raise TypeError(f"vectorized takes a function of Python, not {fn!r}; write one that calls it") from None
    return fn


#: In a worker: what is another one here, of what scripts have imported and was compared.
_others_here: dict[tuple[tuple[str, str], ...], list[str]] = {}


class _Called(Target):
    """A function of the user's."""

    def __init__(self, fn: Callable[..., Any], version: str | None) -> None:
        self.name = _name_of(fn)
        self._fn = fn
        self.version = version
        self._signature = _signature(fn)
        self._fixed = _fixed(fn)
        self._random: tuple[str, ...] = ()
        self.seeded = False
        self._imported: dict[str, str] = {}

    def check(self, names: Sequence[str], axes: Iterable[tuple[str, Column]] = ()) -> None:
        """See `Target.check`; what is free of ``seed`` and ``rng`` is for the sweep to give."""
        if self._signature is None:
            return
        parameters = self._signature.parameters
        named = [
            name for name, each in parameters.items() if each.kind in (each.KEYWORD_ONLY, each.POSITIONAL_OR_KEYWORD)
        ]
        taken = {*names, *(name for _, keywords in self._fixed for name in keywords)}
        self._random = tuple(name for name in _RANDOM if name in named and name not in taken)
        self.seeded = bool(self._random)
        try:
            self._signature.bind(**dict.fromkeys([*names, *self._random]))
        except TypeError as exc:
            told = f"{self.name} cannot be called with the axes {', '.join(names)}: "
            if any(each.kind is each.POSITIONAL_ONLY for each in parameters.values()):
                given = ", ".join(names)
                raise TypeError(
                    f"{told}it takes values by position only; write lambda {given}: {self.name}({given})"
                ) from None
            raise TypeError(f"{told}{exc}. It takes {', '.join(named) or 'nothing'}") from None

    def parts(self) -> dict[str, str]:
        """See `Target.parts`."""
        if self.version is not None:  # it stands for the code, not for what the code is called with
            return {"version": self.version} | (fingerprint(self._fixed, "arguments") if self._fixed else {})
        parts, self._imported = fingerprint_and_imported(self._fn, self.name)
        return parts

    def check_imported(self) -> None:
        """See `Target.check_imported`; the file of a module may have been edited since it was imported, in a notebook say."""
        if self._imported and (others := self._others()):
            raise JobError(
                f"the workers have imported another {self.name} than the script has ({', '.join(others)}), and what they compute would "
                "be stored as its results. A module that was edited has to be imported anew, here (a new kernel, importlib.reload) and by "
                "the workers of an engine (a new one); what the script sets in a module should be an argument; or give version="
            )

    def _others(self) -> list[str]:
        """Return what is another one here; found out once in a process, since it takes its time and some engines bring a target anew."""
        known = tuple(sorted(self._imported.items()))
        if known not in _others_here:
            here: dict[str, str] = {}
            with contextlib.suppress(NoIdentity):  # of what the worker of an engine has loaded since
                _, here = fingerprint_and_imported(self._fn, self.name)
            _others_here[known] = [where for where, made in known if here.get(where, made) != made]
        return _others_here[known]


class FunctionTarget(_Called):
    """A function that is called once for each point."""

    def run(self, columns: Mapping[str, Column], root: int, *, stop_at_error: bool) -> Outcome:
        """See `Target.run`."""
        count = len(next(iter(columns.values())))
        fn, clock = self._fn, time.perf_counter
        seeds = [point_seed(root, key) for key in point_keys(columns)] if self.seeded else None
        values: list[Any] = []
        errors: dict[int, bytes] = {}
        ends = np.full(count, np.nan)
        status = np.zeros(count, dtype=np.int8)
        changeable = [name for name, column in columns.items() if _is_changeable(column)]
        began = clock()
        for number, point in enumerate(rows(columns)):
            for name in changeable:
                point[name] = copy.deepcopy(point[name])  # other points have the same object
            if seeds is not None:
                self._add_random(point, seeds[number])
            try:
                values.append(fn(**point))
                status[number] = DONE
            except Exception as exc:  # noqa: BLE001  (the point's own end)
                errors[number] = pack_exception(exc)
                status[number] = FAILED
            ends[number] = clock()
            if (errors and stop_at_error) or ends[number] - began > PATIENCE:
                break
        return Outcome(columns_of(values, self.name), status, np.diff(ends, prepend=began), errors)

    def _add_random(self, point: dict[str, Any], seed: int) -> None:
        for name in self._random:
            point[name] = seed if name == "seed" else np.random.default_rng(seed)


class QiskitTarget(FunctionTarget):
    """A circuit on a backend of Qiskit's.

    Args:
        circuit: a `procjob.qiskit.points.CircuitOnBackend`.
        version: stands for circuit and backend.
    """

    def __init__(self, circuit: Any, version: str | None) -> None:
        super().__init__(circuit, version)
        self._on_backend = circuit

    def check(self, names: Sequence[str], axes: Iterable[tuple[str, Column]] = ()) -> None:
        """See `Target.check`."""
        _check_parameters(self.name, self._on_backend.parameters, names, axes)
        self.seeded = self._on_backend.seeded
        self._random = ("seed",) if self.seeded else ()
        if "seed" in names and self.seeded:
            raise TypeError(f"a parameter of {self.name} is called seed, as what the backend is given is; rename it")

    def parts(self) -> dict[str, str]:
        """See `Target.parts`."""
        return super().parts() | fingerprint(self._on_backend.options, "options")


class VectorizedTarget(_Called):
    """A function that is called with arrays."""

    def check(self, names: Sequence[str], axes: Iterable[tuple[str, Column]] = ()) -> None:
        """See `Target.check`."""
        super().check(names, axes)
        if "rng" in self._random:
            raise TypeError(
                f"{self.name} is vectorized and takes rng; let it take seed, an array with the seed of each point"
            )

    def run(self, columns: Mapping[str, Column], root: int, *, stop_at_error: bool) -> Outcome:
        """See `Target.run`."""
        count = len(next(iter(columns.values())))
        arguments = {
            name: copy.deepcopy(column) if _is_changeable(column) else column for name, column in columns.items()
        }
        if self.seeded:
            arguments["seed"] = np.array([point_seed(root, key) for key in point_keys(columns)], dtype=np.int64)
        return _together(lambda: self._call(arguments), count)

    def _call(self, arguments: dict[str, Column]) -> dict[str, Column]:
        """Call the function, once for each combination of types: what it computes of a point depends on that point only."""
        groups = list(of_one_type(arguments))
        found = [_arrays(self._fn(**columns), self.name, len(positions)) for positions, columns in groups]
        if len(groups) == 1:
            return found[0]
        order = np.argsort(np.concatenate([positions for positions, _ in groups]))
        listed = [
            dict(zip(each, row, strict=True))
            for each in found
            for row in zip(*map(unpacked, each.values()), strict=True)
        ]
        return columns_of([listed[place] for place in order], self.name)


def _together(run: Callable[[], dict[str, Column]], count: int) -> Outcome:
    """Run all points in one call, and share its time out among them."""
    began = time.perf_counter()
    found, status, errors = {}, DONE, {}
    try:
        found = run()
    except Exception as exc:
        if count > 1:
            raise Indivisible(f"{count} points failed together: {describe(exc)}") from exc
        status, errors = FAILED, {0: pack_exception(exc)}
    seconds = (time.perf_counter() - began) / count
    return Outcome(found, np.full(count, status, dtype=np.int8), np.full(count, seconds), errors)


def _arrays(found: Any, name: str, count: int) -> dict[str, Column]:
    """Return what a vectorized function has returned as columns."""
    given = found if isinstance(found, Mapping) else {name: found}
    columns = {
        str(key): value if isinstance(value, np.ma.MaskedArray) else np.asarray(value) for key, value in given.items()
    }
    for key, column in columns.items():
        if column.ndim == 0 or len(column) != count:
            raise ValueError(
                f"{name} got {count} points and returned {key} of shape {column.shape}; the first axis must be the points"
            )
    return {
        key: column if column.dtype.kind in "biufc" and type(column) is np.ndarray else exact(list(column))
        for key, column in columns.items()
    }


#: A sweep of the same circuit at other points is not compiled again.
_plans = Plans()


class CircuitTarget(Target):
    """A circuit with free parameters, on the built-in simulator: a batch of points is a batch of arrays.

    Its results are the expectation value of each observable, called as the observable is written; with shots and without
    observables ``counts``; else ``statevector``.
    """

    def __init__(
        self,
        circuit: Circuit | Plan,
        name: str,
        *,
        shots: int | None,
        observables: Observables | None,
        version: str | None,
    ) -> None:
        self.name = name
        self._circuit = circuit
        self._plan = circuit if isinstance(circuit, Plan) else _plans.get(circuit, None)
        self._shots = checked_shots(shots)
        by_name = named(observables)
        self._labels = list(by_name)
        self._observables = checked_observables([_plain(each) for each in by_name.values()] or None)
        self.version = version
        for observable in self._observables:
            pauli_sum(observable, self._plan.num_qubits)
        check_one_state(self._plan.is_unitary, self._shots, keep_states=None)
        if self._shots is not None and not self._observables and not self._plan.num_clbits:
            raise ValueError(
                f"{name} measures nothing; add measure_all(), give observables=, or shots=None for its states"
            )
        if self._shots is not None and self._observables and self._plan.is_unitary:
            raise ValueError(
                f"the means of {name} are exact, since it has no noise and no measurement in the middle; leave out shots=, or "
                "give backend= (for a circuit of Qiskit's) to have them from shots"
            )
        self.seeded = self._shots is not None
        self.first = max(1, int(FIRST / self._expected_seconds()))
        self._simulator = StatevectorSimulator()

    def _expected_seconds(self) -> float:
        """Return about what a point takes, within a factor of some: the first chunks are cut by it."""
        each = 3e-7 + 5e-9 * (self._plan.num_passes << self._plan.num_qubits)
        if self._shots is None:
            return each
        return 2e-5 + each + 1e-7 * self._shots if self._plan.is_unitary else each * self._shots

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_circuit": None}  # workers have the plan

    def check(self, names: Sequence[str], axes: Iterable[tuple[str, Column]] = ()) -> None:
        """See `Target.check`."""
        _check_parameters(self.name, self._plan.parameters, names, axes)

    def parts(self) -> dict[str, str]:
        """See `Target.parts`."""
        options = {"shots": self._shots, "observables": dict(zip(self._labels, self._observables, strict=True))}
        made_of = fingerprint(self._circuit, "circuit") if self.version is None else {"version": self.version}
        # Of counts, not of exact values: points of another stream would not have the bits of a sweep run in one go.
        return made_of | fingerprint(options, "options") | ({"stream": str(STREAM)} if self.seeded else {})

    def run(self, columns: Mapping[str, Column], root: int, *, stop_at_error: bool) -> Outcome:
        """See `Target.run`."""
        count = len(next(iter(columns.values())))
        keys = (key[:8] for key in point_keys(columns)) if self.seeded else [bytes(8)] * count
        numbers = np.frombuffer(b"".join(keys), dtype="<u8")
        return _together(lambda: self._run(columns, root, numbers), count)

    def _run(self, columns: Mapping[str, Column], root: int, numbers: Column) -> dict[str, Column]:
        values = np.stack([_angles(name, columns[name]) for name in self._plan.parameters], axis=1)
        result = self._simulator.run(
            self._plan,
            shots=self._shots,
            seed=root,
            parameters=values,
            observables=self._observables or None,
            first=(0, numbers),
        )
        if self._observables:
            means = result.expectation_values
            return {label: np.ascontiguousarray(means[:, column]) for column, label in enumerate(self._labels)}
        if self._shots is None:
            return {"statevector": result.get_statevector()}
        counts = np.empty(len(values), dtype=object)
        counts[:] = [result.get_counts(point=point) for point in range(len(values))]
        return {"counts": counts}


def _angles(name: str, values: Column) -> NDArray[np.float64]:
    """Return the values of a parameter.

    Raises:
        TypeError: one is no real number; to NumPy a text may be one, and of a complex number its real part.
        ValueError: one is beyond the floats.
    """
    if values.dtype.kind not in "biuf":
        for value in values:
            checked_number(value, f"parameter {name}")
    return values.astype(np.float64)


def named(observables: Any) -> dict[str, Any]:
    """Return observables under the names that their results get.

    Raises:
        TypeError: it is neither a sequence nor a mapping of names to observables.
        ValueError: a name is there twice.
    """
    if observables is None:
        return {}
    if isinstance(observables, Mapping) and not any(isinstance(value, (int, float)) for value in observables.values()):
        return {str(name): observable for name, observable in observables.items()}
    if isinstance(observables, (str, Mapping)) or not isinstance(observables, Sequence):
        raise TypeError(
            f"observables must be a list, or a mapping of names to observables, not {observables!r:.200}; for one write [...]"
        )
    names = [each if isinstance(each, str) else f"observable_{number}" for number, each in enumerate(observables)]
    if len(set(names)) < len(names):
        raise ValueError(f"observables has one twice: {', '.join(names)}")
    return dict(zip(names, observables, strict=True))


def _plain(observable: Any) -> Observable:
    """Return an operator of Qiskit's as a mapping of Pauli strings to numbers."""
    if not hasattr(observable, "to_list"):
        return observable  # type: ignore[no-any-return]  # it is checked later
    terms: dict[str, float] = {}
    for label, factor in observable.to_list():
        if factor.imag:
            raise ValueError(f"an observable has the factor {factor} of {label}; it must be real")
        terms[label] = terms.get(label, 0.0) + factor.real
    return terms


def _check_parameters(
    target: str, parameters: Sequence[str], names: Sequence[str], axes: Iterable[tuple[str, Column]]
) -> None:
    for name in names:
        if name not in parameters:
            raise TypeError(f"{target} has no parameter {name}; it has {', '.join(parameters) or 'none'}")
    for name in parameters:
        if name not in names:
            raise TypeError(f"parameter {name} of {target} has no axis; the points have {', '.join(names)}")
    for name, values in axes:
        _angles(name, values)


def _fixed(fn: Any) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Return the arguments that `functools.partial` has given already, the outermost first."""
    found = []
    while isinstance(fn, functools.partial):
        found.append((fn.args, dict(fn.keywords)))
        fn = fn.func
    return found


def _is_changeable(column: Column) -> bool:
    return column.dtype == object and not all(type(value) in ATOMS for value in column)


def _name_of(fn: Any) -> str:
    while isinstance(fn, functools.partial):
        fn = fn.func
    name = getattr(fn, "__name__", type(fn).__name__)
    return name if name.isidentifier() else "value"


def _signature(fn: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(fn)
    except (TypeError, ValueError):  # some builtins have none: their own error must do
        return None
