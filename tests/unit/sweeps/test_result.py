"""`SweepResult`: arrays, tables, datasets, selection, concatenation, files, equality and what a notebook shows."""

from __future__ import annotations

import datetime as dt
import json
import re
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from procjob.errors import RemoteError
from procjob.sweeps.points import Axes, grid, zipped
from procjob.sweeps.result import DONE, FAILED, PENDING, SweepResult

THETA = [0.0, 0.5, 1.0]
DEPTH = [1, 2]


def result_at(points, columns, **fields):
    """A result at all points, DONE unless `fields` say otherwise."""
    count = len(points)
    return SweepResult(
        **{
            "points": points,
            "columns": columns,
            "status": np.full(count, DONE, dtype=np.int8),
            "seconds": np.full(count, 0.25),
            "errors": {},
            "seed": 7,
            "target": "energy",
            "metadata": {"numpy": "2.0", "reused": 3},
            **fields,
        }
    )


@pytest.fixture
def result():
    """energy = 10 * place on theta + place on depth; bits of shape (2,) at each point."""
    energy = np.array([0.0, 1.0, 10.0, 11.0, 20.0, 21.0])
    return result_at(grid(theta=THETA, depth=DEPTH), {"energy": energy, "bits": np.arange(12).reshape(6, 2)})


@pytest.fixture
def partial():
    """One point failed, one is pending."""
    status = np.array([DONE, FAILED, DONE, PENDING, DONE, DONE], dtype=np.int8)
    energy = np.array([0.0, np.nan, 10.0, np.nan, 20.0, 21.0])
    seconds = np.array([0.25, 0.5, 0.25, np.nan, 0.25, 0.25])
    return result_at(
        grid(theta=THETA, depth=DEPTH),
        {"energy": energy},
        status=status,
        seconds=seconds,
        errors={1: ValueError("no <b>state</b>")},
    )


# ---------------------------------------------------------------- arrays


def test_a_result_has_the_shape_of_the_grid_and_that_of_a_value(result):
    assert result.shape == (3, 2)
    assert len(result) == 6
    assert result["energy"].tolist() == [[0.0, 1.0], [10.0, 11.0], [20.0, 21.0]]
    assert result["bits"].shape == (3, 2, 2)
    assert result["bits"][2, 1].tolist() == [10, 11]


def test_an_axis_has_the_shape_of_the_grid(result):
    assert result["theta"].tolist() == [[0.0, 0.0], [0.5, 0.5], [1.0, 1.0]]
    assert result["depth"].tolist() == [[1, 2]] * 3
    assert result["depth"].dtype == np.int64


def test_zipped_axes_share_a_dimension():
    result = result_at(grid(depth=DEPTH) * zipped(x=[0, 1, 2], y=[5, 6, 7]), {"e": np.arange(6)})
    assert result.shape == (2, 3)
    assert result["y"].tolist() == [[5, 6, 7]] * 2


def test_points_that_were_added_are_one_dimension():
    result = result_at(grid(x=[0, 1], y=[2]) + grid(x=[9], y=[8]), {"e": np.arange(3)})
    assert result.shape == (3,)
    assert result["y"].tolist() == [2, 2, 8]


def test_names_of_results_and_axes(result):
    assert result.names == ("energy", "bits")
    assert result.axes == ("theta", "depth")
    assert "energy" in result
    assert "theta" in result
    assert "phi" not in result


def test_an_unknown_name_is_a_key_error_that_lists_what_there_is(result):
    with pytest.raises(KeyError, match="'energie'; results: energy, bits; axes: theta, depth"):
        result["energie"]


def test_a_result_does_not_pretend_to_be_a_sequence(result):
    with pytest.raises(TypeError, match="not iterable"):
        list(result)


