"""The blur of the pixels that Gaussians were fitted to: by hand, and as every way of rendering uses it."""

from dataclasses import replace

import numpy as np
import pytest

from gatlas.geometry.cameras import orbit, pixel_sizes, pixel_widths, resized
from gatlas.geometry.frames import denormalized, into_unit_ball, scaled, scaled_views, unscaled
from gatlas.raster import rasterize, visibility
from gatlas.raster.blur import fitted_blur
from gatlas.types import Gaussians, Origin, join_cameras
from tests.helpers.raster_scenes import FIELDS, gaussians

CLOUD = gaussians(30, 3, size=0.1)
NEAR, FAR = orbit(1, 64, 64, distance=2.0), orbit(1, 64, 64, distance=4.0)
FOCAL = float(NEAR.Ks[0, 0, 0])


def fitted(low, high, **fields):
    return replace(CLOUD, origin=Origin(normalized=True, pixel_sizes=(low, high), **fields))


def test_a_pixel_is_its_distance_from_the_ball_over_the_focal_length_but_at_least_a_radius():
    inside = orbit(1, 64, 64, distance=0.25)
    assert pixel_widths(NEAR)[0] == pytest.approx(2 / FOCAL)
    assert pixel_widths(inside)[0] == pytest.approx(1 / FOCAL)
    assert pixel_widths(inside, (0.0, 0.0, 0.0, 0.5))[0] == pytest.approx(0.5 / FOCAL)
    assert pixel_widths(resized(NEAR, 128, 128))[0] == pytest.approx(1 / FOCAL)
    assert pixel_sizes(NEAR, FAR, inside) == pytest.approx((1 / FOCAL, 4 / FOCAL))


def test_the_blur_is_that_of_the_rasterizer_within_the_fitted_pixels_and_their_length_outside():
    cameras = join_cameras(
        *(np.concatenate([getattr(c, f) for c in (NEAR, FAR)]) for f in ("viewmats", "Ks")), [(64, 64)] * 2
    )
    assert fitted_blur(CLOUD, cameras).tolist() == [0.3, 0.3]
    assert fitted_blur(fitted(2 / FOCAL, 4 / FOCAL), cameras).tolist() == [0.3, 0.3]
    one = 3 / FOCAL  # the near camera's pixels are 2/3 as large, the far one's 4/3
    assert fitted_blur(fitted(one, one), cameras) == pytest.approx([0.3 * 2.25, 0.3 * 0.5625], rel=3e-3)


def test_the_blur_of_antialiased_gaussians_is_at_least_a_sixth_of_the_rasterizers():
    splat = fitted(1 / FOCAL, 1 / FOCAL, antialiased=True)  # the near camera's pixels are twice as large
    for side, blur in ((32, 0.05), (64, 0.075), (96, 0.3 * 0.75**2), (128, 0.3), (256, 1.2)):
        assert fitted_blur(splat, resized(NEAR, side, side)) == pytest.approx([blur], rel=3e-3)
    classic = replace(splat, origin=replace(splat.origin, antialiased=False))
    assert fitted_blur(classic, resized(NEAR, 32, 32)) == pytest.approx([0.3 / 16], rel=3e-3)


def test_cameras_that_differ_by_rounding_are_within():
    assert fitted_blur(fitted(2.0002 / FOCAL, 3 / FOCAL), NEAR)[0] == 0.3


def test_without_fitted_pixels_everything_is_as_with_the_blur_given():
    for cameras in (NEAR, resized(NEAR, 256, 256)):
        plain = rasterize(CLOUD, cameras)
        for image, other in zip(plain, rasterize(CLOUD, cameras, eps2d=0.3, rasterize_mode="classic"), strict=True):
            np.testing.assert_array_equal(image, other)
        within = rasterize(fitted(0.25 / FOCAL, 8 / FOCAL), cameras)
        np.testing.assert_array_equal(within.colors, plain.colors)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_a_picture_of_another_size_has_the_fitted_length(backend):
    larger = resized(NEAR, 128, 128)
    splat = fitted(2 / FOCAL, 2 / FOCAL)
    shown = rasterize(splat, larger, backend=backend).colors
    np.testing.assert_allclose(shown, rasterize(CLOUD, larger, eps2d=1.2, backend=backend).colors, atol=5e-3)
    assert np.abs(shown - rasterize(CLOUD, larger, backend=backend).colors).max() > 0.02


