"""Which process wrote something, and whether it still lives."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from socket import gethostname
from typing import NamedTuple


class Process(NamedTuple):
    """A process, told apart from any other on any machine at any time.

    Attributes:
        host: name of its machine.
        boot: of that machine, since when it runs; empty where the system does not tell.
        pid_namespace: within which its pid is unique; empty where there are none.
        pid: its number there.
        started: when, in units of its own; only equal or not equal to others. 0: not known.
    """

    host: str
    boot: str
    pid_namespace: str
    pid: int
    started: float

    @classmethod
    def this(cls) -> Process:
        """Return the calling process."""
        pid = os.getpid()
        return cls(gethostname(), _boot(), _pid_namespace(), pid, _started(pid) or 0.0)

    def is_gone(self) -> bool:
        """Return whether it is known to have ended; False also if nobody can tell from here."""
        if self.host != gethostname():
            return False
        if self.boot != _boot():
            return True  # the machine was started again
        if self.pid_namespace != _pid_namespace():
            return False
        started = _started(self.pid)
        if started is None or not self.started:
            return not _is_hidden(self.pid) and started is None
        return started != self.started


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _is_hidden(pid: int) -> bool:
    """Return whether there is a process of another user, which the system may not tell more about."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        pass
    return False


def _started(pid: int) -> float | None:
    """Return when a process was started; None if there is none, or it has ended and nobody has taken note."""
    if sys.platform == "linux":
        try:
            # Behind the name, which may hold anything: state, ..., and the start in clock ticks since the boot.
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            return None
        return None if fields[0] in (b"Z", b"X") else float(fields[19])
    import psutil  # elsewhere: not tested on other systems

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.NoSuchProcess:
        return None
