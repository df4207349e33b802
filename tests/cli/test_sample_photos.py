"""gatlas sample from photos: a splat, the cameras beside it, the conversion of a model, and wrong words."""

import io as bytes_io
import json
import shutil
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.io.photos.photo_loader import read_photos
from gatlas.systems.noposplat import PRESETS, create
from tests.helpers.command_line import run_here
from tests.helpers.scene_files import box_views

CONFIG = replace(
    PRESETS["tiny"].config,
    encoder_dim=32, encoder_depth=1, encoder_heads=2, decoder_dim=32, decoder_depth=3, decoder_heads=2,
    hooks=(0, 1, 2, 3), head_dim=16, level_dims=(4, 8, 8, 8), width=32, height=32,
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model folder, and photos of one scene."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "model").mkdir()
    create(CONFIG).save(str(folder / "model"))
    views = box_views(0, 6, 40, width=60)
    for name, i in (("a", 0), ("b", 5)):
        io.save_image(folder / f"{name}.png", views.images[i])
    return folder


def test_photos_make_a_splat_and_views(gatlas, made, tmp_path):
    words = ("sample", "--model", made / "model", made / "a.png", made / "b.png", "--fov", 50)
    result = gatlas(*words, "-o", "scene.ply", "--views", "views")
    assert "the middle 67% of 60 x 40 photos is used" in result.stderr
    gaussians = io.load_gaussians(str(tmp_path / "scene.ply"))
    assert gaussians.origin.grid == (32, 32)
    assert len(gaussians) == 2 * 32 * 32
    assert gaussians.origin.name == "a"
    views = io.load_views(tmp_path / "views")
    pose = json.loads((tmp_path / "views" / "transforms.json").read_text())["frames"][0]["transform_matrix"]
    assert np.array_equal(pose, np.eye(4))
    assert views.cameras.Ks[0][0, 0] == pytest.approx(0.5 * 32 / np.tan(np.radians(25)), rel=1e-5)
    again = gatlas(*words)  # to standard output
    assert again.stdout == (tmp_path / "scene.ply").read_bytes()
    gatlas("render", "scene.ply", "--camera", "views", "-o", "picture.png")


def test_photos_a_scene_and_its_cameras_in_one_pipeline(gatlas, made, tmp_path):
    photos = [made / "a.png", made / "b.png", "--fov", 50]
    scene = gatlas("sample", "--model", made / "model", *photos).stdout
    run = run_here(["pose-pnp", *photos, "--scene", "-", "--find", "grid", "-o", "p.json"], tmp_path, stdin=scene)
    document = json.loads((tmp_path / "p.json").read_text())
    frames, lost = document["frames"], document.get("not_found", [])
    assert document["method"] == "grid"
    # A model that learned nothing: whether its cameras are found is chance, but it must be told.
    assert len(frames) + len(lost) == 2
    assert run.returncode == (0 if not lost else 3 if frames else 1)
    assert f"{len(frames)} of 2 cameras found" in run.stderr
    assert run.stderr.count("no camera found: ") == len(lost)
    assert all(entry["reason"] for entry in lost)


def test_a_model_is_converted_once(gatlas, made, tmp_path):
    gatlas("sample", "--model", made / "model", "--convert", "copy")
    weights = ["network/model.safetensors", "gatlas.json"]
    assert all((tmp_path / "copy" / name).read_bytes() == (made / "model" / name).read_bytes() for name in weights)
    assert "copy exists" in gatlas("sample", "--model", made / "model", "--convert", "copy", code=1).stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["a.png", "b.png"], "--fov DEGREES"),
        (["a.png", "b.png", "--fov", "50", "--intrinsics", "k.json"], "--fov DEGREES"),
        (["a.png", "--fov", "50"], "noposplat needs 2 or more photos of a scene, got 1"),
        (["a.png", "b.png", "--fov", "500"], "--fov must be between"),
        (["a.png", "none.png", "--fov", "50"], "none.png: No such file"),
        (["a.png", "b.png", "--fov", "50", "-o", "x.npz"], "cannot be written as .npz"),
        (["a.png", "b.png", "--fov", "50", "--prompt", "cube"], "--prompt: "),
        (["a.png", "b.png", "--fov", "50", "-n", "4"], "--count: "),
        (["a.png", "b.png", "--fov", "50", "--cameras", "k.json"], "--cameras: "),
        (["a.png", "b.png", "--fov", "50", "--set", "width=64"], "--set: "),
        (["--prompt", "cube"], "is a model of noposplat, which samples from photos: gatlas sample --model"),
        (["--fov", "50"], "there is no photo: "),
        (["--convert", "x", "a.png"], "--convert only writes the model: leave out the photos"),
    ],
)
def test_wrong_words_are_one_line(gatlas, made, tmp_path, words, told):
    words = [str(made / word) if word in ("a.png", "b.png") else word for word in words]
    result = gatlas("sample", "--model", made / "model", *words, code=1)
    assert told in result.stderr
    assert result.stderr.strip().count("\n") == 0
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_published_file_is_one_line(gatlas, made, tmp_path):
    (tmp_path / "re10k.ckpt").write_bytes(b"PK\x03\x04nothing")
    result = gatlas("sample", "--model", "re10k.ckpt", made / "a.png", made / "b.png", "--fov", 50, code=1)
    assert "re10k.ckpt: not a torch file" in result.stderr
    torch.save({"state_dict": {"encoder.x": torch.zeros(1)}}, tmp_path / "re10k.ckpt")
    result = gatlas("sample", "--model", "re10k.ckpt", "--convert", "x", code=1)
    assert "re10k.ckpt: lacks weights" in result.stderr
    assert not (tmp_path / "x").exists()


