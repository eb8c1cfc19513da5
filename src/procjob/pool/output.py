"""What the workers print: read as it comes, told to the job, shown in the script as fast as that takes it."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from procjob.events import Logged
from procjob.pool.actions import Action
from procjob.pool.dispatcher import Dispatcher
from procjob.pool.inbox import Inbox
from procjob.pool.process import OutputPipe
from procjob.pool.records import Call, LiveWorker
from procjob.pool.relay import relay

#: Bytes to read at a time where it is not known how many there are: what a pipe holds, unless somebody has changed that.
READ = 1 << 16
#: Bytes of a worker's output that may wait for the dispatcher before its pipe is no longer read.
OUTPUT_BACKLOG = 1 << 20


def forget(selector: selectors.BaseSelector, fd: int) -> None:
    """Stop watching a descriptor, if it is watched."""
    if fd in selector.get_map():
        selector.unregister(fd)


@dataclass(frozen=True, slots=True, eq=False)
class OutputRelay:
    """The output of all workers of a pool. Used by the pool thread only.

    Attributes:
        selector: in which their pipes are watched.
        inbox: of the pool thread.
        dispatcher: the thread that shows the output.
        hear: acts on the messages of a worker that have arrived.
    """

    selector: selectors.BaseSelector
    inbox: Inbox
    dispatcher: Dispatcher
    hear: Callable[[LiveWorker], None]

    def watch(self, live: LiveWorker) -> None:
        """Read what a worker prints, unless that is watched already or has ended."""
        for pipe in live.process.outputs:
            if not pipe.ended and pipe.fd not in self.selector.get_map():
                self.selector.register(pipe.fd, selectors.EVENT_READ, partial(self._on_readable, live, pipe))

    def end(self, live: LiveWorker, *, printed: bool) -> None:
        """Read what a task has printed that has just ended; ``printed``: some of it may be in the pipes."""
        for pipe in live.process.outputs:
            if printed and not pipe.ended and (waiting := pipe.waiting()):
                self._read(live, pipe, waiting, final=True)
            elif pipe.halved:
                self._pass_on(live, pipe, pipe.rest())

    def finish(self, live: LiveWorker) -> None:
        """Read all that a worker has left, and watch it no more."""
        for pipe in live.process.outputs:
            while self._read(live, pipe):
                pass
            forget(self.selector, pipe.fd)
            pipe.ended = True

    def show(self, call: Call, event: Logged) -> None:
        """Show what a call has logged or warned about."""
        self.dispatcher.post(call.context.run, relay, event, call.describe)

    def _on_readable(self, live: LiveWorker, pipe: OutputPipe, _: int) -> list[Action]:
        # All that is in the pipe is of one task: the next one begins when the output of the one before is read (see
        # `wire.GoOn`). Which one that is, is known when the messages are read that were sent before it printed.
        if pipe.ended:  # the exit of the worker may have been handled earlier in the same round
            return []
        waiting, reads = pipe.waiting(), pipe.reads
        self.hear(live)
        if waiting != 0 and reads == pipe.reads and not pipe.ended:
            self._read(live, pipe, waiting or 1)  # 1: to see its end
        return []

    def _read(self, live: LiveWorker, pipe: OutputPipe, most: int = READ, *, final: bool = False) -> bool:
        """Pass on what a worker has written, at most so many bytes of it; whether there may be more."""
        text = pipe.read(most, final=final)
        if text is None:
            forget(self.selector, pipe.fd)
        if not text:
            return False
        self._pass_on(live, pipe, text)
        return True

    def _pass_on(self, live: LiveWorker, pipe: OutputPipe, text: str) -> None:
        if pipe.name == "stderr":
            live.process.note_stderr(text)
        event = Logged(time.monotonic(), "stderr" if pipe.name == "stderr" else "stdout", text)
        live.unrelayed += len(text)
        if live.unrelayed > OUTPUT_BACKLOG:
            forget(self.selector, pipe.fd)  # it fills and the worker waits, until the dispatcher has caught up
        if live.call is not None and live.call.sink is not None:
            live.call.sink(event)
        self.dispatcher.post(self._show_text, live, event, live.call)

    def _show_text(self, live: LiveWorker, event: Logged, call: Call | None) -> None:
        """In the dispatcher: show a text, then let the pool thread read on."""
        try:
            if call is None:
                relay(event)
            else:
                call.context.run(relay, event)
        finally:
            self.inbox.tell(self._shown, live, len(event.text))

    def _shown(self, live: LiveWorker, size: int) -> list[Action]:
        live.unrelayed -= size
        if live.unrelayed <= OUTPUT_BACKLOG // 2:
            self.watch(live)
        return []
