"""One contender of one row in a process of its own: a peer that hangs or dies costs its cell and nothing else.

    runner                         cell
    Cell(row, name)    starts  ->  serve(): sets the contender up
    ready()                    <-  {}                 or {"failed": why}
    measure()   "go"           ->  one round
                               <-  {"value": ...}     or {"failed": why}
    end()       end of file    ->  tears it down

Between its turns the whole family of a cell is stopped (SIGSTOP): many pools are never quite idle. What is left of it in
the end is killed.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.rows import Row

ROOT = Path(__file__).parents[1]
#: One thread for numerical libraries in all pools; procjob does that by itself.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
#: Seconds that a family has to wake up, and to end.
SETTLE = 0.02
END = 3.0


class Cell:
    """The runner's side."""

    def __init__(self, row: Row, name: str, *, quick: bool) -> None:
        self.row, self.name = row, name
        self._stderr = tempfile.TemporaryFile("w+b")  # noqa: SIM115  (closed in `close`)
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from benchmarks.cell import serve; serve()", row.key, name, str(int(quick))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            start_new_session=True,
            cwd=ROOT,
            env=os.environ | ONE_THREAD | {"PYTHONPATH": path},
        )
        self._pidfd = os.pidfd_open(self._process.pid)

    def ready(self) -> dict:
        """Wait until it is set up."""
        return self._answer()

    def measure(self) -> dict:
        """Have one round measured."""
        self._signal(signal.SIGCONT)
        try:
            os.write(self._process.stdin.fileno(), b"go\n")
        except BrokenPipeError:
            return {"failed": self._death()}
        return self._answer()

    def end(self) -> None:
        """Have it torn down; does not wait."""
        self._signal(signal.SIGCONT)
        self._process.stdin.close()

    def close(self) -> None:
        """End it and all its processes."""
        self.end()
        select.select([self._pidfd], [], [], END)
        self._signal(signal.SIGTERM)  # helpers that unlink what the others leave ignore it, and end after them
        last = time.monotonic() + END
        while self._is_there() and time.monotonic() < last:
            time.sleep(0.005)
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._process.stdout.close()
        self._stderr.close()
        os.close(self._pidfd)

    def _answer(self) -> dict:
        end = time.monotonic() + self.row.deadline
        line = b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self._process.stdout, self._pidfd], [], [], max(end - time.monotonic(), 0))
            if not ready:
                self._signal(signal.SIGTERM)
                return {"failed": f"no answer within {self.row.deadline:.0f} s"}
            if self._process.stdout not in ready:
                return {"failed": self._death()}
            read = os.read(self._process.stdout.fileno(), 65536)
            if not read:
                return {"failed": self._death()}
            line += read
        self._signal(signal.SIGSTOP)
        return json.loads(line)

    def _death(self) -> str:
        code = self._process.wait(END)
        self._stderr.seek(0)
        said = self._stderr.read().decode(errors="replace").strip().splitlines()
        return f"its process ended with {code}" + (f": {said[-1]}" if said else "")

    def _is_there(self) -> bool:
        """Whether anything of the family is left."""
        self._process.poll()
        try:
            os.killpg(self._process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def serve() -> None:
    """The cell's side: set up, measure when asked, tear down."""
    from benchmarks.table import ROWS

    key, name, quick = sys.argv[1:]
    answers = os.dup(1)
    os.dup2(2, 1)  # what a peer prints is not an answer

    def answer(found: dict) -> None:
        os.write(answers, json.dumps(found).encode() + b"\n")

    try:
        with ROWS[key].contenders[name](bool(int(quick))) as measure:
            answer({})
            for _ in sys.stdin:
                gc.collect()
                time.sleep(SETTLE)
                found = measure()
                answer(found if isinstance(found, dict) else {"value": found})
    except ModuleNotFoundError as exc:
        answer({"failed": f"not installed: {exc.name}", "missing": exc.name})
    except Exception as exc:  # noqa: BLE001  (whatever a peer raises is what its cell says)
        answer({"failed": " ".join(f"{type(exc).__name__}: {exc}".split())[:200]})
