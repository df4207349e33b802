"""Folders of views: cameras by hand and by an inverse, whole folders or none."""

import json
import math
import re

import numpy as np
import pytest
from PIL import Image

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.geometry.cameras import orbit
from gatlas.io.photos.scenes import PhotoFolder
from gatlas.io.photos.transforms import index_of
from gatlas.io.sets.inputs import list_items
from gatlas.types import Cameras, MixedCameras, MixedViews, Views

IDENTITY = np.eye(4).tolist()


def views_of(count=3, depth=4, width=6, height=4, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, height, width, depth)).astype(np.float32) / 255
    return Views(images, orbit(count, width, height))


def folder_of(tmp_path, frames, size=(6, 4), pictures=(), **document):
    for name in pictures:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (255, 0, 51)).save(tmp_path / name)
    (tmp_path / "transforms.json").write_text(json.dumps({**document, "frames": frames}))
    return tmp_path


def frame(name="a.png", matrix=IDENTITY, **more):
    return {"file_path": name, "transform_matrix": matrix, **more}


def load_cameras(**document):
    return io.load_cameras(io.Blob("t.json", json.dumps(document).encode()))


@pytest.mark.parametrize("depth", [3, 4])
def test_what_is_written_is_read_back(tmp_path, depth):
    views = views_of(depth=depth)
    io.save_views(tmp_path / "views", views)
    for source in (tmp_path / "views", tmp_path / "views" / "transforms.json"):
        back = io.load_views(source)
        np.testing.assert_array_equal(back.images, views.images)
        np.testing.assert_allclose(back.cameras.viewmats, views.cameras.viewmats, atol=1e-6)
        np.testing.assert_array_equal(back.cameras.Ks, views.cameras.Ks)
    assert (back.cameras.width, back.cameras.height) == (6, 4)


def test_the_folder_is_the_one_that_others_read(tmp_path):
    io.save_views(tmp_path / "views", views_of())
    document = json.loads((tmp_path / "views" / "transforms.json").read_text())
    focal = 2 / math.tan(math.radians(47) / 2)
    assert (document["w"], document["h"], document["cx"], document["cy"]) == (6, 4, 3, 2)
    assert document["fl_x"] == document["fl_y"] == pytest.approx(focal)
    assert document["camera_angle_x"] == pytest.approx(2 * math.atan(3 / focal))
    assert [each["file_path"] for each in document["frames"]] == [f"images/00{i}.png" for i in range(3)]
    # Azimuth 0, elevation 20: it stands at distance 2.6 on +z, and the camera's own z axis points back at it.
    position = 2.6 * np.array([0, math.sin(math.radians(20)), math.cos(math.radians(20))])
    matrix = np.array(document["frames"][0]["transform_matrix"])
    np.testing.assert_allclose(matrix[:3, 3], position, atol=1e-6)
    np.testing.assert_allclose(matrix[:3, 2], position / 2.6, atol=1e-6)
    np.testing.assert_allclose(matrix[:3, 0], [1, 0, 0], atol=1e-6)


def test_different_lenses_are_written_with_their_frames(tmp_path):
    views = views_of(2)
    views.cameras.Ks[1, 0, 0] *= 2
    io.save_views(tmp_path / "views", views)
    np.testing.assert_array_equal(io.load_views(tmp_path / "views").cameras.Ks, views.cameras.Ks)


def test_a_camera_at_the_origin_looks_along_minus_z():
    cameras = load_cameras(frames=[frame()], w=6, h=4, fl_x=5)
    np.testing.assert_array_equal(cameras.viewmats[0], np.diag([1, -1, -1, 1]))


def test_a_shorter_matrix_is_read():
    cameras = load_cameras(frames=[frame(matrix=IDENTITY[:3])], w=6, h=4, fl_x=5)
    np.testing.assert_array_equal(cameras.viewmats[0], np.diag([1, -1, -1, 1]))


