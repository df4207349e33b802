"""The mode of a fit, and the pixel sizes that its result carries."""

from dataclasses import replace

import numpy as np
import pytest

from gatlas.config import result_fields
from gatlas.fit import FitOptions, fit
from gatlas.fit.finetune import finetune
from gatlas.fit.mesh import fit_mesh, measure
from gatlas.fit.photos import fit_photos
from gatlas.geometry.cameras import fibonacci_views, intrinsics, pixel_widths
from gatlas.geometry.default_camera import DEFAULT_DISTANCE
from gatlas.geometry.frames import denormalized
from gatlas.meshes.edits import normalize_mesh
from gatlas.meshes.render import render_mesh
from gatlas.prune import PruneOptions, prune
from gatlas.raster import rasterize
from gatlas.raster.blur import fitted_blur
from gatlas.types import Origin
from tests.fit.test_fit import textured_box

OPTIONS = FitOptions(count=300, iterations=40, views=8, resolution=48, held_out=3)


@pytest.fixture(scope="module")
def thin():
    return fit_mesh(textured_box(), replace(OPTIONS, antialiased=True))


@pytest.fixture(scope="module")
def held_out():
    return render_mesh(normalize_mesh(textured_box()), fibonacci_views(3, 32, 32, phase=0.5))


def test_a_fit_carries_the_pixels_of_its_views():
    origin = fit_mesh(textured_box(), replace(OPTIONS, iterations=1)).gaussians.origin
    pixel = DEFAULT_DISTANCE / intrinsics(48, 48)[0, 0]
    assert origin.pixel_sizes[0] <= pixel * 1.001
    assert origin.pixel_sizes[1] >= pixel * 0.999
    assert origin.ball is None
    assert not origin.antialiased


@pytest.mark.parametrize("model", ["direct", "scaffold"])
def test_an_antialiased_fit_is_right_in_its_own_mode(held_out, model):
    options = replace(OPTIONS, model=model, count=1500, resolution=32)
    fitted, plain = (fit(textured_box(), replace(options, antialiased=mode)).gaussians for mode in (True, False))
    assert fitted.origin.antialiased
    assert fitted.origin.pixel_sizes is not None
    other = replace(plain, origin=fitted.origin)
    assert measure(fitted, held_out)[0] > measure(other, held_out)[0] + 1


def test_the_steps_of_an_antialiased_fit_have_the_blur_that_shows_it(monkeypatch, thin):
    seen = []

    def watched(gaussians, cameras, **named):
        seen.append((float(fitted_blur(gaussians, cameras)[0]), gaussians.origin.antialiased))
        return rasterize(gaussians, cameras, **named)

    monkeypatch.setattr("gatlas.fit.optimize.rasterize", watched)
    fit_mesh(textured_box(), replace(OPTIONS, antialiased=True, iterations=3))
    assert seen == [(pytest.approx(0.05), True)] * 3
    for side, blur in ((12, 0.05), (48, 0.05), (96, 0.075), (192, 0.3)):
        assert fitted_blur(thin.gaussians, fibonacci_views(1, side, side)) == pytest.approx([blur], rel=3e-3)


@pytest.mark.parametrize("more", [{"lod": "100,300"}, {"max_offset": 0.05}])
def test_levels_and_a_bound_keep_the_pixels_of_an_antialiased_fit(thin, more):
    done = fit_mesh(textured_box(), replace(OPTIONS, antialiased=True, iterations=2, **more))
    assert done.gaussians.origin.pixel_sizes == thin.gaussians.origin.pixel_sizes
    assert done.gaussians.origin.antialiased


def test_an_antialiased_fit_is_shown_better_than_a_classic_one_from_half_to_twice_its_size():
    options = replace(OPTIONS, count=1500, iterations=150, resolution=64)
    modes = [fit_mesh(textured_box(), replace(options, antialiased=mode)).gaussians for mode in (True, False)]
    for side in (32, 64, 128):
        views = render_mesh(normalize_mesh(textured_box()), fibonacci_views(3, side, side, phase=0.5))
        antialiased, classic = (measure(gaussians, views)[0] for gaussians in modes)
        assert antialiased > classic + 0.5


def test_photos_are_fitted_in_the_mode_and_carry_the_pixels_of_their_cameras(held_out):
    views = render_mesh(normalize_mesh(textured_box()), fibonacci_views(9, 32, 32))
    done = fit_photos(views, replace(OPTIONS, iterations=30, resolution=32, antialiased=True))
    widths = pixel_widths(done.views.cameras)
    assert done.gaussians.origin.pixel_sizes == pytest.approx((widths.min(), widths.max()))
    assert done.gaussians.origin.antialiased


def test_a_fit_that_begins_with_an_antialiased_splat_has_the_mode_of_its_options(thin, held_out):
    assert not fit_mesh(textured_box(), OPTIONS, start=thin.gaussians).gaussians.origin.antialiased
    photos = replace(OPTIONS, iterations=1)
    for start in (thin.gaussians, denormalized(thin.gaussians)):
        assert not fit_photos(held_out, photos, init=start).gaussians.origin.antialiased


@pytest.mark.parametrize("own_units", [False, True])
def test_finetuning_is_in_the_splats_own_mode_and_blur(thin, monkeypatch, own_units):
    seen = []

    def watched(gaussians, *arguments, **named):
        seen.append(gaussians.origin)
        return rasterize(gaussians, *arguments, **named)

    monkeypatch.setattr("gatlas.fit.optimize.rasterize", watched)
    splat = denormalized(thin.gaussians) if own_units else thin.gaussians
    for reference in (splat, textured_box()):
        tuned = finetune(splat, reference, 2, np.random.default_rng(0), views=2, resolution=64)
        assert tuned.origin == splat.origin
    assert len(seen) == 4
    for origin in seen:
        assert origin.antialiased
        x, y, z, radius = origin.ball or (0, 0, 0, 1)  # the unit ball of the step
        low, high = thin.gaussians.origin.pixel_sizes
        if own_units:
            assert np.divide(origin.pixel_sizes, radius) == pytest.approx((low, high))
        else:
            assert (x, y, z, radius, *origin.pixel_sizes) == (0, 0, 0, 1, low, high)


def test_pruning_keeps_both(thin):
    kept = prune(thin.gaussians, PruneOptions(count=100, views=2, resolution=32))
    assert kept.origin == thin.gaussians.origin
    plain = replace(thin.gaussians, origin=Origin(normalized=True))
    others = prune(plain, PruneOptions(count=100, views=2, resolution=32, score="visibility-max"))
    marked = prune(thin.gaussians, PruneOptions(count=100, views=2, resolution=32, score="visibility-max"))
    assert not np.array_equal(others.means, marked.means)  # ranked as each is shown


def test_the_fingerprint_of_other_fits_is_as_before():
    assert "antialiased" not in result_fields(FitOptions())
    assert result_fields(FitOptions(antialiased=True))["antialiased"] is True
    assert "antialiased" not in FitOptions().as_record()
    assert FitOptions(antialiased=True).as_record()["antialiased"] is True
