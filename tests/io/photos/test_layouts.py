"""Layouts of OpenSfM, Polycam, Record3D and Bundler, against writers that know only the formats' descriptions."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.geometry.cameras import camera_centers, orbit
from gatlas.geometry.lens import Lens, distort
from gatlas.io.photos.scenes import has_photos, read_posed_photos
from tests.helpers.colmap_files import project
from tests.helpers.layout_files import (
    RGB,
    XYZ,
    rotation_of,
    save_pictures,
    write_bundler,
    write_opensfm,
    write_polycam,
    write_record3d,
)
from tests.helpers.warned import recorded

pytestmark = pytest.mark.filterwarnings("ignore")
NAMES = ("a.png", "b.png", "c.png")
LAYOUTS = {
    "opensfm": partial(write_opensfm, names=NAMES),
    "polycam": partial(write_polycam, names=NAMES),
    "polycam as it was taken": partial(write_polycam, names=NAMES, part=""),
    "record3d": partial(write_record3d, suffix="png"),
    "record3d, each": partial(write_record3d, each=True, place="rgbd", suffix="png"),
    "bundler": partial(write_bundler, names=(*NAMES, "d.png")),
}
ALL = pytest.mark.parametrize("write", LAYOUTS.values(), ids=LAYOUTS)


@pytest.fixture
def cameras():
    return orbit(3, 8, 4, elevation=30)


@ALL
def test_the_cameras_are_those_that_were_written(tmp_path, cameras, write):
    write(tmp_path, cameras)
    assert has_photos(tmp_path)
    views = io.load_views(tmp_path)
    np.testing.assert_allclose(views.cameras.viewmats, cameras.viewmats, atol=1e-6)
    np.testing.assert_allclose(views.cameras.Ks, cameras.Ks, rtol=1e-6)
    np.testing.assert_allclose(views.images[:, 0, 0], [[0, 0, 1], [0.2, 0, 1], [0.4, 0, 1]], atol=1e-6)
    for i in range(3):
        np.testing.assert_allclose(project(views.cameras, i, XYZ), project(cameras, i, XYZ), atol=1e-4)
    np.testing.assert_array_equal(io.load_cameras(tmp_path).viewmats, views.cameras.viewmats)


@pytest.mark.parametrize("write", [LAYOUTS["opensfm"], LAYOUTS["bundler"]], ids=["opensfm", "bundler"])
def test_points_come_with_their_colors(tmp_path, cameras, write):
    write(tmp_path, cameras)
    points = io.load_points(tmp_path)
    np.testing.assert_allclose(points.xyz, XYZ)
    np.testing.assert_allclose(points.rgb, RGB / 255, atol=1e-6)


@pytest.mark.parametrize("write", [LAYOUTS["polycam"], LAYOUTS["record3d"]], ids=["polycam", "record3d"])
def test_a_layout_without_points_has_none(tmp_path, cameras, write):
    write(tmp_path, cameras)
    assert io.load_points(tmp_path) is None


@ALL
def test_a_transforms_json_counts_before_other_layouts(tmp_path, cameras, write):
    write(tmp_path, cameras)
    io.save_views(tmp_path / "own", io.load_views(tmp_path)[:2])
    (tmp_path / "own/transforms.json").rename(tmp_path / "transforms.json")
    (tmp_path / "own/images").rename(tmp_path / "images" if not (tmp_path / "images").exists() else tmp_path / "own2")
    assert read_posed_photos(tmp_path)[0].endswith("transforms.json")


@ALL
def test_far_from_the_origin_cameras_stand_where_they_were_written(tmp_path, cameras, write):
    """UTM coordinates: positions of hundreds of kilometers, with steps that float32 does not have."""
    far = np.array([500_000.0, 5_400_000.0, 300.0])
    viewmats = cameras.viewmats.astype(np.float64)
    viewmats[:, :3, :3] = [rotation_of(each[:3, :3]).as_matrix() for each in viewmats]  # exact ones
    viewmats[:, :3, 3] -= viewmats[:, :3, :3] @ far
    write(tmp_path, replace(cameras, viewmats=viewmats))
    found = io.load_cameras(tmp_path)
    centers = camera_centers(viewmats) - far
    np.testing.assert_allclose(camera_centers(found.viewmats) - far, centers, atol=2e-3)


@ALL
def test_in_tiny_units_cameras_stand_where_they_were_written(tmp_path, cameras, write):
    viewmats = cameras.viewmats.astype(np.float64)
    viewmats[:, :3, 3] *= 1e-7
    write(tmp_path, replace(cameras, viewmats=viewmats))
    found = io.load_cameras(tmp_path)
    np.testing.assert_allclose(camera_centers(found.viewmats), camera_centers(viewmats), rtol=1e-5, atol=1e-13)


@pytest.mark.parametrize("write", [LAYOUTS["polycam"], LAYOUTS["bundler"]], ids=["polycam", "bundler"])
def test_each_photo_may_have_a_size_of_its_own(tmp_path, cameras, write):
    write(tmp_path, cameras)
    (path,) = tmp_path.rglob("b.png")
    save_pictures(path.parent, ["b.png"], (16, 8))
    found = io.load_views(tmp_path).cameras
    assert list(found.sizes) == [(8, 4), (16, 8), (8, 4)]
    np.testing.assert_allclose(found.Ks[1, :2, 2], 2 * found.Ks[0, :2, 2])


@pytest.mark.parametrize("write", [LAYOUTS["opensfm"], LAYOUTS["polycam"], LAYOUTS["record3d, each"]])
def test_intrinsics_of_another_size_of_the_pictures_are_scaled(tmp_path, cameras, write):
    write(tmp_path, cameras)
    for path in tmp_path.rglob("*.png"):
        save_pictures(path.parent, [path.name], (16, 8))
    views = io.load_views(tmp_path)
    assert (views.cameras.width, views.cameras.height) == (16, 8)
    stretch = np.array([[2.0], [2.0], [1.0]])
    np.testing.assert_allclose(views.cameras.Ks, cameras.Ks * stretch, rtol=1e-6)


@pytest.mark.parametrize("write", [LAYOUTS["opensfm"], LAYOUTS["bundler"], LAYOUTS["polycam"]])
def test_an_exif_turn_is_not_applied_to_pictures_of_the_stated_size(tmp_path, cameras, write):
    write(tmp_path, cameras)
    exif = Image.Exif()
    exif[0x0112] = 6
    for path in tmp_path.rglob("*.png"):
        save_pictures(path.parent, [path.name], (8, 4), exif=exif)
    views = io.load_views(tmp_path)
    assert (views.cameras.width, views.cameras.height) == (8, 4)


def test_the_center_and_the_lens_of_a_brown_camera_of_opensfm_are_in_units_of_the_longer_side(tmp_path, cameras):
    lens = {"k1": -0.05, "k2": 0.01, "k3": -0.002, "p1": 0.001, "p2": -0.002}
    brown = {"projection_type": "brown", "focal_x": 0.9, "focal_y": 1.0, "c_x": 0.01, "c_y": -0.02, **lens}
    write_opensfm(tmp_path, cameras, NAMES, **brown)
    photo = read_posed_photos(tmp_path)[1][0]
    ray = np.array([0.3, -0.2])
    x, y = ray
    r2 = x * x + y * y
    radial = 1 + lens["k1"] * r2 + lens["k2"] * r2**2 + lens["k3"] * r2**3
    bent = [
        x * radial + 2 * lens["p1"] * x * y + lens["p2"] * (r2 + 2 * x * x),
        y * radial + lens["p1"] * (r2 + 2 * y * y) + 2 * lens["p2"] * x * y,
    ]
    pixel = [8 * (0.9 * bent[0] + 0.01) + 4, 8 * (1.0 * bent[1] - 0.02) + 2]
    np.testing.assert_allclose(photo.K @ [*distort(photo.lens, ray[None])[0], 1], [*pixel, 1], rtol=1e-12)


def test_the_lens_of_bundler_is_radial(tmp_path, cameras):
    write_bundler(tmp_path, cameras, NAMES, k1=-0.1, k2=0.02, unregistered=0)
    assert read_posed_photos(tmp_path)[1][0].lens == Lens(-0.1, 0.02)


def test_the_largest_reconstruction_of_opensfm_is_taken_with_a_word(tmp_path, cameras):
    write_opensfm(tmp_path / "project/opensfm", cameras, NAMES)
    (tmp_path / "project/opensfm/images").rename(tmp_path / "project/images")  # as OpenDroneMap has them
    views, words = recorded(io.load_views, tmp_path / "project")
    assert len(views) == 3
    assert any("the largest of its 2 reconstructions is taken, of 3 photos" in word for word in words)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda found: found[1]["shots"]["a.png"].update(camera="another"), "its camera 'another' is not among"),
        (lambda found: found[1]["shots"]["a.png"].update(rotation=[0, 0]), "'rotation' must be 3 numbers"),
        (lambda found: found[1]["shots"]["b.png"].pop("translation"), "'translation' must be 3 numbers"),
        (lambda found: found[1]["cameras"]["v2 phone"].update(projection_type="fisheye"), "'fisheye' is not read"),
        (lambda found: found[1]["cameras"]["v2 phone"].pop("focal"), "'focal' must be a number"),
        (lambda found: found[1]["cameras"]["v2 phone"].update(width=0), "must be a picture's size"),
        (lambda found: found[1].update(shots={}), "no shots: nothing was registered"),
        (lambda found: found[1].update(shots=[]), "must be a list of objects with cameras and shots"),
        (lambda found: found[1]["cameras"]["v2 phone"].update(width=7), "says 7 x 4 pixels, the pictures have 8 x 4"),
    ],
)
def test_what_is_wrong_with_a_reconstruction_of_opensfm_is_one_line(tmp_path, cameras, change, fault):
    write_opensfm(tmp_path, cameras, NAMES)
    _edit(tmp_path / "reconstruction.json", change)
    _refused(tmp_path, fault)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda entry: entry.pop("t_12"), "'t_12' must be a number"),
        (lambda entry: entry.update(fx=-1.0), "no camera has the focal lengths"),
        (lambda entry: entry.update(width="8"), "'width' must be a number"),
        (lambda entry: entry.update(t_00=9.0), "is not a rotation and a position"),
    ],
)
def test_what_is_wrong_with_a_camera_of_polycam_is_one_line(tmp_path, cameras, change, fault):
    write_polycam(tmp_path, cameras, NAMES)
    _edit(tmp_path / "keyframes/corrected_cameras/b.json", change)
    _refused(tmp_path, fault)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda found: found.update(poses=[]), "has no list of 'poses'"),
        (lambda found: found["poses"].pop(), r"has 2 poses, and none of .*2\.png"),
        (lambda found: found["poses"][1].pop(), "a pose must be 7 numbers"),
        (lambda found: found["poses"].__setitem__(0, [0.0] * 7), "is no rotation"),
        (lambda found: found.pop("K"), "'K' must be 9 numbers"),
        (lambda found: found.pop("w"), "'w' must be a number"),
    ],
)
def test_what_is_wrong_with_metadata_of_record3d_is_one_line(tmp_path, cameras, change, fault):
    write_record3d(tmp_path, cameras, suffix="png")
    _edit(tmp_path / "metadata.json", change)
    _refused(tmp_path, fault)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda text: text[: len(text) // 3], "promises 3 cameras, and ends before the last"),
        (lambda text: text[:-40], "promises 2 points, and has"),
        (lambda text: text.replace("3 2\n", "3 9000000000000\n", 1), "promises 9,000,000,000,000 points"),
        (lambda text: text.replace("255", "red", 1), "holds words that are no numbers"),
        (lambda text: "# Bundle file v0.3\n", "must begin with its numbers of cameras and points"),
    ],
)
def test_what_is_wrong_with_a_bundle_file_is_one_line(tmp_path, cameras, change, fault):
    write_bundler(tmp_path, cameras, NAMES, unregistered=0)
    path = tmp_path / "bundle/bundle.out"
    path.write_text(change(path.read_text()))
    with pytest.raises(GatlasError, match=fault) as caught:
        io.load_points(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))


def test_a_bundle_file_without_its_list_or_with_another_one_is_refused(tmp_path, cameras):
    write_bundler(tmp_path, cameras, NAMES, unregistered=0)
    (tmp_path / "list.txt").write_text("a.png\n")
    _refused(tmp_path, "has 1 names, and .* has 3 cameras")
    (tmp_path / "list.txt").unlink()
    _refused(tmp_path, r"there is no list\.txt beside it")


def _edit(path, change):
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


def _refused(folder, fault):
    with pytest.raises(GatlasError, match=fault) as caught:
        io.load_views(folder)
    assert str(caught.value).startswith(str(folder))
    assert "\n" not in str(caught.value)
