"""Ordinary Qiskit scripts print the same with their one line ``backend = ...`` changed."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from procjob.engine import ProcessEngine, Task

SCRIPTS = sorted(Path(__file__).with_name("scripts").glob("*.py"))
PATIENCE = 60.0


@pytest.fixture(scope="module")
def engine():
    """Two workers for all scripts, as their start takes longer than any script."""
    engine = ProcessEngine(2)
    for future in [engine.submit(Task(time.sleep, (0.2,)), lambda _: None) for _ in range(2)]:
        future.result(PATIENCE)
    yield engine
    engine.close(cancel=True)


def changed(path, arguments):
    """Return the source of a script with its line changed."""
    source, lines = re.subn(
        r"^backend = (.+)$", rf"backend = ProcessBackend(\1, {arguments})", path.read_text(), flags=re.MULTILINE
    )
    assert lines == 1, f"{path.name} has {lines} lines that take a backend"
    return f"from procjob.qiskit import ProcessBackend\n{source}"


def printed(source, path, capsys, **names):
    exec(compile(source, path, "exec"), {"__name__": "__main__", **names})
    return capsys.readouterr().out


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_prints_the_same_with_one_line_changed(path, engine, capsys):
    stock = printed(path.read_text(), path, capsys)
    assert stock
    assert printed(changed(path, "engine=engine"), path, capsys, engine=engine) == stock


def test_a_changed_script_is_a_program_that_ends_by_itself(tmp_path, capsys):
    path = SCRIPTS[[script.stem for script in SCRIPTS].index("same_names")]
    program = tmp_path / "program.py"
    program.write_text(changed(path, "workers=2"))
    run = subprocess.run([sys.executable, program], check=False, capture_output=True, text=True, timeout=PATIENCE)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == printed(path.read_text(), path, capsys)
