"""The table of gates: matrices for a whole batch of angles at once.

A gate is one of these bases with any number of controls, so cx is x with one control. Matrices have their row and
column as the *first* two axes and the points behind them, which makes every arithmetic operation one long loop.
Qubit 0 of a gate is the least significant bit of its matrix index, as in Qiskit.

Every operation is elementwise, so that a point has the same bits in a batch of any size.

Formulas: OpenQASM 3 standard library (openqasm.com/language/standard_library.html) and, for the global phases of u and u2
and for rxx, ryy, rzz, iswap, the Qiskit circuit library.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from procjob.simulators.expressions import Reals

Complexes: TypeAlias = NDArray[np.complex128]

#: Largest deviation of U U^dagger from 1 that is taken for rounding.
UNITARY_TOLERANCE = 1e-8


@dataclass(frozen=True, slots=True)
class Gate:
    """A base gate.

    Attributes:
        name: as in OpenQASM 3.
        num_qubits: without controls.
        num_params: number of angles.
        matrix: angles, each of shape (...), to a matrix of shape (2**num_qubits, 2**num_qubits, ...).
        phases: for a gate exp(i * angle * diag(phases)), these phases; None for others.
    """

    name: str
    num_qubits: int
    num_params: int
    matrix: Callable[..., Complexes]
    phases: tuple[float, ...] | None = None


def phase_factor(angles: Reals) -> Complexes:
    """exp(i * angle), elementwise."""
    angles = np.asarray(angles, order="C")
    out = np.empty(angles.shape, dtype=np.complex128)
    out.real = np.cos(angles)
    out.imag = np.sin(angles)
    return out


def _matrix(rows: Sequence[Sequence[ArrayLike]], shape: tuple[int, ...]) -> Complexes:
    out = np.empty((len(rows), len(rows), *shape), dtype=np.complex128)
    for i, row in enumerate(rows):
        for j, entry in enumerate(row):
            out[i, j] = entry
    return out


def _half(theta: Reals) -> tuple[Reals, Reals]:
    half = np.asarray(theta, order="C") * 0.5
    return np.cos(half), np.sin(half)


def _rx(theta: Reals) -> Complexes:
    cos, sin = _half(theta)
    return _matrix([[cos, -1j * sin], [-1j * sin, cos]], cos.shape)


def _ry(theta: Reals) -> Complexes:
    cos, sin = _half(theta)
    return _matrix([[cos, -sin], [sin, cos]], cos.shape)


def _rz(theta: Reals) -> Complexes:
    plus = phase_factor(np.asarray(theta) * 0.5)
    return _matrix([[plus.conj(), 0], [0, plus]], plus.shape)


def _p(lam: Reals) -> Complexes:
    factor = phase_factor(lam)
    return _matrix([[1, 0], [0, factor]], factor.shape)


def _u(theta: Reals, phi: Reals, lam: Reals) -> Complexes:
    cos, sin = _half(theta)
    e_phi, e_lam = phase_factor(phi), phase_factor(lam)
    return _matrix([[cos, -e_lam * sin], [e_phi * sin, e_phi * e_lam * cos]], cos.shape)


def _u2(phi: Reals, lam: Reals) -> Complexes:
    return _u(np.full_like(phi, np.pi / 2), phi, lam)


def _cu(theta: Reals, phi: Reals, lam: Reals, gamma: Reals) -> Complexes:
    return phase_factor(gamma) * _u(theta, phi, lam)


def _gphase(gamma: Reals) -> Complexes:
    factor = phase_factor(gamma)
    return _matrix([[factor]], factor.shape)


def _rxx(theta: Reals) -> Complexes:
    c, sin = _half(theta)
    s = -1j * sin
    return _matrix([[c, 0, 0, s], [0, c, s, 0], [0, s, c, 0], [s, 0, 0, c]], c.shape)


def _ryy(theta: Reals) -> Complexes:
    c, sin = _half(theta)
    s = 1j * sin
    return _matrix([[c, 0, 0, s], [0, c, -s, 0], [0, -s, c, 0], [s, 0, 0, c]], c.shape)


def _rzz(theta: Reals) -> Complexes:
    plus = phase_factor(np.asarray(theta) * 0.5)
    minus = plus.conj()
    return _matrix([[minus, 0, 0, 0], [0, plus, 0, 0], [0, 0, plus, 0], [0, 0, 0, minus]], plus.shape)


def _fixed(rows: Sequence[Sequence[complex]]) -> Callable[[], Complexes]:
    matrix = np.array(rows, dtype=np.complex128)
    matrix.flags.writeable = False
    return lambda: matrix


_ROOT = np.sqrt(0.5)

GATES: dict[str, Gate] = {
    gate.name: gate
    for gate in (
        Gate("gphase", 0, 1, _gphase, (1.0,)),
        Gate("id", 1, 0, _fixed([[1, 0], [0, 1]])),
        Gate("x", 1, 0, _fixed([[0, 1], [1, 0]])),
        Gate("y", 1, 0, _fixed([[0, -1j], [1j, 0]])),
        Gate("z", 1, 0, _fixed([[1, 0], [0, -1]])),
        Gate("h", 1, 0, _fixed([[_ROOT, _ROOT], [_ROOT, -_ROOT]])),
        Gate("s", 1, 0, _fixed([[1, 0], [0, 1j]])),
        Gate("sdg", 1, 0, _fixed([[1, 0], [0, -1j]])),
        Gate("t", 1, 0, _fixed([[1, 0], [0, _ROOT + 1j * _ROOT]])),
        Gate("tdg", 1, 0, _fixed([[1, 0], [0, _ROOT - 1j * _ROOT]])),
        Gate("sx", 1, 0, _fixed([[0.5 + 0.5j, 0.5 - 0.5j], [0.5 - 0.5j, 0.5 + 0.5j]])),
        Gate("sxdg", 1, 0, _fixed([[0.5 - 0.5j, 0.5 + 0.5j], [0.5 + 0.5j, 0.5 - 0.5j]])),
        Gate("p", 1, 1, _p, (0.0, 1.0)),
        Gate("rx", 1, 1, _rx),
        Gate("ry", 1, 1, _ry),
        Gate("rz", 1, 1, _rz, (-0.5, 0.5)),
        Gate("u2", 1, 2, _u2),
        Gate("u", 1, 3, _u),
        Gate("cu", 1, 4, _cu),  # what cu controls
        Gate("swap", 2, 0, _fixed([[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])),
        Gate("iswap", 2, 0, _fixed([[1, 0, 0, 0], [0, 0, 1j, 0], [0, 1j, 0, 0], [0, 0, 0, 1]])),
        Gate("rxx", 2, 1, _rxx),
        Gate("ryy", 2, 1, _ryy),
        Gate("rzz", 2, 1, _rzz, (-0.5, 0.5, 0.5, -0.5)),
    )
}


def checked_unitary(matrix: ArrayLike) -> Complexes:
    """A read-only copy of a unitary matrix.

    Raises:
        ValueError: it is not square, its size is no power of two, it is not finite, or it is not unitary; then the message says its
            deviation max |U U^dagger - 1|.
    """
    try:
        found = np.array(matrix, dtype=np.complex128)
    except (TypeError, ValueError, OverflowError) as exc:
        raise ValueError(f"a unitary must be a square matrix of numbers: {exc}") from None
    if found.ndim != 2 or found.shape[0] != found.shape[1] or found.shape[0].bit_count() != 1 or found.shape[0] < 2:
        raise ValueError(f"a unitary must have shape (2**k, 2**k) with k >= 1, not {found.shape}")
    if not np.isfinite(found).all():
        raise ValueError("a unitary must be finite; this matrix has NaN or infinite entries")
    deviation = float(np.abs(found @ found.conj().T - np.eye(len(found))).max())
    if deviation > UNITARY_TOLERANCE:
        raise ValueError(
            f"the matrix is not unitary: max |U U^dagger - 1| is {deviation:.3g}, allowed is {UNITARY_TOLERANCE:g}; "
            "orthonormalise it, for example with scipy.linalg.polar"
        )
    found.flags.writeable = False
    return found


def controlled(matrix: Complexes, controls: int) -> Complexes:
    """The matrix with controls behind (as more significant bits than) its own qubits.

    Args:
        matrix: shape (d, d, ...).
        controls: number of qubits that all must be 1.

    Returns:
        Shape (d * 2**controls, d * 2**controls, ...).
    """
    if not controls:
        return matrix
    inner = len(matrix)
    size = inner << controls
    out = np.zeros((size, size, *matrix.shape[2:]), dtype=np.complex128)
    for index in range(size - inner):
        out[index, index] = 1
    out[size - inner :, size - inner :] = matrix
    return out
