"""Scripts whose standard streams are closed, broken or narrow: no job minds, and nothing of it is printed."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

import procjob

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


def call(given):
    fn, argument = given
    return fn() if argument is None and fn is os.getpid else fn(argument)


def close_the_descriptors(_):
    os.close(1)
    os.close(2)


def lead_the_descriptors_into_a_file(path):
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


def close_the_streams(_):
    sys.stdout.close()
    sys.stderr.close()


def replace_the_streams(_):
    sys.stdout = sys.stderr = io.StringIO()


def wrap_the_buffers(_):
    sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8")
    sys.stderr = io.TextIOWrapper(sys.stderr.detach(), encoding="utf-8")


def open_the_descriptors(_):
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")


def set_another_encoding(_):
    sys.stdout.reconfigure(encoding="ascii")


def said(job):
    return sorted((log.source, log.text) for log in job.logs())


def talk(path):
    with path.open("w"):  # it gets the lowest number that is free
        print("h\xe9ard")
        os.write(2, b"raw\n")


@pytest.mark.parametrize(
    "spoil",
    [
        close_the_descriptors,
        lead_the_descriptors_into_a_file,
        close_the_streams,
        replace_the_streams,
        wrap_the_buffers,
        open_the_descriptors,
        set_another_encoding,
    ],
)
def test_what_a_task_does_to_the_standard_streams_is_its_own_affair(spoil, tmp_path):
    with procjob.Backend(call, workers=1) as backend:
        pid = backend.run((os.getpid, None)).result(DEADLINE)
        for _ in range(2):
            backend.run((spoil, tmp_path / "spoilt")).result(DEADLINE)
            job = backend.run((talk, tmp_path / "own"))
            job.result(DEADLINE)
            assert said(job) == [("stderr", "raw\n"), ("stdout", "h\xe9ard\n")]
        assert backend.run((os.getpid, None)).result(DEADLINE) == pid
    assert (tmp_path / "own").read_text() == ""
    assert not (tmp_path / "spoilt").exists() or (tmp_path / "spoilt").read_text() == ""


def to_a_file(path):
    sys.stdout = path.open("a", buffering=1, encoding="utf-8")
    os.dup2(sys.stdout.fileno(), 2)


def test_what_the_initializer_does_to_them_stays(tmp_path):
    path = tmp_path / "output"
    with procjob.Backend(call, workers=1, initializer=to_a_file, initargs=(path,)) as backend:
        for _ in range(2):
            job = backend.run((talk, tmp_path / "own"))
            job.result(DEADLINE)
            backend.run((close_the_descriptors, None)).result(DEADLINE)
    assert path.read_text("utf-8") == "h\xe9ard\nraw\n" * 2