@pytest.mark.parametrize("mode", ["classic", "antialiased"])
def test_each_camera_has_its_own_blur(mode):
    torch = pytest.importorskip("torch")
    viewmats = np.concatenate([NEAR.viewmats, FAR.viewmats])
    cameras = replace(NEAR, viewmats=viewmats, Ks=np.tile(NEAR.Ks, (2, 1, 1)))
    blurs = np.array([0.3, 1.5])
    tensors = Gaussians(**{field: torch.tensor(getattr(CLOUD, field)) for field in FIELDS})
    for splat, backend in ((CLOUD, "cpu"), (tensors, "cpu"), (CLOUD, "reference")):
        both = rasterize(splat, cameras, eps2d=blurs, rasterize_mode=mode, backend=backend).colors
        for i, eps2d in enumerate((0.3, 1.5)):
            alone = rasterize(splat, cameras[i], eps2d=eps2d, rasterize_mode=mode, backend=backend).colors[0]
            np.testing.assert_array_equal(np.asarray(both[i]), np.asarray(alone))
    weights = visibility(CLOUD, cameras, eps2d=blurs, rasterize_mode=mode)
    np.testing.assert_array_equal(weights[1], visibility(CLOUD, FAR, eps2d=1.5, rasterize_mode=mode)[0])


def test_the_mode_is_that_of_the_origin_unless_it_is_given():
    marked = replace(CLOUD, origin=Origin(antialiased=True))
    thin = rasterize(CLOUD, FAR, rasterize_mode="antialiased").alphas
    np.testing.assert_array_equal(rasterize(marked, FAR).alphas, thin)
    np.testing.assert_array_equal(rasterize(marked, FAR, rasterize_mode="classic").alphas, rasterize(CLOUD, FAR).alphas)
    np.testing.assert_array_equal(visibility(marked, FAR), visibility(CLOUD, FAR, rasterize_mode="antialiased"))
    assert thin.sum() < 0.99 * rasterize(CLOUD, FAR).alphas.sum()


def test_a_blur_of_another_number_of_cameras_is_refused():
    with pytest.raises(ValueError, match=r"eps2d must be a number or have shape \[1\], got \[2\]"):
        rasterize(CLOUD, NEAR, eps2d=np.array([0.3, 0.3]))


@pytest.mark.parametrize("scale", [0.01, 25.0])
def test_it_is_the_same_in_other_units(scale):
    center = (3.0, -1.0, 0.5)
    splat = fitted(3 / FOCAL, 3 / FOCAL, center=center, scale=scale)
    moved = replace(NEAR, viewmats=scaled_views(NEAR.viewmats, center, scale))
    own = denormalized(splat)
    assert own.origin.pixel_sizes == pytest.approx((3 * scale / FOCAL, 3 * scale / FOCAL))
    assert own.origin.ball == pytest.approx((*center, scale))
    assert fitted_blur(own, moved) == pytest.approx(fitted_blur(splat, NEAR))
    assert fitted_blur(splat, NEAR)[0] > 0.6
    back = unscaled(scaled(splat, center, scale), center, scale).origin
    assert (*back.pixel_sizes, *back.ball) == pytest.approx((*splat.origin.pixel_sizes, 0, 0, 0, 1))
    unit, offset, radius = into_unit_ball(own)
    again = replace(moved, viewmats=scaled_views(moved.viewmats, tuple(-x / radius for x in offset), 1 / radius))
    assert fitted_blur(unit, again) == pytest.approx(fitted_blur(splat, NEAR))


def test_a_header_that_another_programs_scaling_made_stale_counts_for_nothing():
    splat = fitted(3 / FOCAL, 3 / FOCAL)
    elsewhere = replace(splat, means=(splat.means + 1000).astype(np.float32))
    assert fitted_blur(elsewhere, NEAR).tolist() == [0.3]


def test_so_does_one_of_an_object_in_its_own_units():
    own = denormalized(fitted(3 / FOCAL, 3 / FOCAL, center=(3.0, -1.0, 0.5), scale=2.0))
    larger = replace(own, means=own.means * np.float32(1000), scales=own.scales * np.float32(1000))
    assert fitted_blur(larger, NEAR).tolist() == [0.3]
    assert scaled(larger, (0.0, 0.0, 0.0), 2.0).origin.pixel_sizes is None
    assert own.origin.pixel_sizes is not None
