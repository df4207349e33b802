"""gatlas fit of photos without cameras."""

import json

import numpy as np
import pytest
from PIL import Image

from gatlas import io
from tests.helpers.corner_photos import save_corner

pytest.importorskip("pycolmap")

FIT = ("fit", "photos", "-o", "s.ply", "--iterations", "2", "-n", "200", "--resolution", "32", "--init", "points")


def only_message(result):
    (line,) = result.stderr.strip().splitlines()
    return line


def test_photos_become_a_splat_and_their_cameras_are_kept(gatlas, tmp_path, monkeypatch):
    monkeypatch.setenv("GATLAS_CACHE", str(tmp_path / "cache"))
    save_corner(tmp_path / "photos")
    before = {path.name for path in (tmp_path / "photos").iterdir()}
    first = gatlas(*FIT, "--report", "a.json")
    assert "8 of 8 photos have cameras" in first.stderr
    assert len(io.load_gaussians(tmp_path / "s.ply")) == 200
    assert {path.name for path in (tmp_path / "photos").iterdir()} == before
    one = (tmp_path / "s.ply").read_bytes()

    second = gatlas(*FIT, "--report", "a.json", "--force")
    assert "sought" in first.stderr
    assert "sought" not in second.stderr
    assert (tmp_path / "s.ply").read_bytes() == one
    assert np.isfinite(json.loads((tmp_path / "a.json").read_text())["held_out"]["psnr"])


def test_kept_cameras_are_a_model_that_other_commands_read(gatlas, tmp_path, monkeypatch):
    monkeypatch.setenv("GATLAS_CACHE", str(tmp_path / "cache"))
    save_corner(tmp_path / "photos")
    noise = np.random.default_rng(1).integers(0, 255, (180, 240, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "photos" / "z.png")
    run = gatlas(*FIT, "--cameras-out", "cameras", "--fov", "50")
    assert run.stderr.count("8 of 9 photos have cameras") == 1
    assert "without: z.png" in run.stderr
    assert not (tmp_path / "cache" / "cameras").exists()
    assert len(io.load_cameras(str(tmp_path / "cameras"))) == 8
    gatlas(*FIT[:2], "-o", "t.ply", *FIT[4:], "--model-dir", "cameras")
    assert io.load_gaussians(tmp_path / "t.ply").means == pytest.approx(io.load_gaussians(tmp_path / "s.ply").means)


def test_options_of_photos_without_cameras_are_refused_elsewhere(gatlas, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "transforms.json").write_text("{}")
    message = only_message(gatlas("fit", "photos", "--fov", "50", "-o", "s.ply", code=1))
    assert "--fov is for photos without cameras: photos has them" in message
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    message = only_message(gatlas("fit", "a.obj", "--camera-model", "opencv", "-o", "s.ply", code=1))
    assert "--camera-model is for photos: the input is a mesh" in message
    message = only_message(gatlas("fit", "photos", "--principal-point", "50,50", "-o", "s.ply", code=1))
    assert "--principal-point is for photos without cameras: photos has them" in message


def test_textures_beside_meshes_are_no_photos(gatlas, tmp_path):
    (tmp_path / "objects").mkdir()
    (tmp_path / "objects" / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    Image.new("RGB", (20, 20)).save(tmp_path / "objects" / "a.png")
    assert b"a.obj" in gatlas("fit", "objects", "-o", "out/", "--dry-run").stdout
