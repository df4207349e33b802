"""The atlas verbs on files: checks, layouts, determinism."""

import contextlib
import json

import numpy as np
import pytest
from PIL import Image

from gatlas import io
from gatlas.types import Atlas

META_KEYS = ["count", "dropped", "split", "projection", "sphere", "normalization", "origin", "transport"]


def scrambled(atlas):
    order = np.random.default_rng(0).permutation(atlas.size**2)
    planes = {
        name: getattr(atlas, name).reshape(atlas.size**2, -1)[order].reshape(getattr(atlas, name).shape)
        for name in ("offset", "color", "opacity", "scale", "rotation")
    }
    return Atlas(**planes, meta=atlas.meta)


def test_a_check_prints_and_reports(gatlas, splat, tmp_path):
    run = gatlas("atlas-encode", splat, "--size", 10, "--check", "--report", "check.json", "-o", "ball.npz")
    assert "bijection yes; permutation forward" in run.stderr
    report = json.loads((tmp_path / "check.json").read_text())
    assert report["problems"] == []
    assert report["gap"] < 1e-6
    assert report["round_trip"] < 1e-5
    assert "random pairs" in gatlas("atlas-decode", "ball.npz", "--check", "-o", "back.ply").stderr


def test_a_scrambled_atlas_fails_loudly(gatlas, splat, tmp_path):
    gatlas("atlas-encode", splat, "--size", 10, "-o", "ball.npz")
    io.save_atlas(tmp_path / "bad.npz", scrambled(io.load_atlas(tmp_path / "ball.npz")))
    run = gatlas("atlas-decode", "bad.npz", "--check", "-o", "back.ply", code=1)
    assert "the check failed" in run.stderr
    assert not (tmp_path / "back.ply").exists()


def test_the_order_of_the_file_and_the_threads_do_not_change_a_byte(gatlas, splat, tmp_path):
    gaussians = io.load_gaussians(splat)
    (tmp_path / "other").mkdir()
    io.save_gaussians(tmp_path / "other" / "ball.ply", gaussians[np.random.default_rng(0).permutation(100)])
    first = gatlas("atlas-encode", splat, "--size", 10).stdout
    assert gatlas("atlas-encode", "other/ball.ply", "--size", 10, "--threads", 2).stdout == first
    assert gatlas("atlas-encode", splat, "--size", 10).stdout == first


@pytest.mark.parametrize("fill", ["duplicate", "split"])
def test_cells_that_are_left_over_are_filled(gatlas, splat, tmp_path, fill):
    run = gatlas("atlas-encode", splat, "--size", 12, "--fill", fill, "-o", "ball.npz")
    assert ("44 cells padded" in run.stderr) == (fill == "duplicate")
    assert ("44 cells filled by cutting" in run.stderr) == (fill == "split")
    gatlas("atlas-decode", "ball.npz", "-o", "back.ply")
    assert len(io.load_gaussians(tmp_path / "back.ply")) == (100 if fill == "duplicate" else 144)


def test_gaussianverse_out_and_in_again(gatlas, splat, tmp_path):
    gatlas("atlas-encode", splat, "--size", 10, "--layout", "gaussianverse", "-o", "gv/")
    maps = ["--gs2sphere", "gv/gs2sphere.npy", "--sphere2plane", "gv/sphere2plane.npy"]
    run = gatlas("atlas-encode", "gv/point_cloud.ply", *maps, "--check", "-o", "again.npz")
    assert "read gs2sphere as map" in run.stderr
    again, own = io.load_atlas(tmp_path / "again.npz"), gatlas("atlas-encode", splat, "--size", 10).stdout
    (tmp_path / "own.npz").write_bytes(own)
    assert np.allclose(again.color, io.load_atlas(tmp_path / "own.npz").color, atol=1e-5)
    gatlas("atlas-decode", "again.npz", "--layout", "gaussianverse", "-o", "gv2/")
    assert (tmp_path / "gv2" / "gs2sphere.npy").read_bytes() == (tmp_path / "gv" / "gs2sphere.npy").read_bytes()


def test_a_map_alone_is_refused(gatlas, splat):
    assert "go together" in gatlas("atlas-encode", splat, "--gs2sphere", "x.npy", code=1).stderr


def test_gaussianverse_needs_a_folder(gatlas, splat):
    assert "-o DIR/" in gatlas("atlas-encode", splat, "--layout", "gaussianverse", code=1).stderr


def test_an_atlas_is_drawn_as_its_planes(gatlas, splat, tmp_path):
    gatlas("atlas-encode", splat, "--size", 10, "-o", "ball.npz")
    gatlas("render", "ball.npz", "-o", "planes.png")
    width, height = Image.open(tmp_path / "planes.png").size
    assert width > 5 * height


@pytest.mark.shared
@pytest.mark.parametrize("name", ["gaussianverse_9350303", "gaussianverse_9585727"])
def test_a_published_fit_becomes_a_certified_atlas(gatlas, shared_data, name, tmp_path):
    run = gatlas("atlas-encode", shared_data / "splats" / f"{name}.ply", "--check", "-o", "object.npz")
    assert "certified gap 0.0e+00" in run.stderr
    assert len(io.load_gaussians(shared_data / "splats" / f"{name}.ply")) == 16_384
    back = gatlas("atlas-decode", "object.npz").stdout
    assert back.startswith(b"ply")


@pytest.mark.parametrize(
    "key", ["count", "dropped", "split", "projection", "sphere", "normalization", "origin", "transport"]
)
@pytest.mark.parametrize("value", [None, [], {}, "x", -1, 10**400])
def test_damaged_meta_is_one_clear_line(splat, tmp_path, key, value):
    """In the library, where the command line's errors come from: a GatlasError or nothing, whatever the value."""
    from gatlas.atlas import EncodeOptions, decode, encode
    from gatlas.atlas.check import check_atlas
    from gatlas.errors import GatlasError

    atlas = encode(io.load_gaussians(splat), EncodeOptions(size=10))
    damaged = Atlas(**{**vars(atlas), "meta": {**atlas.meta, key: value}})
    for use in (decode, check_atlas):
        with contextlib.suppress(GatlasError):  # anything else is a traceback for the user
            use(damaged)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_a_tiny_atlas_is_not_called_scrambled(gatlas, splat, size):
    assert "the check failed" not in gatlas("atlas-encode", splat, "--size", size, "--check").stderr
