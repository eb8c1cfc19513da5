"""``procjob export`` and ``plot``: what a store, or a saved file, has as data and as a picture."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from procjob.cli import records
from procjob.cli.options import Usage, add_command, add_store, found, in_words_of_options, new_path, opened
from procjob.cli.output import Output, Stdout, complain, counted, new_file, plain
from procjob.errors import StoreError

if TYPE_CHECKING:
    from procjob.store import Store, StoredJob, SweepRecord
    from procjob.sweeps import SweepResult

_ABOUT_EXPORT = """\
Write a sweep, one row a point, or a job, one row an outcome of its counts.

What is exported is the id of a job or sweep in the store of --store, the file of a store, of which the newest sweep is taken
(or all jobs, if it has no sweeps), or the NPZ file of a result.
"""
_ABOUT_PLOT = """\
Draw the results of a sweep: lines with error bars, points for categories, or a heat map for two long axes of numbers.

What is drawn is the id of a sweep in the store of --store, the file of a store, of which the newest sweep is taken, or the
NPZ file of a result. What --x, --y and --by leave open is chosen.
"""


def add(commands: Any) -> None:
    """Add the commands."""
    export = add_command(
        commands, "export", run_export, brief="write a sweep or a job as CSV, JSON or NPZ", about=_ABOUT_EXPORT,
        examples="  procjob export energy.db --format csv > energy.csv\n"
        "  procjob export 3f2a --store energy.db --output energy.npz\n",
    )  # fmt: skip
    export.add_argument("source", metavar="ID|STORE|FILE.npz", help="what is exported")
    export.add_argument("--format", choices=records.FORMATS, help="default: the ending of --output, else csv")
    export.add_argument("--output", type=Path, metavar="FILE", help="where to; default: stdout")
    add_store(export, consent=True)
    plot = add_command(
        commands, "plot", run_plot, brief="draw a sweep", about=_ABOUT_PLOT,
        examples="  procjob plot energy.db --output energy.png\n"
        "  procjob plot 3f2a --store energy.db --x theta --y energy --by depth --output energy.pdf\n",
    )  # fmt: skip
    plot.add_argument("source", metavar="ID|STORE|FILE.npz", help="what is drawn")
    plot.add_argument("--x", metavar="NAME", help="axis or result along the picture")
    plot.add_argument("--y", metavar="NAME", help="result that is drawn")
    plot.add_argument("--by", metavar="NAME", help="axis that tells lines apart; the other axis of a heat map")
    plot.add_argument("--kind", choices=("line", "points", "heatmap"), help="default: what fits")
    plot.add_argument(
        "--output",
        type=Path,
        metavar="FILE.png",
        help=f"{', '.join(records.PICTURES)} (default: named like the source)",
    )
    add_store(plot, consent=True)


def run_export(arguments: argparse.Namespace, out: Output) -> int:
    """Write a sweep or jobs."""
    kind, path = _format(arguments)
    source = _source(arguments, out)
    code = 0
    if isinstance(source, list):
        code = _export_jobs(source, kind, path)
    elif path is not None:
        records.save(source, path)
    else:
        (records.write_csv if kind == "csv" else records.write_json)(source, Stdout())
    if path is not None:
        out.say(f"wrote {path}")
    return code


def run_plot(arguments: argparse.Namespace, out: Output) -> int:
    """Draw a sweep."""
    path = new_path(arguments.output or Path(Path(arguments.source).stem + ".png"), records.PICTURES)
    result = _source(arguments, out)
    if isinstance(result, list):
        raise Usage(f"{arguments.source} has no sweep; only sweeps are drawn")
    records.draw(result, path, x=arguments.x, y=arguments.y, by=arguments.by, kind=arguments.kind)
    out.say(f"wrote {path}")
    return 0


def _format(arguments: argparse.Namespace) -> tuple[str, Path | None]:
    """Return format and file of an export; stdout is None."""
    path: Path | None = arguments.output
    if path is not None:
        new_path(path, tuple(f".{name}" for name in ([arguments.format] if arguments.format else records.FORMATS)))
        return path.suffix.lower().removeprefix("."), path
    kind = arguments.format or ("json" if arguments.json else "csv")
    if kind == "npz":
        raise Usage("npz is no text; name a file with --output FILE.npz")
    return kind, None


def _source(arguments: argparse.Namespace, out: Output) -> SweepResult | list[StoredJob]:
    """Return the sweep, or the jobs, that a user means."""
    from procjob.sweeps import SweepResult

    path = Path(arguments.source)
    if path.suffix == ".npz":
        try:
            return SweepResult.load(path)
        except FileNotFoundError:
            raise Usage(f"there is no file {path}") from None
        except (OSError, ValueError) as exc:
            raise Usage(str(exc)) from None
    if path.is_file():
        with opened(path, allow_pickle=arguments.allow_pickle) as store:
            return _newest(store, out)
    if path.is_dir():
        raise Usage(f"{path} is a folder; name the file of a store in it")
    if arguments.store is None:
        raise Usage(f"there is no file {path}; if it is an id, name its store with --store, or in PROCJOB_STORE")
    with opened(arguments.store, allow_pickle=arguments.allow_pickle) as store:
        kind, identity = found(store, arguments.source)
        return [store.job(identity)] if kind == "job" else SweepResult.from_store(store, identity)


def _newest(store: Store, out: Output) -> SweepResult | list[StoredJob]:
    from procjob.sweeps import SweepResult

    sweeps = [record for record in store.sweeps(limit=None) if _has_points(record)]
    if not sweeps:
        jobs = store.jobs(limit=None, descending=False)
        if not jobs:
            raise Usage(f"{store.path} has neither sweeps nor jobs")
        return jobs
    newest = sweeps[0]
    if others := {record.target_id for record in sweeps} - {newest.target_id}:
        out.say(f"sweep {newest.sweep_id[:8]} of {newest.name}, the newest; {len(others)} other targets: procjob jobs")
    return SweepResult.from_store(store, newest.sweep_id)


def _has_points(record: SweepRecord) -> bool:
    """Return whether it is known which points a sweep has, if only to those who may read them."""
    try:
        return record.points is not None
    except StoreError:
        return True


# ---------------------------------------------------------------- jobs


def _export_jobs(jobs: Iterable[StoredJob], kind: str, path: Path | None) -> int:
    """Write jobs; return the exit code: 1 if a result cannot be read."""
    if kind == "npz":
        raise Usage("npz is for sweeps; a job is exported as csv or json")
    write = _write_jobs_csv if kind == "csv" else _write_jobs_json
    read = [(job, *_result_or_error(job)) for job in jobs]
    if path is None:
        write(read, Stdout())
    else:
        try:
            with new_file(path) as file:
                write(read, file)
        except OSError as exc:
            raise Usage(f"{path} cannot be written: {exc.strerror}") from None
    unread = [error for job, _, error in read if error is not None and job.done()]
    if unread:
        complain(f"{counted(len(unread), 'result')} cannot be read; {unread[0]}")
    return 1 if unread else 0


def _result_or_error(job: StoredJob) -> tuple[Any, str | None]:
    """Return the result of a job, and why there is none."""
    try:
        return result_of(job), job.error_message()
    except StoreError as exc:
        return None, in_words_of_options(str(exc))


def _write_jobs_csv(jobs: Iterable[tuple[StoredJob, Any, str | None]], file: Any) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("job_id", "name", "status", "outcome", "count", "error"))
    for job, value, error in jobs:
        head = (job.job_id(), job.backend_name, job.status().name)
        if isinstance(value, Mapping):
            writer.writerows((*head, outcome, count, None) for outcome, count in value.items())
        else:
            writer.writerow((*head, None, json.dumps(plain(value)) if value is not None else None, error))


def _write_jobs_json(jobs: Iterable[tuple[StoredJob, Any, str | None]], file: Any) -> None:
    found = [
        {
            "job_id": job.job_id(),
            "name": job.backend_name,
            "status": job.status().name,
            "created": job.creation_date.isoformat(),
            "seconds": job.metrics().run_seconds,
            "result": value,
            "error": error,
        }
        for job, value, error in jobs
    ]
    file.write(json.dumps(plain(found), indent=2, ensure_ascii=False) + "\n")


def result_of(job: StoredJob) -> Any:
    """Return the result of a job: counts, or a list of them, of one that has such; None if there is none."""
    if job.status().name != "DONE":
        return None
    result = job.result()
    if not hasattr(result, "get_counts"):
        return result
    try:
        return result.get_counts()
    except Exception:  # noqa: BLE001  (Qiskit's own errors for a circuit without counts)
        return None
