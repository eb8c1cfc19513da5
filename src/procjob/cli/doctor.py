"""``procjob doctor``: what is installed, what this machine grants, how quick its workers are, and what is missing."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

from procjob import __version__
from procjob.cli.options import add_command
from procjob.cli.output import Output

_CORE = ("numpy", "loky", "cloudpickle", "psutil", "tqdm")
#: Packages that not everybody needs: what for, and the extra that brings them.
_OPTIONAL = {
    "qiskit": ("OpenQASM files, ProcessBackend", "qiskit"),
    "qiskit-aer": ("runs on Aer", "qiskit"),
    "qiskit-qasm3-import": ("OpenQASM 3", "qiskit"),
    "pandas": ("SweepResult.to_pandas", "pandas"),
    "xarray": ("SweepResult.to_xarray", "xarray"),
    "matplotlib": ("pictures", "plot"),
}
_ROUND_TRIPS = 50
#: Open files under which many workers cannot start.
_FEW_FILES = 256
_SHM = Path("/dev/shm")


def add(commands: Any) -> None:
    """Add the command."""
    add_command(
        commands, "doctor", run, brief="look at this machine and what is installed",
        about="Say which versions are installed, which cores are granted and by what, which limits workers get and how quick "
        "they are, and what is missing. The exit code is 1 if no worker can start.",
        examples="  procjob doctor\n  procjob doctor --json\n",
    )  # fmt: skip


def run(_arguments: argparse.Namespace, out: Output) -> int:
    """Look, and tell."""
    report = {
        "versions": _versions(),
        "cores": _cores(),
        "workers": _workers(),
        "thread limits in workers": _thread_limits(),
        "machine": _machine(),
    }
    missing = _missing(report)
    if out.as_json:
        out.json({**report, "missing": missing})
    else:
        for title, values in report.items():
            out.pairs({title: None, **{f"  {name}": "-" if value is None else value for name, value in values.items()}})
        out.pairs({"missing": "\n".join(missing) or "nothing"})
    return 1 if "error" in report["workers"] else 0


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {"procjob": __version__, "python": platform.python_version()}
    return found | {name: _version(name) for name in (*_CORE, *_OPTIONAL)}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cores() -> dict[str, Any]:
    """Return the cores that are there, those that are granted, and what has a say in that."""
    from procjob.pool.environment import cores_granted

    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    limits = {
        "in the machine": os.cpu_count(),
        "affinity": affinity,
        "cgroup quota": _cgroup_quota(),
        "LOKY_MAX_CPU_COUNT": os.environ.get("LOKY_MAX_CPU_COUNT"),
    }
    granted = cores_granted()
    by = [name for name, value in limits.items() if value is not None and _ceiling(value) == granted]
    return {**limits, "granted": granted, "granted by": by[-1] if by else "unknown"}


def _ceiling(value: Any) -> int:
    try:
        return -int(-float(value) // 1)
    except ValueError:
        return 0


def _cgroup_quota() -> float | None:
    """Return the cores that the control group of this process grants; None: no limit, or none that is known."""
    two, one = Path("/sys/fs/cgroup/cpu.max"), Path("/sys/fs/cgroup/cpu")
    try:
        if two.exists():
            quota, period = two.read_text().split()
        else:
            quota, period = ((one / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
    except (OSError, ValueError):
        return None
    return None if quota in ("max", "-1") else int(quota) / int(period)


def _workers() -> dict[str, Any]:
    """Start a worker, and measure."""
    from procjob.backend import Backend
    from procjob.pool.environment import default_workers

    try:
        told: dict[str, Any] = {
            "default number": default_workers(),
            "PROCJOB_WORKERS": os.environ.get("PROCJOB_WORKERS"),
        }
        with Backend(abs, workers=1) as backend:
            began = time.perf_counter()
            backend.run(-1).result(60)
            told["start of a worker, ms"] = _milliseconds(time.perf_counter() - began)
            trips = []
            for _ in range(_ROUND_TRIPS):
                began = time.perf_counter()
                backend.run(-1).result(60)
                trips.append(time.perf_counter() - began)
            told["round trip of a job, ms"] = _milliseconds(statistics.median(trips))
    except Exception as exc:  # noqa: BLE001  (whatever keeps workers from starting is what the user wants to know)
        return {"error": f"{type(exc).__name__}: {exc}"}
    return told


def _milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 2)


def _thread_limits() -> dict[str, str]:
    from procjob.pool.environment import default_workers, worker_environment

    try:
        return worker_environment(default_workers())
    except ValueError as exc:
        return {"error": str(exc)}


def _machine() -> dict[str, Any]:
    import psutil

    return {
        "system": platform.platform(),
        "memory free, GB": round(psutil.virtual_memory().available / 1e9, 1),
        "/dev/shm free, GB": round(shutil.disk_usage(_SHM).free / 1e9, 1) if _SHM.is_dir() else None,
        "open files at most": _open_files(),
    }


def _open_files() -> int | None:
    try:
        import resource
    except ModuleNotFoundError:  # elsewhere than on POSIX
        return None
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _missing(report: dict[str, dict[str, Any]]) -> list[str]:
    """Return what is missing, and how to get it."""
    found = [
        f"{name}, for {purpose}: pip install 'procjob[{extra}]'"
        for name, (purpose, extra) in _OPTIONAL.items()
        if report["versions"][name] is None
    ]
    if (files := report["machine"]["open files at most"]) is not None and 0 <= files < _FEW_FILES:
        found.append(f"open files: {files} are few for many workers: ulimit -n 1024")
    if "error" in report["workers"]:
        found.append(f"workers: none can start: {report['workers']['error']}")
    return found
