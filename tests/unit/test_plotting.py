"""Pictures: what is drawn for which values, what is refused, and that nothing stays behind."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, QuadMesh
from matplotlib.figure import Figure

from procjob.plotting import Variable, plot
from procjob.sweeps.points import grid, zipped
from procjob.sweeps.result import DONE, FAILED, SweepResult


@pytest.fixture(scope="module", autouse=True)
def fonts():
    """Have matplotlib open the fonts that it keeps open, so that no test is blamed for them."""
    figure = Figure()
    figure.subplots().set_title("$x^{2}$")
    FigureCanvasAgg(figure).draw()


@pytest.fixture
def ax():
    return Figure().subplots()


def variable(name, values):
    return Variable(name, np.asarray(values))


def drawn(ax):
    """The picture as pixels: proves that drawing raises nothing."""
    FigureCanvasAgg(ax.figure).draw()
    return ax


def lengths_of_bars(ax):
    """Half lengths of the error bars of each line."""
    found = [c for c in ax.collections if isinstance(c, LineCollection)]
    return [[float(np.ptp(segment[:, 1]) / 2) for segment in bars.get_segments() if len(segment)] for bars in found]


def swept(points, columns, status=None):
    count = len(points)
    status = np.full(count, DONE, dtype=np.int8) if status is None else np.array(status, dtype=np.int8)
    return SweepResult(points, columns, status, np.full(count, 0.1), {}, 7, "energy", {})


# ---------------------------------------------------------------- lines


def test_numbers_are_a_line_with_markers_in_order(ax):
    plot(variable("theta", [2.0, 0.0, 1.0]), variable("energy", [5.0, 3.0, 4.0]), ax=ax)
    (line,) = drawn(ax).lines
    assert line.get_xdata().tolist() == [0.0, 1.0, 2.0]
    assert line.get_ydata().tolist() == [3.0, 4.0, 5.0]
    assert line.get_marker() == "o"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("theta", "energy")
    assert ax.get_legend() is None


def test_a_line_of_many_points_has_no_markers(ax):
    plot(variable("x", np.arange(1000)), variable("y", np.arange(1000)), ax=ax)
    assert ax.lines[0].get_marker() == ""


def test_numbers_of_mixed_kinds_are_numbers(ax):
    x = np.array([0, 0.5, 1], dtype=object)
    plot(Variable("x", x), variable("y", [1, 2, 3]), ax=ax)
    assert ax.lines[0].get_xdata().tolist() == [0.0, 0.5, 1.0]


def test_one_line_for_each_group_with_a_legend(ax):
    plot(variable("x", [0, 0, 1, 1]), variable("y", [1, 2, 3, 4]), variable("depth", [1, 2, 1, 2]), ax=ax)
    assert [line.get_ydata().tolist() for line in ax.lines] == [[1.0, 3.0], [2.0, 4.0]]
    legend = drawn(ax).get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["1", "2"]
    assert legend.get_title().get_text() == "depth"


def test_groups_of_close_numbers_are_told_apart_by_the_legend(ax):
    close = [1.0, 1.0 + 1e-9]
    plot(variable("x", [0, 0]), variable("y", [1, 2]), variable("coupling", close), ax=ax)
    assert [float(text.get_text()) for text in drawn(ax).get_legend().get_texts()] == close


def test_many_groups_have_a_colour_bar_instead_of_a_legend(ax):
    by, x = (values.reshape(-1) for values in np.meshgrid(np.arange(20), np.arange(3)))
    plot(Variable("x", x), Variable("y", x + by), Variable("phi", by), ax=ax)
    assert len(ax.lines) == 20
    assert drawn(ax).get_legend() is None
    assert [other.get_ylabel() for other in ax.figure.axes[1:]] == ["phi"]
    assert len({line.get_color() for line in ax.lines}) == 20


def test_the_colour_bar_of_many_categories_names_some(ax):
    names = [f"basis {number}" for number in range(20)]
    plot(variable("x", np.zeros(20)), variable("y", np.arange(20)), variable("basis", names), ax=ax)
    labels = [text.get_text() for text in drawn(ax).figure.axes[1].get_yticklabels()]
    assert labels[0] == "basis 0"
    assert labels[-1] == "basis 19"
    assert len(labels) == 10


def test_categories_are_points_with_names(ax):
    plot(variable("basis", ["z", "x", "z"]), variable("y", [1.0, 5.0, 3.0]), ax=ax)
    line = ax.lines[0]
    assert line.get_linestyle() == "None"
    assert line.get_ydata().tolist() == [2.0, 5.0]
    assert [text.get_text() for text in drawn(ax).get_xticklabels()] == ["z", "x"]


def test_whole_numbers_have_ticks_at_whole_numbers(ax):
    plot(variable("depth", [1, 2, 3]), variable("y", [0, 1, 2]), ax=ax)
    assert all(tick == round(tick) for tick in ax.get_xticks())


def test_an_axis_that_the_user_made_logarithmic_stays_so(ax):
    ax.set_xscale("log")
    plot(variable("shots", [10, 100, 1000]), variable("y", [0, 1, 2]), ax=ax)
    assert drawn(ax).get_xscale() == "log"


def test_options_go_to_matplotlib(ax):
    plot(variable("x", [0, 1]), variable("y", [0, 1]), ax=ax, ls="--", c="red", marker="s")
    (line,) = ax.lines
    assert (line.get_linestyle(), line.get_color(), line.get_marker()) == ("--", "red", "s")


def test_kind_decides_between_line_and_points(ax):
    plot(variable("x", [0, 1]), variable("y", [0, 1]), ax=ax, kind="points")
    plot(variable("basis", ["a", "b"]), variable("y", [0, 1]), ax=ax, kind="line")
    assert [line.get_linestyle() for line in ax.lines] == ["None", "-"]


# ---------------------------------------------------------------- error bars


def test_points_of_equal_x_are_a_mean_with_its_standard_error(ax):
    y = [1.0, 2.0, 6.0, 5.0]
    plot(variable("x", [0, 0, 0, 1]), variable("y", y), averaged=["seed"], ax=ax)
    assert drawn(ax).lines[0].get_ydata().tolist() == [3.0, 5.0]
    (bars,) = lengths_of_bars(ax)
    assert bars[0] == pytest.approx(np.std(y[:3], ddof=1) / np.sqrt(3))
    assert ax.get_ylabel() == "y, mean over seed ± standard error"


def test_single_points_have_the_bars_that_came_with_them(ax):
    plot(variable("x", [0, 1]), variable("y", [5.0, 7.0]), bars=variable("y_error", [0.5, 0.25]), ax=ax)
    assert lengths_of_bars(drawn(ax)) == [[0.5, 0.25]]
    assert ax.get_ylabel() == "y ± error"


def test_a_missing_value_is_left_out_of_the_mean(ax):
    plot(variable("x", [0, 0, 1]), variable("y", [np.nan, 2.0, 3.0]), ax=ax)
    assert ax.lines[0].get_ydata().tolist() == [2.0, 3.0]
    assert ax.get_ylabel() == "y"


# ---------------------------------------------------------------- heat maps


def test_a_heat_map_has_one_cell_for_each_pair_and_a_colour_bar(ax):
    x, by = (values.reshape(-1) for values in np.meshgrid([0.0, 1.0, 4.0], [10, 20], indexing="ij"))
    plot(Variable("theta", x), Variable("energy", x + by), Variable("depth", by), kind="heatmap", ax=ax)
    (mesh,) = [found for found in drawn(ax).collections if isinstance(found, QuadMesh)]
    assert mesh.get_array().tolist() == [[10.0, 11.0, 14.0], [20.0, 21.0, 24.0]]
    assert mesh.get_coordinates()[0, :, 0].tolist() == [-0.5, 0.5, 2.5, 5.5]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("theta", "depth")
    assert ax.figure.axes[1].get_ylabel() == "energy"


def test_a_heat_map_leaves_missing_cells_empty_and_names_categories(ax):
    plot(
        variable("basis", ["z", "x", "z"]),
        variable("e", [1.0, 2.0, 3.0]),
        variable("n", [1, 1, 2]),
        kind="heatmap",
        ax=ax,
    )
    (mesh,) = ax.collections
    assert mesh.get_array().mask.tolist() == [[False, False], [False, True]]
    assert [text.get_text() for text in drawn(ax).get_xticklabels()] == ["z", "x"]


def test_a_heat_map_of_one_cell_can_be_seen(ax):
    plot(variable("x", [3.0]), variable("e", [1.0]), variable("n", [2]), kind="heatmap", ax=ax)
    assert drawn(ax).get_xlim() == (2.5, 3.5)


# ---------------------------------------------------------------- bad input


def test_values_that_cannot_be_drawn_are_refused_with_the_next_step(ax):
    x = variable("x", [0, 1])
    with pytest.raises(TypeError, match=r"psi has .*1j.* one real number a point; return real and imaginary part"):
        plot(x, variable("psi", [1j, 2j]), ax=ax)
    with pytest.raises(TypeError, match=r"probabilities has an array of shape \(3,\) at each point"):
        plot(x, variable("probabilities", np.zeros((2, 3))), ax=ax)
    with pytest.raises(TypeError, match=r"counts has \{'00': 5\}, .*a number for it"):
        plot(x, Variable("counts", np.array([{"00": 5}, {}])), ax=ax)
    with pytest.raises(TypeError, match=r"word has .*'a'"):
        plot(x, variable("word", ["a", "b"]), ax=ax)
    with pytest.raises(TypeError, match="psi has"):
        plot(variable("psi", [1j, 2j]), x, ax=ax)


def test_kinds_that_do_not_exist_or_lack_something_are_refused(ax):
    x = variable("x", [0, 1])
    with pytest.raises(ValueError, match=r"one of line, points, heatmap, or None, not 'bar'"):
        plot(x, x, kind="bar", ax=ax)
    with pytest.raises(ValueError, match="a heat map needs by"):
        plot(x, x, kind="heatmap", ax=ax)


def test_too_many_lines_or_cells_are_refused(ax):
    many = variable("phi", np.arange(10_000))
    with pytest.raises(ValueError, match="phi has 10000 values, too many for lines"):
        plot(many, many, many, ax=ax)
    with pytest.raises(ValueError, match="10000 x 10000 cells is too large"):
        plot(many, many, many, kind="heatmap", ax=ax)


def test_nothing_but_nan_is_refused(ax):
    with pytest.raises(ValueError, match="y is NaN at all 2 points"):
        plot(variable("x", [0, 1]), variable("y", [np.nan, np.nan]), ax=ax)


# ---------------------------------------------------------------- results of sweeps


def test_a_result_draws_its_columns_over_its_axes(ax):
    result = swept(grid(theta=[0.0, 1.0], depth=[1, 2]), {"energy": np.arange(4.0)})
    result.plot("theta", "energy", by="depth", ax=ax)
    assert [line.get_ydata().tolist() for line in drawn(ax).lines] == [[0.0, 2.0], [1.0, 3.0]]


def test_a_result_says_over_which_axes_it_averages(ax):
    points = grid(theta=[0.0, 1.0]) * zipped(a=[1, 2], b=[3, 4]) * grid(run=[0, 1], fixed=[5])
    swept(points, {"energy": np.arange(8.0)}).plot("theta", "energy", ax=ax)
    assert ax.get_ylabel() == "energy, mean over a/b, run ± standard error"


@pytest.mark.parametrize("suffix", ["error", "std"])
def test_a_result_finds_its_error_bars(suffix, ax):
    result = swept(grid(x=[0, 1]), {"e": np.array([5.0, 6.0]), f"e_{suffix}": np.array([0.5, 0.25])})
    result.plot("x", "e", ax=ax)
    assert lengths_of_bars(ax) == [[0.5, 0.25]]
    assert ax.get_ylabel() == f"e ± {suffix}"


def test_points_that_are_not_done_are_left_out(ax):
    result = swept(grid(x=[0, 1, 2]), {"n": np.array([1, 2, 3])}, status=[DONE, FAILED, DONE])
    result.plot("x", "n", ax=ax)
    assert ax.lines[0].get_xdata().tolist() == [0.0, 2.0]
    with pytest.raises(ValueError, match="none of the 1 points is done"):
        result.failed.plot("x", "n", ax=ax)


def test_an_unknown_name_lists_what_there_is(ax):
    with pytest.raises(KeyError, match="no 'y'; results: n; axes: x"):
        swept(grid(x=[0, 1]), {"n": np.array([1, 2])}).plot("x", "y", ax=ax)


def test_a_million_points_are_drawn_as_means(ax):
    points = grid(x=np.arange(1000), y=np.arange(1000))
    result = swept(points, {"e": np.random.default_rng(1).random(1_000_000)})
    result.plot("x", "e", ax=ax)
    result.plot("x", "e", by="y", kind="heatmap", ax=Figure().subplots())
    assert len(ax.lines[0].get_xdata()) == 1000


# ---------------------------------------------------------------- figures


def printed_by(code):
    code = (
        "import sys, numpy as np\nfrom procjob.plotting import Variable, plot\nx = Variable('x', np.arange(3))\n" + code
    )
    run = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", code],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.split()


def test_a_loop_of_pictures_leaves_no_figure_open(tmp_path):
    code = f"""
