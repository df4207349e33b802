"""Folders of posed pictures as SRN's data sets have them."""

import numpy as np
import pytest

from gatlas import io
from gatlas.datasets.posed_views import posed_view_set
from gatlas.errors import GatlasError
from gatlas.io.photos.object_views import read_object_views
from gatlas.io.photos.scenes import PhotoFolder, has_photos
from gatlas.systems.threedim.pairs import pair_set
from tests.helpers.small_lgm import disc_views


def write_srn(folder, views, *, shared=False, stated=None):
    """Write views with K in a file for each picture, or in one for all, which states a size."""
    for name in ("rgb", "pose") if shared else ("rgb", "pose", "intrinsics"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    cameras = views.cameras
    for i, image in enumerate(views.images):
        io.save_image(folder / "rgb" / f"{i:06d}.png", image)
        pose = np.linalg.inv(cameras.viewmats[i].astype(np.float64))
        (folder / "pose" / f"{i:06d}.txt").write_text(" ".join(f"{value:.9f}" for value in pose.ravel()))
        K = "\n".join(" ".join(f"{value:.6f}" for value in row) for row in cameras.Ks[i])
        if not shared:
            (folder / "intrinsics" / f"{i:06d}.txt").write_text(K)
    if shared:
        factor = (stated or cameras.width) / cameras.width
        focal, center = factor * cameras.Ks[0, 0, 0], factor * cameras.Ks[0, 0, 2]
        side = stated or cameras.width
        text = f"{focal:.6f} {center} {center} 0.\n0. 0. 0.\n1.\n{side} {side}\n"
        (folder / "intrinsics.txt").write_text(text)
    return folder


@pytest.mark.parametrize("shared", [False, True])
def test_pictures_and_cameras_are_read(tmp_path, shared):
    views = disc_views(3, 16, elevation=20, distance=1.3)
    folder = write_srn(tmp_path / "car", views, shared=shared)
    assert has_photos(folder)
    found = io.load_views(folder)
    np.testing.assert_allclose(found.images, views.images, atol=0.5 / 255)
    np.testing.assert_allclose(found.cameras.viewmats, views.cameras.viewmats, atol=1e-6)
    np.testing.assert_allclose(found.cameras.Ks, views.cameras.Ks, rtol=1e-5)
    np.testing.assert_allclose(io.load_cameras(folder).Ks, views.cameras.Ks, rtol=1e-5)
    scene = PhotoFolder(folder)
    np.testing.assert_allclose(scene.Ks[:, :2], views.cameras.Ks[:, :2] / 16, rtol=1e-5)
    (read,) = read_object_views(str(folder))
    assert (read.name, read.over_white) == ("car", False)


def test_intrinsics_of_pictures_of_another_size_are_scaled(tmp_path):
    views = disc_views(2, 16)
    found = io.load_cameras(write_srn(tmp_path / "car", views, shared=True, stated=128))
    np.testing.assert_allclose(found.Ks, views.cameras.Ks, rtol=1e-5)


def test_matrices_of_4_x_4_hold_the_intrinsics(tmp_path):
    views = disc_views(1, 16)
    folder = write_srn(tmp_path / "car", views)
    K = np.eye(4)
    K[:3, :3] = views.cameras.Ks[0]
    (folder / "intrinsics" / "000000.txt").write_text(" ".join(map(str, K.ravel())))
    np.testing.assert_allclose(io.load_cameras(folder).Ks, views.cameras.Ks, rtol=1e-5)


def test_a_set_of_them_is_learned_and_what_lacks_a_pose_is_left_out(tmp_path):
    for name in ("one", "two"):
        write_srn(tmp_path / "cars" / name, disc_views(3, 16))
    (tmp_path / "cars" / "two" / "pose" / "000001.txt").unlink()
    pairs = pair_set([str(tmp_path / "cars")], 8)
    assert pairs.report()[-1] == "1 scene of 3 photos"
    assert "two: 1 of its 3 pictures have no pose" in pairs.report()[0]
    assert pairs.draw(0, seed=0).context.shape == (1, 8, 8, 3)
    (tmp_path / "cars" / "one" / "pose" / "000000.txt").unlink()
    with pytest.raises(GatlasError, match=r"there is no scene to learn from: left out: .*have no pose"):
        posed_view_set([str(tmp_path / "cars")], pairs.sampling)


def no_pose(folder):
    (folder / "pose" / "000001.txt").unlink()


def words(folder):
    (folder / "pose" / "000001.txt").write_text("a pose")


def few_numbers(folder):
    (folder / "pose" / "000001.txt").write_text("1 0 0 0 1 0 0 0 1")


def mirror(folder):
    (folder / "pose" / "000001.txt").write_text("1 0 0 0  0 1 0 0  0 0 -1 0  0 0 0 1")


def infinite(folder):
    (folder / "pose" / "000001.txt").write_text("1 0 0 inf  0 1 0 0  0 0 1 0  0 0 0 1")


def no_intrinsics(folder):
    (folder / "intrinsics" / "000001.txt").unlink()


def other_size(folder):
    (folder / "intrinsics" / "000001.txt").write_text("131 0 64 0 131 64 0 0 1")


def skewed(folder):
    (folder / "intrinsics" / "000001.txt").write_text("16 3 8 0 16 8 0 0 1")


def no_focal(folder):
    (folder / "intrinsics" / "000001.txt").write_text("0 0 8 0 0 8 0 0 1")


def empty(folder):
    for path in (folder / "rgb").iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (no_pose, r"car: 1 of its 2 pictures have no pose: the first would be .*pose/000001\.txt"),
        (words, r"pose/000001\.txt: must hold finite numbers and nothing else"),
        (few_numbers, r"pose/000001\.txt: must hold the 16 numbers of a matrix, got 9"),
        (mirror, r"car/pose: pose 1: 'transform_matrix' is not a rotation"),
        (infinite, r"pose/000001\.txt: must hold finite numbers"),
        (no_intrinsics, r"car: there is no intrinsics/000001\.txt and no intrinsics\.txt"),
        (other_size, r"intrinsics/000001\.txt: the center 64, 64 is outside of 000001\.png, which has 16 x 16"),
        (skewed, r"intrinsics/000001\.txt: not the K of a pinhole"),
        (no_focal, r"intrinsics/000001\.txt: no camera has the focal lengths 0 and 0"),
        (empty, r"car: there is no picture in rgb/"),
    ],
)
def test_what_is_damaged_is_one_line(tmp_path, damage, told):
    folder = write_srn(tmp_path / "car", disc_views(2, 16))
    damage(folder)
    with pytest.raises(GatlasError, match=told) as error:
        io.load_views(folder)
    assert "\n" not in str(error.value)