def test_a_result_called_like_an_axis_steps_aside():
    result = result_at(grid(theta=THETA), {"theta": np.array([5.0, 6.0, 7.0]), "status": np.array([1, 2, 3])})
    assert result["theta"].tolist() == THETA
    assert result["theta_"].tolist() == [5.0, 6.0, 7.0]
    assert result.names == ("theta_", "status")
    assert result.to_numpy().dtype.names == ("theta", "theta_", "status", "status_", "seconds")
    assert list(result.to_pandas()) == ["theta", "theta_", "status", "status_", "seconds", "error"]
    assert result.to_xarray()["status"].values.tolist() == [1, 2, 3]


def test_partial_says_whether_something_is_missing(result, partial):
    assert not result.partial
    assert partial.partial
    assert result_at(grid(x=[1]), {}, status=np.array([PENDING], dtype=np.int8)).partial


def test_failed_are_the_points_that_failed_with_their_errors(partial, result):
    failed = partial.failed
    assert len(failed) == 1
    assert failed["theta"].tolist() == [0.0]
    assert failed["depth"].tolist() == [2]
    assert failed.errors[0] is partial.errors[1]
    assert len(result.failed) == 0
    assert result.failed.to_pandas().empty


def test_positions_are_those_of_an_array_and_errors_come_along(partial):
    for positions in ([1], np.array([1 - len(partial)]), np.arange(len(partial)) == 1):
        found = partial.take(positions)
        assert found["depth"].tolist() == [2]
        assert found.errors == {0: partial.errors[1]}


def test_failed_of_a_selection_has_the_selected_axis(partial):
    failed = partial.sel(depth=2).failed
    assert failed["depth"].tolist() == [2]
    assert list(failed.errors) == [0]
    assert partial.sel(depth=2, theta=0.0).failed["theta"].tolist() == [0.0]


# ---------------------------------------------------------------- selection


@pytest.mark.parametrize("depth", [2, np.int8(2), np.array(2)], ids=["int", "NumPy's", "array without dimensions"])
def test_one_value_takes_a_dimension_away(result, depth):
    chosen = result.sel(depth=depth)
    assert chosen.shape == (3,)
    assert chosen["energy"].tolist() == [1.0, 11.0, 21.0]
    assert chosen["depth"].tolist() == [2, 2, 2]
    assert chosen.fixed == {"depth": 2}
    assert chosen["bits"].shape == (3, 2)


def test_one_value_for_every_axis_leaves_one_point(result):
    point = result.sel(theta=0.5, depth=1)
    assert point.shape == ()
    assert point["energy"].item() == 10.0
    assert point["theta"].item() == 0.5
    assert len(point) == 1
    assert point.to_pandas().iloc[0]["energy"] == 10.0
    assert point.to_xarray()["energy"].item() == 10.0
    assert point.to_numpy()["energy"].tolist() == [10.0]


def test_a_list_gives_its_order_and_keeps_the_dimension(result):
    chosen = result.sel(theta=[1.0, 0.0], depth=np.array([2]))
    assert chosen["theta"].tolist() == [[1.0], [0.0]]
    assert chosen["energy"].tolist() == [[21.0], [1.0]]


def test_a_slice_includes_both_ends(result):
    assert result.sel(theta=slice(0.5, 1.0))["theta"][:, 0].tolist() == [0.5, 1.0]
    assert result.sel(theta=slice(None, 0.5))["energy"].tolist() == [[0.0, 1.0], [10.0, 11.0]]
    assert result.sel(theta=slice(7, None)).shape == (0, 2)


def test_names_that_are_no_identifiers_go_into_a_mapping():
    result = result_at(grid(**{"θ 1": [1, 2], "method": [3, 4]}), {"e": np.arange(4)})
    assert result.sel({"θ 1": 2, "method": 3})["e"].item() == 2


def test_the_nearest_number_is_taken_if_asked_for(result):
    assert result.sel(theta=0.6, method="nearest")["energy"].tolist() == [10.0, 11.0]
    assert result.sel(theta=[0.9, 0.1], method="nearest")["theta"][:, 0].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("wanted", [np.nan, -np.inf])
def test_no_number_is_nearest_to_what_is_not_finite(result, wanted):
    with pytest.raises(KeyError, match=r"no theta near -?(nan|inf); theta has 0.0, 0.5, 1.0"):
        result.sel(theta=wanted, method="nearest")