def test_the_field_of_view_spans_the_shorter_side(made):
    (photo,) = read_photos([str(made / "a.png")], fov=50.0)
    focal = 20 / np.tan(np.radians(25))
    assert photo.stem == "a"
    assert photo.image.shape == (40, 60, 3)
    assert np.allclose(photo.K, [[focal, 0, 30], [0, focal, 20], [0, 0, 1]])


def test_intrinsics_are_those_of_the_frame_of_that_name_at_the_photos_size(made, tmp_path):
    frames = [{"file_path": "./images/b", "fl_x": 200.0, "cx": 62.0}]
    (tmp_path / "k.json").write_text(json.dumps({"fl_x": 100, "fl_y": 110, "w": 120, "h": 80, "frames": frames}))
    a, b = read_photos([str(made / "a.png"), str(made / "b.png")], source=str(tmp_path / "k.json"))
    assert np.allclose(a.K, [[50, 0, 30], [0, 55, 20], [0, 0, 1]])
    assert np.allclose(b.K, [[100, 0, 31], [0, 55, 20], [0, 0, 1]])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "not JSON"),
        ("[1]", "must be a JSON object"),
        ("{}", "no focal length"),
        ('{"fl_x": 100, "w": 40, "h": 40}', "another aspect ratio"),
        ('{"fl_x": "x"}', "'fl_x' must be a number"),
        ('{"fl_x": 1, "frames": [{"file_path": "a"}, {"file_path": "x/a.png"}]}', "2 of its frames are called 'a'"),
        ('{"fl_x": 50, "camera_model": "OPENCV_FISHEYE"}', "is not read"),
    ],
)
def test_intrinsics_that_cannot_be_used_are_one_line(made, tmp_path, text, told):
    (tmp_path / "k.json").write_text(text)
    with pytest.raises(GatlasError, match=r"k\.json") as caught:
        read_photos([str(made / "a.png")], source=str(tmp_path / "k.json"))
    assert told in str(caught.value)


def test_distorted_photos_are_undistorted(made, tmp_path):
    (tmp_path / "k.json").write_text('{"fl_x": 60, "k1": -0.1}')
    (photo,) = read_photos([str(made / "a.png")], source=str(tmp_path / "k.json"))
    assert not np.array_equal(photo.image, io.load_image(made / "a.png"))
    assert photo.K[0, 0] >= 60


def test_folders_of_photos_are_a_scene_each_and_a_second_run_keeps_them(gatlas, made, tmp_path):
    for name, photos in (("room", "ab"), ("hall", "ba")):
        (tmp_path / name).mkdir()
        for photo in photos:
            shutil.copy(made / f"{photo}.png", tmp_path / name)
    words = ("sample", "--model", made / "model", "room", "hall", "--fov", 50)
    gatlas(*words, "-o", "scenes/", "--views", "seen")
    gaussians = io.load_gaussians(str(tmp_path / "scenes" / "room.ply"))
    assert gaussians.origin.name == "room"
    assert sorted(path.name for path in (tmp_path / "scenes").iterdir()) == [
        "hall.json", "hall.ply", "room.json", "room.ply",
    ]  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "seen").iterdir()) == ["hall", "room"]
    record = json.loads((tmp_path / "scenes" / "room.json").read_text())["sample"]
    assert sorted(record) == ["dtype", "model", "number", "photos", "weights"]
    splat = gatlas("sample", "--model", made / "model", made / "a.png", made / "b.png", "--fov", 50).stdout
    own = (tmp_path / "scenes" / "room.ply").read_bytes()
    assert own.replace(b"comment gatlas name room\n", b"comment gatlas name a\n") == splat
    assert "2 samples are in scenes/ already and are kept" in gatlas(*words, "-o", "scenes/").stderr
    other = gatlas(*words[:-1], 60, "-o", "scenes/", code=1).stderr
    assert "scenes/room.ply: was made with other photos: --force makes all samples anew" in other
    with tarfile.open(fileobj=bytes_io.BytesIO(gatlas(*words).stdout)) as tar:
        assert {each.name: tar.extractfile(each).read() for each in tar} == {
            path.name: path.read_bytes() for path in (tmp_path / "scenes").iterdir()
        }


def test_a_file_that_is_no_record_is_kept(gatlas, made, tmp_path):
    (tmp_path / "scenes").mkdir()
    (tmp_path / "scenes" / "a.json").write_text('{"my": "notes"}')
    words = ("sample", "--model", made / "model", made / "a.png", made / "b.png", "--fov", 50, "-o", "scenes/")
    assert "scenes/a.ply: is there already and no sample" in gatlas(*words, code=1).stderr
    assert (tmp_path / "scenes" / "a.json").read_text() == '{"my": "notes"}'


def test_a_folder_with_cameras_is_not_for_a_system_without(gatlas, made, tmp_path):
    io.save_views(tmp_path / "posed", box_views(0, 2, 32))
    told = gatlas("sample", "--model", made / "model", "posed", "--fov", 50, code=1).stderr
    assert "posed: has cameras, and noposplat takes photos without: name the photos themselves" in told
