import sys

import numpy as np
import pytest

from gatlas.errors import GatlasError
from gatlas.images.plots import COLORS, Panel, curves, histograms, maps

matplotlib = pytest.importorskip("matplotlib")


def rgb(color):
    return np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])


def painted(picture, color):
    """Which pixels have exactly that color."""
    return (np.round(picture * 255) == rgb(color)).all(axis=-1)


def test_bars_of_a_histogram_are_as_high_as_its_counts():
    values = np.repeat([0.0, 1.0, 2.0, 3.0, 4.0], [1, 4, 2, 0, 3])  # 10 values: 6 bins, one of them between
    picture = histograms({"psnr": values})
    heights = painted(picture, COLORS[0]).sum(axis=0)
    columns = np.flatnonzero(heights)
    bars = np.split(heights[columns], np.flatnonzero(np.diff(columns) > 2) + 1)
    assert max(map(np.max, bars)) == pytest.approx(4 * heights[columns[2]], rel=0.05)  # the first bar counts one
    assert (picture[0] == 1.0).all(), "the background is white"


def test_a_measure_has_a_panel_of_its_own_up_to_three_in_a_row():
    one, three, four = (histograms({f"measure {i}": np.arange(9.0) for i in range(n)}) for n in (1, 3, 4))
    assert three.shape[1] == 3 * one.shape[1]
    assert three.shape[0] == one.shape[0]
    assert four.shape == (2 * one.shape[0], 3 * one.shape[1], 3)


@pytest.mark.parametrize("values", [[], [np.inf], [np.nan, 1.0], [31.25], [5.0] * 7, [-1e300, 1e300], [0.0]])
def test_any_values_can_be_drawn(values):
    picture = histograms({"$a_1$ %{x}": np.array(values)}, title="of $HOME/a_b^c")
    assert picture.dtype == np.float32
    assert np.isfinite(picture).all()
    assert painted(picture, COLORS[0]).any() == bool(np.isfinite(values).any())


def test_the_style_takes_nothing_from_a_users_matplotlibrc():
    plain = histograms({"x": np.arange(5.0)})
    with matplotlib.rc_context({"axes.facecolor": "black", "font.size": 20, "text.usetex": True}):
        np.testing.assert_array_equal(histograms({"x": np.arange(5.0)}), plain)
        assert matplotlib.rcParams["font.size"] == 20


def test_a_missing_extra_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(GatlasError) as error:
        histograms({"x": np.arange(5.0)})
    assert str(error.value) == "plots need matplotlib: pip install 'gatlas[plot]'"


def test_a_line_rises_with_its_values_from_the_first_step_to_the_last():
    line = painted(curves([Panel("a", {"": ([0, 5, 10], [1.0, 1.5, 2.0])}, noisy=False)]), COLORS[0])
    columns = np.flatnonzero(line.any(axis=0))
    left, right = (np.flatnonzero(line[:, column]).mean() for column in (columns[5], columns[-5]))
    assert np.ptp(columns) > 0.75 * line.shape[1]
    assert left > right + 0.5 * line.shape[0], "rows count downwards"


def test_many_noisy_points_are_drawn_as_their_running_mean():
    rng = np.random.default_rng(0)
    steps, values = np.arange(500), rng.normal(size=500)
    spread = [np.ptp(np.flatnonzero(painted(curves([Panel("", {"": (steps, values)}, noisy=noisy)]), COLORS[0])
              .any(axis=1))) for noisy in (False, True)]  # fmt: skip
    assert spread[1] < 0.5 * spread[0]


@pytest.mark.parametrize("values", [[], [1.0], [0.0, -1.0], [np.nan, np.inf, 2.0], [5.0] * 100, [1e-30, 1e30]])
@pytest.mark.parametrize("logarithmic", [False, True])
def test_any_line_can_be_drawn(values, logarithmic):
    picture = curves([Panel("$x_{", {"%d": (range(len(values)), values)}, logarithmic)] * 3, "t")
    assert np.isfinite(picture).all()


def test_planes_are_drawn_row_by_row_with_a_range_each():
    rising = np.linspace(0, 1, 64).reshape(8, 8)
    picture = maps({"a": rising, "b": 1000 * rising, "flat": np.zeros((8, 8))}, columns=2)
    high, wide = picture.shape[0] // 2, picture.shape[1] // 2
    ends = [np.array([68, 1, 84]), np.array([253, 231, 37])]  # of viridis
    for left in (0, wide):
        colors = np.round(picture[:high, left : left + wide] * 255)
        assert all((np.abs(colors - end) <= 1).all(axis=-1).any() for end in ends)
    flat = np.round(picture[high:, : wide // 2] * 255)
    assert (np.abs(flat - ends[0]) <= 1).all(axis=-1).any()
