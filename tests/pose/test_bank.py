from dataclasses import replace

import numpy as np
import pytest

from gatlas.errors import GatlasError
from gatlas.pose.bank import (
    THICK_SPREAD,
    THIN_SPREAD,
    choose_spread,
    lift_pixels,
    make_feature_bank,
    render_scene,
    working_size,
)
from gatlas.pose.candidates import candidate_cameras
from gatlas.types import Cameras, Gaussians, Origin
from tests.helpers.textured import AXES, SIDE, K, camera, ellipsoid


@pytest.fixture(scope="module")
def gaussians():
    return ellipsoid()


def test_the_bank_holds_points_of_the_surface_in_groups(gaussians):
    bank = make_feature_bank(gaussians, K, SIDE, SIDE, views=6, side=SIDE)
    assert len(bank.cameras) == 6
    assert bank.starts[0] == 0
    assert bank.starts[-1] == len(bank.points)
    assert len(bank.points) > 200
    assert bank.descriptors.shape == (len(bank.points), 128)
    assert np.isfinite(bank.points).all()
    assert np.abs(np.linalg.norm(bank.points / AXES, axis=1) - 1).max() < 0.12


def test_a_bank_from_given_cameras_is_of_those(gaussians):
    given = Cameras(camera(10, 5)[None], K[None] * [[2.0], [2.0], [1.0]], 2 * SIDE, 2 * SIDE)
    bank = make_feature_bank(gaussians, given.Ks[0], given.width, given.height, cameras=given, side=SIDE)
    assert (bank.cameras.width, len(bank.starts)) == (SIDE, 2)
    assert np.allclose(bank.cameras.Ks[0], K)


def test_a_lifted_pixel_projects_back_to_itself(gaussians):
    view = Cameras(camera(-60, 20, roll=15)[None], K[None], SIDE, SIDE)
    pixels = np.array([[80.0, 80.0], [75.25, 90.5], [88.1, 70.7]])
    points = lift_pixels(pixels, render_scene(gaussians, view), view)
    seen = (points @ view.viewmats[0, :3, :3].T + view.viewmats[0, :3, 3]) @ K.T
    assert np.allclose(seen[:, :2] / seen[:, 2:], pixels, atol=1e-9)
    assert np.abs(np.linalg.norm(points / AXES, axis=1) - 1).max() < 0.08


def test_the_rim_and_the_empty_are_not_solid_and_lift_to_nan(gaussians):
    view = Cameras(camera(0, 0)[None], K[None], SIDE, SIDE)
    sight = render_scene(gaussians, view)
    assert not sight.solid[sight.alpha < 0.9].any()
    assert sight.solid.sum() > 0.6 * (sight.alpha > 0.9).sum()
    assert np.isnan(lift_pixels(np.array([[2.0, 2.0]]), sight, view)).all()


def test_two_surfaces_in_one_pixel_are_not_solid(gaussians):
    half = type(gaussians)(
        gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities * 0.25, gaussians.sh, gaussians.origin
    )
    view = Cameras(camera(0, 0)[None], K[None], SIDE, SIDE)
    assert render_scene(half, view).solid.mean() < 0.2 * render_scene(gaussians, view).solid.mean()


def test_the_working_size_keeps_the_shape():
    assert working_size(640, 480, 256) == (256, 192)
    assert working_size(100, 4000, 256) == (16, 256)


@pytest.mark.parametrize("normalized", [True, False])
def test_a_scene_in_which_nothing_is_visible_is_the_users_fault(gaussians, normalized):
    faint = replace(gaussians, opacities=np.full_like(gaussians.opacities, 0.01), origin=Origin(normalized=normalized))
    with pytest.raises(GatlasError, match=r"^no Gaussian is visible: all opacities are 0\.05 or less$"):
        make_feature_bank(faint, K, SIDE, SIDE, views=2, side=SIDE)


def test_what_counts_as_one_surface_follows_from_how_thick_those_of_the_scene_are(gaussians):
    rng = np.random.default_rng(0)
    cloud = Gaussians(
        rng.normal(scale=0.4, size=(800, 3)).astype(np.float32),
        np.tile(np.float32([1, 0, 0, 0]), (800, 1)),
        np.full((800, 3), 0.15, dtype=np.float32),
        np.full(800, 0.2, dtype=np.float32),
        np.zeros((800, 1, 3), dtype=np.float32),
    )
    cameras = candidate_cameras(gaussians, K, SIDE, SIDE, 4)
    assert choose_spread(render_scene(gaussians, camera) for camera in cameras) == THIN_SPREAD
    assert choose_spread(render_scene(cloud, camera) for camera in cameras) == THICK_SPREAD
    thin, thick = (render_scene(cloud, cameras[0], limit).solid.sum() for limit in (THIN_SPREAD, THICK_SPREAD))
    assert thin < 0.1 * thick