def test_axes_that_share_a_dimension_are_selected_by_in_the_order_they_are_given():
    result = result_at(zipped(**{name: [1, 2, 10] for name in "abcdef"}, z=[100, 5, 3]), {"found": np.arange(3)})
    others = dict.fromkeys("abcdef", 9)
    assert result.sel(**others, z=90, method="nearest")["found"].tolist() == [2]
    assert result.sel(z=90, **others, method="nearest")["found"].tolist() == [0]


def test_a_list_may_have_values_that_are_arrays():
    result = result_at(grid(x=[np.arange(3), np.arange(2)]), {"e": np.arange(2)})
    assert result.sel(x=[np.arange(2)])["e"].tolist() == [1]


def test_a_value_that_is_not_there_is_a_key_error_that_shows_what_is(result):
    with pytest.raises(KeyError, match=r"no theta=0.51; theta has 0.0, 0.5, 1.0; .*nearest"):
        result.sel(theta=0.51)
    with pytest.raises(KeyError, match=r"no depth=.*2.*; depth has 1, 2\W*$"):
        result.sel(depth="2")
    with pytest.raises(KeyError, match=r"0.0, 1.0, 2.0, 3.0, 4.0, ... 99.0 \(100 values\)"):
        result_at(grid(x=np.arange(100.0)), {}).sel(x=0.5)


def test_what_is_no_axis_cannot_be_selected_by(result):
    with pytest.raises(KeyError, match="'energy': it is no axis; axes: theta, depth"):
        result.sel(energy=1)
    with pytest.raises(KeyError, match="'depth': it is fixed at 2; axes: theta"):
        result.sel(depth=2).sel(depth=1)


def test_bad_methods_are_refused(result):
    with pytest.raises(ValueError, match="method must be None or 'nearest', not 'pad'"):
        result.sel(theta=1, method="pad")
    with pytest.raises(ValueError, match="slice of theta"):
        result.sel(theta=slice(0, 1), method="nearest")
    with pytest.raises(TypeError, match="needs a number for theta, not 'a'"):
        result.sel(theta="a", method="nearest")
    named = result_at(grid(basis=["sto-3g", "cc-pvdz"]), {})
    with pytest.raises(TypeError, match="basis has 'sto-3g', 'cc-pvdz'; leave method out"):
        named.sel(basis=1, method="nearest")
    with pytest.raises(TypeError, match="cannot be compared with the values of basis"):
        named.sel(basis=slice(1, 2))


def test_text_and_other_objects_are_selected_by_equality():
    result = result_at(grid(basis=["z", "x"], pair=[(0, 1), (1, 2)]), {"e": np.arange(4)})
    assert result.sel(basis="x")["e"].tolist() == [2, 3]
    assert result.sel(pair=(1, 2))["e"].tolist() == [1, 3]
    assert result.sel(pair=[(1, 2)])["e"].tolist() == [[1], [3]]
    assert result.sel(basis=slice("y", None))["e"].tolist() == [[0, 1]]


def test_points_that_share_a_value_remain():
    result = result_at(zipped(x=[0, 0, 1], y=[5, 6, 7]), {"e": np.arange(3)})
    assert result.sel(x=0)["y"].tolist() == [5, 6]
    assert result.sel(x=0, y=6)["e"].tolist() == [1]
    twice = result_at(grid(x=[0, 1, 0]), {"e": np.arange(3)})
    assert twice.sel(x=0)["e"].tolist() == [0, 2]


def test_selection_keeps_status_and_errors_where_they_belong(partial):
    chosen = partial.sel(theta=[1.0, 0.0])
    assert chosen.status.tolist() == [DONE, DONE, DONE, FAILED]
    assert list(chosen.errors) == [3]


# ---------------------------------------------------------------- concatenation


def test_results_follow_each_other_in_one_dimension(result):
    both = result + result.sel(theta=[0.5])
    assert both.shape == (8,)
    assert both["energy"].tolist() == [0.0, 1.0, 10.0, 11.0, 20.0, 21.0, 10.0, 11.0]
    assert both["theta"].tolist()[-2:] == [0.5, 0.5]


