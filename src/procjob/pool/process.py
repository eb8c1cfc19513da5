"""The parent's side of one worker process: start it, feed it, listen to it, stop it.

Nothing here blocks: descriptors are non-blocking, what a pipe does not take is kept (`unsent`) until it is writable
again. Used by the pool's one thread only.
"""

from __future__ import annotations

import codecs
import contextlib
import itertools
import os
import select
import signal
import socket
import sys
import weakref
from collections import OrderedDict, deque
from collections.abc import Sequence
from multiprocessing import get_start_method
from multiprocessing import resource_tracker as multiprocessing_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import ORIGINAL_DIR, _children  # type: ignore[attr-defined]  # left out of its stubs
from pathlib import Path
from typing import Any

from loky.backend import resource_tracker as loky_tracker
from loky.backend.context import LokyContext
from loky.backend.popen_loky_posix import Popen
from loky.backend.process import LokyProcess

from procjob.pool import wire
from procjob.pool.constants import Constant
from procjob.pool.mark import Mark, make_page
from procjob.pool.memory import Lane
from procjob.pool.permits import Permits
from procjob.pool.streams import unread
from procjob.pool.threads import set_mask
from procjob.pool.worker import INTERRUPT_SIGNAL, WorkerConfig, main

#: Bytes of constants that a worker keeps before the least recently used are dropped.
CONSTANTS_BUDGET = 1 << 29
#: Bytes of those that nobody has any more, of which an equal one may come again: the plan of a circuit that is run again and again.
#: It is small, as an object may take ten times the memory of its pickle.
ORPHANS_BUDGET = 1 << 22
#: Characters of a task's standard error that are kept for the report of its death.
TAIL = 8192


class _Process(LokyProcess):  # type: ignore[misc]  # loky has no annotations
    """A loky process that is started whatever the standard streams of the parent are: closed, broken or full.

    loky flushes them before it starts one, which it need not for one that is no copy of its parent.
    """

    @staticmethod
    def _Popen(process: LokyProcess) -> Popen:  # noqa: N802  (the name of what it overrides)
        popen = Popen.__new__(Popen)
        popen.returncode, popen._fds = None, []
        try:
            popen._launch(process)
        except UnboundLocalError as exc:  # loky's clean-up trips where there was no descriptor left for its pipes
            raise exc.__context__ or exc from None
        return popen

    def __reduce__(self) -> tuple[Any, ...]:
        return object.__new__, (LokyProcess,), self.__dict__  # the worker needs nothing of this module


class OutputPipe:
    """One standard stream of a worker, as text."""

    def __init__(self, fd: int, name: str) -> None:
        self.fd = fd
        self.name = name
        self.ended = False
        self.halved = False  # what was read last ends with half a character
        self.reads = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._poll = select.poll()
        self._poll.register(fd, 0)  # no input events: only the end, which is always told

    def waiting(self) -> int | None:
        """Return how many bytes are there; None at the end of the stream."""
        hung_up = self._poll.poll(0)
        count = unread(self.fd)
        return None if hung_up and not count else count

    def read(self, most: int, *, final: bool = False) -> str | None:
        """Return what is there, '' if nothing, None at the end of the stream.

        Args:
            most: bytes to read.
            final: half a character at the end is not the beginning of what comes later.
        """
        self.reads += 1
        try:
            data = os.read(self.fd, most)
        except BlockingIOError:
            return ""
        self.ended = not data
        return None if self.ended else self._decoded(data, final=final)

    def rest(self) -> str:
        """Return what stands for half a character that was read last."""
        return self._decoded(b"", final=True)

    def _decoded(self, data: bytes, *, final: bool) -> str:
        text = self._decoder.decode(data, final)
        self.halved = bool(self._decoder.getstate()[0])
        return text


