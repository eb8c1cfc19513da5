"""What importing costs.

    python -m benchmarks --rows import

In fresh interpreters, less what an interpreter costs that imports nothing. Public names of procjob are loaded when they are
first used; what all of them cost is beside it.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from functools import partial
from importlib.util import find_spec

from benchmarks.rows import Row, beside
from benchmarks.timing import seconds

STATEMENTS = {
    "procjob": "import procjob",
    "procjob, all names": "from procjob import *",
    "loky and numpy": "import loky, numpy",
    "joblib": "import joblib",
    "stdlib": "import concurrent.futures.process",
    "mp.Pool": "import multiprocessing.pool",
    "pebble": "import pebble",
    "mpire": "import mpire",
    "distributed": "import distributed",
}


@contextlib.contextmanager
def imported(statement, quick):
    for module in statement.split(maxsplit=1)[1].removesuffix(" import *").split(", "):
        if find_spec(module.split(".")[0]) is None:
            raise ModuleNotFoundError(name=module)

    def run(code):
        subprocess.run([sys.executable, "-c", code], check=True)

    nothing = float("inf")  # the best so far

    def measure():
        nonlocal nothing
        nothing = min(nothing, *(seconds(partial(run, "pass")) for _ in range(3)))
        return (seconds(partial(run, statement)) - nothing) * 1e3

    measure()  # the first time compiles and reads from the disk
    yield measure


ROWS = [
    Row(
        key="import",
        title="`import procjob`",
        unit="ms",
        contenders={name: partial(imported, statement) for name, statement in STATEMENTS.items()},
        references=frozenset({"procjob, all names"}),
        goals=(beside("below loky plus NumPy", "loky and numpy"),),
        rounds=(11, 1),
    ),
]
