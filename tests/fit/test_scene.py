"""Photos of scenes with a far background: --scene."""

import numpy as np
import pytest

from gatlas.errors import GatlasError
from gatlas.fit import FitOptions, fit
from gatlas.fit.fitting import check_fit
from gatlas.fit.seeds import point_gaussians, random_gaussians, surface_gaussians
from gatlas.fit.stereo import StereoCloud
from gatlas.geometry.cameras import intrinsics, look_at, orbit
from gatlas.types import Cameras, Views
from tests.helpers.landscape import photograph_landscape
from tests.helpers.view_sets import textured_views

NEAR, FAR = 1.0, 40.0


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def two_walls(rng, count=4000):
    """Points that as many pixels show of a wall at depth NEAR as of one at depth FAR."""
    depths = np.repeat([NEAR, FAR], count)
    places = np.concatenate([rng.uniform(-0.5, 0.5, (2 * count, 2)), np.ones((2 * count, 1))], axis=1)
    normals = np.tile([0.0, 0.0, -1.0], (2 * count, 1))
    colors = np.full((2 * count, 3), 0.5)
    mixed = rng.permutation(2 * count)
    cloud = StereoCloud(places * depths[:, None], colors, normals, 0.01 * depths, np.ones(2 * count))
    return StereoCloud(*(column[mixed] for column in cloud))


def test_two_walls_that_fill_as_much_of_the_photos_get_as_many_gaussians_wherever_they_are(rng):
    cloud, cameras = two_walls(rng), orbit(2, 32, 32)
    found = surface_gaussians(cloud, cameras, 400, rng, scene=True)
    far = found.means[:, 2] > 2 * NEAR
    assert 0.4 < far.mean() < 0.6
    sizes = [np.median(found.scales[which].max(axis=1)) for which in (~far, far)]
    assert sizes[1] / sizes[0] == pytest.approx(FAR / NEAR, rel=0.3)
    plain = surface_gaussians(cloud, cameras, 400, rng)
    assert (plain.means[:, 2] > 2 * NEAR).mean() > 0.8, "of an object, what is far is dense on its surface"


def test_far_points_of_a_reconstruction_stay_and_are_as_large_as_they_are_apart(rng):
    cameras = orbit(3, 32, 32)
    behind = rng.normal(size=(200, 3))
    behind *= 200 / np.linalg.norm(behind, axis=1, keepdims=True)
    xyz = np.concatenate([rng.normal(scale=0.2, size=(2000, 3)), behind])
    for scene in (False, True):
        found = point_gaussians(xyz, np.full_like(xyz, 0.5), cameras, 2000, rng, scene=scene)
        far = np.linalg.norm(found.means, axis=1) > 50
        assert far.any() == scene
    assert np.median(found.scales[far]) > 2


def test_random_gaussians_of_a_scene_are_beyond_the_ball_too_as_large_as_they_are_far(rng):
    eyes = np.array([[x, 0.0, 3.0] for x in (-0.5, 0.0, 0.5)])
    viewmats, Ks = look_at(eyes).astype(np.float32), np.tile(intrinsics(32, 32), (3, 1, 1)).astype(np.float32)
    views = Views(np.full((3, 32, 32, 4), 0.5, dtype=np.float32), Cameras(viewmats, Ks, 32, 32))
    found = random_gaussians(views, 400, rng, scene=True)
    away = np.linalg.norm(found.means, axis=1)
    assert (away > 2).mean() > 0.05, "where the photos show something"
    ratio = found.scales.max(axis=1) / np.maximum(away, 1)
    assert np.ptp(ratio) < 1e-4
    assert np.linalg.norm(random_gaussians(views, 400, rng).means, axis=1).max() < 1.3


def test_a_far_background_is_fitted_better_as_a_scene():
    views = photograph_landscape(12, 72, 48)
    found = [
        fit(views, FitOptions(count=800, iterations=60, resolution=72, scene=scene, exposure="off")).psnr
        for scene in (False, True)
    ]
    assert found[1] > found[0] + 2


def test_photos_that_are_cut_out_and_meshes_are_no_scenes():
    with pytest.raises(GatlasError, match="--scene is for photos that show all that is around: the input is a mesh"):
        check_fit(FitOptions(scene=True), photos=False)
    with pytest.raises(GatlasError, match="--masks cuts an object out"):
        check_fit(FitOptions(scene=True, masks="masks"), photos=True)
    with pytest.raises(GatlasError, match="these have transparency or masks"):
        fit(textured_views(count=4, side=32), FitOptions(count=50, iterations=1, resolution=32, scene=True))
    with pytest.raises(GatlasError, match="--model scaffold does not go with --scene"):
        check_fit(FitOptions(scene=True, model="scaffold"), photos=True)


def test_opaque_photos_with_an_alpha_channel_are_a_scene():
    views = photograph_landscape(4, 32, 24)
    images = np.concatenate([views.images, np.ones_like(views.images[..., :1])], axis=-1)
    options = FitOptions(count=60, iterations=1, resolution=32, scene=True, init="random")
    assert len(fit(Views(images, views.cameras), options).gaussians) == 60