class WorkerProcess:
    """A live worker.

    Args:
        environment: variables to set before the interpreter starts.
        log_level: level of the root logger in the worker.
        initializer: pickled call to run first, or empty.

    Raises:
        OSError: the process could not be started.
    """

    def __init__(self, environment: dict[str, str], log_level: int, initializer: bytes) -> None:
        context = LokyContext()
        path = _import_path()
        channel, child_channel = context.Pipe(duplex=True)
        out, child_out = context.Pipe(duplex=False)
        err, child_err = context.Pipe(duplex=False)
        page = Connection(make_page())  # a Connection carries any descriptor to the child
        self._mark = Mark(page.fileno())
        permits, granted = context.Pipe(duplex=False)
        self._permits = Permits(permits.fileno(), granted.fileno())
        lane, child_end = socket.socketpair()
        child_lane = Connection(child_end.detach())
        self._lane = Lane(lane.detach())
        config = WorkerConfig(
            child_channel, child_out, child_err, page, permits, child_lane, os.getpid(), log_level, path
        )
        self._process = _Process(target=main, args=(config,), name="procjob-worker", env=environment)
        # A task that uses multiprocessing finds it as it is in the script: loky's own method works for loky alone.
        self._process._start_method = get_start_method(allow_none=True)
        try:
            start_trackers()
            self._process.start()
        except BaseException:  # whatever kept it from starting: leave no descriptor behind
            for connection in (channel, out, err, permits, granted, self._lane):
                connection.close()
            raise
        finally:
            for connection in (child_channel, child_out, child_err, page, child_lane):
                connection.close()
        # multiprocessing would join it at exit, even at that of a copy of this process made by fork, and would keep it
        # and its sentinel pipe for as long as it has not reaped it itself; somebody else may.
        _children.discard(self._process)
        self._connections = (channel, out, err, permits, granted, self._lane)
        for connection in (channel, out, err, permits, granted):
            os.set_blocking(connection.fileno(), False)
        self.pid: int = self._process.pid
        self.channel_fd: int = channel.fileno()
        self.outputs = (OutputPipe(out.fileno(), "stdout"), OutputPipe(err.fileno(), "stderr"))
        self.exit_fd, self._own_exit_fd = _exit_descriptor(self.pid, self._process.sentinel)
        self.stderr_tail = ""
        self._reader = wire.FrameReader(self.channel_fd, self._lane.receive)
        self._unsent: deque[wire.Buffer] = deque()
        self._signal_when_sent = False
        self._constants: OrderedDict[bytes, tuple[int, weakref.ref[Constant]]] = OrderedDict()
        self._constants_size = 0
        self._orphaned: deque[weakref.ref[Constant]] = deque()  # since the last look; any thread may add one
        self.send(wire.Initialize(initializer))

    # ------------------------------------------------------------ out

    @property
    def unsent(self) -> bool:
        """Whether the pipe was full: call `flush` when it is writable."""
        return bool(self._unsent)

    def send(self, message: wire.Message) -> None:
        """Send one message, or as much of it as the pipe takes now."""
        self._unsent += wire.encode(message, self._lane.send)
        self.flush()

    def flush(self) -> None:
        """Send what is left, as far as the pipe takes it."""
        try:
            while self._unsent:
                buffer = self._unsent[0]
                written = os.write(self.channel_fd, buffer)
                if written == len(buffer):
                    self._unsent.popleft()
                else:
                    self._unsent[0] = memoryview(buffer)[written:]
        except BlockingIOError:
            return
        except (BrokenPipeError, ConnectionResetError):
            self._unsent.clear()  # it is dead or dying: its exit descriptor will say so
            return
        if self._signal_when_sent:
            self._signal_when_sent = False
            self._signal(INTERRUPT_SIGNAL)

    def run(self, message: wire.Run, constants: Sequence[Constant]) -> None:
        """Hand over a task, preceded by the constants that this worker lacks."""
        self.stderr_tail = ""
        for constant in constants:
            self._ensure(constant)
        self.send(message)
        self._drop_constants(constants)

    def lacks(self, constants: Sequence[Constant]) -> int:
        """Return how many bytes of constants would have to be sent for a call that refers to these."""
        return sum(len(constant.payload) for constant in constants if constant.digest not in self._constants)

    def run_ahead(self, messages: Sequence[wire.RunAhead], constants: Sequence[Constant]) -> None:
        """Hand over tasks for when the present one has ended; `recall` takes them back.

        ``constants`` are those that any task refers to which the worker holds from now on.
        """
        self._permits.grant(len(messages))  # first: the worker must find one for each
        for constant in constants:
            self._ensure(constant)
        self._unsent.append(b"".join(itertools.chain.from_iterable(map(wire.encode, messages))))
        self.flush()
        self._drop_constants(constants)

    def recall(self) -> int:
        """Take back the tasks handed over ahead that the worker has not taken on; how many of the last ones these are."""
        return self._permits.recall()

    def interrupt(self, task: int, attempt: int) -> None:
        """Ask the worker to stop an attempt: first the word, then the signal that makes it look."""
        self._signal_when_sent = True
        self.send(wire.Interrupt(task, attempt))

    def _ensure(self, constant: Constant) -> None:
        kept, size = self._constants, len(constant.payload)
        if constant.digest not in kept:
            self._constants_size += size
            self.send(wire.StoreConstant(wire.joined(constant.digest, constant.payload)))
        # The last of those that are equal may live longest.
        kept[constant.digest] = size, weakref.ref(constant, self._orphaned.append)
        kept.move_to_end(constant.digest)

    def _drop_constants(self, needed: Sequence[Constant]) -> None:
        """Drop the least recently used constants beyond the budgets, but none of those needed now."""
        if not self._orphaned and (not needed or self._constants_size <= CONSTANTS_BUDGET):
            return
        self._orphaned.clear()
        keep = {constant.digest for constant in needed}
        orphans = sum(size for size, handle in self._constants.values() if handle() is None)
        for digest, (size, handle) in list(self._constants.items()):
            is_orphan = handle() is None
            if digest not in keep and (
                self._constants_size > CONSTANTS_BUDGET or (is_orphan and orphans > ORPHANS_BUDGET)
            ):
                del self._constants[digest]
                self._constants_size -= size
                orphans -= size if is_orphan else 0
                self.send(wire.DropConstant(digest))

    # ------------------------------------------------------------ in

    def receive(self, *, arrived: bool = False, everything: bool = False) -> tuple[deque[wire.Message], bool]:
        """Return the messages that have arrived, and whether no more can come: the worker has closed its end, say.

        Args:
            arrived: all that has arrived by now; else what one read has not taken is left for the next call.
            everything: all that comes while this reads.
        """
        reader = self._reader
        try:
            enough = reader.total + (unread(self.channel_fd) if arrived else 0)
            hung_up = not reader.fill()
            while (everything or reader.in_large_body or reader.total < enough) and not hung_up:
                hung_up = not reader.fill()
        except BlockingIOError:
            hung_up = False
        except ConnectionResetError:  # it died with unread input
            hung_up = True
        except wire.BrokenStream as exc:  # a task wrote to descriptors that are not its own, or sent too much
            self.note_stderr(f"procjob cannot read on from this worker: {exc}\n")
            hung_up = True
        messages, reader.messages = reader.messages, deque()
        return messages, hung_up

    def has_begun(self, task: int, attempt: int) -> bool:
        """Whether the worker has begun this attempt, and nothing after it. Safe to call from any thread."""
        return self._mark.names(task, attempt)

    def note_stderr(self, text: str) -> None:
        """Keep the last characters for the report of a death."""
        self.stderr_tail = (self.stderr_tail + text)[-TAIL:]

    # ------------------------------------------------------------ ends

    def exitcode(self) -> int | None:
        """Return the exit code, negative for a signal; None if it runs or somebody else has reaped it."""
        code: int | None = self._process.exitcode
        return code

    def kill(self) -> None:
        """Kill the worker and everything it has started."""
        if not self._mark.is_up():
            # It has started nothing, and a stopped one would outlive a parent that ends before the second signal.
            self._signal(signal.SIGKILL)
            return
        if not self._signal(signal.SIGSTOP):  # so that it starts nothing while its tree is read
            return  # it is gone, and its pid may be somebody else's
        with contextlib.suppress(Exception):  # the tree cannot be read: no descriptor is left for it, say
            import psutil

            for child in psutil.Process(self.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    child.kill()
        self._signal(signal.SIGKILL)

    def tree_rss(self) -> int:
        """Return the resident bytes of the worker and all its descendants; 0 if it is gone."""
        total = 0
        with contextlib.suppress(Exception):  # as in `kill`
            import psutil

            worker = psutil.Process(self.pid)
            for process in (worker, *worker.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    total += process.memory_info().rss
        return total

    def close(self) -> None:
        """Release the descriptors; the process must have ended."""
        for connection in self._connections:
            connection.close()
        if self._own_exit_fd:
            os.close(self.exit_fd)

    def _signal(self, signum: int) -> bool:
        """Send a signal; False if the process is gone."""
        # Through the descriptor where there is one: a pid may have been given to another process meanwhile.
        try:
            if self._own_exit_fd:
                signal.pidfd_send_signal(self.exit_fd, signum)
                return True
            if self._process.exitcode is None:
                os.kill(self.pid, signum)
                return True
        except ProcessLookupError:
            pass
        return False


def _exit_descriptor(pid: int, sentinel: int) -> tuple[int, bool]:
    """Return a descriptor that turns readable when the process ends, and whether it is ours to close.

    A pidfd where the system has them; else the sentinel pipe, which a surviving grandchild can hold open.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            return os.pidfd_open(pid), True
    return sentinel, False


def _import_path() -> list[str]:
    """Return where a worker finds the script's modules.

    "" is the folder where the script is now, and to loky the one that it was started in, from which it may have modules, too.
    """
    return [place for entry in sys.path for place in ([entry] if entry else [str(Path.cwd()), ORIGINAL_DIR])]


def start_trackers() -> None:
    """Start what loky gives to each worker, the resource trackers of loky and of multiprocessing, unless they run.

    Some versions unblock SIGINT when they start. The pool's thread must never take it, and a worker that is born in that
    moment would not inherit it blocked, and die of a Ctrl-C before it ignores it.
    """
    before = set_mask(signal.SIG_BLOCK, ())
    try:
        loky_tracker.ensure_running()
        multiprocessing_tracker.ensure_running()
    finally:
        set_mask(signal.SIG_SETMASK, before)
