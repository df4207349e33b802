"""Folders of views: cameras by hand and by an inverse, whole folders or none."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from gatlas import io
from gatlas.cameras import orbit
from gatlas.errors import GatlasError
from gatlas.types import Cameras, Views

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


def test_missing_pictures_are_one_error(tmp_path):
    frames = [frame(f"{i}.png") for i in range(6)]
    with pytest.raises(GatlasError, match=r"5 of its 6 pictures are missing: 1\.png, 2\.png, 3\.png, …$"):
        io.load_views(folder_of(tmp_path, frames, pictures=["0.png"], fl_x=5))


def test_pictures_of_several_sizes_are_refused(tmp_path):
    folder = folder_of(tmp_path, [frame(), frame("b.png")], pictures=["a.png"], fl_x=5)
    Image.new("RGB", (8, 4)).save(tmp_path / "b.png")
    with pytest.raises(
        GatlasError, match=r"b\.png: the picture has 8 x 4 pixels, .*a\.png has 6 x 4: all must have one"
    ):
        io.load_views(folder)


def test_pictures_that_are_not_of_the_stated_size_are_refused(tmp_path):
    with pytest.raises(GatlasError, match="it says 12 x 8 pixels, the pictures have 6 x 4"):
        io.load_views(folder_of(tmp_path, [frame()], pictures=["a.png"], fl_x=5, w=12, h=8))


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "it has no list of 'frames'"),
        ({"frames": []}, "it has no list of 'frames'"),
        ({"frames": [1]}, "it has no list of 'frames'"),
        ({"frames": [frame()]}, "no focal length"),
        ({"frames": [frame()], "fl_x": 0}, "no focal length"),
        ({"frames": [frame()], "fl_x": "5"}, "'fl_x' must be a number, got '5'"),
        ({"frames": [frame(matrix=None)], "fl_x": 5}, "frame 0: 'transform_matrix' must be 4 x 4 numbers"),
        ({"frames": [frame(matrix=[[1, 2], [3]])], "fl_x": 5}, "frame 0: 'transform_matrix' must be 4 x 4 numbers"),
        ({"frames": [frame(), frame(matrix=(2 * np.eye(4)).tolist())], "fl_x": 5}, "frame 1: .* is not a rotation"),
        ({"frames": [frame(matrix=np.diag([1, 1, -1, 1]).tolist())], "fl_x": 5}, "frame 0: .* is not a rotation"),
        ({"frames": [frame()], "fl_x": 5, "k1": 0.1}, r"lens distortion \(k1 = 0\.1\) is not read"),
        ({"frames": [frame()], "fl_x": 5, "camera_model": "OPENCV_FISHEYE"}, "camera model 'OPENCV_FISHEYE'"),
        ({"frames": [frame(), frame(w=12)], "fl_x": 5}, "pictures of several sizes"),
        ({"frames": [frame(w=0)], "fl_x": 5}, "picture size 0 x 4"),
    ],
)
def test_broken_files_are_named(document, words):
    with pytest.raises(GatlasError, match=rf"^t\.json: .*{words}"):
        load_cameras(**{"w": 6, "h": 4, **document})


def test_what_is_no_json_is_refused():
    with pytest.raises(GatlasError, match=r"^t\.json: not a transforms\.json: it is no JSON"):
        io.load_cameras(io.Blob("t.json", b"{"))


def test_a_folder_without_its_index_is_refused(tmp_path):
    with pytest.raises(GatlasError, match=r"there is no transforms\.json in this folder"):
        io.load_views(tmp_path)


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


@pytest.mark.parametrize("failure", [GatlasError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_no_folder(tmp_path, failure, monkeypatch):
    views = interrupted(views_of(), failure)
    monkeypatch.setattr("gatlas.io.transforms.host_array", lambda array: array)
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
