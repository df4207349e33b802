"""The verbs with --device cuda on a pretended device: nothing is mixed, and nothing runs on the CPU without a word."""

import numpy as np
import pytest
from safetensors.torch import save_file

from gatlas import io
from gatlas.geometry.cameras import fibonacci_views
from gatlas.meshes.edits import normalize_mesh
from gatlas.meshes.render import render_mesh
from gatlas.raster import cuda
from tests.helpers.meshes import textured_tetrahedron
from tests.metrics.test_lpips import random_state

pytestmark = pytest.mark.usefixtures("cuda_device")

SMALL = ("--count", 40, "--iterations", 3, "--resolution", 32, "--device", "cuda")


@pytest.fixture
def counted(monkeypatch):
    """The number of calls of gsplat, in a list."""
    calls = []
    rasterize = cuda.rasterize_gsplat

    def rasterize_counted(*arguments):
        calls.append(arguments)
        return rasterize(*arguments)

    monkeypatch.setattr(cuda, "rasterize_gsplat", rasterize_counted)
    return calls


@pytest.fixture
def photos(tmp_path):
    views = render_mesh(normalize_mesh(textured_tetrahedron()), fibonacci_views(6, 32, 32), supersample=2)
    io.save_views(str(tmp_path / "photos"), views)
    return "photos"


@pytest.mark.parametrize("model", ["direct", pytest.param("scaffold", marks=pytest.mark.slow)])
def test_fit_renders_there_with_lpips(gatlas, photos, counted, tmp_path, model):
    save_file(random_state("alexnet"), tmp_path / "alexnet.safetensors")
    gatlas("fit", photos, *SMALL, "--model", model, "--lpips-weights", "alexnet.safetensors", "-o", "made.ply")
    assert len(counted) == 3
    assert 0 < len(io.load_gaussians(str(tmp_path / "made.ply"))) <= 40


def test_a_stopped_fit_is_resumed_there(gatlas, photos, counted, tmp_path):
    words = ("fit", photos, *SMALL, "--resume", "state.npz", "-o", "made.ply")
    gatlas(*words, "--time-limit", 0, code=75)
    assert (tmp_path / "state.npz").is_file()
    gatlas(*words)
    assert len(counted) == 3


def test_prune_finetunes_there(gatlas, splat_bytes, counted, tmp_path):
    (tmp_path / "ball.ply").write_bytes(splat_bytes)
    words = ("-n", 50, "--finetune", 2, "--resolution", 32, "--device", "cuda")
    gatlas("prune", "ball.ply", *words, "-o", "half.ply")
    assert len(counted) == 2
    assert len(io.load_gaussians(str(tmp_path / "half.ply"))) == 50


def test_render_renders_there(gatlas, splat_bytes, counted, tmp_path):
    (tmp_path / "ball.ply").write_bytes(splat_bytes)
    for device in ("cuda", "cpu"):
        gatlas("render", "ball.ply", "--width", 48, "--device", device, "-o", f"{device}.png")
    assert len(counted) >= 1
    pictures = [io.load_image(str(tmp_path / f"{device}.png")) for device in ("cuda", "cpu")]
    np.testing.assert_allclose(*pictures, atol=2 / 255)


def test_mesh_renders_there(gatlas, egg_bytes, counted, tmp_path):
    (tmp_path / "egg.ply").write_bytes(egg_bytes)
    for device in ("cuda", "cpu"):
        words = ("--views", 8, "--resolution", 48, "--grid", 32, "--triangles", 200, "--texture", 0)
        gatlas("mesh", "egg.ply", *words, "--device", device, "-o", f"{device}.glb")
        assert len(counted) > 0
    made = [io.load_mesh(tmp_path / f"{device}.glb") for device in ("cuda", "cpu")]
    extents = [np.ptp(mesh.vertices, axis=0) for mesh in made]
    np.testing.assert_allclose(*extents, rtol=0.05)
    np.testing.assert_allclose(*(mesh.colors.mean(axis=0) for mesh in made), atol=0.02)
