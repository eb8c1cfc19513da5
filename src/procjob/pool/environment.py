"""How many workers and threads this machine grants, and the environment that makes workers keep to it."""

from __future__ import annotations

import os

import loky

#: Variables by which numerical libraries learn, at load, how many threads they may use.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "RAYON_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


def cores_granted() -> int:
    """Return the number of cores this process may use: affinity, cgroup quota and LOKY_MAX_CPU_COUNT considered."""
    return int(loky.cpu_count())


def default_workers() -> int:
    """Return ``PROCJOB_WORKERS`` if set, else the number of cores granted.

    Raises:
        ValueError: the variable is not a whole number of at least 1.
    """
    text = os.environ.get("PROCJOB_WORKERS", "").strip()
    if not text:
        return cores_granted()
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"PROCJOB_WORKERS must be a whole number >= 1, not {text!r}; unset it or correct it")
    return int(text)


def worker_environment(workers: int, threads_per_worker: int | None = None) -> dict[str, str]:
    """Return the variables to set in each of ``workers`` processes.

    ``threads_per_worker`` None: the cores granted are shared out, and a smaller limit that the user has set already
    is kept.
    """
    share = threads_per_worker or max(1, cores_granted() // workers)
    limits = {name: str(share if threads_per_worker else _smaller(name, share)) for name in THREAD_VARIABLES}
    # Qiskit must not start processes of its own inside a worker.
    return {**limits, "QISKIT_IN_PARALLEL": "TRUE", "QISKIT_PARALLEL": "FALSE"}


def _smaller(name: str, share: int) -> int:
    mine = os.environ.get(name, "")
    return min(share, int(mine)) if mine.isdecimal() and int(mine) > 0 else share