@pytest.mark.parametrize(
    ("lens", "K"),
    [
        ({"fl_x": 5}, [5, 5, 3, 2]),
        ({"fl_y": 5}, [5, 5, 3, 2]),
        ({"fl_x": 5, "fl_y": 6, "cx": 2.5, "cy": 1.5}, [5, 6, 2.5, 1.5]),
        ({"camera_angle_x": math.pi / 2}, [3, 3, 3, 2]),
        ({"camera_angle_x": math.pi / 2, "camera_angle_y": math.pi / 2}, [3, 2, 3, 2]),
        ({"camera_angle_x": math.pi / 2, "fl_x": 5}, [5, 5, 3, 2]),
    ],
)
def test_lenses_are_read_from_the_file_and_from_the_frame(lens, K):
    for document in (
        {"frames": [frame()], "w": 6, "h": 4, **lens},
        {"frames": [frame(w=6, h=4, **lens)], "fl_x": 1 if "fl_x" in lens else None},
    ):
        matrix = load_cameras(**document).Ks[0]
        np.testing.assert_allclose([matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]], K, rtol=1e-6)


def test_a_file_without_a_size_takes_it_from_its_first_picture(tmp_path):
    folder = folder_of(tmp_path, [frame("./train/r_0")], pictures=["train/r_0.png"], camera_angle_x=1.0)
    assert (io.load_cameras(folder).width, io.load_cameras(folder).height) == (6, 4)
    assert io.load_views(folder).images.shape == (1, 4, 6, 3)
    (tmp_path / "train" / "r_0.png").unlink()
    with pytest.raises(GatlasError, match="no picture size"):
        io.load_cameras(folder)


def test_cameras_need_no_pictures(tmp_path):
    assert len(io.load_cameras(folder_of(tmp_path, [frame(), frame("b.png")], w=6, h=4, fl_x=5))) == 2


def test_opaque_pictures_among_transparent_ones_become_opaque_rgba(tmp_path):
    folder = folder_of(tmp_path, [frame(), frame("b.png")], pictures=["a.png"], fl_x=5)
    Image.new("RGBA", (6, 4), (0, 0, 0, 51)).save(tmp_path / "b.png")
    np.testing.assert_allclose(io.load_views(folder).images[:, 0, 0], [[1, 0, 0.2, 1], [0, 0, 0, 0.2]], atol=1e-6)


def test_missing_pictures_are_left_out_with_one_warning(tmp_path):
    frames = [frame(f"{i}.png", (np.eye(4) + np.eye(4, k=3) * i).tolist()) for i in range(6)]
    folder = folder_of(tmp_path, frames, pictures=["2.png", "5.png"], fl_x=5)
    words = r"transforms\.json: 4 of its 6 pictures are missing and left out, the first is 0\.png$"
    with pytest.warns(UserWarning, match=words) as seen:
        views = io.load_views(folder)
    assert len(seen) == 1
    np.testing.assert_array_equal(views.cameras.viewmats[:, 0, 3], [-2, -5])


def test_no_picture_at_all_is_an_error(tmp_path):
    with pytest.raises(GatlasError, match=r"none of its 2 pictures is there: the first would be a\.png"):
        io.load_views(folder_of(tmp_path, [frame(), frame("b.png")], fl_x=5, w=6, h=4))


def test_masks_become_transparency(tmp_path):
    folder = folder_of(tmp_path, [frame(mask_path="m.png"), frame("b.png")], pictures=["a.png", "b.png"], fl_x=5)
    mask = Image.new("L", (6, 4), 0)
    mask.putpixel((2, 1), 255)
    mask.putpixel((3, 1), 51)
    mask.save(tmp_path / "m.png")
    alpha = io.load_views(folder).images[..., 3]
    expected = np.zeros((4, 6))
    expected[1, 2], expected[1, 3] = 1, 0.2
    np.testing.assert_allclose(alpha, [expected, np.ones((4, 6))], atol=1e-6)


@pytest.mark.parametrize(("size", "words"), [((5, 4), "the mask has 5 x 4"), (None, "frame 0: its mask 'm.png'")])
def test_masks_that_do_not_serve_are_named(tmp_path, size, words):
    folder = folder_of(tmp_path, [frame(mask_path="m.png")], pictures=["a.png"], fl_x=5)
    if size:
        Image.new("L", size).save(tmp_path / "m.png")
    with pytest.raises(GatlasError, match=words):
        io.load_views(folder)


