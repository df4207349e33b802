"""The numpy path: types, edges, visibility, and that it never imports torch."""

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from gatlas.raster import rasterize, visibility
from gatlas.raster.threads import announced_compilation, launch, set_num_threads, split_range
from gatlas.types import Gaussians
from tests.helpers.raster_scenes import FIELDS, SCENES, camera, gaussians


@pytest.mark.parametrize("name", ["torus", "degree 3", "ragged picture"])
def test_numpy_and_torch_give_the_same_bits(name):
    torch = pytest.importorskip("torch")
    scene, cameras = SCENES[name]
    background = np.array([0.1, 0.4, 0.7], dtype=np.float32)
    arrays = rasterize(scene, cameras, background=background)
    tensors = rasterize(
        Gaussians(**{field: torch.tensor(getattr(scene, field)) for field in FIELDS}), cameras, background=background
    )
    for array, tensor in zip(arrays, tensors, strict=True):
        assert isinstance(array, np.ndarray)
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, tensor.numpy(), atol=2e-6)  # torch may round the colours otherwise


def test_the_reference_takes_numpy_and_agrees():
    scene, cameras = SCENES["ragged picture"]
    expected = rasterize(scene, cameras, backend="reference")
    for image, other in zip(rasterize(scene, cameras), expected, strict=True):
        assert isinstance(other, np.ndarray)
        assert np.linalg.norm(image - other) < 1e-5 * np.linalg.norm(other)


