"""``procjob sweep``: a circuit or a function at every point of a grid."""

from __future__ import annotations

import argparse
import contextlib
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from procjob.cli import records
from procjob.cli.grids import SYNTAX, points_of
from procjob.cli.options import (
    Usage,
    add_backend,
    add_command,
    add_execution,
    add_shots,
    add_store,
    in_words_of_options,
    new_path,
    whole,
)
from procjob.cli.output import Output, Stdout, complain, counted
from procjob.cli.programs import TARGETS, backend_of, fit, need, remote_traceback, target_of
from procjob.errors import JobError, NotPicklableError

if TYPE_CHECKING:
    from procjob.sweeps import Sweep, SweepResult

_ABOUT = f"""\
Run a circuit or a function at every point, and write the results: one row a point.

The target is {TARGETS}. A circuit needs a value for each of its free parameters
(OpenQASM 3: input float theta;). Points are all combinations of the axes of --grid:
{SYNTAX}.
"""
_EXAMPLES = """\
  procjob sweep ansatz.qasm --grid theta=0:3.14:50 --observable ZZ --plot ansatz.png
  procjob sweep model.py:energy --grid theta=0:3.14:50 --grid depth=1,2,3 --store energy.db
  procjob sweep package.module:energy --zip x=1,2,3 --zip y=4,5,6 --output energy.csv

With --store the same command goes on where it was interrupted.
"""


#: Arguments of `procjob.sweep` that are options here.
_ARGUMENTS = re.compile(r"\b(backend|shots|store|version|workers)=(?=(\S)?)")


def add(commands: Any) -> None:
    """Add the command."""
    command = add_command(
        commands,
        "sweep",
        run,
        brief="run a circuit or a function at every point of a grid",
        about=_ABOUT,
        examples=_EXAMPLES,
    )
    command.add_argument("target", help=TARGETS)
    command.add_argument("--grid", action="append", default=[], metavar="NAME=VALUES", help="an axis of the grid")
    command.add_argument(
        "--zip", action="append", default=[], metavar="NAME=VALUES",
        help="an axis that varies together with the others of --zip",
    )  # fmt: skip
    add_execution(command, of="point")
    command.add_argument(
        "--retries", type=whole(0), default=0, metavar="N", help="run a point again if its worker dies"
    )
    command.add_argument(
        "--errors", choices=("raise", "store"), default="raise",
        help="end at the first point that fails, or go on (default: raise)",
    )  # fmt: skip
    add_shots(command, "of a circuit; its observables are exact by default", default=argparse.SUPPRESS)
    add_backend(command)
    command.add_argument(
        "--observable", action="append", metavar="PAULIS", help="of a circuit, such as ZZ: its mean is a result"
    )
    add_store(command, "keep finished points in this file, and do not run those that it has", consent=True)
    command.add_argument(
        "--target-version", metavar="TEXT", help="says instead of the code whether the target is the one in the store"
    )
    command.add_argument("--output", type=Path, metavar="FILE", help="write results to FILE.csv, FILE.json or FILE.npz")
    command.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the results, as procjob plot does")


def run(arguments: argparse.Namespace, out: Output) -> int:
    """Run it."""
    _check_files(arguments)
    points = points_of(arguments.grid, arguments.zip)
    with contextlib.redirect_stdout(sys.stderr):  # what the target prints is no data
        job = _made(arguments, points, out)
        _tell_reusable(job, arguments, len(points), out)
        try:
            job.submit()
            job.wait_for_final_state()
        except NotPicklableError as exc:
            raise Usage(str(exc)) from None
        except KeyboardInterrupt:
            return _stop(job, arguments)
    return _finish(job, arguments, out)


def _check_files(arguments: argparse.Namespace) -> None:
    """Find out before anything runs whether its results can be written."""
    if arguments.output is not None:
        new_path(arguments.output, tuple(f".{name}" for name in records.FORMATS))
    if arguments.plot is not None:
        new_path(arguments.plot, records.PICTURES)
        need("matplotlib", "pictures", extra="plot")


def _made(arguments: argparse.Namespace, points: Any, out: Output) -> Sweep:
    from procjob.sweeps import Sweep

    options = {"shots": arguments.shots} if hasattr(arguments, "shots") else {}
    target = target_of(arguments.target)
    if arguments.backend is not None:
        if "shots" in options and arguments.shots is None:
            raise Usage(
                "exact values are those of the built-in simulator; leave out --backend, or give a number of --shots"
            )
        if not hasattr(target, "parameters"):
            raise Usage(f"--backend is for circuits; {arguments.target} is a function")
        options["backend"] = backend_of(arguments.backend)
        target = fit(target, options["backend"])
    try:
        return Sweep(
            target,
            points,
            seed=arguments.seed,
            workers=arguments.workers,
            store=_store(arguments),
            progress=False if out.quiet else None,
            errors=arguments.errors,
            time_limit=arguments.time_limit,
            retries=arguments.retries,
            observables=arguments.observable,
            tags=arguments.tag,
            version=arguments.target_version,
            **options,
        )
    except (TypeError, ValueError, JobError) as exc:
        raise Usage(_in_words_of_options(str(exc))) from None