def test_poses_that_are_nearly_rotations_are_mended_with_one_warning():
    bent = np.eye(4)
    bent[0, 0], bent[1, 1] = 1.05, 0.97
    with pytest.warns(UserWarning, match=r"2 of 3 poses are not quite rotations, the first is frame 1") as seen:
        cameras = load_cameras(
            frames=[frame(), frame(matrix=bent.tolist()), frame(matrix=bent.tolist())], w=6, h=4, fl_x=5
        )
    assert len(seen) == 1
    np.testing.assert_allclose(cameras.viewmats, np.tile(np.diag([1, -1, -1, 1]), (3, 1, 1)), atol=1e-6)


@pytest.mark.parametrize("lens", [{"k1": -0.3, "k2": 0.05}, {"k1": 0.2, "p1": 0.01, "p2": -0.02}])
def test_lens_distortion_is_undone(tmp_path, lens):
    """A photo whose colours are the distorted position of each ray becomes one whose colours are the ray's own."""
    width, height, focal = 120, 90, 100.0
    k1, k2, p1, p2 = (lens.get(name, 0.0) for name in ("k1", "k2", "p1", "p2"))
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    bent_x, bent_y = (u - 60) / focal, (v - 45) / focal
    x, y = bent_x, bent_y
    for _ in range(60):  # the inverse of OpenCV's model, by its fixed point
        r2 = x * x + y * y
        radial = 1 + k1 * r2 + k2 * r2**2
        x = (bent_x - 2 * p1 * x * y - p2 * (r2 + 2 * x * x)) / radial
        y = (bent_y - 2 * p2 * x * y - p1 * (r2 + 2 * y * y)) / radial
    photo = np.stack([x, y, x], axis=-1) / 2 + 0.5
    Image.fromarray(np.rint(photo.clip(0, 1) * 255).astype(np.uint8)).save(tmp_path / "a.png")
    views = io.load_views(folder_of(tmp_path, [frame()], fl_x=focal, w=width, h=height, **lens))
    K = views.cameras.Ks[0]
    assert K[0, 0] >= focal - 1e-3  # never a pixel from outside the photo
    expected = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1]], axis=-1) / 2 + 0.5
    np.testing.assert_allclose(views.images[0, ..., :2], expected, atol=0.006)
    np.testing.assert_array_equal(io.load_cameras(tmp_path).Ks, views.cameras.Ks)