def test_numpy_never_imports_torch():
    code = """
import sys
import gatlas.raster
for heavy in ("numpy", "numba", "torch"):
    assert heavy not in sys.modules, heavy
import numpy as np
from gatlas.raster import rasterize, visibility
from gatlas.metrics.ssim import ssim
from gatlas.types import Cameras, Gaussians
one = np.ones(1, dtype=np.float32)
scene = Gaussians(np.array([[0, 0, 1.0]]), np.array([[1.0, 0, 0, 0]]), np.ones((1, 3)), one, np.ones((1, 4, 3)))
cameras = Cameras(np.eye(4)[None], np.eye(3)[None], 2, 2)
images = rasterize(scene, cameras).colors
visibility(scene, cameras)
ssim(images, images)
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_where_nothing_shows_there_is_the_background_and_depth_zero():
    scene, cameras = SCENES["all culled"]
    rendering = rasterize(scene, cameras, background=np.array([0.25, 0.5, 0.75]))
    assert (rendering.colors == np.array([0.25, 0.5, 0.75], dtype=np.float32)).all()
    assert not rendering.alphas.any()
    assert not rendering.depths.any()


def test_each_camera_has_its_own_background():
    scene, cameras = SCENES["two cameras"]
    backgrounds = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    rendering = rasterize(scene[:0], cameras, background=backgrounds)
    assert (rendering.colors == backgrounds[:, None, None, :]).all()


def test_no_camera_gives_no_picture():
    scene, cameras = SCENES["two cameras"]
    assert rasterize(scene, cameras[:0]).colors.shape == (0, 48, 40, 3)


def test_what_is_not_a_number_is_left_out():
    scene, cameras = SCENES["torus"]
    broken = {field: getattr(scene, field).copy() for field in FIELDS}
    broken["means"][0] = np.nan
    broken["quats"][1] = 0.0
    broken["scales"][2] = np.inf
    broken["opacities"][3] = np.nan
    rendering = rasterize(Gaussians(**broken), cameras)
    expected = rasterize(scene[4:], cameras)
    for image, other in zip(rendering, expected, strict=True):
        np.testing.assert_array_equal(image, other)


def test_arrays_that_are_read_only_or_strided_or_float64_render_the_same():
    scene, cameras = SCENES["ragged picture"]
    odd = {field: np.asfortranarray(getattr(scene, field).astype(np.float64)) for field in FIELDS}
    for array in odd.values():
        array.flags.writeable = False
    for image, other in zip(rasterize(Gaussians(**odd), cameras), rasterize(scene, cameras), strict=True):
        np.testing.assert_allclose(image, other, atol=2e-6)


def test_visibility_sums_to_what_the_picture_covers():
    scene, cameras = SCENES["two cameras"]
    weights = visibility(scene, cameras)
    assert weights.shape == (2, len(scene))
    np.testing.assert_allclose(weights.sum(1), rasterize(scene, cameras).alphas.sum((1, 2, 3)), rtol=1e-5)


def test_visibility_is_the_gradient_of_the_picture_to_the_colour():
    torch = pytest.importorskip("torch")
    scene, cameras = SCENES["torus"]
    leaves = {field: torch.tensor(getattr(scene, field)) for field in FIELDS}
    leaves["sh"] = torch.full_like(leaves["sh"], 0.5).requires_grad_()
    rasterize(Gaussians(**leaves), cameras).colors[..., 0].sum().backward()
    from gatlas.geometry.sh import SH_C0

    np.testing.assert_allclose(visibility(scene, cameras)[0], leaves["sh"].grad[:, 0, 0] / SH_C0, rtol=1e-4, atol=1e-5)


def test_largest_visibility_of_a_lone_gaussian_is_its_opacity():
    scene = gaussians(1, 0, spread=0.0, size=0.5)
    cameras = camera((0, 0, 2.0), 40, 40, 40.0)
    weights = visibility(scene, cameras, reduce="max")
    alphas = rasterize(scene, cameras).alphas
    np.testing.assert_allclose(weights[0, 0], alphas.max(), rtol=1e-6)


def test_visibility_of_the_hidden_is_zero():
    scene, cameras = SCENES["all culled"]
    assert not visibility(scene, cameras).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backend": "gpu"}, "backend must be one of auto, cpu, reference, cuda, got 'gpu'"),
        ({"rasterize_mode": "sharp"}, "rasterize_mode must be one of classic, antialiased, got 'sharp'"),
        ({"means2d_absgrad": np.zeros((1, 1, 2))}, "means2d_absgrad needs Gaussians that are torch tensors"),
        ({"background": np.zeros((3, 3))}, r"background must have shape \[3\] or \[1 3\], got \[3, 3\]"),
    ],
)
def test_wrong_arguments_are_value_errors(arguments, message):
    scene, cameras = SCENES["one"]
    with pytest.raises(ValueError, match=message):
        rasterize(scene, cameras, **arguments)


def test_unknown_reduction_is_a_value_error():
    with pytest.raises(ValueError, match="reduce must be 'sum' or 'max', got 'mean'"):
        visibility(*SCENES["one"], reduce="mean")


def test_a_picture_wider_than_a_tile_equals_its_crop():
    scene, cameras = SCENES["torus"]
    whole = rasterize(scene, cameras)
    shifted = cameras.Ks.copy()
    shifted[:, 0, 2] -= 30
    crop = rasterize(scene, replace(cameras, Ks=shifted, width=34))
    # Jacobians near the edge are clamped differently, so compare the middle.
    np.testing.assert_allclose(crop.colors[:, :, 4:-4], whole.colors[:, :, 34:-4], atol=0.02)


def test_no_threads_is_a_value_error():
    with pytest.raises(ValueError, match="number of threads must be >= 1, got 0"):
        set_num_threads(0)


@pytest.mark.parametrize(("count", "threads"), [(0, 4), (1, 4), (7, 3), (8, 2)])
def test_shares_cover_every_item_once(count, threads):
    shares = split_range(count, threads)
    assert [i for start, stop in shares for i in range(start, stop)] == list(range(count))
    assert len(shares) <= threads


def test_a_failure_on_another_thread_reaches_the_caller():
    def fail(share):
        if share:
            raise ZeroDivisionError("from a worker")

    with pytest.raises(ZeroDivisionError, match="from a worker"):
        launch(fail, [(0,), (1,)])


def test_a_signal_raises_in_no_share_and_when_all_have_ended():
    """Raised in the midst of numba's compiler, it would leave a lock taken that the other shares wait for."""
    ended = []

    def share(number):
        if number == 0:
            os.kill(os.getpid(), signal.SIGINT)
        ended.append((number, threading.current_thread() is threading.main_thread()))

    with pytest.raises(KeyboardInterrupt):
        launch(share, [(0,), (1,)])
    assert sorted(ended) == [(0, False), (1, False)]


def test_only_what_the_block_compiles_is_announced(monkeypatch, capsys):
    announce = []

    def timer(after, function):
        announce.append(function)
        return SimpleNamespace(start=lambda: None, cancel=lambda: None)

    monkeypatch.setattr("threading.Timer", timer)
    kernel = SimpleNamespace(stats=SimpleNamespace(cache_misses={"float32": 1}))  # before the block
    with announced_compilation(kernel):
        announce[0]()
        assert capsys.readouterr().err == ""
        kernel.stats.cache_misses["float64"] = 1
        announce[0]()
        assert capsys.readouterr().err == "gatlas: compiling kernels (once) ...\n"