def test_grids_are_joined_along_an_axis(result):
    left, right = result.sel(depth=[1]), result.sel(depth=[2])
    assert SweepResult.concatenate([left, right], along="depth") == result
    swapped = SweepResult.concatenate([right, left], along="depth")
    assert swapped["depth"].tolist() == [[2, 1]] * 3
    assert swapped["energy"].tolist() == [[1.0, 0.0], [11.0, 10.0], [21.0, 20.0]]
    assert SweepResult.concatenate([result.sel(theta=[0.0]), result.sel(theta=[0.5, 1.0])], along="theta") == result


def test_selections_are_joined_along_the_axis_that_was_selected(result):
    joined = SweepResult.concatenate([result.sel(theta=value) for value in THETA], along="theta")
    assert joined == result


def test_errors_move_with_their_points(partial):
    joined = SweepResult.concatenate([partial, partial])
    assert sorted(joined.errors) == [1, 7]
    assert SweepResult.concatenate([partial.sel(depth=[2]), partial.sel(depth=[1])], along="depth").errors.keys() == {0}


def test_a_result_that_one_of_them_lacks_is_missing_there(result):
    other = result_at(grid(theta=[2.0], depth=[1]), {"energy": np.array([5.0]), "ok": np.array([True])})
    joined = result + other
    assert joined["bits"][:6].tolist() == np.arange(12).reshape(6, 2).tolist()
    assert np.isnan(joined["bits"][6]).all()
    assert joined["ok"].tolist() == [None] * 6 + [True]


def test_provenance_that_differs_is_kept_for_each(result):
    other = replace(result, seed=8, metadata={"numpy": "2.1", "reused": 3})
    joined = result + other
    assert joined.seed is None
    assert joined.metadata == {"reused": 3, "parts": [{"seed": 7, "numpy": "2.0"}, {"seed": 8, "numpy": "2.1"}]}
    assert (result + result).seed == 7


def test_results_that_do_not_fit_together_are_refused(result):
    with pytest.raises(ValueError, match="results is empty"):
        SweepResult.concatenate([])
    with pytest.raises(TypeError, match="not 5"):
        SweepResult.concatenate([result, 5])
    with pytest.raises(ValueError, match="over theta, depth and over phi cannot"):
        SweepResult.concatenate([result, result_at(grid(phi=[1]), {})])
    with pytest.raises(ValueError, match="along='energy' is no axis"):
        SweepResult.concatenate([result, result], along="energy")
    with pytest.raises(ValueError, match="differ in theta, not only in depth"):
        SweepResult.concatenate([result, result.sel(theta=[0.5])], along="depth")
    with pytest.raises(ValueError, match="other dimensions"):
        SweepResult.concatenate([result, result_at(grid(depth=DEPTH, theta=THETA), {})], along="depth")
    with pytest.raises(TypeError):
        result + 1


# ---------------------------------------------------------------- tables


def test_to_numpy_has_one_record_a_point(partial, result):
    table = partial.to_numpy()
    assert table.dtype.names == ("theta", "depth", "energy", "status", "seconds")
    assert table[4].tolist() == (1.0, 1, 20.0, DONE, 0.25)
    assert result.to_numpy()["bits"].shape == (6, 2)


def test_a_result_without_a_name_is_in_its_array_under_that_of_numpy():
    table = result_at(grid(theta=THETA), {"": np.array([5.0, 6.0, 7.0])}).to_numpy()
    assert table["f1"].tolist() == [5.0, 6.0, 7.0]


def test_to_pandas_has_one_row_a_point(partial):
    table = partial.to_pandas()
    assert list(table) == ["theta", "depth", "energy", "status", "seconds", "error"]
    assert table["status"].tolist() == ["DONE", "FAILED", "DONE", "PENDING", "DONE", "DONE"]
    assert table["error"].tolist() == [None, "ValueError: no <b>state</b>", None, None, None, None]
    assert table["theta"].tolist() == [0.0, 0.0, 0.5, 0.5, 1.0, 1.0]
    assert table.attrs == {"seed": 7, "target": "energy", "numpy": "2.0", "reused": 3}


