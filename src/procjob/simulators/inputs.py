"""Checks of what `StatevectorSimulator.run` is given. Each says what is wrong, the value, and what to do."""

from __future__ import annotations

import operator
import secrets
from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from procjob.simulators.circuit import Circuit, is_integer
from procjob.simulators.expressions import ByParameter, Parameter, Reals
from procjob.simulators.gates import Complexes
from procjob.simulators.noise import NoiseModel
from procjob.simulators.observables import Observable, pauli_sum
from procjob.simulators.plan import Plan, Plans
from procjob.simulators.sampling import Integers

#: The number of the first point, or of every point.
Numbers: TypeAlias = int | Sequence[int] | Integers
#: Values of a circuit's parameters.
Parameters: TypeAlias = ArrayLike | ByParameter[ArrayLike]


def checked_shots(shots: int | None) -> int | None:
    """A positive integer, or None.

    Raises:
        TypeError: it is not an integer.
        ValueError: it is below 1.
    """
    return None if shots is None else _whole(shots, "shots", 1, ", or None for exact values")


def checked_seed(seed: int | None) -> int:
    """A seed; drawn from the system's entropy if there is none.

    Raises:
        TypeError: it is not an integer.
        ValueError: it is negative.
    """
    return secrets.randbits(64) if seed is None else _whole(seed, "seed", 0, ", or None to have one drawn")


def checked_first(first: Any) -> tuple[int, Numbers]:
    """Numbers of the first circuit and of the first point, or of all points; an integer of NumPy's as one of Python's.

    Raises:
        TypeError: it is no pair, or a number is no integer.
        ValueError: a number is negative.
    """
    if not isinstance(first, Sequence) or len(first) != 2:
        raise TypeError(f"first must be the numbers of a circuit and of a point, not {first!r:.200}")
    circuit, point = first
    numbers = np.asarray(point)
    if not numbers.ndim:
        return _whole(circuit, "the first circuit", 0), _whole(point, "the first point", 0)
    if numbers.ndim > 1 or numbers.dtype.kind not in "iu" or numbers.min(initial=0) < 0:
        for number in point:  # those of any size
            _whole(number, "the number of a point", 0)
    return _whole(circuit, "the first circuit", 0), point