def _store(arguments: argparse.Namespace) -> Any:
    """Return what keeps points: a file that the sweep opens or makes, or one that is opened with the user's consent."""
    if arguments.store is None or not (arguments.allow_pickle and arguments.store.exists()):
        return arguments.store
    from procjob.store import Store

    return Store(arguments.store, allow_pickle=True)


def _in_words_of_options(text: str) -> str:
    """Return what is wrong with arguments of `procjob.sweep` for somebody who gave options."""
    if "measures nothing" in text:
        return f"{text.partition(';')[0]}; give --observable, or add a measure statement"
    if "it has none" in text:
        return f"{text}; in OpenQASM 3 parameters are free that are declared so: input float theta;"
    return _ARGUMENTS.sub(
        lambda found: f"--{'target-version' if found[1] == 'version' else found[1]}{' ' * bool(found[2])}", text
    )


def _tell_reusable(job: Sweep, arguments: argparse.Namespace, count: int, out: Output) -> None:
    if arguments.store is not None:
        there = job.reusable()
        out.say(f"{there} of {counted(count, 'point')} are in {arguments.store}; {count - there} to run")
        if job.seed_is_from_store:
            out.say(
                f"seed {job.seed} is the one that was drawn when {arguments.store} got its first points; --seed N takes another"
            )


def _stop(job: Sweep, arguments: argparse.Namespace) -> int:
    """End a sweep after a Ctrl-C, and say how to go on."""
    complain("stopping; Ctrl-C once more ends at once")
    with contextlib.suppress(JobError):  # it had not begun
        job.cancel()
        job.wait_for_final_state()
    result = job.result(partial=True)
    count = f"{_done(result)} of {counted(len(result), 'point')}"
    given = ["procjob", *arguments.given]
    if arguments.store is None:
        again = shlex.join([*given, "--store", "sweep.db"])
        complain(f"interrupted; {count} were finished and are lost. With a store they are kept:\n  {again}")
        return 130
    from_environment = not any(text == "--store" or text.startswith("--store=") for text in given)
    again = shlex.join([*given, *(["--store", str(arguments.store)] if from_environment else [])])
    complain(f"interrupted; {count} are saved in {arguments.store}. Go on with:\n  {again}")
    return 130


def _finish(job: Sweep, arguments: argparse.Namespace, out: Output) -> int:
    """Write what was found; return the exit code."""
    error = job.future.exception()
    if error is not None:
        _tell_error(error, job, arguments, out)
        return 1
    result = job.result()
    _tell_summary(job, result, arguments, out)
    written = _write_files(result, arguments, out)
    if out.as_json:
        records.write_json(result, Stdout())
    elif not written or (arguments.output is None and arguments.plot is None):
        records.write_table(result, out, whole=not sys.stdout.isatty())
    return 0 if written and not len(result.failed) else 1


def _write_files(result: SweepResult, arguments: argparse.Namespace, out: Output) -> bool:
    """Write what is asked for; return whether all of it could be."""
    written = True
    for path, write in ((arguments.output, records.save), (arguments.plot, records.draw)):
        if path is not None:
            try:
                write(result, path)
                out.say(f"wrote {path}")
            except Usage as exc:  # what has been computed must not be lost
                complain(str(exc))
                written = False
    return written


def _tell_error(error: BaseException, job: Sweep, arguments: argparse.Namespace, out: Output) -> None:
    text = remote_traceback(error)
    if text is not None and not out.quiet:
        sys.stderr.write(text.rstrip() + "\n")
    told = [f"{type(error).__name__}: {error}", *(getattr(error, "__notes__", []))]
    complain(in_words_of_options("\n  ".join(told)))
    done = _done(job.result(partial=True))
    if arguments.store is not None:
        out.say(f"{counted(done, 'point')} saved in {arguments.store}; --errors store goes on where a point fails")


def _tell_summary(job: Sweep, result: SweepResult, arguments: argparse.Namespace, out: Output) -> None:
    failed = len(result.failed)
    for at, error in list(result.errors.items())[:1]:
        values = ", ".join(f"{name}={result.flat(name)[at]}" for name in result.axes)
        told = f"{type(error).__name__}: {' '.join(str(error).split())}"
        complain(f"{counted(failed, 'point')} failed, the first at {values}: {told}")
    metrics = job.metrics()
    seconds = (metrics.queue_seconds or 0.0) + (metrics.run_seconds or 0.0)  # with what the workers took to start
    kept = "" if arguments.store is None else f", kept in {arguments.store}: sweep {job.job_id()[:8]}"
    reused = result.metadata["reused"]
    out.say(
        f"{counted(len(result), 'point')}, {reused} reused, {failed} failed, {seconds:.3g} s, seed {result.seed}{kept}"
    )


def _done(result: SweepResult) -> int:
    from procjob.sweeps.result import DONE

    return int((result.status == DONE).sum())
