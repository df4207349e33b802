import sys

import numpy as np
import pytest

from gatlas.errors import GatlasError
from gatlas.images.plots import COLORS, histograms

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