def test_pictures_are_reduced_on_request(tmp_path):
    views = views_of(depth=3, width=8, height=4)
    io.save_views(tmp_path / "views", views)
    small = io.load_views(tmp_path / "views", side=4)
    means = views.images.reshape(3, 2, 2, 4, 2, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(small.images, means, atol=1e-6)
    np.testing.assert_allclose(small.cameras.Ks[:, :2], views.cameras.Ks[:, :2] / 2)


def test_the_points_that_a_file_names_are_read(tmp_path):
    text = "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\n"
    (tmp_path / "sparse.ply").write_text(text + "end_header\n1 2 3\n")
    folder = folder_of(tmp_path, [frame()], pictures=["a.png"], fl_x=5, ply_file_path="sparse.ply")
    np.testing.assert_array_equal(io.load_points(folder).xyz, [[1, 2, 3]])
    assert io.load_points(folder_of(tmp_path, [frame()], fl_x=5)) is None


def test_pictures_of_several_sizes_that_share_intrinsics_of_an_unknown_size_are_refused(tmp_path):
    folder = folder_of(tmp_path, [frame(), frame("b.png")], pictures=["a.png"], fl_x=5)
    Image.new("RGB", (8, 4)).save(tmp_path / "b.png")
    with pytest.raises(GatlasError, match=r"several sizes and share intrinsics: a\.png has 6 x 4, others have 8 x 4"):
        io.load_views(folder)


@pytest.mark.parametrize("stated", [True, False])
def test_each_frame_has_the_size_and_the_intrinsics_of_its_own_picture(tmp_path, stated):
    sizes = {"a.png": (6, 4), "b.png": (4, 6), "c.png": (6, 4)}
    frames = []
    for i, (name, (width, height)) in enumerate(sizes.items()):
        Image.new("RGB", (width, height), (51 * i, 0, 0)).save(tmp_path / name)
        frames.append(frame(name, fl_x=5 + i, **({"w": width, "h": height} if stated else {})))
    folder = folder_of(tmp_path, frames)
    views = io.load_views(folder)
    assert views.cameras.sizes == io.load_cameras(folder).sizes == tuple(sizes.values())
    np.testing.assert_allclose(views.cameras.Ks[:, [0, 0, 1], [0, 2, 2]], [[5, 3, 2], [6, 2, 3], [7, 3, 2]])
    np.testing.assert_allclose([image[0, 0, 0] for image in views.images], [0, 0.2, 0.4], atol=1e-6)
    scene = PhotoFolder(folder)
    np.testing.assert_allclose(scene.Ks[:, [0, 1], 2], 0.5)
    assert [picture.shape[:2] for picture in scene.pictures([1, 0])] == [(6, 4), (4, 6)]


@pytest.mark.parametrize("depth", [3, 4])
def test_views_of_several_sizes_are_written_and_read_back(tmp_path, depth):
    parts = [views_of(2, depth, 6, 4), views_of(1, depth, 4, 6, seed=1)]
    images = tuple(image for part in parts for image in part.images)
    viewmats, Ks = (np.concatenate([getattr(part.cameras, name) for part in parts]) for name in ("viewmats", "Ks"))
    views = MixedViews(images, MixedCameras(viewmats, Ks, ((6, 4), (6, 4), (4, 6))))
    io.save_views(tmp_path / "views", views)
    back = io.load_views(tmp_path / "views")
    assert back.cameras.sizes == views.cameras.sizes
    np.testing.assert_array_equal(back.cameras.Ks, Ks)
    for image, written in zip(back.images, images, strict=True):
        np.testing.assert_array_equal(image, written)


def test_pictures_that_are_not_of_the_stated_size_are_refused(tmp_path):
    with pytest.raises(GatlasError, match="it says 12 x 8 pixels, the pictures have 6 x 4"):
        io.load_views(folder_of(tmp_path, [frame()], pictures=["a.png"], fl_x=5, w=12, h=8))


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "it has no list of 'frames'"),
        ({"frames": []}, "has no camera: its list of 'frames' is empty"),
        ({"frames": [1]}, "it has no list of 'frames'"),
        ({"frames": [frame()]}, "no focal length"),
        ({"frames": [frame()], "fl_x": 0}, "no focal length"),
        ({"frames": [frame()], "fl_x": "5"}, "'fl_x' must be a number, got '5'"),
        ({"frames": [frame(matrix=None)], "fl_x": 5}, "frame 0: 'transform_matrix' must be 4 x 4 numbers"),
        ({"frames": [frame(matrix=[[1, 2], [3]])], "fl_x": 5}, "frame 0: 'transform_matrix' must be 4 x 4 numbers"),
        ({"frames": [frame(), frame(matrix=(2 * np.eye(4)).tolist())], "fl_x": 5}, "frame 1: .* is not a rotation"),
        ({"frames": [frame(matrix=np.diag([1, 1, -1, 1]).tolist())], "fl_x": 5}, "frame 0: .* is not a rotation"),
        ({"frames": [frame()], "fl_x": 5, "k1": -2}, r"lens distortion \(k1 = -2\) folds the picture over"),
        ({"frames": [frame()], "fl_x": 5, "is_fisheye": True}, "camera model 'fisheye'"),
        ({"frames": [frame()], "fl_x": 5, "camera_model": "OPENCV_FISHEYE"}, "camera model 'OPENCV_FISHEYE'"),
        ({"frames": [frame(w=0)], "fl_x": 5}, "picture size 0 x 4"),
    ],
)
def test_broken_files_are_named(document, words):
    with pytest.raises(GatlasError, match=rf"^t\.json: .*{words}"):
        load_cameras(**{"w": 6, "h": 4, **document})


