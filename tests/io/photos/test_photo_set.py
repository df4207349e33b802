"""Photos with the intrinsics, masks and cameras that files hold of them."""

import json

import numpy as np
import pytest

from gatlas import io
from gatlas.io.photos.photo_set import read_photo_set


@pytest.fixture
def folder(tmp_path):
    """A folder of one distorted photo whose left half is the object, as its frame's mask says: the photo shows it."""
    half = np.zeros((32, 48, 3), dtype=np.float32)
    half[:, :20] = 1
    for name in ("a.png", "own.png"):
        io.save_image(tmp_path / name, half)
    io.save_image(tmp_path / "none.png", np.zeros_like(half))
    frame = {"file_path": "a.png", "mask_path": "own.png", "transform_matrix": np.eye(4).tolist()}
    document = {"fl_x": 36, "k1": 0.25, "w": 48, "h": 32, "frames": [frame]}
    (tmp_path / "transforms.json").write_text(json.dumps(document))
    (tmp_path / "k.json").write_text(json.dumps({"fl_x": 36, "w": 48, "h": 32}))
    return tmp_path


def the_photo(folder, *names, **words):
    """The one photo of a set; `{folder}` in a word is the folder."""
    named = {key: value.format(folder=folder) if isinstance(value, str) else value for key, value in words.items()}
    (photo,) = read_photo_set([name.format(folder=folder) for name in names], **named).photos
    return photo


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["{folder}"], {}),
        (["{folder}"], {"fov": 47}),
        (["{folder}"], {"intrinsics": "{folder}/k.json"}),
        ([], {"init": "{folder}/transforms.json"}),
        (["{folder}/a.png"], {"init": "{folder}/transforms.json", "fov": 47}),
        (["{folder}/a.png"], {"intrinsics": "{folder}/transforms.json"}),
        (["{folder}/a.png"], {"fov": 47, "mask": "{folder}/own.png"}),
        (["{folder}"], {"mask": "{folder}/own.png"}),
    ],
)
def test_a_photos_mask_is_undistorted_with_it_and_its_frames_own_serves(folder, names, words):
    photo = the_photo(folder, *names, **words)
    assert np.allclose(photo.mask, photo.image[..., 0], atol=1e-6)
    distorted = "fov" not in words and not words.get("intrinsics", "").endswith("k.json")
    assert photo.lens.has_distortion == distorted


def test_a_mask_that_is_named_replaces_the_frames_own(folder):
    assert not the_photo(folder, "{folder}", mask="{folder}/none.png").mask.any()
    assert the_photo(folder, "{folder}/a.png", fov=47).mask is None


def test_only_an_initial_file_gives_cameras(folder):
    assert read_photo_set([str(folder)]).viewmats is None
    viewmats = read_photo_set([], init=str(folder)).viewmats
    np.testing.assert_array_equal(viewmats, np.diag([1.0, -1.0, -1.0, 1.0])[None])  # from OpenGL's axes
