"""An independent judge: PlayCanvas's splat-transform reads what we write and sees what we have in memory.

It is installed with npm, into a temporary folder or, where GATLAS_NODE_MODULES names a folder, once into that one.
Its exit status proves nothing (it accepts damaged files), so every test compares values.
"""

import json
import os
import shutil
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gatlas import io
from gatlas.types import Gaussians, Origin

pytestmark = pytest.mark.slow

PACKAGES = ["node@22", "@playcanvas/splat-transform@3.7.0"]
COUNT = 256


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    """Run splat-transform with the given words; its standard output."""
    folder = Path(os.environ.get("GATLAS_NODE_MODULES") or tmp_path_factory.mktemp("node"))
    if folder.name == "node_modules":
        folder = folder.parent
    node = folder / "node_modules" / "node" / "bin" / "node"
    program = folder / "node_modules" / "@playcanvas" / "splat-transform" / "bin" / "cli.mjs"
    if not (node.exists() and program.exists()):
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("npm is not installed")
        folder.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), *PACKAGES]
        try:
            install = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip("npm did not install splat-transform within 5 minutes")
        if install.returncode or not (node.exists() and program.exists()):
            pytest.skip(f"npm could not install splat-transform: {install.stderr.strip()[-300:]}")

    def run(*words):
        command = [str(node), str(program), "-q", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout

    return run


@pytest.fixture(scope="module", params=[0, 1, 2, 3], ids=lambda degree: f"degree {degree}")
def gaussians(request):
    rng = np.random.default_rng(request.param)
    quats = rng.normal(size=(COUNT, 4))
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    quats[quats[:, 0] < 0] *= -1
    return Gaussians(
        means=rng.normal(size=(COUNT, 3)).astype(np.float32),
        quats=quats.astype(np.float32),
        scales=rng.uniform(0.01, 0.3, size=(COUNT, 3)).astype(np.float32),
        opacities=rng.uniform(0.05, 0.95, size=COUNT).astype(np.float32),
        sh=rng.normal(scale=0.3, size=(COUNT, (request.param + 1) ** 2, 3)).astype(np.float32),
        origin=Origin(name="tea pot", center=(1.0, 2.0, 3.0), scale=4.0, normalized=True),
    )


@pytest.fixture
def splat(gaussians, tmp_path):
    io.save_gaussians(tmp_path / "x.ply", gaussians)
    return tmp_path / "x.ply"


def columns_of(gaussians):
    """The columns of the file, worked out from memory by hand."""
    x, y, z = gaussians.means.astype(float).T
    qw, qx, qy, qz = gaussians.quats.astype(float).T
    rotation = np.stack([-qz, -qy, qx, qw], axis=1)  # a half turn about z, then q
    rotation *= np.where(rotation[:, :1] < 0, -1, 1)
    logits = np.log(gaussians.opacities / (1 - gaussians.opacities.astype(float)))
    columns = {"x": -x, "y": -y, "z": z, "opacity": logits}
    columns |= {f"scale_{i}": np.log(gaussians.scales[:, i]) for i in range(3)}
    columns |= {f"rot_{i}": rotation[:, i] for i in range(4)}
    columns |= {f"f_dc_{i}": gaussians.sh[:, 0, i] for i in range(3)}
    odd = [order % 2 for degree in (1, 2, 3) for order in range(-degree, degree + 1)]
    rest = gaussians.sh.shape[1] - 1
    for channel in range(3):
        for i in range(rest):
            columns[f"f_rest_{channel * rest + i}"] = gaussians.sh[:, 1 + i, channel] * (-1 if odd[i] else 1)
    return columns


def test_it_sees_gaussians(judge, splat, gaussians):
    seen = json.loads(judge(splat, "--info", "json", "null"))
    assert seen["gaussian"] is True
    assert seen["numGaussians"] == COUNT
    assert (seen["shBands"] + 1) ** 2 == gaussians.sh.shape[1]
    assert seen["extraColumns"] == []


def test_its_statistics_are_ours(judge, splat, gaussians):
    stats = json.loads(judge(splat, "--stats", "json", "null"))["stats"][0]
    assert stats["numGaussians"] == COUNT
    assert not any(stats["data"]["nanCount"] + stats["data"]["infCount"])
    columns = columns_of(gaussians)
    assert set(stats["columns"]) == set(columns)
    for i, name in enumerate(stats["columns"]):
        expected = columns[name]
        if name.startswith("scale_"):  # shown as in memory, not as in the file
            expected = np.exp(expected)
        elif name == "opacity":
            expected = gaussians.opacities
        elif name.startswith("f_dc_"):
            expected = 0.5 + 0.28209479177387814 * expected
        np.testing.assert_allclose(stats["data"]["min"][i], expected.min(), atol=2e-6, err_msg=name)
        np.testing.assert_allclose(stats["data"]["max"][i], expected.max(), atol=2e-6, err_msg=name)


def test_its_table_is_ours(judge, splat, gaussians, tmp_path):
    judge("-w", splat, tmp_path / "x.csv")
    table = np.genfromtxt(tmp_path / "x.csv", delimiter=",", names=True)
    columns = columns_of(gaussians)
    assert set(table.dtype.names) == set(columns)
    for name, expected in columns.items():
        np.testing.assert_allclose(table[name], expected, atol=2e-6, err_msg=name)


def test_its_ply_is_read_back(judge, splat, gaussians, tmp_path):
    judge("-w", splat, tmp_path / "tea pot.ply")
    back = io.load_gaussians(tmp_path / "tea pot.ply")
    for name in ("means", "quats", "scales", "opacities", "sh"):
        np.testing.assert_allclose(getattr(back, name), getattr(gaussians, name), atol=2e-6, err_msg=name)


def glb_attributes(path):
    """The accessors of a GLB's one primitive, as float arrays."""
    data = path.read_bytes()
    length = struct.unpack_from("<I", data, 12)[0]
    document, start = json.loads(data[20 : 20 + length]), 28 + length
    assert "KHR_gaussian_splatting" in document["extensionsUsed"]
    attributes = {}
    for name, index in document["meshes"][0]["primitives"][0]["attributes"].items():
        accessor = document["accessors"][index]
        if accessor["componentType"] != 5126:
            continue
        width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[accessor["type"]]
        offset = start + document["bufferViews"][accessor["bufferView"]]["byteOffset"]
        values = np.frombuffer(data, "<f4", accessor["count"] * width, offset)
        attributes[name.removeprefix("KHR_gaussian_splatting:")] = values.reshape(-1, width)
    assert document["nodes"] == [{"mesh": 0}]  # nothing turns it again
    return attributes


def test_a_glb_of_it_stands_upright(judge, splat, gaussians, tmp_path):
    """glTF has y up, as memory has: what the judge turns out of the y-down file is what we turned into it."""
    judge("-w", splat, tmp_path / "x.glb")
    seen = glb_attributes(tmp_path / "x.glb")
    order = [np.abs(gaussians.means - position).sum(axis=1).argmin() for position in seen["POSITION"]]
    assert sorted(order) == list(range(COUNT))  # it sorts along a curve
    ours = gaussians[np.array(order)]
    np.testing.assert_allclose(seen["POSITION"], ours.means, atol=2e-6)
    xyzw = seen["ROTATION"] * np.where(seen["ROTATION"][:, 3:] < 0, -1, 1)
    np.testing.assert_allclose(xyzw[:, [3, 0, 1, 2]], ours.quats, atol=2e-6)
    np.testing.assert_allclose(seen["OPACITY"][:, 0], ours.opacities, atol=2e-6)
    np.testing.assert_allclose(seen["SCALE"], ours.scales, atol=2e-6)
    names = [(degree, i) for degree in range(4) for i in range(2 * degree + 1)][: ours.sh.shape[1]]
    for k, (degree, i) in enumerate(names):
        np.testing.assert_allclose(seen[f"SH_DEGREE_{degree}_COEF_{i}"], ours.sh[:, k], atol=2e-5)


def test_its_spz_is_close(judge, splat, gaussians, tmp_path):
    """Through the lossy SPZ and back: within its quantisation."""
    judge("-w", splat, tmp_path / "x.spz")
    assert io.read(tmp_path / "x.spz").format.name == "SPZ"
    judge("-w", tmp_path / "x.spz", tmp_path / "back.ply")
    back = io.load_gaussians(tmp_path / "back.ply")
    nearest = [np.abs(back.means - mean).sum(axis=1).argmin() for mean in gaussians.means]
    back = back[np.array(nearest)]
    np.testing.assert_allclose(back.means, gaussians.means, atol=5e-4)
    np.testing.assert_allclose(np.log(back.scales), np.log(gaussians.scales), atol=0.04)
    np.testing.assert_allclose(back.opacities, gaussians.opacities, atol=0.01)
    assert np.degrees(2 * np.arccos(np.clip(np.abs((back.quats * gaussians.quats).sum(axis=1)), 0, 1))).max() < 1


def test_it_keeps_the_mode(judge, gaussians, tmp_path):
    marked = Gaussians(*(getattr(gaussians, n) for n in ("means", "quats", "scales", "opacities", "sh")), Origin("x"))
    for antialiased in (True, False):
        fitted = Origin("tea pot", normalized=True, pixel_sizes=(0.001, 0.004), antialiased=antialiased)
        io.save_gaussians(tmp_path / "x.ply", replace(marked, origin=fitted), force=True)
        for name in ("back.ply", "back.compressed.ply"):
            judge("-w", tmp_path / "x.ply", tmp_path / name)
            assert io.load_gaussians(tmp_path / name).origin.antialiased is antialiased
