"""Cameras of real photos, against the published calibration."""

import warnings

import numpy as np
import pytest

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.geometry.cameras import camera_centers
from gatlas.geometry.rotations import angles_between
from gatlas.io.photos import colmap
from gatlas.metrics.trajectories import umeyama
from gatlas.sfm import SfmOptions, recover_cameras

pytest.importorskip("pycolmap")
pytestmark = [pytest.mark.slow, pytest.mark.shared]


def published(folder):
    """The viewmats of a Middlebury ring by the names of its photos."""
    (index,) = folder.glob("*_par.txt")
    found = {}
    for row in (line.split() for line in index.read_text().splitlines()[1:]):
        if row and (folder / row[0]).exists():
            found[row[0]] = np.eye(4)
            found[row[0]][:3, :3] = np.reshape([float(word) for word in row[10:19]], (3, 3))
            found[row[0]][:3, 3] = [float(word) for word in row[19:22]]
    return found


@pytest.mark.parametrize(("point", "degrees"), [(None, 1.0), ("302.82,247.37", 0.3)])
def test_temple_ring(shared_data, tmp_path, point, degrees):
    """Its principal point is 18 pixels off the middle, 0.7 degrees, by which all cameras are turned alike."""
    folder = shared_data / "photos" / "templeRing"
    truth = published(folder)
    found = recover_cameras(folder, SfmOptions(principal_point=point), out=str(tmp_path / "cameras"))
    assert not found.lacking
    viewmats = io.load_cameras(str(found.folder)).viewmats.astype(np.float64)
    true = np.stack([truth[photo.name] for photo in colmap.registered_photos(folder, str(found.folder))])
    moved = umeyama(camera_centers(viewmats), camera_centers(true))
    distance = np.linalg.norm(camera_centers(true) - [0.03, 0.04, -0.05], axis=1)  # the middle of its bounding box
    off = 100 * np.linalg.norm(moved.apply(camera_centers(viewmats)) - camera_centers(true), axis=1) / distance
    rotations = viewmats[:, :3, :3] @ moved.rotation.T @ np.swapaxes(true[:, :3, :3], 1, 2)
    common = np.linalg.svd(rotations.sum(axis=0))
    assert np.median(off) < 0.15
    assert np.median(angles_between(rotations, np.tile(np.eye(3), (len(true), 1, 1)))) < degrees
    assert np.median(angles_between(rotations, np.tile(common[0] @ common[2], (len(true), 1, 1)))) < 0.3


def test_dino_sparse_ring_has_too_few_photos_for_its_plain_surface(shared_data, tmp_path):
    """16 photos 22 degrees apart: what is found is said, or why nothing is."""
    said = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            recover_cameras(
                shared_data / "photos" / "dinoSparseRing", out=str(tmp_path / "cameras"), report=said.append
            )
        except GatlasError as error:
            said.append(str(error))
    assert "of 16 photos" in said[-1]
    assert "without: " in said[-1] or "what helps" in said[-1]
