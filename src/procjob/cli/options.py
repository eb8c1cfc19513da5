"""How a command is added, and the options that several commands have."""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from procjob.store import Store


class Usage(Exception):
    """What the user gave cannot be used; the message is one line that says why."""


def add_command(
    commands: Any, name: str, run: Any, *, brief: str, about: str, examples: str
) -> argparse.ArgumentParser:
    """Add a command with the options that all of them have."""
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=brief, description=about, epilog=f"examples:\n{examples}"
    )
    command.set_defaults(run=run)
    command.add_argument("--json", action="store_true", help="write data as JSON")
    command.add_argument("--quiet", action="store_true", help="write errors only to stderr")
    return command


def add_execution(command: argparse.ArgumentParser, *, of: str) -> None:
    """Add the options of what executes."""
    command.add_argument("--seed", type=whole(0), metavar="N", help="seed of all random numbers")
    command.add_argument(
        "--workers",
        type=whole(0),
        metavar="N",
        help="number of worker processes; 0: none (default: PROCJOB_WORKERS, or the cores granted)",
    )
    command.add_argument("--time-limit", type=seconds, metavar="SECONDS", help=f"stop a {of} that executes for longer")
    command.add_argument(
        "--tag",
        action="append",
        default=[],
        metavar="WORD",
        help="a word to find it by in the store: procjob jobs --tag",
    )


def add_store(command: argparse.ArgumentParser, what: str = "the store", *, consent: bool = False) -> None:
    """Add ``--store``, with its default; for a command that reads results, also ``--allow-pickle``."""
    default = os.environ.get("PROCJOB_STORE") or None
    command.add_argument(
        "--store", type=Path, metavar="FILE", default=None if default is None else Path(default),
        help=f"{what} (default: PROCJOB_STORE)",
    )  # fmt: skip
    if consent:
        command.add_argument(
            "--allow-pickle", action="store_true",
            help="also read results that somebody else has pickled: you consent that code in them may run",
        )  # fmt: skip


def add_shots(command: argparse.ArgumentParser, what: str, *, default: Any) -> None:
    """Add ``--shots``."""
    command.add_argument(
        "--shots", type=_shots, default=default, metavar="N", help=f"{what}; none: exact values (default: 1024)"
    )


def add_backend(command: argparse._ActionsContainer) -> None:
    """Add ``--backend``."""
    command.add_argument(
        "--backend", metavar="MODULE:OBJECT",
        help="a backend of Qiskit's, or what makes one: qiskit_aer:AerSimulator, file.py:noisy",
    )  # fmt: skip


def _shots(text: str) -> int | None:
    """Read a number of shots; None for exact values."""
    if text.lower() == "none":
        return None
    try:
        count: int = whole(1)(text)
    except argparse.ArgumentTypeError as exc:
        raise argparse.ArgumentTypeError(f"{exc}; none gives exact values") from None
    return count


def whole(lowest: int) -> Any:
    """Return what reads a whole number."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < lowest:
            raise argparse.ArgumentTypeError(f"must be a whole number >= {lowest}, not {text!r}")
        return int(text)

    return read


def seconds(text: str) -> float:
    """Read a positive number of seconds."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a positive number of seconds, not {text!r}")
    return value


def new_path(path: Path, suffixes: tuple[str, ...]) -> Path:
    """Return the path of a file that can be made.

    Raises:
        Usage: its ending is another, or there is no such folder.
    """
    if suffixes and path.suffix.lower() not in suffixes:
        raise Usage(f"{path} must end with {' or '.join(suffixes)}")
    if not path.parent.is_dir():
        raise Usage(f"there is no folder {path.parent} for {path.name}; make it first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise Usage(f"{path} cannot be written: the folder is read-only")
    if path.is_dir():
        raise Usage(f"{path} is a folder; name a file")
    return path


def opened(path: Path | None, *, allow_pickle: bool = False) -> Store:
    """Return a store that is there.

    Raises:
        Usage: none is named, or there is no such file.
    """
    if path is None:
        raise Usage("which store? Name its file with --store, or in PROCJOB_STORE")
    if not path.exists():
        raise Usage(f"there is no store {path}")
    from procjob.store import Store

    return Store(path, allow_pickle=allow_pickle)


def in_words_of_options(text: str) -> str:
    """Return what a store says for somebody who gave options."""
    return text.replace("open the store with Store(path, allow_pickle=True)", "give --allow-pickle").replace(
        "wait longer with Store(path, timeout=...)", "try again"
    )


def found(store: Store, prefix: str) -> tuple[str, str]:
    """Return kind and id of the one job or sweep whose id begins so.

    Raises:
        Usage: there is none, or several.
    """
    ids = store.ids(prefix)
    if prefix in ids:
        return ids[prefix], prefix
    if len(ids) != 1:
        told = f"{len(ids)} ids begin with {prefix!r}" if ids else f"there is no job or sweep {prefix!r}"
        raise Usage(f"{told} in {store.path}; procjob jobs --store {store.path} lists what there is")
    ((identity, kind),) = ids.items()
    return kind, identity
