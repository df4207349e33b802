"""One color in place of one that depends on the direction, and what clamping does to pictures."""

from dataclasses import replace

import numpy as np
import pytest

from gatlas import io
from gatlas.atlas import EncodeOptions, encode
from gatlas.atlas.encoding import summary
from gatlas.atlas.flat_color import with_flat_color
from gatlas.atlas.spaces import clamping_psnr
from gatlas.geometry.cameras import around, random_views
from gatlas.geometry.rotations import quats_from_normals
from gatlas.geometry.sh import SH_C1, dc_to_rgb
from gatlas.metrics import psnr
from gatlas.raster import rasterize
from gatlas.transport import fibonacci_sphere
from gatlas.types import Gaussians, Origin

SHINE = 0.25  # how much the color changes from the rim of the ball to its middle


def shiny_ball(count=400):
    """Opaque discs on a ball, gray along its rim and darker by SHINE times the cosine where they face the camera."""
    normals = fibonacci_sphere(count)
    sh = np.zeros((count, 4, 3), dtype=np.float32)
    x, y, z = normals.T * SHINE / SH_C1
    sh[:, 1], sh[:, 2], sh[:, 3] = -y[:, None], z[:, None], -x[:, None]
    return Gaussians(
        means=(0.9 * normals).astype(np.float32),
        quats=quats_from_normals(normals).astype(np.float32),
        scales=np.tile(np.float32([0.08, 0.08, 0.002]), (count, 1)),
        opacities=np.full(count, 0.99, dtype=np.float32),
        sh=sh,
        origin=Origin(normalized=True),
    )


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


def test_harmonics_that_are_all_zero_give_the_same_bytes_as_none():
    ball = shiny_ball(100)
    padded = replace(ball, sh=ball.sh * np.float32([1, 0, 0, 0])[:, None])
    bare = replace(ball, sh=ball.sh[:, :1])
    first, second = (io.atlas_bytes(encode(each, EncodeOptions(size=10))) for each in (padded, bare))
    assert b"".join(map(bytes, first)) == b"".join(map(bytes, second))


def test_the_unit_of_length_and_a_shift_do_not_change_it():
    ball = shiny_ball(100)
    moved = replace(ball, means=(ball.means * 1e-4 + 3e-3).astype(np.float32), scales=ball.scales * np.float32(1e-4))
    expected = with_flat_color(replace(ball, origin=Origin())).sh
    np.testing.assert_allclose(with_flat_color(replace(moved, origin=Origin())).sh, expected, atol=0.02)


def said(gaussians):
    return summary(encode(gaussians, EncodeOptions(size=10)), gaussians)


def test_thin_discs_are_clamped_without_a_word():
    ball = replace(shiny_ball(100), sh=np.zeros((100, 1, 3), np.float32))
    thin = replace(ball, scales=(ball.scales * [1, 1, 1e-8]).astype(np.float32))
    assert encode(thin, EncodeOptions(size=10)).meta["clamped"]["scales"] == 100
    assert clamping_psnr(thin) > 60
    assert "scales outside" not in said(thin)


def test_what_pictures_show_of_clamping_is_said_with_what_to_do():
    ball = replace(shiny_ball(100), sh=np.zeros((100, 1, 3), np.float32))
    ball.scales[:2, :2] = 0.9
    assert clamping_psnr(ball) < 40
    line = said(ball)
    assert "dB): 2 Gaussians with scales outside -9..-1.5" in line
    assert "split or remove the largest" in line
    assert "view-dependent" not in line


def test_view_dependent_colour_is_mentioned_once():
    assert said(shiny_ball(100)).count("100 got the mean of their view-dependent color") == 1


@pytest.mark.shared
@pytest.mark.parametrize("name", ["gaussianverse_9350303", "gaussianverse_9585727"])
def test_a_published_fit_is_nearer_to_what_is_seen(shared_data, name):
    gaussians = io.load_gaussians(shared_data / "splats" / f"{name}.ply")
    assert gain(gaussians, count=12, side=96) > 0.4
    assert clamping_psnr(gaussians) > 70