def test_a_cell_of_a_table_holds_an_array(result):
    assert result.to_pandas()["bits"][5].tolist() == [10, 11]


def test_to_xarray_has_the_axes_as_dimensions(result):
    data = result.to_xarray()
    assert data["energy"].dims == ("theta", "depth")
    assert data["bits"].dims == ("theta", "depth", "bits_dim_0")
    assert data["energy"].sel(theta=0.5, depth=2).item() == 11.0
    assert data["status"].dtype == np.int8
    assert data["status"].attrs["flag_meanings"] == "PENDING DONE FAILED"
    assert data.attrs["seed"] == 7


def test_a_dimension_of_several_axes_is_called_point():
    result = result_at(zipped(x=[0, 1], y=[5, 6]) * grid(depth=DEPTH), {"e": np.arange(4)})
    data = result.to_xarray()
    assert data["e"].dims == ("point", "depth")
    assert data["y"].dims == ("point",)
    by_both = data.set_index(point=["x", "y"])
    assert by_both["e"].sel(x=1, y=6).values.tolist() == [2, 3]


def test_the_name_of_a_dimension_leaves_the_names_of_axes_alone():
    points = zipped(point=[0, 1], y=[5, 6]) * zipped(a=[1, 2], b=[3, 4])
    data = result_at(points, {"e": np.arange(4), "e_dim_0": np.arange(4)}).to_xarray()
    assert data["e"].dims == ("point_", "point__")
    assert data["point"].values.tolist() == [0, 1]


def test_a_selected_axis_is_a_scalar_coordinate(result):
    data = result.sel(depth=2).to_xarray()
    assert data["energy"].dims == ("theta",)
    assert data["depth"].item() == 2


def test_attributes_of_a_dataset_have_types_that_netcdf_takes(result):
    metadata = {
        "sweep_id": "3f2a", "reused": True, "versions": {"numpy": "2"}, "none": None, "created": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    }  # fmt: skip
    attributes = replace(result, seed=1 << 100, metadata=metadata).to_xarray().attrs
    assert attributes == {
        "seed": str(1 << 100), "target": "energy", "sweep_id": "3f2a", "reused": "true", "versions": '{"numpy": "2"}',
        "created": '"2026-01-01 00:00:00+00:00"',
    }  # fmt: skip


def test_text_is_text_in_a_dataset():
    data = result_at(grid(basis=["z", "xy"]), {"word": np.array(["a", "b"], dtype=object)}).to_xarray()
    assert data["basis"].dtype == np.dtype("<U2")
    assert data["word"].dtype == np.dtype("<U1")
    assert data.sel(basis="xy")["word"].item() == "b"


def test_what_a_dataset_needs_is_said_when_it_is_missing():
    code = """
import sys
sys.modules.update(pandas=None, xarray=None, matplotlib=None)
import numpy as np
from procjob.sweeps.points import grid
from procjob.sweeps.result import SweepResult
result = SweepResult(grid(x=[1.0]), {"e": np.ones(1)}, np.ones(1, np.int8), np.ones(1), {}, None, "f", {})
for ask in (result.to_pandas, result.to_xarray, lambda: result.plot("x", "e")):
    try:
        ask()
    except ModuleNotFoundError as error:
        print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert re.findall(r"procjob\[\w+\]", run.stdout) == ["procjob[pandas]", "procjob[xarray]", "procjob[plot]"]


def test_a_result_loads_no_optional_package_until_it_is_asked_for(tmp_path):
    code = f"""
