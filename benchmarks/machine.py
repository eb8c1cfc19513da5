"""Where the figures were measured."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

PACKAGES = [
    "procjob", "loky", "joblib", "pebble", "mpire", "distributed", "cloudpickle", "numpy", "psutil", "qiskit",
    "qiskit-aer", "qulacs",
]  # fmt: skip


def machine() -> dict:
    """Return cores, processor, memory, versions, date and load."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "load before": [round(load, 2) for load in os.getloadavg()],
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def _version(name: str) -> str | None:
    if name == "procjob":  # maybe not installed but on the path
        import procjob

        return procjob.__version__
    try:
        return version(name)
    except PackageNotFoundError:
        return None
