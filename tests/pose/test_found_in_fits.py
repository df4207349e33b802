"""Photos of real objects found in splats that were fitted to other photos of them."""

import numpy as np
import pytest

from gatlas import io
from gatlas.fit.mesh import fit_mesh
from gatlas.fit.options import FitOptions
from gatlas.fit.photos import fit_photos
from gatlas.geometry.cameras import intrinsics
from gatlas.geometry.frames import denormalized
from gatlas.meshes.edits import normalize_mesh
from gatlas.meshes.render import render_mesh
from gatlas.metrics.pose_errors import center_errors, rotation_errors
from gatlas.pose.bank import make_feature_bank
from gatlas.pose.locate import locate
from gatlas.pose.refinement import MATCHED_START, refine
from gatlas.pose.results import NotFound
from gatlas.types import Cameras, Views
from tests.helpers.room import photograph
from tests.helpers.textured import camera

SIDE = 256


@pytest.mark.slow
@pytest.mark.shared
def test_pictures_of_a_mesh_are_found_in_a_quick_fit_of_it(shared_data):
    mesh = io.load_mesh(shared_data / "models/Knight.glb")
    gaussians = fit_mesh(mesh, FitOptions(profile="quick")).gaussians
    rng = np.random.default_rng(0)
    lens = intrinsics(SIDE, SIDE)
    truths = np.stack(
        [camera(rng.uniform(0, 360), rng.uniform(-50, 50), 2.6 * rng.uniform(0.85, 1.2), 10) for _ in range(6)]
    )
    cameras = Cameras(truths, np.tile(lens, (len(truths), 1, 1)), SIDE, SIDE)
    photos = render_mesh(normalize_mesh(mesh), cameras, supersample=4).images
    bank = make_feature_bank(gaussians, lens, SIDE, SIDE)
    found = [
        refine(gaussians, photo, locate(bank, photo, lens).viewmat, lens, options=MATCHED_START) for photo in photos
    ]
    viewmats = np.stack([each.viewmat for each in found])
    degrees, percent = rotation_errors(viewmats, truths), center_errors(viewmats, truths)
    assert degrees.max() < 0.5
    assert percent.max() < 1.0
    assert np.median(degrees) < 0.2
    assert np.median(percent) < 0.4


@pytest.mark.slow
@pytest.mark.shared
def test_real_photos_are_found_in_a_fit_of_the_others_without_a_prior(shared_data, monkeypatch):
    """Five of templeRing's nineteen photos, 640 x 480, against the published calibration."""
    from tests.helpers.convert_middlebury import cut_out, read_ring

    views, _ = read_ring(shared_data / "photos/templeRing")
    held = np.arange(1, len(views), 4)
    kept = np.setdiff1d(np.arange(len(views)), held)
    images = np.stack([cut_out(image, 0.25) for image in views.images[kept]])
    fit = fit_photos(Views(images, views.cameras[kept]), FitOptions(count=16_384, iterations=600, resolution=320))
    gaussians = denormalized(fit.gaussians)
    lens = np.asarray(views.cameras.Ks[0], dtype=np.float64)
    bank = make_feature_bank(gaussians, lens, 640, 480)
    viewmats = []
    for image in views.images[held]:
        found = refine(gaussians, image, locate(bank, image, lens).viewmat, lens, options=MATCHED_START)
        viewmats.append(found.viewmat)
    truths = np.asarray(views.cameras.viewmats[held], dtype=np.float64)
    degrees = rotation_errors(np.stack(viewmats), truths)
    percent = center_errors(np.stack(viewmats), truths, bank.center)
    assert np.median(degrees) < 0.3
    assert np.median(percent) < 0.5
    assert degrees.max() < 0.6


@pytest.mark.slow
@pytest.mark.parametrize("closed", [False, True])
def test_photos_are_found_in_a_fitted_scene_with_a_background_and_those_of_another_scene_are_not(closed):
    """Eight of forty-eight photos, matched with renders from all sides or, inside a room, from the fitted photos."""
    views = photograph(48, 320, 240, closed=closed)
    held = np.arange(2, 48, 6)
    kept = np.setdiff1d(np.arange(48), held)
    fit = fit_photos(views[kept], FitOptions(count=16_384, iterations=600, resolution=256))
    lens = np.asarray(views.cameras.Ks[0], dtype=np.float64)
    candidates = views.cameras[kept[::2]] if closed else None
    bank = make_feature_bank(denormalized(fit.gaussians), lens, 320, 240, cameras=candidates)

    def find(photo):
        """The refined camera; NaN where none is accepted."""
        found = locate(bank, photo, lens)
        if isinstance(found, NotFound):
            return np.full((4, 4), np.nan)
        return refine(bank.gaussians, photo, found.viewmat, lens, options=MATCHED_START).viewmat

    viewmats = np.stack([find(photo) for photo in views.images[held]])
    located = np.isfinite(viewmats).all(axis=(1, 2))
    assert located.sum() >= (6 if closed else 8)
    truths = np.asarray(views.cameras.viewmats[held], dtype=np.float64)[located]
    degrees = rotation_errors(viewmats[located], truths)
    percent = center_errors(viewmats[located], truths, bank.center)
    assert degrees.max() < 1.0
    assert percent.max() < 1.5
    assert np.median(degrees) < 0.4
    others = photograph(6, 320, 240, seed=1, closed=closed).images
    assert not any(np.isfinite(find(other)).any() for other in others)
