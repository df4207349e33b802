import numpy as np
import pytest

from gatlas.images.colormap import viridis
from gatlas.images.legend import BAR, MARGIN, caption_row, color_bar, stacked


def test_the_color_map_is_matplotlibs_viridis():
    matplotlib = pytest.importorskip("matplotlib")
    values = np.linspace(0, 1, 256)
    np.testing.assert_allclose(viridis(values), matplotlib.colormaps["viridis"](values)[:, :3], atol=0.02)


def test_values_beyond_the_range_have_the_color_of_its_end_and_lightness_only_grows():
    np.testing.assert_array_equal(viridis(np.array([-3.0, 7.0])), viridis(np.array([0.0, 1.0])))
    lightness = viridis(np.linspace(0, 1, 100)) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) > 0).all()


def test_a_color_bar_has_the_colors_from_its_left_end_to_its_right_end():
    bar = color_bar(300, 0.0, 2.5, "what it is")
    row = bar[MARGIN // 2 + BAR // 2]
    np.testing.assert_allclose(row[[MARGIN, -MARGIN - 1]], viridis(np.array([0.0, 1.0])), atol=0.005)
    assert (bar[:, 0] == 1).all(), "white around"
    assert (bar[MARGIN + BAR :] < 0.5).any(), "numbers below"


@pytest.mark.parametrize("width", [1, 7, 60, 2000])
def test_strips_have_the_width_of_the_picture(width):
    assert color_bar(width, -1e-9, 1e12, "a long label of what the colors stand for").shape[1] == width
    assert caption_row(width, ["a name that is much too long for it" * 9]).shape[1] == width


def test_captions_are_written_in_their_columns():
    row = caption_row(200, ["", "x" * 100])
    assert (row[:, :100] == 1).all()
    assert (row[:, 100:] < 0.5).any()


def test_a_strip_below_a_transparent_picture_is_opaque():
    both = stacked(np.zeros((3, 50, 4), np.float32), color_bar(50, 0, 1, ""))
    assert both.shape[2] == 4
    assert (both[:3, :, 3] == 0).all()
    assert (both[3:, :, 3] == 1).all()
