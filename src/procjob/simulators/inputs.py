"""Checks of what `StatevectorSimulator.run` is given. Each says what is wrong, the value, and what to do."""

from __future__ import annotations

import operator
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from procjob.simulators.circuit import Circuit
from procjob.simulators.expressions import Parameter, Reals
from procjob.simulators.gates import Complexes
from procjob.simulators.noise import NoiseModel
from procjob.simulators.plan import Plan, Plans

#: Values of a circuit's parameters.
Parameters: TypeAlias = ArrayLike | Mapping[str | Parameter, ArrayLike]


#: Bytes from which it is asked how many are available; asking takes longer than a small circuit.
_WORTH_ASKING = 1 << 27


def checked_shots(shots: int | None) -> int | None:
    """A positive integer, or None.

    Raises:
        TypeError: it is not an integer.
        ValueError: it is below 1.
    """
    if shots is None:
        return None
    if isinstance(shots, bool) or not hasattr(shots, "__index__"):
        raise TypeError(f"shots must be an integer or None, not {shots!r}")
    number = operator.index(shots)
    if number < 1:
        raise ValueError(f"shots must be at least 1, or None for exact values, not {number}")
    return number


def checked_seed(seed: int | None) -> int:
    """A seed; drawn from the system's entropy if there is none.

    Raises:
        TypeError: it is not an integer.
        ValueError: it is negative.
    """
    if seed is None:
        return secrets.randbits(64)
    if isinstance(seed, bool) or not hasattr(seed, "__index__"):
        raise TypeError(f"seed must be an integer or None, not {seed!r}")
    if operator.index(seed) < 0:
        raise ValueError(f"seed must not be negative, but is {seed}")
    return operator.index(seed)


def checked_dtype(precision: str) -> np.dtype[np.complexfloating]:
    """The type of amplitudes.

    Raises:
        ValueError: the precision is neither "double" nor "single".
    """
    if precision not in {"double", "single"}:
        raise ValueError(f"precision must be 'double' or 'single', not {precision!r}")
    return np.dtype(np.complex128) if precision == "double" else np.dtype(np.complex64)


def paired(circuits: Any, parameters: Any) -> tuple[list[Circuit | Plan], list[Any]]:
    """Circuits or plans, and the parameters of each.

    Raises:
        TypeError: one is neither a `Circuit` nor a `Plan`.
        ValueError: there are not as many sets of parameters as circuits.
    """
    several = not isinstance(circuits, (Plan, Circuit))
    given = list(circuits) if several else [circuits]
    for circuit in given:
        if not isinstance(circuit, (Plan, Circuit)):
            raise TypeError(f"circuits must be Circuit or Plan objects, not {circuit!r}")
    if several and parameters is not None and (isinstance(parameters, Mapping) or len(parameters) != len(given)):
        raise ValueError(f"{len(given)} circuits need a sequence of {len(given)} sets of parameters, one for each")
    return given, list(parameters) if several and parameters is not None else [parameters] * len(given)


def planned(circuit: Circuit | Plan, noise: NoiseModel | None, plans: Plans) -> Plan:
    """The plan of a circuit; a plan as it is.

    Raises:
        MemoryError: the states, and so the tables of the plan, do not fit in memory.
    """
    if isinstance(circuit, Plan):
        return circuit
    check_memory(3 * 16 << circuit.num_qubits, "a state", circuit.num_qubits)
    return plans.get(circuit, noise)


def parameter_values(parameters: Parameters | None, names: Sequence[str]) -> tuple[Reals, tuple[int, ...]]:
    """Values of shape (parameters, points), and the shape of the points: () or (points,).

    Args:
        parameters: None, an array of shape (parameters,) or (points, parameters), or a mapping of name to number or array.
        names: of the circuit, in the order of columns.

    Raises:
        TypeError: it is not numeric.
        ValueError: a parameter is missing (it is named) or unknown, a shape does not fit, or a value is NaN or infinite.
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
    return np.ascontiguousarray(columns), points


def _from_mapping(
    parameters: Mapping[str | Parameter, ArrayLike], names: Sequence[str]
) -> tuple[Reals, tuple[int, ...]]:
    given = {key.name if isinstance(key, Parameter) else key: _real(value) for key, value in parameters.items()}
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
    array = np.asarray(value)
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
        ValueError: the shape does not fit, it is not normalised (its norm is said), or not finite.
    """
    size = 1 << num_qubits
    if state is None or np.ndim(state) == 0:
        number = 0 if state is None else operator.index(state)  # type: ignore[arg-type]
        if not 0 <= number < size:
            raise ValueError(f"initial_state {number} is no basis state of {num_qubits} qubits")
        out = np.zeros((1, size), dtype=dtype)
        out[0, number] = 1
        return out
    given = np.asarray(state, dtype=np.complex128)
    if given.shape not in {(size,), (*points, size)}:
        raise ValueError(f"initial_state must have shape ({size},) or {(*points, size)}, not {given.shape}")
    norms = np.linalg.norm(np.atleast_2d(given), axis=1)
    if not (np.abs(norms - 1) < 1e-8).all():
        worst = float(norms[int(np.argmax(np.abs(norms - 1)))])
        raise ValueError(f"initial_state must be normalised, but has norm {worst:.6g}")
    return np.atleast_2d(given).astype(dtype)


def check_memory(needed: int, what: str, num_qubits: int) -> None:
    """Refuse what would not fit in memory, before anything is allocated.

    Raises:
        MemoryError: fewer bytes are available than needed; both are said.
    """
    available = _available() if needed > _WORTH_ASKING else None
    if available is not None and needed > available:
        raise MemoryError(
            f"{what} of {num_qubits} qubits needs {needed:,} bytes, but {available:,} are available; "
            "use fewer qubits or points, precision='single', or keep_states=False"
        )


def _available() -> int | None:
    """Bytes that can be allocated without swapping; None where it is not known."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")]
    return found[0] if found else None
