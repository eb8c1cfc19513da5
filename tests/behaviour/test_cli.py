"""The command line: in this process where that will do, as a process of its own for signals, pipes and exit codes."""

import csv
import io
import json
import os
import pty
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

import procjob
from procjob.cli import main

DEADLINE = 60
EXAMPLES = Path(__file__).parents[2] / "examples"

MODEL = """
import math, time

def energy(theta, depth):
    return {"value": depth * math.cos(theta), "depth_squared": depth**2}

def noisy(x, seed):
    return x + seed % 1000

def root(x):
    print("computing", x)
    if x < 0:
        raise ValueError("no root of a negative number")
    return x**0.5

def slow(x):
    print("begun", flush=True)
    time.sleep(0.02)
    return x * x

def stubborn(x):
    while True:
        try:
            print("begun", flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            print("swallowed", flush=True)
"""
BELL = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[2]; creg c[2];\nh q[0]; cx q[0], q[1]; measure q -> c;\n'
#: A shot is a run of its own, as it measures before its end.
LONG = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[18]; creg c[1];\nh q; measure q[0] -> c[0]; h q; measure q[0] -> c[0];\n'
ROTATION = '// one angle\nOPENQASM 3.0;\ninclude "stdgates.inc";\ninput float theta;\nqubit[2] q;\nrx(theta) q[0];\n'
#: The same, measured.
TURN = f"{ROTATION}bit[2] c;\nc = measure q;\n"
BACKENDS = """
from qiskit.providers import Options
from qiskit.providers.basic_provider import BasicSimulator
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, ReadoutError

def flipped():
    noise = NoiseModel()
    noise.add_all_qubit_readout_error(ReadoutError([[0, 1], [1, 0]]))
    return AerSimulator(noise_model=noise)

one_qubit = GenericBackendV2(1, basis_gates=["x", "sx", "rz"])
one_qubit.name = "one"
other = GenericBackendV2(2)
plain = AerSimulator()

class Unseeded(BasicSimulator):
    @classmethod
    def _default_options(cls):
        return Options(shots=1024)

def unseeded():
    return Unseeded()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with files to run, which is the current one."""
    for name, text in {"model.py": MODEL, "bell.qasm": BELL, "rotation.qasm": ROTATION}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delenv("PROCJOB_STORE", raising=False)
    yield tmp_path
    for name in ("model", "model.py", "backends.py"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def fonts():
    """Have matplotlib open its fonts, which it keeps open."""
    Figure().add_subplot().figure.savefig(io.BytesIO())


@pytest.fixture
def call(folder, capsys):
    """Run a command line in this process; returns exit code, stdout and stderr."""

    def call(line):
        code = main(shlex.split(line))
        return code, *capsys.readouterr()

    return call


def start(line, **settings):
    return subprocess.Popen(
        [sys.executable, "-m", "procjob", *shlex.split(line)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **settings,
    )


def wait_for(stream, word):
    """Read lines until one has a word; the test's own timeout is the deadline."""
    lines = []
    for line in stream:
        lines.append(line)
        if word in line:
            return
    pytest.fail(f"{word!r} never came: {lines}")


# ---------------------------------------------------------------- run


def test_run_writes_the_counts_of_each_file(call):
    code, out, err = call(f"run bell.qasm {EXAMPLES / 'w_state.qasm'} --shots 500 --seed 7 --workers 1 --json")
    assert code == 0, err
    bell, w_state = json.loads(out)
    assert set(bell["counts"]) == {"00", "11"}
    assert set(w_state["counts"]) == {"001", "010", "100"}
    assert {sum(entry["counts"].values()) for entry in (bell, w_state)} == {500}
    assert (bell["status"], bell["seed"], bell["error"]) == ("DONE", 7, None)
    assert "2 jobs, 0 failed, seed 7" in err


def test_run_records_its_jobs_and_others_commands_find_them(call):
    code, out, err = call("run bell.qasm --simulator statevector --shots 100 --seed 1 --workers 1 --store jobs.db")
    assert code == 0, err
    header, *rows = out.splitlines()
    assert header.split() == ["FILE", "OUTCOME", "COUNT", "FRACTION"]
    assert sum(int(row.split()[2]) for row in rows) == 100

    (entry,) = json.loads(call("jobs --store jobs.db --json")[1])
    assert (entry["kind"], entry["status"]) == ("job", "DONE")
    shown = json.loads(call(f"show {entry['id'][:6]} --store jobs.db --json")[1])
    assert sum(shown["result"].values()) == 100
    assert shown["metadata"] == {"file": "bell.qasm", "shots": 100, "seed": 1}
    exported = list(csv.DictReader(call("export jobs.db")[1].splitlines()))
    assert {row["outcome"]: int(row["count"]) for row in exported} == shown["result"]
    assert json.loads(call("status jobs.db --json")[1])["jobs"] == {"DONE": 1}


def test_a_job_over_its_time_limit_fails_and_is_named(call):
    code, out, err = call("run bell.qasm --workers 1 --time-limit 0.001 --json")
    (entry,) = json.loads(out)
    assert code == 1
    assert (entry["status"], entry["counts"]) == ("ERROR", None)
    assert "bell.qasm: ERROR: TimeLimitExceeded" in err


def test_exact_values_are_the_probabilities_of_outcomes(call, folder):
    (folder / "three.qasm").write_text(  # outcomes of a part of the qubits, in another order
        'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[3]; creg c[2]; creg d[1];\n'
        "x q[0]; h q[1]; ry(1.0) q[2];\nmeasure q[1] -> c[0]; measure q[0] -> d[0];\n"
    )
    code, out, err = call("run bell.qasm three.qasm --shots none --workers 1 --json --store jobs.db --tag exact")
    bell, three = json.loads(out)
    assert code == 0, err
    assert bell["probabilities"] == pytest.approx({"00": 0.5, "11": 0.5})
    assert three["probabilities"] == pytest.approx({"1 00": 0.5, "1 01": 0.5})
    assert (bell["shots"], bell["seed"], bell["simulator"]) == (None, None, "statevector")
    shown = json.loads(call(f"show {bell['job_id']} --store jobs.db --json")[1])
    assert (shown["result"], shown["tags"]) == (bell["probabilities"], ["exact"])
    code, out, _ = call("run bell.qasm --shots none --workers 0")
    assert [line.split() for line in out.splitlines()] == [
        ["FILE", "OUTCOME", "PROBABILITY"], ["bell.qasm", "00", "0.5"], ["bell.qasm", "11", "0.5"],
    ]  # fmt: skip


@pytest.mark.parametrize("backend", ["qiskit_aer:AerSimulator", "backends.py:plain"])
def test_a_backend_is_named_by_its_module_or_file(call, folder, backend):
    (folder / "backends.py").write_text(BACKENDS)
    seeded = "run bell.qasm --shots 200 --seed 3 --workers 0 --json"
    (stock,) = json.loads(call(f"{seeded} --simulator aer")[1])
    (own,) = json.loads(call(f"{seeded} --backend {backend}")[1])
    assert own["counts"] == stock["counts"]


def test_a_backend_may_be_made_by_a_function_and_has_its_noise(call, folder):
    (folder / "backends.py").write_text(BACKENDS)
    (folder / "turn.qasm").write_text(TURN)
    (folder / "ones.qasm").write_text(BELL.replace("h q[0]; cx q[0], q[1];", "x q;"))
    (entry,) = json.loads(call("run ones.qasm --backend backends.py:flipped --shots 50 --workers 1 --json")[1])
    assert entry["counts"] == {"00": 50}
    code, out, err = call(
        "sweep turn.qasm --grid theta=0,3.141592653589793 --backend backends.py:flipped --shots 50 --workers 1 --json"
    )
    assert code == 0, err
    assert [point["counts"] for point in json.loads(out)["points"]] == [{"11": 50}, {"10": 50}]


# ---------------------------------------------------------------- sweep


def test_exact_values_of_a_circuit_without_observables_are_its_states(call, folder):
    (folder / "turn.qasm").write_text(TURN)
    code, _, err = call("sweep turn.qasm --grid theta=0,3.141592653589793 --shots none --workers 0 --output t.npz")
    assert code == 0, err
    states = procjob.SweepResult.load("t.npz")["statevector"]
    np.testing.assert_allclose(states, [[1, 0, 0, 0], [0, -1j, 0, 0]], atol=1e-15)


def test_a_drawn_seed_that_is_used_again_is_told(call):
    line = "sweep model.py:noisy --workers 0 --store s.db"
    assert "was drawn" not in call(f"{line} --grid x=1,2")[2]
    seed = json.loads(call(f"{line} --grid x=1,2 --json --quiet")[1])["seed"]
    told = f"procjob: seed {seed} is the one that was drawn when s.db got its first points; --seed N takes another\n"
    assert told in call(f"{line} --grid x=1,2,3")[2]
    assert "was drawn" not in call(f"{line} --grid x=1,2,3 --seed 5")[2]


def test_a_target_version_stands_for_the_code(call, folder):
    line = "sweep model.py:root --grid x=1,4 --workers 0 --store s.db --target-version 1"
    call(line)
    (folder / "model.py").write_text(MODEL.replace("x**0.5", "x**0.25"))
    assert "2 of 2 points are in s.db; 0 to run" in call(line)[2]
    assert "0 of 2 points are in s.db; 2 to run" in call(line.replace("version 1", "version 2"))[2]


def test_sweep_of_a_function_in_a_file_writes_one_row_a_point(call):
    code, out, err = call("sweep model.py:energy --grid theta=0:3:4 --grid depth=1,2 --workers 1 --output e.csv")
    assert (code, out) == (0, ""), err
    rows = list(csv.DictReader(Path("e.csv").read_text().splitlines()))
    assert [(float(row["theta"]), int(row["depth"])) for row in rows] == [(t, d) for t in (0, 1, 2, 3) for d in (1, 2)]
    assert [float(row["value"]) for row in rows] == [int(r["depth"]) * np.cos(float(r["theta"])) for r in rows]
    assert {row["status"] for row in rows} == {"DONE"}


def test_sweep_of_a_function_in_a_module_is_that_of_the_library(call):
    code, out, err = call("sweep model:noisy --grid x=1,2,3 --seed 5 --workers 1 --json")
    assert code == 0, err
    found = json.loads(out)
    import model

    library = procjob.sweep(model.noisy, procjob.grid(x=[1, 2, 3]), seed=5, workers=0)
    assert [point["noisy"] for point in found["points"]] == library["noisy"].tolist()
    assert found["seed"] == 5


def test_sweep_of_a_circuit_with_observables_and_a_picture(call, folder, fonts):
    code, _, err = call(
        "sweep rotation.qasm --grid theta=0,1.5 --observable IZ --workers 1 --plot r.png --store r.db --output r.npz"
    )
    assert code == 0, err
    result = procjob.SweepResult.load("r.npz")
    np.testing.assert_allclose(result["IZ"], np.cos([0, 1.5]), atol=1e-12)
    assert (folder / "r.png").read_bytes().startswith(b"\x89PNG")
    assert "0 of 2 points are in r.db; 2 to run" in err


def test_a_store_is_used_again_and_from_the_environment(call, monkeypatch, fonts):
    monkeypatch.setenv("PROCJOB_STORE", "s.db")
    assert call("sweep model.py:noisy --grid x=1,2 --workers 1")[0] == 0
    code, out, err = call("sweep model.py:noisy --grid x=1,2,3 --workers 1 --json")
    assert code == 0
    assert "2 of 3 points are in s.db; 1 to run" in err
    points = json.loads(out)["points"]
    exported = list(csv.DictReader(call("export s.db")[1].splitlines()))
    assert [int(row["noisy"]) for row in exported] == [point["noisy"] for point in points]
    newest = json.loads(call("jobs --json")[1])[0]
    assert (newest["kind"], newest["status"], newest["name"]) == ("sweep", "DONE", "noisy")
    assert json.loads(call(f"show {newest['id'][:8]} --json")[1])["done"] == 3
    assert json.loads(call("status --json")[1])["targets"][0]["done"] == 3
    assert call(f"plot {newest['id']} --x x --y noisy --output p.svg")[0] == 0
    assert "<svg" in Path("p.svg").read_text()


def test_run_records_in_the_store_of_the_environment_too(call, monkeypatch):
    monkeypatch.setenv("PROCJOB_STORE", "s.db")
    code, _, err = call("run bell.qasm --workers 1 --simulator statevector")
    assert (code, "recorded in s.db" in err) == (0, True)
    assert [entry["kind"] for entry in json.loads(call("jobs --json")[1])] == ["job"]


def test_jobs_and_sweeps_are_found_by_their_tags(call):
    call("run bell.qasm --workers 1 --simulator statevector --store s.db --tag bell --tag both")
    call("sweep model.py:noisy --grid x=1,2 --workers 0 --store s.db --tag noisy --tag both")
    for tag, kinds in (("both", ["job", "sweep"]), ("noisy", ["sweep"]), ("bell", ["job"]), ("none", [])):
        entries = json.loads(call(f"jobs --store s.db --tag {tag} --json")[1])
        assert sorted(entry["kind"] for entry in entries) == kinds
    (entry,) = json.loads(call("jobs --store s.db --tag noisy --tag both --json")[1])
    shown = json.loads(call(f"show {entry['id']} --store s.db --json")[1])
    assert shown["tags"] == entry["tags"] == ["noisy", "both"]
    assert "noisy" in call(f"show {entry['id']} --store s.db")[1]


def test_a_sweep_that_failed_says_why_in_lists(call):
    call("sweep model.py:root --grid x=4,-1 --workers 0 --store s.db")
    (entry,) = json.loads(call("jobs --store s.db --json")[1])
    assert (entry["status"], entry["about"]) == ("ERROR", "ValueError: no root of a negative number")
    assert json.loads(call(f"show {entry['id']} --store s.db --json")[1])["error"] == entry["about"]


def test_zipped_axes_and_axes_in_files(call, folder):
    (folder / "x.txt").write_text("# numbers\n1\n2\n")
    np.save("depth.npy", np.array([3, 4]))
    _, out, _ = call("sweep model.py:energy --zip theta=@x.txt --zip depth=@depth.npy --workers 1 --json")
    assert [(p["theta"], p["depth"], p["depth_squared"]) for p in json.loads(out)["points"]] == [(1, 3, 9), (2, 4, 16)]


def test_a_byte_order_mark_as_editors_on_windows_write_it_is_no_text(call, folder):
    (folder / "x.txt").write_text("1\n2\n", encoding="utf-8-sig")
    _, out, _ = call("sweep model.py:energy --zip theta=@x.txt --zip depth=3,4 --workers 1 --json")
    assert [p["theta"] for p in json.loads(out)["points"]] == [1, 2]
    (folder / "marked.qasm").write_text(
        "OPENQASM 2.0;\nqreg q[1];\ncreg c[1];\nmeasure q -> c;\n", encoding="utf-8-sig"
    )
    assert call("run marked.qasm --workers 0")[0] == 0


def test_what_a_target_prints_is_no_data(call):
    code, out, err = call("sweep model.py:root --grid x=1,4 --workers 1 --json")
    assert [point["root"] for point in json.loads(out)["points"]] == [1, 2]
    assert "computing 4" in err
    assert code == 0


def test_the_first_point_that_fails_ends_a_sweep_and_is_named(call):
    code, out, err = call("sweep model.py:root --grid x=-1,4 --workers 1")
    assert (code, out) == (1, "")
    assert "ValueError: no root of a negative number" in err
    assert "x=-1" in err
    assert "model.py" in err  # the traceback in the worker


def test_points_that_fail_are_in_the_table_if_errors_are_stored(call):
    code, out, err = call("sweep model.py:root --grid x=-1,4 --workers 1 --errors store --json --quiet")
    first, second = json.loads(out)["points"]
    assert code == 1
    assert (first["status"], first["root"]) == ("FAILED", None)
    assert "no root" in first["error"]
    assert second["root"] == 2.0
    assert "1 point failed, the first at x=-1" in err


def test_a_point_whose_error_or_result_has_several_lines_has_one_in_a_table(call, folder):
    (folder / "lines.py").write_text(
        "def f(x):\n    if x:\n        raise ValueError('no\\nroot')\n    return 'a\\nb'\n"
    )
    _, out, err = call("sweep lines.py:f --grid x=0,1 --workers 0 --errors store --store s.db")
    assert [line.split()[0] for line in out.splitlines()] == ["x", "0", "1"]
    assert "a b" in out
    assert out.splitlines()[-1].endswith("ValueError: no root")
    assert "the first at x=1: ValueError: no root\n" in err
    assert call("sweep lines.py:f --grid x=1 --workers 0 --store t.db")[0] == 1
    assert len(call("jobs --store t.db")[1].splitlines()) == 2


def test_values_that_json_and_csv_lack_are_written_all_the_same(call, folder):
    (folder / "odd.py").write_text(
        "import numpy as np\n"
        "def odd(x):\n"
        "    return {'z': 1 + 2j, 'n': float('nan'), 'i': float('inf'), 'a': np.arange(2), 'd': {'00': 3}, 't': 'é'}\n"
    )
    _, out, _ = call("sweep odd.py:odd --grid x=1 --workers 0 --json --output odd.csv")
    (point,) = json.loads(out, parse_constant=pytest.fail)["points"]
    assert (point["z"], point["n"], point["i"], point["a"], point["d"], point["t"]) == (
        [1, 2], None, "inf", [0, 1], {"00": 3}, "é",
    )  # fmt: skip
    (row,) = csv.DictReader(Path("odd.csv").read_text(encoding="utf-8").splitlines())
    assert (row["z"], row["a"], row["d"], row["t"]) == ("(1+2j)", "[0, 1]", '{"00": 3}', "é")


def test_results_that_cannot_be_drawn_or_saved_are_written_to_stdout(call, folder):
    (folder / "text.py").write_text("def text(x):\n    return f'<{x}>'\n")
    code, out, err = call("sweep text.py:text --grid x=1,2 --workers 0 --plot t.png")
    assert code == 1
    assert "no picture: none of the results is a number a point; there are text" in err
    assert "<2>" in out
    assert sorted(path.suffix for path in folder.iterdir() if path.is_file()) == [".py", ".py", ".qasm", ".qasm"]


def test_an_interrupted_process_shows_as_an_error(call, folder):
    with start("sweep model.py:slow --grid x=0:99:100 --workers 1 --store s.db") as process:
        wait_for(process.stderr, "begun")
        process.kill()
        process.communicate(timeout=DEADLINE)
    (entry,) = json.loads(call("jobs --store s.db --status error --json")[1])
    assert entry["status"] == "ERROR"
    assert entry["about"].startswith(f"interrupted: process {process.pid} on ")
    assert json.loads(call("status s.db --json")[1])["sweeps"] == {"ERROR": 1}


def test_the_installed_command_is_main():
    project = tomllib.loads((EXAMPLES.parent / "pyproject.toml").read_text())["project"]
    assert EntryPoint("procjob", project["scripts"]["procjob"], "console_scripts").load() is main


# ---------------------------------------------------------------- what cannot be used


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "COMMAND"),
        ("run none.qasm", "there is no file none.qasm"),
        ("run model.py", "model.py cannot be read as OpenQASM"),
        ("run rotation.qasm", "rotation.qasm has free parameters: theta; procjob sweep"),
        ("run bell.qasm --shots 0", "--shots: must be a whole number >= 1"),
        ("run bell.qasm --time-limit -1", "--time-limit"),
        ("run bell.qasm --shots some", "--shots: must be a whole number >= 1, not 'some'; none gives exact values"),
        ("run bell.qasm --simulator qulacs", "invalid choice: 'qulacs' (choose from"),
        ("run bell.qasm --simulator aer --backend qiskit_aer:AerSimulator", "not allowed with argument"),
        ("run bell.qasm --shots none --simulator aer", "leave out --simulator aer"),
        ("run bell.qasm --shots none --backend qiskit_aer:AerSimulator", "leave out --backend"),
        ("run middle.qasm --shots none", "middle.qasm has no exact values"),
        ("run bell.qasm --backend AerSimulator", "'AerSimulator' is no backend; give module:object"),
        ("run bell.qasm --backend qiskit_aer:Nothing", "qiskit_aer has no Nothing"),
        ("run bell.qasm --backend model.py:energy", "model.py:energy is no backend: energy() missing 2"),
        ("run bell.qasm --backend model:MODEL", "model has no MODEL"),
        ("run bell.qasm --backend backends.py:one_qubit", "bell does not fit one: "),
        ("run bell.qasm --seed 1 --backend backends.py:unseeded", "takes no seed; leave out --seed"),
        ("run bell.qasm --workers -1", "--workers: must be a whole number >= 0"),
        ("run bell.qasm --colour", "unrecognized arguments: --colour"),
        ("sweep model.py:root --grid x=1 --errors ignore", "invalid choice: 'ignore'"),
        ("sweep model.py:root --grid x=1 --backend qiskit_aer:AerSimulator", "--backend is for circuits"),
        ("sweep turn.qasm --grid theta=1 --shots none --backend qiskit_aer:AerSimulator", "leave out --backend"),
        ("sweep turn.qasm --grid theta=1 --store t.db --backend backends.py:other", "give --target-version to say so"),
        ("jobs --store empty.db --status LOST", "invalid choice: 'LOST'"),
        ("jobs --store empty.db --limit 0", "--limit: must be a whole number >= 1"),
        ("sweep model.py:energy", "which points?"),
        ("sweep model.py:energy --grid theta", "name=start:stop:count"),
        ("sweep model.py:energy --grid theta=0:1", "no start:stop:count"),
        ("sweep model.py:energy --grid theta=0:1:x", "no start:stop:count"),
        ("sweep model.py:energy --grid theta=1,,2", "empty value"),
        ("sweep model.py:energy --grid theta=@no.txt", "there is no file no.txt"),
        ("sweep model.py:energy --grid theta=nan --grid depth=1", "must be finite"),
        ("sweep model.py:energy --grid theta=1 --grid theta=2", "axis theta is given twice"),
        ("sweep model.py:energy --zip theta=1,2 --zip depth=1", "same length"),
        ("sweep model.py:energy --grid x=1", "It takes theta, depth"),
        ("sweep model.py:missing --grid x=1", "model.py has no missing; it has energy, "),
        ("sweep nomodule:f --grid x=1", "nomodule cannot be imported"),
        ("sweep broken.py:f --grid x=1", "broken.py cannot be run"),
        ("sweep none.py:f --grid x=1", "there is no file none.py"),
        ("sweep energy --grid x=1", "'energy' is no target"),
        (
            "sweep model.py --grid x=1",
            "'model.py' is no target; give an OpenQASM file, module:function or file.py:function",
        ),
        ("sweep rotation.qasm --grid phi=1 --observable ZZ", "rotation has no parameter phi; it has theta"),
        ("sweep rotation.qasm --grid theta=1", "give --observable, or add a measure statement"),
        ("sweep rotation.qasm --grid theta=1 --observable ZZZ", "ZZZ"),
        ("sweep bell.qasm --grid theta=1", "input float theta;"),
        ("sweep model.py:root --grid x=1 --shots 10", "shots is for circuits"),
        ("sweep model.py:root --grid x=1 --output r.xls", ".csv or .json or .npz"),
        ("sweep model.py:root --grid x=1 --output no/r.csv", "there is no folder no"),
        ("sweep model.py:root --grid x=1 --store model.py", "not a SQLite file"),
        ("jobs", "PROCJOB_STORE"),
        ("jobs --store none.db", "there is no store none.db"),
        ("show abc --store empty.db", "there is no job or sweep 'abc'"),
        ("export none.npz", "there is no file none.npz"),
        ("export model.npz", "no saved result"),
        ("export empty.db", "neither sweeps nor jobs"),
        ("export empty.db --format npz", "--output FILE.npz"),
        ("plot empty.db --output p.gif", ".png or .pdf"),
        ("status none.db", "there is no store none.db"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(call, folder, line, words):
    (folder / "broken.py").write_text("import math\nmath.nothing\n")
    (folder / "model.npz").write_text("no archive")
    (folder / "middle.qasm").write_text(LONG)
    (folder / "turn.qasm").write_text(TURN)
    (folder / "backends.py").write_text(BACKENDS)
    procjob.Store("empty.db").close()
    code, out, err = call(line)
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1
    assert err.startswith("procjob: ")


@pytest.mark.parametrize("consent", ["", "--allow-pickle"])
def test_a_sweep_that_is_refused_makes_no_store(call, consent):
    code, _, err = call(f"sweep model.py:root --grid wrong=1 --store s.db {consent}")
    assert (code, err.count("\n")) == (2, 1), err
    assert not Path("s.db").exists()


# ---------------------------------------------------------------- doctor, help, start


@pytest.mark.parametrize("line", ["run bell.qasm --simulator statevector", "sweep model.py:root --grid x=1"])
@pytest.mark.parametrize("name", ["PROCJOB_PROGRESS", "PROCJOB_WORKERS", "PROCJOB_LOG_LEVEL"])
def test_a_wrong_variable_of_the_environment_is_said_before_anything_runs(call, monkeypatch, line, name):
    monkeypatch.setenv(name, "wrong")
    code, out, err = call(f"{line} --store s.db")
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith(f"procjob: {name} must be ")
    assert not Path("s.db").exists()


def test_doctor_says_what_there_is(call):
    code, out, _ = call("doctor --json")
    report = json.loads(out)
    assert code == 0
    assert report["versions"]["procjob"] == procjob.__version__
    assert report["cores"]["granted"] >= 1
    assert report["workers"]["round trip of a job, ms"] > 0
    assert report["thread limits in workers"]["OMP_NUM_THREADS"].isdecimal()


def test_doctor_names_what_keeps_workers_from_starting(call, monkeypatch):
    monkeypatch.setenv("PROCJOB_WORKERS", "many")
    code, out, _ = call("doctor")
    assert code == 1
    assert "PROCJOB_WORKERS must be a whole number" in out


@pytest.mark.parametrize("command", ["", "run", "sweep", "jobs", "show", "status", "export", "plot", "doctor"])
def test_every_help_has_examples(call, capsys, command):
    with pytest.raises(SystemExit) as ended:
        call(f"{command} --help")
    assert ended.value.code == 0
    assert "examples:\n  procjob " in capsys.readouterr().out


def test_help_imports_neither_numpy_nor_qiskit():
    code = "import sys\nfrom procjob.cli import main\ntry: main(['sweep', '--help'])\nexcept SystemExit: pass\n"
    code += "print('loaded', *{name.partition('.')[0] for name in sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=DEADLINE, check=True)
    loaded = set(run.stdout.splitlines()[-1].split())
    assert not loaded & {"numpy", "qiskit", "loky", "psutil", "cloudpickle", "sqlite3"}


def test_the_exit_code_is_that_of_the_process(folder):
    with start("jobs --store none.db") as process:
        _, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, err) == (2, "procjob: there is no store none.db\n")


@pytest.mark.parametrize("no_color", [False, True])
def test_colours_are_for_terminals_that_want_them(folder, no_color):
    with procjob.Backend(abs, workers=0, store="s.db") as backend:
        backend.run(-1).result()
    parent, child = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm"}
    try:
        subprocess.run(
            [sys.executable, "-m", "procjob", "jobs", "--store", "s.db"],
            stdout=child, check=True, timeout=DEADLINE, env=environment | ({"NO_COLOR": "1"} if no_color else {}),
        )  # fmt: skip
        out = os.read(parent, 10_000).decode()
    finally:
        os.close(parent)
        os.close(child)
    assert "DONE" in out
    assert ("\x1b[" in out) is not no_color


# ---------------------------------------------------------------- pipes and signals


def test_a_reader_that_has_gone_is_no_error(folder):
    result = procjob.sweep(abs_of, procjob.grid(x=np.arange(50_000.0)), workers=0)
    result.save("many.npz")
    with start("export many.npz") as process:
        assert process.stdout.readline() == "x,abs_of,status,seconds,error\n"
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(DEADLINE) == 0


@procjob.vectorized
def abs_of(x):
    return abs(x)


def test_after_ctrl_c_the_command_line_that_is_shown_goes_on(call):
    line = "sweep model.py:slow --grid x=0:99:100 --workers 1"
    with start(line, env={**os.environ, "PROCJOB_STORE": "slow db.sqlite"}) as process:
        for _ in range(5):
            wait_for(process.stderr, "begun")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    told, again = [text.strip() for text in err.splitlines() if "points are saved" in text or "procjob sweep" in text]
    saved = int(told.split()[2])
    assert 0 < saved < 100
    assert again == f"procjob {line} --store 'slow db.sqlite'"
    (entry,) = json.loads(call("jobs --store 'slow db.sqlite' --json")[1])
    assert entry["status"] == "CANCELLED"

    code, out, err = call(again.removeprefix("procjob ").replace("slow --grid", "slow --json --grid"))
    assert code == 0
    assert f"{saved} of 100 points are in slow db.sqlite" in err
    assert [point["slow"] for point in json.loads(out)["points"]] == [x * x for x in range(100)]


def test_without_a_store_ctrl_c_says_how_to_keep_points(folder):
    with start("sweep model.py:slow --grid x=0:99:100 --workers 1") as process:
        wait_for(process.stderr, "begun")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 130
    assert "--workers 1 --store sweep.db" in err


def test_a_second_ctrl_c_ends_at_once(folder):
    with start("sweep model.py:stubborn --grid x=1 --workers 0") as process:
        wait_for(process.stderr, "begun")
        process.send_signal(signal.SIGINT)
        wait_for(process.stderr, "swallowed")
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == 130


def test_ctrl_c_leaves_the_counts_that_were_finished(folder):
    (folder / "long.qasm").write_text(LONG)
    with start(
        "run bell.qasm long.qasm --shots 1000000 --simulator statevector --workers 1 --json --store jobs.db"
    ) as process:
        store = procjob.Store("jobs.db", timeout=30)
        while not any(job.done() for job in store.jobs()):  # a file tells nobody that it was written
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        store.close()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 130
    assert [entry["status"] for entry in json.loads(out)] == ["DONE", "CANCELLED"]
    assert "1 of 2 jobs were finished" in err
