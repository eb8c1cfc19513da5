"""`import procjob`: what it offers and what it costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import procjob

OPTIONAL = {"qiskit", "qiskit_aer", "pandas", "xarray", "matplotlib", "dask", "distributed"}


def packages_loaded_by(code: str) -> set[str]:
    """Top-level names in `sys.modules` of a fresh interpreter after `code`."""
    code += "\nimport sys; print(*{name.partition('.')[0] for name in sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    return set(run.stdout.split())


@pytest.mark.parametrize("name", procjob.__all__)
def test_a_public_name_resolves(name):
    assert getattr(procjob, name) is not None


def test_type_checkers_are_told_the_same_names_from_the_same_modules():
    block = next(node for node in ast.parse(Path(procjob.__file__).read_text()).body if isinstance(node, ast.If))
    imported = {
        alias.name: node.module.removeprefix("procjob.")
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == procjob._HOME
    assert procjob.__all__ == list(procjob._HOME)


def test_star_import_gives_the_public_names_and_nothing_else():
    namespace = {}
    exec("from procjob import *", namespace)
    assert namespace.keys() - {"__builtins__"} == set(procjob.__all__)


def test_dir_shows_the_public_names():
    assert procjob.Backend  # used, so that it is there twice: in the module and in the list
    names = dir(procjob)
    assert set(procjob.__all__) <= set(names)
    assert len(names) == len(set(names))


def test_an_unknown_name_is_an_attribute_error_that_names_it():
    with pytest.raises(AttributeError, match=r"procjob.*'Bakend'"):
        _ = procjob.Bakend


@pytest.mark.parametrize(("module", "needed"), [("qiskit", "qiskit"), ("testing", "pytest")])
def test_a_part_whose_package_is_missing_says_what_to_install(module, needed):
    code = f"import sys; sys.modules[{needed!r}] = None; import procjob.{module}"
    run = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert f"pip install 'procjob[{module}]'" in run.stderr


def test_import_procjob_loads_no_other_package():
    assert not packages_loaded_by("import procjob") & (OPTIONAL | {"cloudpickle", "loky", "numpy", "psutil", "tqdm"})


def test_no_public_name_loads_an_optional_package_or_the_progress_bar():
    loaded = packages_loaded_by("from procjob import *")
    assert not loaded & (OPTIONAL | {"scipy", "tqdm"})
