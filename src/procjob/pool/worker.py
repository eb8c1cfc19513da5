"""The child side of one worker: a loop that runs one task at a time, and the interrupt that can stop it.

Started by `procjob.pool.process`; imported by name, so nothing here relies on ``__main__``.

Invariants:
- A frame is written whole: the interrupt waits while the main thread holds the channel (`Channel.busy`).
- The interrupt carries (task, attempt) and raises only between `_armed` being set and cleared, in a `try` that is all
  around that. So it can never hit the next task, nor the loop.
- It raises once for each time it is asked, and not while the exception raised before exists: then the task is still
  leaving, in a ``finally``, a coroutine or a generator, say. One that C code has swallowed (some ignores whatever a
  callback raises) is gone, and is so followed by another.
- The parent writes the Interrupt frame before it sends the signal. A signal that comes before the task is armed is
  remembered (`_missed`) and looked at on arming.
- A worker whose task was interrupted in the middle of an import ends without sending Finished: half-imported packages
  would break the next task. The parent sees it end under a stopped task, as after a kill.
- So does one whose interrupted task has left threads behind, or processes, which it kills: nothing of a stopped task goes on.
- The worker never outlives its parent: PR_SET_PDEATHSIG on Linux, and a thread that waits for the channel to hang up.
"""

from __future__ import annotations

import _thread
import contextlib
import faulthandler
import fcntl
import importlib
import logging
import os
import resource
import select
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from types import FrameType
from typing import IO

from procjob.events import Usage
from procjob.pool import constants, session, streams, wire
from procjob.pool.mark import Mark
from procjob.pool.memory import Lane
from procjob.pool.payload import Buffers, pack
from procjob.pool.permits import Permits
from procjob.pool.pickling import dumps, loads, pack_exception
from procjob.pool.session import TaskInterrupt, dumps_event
from procjob.pool.threads import start_thread

#: The signal that makes a worker look for an Interrupt.
INTERRUPT_SIGNAL = signal.SIGUSR1
#: ``ru_maxrss`` counts kilobytes on Linux and bytes on macOS.
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class WorkerConfig:
    """What a worker is born with: the child's ends of its pipes, its parent's pid, the level of captured logs, the path of imports."""

    channel: Connection
    stdout: Connection
    stderr: Connection
    mark: Connection
    permits: Connection
    lane: Connection
    parent_pid: int
    log_level: int
    path: list[str]


class Channel:
    """The worker's end of the duplex pipe. Only the main thread receives; any thread may send."""

    def __init__(self, fd: int, lane: Lane) -> None:
        self.fd = fd
        self._lane = lane
        self._reader = wire.FrameReader(fd, lane.receive)
        self._lock = threading.RLock()
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)

    def receive(self) -> wire.Message | None:
        """Block until a message is there; None: the parent has hung up."""
        while not self._reader.messages:
            if not self._reader.fill():
                return None
        return self._reader.messages.popleft()

    def await_go_on(self) -> bool:
        """Block until the parent has read what a task has printed; False: the parent has hung up."""
        messages, go_on = self._reader.messages, wire.GoOn()
        while go_on not in messages:
            if not self._reader.fill():
                return False
        messages.remove(go_on)
        return True

    def send(self, message: wire.Message) -> None:
        """Write one frame."""
        with self._lock:
            for buffer in wire.encode(message, self._lane.send):
                written = os.write(self.fd, buffer)
                while written < len(buffer):
                    written += os.write(self.fd, memoryview(buffer)[written:])

    def busy(self) -> bool:
        """Whether the calling thread is in the middle of `send`."""
        return self._lock._is_owned()  # type: ignore[attr-defined, no-any-return]  # the one way to ask an RLock

    def take_interrupt(self, task: int, attempt: int) -> bool:
        """Read what has arrived, without blocking; whether it holds the interrupt of this attempt."""
        while self._poll.poll(0):
            if not self._reader.fill():
                return False  # the parent is gone; the watcher or the loop ends this process
        wanted = wire.Interrupt(task, attempt)
        if wanted not in self._reader.messages:
            return False
        self._reader.messages.remove(wanted)
        return True


