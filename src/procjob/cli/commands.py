"""The parser, which knows every command."""

from __future__ import annotations

import argparse
import sys
from typing import Any, Never

from procjob import __version__
from procjob.cli import doctor, exporting, listing, running, sweeping
from procjob.cli.options import Usage
from procjob.cli.output import finish, write


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and whose help may be cut off by its reader."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **settings)

    def error(self, message: str) -> Never:
        """See `argparse.ArgumentParser.error`."""
        raise Usage(f"{message} (see {self.prog} --help)")

    def _print_message(self, message: str, file: Any = None) -> None:
        if file is sys.stdout:
            write(message)
            finish()
        else:
            super()._print_message(message, file)


_EPILOG = """\
examples:
  procjob run bell.qasm --shots 4096 --seed 7
  procjob sweep ansatz.qasm --grid theta=0:3.14:50 --observable ZZ --store ansatz.db --plot ansatz.png
  procjob sweep model.py:energy --grid theta=0:3.14:50 --grid depth=1,2,3 --store energy.db
  procjob export energy.db --format csv > energy.csv

Data goes to stdout, messages to stderr. Exit codes: 0; 1: a job or a point failed; 2: what was given cannot be used;
130: interrupted. PROCJOB_STORE names the store where --store does not, PROCJOB_WORKERS the number of workers; NO_COLOR
switches colours off, PROCJOB_PROGRESS=0 the progress bar.
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = Parser(prog="procjob", description="Simulations as jobs on all cores.", epilog=_EPILOG)
    top.add_argument("--version", action="version", version=f"procjob {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="command")
    for module in (running, sweeping, listing, exporting, doctor):
        module.add(commands)
    return top
