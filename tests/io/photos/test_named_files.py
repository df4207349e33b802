"""Names of pictures, masks and points that another machine wrote."""

import json

import numpy as np
import pytest
from PIL import Image

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.geometry.cameras import orbit
from gatlas.io.photos.named_files import find_named
from gatlas.io.photos.photo_loader import read_photos
from gatlas.io.photos.photo_set import read_photo_set
from tests.helpers.colmap_files import rows_of, write_binary
from tests.helpers.warned import recorded

IDENTITY = np.eye(4).tolist()
NAMES = pytest.mark.parametrize(
    ("spell", "said"),
    [
        (lambda name: name.replace("/", "\\"), False),
        (lambda name: name.upper(), True),
        (lambda name: f"C:\\Users\\me\\scan\\{name}".replace("/", "\\"), True),
        (lambda name: f"/home/me/scan/{name}", True),
        (lambda name: f"../elsewhere/{name}", True),
    ],
    ids=["backslashes", "capitals", "another Windows machine", "another machine", "another folder"],
)
CLOUD = (
    "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\nend_header\n1 2 3\n"
)


def pictures(folder, count=2, size=(16, 16)):
    for i in range(count):
        path = folder / "images" / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (51 * (i + 1), 0, 255)).save(path)
    return folder


@NAMES
def test_frames_masks_and_points_are_found_whatever_machine_named_them(tmp_path, spell, said):
    folder = pictures(tmp_path / "scan")
    (folder / "masks").mkdir()
    Image.new("L", (16, 16), 255).save(folder / "masks" / "000.png")
    (folder / "points.ply").write_text(CLOUD)
    frames = [{"file_path": spell(f"images/{i:03d}.png"), "transform_matrix": IDENTITY} for i in range(2)]
    frames[0]["mask_path"] = spell("masks/000.png")
    document = {"fl_x": 10, "w": 16, "h": 16, "ply_file_path": spell("points.ply"), "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(document))
    views, lines = recorded(io.load_views, folder)
    np.testing.assert_allclose(views.images[:, 0, 0, 0], [0.2, 0.4], atol=1e-6)
    assert views.images.shape[-1] == 4
    assert [" 2 of the 2 names of pictures are of another machine" in line for line in lines] == [True, False][
        : 2 * said
    ]
    assert io.load_points(folder).xyz.tolist() == [[1, 2, 3]]


@NAMES
def test_images_of_a_colmap_model_are_found_whatever_machine_named_them(tmp_path, spell, said):
    folder = pictures(tmp_path / "scan")
    write_binary(folder / "sparse/0", rows_of(orbit(2, 16, 16), [spell("000.png"), spell("001.png")]))
    views, lines = recorded(io.load_views, folder)
    np.testing.assert_allclose(views.images[:, 0, 0, 0], [0.2, 0.4], atol=1e-6)
    assert len(lines) == (said if spell("a/b") != "a\\b" else 0)


@NAMES
def test_intrinsics_and_initial_cameras_are_those_of_the_photo(tmp_path, spell, said):
    folder = pictures(tmp_path / "scan")
    frames = [
        {"file_path": spell(f"images/{i:03d}.png"), "fl_x": 10 + i, "transform_matrix": IDENTITY} for i in range(2)
    ]
    (folder / "k.json").write_text(json.dumps({"w": 16, "h": 16, "frames": frames}))
    paths = [str(folder / "images" / f"{i:03d}.png") for i in (1, 0)]
    photos, _ = recorded(read_photos, paths, source=str(folder / "k.json"))
    assert [photo.K[0, 0] for photo in photos] == [11, 10]
    found, _ = recorded(read_photo_set, paths, init=str(folder / "k.json"))
    assert [photo.K[0, 0] for photo in found.photos] == [11, 10]
    assert len(found.viewmats) == 2


def test_names_without_a_suffix_are_found_with_backslashes(tmp_path):
    folder = pictures(tmp_path)
    frames = [{"file_path": ".\\images\\000", "transform_matrix": IDENTITY}]
    (folder / "transforms.json").write_text(json.dumps({"fl_x": 10, "w": 16, "h": 16, "frames": frames}))
    assert recorded(io.load_views, folder)[1] == []


def test_a_file_is_never_taken_for_two_names(tmp_path):
    pictures(tmp_path)
    names = ["a/images/000.png", "b/images/000.png", "c/images/001.png", "images/001.png", "/x/none.png"]
    assert find_named("t.json", [tmp_path], names, noun="picture") == [*[None] * 3, tmp_path / names[3], None]


def test_a_missing_mask_is_named(tmp_path):
    pictures(tmp_path)
    frames = [{"file_path": "images/000.png", "mask_path": "C:\\m\\none.png", "transform_matrix": IDENTITY}]
    (tmp_path / "transforms.json").write_text(json.dumps({"fl_x": 10, "w": 16, "h": 16, "frames": frames}))
    with pytest.raises(GatlasError, match=r"frame 0: its mask .*none\.png' is missing"):
        io.load_views(tmp_path)


def test_a_photo_is_never_its_own_mask(tmp_path):
    (pictures(tmp_path) / "images/000.png").rename(tmp_path / "000.png")
    frames = [{"file_path": "000.png", "mask_path": "masks/000.png", "transform_matrix": IDENTITY}]
    (tmp_path / "transforms.json").write_text(json.dumps({"fl_x": 10, "w": 16, "h": 16, "frames": frames}))
    with pytest.raises(GatlasError, match=r"frame 0: its mask 'masks/000\.png' is missing"):
        io.load_views(tmp_path)


@pytest.mark.shared
def test_a_file_of_windows_is_read(shared_data):
    views, lines = recorded(io.load_views, shared_data / "cases/transforms_windows_paths/back", side=16)
    assert len(views) == 48
    assert lines == []