def checked_flag(value: bool | None, name: str) -> bool:
    """A truth value; None is a wrong one.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, not {value!r:.200}")
    return bool(value)


def _whole(value: Any, name: str, least: int, otherwise: str = "") -> int:
    if not is_integer(value):
        raise TypeError(f"{name} must be an integer{otherwise}, not {value!r:.200}")
    if operator.index(value) < least:
        raise ValueError(f"{name} must be at least {least}{otherwise}, not {value}")
    return operator.index(value)


def checked_dtype(precision: str) -> np.dtype[np.complexfloating]:
    """The type of amplitudes.

    Raises:
        ValueError: the precision is neither "double" nor "single".
    """
    if precision not in ("double", "single"):
        raise ValueError(f"precision must be 'double' or 'single', not {precision!r}")
    return np.dtype(np.complex128) if precision == "double" else np.dtype(np.complex64)


def checked_observables(observables: object) -> tuple[Observable, ...]:
    """Several observables; what is in each is checked by `pauli_sum`.

    Raises:
        TypeError: it is one observable, or something else that is no sequence.
    """
    if observables is None:
        return ()
    if isinstance(observables, (str, Mapping)) or not isinstance(observables, Iterable):
        raise TypeError(f"observables must be a sequence such as ['ZZ', {{'XI': 0.5}}], not {observables!r}")
    return tuple(observables)


def checked_batch(batch: int | None) -> int | None:
    """A positive integer, or None.

    Raises:
        TypeError: it is not an integer.
        ValueError: it is below 1.
    """
    return None if batch is None else _whole(batch, "batch", 1, ", or None for what stays in cache")


def paired(circuits: Any, parameters: Any) -> tuple[list[Circuit | Plan], list[Any]]:
    """Circuits or plans, and the parameters of each.

    Raises:
        TypeError: one is neither a `Circuit` nor a `Plan`.
        ValueError: there are no circuits, or not as many sets of parameters as circuits.
    """
    several = not isinstance(circuits, (Plan, Circuit))
    if several and not isinstance(circuits, Iterable):
        raise TypeError(f"circuits must be a Circuit, a Plan or a sequence of such, not {circuits!r}")
    given = list(circuits) if several else [circuits]
    if not given:
        raise ValueError("circuits is empty; there is nothing to run")
    for circuit in given:
        if not isinstance(circuit, (Plan, Circuit)):
            raise TypeError(f"circuits must be Circuit or Plan objects, not {circuit!r}")
    if several and parameters is not None:
        is_sequence = (
            not isinstance(parameters, Mapping) and isinstance(parameters, Sized) and getattr(parameters, "ndim", True)
        )
        if not is_sequence or len(parameters) != len(given):
            raise ValueError(f"{len(given)} circuits need a sequence of {len(given)} sets of parameters, one for each")
    return given, list(parameters) if several and parameters is not None else [parameters] * len(given)


def planned(circuit: Circuit | Plan, noise: NoiseModel | None, plans: Plans) -> Plan:
    """The plan of a circuit; a plan as it is.

    Raises:
        MemoryError: the states, and so the tables of the plan, do not fit in memory.
    """
    return circuit if isinstance(circuit, Plan) else plans.get(circuit, noise)


def check_options(circuits: Sequence[Circuit | Plan], options: Mapping[str, Any]) -> None:
    """Check what can be said about a run's options without a plan, for whoever lets others do the run.

    Raises:
        Exception: what the run would raise.
    """
    checked_shots(options.get("shots", 1))
    checked_flag(options.get("memory", False), "memory")
    if options.get("keep_states") is not None:
        checked_flag(options["keep_states"], "keep_states")
    checked_dtype(options.get("precision", "double"))
    for observable in checked_observables(options.get("observables")):
        for circuit in circuits:
            pauli_sum(observable, circuit.num_qubits)


def check_one_state(unitary: bool, shots: int | None, *, keep_states: bool | None) -> None:
    """Refuse to ask for the one state of a circuit that has none.

    Raises:
        ValueError: shots go different ways.
    """
    if not unitary and (shots is None or keep_states):
        raise ValueError(
            "a circuit with noise, resets, conditions or measurements in the middle has no one state; "
            "run it with shots and without keep_states"
        )


def parameter_values(parameters: Parameters | None, names: Sequence[str]) -> tuple[Reals, tuple[int, ...]]:
    """As `checked_values`, contiguous."""
    columns, points = checked_values(parameters, names)
    return np.ascontiguousarray(columns), points


def checked_values(parameters: Parameters | None, names: Sequence[str]) -> tuple[Reals, tuple[int, ...]]:
    """Values of shape (parameters, points), and the shape of the points: () or (points,).

    Args:
        parameters: None, an array of shape (parameters,) or (points, parameters), or a mapping of name to number or array.
        names: of the circuit, in the order of columns.

    Raises:
        TypeError: it is not numeric.
        ValueError: a parameter is missing (it is named) or unknown, a shape does not fit, or a value is NaN, infinite or masked.
    """
    if parameters is None:
        if names:
            raise ValueError(f"parameter {names[0]!r} has no value; pass parameters= for {list(names)}")
        return np.empty((0, 1)), ()
    if isinstance(parameters, Mapping):
        columns, points = _from_mapping(parameters, names)
    else:
        columns, points = _from_array(parameters, names)
    if 0 in points:
        raise ValueError("parameters has no points; its first axis has length 0")
    if not np.isfinite(columns).all():
        row, column = np.argwhere(~np.isfinite(columns))[0]
        raise ValueError(f"parameter {names[row]!r} is {columns[row, column]} at point {column}; it must be finite")
    return columns, points


def _from_mapping(parameters: ByParameter[ArrayLike], names: Sequence[str]) -> tuple[Reals, tuple[int, ...]]:
    given: dict[str, Reals] = {}
    for key, value in parameters.items():
        name = key.name if isinstance(key, Parameter) else key
        if name in given:
            raise ValueError(f"parameter {name!r} is given twice, by its name and as a Parameter; leave one out")
        given[name] = _real(value)
    if missing := [name for name in names if name not in given]:
        raise ValueError(f"parameter {missing[0]!r} has no value; the circuit needs {list(names)}")
    if unknown := given.keys() - set(names):
        raise ValueError(f"the circuit has no parameter {min(unknown)!r}; it has {list(names)}")
    if not given:
        return np.empty((0, 1)), ()
    shapes = {name: value.shape for name, value in given.items()}
    try:
        points = np.broadcast_shapes(*shapes.values())
    except ValueError:
        points = (0, 0)
    if len(points) > 1:
        raise ValueError(f"parameter values must be numbers or arrays of one length, not of shapes {shapes}")
    return np.array([np.broadcast_to(given[name], points).reshape(-1) for name in names]), points


def _from_array(parameters: ArrayLike, names: Sequence[str]) -> tuple[Reals, tuple[int, ...]]:
    array = _real(parameters)
    if array.ndim not in {1, 2} or array.shape[-1] != len(names):
        raise ValueError(
            f"parameters must have shape ({len(names)},) or (points, {len(names)}) for {list(names)}, not {array.shape}"
        )
    return np.atleast_2d(array).T, array.shape[:-1]


def _real(value: ArrayLike) -> Reals:
    if np.ma.is_masked(value):  # what stands under a mask is no value
        raise ValueError("parameter values must not be masked; leave the masked points out")
    try:
        array = np.asarray(value)
    except ValueError as exc:  # rows of different lengths
        raise ValueError(f"parameter values must make an array: {exc}") from None
    if array.dtype.kind not in "fiu":
        raise TypeError(f"parameter values must be real numbers, not of type {array.dtype}")
    return array.astype(np.float64, copy=False)


def initial_states(
    state: int | ArrayLike | None, num_qubits: int, points: tuple[int, ...], dtype: np.dtype[np.complexfloating]
) -> Complexes:
    """Initial states of shape (points or 1, 2**n).

    Args:
        state: None for |0...0>, the number of a basis state, or amplitudes of shape (2**n,) or (points, 2**n).
        num_qubits: of the circuit.
        points: the shape of the points.
        dtype: of the amplitudes.

    Raises:
        TypeError: it is one number, but no integer, or text.
        ValueError: the shape does not fit, it is not normalised (its norm is said), not finite, or masked.
    """
    size = 1 << num_qubits
    if state is None or np.ndim(state) == 0:
        if state is not None and not is_integer(state):
            raise TypeError(f"initial_state must be the number of a basis state, or amplitudes, not {state!r}")
        number = 0 if state is None else operator.index(state)
        if not 0 <= number < size:
            raise ValueError(f"initial_state must be 0 to {size - 1} for {num_qubits} qubits, not {number}")
        out = np.zeros((1, size), dtype=dtype)
        out[0, number] = 1
        return out
    array = np.asarray(state)
    if array.dtype.kind in "SU":
        raise TypeError(f"initial_state must be the number of a basis state, or amplitudes, not {state!r:.200}")
    if np.ma.is_masked(state):
        raise ValueError("initial_state must not be masked; put 0 where an amplitude is 0")
    is_single = np.result_type(array.dtype, np.complex64) == np.complex64
    tolerance = 1e-5 if is_single else 1e-8
    given = array.astype(np.complex128)
    if given.shape not in {(size,), (*points, size)}:
        raise ValueError(f"initial_state must have shape ({size},) or {(*points, size)}, not {given.shape}")
    norms = np.linalg.norm(np.atleast_2d(given), axis=1)
    if not (np.abs(norms - 1) < tolerance).all():
        worst = float(norms[int(np.argmax(np.abs(norms - 1)))])
        raise ValueError(f"initial_state must be normalised, but has norm {worst:.12g}; divide it by that")
    return np.atleast_2d(given).astype(dtype, copy=False)
