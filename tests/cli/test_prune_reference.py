"""The mesh that prune compares with stands as the fit of it did."""

import json

import numpy as np

from gatlas import io
from gatlas.types import Gaussians, Origin

FLAG = "v -1 -1 0 1 0 0\nv 1 -1 0 1 0 0\nv 0 -1 2 1 0 0\nf 1 2 3\nf 3 2 1\n"  # its tip points along z


def flag_splat(path):
    """Gaussians on the triangle in the unit ball, with z brought up: x, z - 1 and, in depth, 1 all through."""
    rng = np.random.default_rng(0)
    shares = rng.dirichlet([1, 1, 1], 400)
    corners = np.array([[-1, -1, 0], [1, -1, 0], [0, 1, 0]]) / np.sqrt(2)
    gaussians = Gaussians(
        means=(shares @ corners).astype(np.float32),
        quats=np.tile(np.float32([1, 0, 0, 0]), (400, 1)),
        scales=np.full((400, 3), 0.04, np.float32),
        opacities=np.full(400, 0.95, np.float32),
        sh=np.tile(np.float32([1.77, -1.77, -1.77]), (400, 1, 1)),
        origin=Origin(name="flag", normalized=True),
    )
    io.save_gaussians(path, gaussians)


def test_a_reference_of_another_vertical_axis_is_stood_up(gatlas, tmp_path):
    (tmp_path / "flag.obj").write_text(FLAG)
    flag_splat(tmp_path / "flag.ply")
    words = ["flag.ply", "-n", 300, "--score", "opacity", "--reference", "flag.obj", "--resolution", 32]
    psnr = {}
    for up in ("y", "z"):
        gatlas("prune", *words, "--reference-up", up, "--report", f"{up}.json", "-o", f"{up}.ply")
        psnr[up] = json.loads((tmp_path / f"{up}.json").read_text())["psnr_before"]
    assert psnr["z"] > psnr["y"] + 3


def test_photos_have_the_axes_of_their_cameras(gatlas, tmp_path):
    flag_splat(tmp_path / "flag.ply")
    (tmp_path / "photos").mkdir()
    for words in ([], ["--reference", "photos"]):
        run = gatlas("prune", "flag.ply", *words, "--reference-up", "z", "-o", "x.ply", code=1)
        assert "--reference-up is the vertical axis of a mesh" in run.stderr
