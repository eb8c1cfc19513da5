"""The command line where things are not as they should be: files, streams, locales, locks. One line that says so, no traceback."""

import json
import os
import shlex
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

import procjob
from procjob.cli import main

DEADLINE = 60


@pytest.fixture
def folder(tmp_path):
    """A folder with a store that has a sweep and a job, and files to run."""
    (tmp_path / "model.py").write_text('def word(x):\n    return f"é{x}∞😀"\n\ndef square(x):\n    return x * x\n')
    (tmp_path / "bell.qasm").write_text(
        'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[1]; creg c[1];\nh q[0]; measure q -> c;\n'
    )
    with procjob.Store(tmp_path / "s.db") as store:
        procjob.sweep(lambda x: x * x, procjob.grid(x=[1.0, 2.0]), workers=0, store=store)
        with procjob.Backend(abs, workers=0, store=store) as backend:
            backend.run(-1, job_id="thejob").result()
    return tmp_path


@pytest.fixture
def shell(folder):
    """Run a line of a shell in which `procjob` is ours; returns exit code, stdout and stderr."""

    def shell(line, **environment):
        run = subprocess.run(
            ["bash", "-c", f'procjob() {{ "{sys.executable}" -m procjob "$@"; }}\n{line}'],
            cwd=folder, capture_output=True, timeout=DEADLINE, check=False,
            env={name: value for name, value in os.environ.items() if name != "PROCJOB_STORE"} | environment,
        )  # fmt: skip
        return run.returncode, run.stdout.decode(), run.stderr.decode()

    return shell


@pytest.fixture
def call(folder, monkeypatch, capsys):
    """Run a command line in this process; returns exit code, stdout and stderr."""
    monkeypatch.chdir(folder)
    monkeypatch.delenv("PROCJOB_STORE", raising=False)

    def call(line):
        return main(shlex.split(line)), *capsys.readouterr()

    yield call
    sys.modules.pop("model.py", None)


def refused(found, words):
    code, out, err = found
    assert (code, out) == (2, ""), err
    assert words in err
    assert err.startswith("procjob: ")
    assert err.count("\n") == 1


def damage(path, *statements):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


# ---------------------------------------------------------------- streams and locales


def test_a_closed_or_full_stdout_is_said(shell):
    refused(shell("procjob export s.db >&-"), "stdout is closed")
    refused(shell("procjob jobs --store s.db > /dev/full"), "stdout cannot be written: No space left on device")
    refused(shell("procjob --help > /dev/full"), "stdout cannot be written")


def test_text_that_a_locale_lacks_is_escaped_and_json_stays_json(shell):
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
    code, out, _ = shell("procjob sweep model.py:word --grid x=1 --workers 0 --quiet", **plain)
    assert code == 0
    assert r"\u00e91\u221e\ud83d\ude00" in out
    code, out, _ = shell("procjob sweep model.py:word --grid x=1 --workers 0 --quiet --json", **plain)
    assert (code, json.loads(out)["points"][0]["word"]) == (0, "é1∞😀")


# ---------------------------------------------------------------- files and folders


def test_a_file_whose_name_is_no_utf_8_is_run_and_recorded(shell):
    code, out, err = shell(
        "cp bell.qasm $'caf\\xe9.qasm'; procjob run $'caf\\xe9.qasm' --seed 1 --store s.db > counts && procjob jobs --store s.db"
    )
    assert (code, "1 job, 0 failed" in err, "caf" in out) == (0, True, True), err


def test_what_is_looked_for_may_have_bytes_that_are_no_utf_8(shell):
    code, out, err = shell("procjob jobs --store s.db --json --tag $'\\xe9'")
    assert (code, json.loads(out), err) == (0, [], "")
    code, _, err = shell("procjob show $'\\xe9' --store s.db")
    assert (code, err.count("\n"), "no job or sweep" in err) == (2, 1, True), err