for number in range(25):
    ax = plot(x, x)
ax.figure.savefig({str(tmp_path / "out.png")!r})
print("matplotlib.pyplot" in sys.modules)
import matplotlib.pyplot as plt
print(len(plt.get_fignums()))
"""
    assert printed_by(code) == ["False", "0"]
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_who_uses_pyplot_gets_one_of_its_figures():
    code = """
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
ax = plot(x, x)
print(plt.gca() is ax, plt.get_fignums())
"""
    assert printed_by(code) == ["True", "[1]"]


# ---------------------------------------------------------------- the kind that fits


def kind_of(ax):
    if any(isinstance(each, QuadMesh) for each in ax.collections):
        return "heatmap"
    return "points" if ax.lines[0].get_linestyle() == "None" else "line"


@pytest.mark.parametrize(
    ("points", "x", "by", "kind"),
    [
        (grid(theta=range(12), phi=range(11)), "theta", "phi", "heatmap"),
        (grid(theta=range(3), phi=np.linspace(0, 1, 11)), "theta", "phi", "heatmap"),
        (grid(theta=range(12), phi=range(10)), "theta", "phi", "line"),
        (grid(theta=range(12), phi=range(11)), "theta", None, "line"),
        (grid(theta=range(12), basis=[f"b{n}" for n in range(11)]), "theta", "basis", "line"),
        (grid(theta=range(12), basis=[f"b{n}" for n in range(11)]), "basis", "theta", "points"),
        (grid(theta=range(12), phi=range(11)), "energy", "phi", "line"),
        (zipped(theta=range(12), phi=range(12)), "theta", "phi", "line"),
        (grid(theta=range(12), phi=range(11), run=[0, 1]), "theta", "phi", "heatmap"),
    ],
)
def test_a_kind_is_chosen_that_fits(ax, points, x, by, kind):
    result = swept(points, {"energy": np.arange(len(points), dtype=float)})
    assert kind_of(drawn(result.plot(x, "energy", by, ax=ax))) == kind


def test_a_kind_that_is_given_is_taken(ax):
    points = grid(theta=range(12), phi=range(11))
    result = swept(points, {"energy": np.arange(len(points), dtype=float)})
    assert kind_of(result.plot("theta", "energy", "phi", "line", ax=ax)) == "line"


@pytest.mark.parametrize("wrong", [Figure(), Figure().subplots(1, 2), 3], ids=["figure", "several", "number"])
def test_what_is_no_axes_is_named(wrong):
    with pytest.raises(TypeError, match="ax must be one Axes of matplotlib, not "):
        plot(variable("x", [0.0]), variable("y", [1.0]), ax=wrong)
