import json

import numpy as np
import pytest
from PIL import Image

from gatlas import io
from gatlas.raster import median_depths


def picture(path):
    return np.asarray(Image.open(path))


@pytest.mark.parametrize("show", ["depth", "normal", "alpha", "overdraw"])
def test_a_map_is_one_picture_with_the_others_of_its_orbit(gatlas, splat, tmp_path, show):
    gatlas("render", splat, "--show", show, "--orbit", 2, "--width", 40, "-o", "a.png")
    drawn = picture(tmp_path / "a.png")
    assert drawn.shape[1:] == (80, 3)
    assert len(np.unique(drawn[:40].reshape(-1, 3), axis=0)) > 2


def test_values_go_to_an_npz_with_their_cameras(gatlas, splat, tmp_path):
    gatlas("render", splat, "--show", "depth", "--orbit", 3, "--width", 40, "-o", "a.npz")
    gatlas("render", splat, "--orbit", 3, "--width", 40, "-o", "views/")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as held:
        arrays = dict(held)
    cameras = io.load_cameras(tmp_path / "views")
    assert {name: array.shape for name, array in arrays.items()} == {
        "depth": (3, 40, 40), "viewmats": (3, 4, 4), "Ks": (3, 3, 3)
    }  # fmt: skip
    np.testing.assert_allclose(arrays["viewmats"], cameras.viewmats, atol=1e-5)
    expected = median_depths(io.load_gaussians(splat), cameras)[..., 0]
    assert (np.abs(arrays["depth"] - expected) > 1e-4).mean() < 1e-3
    gatlas("render", splat, "--width", 20, "-o", "color.npz")
    with np.load(tmp_path / "color.npz", allow_pickle=False) as held:
        assert held["color"].shape == (1, 20, 20, 4)


def test_depths_of_a_folder_are_16_bits_in_a_unit_that_the_index_and_each_picture_hold(gatlas, splat, tmp_path):
    gatlas("render", splat, "--show", "depth", "--orbit", 2, "--width", 40, "-o", "views/")
    gatlas("render", splat, "--show", "depth", "--orbit", 2, "--width", 40, "-o", "a.npz")
    index = json.loads((tmp_path / "views/transforms.json").read_text())
    with np.load(tmp_path / "a.npz", allow_pickle=False) as held:
        depths = held["depth"]
    for frame, depth in zip(index["frames"], depths, strict=True):
        with Image.open(tmp_path / "views" / frame["depth_file_path"]) as stored:
            assert stored.mode.startswith("I;16")
            unit = float(stored.text["depth_unit_scale_factor"])
            np.testing.assert_allclose(np.asarray(stored) * unit, depth, atol=unit)
        assert unit == index["depth_unit_scale_factor"]
        assert unit * 65535 == pytest.approx(depths.max())
        assert picture(tmp_path / "views" / frame["file_path"]).shape == (40, 40, 4)
    assert len(io.load_views(tmp_path / "views")) == 2, "what reads the pictures does not mind the depths"


def test_a_folder_of_maps_has_a_picture_per_camera(gatlas, splat, tmp_path):
    gatlas("render", splat, "--show", "normal", "--orbit", 2, "--width", 24, "-o", "views/")
    assert picture(tmp_path / "views/images/001.png").shape == (24, 24, 4)
    assert not (tmp_path / "views/depths").exists()


def test_a_comparison_says_the_psnr_and_the_error_against_views_is_the_same(gatlas, splat, tmp_path):
    gatlas("prune", splat, "-n", 60, "-o", "less.ply")
    said = gatlas("render", "less.ply", "--compare", splat, "--width", 32, "--orbit", 2, "-o", "a.png").stderr
    assert f"dB against {splat.name}, over 2 pictures" in said
    assert picture(tmp_path / "a.png").shape[1] == 96
    gatlas("render", splat, "--width", 32, "--orbit", 2, "-o", "views/")
    again = gatlas("render", "less.ply", "--show", "error", "--reference", "views", "-o", "b.png").stderr
    psnr = [float(text.split("PSNR ")[1].split(" dB")[0]) for text in (said, again)]
    assert psnr[0] == pytest.approx(psnr[1], abs=0.1)  # pictures have 8 bits


def test_a_mesh_is_compared_with_a_splat(gatlas, example, splat, tmp_path):
    gatlas("render", example, "--compare", splat, "--width", 32, "-o", "a.png")
    gatlas("render", splat, "--show", "error", "--reference", example, "--other-up", "z", "--width", 32, "-o", "b.png")
    assert picture(tmp_path / "b.png").shape[1] == 32


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--show", "error", "-o", "a.png"], "--show error needs --reference FILE"),
        (["--reference", "x.ply", "-o", "a.png"], "--reference needs --show error"),
        (["--show", "depth", "--compare", "x.ply", "-o", "a.png"], "--show and --compare exclude each other"),
        (["--other-up", "z", "-o", "a.png"], "--other-up is the vertical axis of --reference or --compare"),
        (["--show", "depth", "-o", "a.gif"], "--show is not for films: name the output x.png"),
        (["--compare", "x.ply", "-o", "d/"], "--compare draws one picture: name the output x.png"),
        (["--compare", "none.ply", "-o", "a.png"], "none.ply: No such file or directory"),
        (["--compare", ".", "--width", 9, "-o", "a.png"], "--width is not for a comparison with views"),
        (["--show", "depth", "-o", "a.exr"], "a.exr: a picture cannot be written as .exr: name the output a.png"),
    ],
)
def test_what_cannot_be_shown_is_one_line(gatlas, splat, tmp_path, words, line):
    before = set(tmp_path.iterdir())
    said = gatlas("render", splat, *words, code=1).stderr
    assert said.startswith(f"gatlas render: {line}")
    assert said.count("\n") == 1
    assert set(tmp_path.iterdir()) == before


def test_an_atlas_and_a_mesh_have_not_every_map(gatlas, splat, example):
    gatlas("atlas-encode", splat, "--size", 16, "-o", "a.npz")
    said = gatlas("render", "a.npz", "--show", "depth", "-o", "a.png", code=1).stderr
    assert "for maps of it, run atlas-decode first" in said
    assert "a mesh has none" in gatlas("render", example, "--show", "overdraw", "-o", "a.png", code=1).stderr


def test_maps_of_many_are_a_batch(gatlas, splat, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/one.ply").write_bytes(splat.read_bytes())
    gatlas("render", "in", "--show", "normal", "--width", 24, "-o", "out/")
    gatlas("render", "in", "--show", "depth", "--width", 24, "-o", "values/{stem}.npz")
    assert (tmp_path / "out/one.png").exists()
    assert (tmp_path / "values/one.npz").exists()
