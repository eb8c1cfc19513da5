"""Scripts whose standard streams are closed, broken or narrow: no job minds, and nothing of it is printed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

DEADLINE = 30.0

SCRIPT = """
import os, sys
import procjob

def talk(n):
    print("caf\\u00e9", n)
    os.write(2, b"raw\\n")
    return n

with procjob.Backend(talk, workers=2) as backend:
    jobs = [backend.run(n) for n in range(4)]
    results = [job.result(20) for job in jobs]
    said = sorted("".join(log.text for log in job.logs() if log.source == "stdout") for job in jobs)
with open(sys.argv[1], "w", encoding="utf-8") as file:
    print(results, said, file=file)
"""
EXPECTED = f"{[0, 1, 2, 3]} {[f'café {n}' + chr(10) for n in range(4)]}\n"


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (1, 2), (0, 1), (0, 2), (0, 1, 2)], ids=str)
def test_a_script_without_some_of_its_standard_streams(closed, tmp_path):
    redirections = " ".join(f"{fd}>&-" for fd in closed)
    command = f'exec "$0" -c "$1" "$2" {redirections}'
    subprocess.run(
        ["sh", "-c", command, sys.executable, SCRIPT, str(tmp_path / "seen")],
        check=True,
        timeout=DEADLINE,
        capture_output=True,
    )
    assert (tmp_path / "seen").read_text(encoding="utf-8") == EXPECTED


def test_a_script_whose_output_nobody_reads_is_told_once_and_not_for_each_piece(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(tmp_path / "seen")],
            check=False,
            timeout=DEADLINE,
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        os.close(writer)
    assert (tmp_path / "seen").read_text(encoding="utf-8") == EXPECTED
    assert "Traceback" not in done.stderr
    assert done.stderr.count("raw\n") == 4


def test_a_character_that_the_script_cannot_print_is_escaped(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "seen")],
        check=True,
        timeout=DEADLINE,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
    )
    assert sorted(done.stdout.splitlines()) == [f"caf\\xe9 {n}" for n in range(4)]
    assert (tmp_path / "seen").read_text(encoding="utf-8") == EXPECTED
