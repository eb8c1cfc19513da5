"""Text about values and exceptions whose own code may fail: it raises nothing of theirs but a real Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")
#: Characters of a message or traceback that are shipped as text.
MAX_TEXT = 100_000


def guarded(call: Callable[[], _T], otherwise: _T) -> _T:
    """Run code of a foreign exception, which may raise anything, `SystemExit` included, to save what can be saved.

    An interrupt of the stop ladder that lands here is swallowed too: the task is over, and the parent, which accepted
    the stop, knows its outcome.
    """
    try:
        return call()
    except BaseException as error:
        if is_ctrl_c(error):
            raise
        return otherwise


def is_ctrl_c(error: BaseException) -> bool:
    """Return whether an exception is a Ctrl-C of the user, not something that a foreign object has raised."""
    # Why catching BaseException hides no Ctrl-C: Python raises KeyboardInterrupt for a signal only in the main thread,
    # and only where SIGINT is not ignored. Workers ignore it, and the parent unpickles in a thread of its own; there
    # it can only come from the code of the pickled object, like any other exception. Anywhere else it passes.
    return (
        isinstance(error, KeyboardInterrupt)
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) != signal.SIG_IGN
    )


def describe(error: BaseException) -> str:
    """Return the type and the text of an exception."""
    text = text_of(error)
    return f"{type_name(error)}: {text}" if text else type_name(error)


def type_name(value: object) -> str:
    """Return the name of the type of a value, with its module unless it is built in."""
    cls = type(value)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def text_of(value: object) -> str:
    """Return the text of an exception, or of any other value."""
    return guarded(lambda: clip(str(value), MAX_TEXT), "<its str() failed>")


def short_repr(key: object) -> str:
    """Return the repr of a key, or its type where that fails."""
    return guarded(lambda: clip(repr(key), 1000), f"<{type_name(key)}>")


def clip(text: str, length: int) -> str:
    """Cut the middle out of a long text; always a plain str, as a subclass may bring a ``__reduce__`` of its own."""
    plain = str.__str__(text)
    if len(plain) <= length:
        return plain
    half = length // 2
    return f"{plain[:half]} ... [{len(plain) - 2 * half} characters left out] ... {plain[-half:]}"
