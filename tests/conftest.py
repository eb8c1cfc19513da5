"""Every test is checked for what it leaves behind: child processes, procjob's threads, open files."""

from __future__ import annotations

import contextlib
import gc
import signal
import threading
import time
from multiprocessing import resource_tracker
from pathlib import Path

import psutil
import pytest
from loky.backend import resource_tracker as loky_resource_tracker

# A shell that starts the tests in the background has them ignore Ctrl-C, and with them the scripts they start and strike.
signal.signal(signal.SIGINT, signal.default_int_handler)

#: How long what a test started may take to end, in seconds.
PATIENCE = 5.0

OPEN_FILES = Path("/proc/self/fd")  # Linux; elsewhere files are not checked


@pytest.fixture
def no_garbage():
    """For tests that interrupt at every place: what strikes a finalizer that the garbage collector calls is lost."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def resource_trackers():
    """Start the helpers that live as long as the interpreter, so that no test is blamed for them."""
    resource_tracker.ensure_running()
    loky_resource_tracker.ensure_running()


@pytest.fixture(autouse=True)
def nothing_left_behind(resource_trackers):
    """Fail a test after which processes, threads named procjob* or open files are more than before.

    What fixtures of a wider scope hold is there before and so not counted, but a pool they hold must not replace a
    worker meanwhile: a test that kills workers has its own pool.
    """
    before = _processes() | _threads() | _files()
    yield
    deadline = time.monotonic() + PATIENCE
    while left := (_processes() | _threads() | _files()) - before:
        if time.monotonic() > deadline:
            break
        gc.collect()
        time.sleep(0.02)
    if left:
        _kill_children(left)
        pytest.fail("\n  ".join(["left behind:", *sorted(" ".join(map(str, thing)) for thing in left)]), pytrace=False)


def _processes() -> set[tuple]:
    found = set()
    for child in psutil.Process().children(recursive=True):
        try:
            command = " ".join(child.cmdline())
        except psutil.NoSuchProcess:  # a zombie, too: one that nobody has waited for
            if not child.is_running():
                continue
            command = "(zombie)"
        if "resource_tracker" not in command:
            found.add(("process", child.pid, command))
    return found


def _threads() -> set[tuple]:
    return {("thread", t.name, t.ident) for t in threading.enumerate() if t.name.startswith("procjob")}


def _files() -> set[tuple]:
    found = set()
    for entry in OPEN_FILES.iterdir() if OPEN_FILES.exists() else ():
        with contextlib.suppress(FileNotFoundError):  # the one that lists the folder
            found.add(("file", entry.name, str(entry.readlink())))
    return found


def _kill_children(left: set[tuple]) -> None:
    """End leaked processes, so that the next test starts clean and the session can end."""
    for kind, pid, *_ in left:
        if kind == "process":
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(pid).kill()
