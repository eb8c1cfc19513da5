"""``procjob run``: the circuits of OpenQASM files, each a job."""

from __future__ import annotations

import argparse
import contextlib
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from procjob.cli.options import Usage, add_command, add_execution, whole
from procjob.cli.output import Output, complain, counted
from procjob.cli.programs import circuit_of, need

_EXAMPLES = """\
  procjob run bell.qasm --shots 4096 --seed 7
  procjob run *.qasm --json --time-limit 60 > counts.json
  procjob run ghz.qasm --simulator statevector --workers 4 --store jobs.db
"""


def add(commands: Any) -> None:
    """Add the command."""
    command = add_command(
        commands,
        "run",
        run,
        brief="run the circuits of OpenQASM files",
        about="Run the circuits of OpenQASM 2 and 3 files, each as one job, and write their counts.",
        examples=_EXAMPLES,
    )
    command.add_argument("files", nargs="+", type=Path, metavar="FILE.qasm", help="OpenQASM 2 or 3")
    command.add_argument("--shots", type=whole(1), default=1024, metavar="N", help="of each circuit (default: 1024)")
    command.add_argument(
        "--simulator", choices=("aer", "statevector"),
        help="Aer, or the simulator that procjob has built in (default: Aer where it is installed)",
    )  # fmt: skip
    add_execution(command, of="job")
    command.add_argument("--store", type=Path, metavar="FILE", help="record the jobs and their results in this store")


def run(arguments: argparse.Namespace, out: Output) -> int:
    """Run it."""
    circuits = [circuit_of(path) for path in arguments.files]
    _check(arguments.files, circuits)
    seed = secrets.randbits(31) if arguments.seed is None else arguments.seed
    with contextlib.redirect_stdout(sys.stderr):  # what a worker prints is no data
        backend = _backend(arguments)
        jobs: list[Any] = []
        try:
            for path, circuit in zip(arguments.files, circuits, strict=True):
                jobs.append(_submit(backend, arguments, path, circuit, seed))
            interrupted = _wait(jobs, out)
            backend.close()
        except BaseException:  # also a second Ctrl-C: no job runs on behind it
            backend.close(wait=False, cancel=True)
            raise
    code = _report(arguments, jobs, seed, out)
    return 130 if interrupted else code


def _check(files: Sequence[Path], circuits: Sequence[Any]) -> None:
    from procjob.qiskit.programs import measures

    for path, circuit in zip(files, circuits, strict=True):
        if free := sorted(parameter.name for parameter in circuit.parameters):
            raise Usage(
                f"{path} has free parameters: {', '.join(free)}; procjob sweep {path} --grid {free[0]}=0:3.14:50"
            )
        if not measures(circuit):
            raise Usage(f"{path} measures nothing, so there would be no counts; add a measure statement")


def _backend(arguments: argparse.Namespace) -> Any:
    import importlib.util

    from procjob.qiskit import ProcessBackend
    from procjob.simulators import StatevectorSimulator

    if arguments.simulator == "aer":
        need("qiskit_aer", "runs on Aer", extra="qiskit")
    aer = arguments.simulator != "statevector" and importlib.util.find_spec("qiskit_aer") is not None
    try:
        return ProcessBackend(None if aer else StatevectorSimulator(), workers=arguments.workers, store=arguments.store)
    except (TypeError, ValueError) as exc:
        raise Usage(str(exc)) from None


def _submit(backend: Any, arguments: argparse.Namespace, path: Path, circuit: Any, seed: int) -> Any:
    from procjob.errors import JobError
    from procjob.qiskit.programs import fitted

    options = {} if arguments.time_limit is None else {"time_limit": arguments.time_limit}
    try:
        return backend.run(
            fitted(circuit, backend.wrapped),
            shots=arguments.shots,
            seed_simulator=seed,
            tags=arguments.tag,
            metadata={"file": str(path), "shots": arguments.shots, "seed": seed},
            **options,
        )
    except (TypeError, ValueError, JobError) as exc:
        raise Usage(f"{path}: {exc}") from None


def _wait(jobs: Sequence[Any], out: Output) -> bool:
    """Wait for all jobs behind a progress bar; return whether the user would not."""
    from procjob.progress import track

    try:
        for _ in track(jobs, disable=True if out.quiet else None):
            pass
    except KeyboardInterrupt:
        for job in jobs:
            job.cancel()
        for job in jobs:
            job.wait_for_final_state()
        done = sum(job.done() for job in jobs)
        complain(
            f"interrupted; {done} of {len(jobs)} jobs were finished, the others were cancelled. Again ends at once"
        )
        return True
    return False


def _report(arguments: argparse.Namespace, jobs: Sequence[Any], seed: int, out: Output) -> int:
    """Write counts; return the exit code."""
    found = [_entry(path, job, arguments.shots, seed) for path, job in zip(arguments.files, jobs, strict=True)]
    for entry in found:
        if entry["error"] is not None:
            complain(f"{entry['file']}: {entry['status']}: {entry['error']}")
    if out.as_json:
        out.json(found)
    else:
        rows = [
            (entry["file"], outcome, count, count / arguments.shots)
            for entry in found
            for outcome, count in sorted((entry["counts"] or {}).items(), key=lambda pair: (-pair[1], pair[0]))
        ]
        out.table(("FILE", "OUTCOME", "COUNT", "FRACTION"), rows)
    failed = sum(entry["status"] != "DONE" for entry in found)
    kept = "" if arguments.store is None else f", recorded in {arguments.store}"
    out.say(f"{counted(len(jobs), 'job')}, {failed} failed, seed {seed}{kept}")
    return 1 if failed else 0


def _entry(path: Path, job: Any, shots: int, seed: int) -> dict[str, Any]:
    status = job.status().name
    return {
        "file": str(path),
        "job_id": job.job_id(),
        "status": status,
        "simulator": job.backend().name,
        "shots": shots,
        "seed": seed,
        "seconds": job.metrics().run_seconds,
        "counts": dict(job.result().get_counts()) if status == "DONE" else None,
        "error": job.error_message() if status == "ERROR" else "cancelled" if status == "CANCELLED" else None,
    }