import sys
import numpy as np
from procjob.sweeps.points import grid
from procjob.sweeps.result import SweepResult
result = SweepResult(grid(x=[1.0]), {{"e": np.ones(1)}}, np.ones(1, np.int8), np.ones(1), {{}}, None, "f", {{}})
result.sel(x=1.0), result + result, result.to_numpy(), result._repr_html_(), result.failed
assert result == SweepResult.load(result.save({str(tmp_path / "r.npz")!r}))
print(*sys.modules.keys() & {{"pandas", "xarray", "matplotlib", "qiskit"}})
"""
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert run.stdout.strip() == ""


# ---------------------------------------------------------------- files


def values_of_all_kinds():
    odd = [
        None, True, -1, 0.1, np.nan, 1 << 90, "text", b"\x00", 1 - 2j, (1, [2]), {1, 2}, {"00": 5, "$x": 1}, {1: "a"},
        np.float32(0.1), np.arange(4).reshape(2, 2), dt.datetime(2026, 1, 2, tzinfo=dt.UTC), dt.date(2026, 1, 2), frozenset("a"),
        np.array([None, "x"], dtype=object), {"$tuple": [1]},
    ]  # fmt: skip
    values = np.empty(len(odd), dtype=object)
    for number, value in enumerate(odd):
        values[number] = value
    return values


def test_a_file_gives_everything_back(partial, tmp_path):
    path = partial.save(tmp_path / "result.npz")
    back = SweepResult.load(path)
    assert back == partial
    assert back.seconds.tolist()[:3] == [0.25, 0.5, 0.25]
    assert np.isnan(back.seconds[3])
    assert back.metadata == partial.metadata
    assert back.shape == (3, 2)
    assert isinstance(back.errors[1], RemoteError)
    assert str(back.errors[1]) == "ValueError: no <b>state</b>"
    assert SweepResult.load(back.save(path)).errors[1].args == back.errors[1].args


@pytest.mark.parametrize(
    "points", [zipped(x=[0, 1], y=["a", "b"]), grid(x=[0]) + grid(x=[7]), grid(x=[0.5], y=[None, (1, 2)])]
)
def test_a_file_keeps_every_kind_of_points(points, tmp_path):
    result = result_at(points, {"e": np.array([1, 2])})
    assert SweepResult.load(result.save(tmp_path / "r")) == result


def test_a_file_keeps_a_selection(result, tmp_path):
    chosen = result.sel(theta=0.5, depth=2)
    assert SweepResult.load(chosen.save(tmp_path / "r")) == chosen


def test_a_file_keeps_values_of_all_kinds_without_a_pickle(tmp_path):
    values = values_of_all_kinds()
    count = len(values)
    columns = {
        "odd": values,
        "complex": np.arange(count) * 1j,
        "flags": np.zeros(count, dtype=bool),
        "with gaps": np.full((count, 2), None, dtype=object),
        "text": np.array(["é"] * count),
    }
    result = result_at(grid(x=np.arange(count)), columns, seed=1 << 120)
    path = result.save(tmp_path / "result.npz")
    assert SweepResult.load(path) == result
    with np.load(path, allow_pickle=False) as archive:
        assert all(archive[name].dtype != object for name in archive.files)
        assert json.loads(archive["header"].tobytes())["seed"] == 1 << 120


@pytest.mark.parametrize("name", ["$tuple", "$set", "$dict", "$mine"])
def test_a_file_keeps_names_of_any_kind(name, tmp_path):
    by_axis = result_at(grid(**{name: [1, 2], "y": [3]}), {"e": np.arange(2)})
    by_result = result_at(grid(x=[1, 2]), {name: np.arange(2)}, metadata={name: 5})
    for result in (by_axis, by_axis.sel({name: 2}), by_result):
        loaded = SweepResult.load(result.save(tmp_path / "r.npz"))
        assert loaded == result
        assert loaded.metadata == result.metadata


def test_what_cannot_be_saved_is_named_and_the_older_file_stays(result, tmp_path):
    path = result.save(tmp_path / "result.npz")
    before = path.read_bytes()
    values = np.array([Fraction(1, 3)] * 6, dtype=object)
    with pytest.raises(
        TypeError, match=r"column 'third', number 0 cannot be saved: Fraction\(1, 3\) is a fractions.Fraction"
    ):
        replace(result, columns={"third": values}).save(path)
    with pytest.raises(TypeError, match="metadata 'f' cannot be saved"):
        replace(result, metadata={"f": print}).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_no_draft(result, tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError):
        result.save(tmp_path / "taken")
    with pytest.raises(FileNotFoundError):
        result.save(tmp_path / "absent" / "r.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_file_that_is_something_else_is_refused_by_name(result, tmp_path):
    path = tmp_path / "r.npz"
    path.write_text("theta,energy\n")
    with pytest.raises(ValueError, match=r"r\.npz is no saved result") as refusal:
        SweepResult.load(path)
    assert "pickle" not in str(refusal.value), "NumPy takes any text for one, and says how to read it"
    np.savez(path, x=np.arange(3))
    with pytest.raises(ValueError, match=r"r\.npz is no saved result"):
        SweepResult.load(path)
    with path.open("wb") as file:
        np.save(file, np.arange(3))
    with pytest.raises(ValueError, match=r"r\.npz is no saved result"):
        SweepResult.load(path)
    result.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-200])
    with pytest.raises(ValueError, match=r"r\.npz is no saved result"):
        SweepResult.load(path)
    flags = whole.index(b"PK\x01\x02") + 8
    path.write_bytes(whole[:flags] + b"\x01" + whole[flags + 1 :])  # says that it is encrypted
    with pytest.raises(ValueError, match=r"r\.npz is no saved result"):
        SweepResult.load(path)
    with pytest.raises(FileNotFoundError):
        SweepResult.load(tmp_path / "absent.npz")


def test_a_file_of_a_newer_version_says_so(result, tmp_path):
    path = result.save(tmp_path / "r.npz")
    with np.load(path) as archive:
        entries = {name: archive[name] for name in archive.files}
    header = json.loads(entries["header"].tobytes()) | {"version": 99}
    entries["header"] = np.frombuffer(json.dumps(header).encode(), dtype=entries["header"].dtype)
    np.savez(path, **entries)
    with pytest.raises(ValueError, match="version 99, this procjob reads up to 1: update procjob"):
        SweepResult.load(path)


# ---------------------------------------------------------------- equality and looks


def test_equal_results_are_equal_whatever_they_took(result, partial):
    assert result == replace(result, seconds=result.seconds * 2, metadata={})
    assert partial == replace(partial, errors={1: ValueError("no <b>state</b>")})
    points = Axes({name: result.flat(name) for name in result.axes})
    assert result != replace(result, points=points)
    assert result != 5


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 8},
        {"target": "other"},
        {"errors": {1: ValueError("other")}},
        {"errors": {1: TypeError("no <b>state</b>")}},
        {"status": np.full(6, DONE, dtype=np.int8)},
        {"points": grid(theta=THETA, depth=[1, 3])},
        {"points": grid(theta=THETA, depth=[1.0, 2.0])},
        {"points": grid(theta=THETA, layers=DEPTH)},
        {"columns": {"energy": np.array([-0.0, np.nan, 10.0, np.nan, 20.0, 21.0])}},
        {"columns": {"energy": np.array([0.0, np.nan, 10.0, np.nan, 20.0, np.nextafter(21.0, 0)])}},
        {"columns": {"energy": np.array([0.0, np.nan, 10.0, np.nan, 20.0, 21.0], dtype=np.float32)}},
        {"columns": {}},
    ],
    ids=["seed", "target", "text", "type", "status", "value", "dtype", "name", "sign", "bit", "precision", "columns"],
)
def test_results_that_differ_in_anything_they_found_are_not_equal(partial, changed):
    assert partial == replace(partial)
    assert partial != replace(partial, **changed)


def test_tables_of_pandas_are_compared_as_a_whole():
    pd = pytest.importorskip("pandas")

    def of(*values):
        column = np.empty(2, dtype=object)
        column[:] = values
        return result_at(grid(x=[1, 2]), {"value": column})

    assert of(pd.DataFrame({"a": [1.0, np.nan]}), pd.NA) == of(pd.DataFrame({"a": [1.0, np.nan]}), pd.NA)
    assert of(pd.DataFrame({"a": [1.0, 2.0]}), pd.NA) != of(pd.DataFrame({"a": [1.0, 3.0]}), pd.NA)


def test_objects_are_compared_by_type_and_content():
    def of(value):
        column = np.empty(1, dtype=object)
        column[0] = value
        return result_at(grid(x=[1]), {"e": column})

    assert of([np.nan, {"a": np.arange(3)}]) == of([np.nan, {"a": np.arange(3)}])
    assert of([1]) != of([1.0])
    assert of({"a": np.arange(3)}) != of({"a": np.arange(4)})
    assert of(complex(0.0, -0.0)) != of(complex(0.0, 0.0))
    assert of(True) != of(1)


def test_times_fields_and_masks_are_compared_to_the_bit_too():
    def of(value):
        column = np.empty(1, dtype=object)
        column[0] = value
        return result_at(grid(x=[1]), {"e": column})

    def fields(value):
        return np.array([(1, value)], dtype=[("n", "i4"), ("e", "f8")])

    def masked(*mask):
        return np.ma.array([1.0, np.nan], mask=mask)

    for make in (lambda: np.array(["NaT", "2026"], dtype="M8[ns]"), lambda: np.timedelta64("NaT", "us"),
                 lambda: fields(np.nan), lambda: fields(np.nan)[0], lambda: masked(0, 1), lambda: masked(1, 1),
                 lambda: masked(1, 1).mean()):  # fmt: skip
        assert of(make()) == of(make())
    assert of(np.datetime64("NaT", "s")) != of(np.datetime64(0, "s"))
    assert of(fields(0.0)) != of(fields(-0.0))
    assert of(fields(0.0)[0]) != of(fields(-0.0)[0])
    assert of(masked(0, 1)) != of(masked(0, 0))


def test_repr_is_one_true_line(result, partial):
    assert repr(result) == "<SweepResult energy: theta 3 x depth 2 = 6 points, seed 7>"
    assert repr(partial) == "<SweepResult energy: theta 3 x depth 2 = 6 points, 1 failed, 1 pending, seed 7>"
    assert repr(partial.failed) == "<SweepResult energy: theta/depth: 1 point, 1 failed, seed 7>"
    assert repr(result.sel(depth=2)) == "<SweepResult energy: theta: 3 points, depth=2, seed 7>"
    assert repr(result.sel(depth=2, theta=0.5)) == "<SweepResult energy: 1 point, theta=0.5, depth=2, seed 7>"


def test_a_notebook_shows_the_first_and_last_points(partial):
    shown = partial._repr_html_()
    assert shown.count("<tr>") == 7
    assert "FAILED: ValueError: no &lt;b&gt;state&lt;/b&gt;" in shown
    long = result_at(grid(x=np.arange(1000)), {"e<i>": np.zeros((1000, 3))})._repr_html_()
    assert long.count("<tr>") == 12
    assert "<td>4</td>" in long
    assert "<td>5</td>" not in long
    assert "<td>995</td>" in long
    assert "e&lt;i&gt;" in long
    assert "float64 array (3,)" in long
    mute = result_at(grid(x=[1]), {"e": np.array([10**5000], dtype=object)})._repr_html_()
    assert "str() failed" in mute


def test_a_result_can_be_pickled(partial):
    import pickle

    back = pickle.loads(pickle.dumps(partial))
    assert back == partial


# ---------------------------------------------------------------- size


def test_a_million_points_are_handled_as_arrays(tmp_path):
    count = 1_000_000
    result = result_at(
        grid(theta=np.linspace(0, 1, 1000), phi=np.linspace(0, 1, 1000)), {"e": np.random.default_rng(1).random(count)}
    )
    started = time.perf_counter()
    assert result.to_numpy().shape == (count,)
    assert len(result.to_pandas()) == count
    assert result.to_xarray()["e"].shape == (1000, 1000)
    assert result.sel(theta=0.5, method="nearest").shape == (1000,)
    assert SweepResult.load(result.save(tmp_path / "r.npz")) == result
    assert len(result + result) == 2 * count
    assert len(repr(result)) + len(result._repr_html_()) < 5000
    assert time.perf_counter() - started < 30
