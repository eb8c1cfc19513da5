"""Golden results: one file for every Python, NumPy and processor."""

import platform

import golden
import numpy as np
import pytest

STORED = golden.stored()

OPENBLAS = "openblas" in np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]


@pytest.fixture(scope="module")
def runs():
    return golden.runs()


def test_golden_counts_and_memory_are_the_same_on_every_machine(runs):
    assert golden.draws(runs) == STORED["draws"]


@pytest.mark.parametrize("name", STORED["values"])
def test_golden_states_and_expectation_values_are_the_same_but_for_rounding(runs, name):
    tolerance = 1e-6 if "single" in name else 2e-15
    found = golden.values(runs[name])
    assert found.keys() == STORED["values"][name].keys()
    for kind, expected in STORED["values"][name].items():
        np.testing.assert_allclose(found[kind], expected, rtol=0, atol=tolerance * (1 + np.max(np.abs(expected))))


@pytest.mark.skipif(platform.machine() != "x86_64" or not OPENBLAS, reason="its bits are those of OpenBLAS on x86-64")
def test_golden_bits_are_the_same_on_every_python():
    """On code paths that every x86-64 processor has. A change of plans changes them: see `golden`."""
    found = golden.on_plain_code_paths()
    assert (found["draws"], found["bits"]) == (STORED["draws"], STORED["bits"])
