"""Measure procjob beside its peers.

    python -m benchmarks [--quick] [--rows a,b] [--peers a,b] [--json FILE] [--results FOLDER] [--sections a,b]
    python -m benchmarks --from FILE [--results FOLDER]

A full run (no --quick, --rows or --peers) also writes results.json, RESULTS.md and results.svg into this folder. Sections
are the scripts beside this one; what they print goes into RESULTS.md as it is. --from renders figures that were kept.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.cell import ONE_THREAD, ROOT, Cell
from benchmarks.machine import machine
from benchmarks.peers import SETTINGS
from benchmarks.report import PICTURE, goals, page, picture, text
from benchmarks.rows import Row
from benchmarks.table import ROWS

HERE = Path(__file__).parent
SECTIONS = ["arrays", "promises", "sweeps", "simulator", "shots", "qiskit_backend"]
#: Peers whose start alone takes seconds.
SLOW = ["distributed"]
#: Seconds that a script may take.
PATIENCE = 1800


def run(row: Row, *, quick: bool, peers: set[str]) -> dict:
    """Measure one row, all in turns."""
    kept: dict = {"key": row.key, "title": row.title, "unit": row.unit, "more_is_better": row.more_is_better}
    kept |= {"rounds": {}, "others": {}, "failed": {}, "missing": {}}
    names = [name for name in row.contenders if name not in SETTINGS or name in peers]
    began = time.monotonic()
    count = row.rounds[quick]
    if row.fresh:
        for _ in range(count):
            for name in [name for name in names if name not in {*kept["failed"], *kept["missing"]}]:
                with_cells(row, [name], 1, kept, quick=quick)
    else:
        with_cells(row, names, count, kept, quick=quick)
    return kept | {"seconds": round(time.monotonic() - began, 1), "goals": goals(row, kept)}


def with_cells(row: Row, names: list[str], count: int, kept: dict, *, quick: bool) -> None:
    """Measure some rounds in the same processes."""
    cells = [Cell(row, name, quick=quick) for name in names]
    try:
        for cell in cells:
            keep(kept, cell.name, cell.ready())
        for number in range(count):
            turn = number % len(cells)
            for cell in [*cells[turn:], *cells[:turn]]:
                if cell.name not in kept["failed"] and cell.name not in kept["missing"]:
                    keep(kept, cell.name, cell.measure())
    finally:
        for cell in cells:
            cell.end()
        for cell in cells:
            cell.close()


def keep(kept: dict, name: str, found: dict) -> None:
    """Add the answer of a cell to a row."""
    if "missing" in found:
        kept["missing"][name] = found["missing"]
    elif "failed" in found:
        kept["failed"][name] = found["failed"]
    elif found:
        kept["rounds"].setdefault(name, []).append(found.pop("value"))
        kept["others"].setdefault(name, []).append(found)


def section(name: str) -> str:
    """Return what one of the scripts prints."""
    try:
        done = subprocess.run(
            [sys.executable, HERE / f"{name}.py"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
            cwd=ROOT,
            env=os.environ | ONE_THREAD,
        )
    except subprocess.TimeoutExpired:
        return f"failed: not ended within {PATIENCE} s"
    return done.stdout + (f"failed with {done.returncode}" if done.returncode else "")


def chosen(given: str, known: list[str], what: str) -> list[str]:
    """Return the names of a list with commas."""
    names = known if given == "all" else [name for name in given.split(",") if name]
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"unknown {what}: {', '.join(unknown)}; there are {', '.join(known)}")
    return names


def write(results: dict, folder: Path) -> None:
    """Write RESULTS.md and its picture."""
    folder.mkdir(parents=True, exist_ok=True)
    picture(results, folder / PICTURE)
    (folder / "RESULTS.md").write_text(page(results))
    print(f"written: {folder / 'RESULTS.md'}, {folder / PICTURE}")


def default_peers(options: argparse.Namespace) -> list[str]:
    """All; of a quick run those that start quickly."""
    return [name for name in SETTINGS if not (options.quick and name in SLOW)]


def measured(options: argparse.Namespace) -> dict:
    """Measure what is asked for, printing each row when it is there."""
    results: dict = {"machine": machine(), "quick": options.quick, "rows": [], "sections": {}}
    peers = {"procjob", *chosen(options.peers or ",".join(default_peers(options)), list(SETTINGS), "peers")}
    missing: set[str] = set()
    for key in chosen(options.rows, list(ROWS), "rows"):
        kept = run(ROWS[key], quick=options.quick, peers=peers)
        results["rows"].append(kept)
        missing |= set(kept["missing"].values())
        print(text(ROWS[key], kept), f"({kept['seconds']} s)\n", flush=True)
    for name in chosen(options.sections, SECTIONS, "sections"):
        results["sections"][name] = section(name)
        print(f"{name}.py\n{results['sections'][name]}", flush=True)
    if options.quick and not options.peers:
        print(f"left out of a quick run: {', '.join(SLOW)}")
    if missing:
        print(f"not installed, left out: {', '.join(sorted(missing))}")
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small and few rounds: under two minutes for all")
    parser.add_argument("--rows", default="all", help=", ".join(ROWS))
    parser.add_argument("--peers", help=f"{', '.join(SETTINGS)}; default: all, with --quick without {', '.join(SLOW)}")
    parser.add_argument("--sections", default="", help=f"all, or some of {', '.join(SECTIONS)}")
    parser.add_argument("--json", type=Path, help="keep the figures here")
    parser.add_argument("--results", type=Path, help="write RESULTS.md and its picture into this folder")
    parser.add_argument("--from", type=Path, dest="kept", help="measure nothing, take these figures")
    options = parser.parse_args()
    full = not (options.quick or options.kept) and options.rows == "all" and options.peers in {None, "all"}
    results = json.loads(options.kept.read_text()) if options.kept else measured(options)
    if file := options.json or (HERE / "results.json" if full else None):
        file.write_text(json.dumps(results, indent=1) + "\n")
    if folder := options.results or (HERE if full else None):
        write(results, folder)
    elif options.kept:
        for kept in results["rows"]:
            print(text(ROWS[kept["key"]], kept), end="\n\n")


if __name__ == "__main__":
    main()
