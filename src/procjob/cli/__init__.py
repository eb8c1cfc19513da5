"""The command line ``procjob``.

    main ──> commands ──> run, sweep                          (running, sweeping; grids and programs read what they are given)
                      ├─> jobs, show, status, export, plot    (listing, exporting; records is what is written of a result)
                      └─> doctor

Data goes to stdout, everything else to stderr. Exit codes: 0; 1: a job or point failed; 2: what was given cannot be used;
130: interrupted. NumPy and Qiskit are imported by the command that needs them, so that ``--help`` is quick.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from procjob.cli.commands import parser
from procjob.cli.options import Usage, in_words_of_options
from procjob.cli.output import Output, Unwritable, complain, finish
from procjob.cli.signals import second_ctrl_c_ends
from procjob.errors import StoreError

__all__ = ["main"]

FAILED, USAGE, INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code.

    Args:
        argv: what stands behind ``procjob``; None: the arguments of this process.

    Raises:
        SystemExit: after ``--help`` and ``--version``.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    with second_ctrl_c_ends():
        try:
            try:
                arguments = parser().parse_args(given)
                arguments.given = given
                code: int = arguments.run(arguments, Output(as_json=arguments.json, quiet=arguments.quiet))
            finally:
                finish()
        except (Usage, StoreError, Unwritable) as exc:
            complain(in_words_of_options(str(exc)))
            return USAGE
        except MemoryError as exc:
            complain(f"there is not enough memory: {str(exc) or 'give fewer points'}")
            return USAGE
        except KeyboardInterrupt:
            complain("interrupted")
            return INTERRUPTED
        return code