class Worker:
    """The loop and its interrupt."""

    def __init__(self, channel: Channel, mark: Mark, permits: Permits) -> None:
        self._channel = channel
        self._mark = mark
        self._permits = permits
        self._pid = os.getpid()
        self._armed: tuple[int, int] | None = None
        self._raised: Callable[[], TaskInterrupt | None] = _nothing
        self._missed = False
        self._deferred = False
        self._spoiled = False
        self._session: session.Session | None = None
        self._streams: streams.Kept

    def serve(self) -> int:
        """Run tasks until told to leave; returns the exit code of the process."""
        signal.signal(INTERRUPT_SIGNAL, self._on_signal)
        while (message := self._channel.receive()) is not None:
            match message:
                case wire.Run(task, attempt, body):
                    if message.ahead and not self._permits.take():
                        self._channel.send(wire.Returned(task, attempt))
                    else:
                        self._mark.set(task, attempt)
                        if message.announced:
                            self._channel.send(wire.Started(task, attempt))
                            session.forget_warnings()
                        if not self._run(task, attempt, body):
                            return 0
                    del body
                case wire.StoreConstant(body):
                    constants.store(body)
                case wire.DropConstant(body):
                    constants.drop(bytes(body))
                case wire.Initialize(body):
                    if not self._initialize(body):
                        return 1
                case wire.Leave():
                    return 0
                case wire.Interrupt():
                    pass  # too late: its task has ended
            del message
        return 0

    def _initialize(self, body: wire.Buffer) -> bool:
        try:
            if body:
                fn, args, kwargs = loads(body, what="the initializer")
                fn(*args, **kwargs)
            self._streams = streams.Kept()
        except BaseException as exc:  # noqa: BLE001  (whatever it raised, the parent is told)
            self._channel.send(wire.StartFailed(pack_exception(exc)))
            return False
        self._channel.send(wire.Ready())
        return True

    # ------------------------------------------------------------ one task

    def _run(self, task: int, attempt: int, call: wire.Body) -> bool:
        """Execute a task and tell its end; False: the parent is gone."""
        self._session = session.Session(partial(self._report, task, attempt), dumps_event)
        session.bind_process(self._session)
        threads = _thread._count()
        began, cpu_began = time.perf_counter(), time.process_time()
        kind, value, buffers = self._outcome(task, attempt, call)
        copied = os.getpid() != self._pid  # by the task, by fork: it is no second worker
        interrupted = self._raised is not _nothing
        if copied or self._spoiled or (interrupted and (_kill_children() or _thread._count() > threads)):
            streams.flush()
            os._exit(0)
        usage = Usage(
            time.perf_counter() - began,
            time.process_time() - cpu_began,
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT,
        )
        self._session.flush()
        session.bind_process(None)
        streams.flush()
        self._streams.restore()
        try:
            payload = pack(value, buffers)
        except MemoryError as exc:
            kind, payload = wire.OutcomeKind.RAISED, pack_exception(exc)
        del buffers
        has_printed = streams.printed()
        self._channel.send(wire.Finished(task, attempt, wire.pack_outcome(kind, has_printed, usage, payload)))
        return not has_printed or self._channel.await_go_on()

    def _outcome(self, task: int, attempt: int, call: wire.Body) -> tuple[wire.OutcomeKind, bytes, Buffers]:
        # The outer `try` catches an interrupt wherever it strikes after arming: in the task, while its exception is
        # being packed, or on the last bytecode before the channel is disarmed. Large buffers are copied when it cannot.
        buffers = Buffers()
        try:
            self._raised = _nothing
            self._armed = (task, attempt)
            if self._missed:
                self._missed = False
                self._interrupt_if_asked()
            try:
                outcome = wire.OutcomeKind.RETURNED, self._call(call, buffers), buffers
            except TaskInterrupt:
                raise
            except BaseException as exc:  # noqa: BLE001  (the task's own end, whatever it raised, is its outcome)
                outcome = wire.OutcomeKind.RAISED, pack_exception(exc), Buffers()
            self._armed = None
        except TaskInterrupt:
            self._armed = None
            return wire.OutcomeKind.INTERRUPTED, b"", Buffers()
        return outcome

    def _call(self, call: wire.Body, buffers: Buffers) -> bytes:
        _, pickled = wire.parted(call, 0)
        fn, args, kwargs = loads(pickled, what="the call")
        return dumps(constants.callable_of(fn)(*args, **kwargs), label="result", buffers=buffers)

    def _report(self, task: int, attempt: int, event: bytes) -> None:
        self._channel.send(wire.Report(task, attempt, event))
        if self._deferred and threading.current_thread() is threading.main_thread():
            self._deferred = False
            self._interrupt_if_asked()

    # ------------------------------------------------------------ the interrupt

    def _on_signal(self, _signum: int, _frame: FrameType | None) -> None:
        if self._armed is None:
            self._missed = True
        elif self._channel.busy():
            self._deferred = True
        else:
            self._interrupt_if_asked()

    def _interrupt_if_asked(self) -> None:
        if self._armed is not None and self._raised() is None and self._channel.take_interrupt(*self._armed):
            self._spoiled = self._spoiled or importing(sys._getframe())
            if self._session is not None:
                self._session.stop_requested = True
            interrupt = TaskInterrupt()
            self._raised = weakref.ref(interrupt)
            try:
                raise interrupt
            finally:
                del interrupt  # this frame is in its traceback


