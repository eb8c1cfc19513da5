"""How much memory this process was granted, for the simulators that ask for a number before they allocate."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import psutil


@cache  # it is asked in each run
def megabytes_granted() -> int:
    """Return the memory of the machine, or less if a container or a batch system grants less."""
    total: int = psutil.virtual_memory().total
    return min([total, *cgroup_limits(Path("/"))]) // 2**20


def cgroup_limits(root: Path) -> Iterator[int]:
    """Yield the limits, in bytes, of the control groups of this process, which Linux kills beyond.

    Args:
        root: of the file system.
    """
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # no Linux
        return
    for line in groups:
        _, controllers, group = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top = root / ("sys/fs/cgroup/memory" if controllers else "sys/fs/cgroup")
        here = top / group.strip("/")  # in a container there may be no such folder: its top is the group
        for folder in (here, *here.parents):
            yield from _limit(folder / ("memory.limit_in_bytes" if controllers else "memory.max"))
            if folder == top:
                break


def _limit(file: Path) -> Iterator[int]:
    try:
        text = file.read_text().strip()
    except OSError:
        return
    if text.isdecimal():  # or "max"
        yield int(text)
