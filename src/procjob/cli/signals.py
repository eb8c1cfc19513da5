"""Ctrl-C: the first one raises KeyboardInterrupt as always, the second ends the process at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Never


@contextmanager
def second_ctrl_c_ends() -> Iterator[None]:
    """Let a second Ctrl-C in the block end the process; its workers end with it."""
    # A shell that starts it in the background, and nohup, have Ctrl-C ignored: that stays so.
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not usual or threading.current_thread() is not threading.main_thread():
        yield
        return
    seen = False

    def on_ctrl_c(_number: int, _frame: FrameType | None) -> Never:
        nonlocal seen
        if seen:
            os._exit(130)
        seen = True
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, on_ctrl_c)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