def _nothing() -> None:
    """Stand for a reference to what is gone."""


def initialize(modules: Iterable[str], first: bytes) -> None:
    """Import modules, then make the pickled call that the user wants to be made first, if any."""
    for name in modules:
        importlib.import_module(name)
    if first:
        fn, args, kwargs = loads(first, what="the initializer")
        fn(*args, **kwargs)


def importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported on this stack."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


# ---------------------------------------------------------------- start of the process


def main(config: WorkerConfig) -> None:
    """Entry point of the process."""
    _die_with(config.parent_pid)
    sys.path[:] = config.path
    _yield_to_the_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    signal.signal(INTERRUPT_SIGNAL, signal.SIG_IGN)  # until the loop listens
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, INTERRUPT_SIGNAL})
    channel_fd, mark_fd = _take(config.channel), _take(config.mark)
    streams.redirect(_take(config.stdout), _take(config.stderr))
    faulthandler.enable()
    _capture(config.log_level)
    session.become_worker()
    mark = Mark(mark_fd)
    os.close(mark_fd)
    mark.come_up()
    permits = Permits(_take(config.permits))
    channel = Channel(channel_fd, Lane(_take(config.lane)))
    start_thread("procjob-watch", _watch_parent, channel.fd)
    sys.exit(Worker(channel, mark, permits).serve())


def _die_with(parent_pid: int) -> None:
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1  # from <sys/prctl.h>
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before the line above
        os._exit(1)


def _yield_to_the_parent() -> None:
    """Compute in the background: a worker that wakes up does not push its parent off the core it is woken from."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a sandbox may forbid it; it is a courtesy
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _watch_parent(channel_fd: int) -> None:
    """End this process and its children when the parent's end of the channel closes, even while a task runs.

    Where the parent is killed on Linux, the kernel mostly ends this process first, and the children live on.
    """
    hang_up = select.poll()
    hang_up.register(channel_fd, 0)  # no input events: only POLLHUP and POLLERR, which are always reported
    hang_up.poll()
    _kill_children()
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_children() -> bool:
    """Kill the processes that this one has started, and theirs; whether there was one that lived."""
    if sys.platform == "linux":
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:  # there is none: the most frequent case, and this is quick
            return False
    killed = False
    with contextlib.suppress(Exception):  # the tree cannot be read: no descriptor is left for it, say
        import psutil

        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if child.status() != psutil.STATUS_ZOMBIE:
                    child.kill()
                    killed = True
    return killed


def _take(file: Connection | IO[bytes]) -> int:
    """Return its descriptor, moved beyond those of the standard streams: in a script without these, it can be one."""
    fd = fcntl.fcntl(file.fileno(), fcntl.F_DUPFD_CLOEXEC, 3)
    file.close()
    return fd


def _capture(log_level: int) -> None:
    root = logging.getLogger()
    root.setLevel(log_level)
    root.addHandler(session.CaptureHandler())
    session.capture_warnings()
