"""What the commands write: data to stdout, everything else to stderr. A reader that has gone is no error."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

_COLOURS = {"DONE": "32", "ERROR": "31", "FAILED": "31", "RUNNING": "33", "CANCELLED": "35", "missing": "31"}
#: Members of a mapping that are shown.
_MOST_LINES = 30


@dataclass(frozen=True, slots=True)
class Output:
    """How a command writes.

    Attributes:
        as_json: data as JSON instead of a table.
        quiet: errors only on stderr.
    """

    as_json: bool
    quiet: bool

    def say(self, text: str) -> None:
        """Tell the user something, on stderr."""
        if not self.quiet:
            complain(text)

    def table(self, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Write a table to stdout, in columns; a text of several lines in one."""
        texts = [list(header), *([" ".join(cell(value).splitlines()) for value in row] for row in rows)]
        listed = list(zip(*texts, strict=True))
        widths = [max(map(len, column)) for column in listed]
        right = [all(_is_number(text) for text in column[1:]) and len(column) > 1 for column in listed]
        for number, row in enumerate(texts):
            padded = [
                text.rjust(width) if to_right else text.ljust(width)
                for text, width, to_right in zip(row, widths, right, strict=True)
            ]
            shown = padded if number == 0 else [_coloured(text) for text in padded]
            write("  ".join(shown).rstrip() + "\n")

    def pairs(self, values: dict[str, Any]) -> None:
        """Write names and values to stdout, one in a line; of a mapping or a text of several lines one in a line, too."""
        width = max(map(len, values), default=0)
        for name, value in values.items():
            first, *more = _lines(value)
            write(f"{name.ljust(width)}  {_coloured(first)}".rstrip() + "\n")
            for line in more:
                write(" " * (width + 2) + line + "\n")

    def json(self, value: Any) -> None:
        """Write a value to stdout as JSON."""
        write(json.dumps(plain(value), indent=2, ensure_ascii=False) + "\n")


def complain(text: str) -> None:
    """Write a message to stderr."""
    with contextlib.suppress(OSError, AttributeError):  # nobody listens, or there is no stderr
        sys.stderr.write(f"procjob: {text}\n")
        sys.stderr.flush()


class Unwritable(Exception):
    """Stdout takes no data; the message is one line that says why."""


def write(text: str) -> None:
    """Write data to stdout.

    Raises:
        Unwritable: it is closed, or full.
    """
    try:
        _stdout().write(text)
    except UnicodeEncodeError as exc:
        _stdout().write(_escaped(text, exc.encoding))
    except BrokenPipeError:
        _write_no_more()
    except OSError as exc:
        _write_no_more()
        raise Unwritable(f"stdout cannot be written: {exc.strerror}") from None


def finish() -> None:
    """Write what is still in a buffer.

    Raises:
        Unwritable: stdout is full.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _write_no_more()
    except OSError as exc:
        _write_no_more()
        raise Unwritable(f"stdout cannot be written: {exc.strerror}") from None


def _stdout() -> Any:
    if sys.stdout is None:  # it was closed before we began
        raise Unwritable("stdout is closed; data go there, or to a file with --output")
    return sys.stdout


def _escaped(text: str, encoding: str) -> str:
    """Return a text with the escapes of JSON for what an encoding lacks."""

    def kept(letter: str) -> str:
        try:
            letter.encode(encoding)
        except UnicodeEncodeError:
            return json.dumps(letter)[1:-1]
        return letter

    return "".join(map(kept, text))


class Stdout:
    """A file that `write` stands behind."""

    @staticmethod
    def write(text: str) -> None:
        """Write text."""
        write(text)


def _write_no_more() -> None:
    """Let everything that is still written go nowhere, also what the interpreter flushes at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with contextlib.suppress(OSError):  # of a stdout that is no file
        os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


@contextmanager
def new_file(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file that gets its name when it is whole, in the place of an older one."""
    draft = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}{path.suffix}")
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    try:
        with draft.open(mode, **text) as file:  # type: ignore[call-overload]  # the options fit the mode
            yield file
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


# ---------------------------------------------------------------- values


def cell(value: Any) -> str:
    """Return a value as it stands in a table."""
    if value is None:
        return ""
    if isinstance(value, (float, complex)):
        return f"{value:.6g}"
    if isinstance(value, (str, int)):
        return str(value)
    text = json.dumps(plain(value), ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def plain(value: Any) -> Any:  # noqa: PLR0911  (one for each type)
    """Return a value as JSON has it: NaN as null, infinity as text, a complex number as [real, imaginary]."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None if math.isnan(value) else str(value)
    if isinstance(value, complex):
        return [plain(value.real), plain(value.imag)]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # an array, or one of NumPy's numbers
        return plain(value.tolist())
    return str(value)


def counted(number: int, what: str) -> str:
    """Return a number of things in words."""
    return f"{number} {what}{'s' * (number != 1)}"


def _lines(value: Any) -> list[str]:
    if isinstance(value, dict):
        texts = [f"{name}: {cell(item)}" for name, item in value.items()]
        return texts if len(texts) <= _MOST_LINES else [*texts[:_MOST_LINES], f"... ({len(texts)} in all)"]
    return cell(value).splitlines() or [""]


def _is_number(text: str) -> bool:
    try:
        float(text or "0")
    except ValueError:
        return False
    return True


def _coloured(text: str) -> str:
    word = text.strip().partition(" ")[0].rstrip(":,")
    return f"\x1b[{_COLOURS[word]}m{text}\x1b[0m" if word in _COLOURS and _has_colours() else text


def _has_colours() -> bool:
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and sys.stdout.isatty()