def test_results_that_could_not_be_written_are_refused_before_anything_runs(shell, folder):
    (folder / "taken.csv").mkdir()
    refused(shell("procjob sweep model.py:square --grid x=1 --output taken.csv"), "taken.csv is a folder; name a file")
    if os.geteuid():  # root may write everywhere
        (folder / "ro").mkdir(mode=0o500)
        refused(shell("procjob sweep model.py:square --grid x=1 --output ro/x.csv"), "the folder is read-only")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("export .", ". is a folder; name the file of a store in it"),
        ("export thejob --store s.db --output /proc/x.csv", "/proc/x.csv cannot be written"),
        ("run /dev/zero", "more than 100,000,000 characters"),
        ("sweep model.py:square --grid x=@/dev/zero", "axis x: /dev/zero has more than 100,000,000 characters; save its values as .npy"),
        ("run bell.qasm --seed 9223372036854775808", "--seed must be less than 2**63"),
        ("run bell.qasm --shots 9223372036854775808", "--shots must be less than 2**63"),
        ("sweep :f --grid x=1", "':f' names nothing; write module:name or file.py:name"),
        ("sweep model.py: --grid x=1", "'model.py:' names nothing"),
        ("sweep ../model:f --grid x=1", "'../model:f' names nothing"),
        ("sweep model.py:square --grid x=0:1:1000000000000000", "axis x has 1000000000000000 values, more than there is memory"),
        ("sweep model.py:square --grid x=0:inf:3", "axis x has nan at position 0; every number must be finite"),
        ("sweep model.py:square --grid x=1 --time-limit 1 --workers 0", "drop it or take --workers 1 or more"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_one_line(call, line, words):
    refused(call(line), words)


def test_a_grid_that_no_memory_holds_is_refused(shell, folder):
    (folder / "model.py").write_text("def f(x, y, z):\n    return x\n")
    axes = " ".join(f"--grid {name}=0:1:1000000" for name in "xyz")
    refused(shell(f"procjob sweep model.py:f {axes} --workers 0"), "memory")


# ---------------------------------------------------------------- stores


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE jobs SET tags = 'nope'", "job thejob is damaged"),
        ("UPDATE jobs SET times = '{\"LOST\": 1}'", "job thejob is damaged"),
        ("UPDATE jobs SET status = 'LOST'", "job thejob is damaged"),
        ("UPDATE jobs SET created = 'abc'", "job thejob is damaged: created is 'abc'"),
        ("UPDATE jobs SET created = 1e300", "job thejob is damaged: created is 1e+300"),
        ("UPDATE sweeps SET tags = 'nope'", "is damaged"),
        ("UPDATE sweeps SET seed = 'x'", "is damaged"),
        ("UPDATE sweeps SET status = 'LOST'", "is damaged"),
        ("UPDATE sweeps SET updated = 'abc'", "is damaged: updated is 'abc'"),
    ],
)
def test_a_damaged_record_is_said(call, folder, statement, words):
    damage(folder / "s.db", statement)
    refused(call("jobs --store s.db"), words)


def test_a_store_that_another_process_writes_to_is_read_all_the_same(call, folder):
    with closing(sqlite3.connect(folder / "s.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for line in ("jobs --store s.db", "status s.db", "export s.db", "show thejob --store s.db"):
            code, out, err = call(line)
            assert (code, err) == (0, "")
            assert out


def test_what_died_is_read_as_interrupted_while_another_process_writes(shell, folder):
    with closing(sqlite3.connect(folder / "s.db", isolation_level=None)) as other:
        other.execute("UPDATE sweeps SET status = 'RUNNING'")
        other.execute("UPDATE jobs SET status = 'RUNNING'")
        other.execute("UPDATE processes SET started = started - 1")
        other.execute("BEGIN IMMEDIATE")
        code, out, err = shell("procjob jobs --store s.db --json --status ERROR")
        assert (code, err) == (0, "")
        assert sorted(entry["kind"] for entry in json.loads(out)) == ["job", "sweep"]
        assert all(entry["about"].startswith("interrupted: process ") for entry in json.loads(out))
        assert {row[0] for row in other.execute("SELECT status FROM jobs UNION SELECT status FROM sweeps")} == {
            "RUNNING"
        }
