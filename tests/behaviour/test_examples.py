"""The examples, as a reader would run them; what they say is true is checked here."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def run(tmp_path):
    """Run an example in an empty folder; return the lines that it prints."""

    def run(name):
        command = [sys.executable, EXAMPLES / f"{name}.py"]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
        assert (ended.returncode, ended.stderr) == (0, "")
        return ended.stdout.splitlines()

    return run


def is_picture(path):
    return path.read_bytes().startswith(b"\x89PNG")


def test_the_landscape_of_hydrogen_has_the_ground_state_in_it(run, tmp_path):
    found, exact = run("h2_landscape")
    lowest = float(re.match(r"10100 points, lowest energy (-[\d.]+) ", found)[1])
    assert -1.13731 <= lowest < -1.1365  # as near as the grid is fine
    assert exact == "exact ground state energy -1.13731"
    assert is_picture(tmp_path / "h2_landscape.png")


def test_noise_grows_with_depth(run, tmp_path):
    rows = [re.findall(r"(\d\.\d+) ± (\d\.\d+)", line) for line in run("noise_and_depth")[1:]]
    assert [row[0] for row in rows] == [("1.000", "0.000")] * 5
    noisy = [float(row[2][0]) for row in rows]
    assert noisy == sorted(noisy, reverse=True)
    assert noisy[-1] < 0.7
    assert is_picture(tmp_path / "noise_and_depth.png")


def test_qaoa_finds_the_largest_cut(run, tmp_path):
    said = run("qaoa_grid")
    mean, largest = re.search(r"best mean cut ([\d.]+) of 15 edges, at random 7.500, largest (\d+)", said[0]).groups()
    assert 10 < float(mean) < float(largest)
    assert said[1] == f"best of 2000 shots: {largest}"
    assert is_picture(tmp_path / "qaoa_grid.png")


def test_the_ising_model_has_its_phase_transition(run, tmp_path):
    values = {float(t): float(m) for t, m in re.findall(r"T = ([\d.]+)  \|m\| = ([\d.]+)", "\n".join(run("ising")))}
    assert values[1.6] > 0.9
    assert values[3.2] < 0.3
    assert is_picture(tmp_path / "ising.png")


def test_a_sweep_that_was_killed_twice_has_the_results_of_one_that_was_not(run):
    said = run("resume")
    assert said[2] == "400 points, of which some were in the store"
    assert said[3] == "the same bits: True"
