"""``procjob run``: the circuits of OpenQASM files, each a job."""

from __future__ import annotations

import argparse
import contextlib
import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from procjob.cli.options import Usage, add_backend, add_command, add_execution, add_shots, add_store
from procjob.cli.output import Output, complain, counted
from procjob.cli.programs import backend_of, circuit_of, fit, need

#: Simulators take integers of 64 bits.
_TOO_LARGE = 1 << 63
_EXAMPLES = """\
  procjob run bell.qasm --shots 4096 --seed 7
  procjob run *.qasm --json --time-limit 60 > counts.json
  procjob run ghz.qasm --simulator statevector --workers 4 --store jobs.db
  procjob run ghz.qasm --shots none
"""


def add(commands: Any) -> None:
    """Add the command."""
    command = add_command(
        commands,
        "run",
        run,
        brief="run the circuits of OpenQASM files",
        about="Run the circuits of OpenQASM 2 and 3 files, each as one job, and write their counts, or their exact "
        "probabilities with --shots none.",
        examples=_EXAMPLES,
    )
    command.add_argument("files", nargs="+", type=Path, metavar="FILE.qasm", help="OpenQASM 2 or 3")
    add_shots(command, "of each circuit", default=1024)
    where = command.add_mutually_exclusive_group()
    add_backend(where)
    where.add_argument(
        "--simulator", choices=("aer", "statevector"),
        help="Aer, or the simulator that procjob has built in (default: Aer where it is installed)",
    )  # fmt: skip
    add_execution(command, of="job")
    add_store(command, "record the jobs and their results in this store")


def run(arguments: argparse.Namespace, out: Output) -> int:
    """Run it."""
    for name, value in (("--seed", arguments.seed), ("--shots", arguments.shots)):
        if value is not None and value >= _TOO_LARGE:
            raise Usage(f"{name} must be less than 2**63, not {value}")
    shown = _is_bar_shown(out)
    circuits = [circuit_of(path) for path in arguments.files]
    _check(arguments.files, circuits)
    seed = secrets.randbits(31) if arguments.seed is None else arguments.seed
    with contextlib.redirect_stdout(sys.stderr):  # what a worker prints is no data
        runner = _exact(arguments, circuits) if arguments.shots is None else _sampling(arguments, circuits)
        backend = runner.backend
        jobs: list[Any] = []
        try:
            for path, run_input in zip(arguments.files, runner.inputs, strict=True):
                jobs.append(_submit(runner, arguments, path, run_input, seed))
            interrupted = _wait(jobs, shown=shown)
            backend.close()
        except BaseException:  # also a second Ctrl-C: no job runs on behind it
            backend.close(wait=False, cancel=True)
            raise
    code = _report(arguments, jobs, seed if runner.seeded else None, out)
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


@dataclass(frozen=True, slots=True)
class _Runner:
    """What runs the circuits.

    Attributes:
        backend: of procjob or of Qiskit.
        inputs: a circuit each, as it takes it.
        options: for its ``run``.
        seeded: whether that takes a seed.
    """

    backend: Any
    inputs: Sequence[Any]
    options: Mapping[str, Any]
    seeded: bool


def _sampling(arguments: argparse.Namespace, circuits: Sequence[Any]) -> _Runner:
    """Return what gives counts."""
    import importlib.util

    from procjob.qiskit import ProcessBackend
    from procjob.simulators import StatevectorSimulator

    if arguments.simulator == "aer":
        need("qiskit_aer", "runs on Aer", extra="qiskit")
    aer = arguments.simulator != "statevector" and importlib.util.find_spec("qiskit_aer") is not None
    stock = None if arguments.backend is None else backend_of(arguments.backend)
    seeded = stock is None or hasattr(stock.options, "seed_simulator")
    if arguments.seed is not None and not seeded:
        raise Usage(f"the backend {arguments.backend} takes no seed; leave out --seed")
    try:
        backend = ProcessBackend(
            stock if stock is not None else None if aer else StatevectorSimulator(),
            workers=arguments.workers,
            store=arguments.store,
        )
    except (TypeError, ValueError) as exc:
        raise Usage(str(exc)) from None
    try:
        return _Runner(
            backend, [fit(circuit, backend.wrapped) for circuit in circuits], {"shots": arguments.shots}, seeded
        )
    except BaseException:  # also a Ctrl-C while a circuit is fitted: nobody gets the backend
        backend.close()
        raise


