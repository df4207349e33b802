"""One color in place of one that depends on the direction."""

from dataclasses import replace

import numpy as np
import pytest

from gatlas import io
from gatlas.geometry.cameras import around, orbit, random_views
from gatlas.geometry.sh import dc_to_rgb
from gatlas.metrics import psnr
from gatlas.raster import rasterize
from gatlas.raster.flat_color import with_flat_color
from gatlas.types import Origin
from tests.helpers.shiny_ball import SHINE, shiny_ball


def pictures(gaussians, count=4, side=64):
    cameras = around(gaussians, random_views(count, side, side, np.random.default_rng(7)))
    return np.clip(rasterize(gaussians, cameras, background=np.ones(3, dtype=np.float32)).colors, 0, 1)


def gain(gaussians, **views):
    """How many dB the mean is nearer to what is seen, in pictures from cameras that it was not made from."""
    seen, plain = pictures(gaussians, **views), replace(gaussians, sh=gaussians.sh[:, :1])
    flat = with_flat_color(gaussians)
    return (psnr(pictures(flat, **views), seen) - psnr(pictures(plain, **views), seen)).mean()


def test_a_surface_gets_the_mean_of_what_pictures_show_of_it():
    """All discs of the ball are alike, so that the mean over its pixels from anywhere is that of each."""
    ball = shiny_ball()
    rendering = rasterize(ball, around(ball, random_views(4, 96, 96, np.random.default_rng(7))))
    colors = dc_to_rgb(with_flat_color(ball).sh[:, 0])
    np.testing.assert_allclose(colors.mean(), rendering.colors.sum() / rendering.alphas.sum() / 3, atol=0.004)
    assert colors.std() < 0.02
    assert colors.max() < 0.45  # and the plain coefficient is 0.5


def test_the_mean_is_nearer_to_what_is_seen_than_the_plain_coefficient():
    assert gain(shiny_ball()) > 5


def test_a_colour_below_black_counts_as_the_black_that_is_shown():
    ball = shiny_ball()
    dark = replace(ball, sh=8 * ball.sh)
    assert dc_to_rgb(with_flat_color(dark).sh[:, 0]).min() >= 0


def test_the_cameras_can_be_those_of_photos():
    """From one side alone, discs that face the camera are darker than all around, and those behind are seen within."""
    ball = shiny_ball()
    front = orbit(1, 96, 96, elevation=0.0)
    colors = dc_to_rgb(with_flat_color(ball, front).sh[:, 0, 0])
    assert colors[ball.means[:, 2] > 0.8].mean() < 0.5 - 0.8 * SHINE
    assert colors[ball.means[:, 2] < -0.8].mean() > 0.5 + 0.8 * SHINE


def test_the_unit_of_length_and_a_shift_do_not_change_it():
    ball = shiny_ball(100)
    moved = replace(ball, means=(ball.means * 1e-4 + 3e-3).astype(np.float32), scales=ball.scales * np.float32(1e-4))
    expected = with_flat_color(replace(ball, origin=Origin())).sh
    np.testing.assert_allclose(with_flat_color(replace(moved, origin=Origin())).sh, expected, atol=0.02)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["gaussianverse_9350303", "gaussianverse_9585727"])
def test_a_published_fit_is_nearer_to_what_is_seen(shared_data, name):
    gaussians = io.load_gaussians(shared_data / "splats" / f"{name}.ply")
    assert gain(gaussians, count=12, side=96) > 0.4
