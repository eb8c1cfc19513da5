"""``procjob jobs``, ``show`` and ``status``: what a store has."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from procjob.cli.exporting import result_of
from procjob.cli.options import add_command, add_store, found, in_words_of_options, opened, whole
from procjob.cli.output import Output
from procjob.errors import StoreError

if TYPE_CHECKING:
    from procjob.store import Store, StoredJob, SweepRecord

_STATUSES = ("INITIALIZING", "VALIDATING", "QUEUED", "RUNNING", "DONE", "CANCELLED", "ERROR")


def add(commands: Any) -> None:
    """Add the commands."""
    jobs = add_command(
        commands, "jobs", run_jobs, brief="list the jobs and sweeps of a store",
        about="List the jobs and sweeps of a store, the newest first.",
        examples="  procjob jobs --store energy.db\n  procjob jobs --store energy.db --status ERROR --limit 100 --json\n",
    )  # fmt: skip
    add_store(jobs)
    jobs.add_argument("--limit", type=whole(1), default=20, metavar="N", help="how many at most (default: 20)")
    jobs.add_argument("--status", type=str.upper, choices=_STATUSES, help="only those with this status")
    jobs.add_argument("--tag", action="append", default=[], metavar="WORD", help="only those that have this tag")
    show = add_command(
        commands, "show", run_show, brief="show a job or a sweep of a store",
        about="Show a job or a sweep: status, times, what it is, what has become of it.",
        examples="  procjob show 3f2a --store energy.db\n  procjob show 3f2a --store energy.db --json\n",
    )  # fmt: skip
    show.add_argument("id", metavar="ID", help="of a job or sweep; its beginning is enough")
    add_store(show, consent=True)
    status = add_command(
        commands, "status", run_status, brief="sum up what a store has",
        about="Sum up what a store has: jobs and sweeps by status, points by target.",
        examples="  procjob status energy.db\n",
    )  # fmt: skip
    status.add_argument("path", nargs="?", type=Path, metavar="STORE", help="the file (default: --store)")
    add_store(status)


def run_jobs(arguments: argparse.Namespace, out: Output) -> int:
    """List jobs and sweeps."""
    with opened(arguments.store) as store:
        query = {"limit": arguments.limit, "status": arguments.status, "tags": arguments.tag or None}
        entries = [_job_entry(job) for job in store.jobs(**query)]
        entries += [_sweep_entry(record) for record in store.sweeps(**query)]
    entries = sorted(entries, key=lambda entry: str(entry["created"]), reverse=True)[: arguments.limit]
    if out.as_json:
        out.json(entries)
    else:
        keys = ("id", "kind", "name", "status", "created", "seconds", "about")
        out.table([key.upper() for key in keys], [[_short(key, entry[key]) for key in keys] for entry in entries])
    return 0


def run_show(arguments: argparse.Namespace, out: Output) -> int:
    """Show one of them."""
    with opened(arguments.store, allow_pickle=arguments.allow_pickle) as store:
        kind, identity = found(store, arguments.id)
        shown = _shown_job(store.job(identity)) if kind == "job" else _shown_sweep(store, store.sweep(identity))
    if out.as_json:
        out.json(shown)
    else:
        out.pairs({name: value for name, value in shown.items() if value not in (None, {}, [], ())})
    return 0


def run_status(arguments: argparse.Namespace, out: Output) -> int:
    """Sum up a store."""
    with opened(arguments.path or arguments.store) as store:
        jobs = Counter(job.status().name for job in store.jobs(limit=None))
        sweeps = Counter(record.status for record in store.sweeps(limit=None))
        targets = [
            {"target": target.name, "identity": target.identity[:8], **_by_status(store.count_points(number))}
            for number, target in store.targets()
        ]
        path = store.path
    told = {"store": str(path), "bytes": path.stat().st_size, "jobs": dict(jobs), "sweeps": dict(sweeps)}
    if out.as_json:
        out.json({**told, "targets": targets})
        return 0
    out.pairs({**told, "jobs": _counted(jobs), "sweeps": _counted(sweeps)})
    if targets:
        out.table([name.upper() for name in targets[0]], [list(target.values()) for target in targets])
    return 0


# ---------------------------------------------------------------- entries


def _job_entry(job: StoredJob) -> dict[str, Any]:
    return {
        "id": job.job_id(),
        "kind": "job",
        "name": job.backend_name,
        "status": job.status().name,
        "created": job.creation_date.isoformat(timespec="seconds"),
        "seconds": job.metrics().run_seconds,
        "about": job.error_message() or job.inputs(),
        "tags": list(job.tags),
    }


def _sweep_entry(record: SweepRecord) -> dict[str, Any]:
    return {
        "id": record.sweep_id,
        "kind": "sweep",
        "name": record.name,
        "status": record.status,
        "created": _time(record.created),
        "seconds": record.updated - record.created if record.updated > record.created else None,
        "about": record.error or _axes(record),
        "tags": list(record.tags),
    }


def _shown_job(job: StoredJob) -> dict[str, Any]:
    metrics = job.metrics()
    read, unreadable = _read({"metadata": lambda: job.metadata, "result": lambda: result_of(job)})
    return {
        **_job_entry(job),
        "error": job.error_message(),
        "inputs": job.inputs(),
        "metadata": read["metadata"],
        "times": {status.name: _time(moment) for status, moment in metrics.timestamps.items()},
        "attempts": metrics.attempts,
        "host": metrics.host,
        "worker_pid": metrics.worker_pid,
        "cpu_seconds": metrics.cpu_seconds,
        "peak_rss": metrics.peak_rss,
        "result": read["result"],
        "unreadable": unreadable,
    }


def _shown_sweep(store: Store, record: SweepRecord) -> dict[str, Any]:
    from procjob.sweeps.result import DONE, FAILED, error_text
    from procjob.sweeps.stored import load_sweep

    read, unreadable = _read(
        {"metadata": lambda: dict(record.metadata), "result": lambda: load_sweep(store, record.sweep_id)}
    )
    shown = {
        **_sweep_entry(record),
        "error": record.error,
        "seed": record.seed,
        "metadata": read["metadata"],
        "provenance": dict(record.provenance),
        "unreadable": unreadable,
    }
    result = read["result"]
    if result is None:
        return shown
    first = next(iter(result.errors.values()), None)
    return {
        **shown,
        "points": len(result),
        "shape": list(result.shape),
        "axes": list(result.axes),
        "results": list(result.names),
        "done": int((result.status == DONE).sum()),
        "failed": int((result.status == FAILED).sum()),
        "error": record.error or (None if first is None else error_text(first)),
    }


def _read(readers: dict[str, Callable[[], Any]]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what can be read by name, None in the place of what cannot, and why not."""
    values: dict[str, Any] = {}
    unreadable: dict[str, str] = {}
    for name, read in readers.items():
        try:
            values[name] = read()
        except StoreError as exc:
            values[name], unreadable[name] = None, in_words_of_options(str(exc))
    return values, unreadable


def _axes(record: SweepRecord) -> str:
    from procjob.sweeps.stored import points_of

    try:
        if record.points is None:
            return "points of an iterator"
        points = points_of(record)
    except StoreError:
        return "points that cannot be read"
    return f"{len(points)} points of {', '.join(points.names)}"


def _time(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")


def _by_status(counts: dict[str, int]) -> dict[str, int]:
    return {"done": counts.get("DONE", 0), "failed": counts.get("ERROR", 0)}


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {status}" for status, count in counts.items()) or "none"


def _short(key: str, value: Any) -> Any:
    if key == "id":
        return str(value)[:12]
    if key == "seconds" and value is not None:
        return f"{value:.3g}"
    return str(value)[:60] if key == "about" and value is not None else value
