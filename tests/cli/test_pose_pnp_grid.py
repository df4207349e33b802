"""gatlas pose-pnp on a splat with a pixel grid, as sample makes it of photos: by the grid, and where the order lies."""

import json
from dataclasses import replace

import numpy as np
import pytest

from gatlas import io
from gatlas.geometry.cameras import intrinsics
from gatlas.geometry.sh import rgb_to_dc
from gatlas.metrics.pose_errors import center_errors, rotation_errors
from gatlas.raster import rasterize
from gatlas.types import Cameras, Gaussians, Origin, Views
from tests.helpers.textured import SIDE, K, camera, ellipsoid, photo

GRID = SIDE
pytestmark = pytest.mark.usefixtures("one_thread")
TRUTHS = np.stack([camera(30, 20, 2.4), camera(60, 10, 2.5, 4)])
FIRST = np.diag([1.0, -1.0, -1.0, 1.0])  # the first photo's camera is the world, with y up


def lifted(gaussians, viewmat):
    """A Gaussian for each pixel of the object that a camera sees, in the first camera's world; invisible elsewhere."""
    seen = Cameras(viewmat[None], intrinsics(GRID, GRID)[None], GRID, GRID)
    colors, alphas, depths = (picture[0].reshape(GRID * GRID, -1) for picture in rasterize(gaussians, seen))
    rows, columns = np.divmod(np.arange(GRID * GRID), GRID)
    there = alphas[:, 0] > 0.9
    z = np.where(there, depths[:, 0], 3.0)
    rays = np.stack([columns + 0.5, rows + 0.5, np.ones(len(z))], axis=1) @ np.linalg.inv(seen.Ks[0]).T
    local = np.concatenate([rays * z[:, None], np.ones((len(z), 1))], axis=1)
    means = local @ (FIRST @ TRUTHS[0] @ np.linalg.inv(viewmat)).T
    scales = np.repeat((z / seen.Ks[0][0, 0] * 0.6)[:, None], 3, axis=1)
    return means[:, :3], colors / np.maximum(alphas, 1e-3), np.where(there, 0.99, 0.001), scales


@pytest.fixture(scope="module")
def sampled(tmp_path_factory):
    """scene.ply with a grid, the photos 000 and 001 that it is of, and their cameras."""
    folder = tmp_path_factory.mktemp("sampled")
    whole = ellipsoid()
    means, colors, opacities, scales = (
        np.concatenate(each).astype(np.float32)
        for each in zip(*(lifted(whole, truth) for truth in TRUTHS), strict=True)
    )
    quats = np.tile(np.float32([1, 0, 0, 0]), (len(means), 1))
    sh = rgb_to_dc(colors)[:, None].astype(np.float32)
    origin = Origin("000", grid=(GRID, GRID))
    io.save_gaussians(folder / "scene.ply", Gaussians(means, quats, scales, opacities, sh, origin))
    images = np.stack([photo(whole, truth) for truth in TRUTHS])
    over_black = images[..., :3] * images[..., 3:]
    io.save_views(folder / "photos", Views(over_black, Cameras(TRUTHS, np.stack([K] * 2), SIDE, SIDE)))
    return folder


def relative(viewmats):
    """Into the world of the grid: the first photo's camera."""
    return viewmats @ np.linalg.inv(TRUTHS[0]) @ FIRST


def test_the_grid_finds_both_cameras_and_the_residual_is_of_what_is_written(gatlas, sampled, tmp_path):
    truth = sampled / "photos/transforms.json"
    words = ("pose-pnp", sampled / "photos", "--scene", sampled / "scene.ply", "--ground-truth", truth)
    run = gatlas(*words, "-o", "p.json")
    assert "2 of 2 cameras found" in run.stderr
    assert "degrees of direction in the median of 1 of 1" in run.stderr
    document = json.loads((tmp_path / "p.json").read_text())
    assert document["method"] == "grid"
    assert max(document["errors"]["rotation_degrees"] + document["errors"]["position"]) < 0.01
    found = np.asarray(io.load_cameras(tmp_path / "p.json").viewmats, dtype=np.float64)
    assert rotation_errors(found, relative(TRUTHS)).max() < 0.01
    assert center_errors(found, relative(TRUTHS), (0, 0, -2.5)).max() < 0.01
    for frame in document["frames"]:
        assert frame["inliers"] == frame["correspondences"] > 500
        assert frame["agreement"] > 0.75
        assert frame["residual"] < 0.01  # of the camera in this frame, which is no other than the truth
        assert "would rise" in frame["not_refined"]


def test_the_grid_is_of_the_middle_of_wide_photos_and_of_what_is_transparent_on_black(gatlas, sampled, tmp_path):
    for i, truth in enumerate(TRUTHS):
        image = photo(ellipsoid(), truth)
        io.save_image(tmp_path / f"00{i}.png", np.pad(image, ((0, 0), (30, 30), (0, 0))))
    words = ("pose-pnp", "000.png", "001.png", "--scene", sampled / "scene.ply", "--fov", 47, "--find", "grid")
    run = gatlas(*words, "--refine", "none", "-o", "p.json")
    assert "2 of 2 cameras found" in run.stderr
    cameras = io.load_cameras(tmp_path / "p.json")
    assert (cameras.width, cameras.Ks[0][0, 2]) == (SIDE + 60, SIDE / 2 + 30)
    assert rotation_errors(np.asarray(cameras.viewmats, dtype=np.float64), relative(TRUTHS)).max() < 0.01


def test_photos_in_another_order_are_never_given_each_others_cameras(gatlas, sampled, tmp_path):
    photos = [sampled / "photos/images/001.png", sampled / "photos/images/000.png"]
    words = ("pose-pnp", *photos, "--scene", sampled / "scene.ply", "--fov", 47, "--refine", "none")
    run = gatlas(*words, "-o", "p.json")
    assert "the first photo that the scene was sampled from is '000'" in run.stderr
    assert "001.png: not found by the pixel grid: the Gaussians explain" in run.stderr
    frames = json.loads((tmp_path / "p.json").read_text())["frames"]
    assert [frame["method"] for frame in frames] == ["render", "render"]
    found = np.asarray(io.load_cameras(tmp_path / "p.json").viewmats, dtype=np.float64)
    assert rotation_errors(found, relative(TRUTHS[::-1])).max() < 2  # by features of a splat of two sides
    run = gatlas(*words, "--find", "grid", "-o", "q.json", code=1)
    assert "001.png: no camera found: the Gaussians explain" in run.stderr


def test_a_grid_that_is_not_of_these_photos_is_refused(gatlas, sampled, tmp_path):
    gaussians = io.load_gaussians(sampled / "scene.ply")
    io.save_gaussians(tmp_path / "named.ply", replace(gaussians, origin=Origin("000", grid=(GRID, GRID // 2))))
    words = ("pose-pnp", sampled / "photos", "--scene", "named.ply", "--find", "grid", "-o", "p.json")
    assert "was sampled from 4 photos, but 2 are given" in gatlas(*words, code=1).stderr