def _exact(arguments: argparse.Namespace, circuits: Sequence[Any]) -> _Runner:
    """Return what gives exact probabilities."""
    from procjob.backend import Backend
    from procjob.qiskit.programs import exact_plan, probabilities

    for name, value in (("--backend", arguments.backend), ("--simulator aer", arguments.simulator == "aer")):
        if value:
            raise Usage(
                f"exact values are those of the built-in simulator; leave out {name}, or give a number of --shots"
            )
    plans = []
    for path, circuit in zip(arguments.files, circuits, strict=True):
        try:
            plans.append(exact_plan(circuit))
        except ValueError as exc:
            raise Usage(f"{path} has no exact values: {exc}".partition(";")[0]) from None
    try:
        backend = Backend(probabilities, name="statevector", workers=arguments.workers, store=arguments.store)
    except (TypeError, ValueError) as exc:
        raise Usage(str(exc)) from None
    return _Runner(backend, plans, {}, seeded=False)


def _submit(runner: _Runner, arguments: argparse.Namespace, path: Path, run_input: Any, seed: int) -> Any:
    from procjob.errors import JobError

    options = dict(runner.options)
    if arguments.time_limit is not None:
        options["time_limit"] = arguments.time_limit
    if runner.seeded:
        options["seed_simulator"] = seed
    known = {"file": str(path), "shots": arguments.shots}
    try:
        return runner.backend.run(
            run_input, tags=arguments.tag, metadata=known | ({"seed": seed} if runner.seeded else {}), **options
        )
    except (TypeError, ValueError, JobError) as exc:
        raise Usage(f"{path}: {exc}") from None


def _is_bar_shown(out: Output) -> bool:
    from procjob.progress import is_shown

    try:
        return is_shown(True if out.quiet else None)
    except ValueError as exc:
        raise Usage(str(exc)) from None


def _wait(jobs: Sequence[Any], *, shown: bool) -> bool:
    """Wait for all jobs, behind a progress bar if it is shown; return whether the user would not."""
    from procjob.progress import track

    try:
        for _ in track(jobs, disable=not shown):
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


def _report(arguments: argparse.Namespace, jobs: Sequence[Any], seed: int | None, out: Output) -> int:
    """Write counts or probabilities; return the exit code."""
    found = [_entry(path, job, arguments.shots, seed) for path, job in zip(arguments.files, jobs, strict=True)]
    for entry in found:
        if entry["error"] is not None:
            complain(f"{entry['file']}: {entry['status']}: {' '.join(entry['error'].split())}")
    if out.as_json:
        out.json(found)
    else:
        exact = arguments.shots is None
        weights = "probabilities" if exact else "counts"
        rows = [
            (entry["file"], outcome, *([weight] if exact else [weight, weight / arguments.shots]))
            for entry in found
            for outcome, weight in sorted((entry[weights] or {}).items(), key=lambda pair: (-pair[1], pair[0]))
        ]
        out.table(("FILE", "OUTCOME", *(["PROBABILITY"] if exact else ["COUNT", "FRACTION"])), rows)
    failed = sum(entry["status"] != "DONE" for entry in found)
    seeded = "" if seed is None else f", seed {seed}"
    kept = "" if arguments.store is None else f", recorded in {arguments.store}"
    out.say(f"{counted(len(jobs), 'job')}, {failed} failed{seeded}{kept}")
    return 1 if failed else 0


def _entry(path: Path, job: Any, shots: int | None, seed: int | None) -> dict[str, Any]:
    status = job.status().name
    result = job.result() if status == "DONE" else None
    exact = {"probabilities": result} if shots is None else {"counts": result and dict(result.get_counts())}
    return {
        "file": str(path),
        "job_id": job.job_id(),
        "status": status,
        "simulator": job.backend().name,
        "shots": shots,
        "seed": seed,
        "seconds": job.metrics().run_seconds,
        **exact,
        "error": job.error_message() if status == "ERROR" else "cancelled" if status == "CANCELLED" else None,
    }
