"""Exposure of photos: what is fitted of it, what is solved, and what it leaves alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gatlas.errors import GatlasError
from gatlas.fit import FitOptions, Interrupted, fit
from gatlas.fit.exposure import ExposureValues, PhotoExposures, corrected_psnr, solve_exposure, without_exposure
from gatlas.fit.fitting import run_identity
from gatlas.fit.optimize import optimize
from gatlas.fit.photos import fit_photos, held_out_indices, rgba_views
from gatlas.fit.scene_frame import SceneFrame, views_into_frame
from gatlas.geometry.cameras import fibonacci_views
from gatlas.geometry.sh import rgb_to_dc
from gatlas.images.composite import composite
from gatlas.raster import rasterize, straight_rgba
from gatlas.types import Gaussians, Origin, Views
from tests.helpers.meshes import textured_tetrahedron
from tests.helpers.shiny_ball import shiny_ball

OPTIONS = FitOptions(count=100, iterations=300, resolution=32)
GAINS = np.random.default_rng(0).uniform(0.7, 1.3, size=(24, 1))


@pytest.fixture(scope="module")
def clean():
    """Photos of colored blobs, all of which are seen from most sides; no exposure below clips them."""
    rng = np.random.default_rng(3)
    blobs = Gaussians(
        means=rng.uniform(-0.5, 0.5, (40, 3)).astype(np.float32),
        quats=np.tile(np.float32([1, 0, 0, 0]), (40, 1)),
        scales=np.full((40, 3), 0.13, np.float32),
        opacities=np.full(40, 0.95, np.float32),
        sh=rgb_to_dc(rng.uniform(0.1, 0.75, (40, 1, 3))).astype(np.float32),
        origin=Origin(normalized=True),
    )
    cameras = fibonacci_views(24, 32, 32)
    return Views(straight_rgba(rasterize(blobs, cameras)), cameras)


def exposed(views, gains):
    images = views.images.copy()
    images[..., :3] *= gains[:, None, None]
    return Views(images.astype(np.float32), views.cameras)


def over_gray(views):
    return Views(composite(views.images, 0.5).astype(np.float32), views.cameras)


def likeness(fitted, clean):
    """Held-out PSNR in dB against clean photos, with the exposure of each solved."""
    origin = fitted.gaussians.origin
    judged = views_into_frame(rgba_views(clean), SceneFrame(np.array(origin.center), origin.scale))
    judged = judged[held_out_indices(len(clean))]
    return corrected_psnr(fitted.gaussians, judged, solve_exposure(fitted.gaussians, judged))


@pytest.fixture(scope="module")
def unequal(clean):
    """The fit of photos that are exposed by GAINS."""
    return fit_photos(exposed(clean, GAINS), OPTIONS)


def test_photos_of_unequal_exposure_fit_nearly_as_well_as_equal_ones(clean, unequal):
    ignored = fit_photos(exposed(clean, GAINS), replace(OPTIONS, exposure="off"))
    equal = fit_photos(clean, replace(OPTIONS, exposure="off"))
    assert likeness(unequal, clean) > likeness(equal, clean) - 1.2
    assert likeness(unequal, clean) > likeness(ignored, clean) + 0.5
    assert unequal.exposure.psnr > unequal.psnr + 3


@pytest.mark.slow
def test_opaque_photos_of_unequal_exposure_fit_within_a_decibel_of_equal_ones(clean):
    photos = over_gray(clean)  # 40 degrees apart: what stereo finds in them is chance
    found = fit_photos(exposed(photos, GAINS), OPTIONS, init="random")
    equal = fit_photos(photos, replace(OPTIONS, exposure="off"), init="random")
    assert likeness(found, photos) > likeness(equal, photos) - 1.0


def test_photos_of_equal_exposure_are_found_to_be_so(clean):
    found = fit_photos(clean, OPTIONS).exposure
    trained = np.setdiff1d(np.arange(24), found.held_out)
    np.testing.assert_allclose(found.photos.gains[trained], 1.0, atol=0.05)
    np.testing.assert_allclose(found.photos.offsets[trained], 0.0, atol=0.02)


def test_the_gains_are_found_but_for_one_factor_and_those_held_out_are_solved(unequal):
    photos, held_out, _ = unequal.exposure
    trained = np.setdiff1d(np.arange(24), held_out)
    np.testing.assert_array_equal(held_out, held_out_indices(24))
    relative = photos.gains / GAINS
    assert relative[trained].mean(axis=1).std() < 0.06
    np.testing.assert_allclose(relative[held_out].mean(axis=1), relative[trained].mean(), rtol=0.15)
    np.testing.assert_allclose(photos.gains[trained].mean(axis=0), 1.0, atol=1e-5)
    np.testing.assert_allclose(photos.offsets[trained].mean(axis=0), 0.0, atol=1e-5)


def test_the_solved_exposure_is_the_one_that_the_photos_were_taken_with():
    ball = shiny_ball(100)
    cameras = fibonacci_views(3, 24, 24)
    rendered = rasterize(ball, cameras)
    gains = np.float32([[0.8, 1.0, 1.2], [1.1, 0.9, 0.7], [1.0, 1.0, 1.0]])
    offsets = np.float32([[0.05, 0.0, -0.05], [0.0, 0.1, 0.0], [0.0, 0.0, 0.0]])
    alphas = rendered.alphas
    colors = rendered.colors * gains[:, None, None] + alphas * offsets[:, None, None]
    straight = np.divide(colors, alphas, out=np.zeros_like(colors), where=alphas > 0)
    photos = Views(np.concatenate([straight, alphas], axis=-1), cameras)
    solved = solve_exposure(ball, photos)
    np.testing.assert_allclose(solved.gains, gains, atol=0.01)
    np.testing.assert_allclose(solved.offsets, offsets, atol=0.01)
    assert corrected_psnr(ball, photos, ExposureValues(gains, offsets)) > 100
    undone = without_exposure(photos, ExposureValues(gains, offsets)).images[..., :3]
    np.testing.assert_allclose(
        (undone * alphas)[alphas[..., 0] > 0.5], rendered.colors[alphas[..., 0] > 0.5], atol=1e-3
    )


def test_photos_without_contrast_get_an_exposure_that_is_no_worse_than_none():
    """Their gain of 0 is out of bounds: the offset must be that of the gain which is taken."""
    ball = shiny_ball(100)
    cameras = fibonacci_views(2, 24, 24)
    gray = Views(np.full((2, 24, 24, 4), [0.8, 0.8, 0.8, 1.0], dtype=np.float32), cameras)
    identity = ExposureValues(np.ones((2, 3)), np.zeros((2, 3)))
    solved = solve_exposure(ball, gray)
    assert solved.gains.min() == pytest.approx(0.1)
    assert corrected_psnr(ball, gray, solved) > corrected_psnr(ball, gray, identity)


def test_an_exposed_picture_has_the_gain_and_offset_of_its_colors_and_the_background_of_before():
    ball = shiny_ball(60)
    tensors = {name: torch.from_numpy(getattr(ball, name)) for name in ("means", "quats", "scales", "opacities", "sh")}
    shown = replace(ball, **tensors)
    exposures = PhotoExposures(2)
    exposures.values[1] = torch.tensor([[0.8, 1.0, 1.3], [0.1, 0.0, 0.05]])
    background = torch.tensor([0.9, 0.1, 0.4])
    camera = fibonacci_views(1, 24, 24)
    plain = rasterize(shown, camera)
    expected = plain.colors * torch.tensor([0.8, 1.0, 1.3]) + plain.alphas * torch.tensor([0.1, 0.0, 0.05])
    expected = expected + (1 - plain.alphas) * background
    for view in (1, 3):  # the same photo at another size
        image = rasterize(exposures.of(shown, view), camera, background=background).colors
        torch.testing.assert_close(image, expected, atol=1e-5, rtol=1e-5)


def test_a_stopped_fit_resumes_to_the_same_bytes_with_its_exposures(clean):
    photos = exposed(clean, GAINS)
    options = replace(OPTIONS, iterations=12, sh_degree=1)
    whole = fit(photos, options)
    done = []
    with pytest.raises(Interrupted) as stopped:
        fit(photos, options, on_step=lambda step, _: done.append(step), should_stop=lambda: len(done) == 7)
    resumed = fit(photos, options, resume=stopped.value.snapshot)
    for name in ("means", "quats", "scales", "opacities", "sh"):
        assert getattr(resumed.gaussians, name).tobytes() == getattr(whole.gaussians, name).tobytes(), name
    assert resumed.exposure.photos.gains.tobytes() == whole.exposure.photos.gains.tobytes()


def test_a_snapshot_without_exposures_is_refused(clean):
    start = fit_photos(clean, replace(OPTIONS, iterations=0)).gaussians
    asked = iter([False] * 2 + [True])
    with pytest.raises(Interrupted) as stopped:
        optimize(start, clean, 4, np.random.default_rng(0), should_stop=lambda: next(asked))
    with pytest.raises(ValueError, match="the snapshot has no exposure: it is of another version"):
        optimize(start, clean, 4, np.random.default_rng(0), exposures=PhotoExposures(24), resume=stopped.value.snapshot)


def test_a_mesh_has_no_exposure():
    tiny = FitOptions(count=20, iterations=2, views=3, resolution=16, held_out=1)
    assert fit(textured_tetrahedron(), tiny).exposure is None
    with pytest.raises(GatlasError, match="--exposure on is for photos"):
        fit(textured_tetrahedron(), replace(tiny, exposure="on"))
    assert "exposure" not in run_identity(tiny, "digest", None)["options"]
    assert run_identity(replace(tiny, exposure="off"), "digest", None)["options"]["exposure"] == "off"


def test_a_clipped_highlight_does_not_hold_its_photo_back():
    """Saturated pixels of a bright photo fit any exposure that is as bright."""
    white = shiny_ball(100)
    white = replace(white, sh=np.full((100, 1, 3), rgb_to_dc(0.9), dtype=np.float32))
    cameras = fibonacci_views(4, 24, 24)
    alphas = rasterize(white, cameras).alphas
    brightness = np.float32([0.8, 1.0, 1.0, 1.2])[:, None, None, None]
    images = np.concatenate([np.minimum(0.9 * brightness, 1.0) * np.ones_like(alphas).repeat(3, -1), alphas], axis=-1)
    exposures = PhotoExposures(4)
    optimize(white, Views(images, cameras), 60, np.random.default_rng(0), exposures=exposures)
    found = exposures.found()
    shown = 0.9 * found.gains + found.offsets
    assert shown[3].min() > shown[1].max()