def test_what_is_no_json_is_refused():
    with pytest.raises(GatlasError, match=r"^t\.json: not a transforms\.json: not JSON"):
        io.load_cameras(io.Blob("t.json", b"{"))


def test_a_folder_without_its_index_is_refused(tmp_path):
    with pytest.raises(GatlasError, match=r"there is no transforms\.json in this folder.*colmap/sparse\)$"):
        io.load_views(tmp_path)


@pytest.mark.parametrize("place", [".", "images", "input"])
def test_photos_without_an_index_are_said_to_need_cameras(tmp_path, place):
    (tmp_path / place).mkdir(exist_ok=True)
    Image.new("RGB", (4, 4)).save(tmp_path / place / "a.JPG", format="JPEG")
    assert [item.source for item in list_items([str(tmp_path)], (".glb",), photos=True)] == [tmp_path]
    with pytest.raises(GatlasError, match="photos need cameras: gatlas fit finds them, or run COLMAP on them first"):
        io.load_views(tmp_path)


def test_where_an_index_is_needed_photos_can_be_named_themselves(tmp_path):
    with pytest.raises(GatlasError, match=r"in this folder$"):
        index_of(tmp_path)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(GatlasError, match=rf"name its photos themselves, {re.escape(str(tmp_path))}/\*\.png$"):
        index_of(tmp_path)


# A folder appears whole or not at all


def interrupted(views, failure):
    """Views whose second picture cannot be had."""
    images = views.images.copy()
    images[1] = np.nan
    if failure is GatlasError:  # what the writer says about NaN
        return Views(images, views.cameras)

    class Pictures:
        shape = images.shape

        def __iter__(self):
            yield images[0]
            raise failure

    return Views(Pictures(), views.cameras)


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize("failure", [GatlasError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_no_folder(tmp_path, failure, monkeypatch):
    views = interrupted(views_of(), failure)
    monkeypatch.setattr("gatlas.io.photos.transforms.host_array", lambda array: array)
    with pytest.raises(failure):
        io.save_views(tmp_path / "views", views)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_in_an_existing_folder_leaves_no_index(tmp_path):
    io.save_views(tmp_path, views_of())
    with pytest.raises(GatlasError, match="NaN"):
        io.save_views(tmp_path, interrupted(views_of(), GatlasError), force=True)
    assert not (tmp_path / "transforms.json").exists()


def test_a_folder_with_files_is_kept_without_force(tmp_path):
    (tmp_path / "letter.txt").write_text("precious")
    with pytest.raises(GatlasError, match="exists and is not empty: use --force"):
        io.save_views(tmp_path, views_of())
    io.save_views(tmp_path, views_of(), force=True)
    assert (tmp_path / "letter.txt").read_text() == "precious"
    assert len(io.load_views(tmp_path)) == 3


def test_an_empty_folder_is_filled(tmp_path):
    io.save_views(tmp_path, views_of())
    assert len(io.load_views(tmp_path)) == 3


def test_a_missing_parent_is_refused(tmp_path):
    with pytest.raises(GatlasError, match="there is no folder"):
        io.save_views(tmp_path / "a" / "b", views_of())


def test_no_views_are_not_written(tmp_path):
    empty = Views(np.zeros((0, 4, 6, 3)), Cameras(np.zeros((0, 4, 4)), np.zeros((0, 3, 3)), 6, 4))
    with pytest.raises(GatlasError, match="no views to write"):
        io.save_views(tmp_path / "views", empty)


@pytest.mark.shared
def test_a_published_blender_scene_is_read(shared_data):
    folder = next((shared_data / "photos" / "nerfstudio_lego_test").rglob("transforms_train.json")).parent
    views = io.load_views(folder)
    assert views.images.shape == (1, 50, 50, 4)
    assert views.cameras.Ks[0, 0, 0] == pytest.approx(25 / math.tan(0.6911112070083618 / 2), rel=1e-6)
    position = -views.cameras.viewmats[0, :3, :3].T @ views.cameras.viewmats[0, :3, 3]
    np.testing.assert_allclose(position, [-0.0538, 3.8455, 1.2081], atol=1e-4)
