"""What is written runs: docstrings, the Python blocks of README and docs, the examples."""

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import procjob

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
EXAMPLES = sorted(ROOT.glob("examples/*.py"))
MODULES = ["procjob", *sorted(module.name for module in pkgutil.walk_packages(procjob.__path__, "procjob."))]


def python_blocks():
    for page in PAGES:
        text = page.read_text()
        for block in re.finditer(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            line = text.count("\n", 0, block.start()) + 1
            yield pytest.param(block[1], id=f"{page.relative_to(ROOT)}:{line}")


def run_script(path, cwd):
    """Run a Python script as a user would, from folder `cwd`, and show what it wrote if it fails."""
    run = subprocess.run([sys.executable, path], cwd=cwd, capture_output=True, text=True, timeout=100, check=False)
    assert run.returncode == 0, f"{path}\n{run.stdout}\n{run.stderr}"


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_do_what_they_show(name, capsys):
    module = importlib.import_module(name)
    failed = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).failed
    assert not failed, capsys.readouterr().out


@pytest.mark.parametrize("block", list(python_blocks()))
def test_a_python_block_runs(block, tmp_path):
    script = tmp_path / "block.py"
    script.write_text(block)
    run_script(script, cwd=tmp_path)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_has_a_test_of_its_own_that_runs_it(example):
    tests = ROOT / "tests/behaviour"
    assert (tests / f"test_{example.stem}.py").exists() or f'run("{example.stem}")' in (
        tests / "test_examples.py"
    ).read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page):
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []
