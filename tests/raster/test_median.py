"""Median depth: by hand, against the reference, and that the other outputs do not change."""

import numpy as np
import pytest

from gatlas.raster import median_depths, median_gaussians, rasterize
from gatlas.raster.threads import set_num_threads
from gatlas.types import Cameras, Gaussians
from tests.helpers.raster_scenes import FIELDS, NEAR_PLANE, SCENES

AGREEING = [name for name in SCENES if "needles" not in name]  # of needles single pixels round to the other side


def on_the_axis(depths, opacities):
    count = len(depths)
    means = np.zeros((count, 3), dtype=np.float32)
    means[:, 2] = depths
    quats = np.tile(np.float32([1, 0, 0, 0]), (count, 1))
    scales = np.full((count, 3), 0.5, dtype=np.float32)
    return Gaussians(means, quats, scales, np.float32(opacities), np.zeros((count, 1, 3), dtype=np.float32))


def middle_of(scene, **options):
    K = np.array([[10.0, 0, 1.5], [0, 10.0, 1.5], [0, 0, 1]])
    return float(median_depths(scene, Cameras(np.eye(4)[None], K[None], 3, 3), **options)[0, 1, 1, 0])


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize(
    ("opacities", "depth"),
    [
        ([0.6, 0.9, 0.9], 2.0),  # 0.4 is left
        ([0.4, 0.4, 0.9], 3.0),  # 0.6, then 0.36
        ([0.2, 0.2, 0.5], 4.0),  # 0.8, 0.64, 0.32
        ([0.2, 0.2, 0.2], 0.0),  # 0.512
    ],
)
def test_it_is_the_depth_of_the_gaussian_that_leaves_half_of_the_light(backend, opacities, depth):
    shuffled = [2, 0, 1]
    scene = on_the_axis(np.array([2.0, 3.0, 4.0])[shuffled], np.array(opacities)[shuffled])
    assert middle_of(scene, backend=backend) == depth


def torch_scene(scene, dtype):
    torch = pytest.importorskip("torch")
    return Gaussians(**{field: torch.tensor(getattr(scene, field), dtype=dtype) for field in FIELDS})


@pytest.mark.parametrize("mode", ["classic", "antialiased"])
@pytest.mark.parametrize("name", AGREEING)
def test_the_kernels_agree_with_the_float64_reference(name, mode):
    torch = pytest.importorskip("torch")
    scene, cameras = SCENES[name]
    options = {"rasterize_mode": mode, "near_plane": NEAR_PLANE}
    found = median_depths(scene, cameras, **options)
    expected = median_depths(torch_scene(scene, torch.float64), cameras, backend="reference", **options)
    wrong = np.abs(found - expected.numpy()) > 1e-5 * (1 + expected.numpy())
    assert found.shape == (len(cameras), cameras.height, cameras.width, 1)
    assert wrong.mean() <= 1e-3  # a transmittance that rounds to the other side of a half


def test_it_is_given_where_alpha_is_at_least_a_half():
    scene, cameras = SCENES["torus"]
    alphas = rasterize(scene, cameras).alphas
    clear = np.abs(alphas - 0.5) > 1e-5
    np.testing.assert_array_equal((median_depths(scene, cameras) > 0)[clear], (alphas > 0.5)[clear])


def test_rasterize_gives_it_in_place_of_the_mean_and_all_else_stays():
    scene, cameras = SCENES["two cameras"]
    usual, median = rasterize(scene, cameras), rasterize(scene, cameras, depth="median")
    np.testing.assert_array_equal(median.colors, usual.colors)
    np.testing.assert_array_equal(median.alphas, usual.alphas)
    np.testing.assert_array_equal(median.depths, median_depths(scene, cameras))
    assert (median.depths != usual.depths).any()


def test_its_gaussian_has_that_depth():
    scene, cameras = SCENES["ragged picture"]
    indices = median_gaussians(scene, cameras)
    np.testing.assert_array_equal(indices, median_gaussians(scene, cameras, backend="reference"))
    view = cameras.viewmats[0].astype(np.float64)
    z = np.append(scene.means @ view[2, :3] + view[2, 3], 0.0)
    assert indices.min() == -1
    np.testing.assert_allclose(z[indices], median_depths(scene, cameras)[..., 0], rtol=1e-6)


def test_tensors_give_the_same_bits_and_no_gradient():
    torch = pytest.importorskip("torch")
    scene, cameras = SCENES["ragged picture"]
    tensors = torch_scene(scene, torch.float32)
    tensors.means.requires_grad_()
    depths = median_depths(tensors, cameras)
    assert not depths.requires_grad
    np.testing.assert_array_equal(depths.numpy(), median_depths(scene, cameras))


def test_any_number_of_threads_gives_the_same_bits():
    scene, cameras = SCENES["torus"]
    expected = median_depths(scene, cameras)
    try:
        for count in (1, 3):
            set_num_threads(count)
            np.testing.assert_array_equal(median_depths(scene, cameras), expected)
    finally:
        set_num_threads(None)


@pytest.mark.parametrize("mode", ["classic", "antialiased"])
@pytest.mark.parametrize("name", ["two cameras", "all culled", "none"])
@pytest.mark.usefixtures("cuda_device")
def test_the_second_pass_with_gsplat_agrees_with_the_reference(name, mode):
    assert_gsplat_agrees(name, mode)


@pytest.mark.gpu
@pytest.mark.parametrize("mode", ["classic", "antialiased"])
@pytest.mark.parametrize("name", ["torus", "two cameras", "ragged picture", "saturated", "all culled", "none"])
def test_on_a_gpu_it_agrees_with_the_reference(name, mode):
    assert_gsplat_agrees(name, mode)


def assert_gsplat_agrees(name, mode):
    torch = pytest.importorskip("torch")
    scene, cameras = SCENES[name]
    on_device = Gaussians(**{field: torch.tensor(getattr(scene, field), device="cuda") for field in FIELDS})
    found = median_depths(on_device, cameras, rasterize_mode=mode).cpu().numpy()
    expected = median_depths(scene, cameras, backend="reference", rasterize_mode=mode)
    assert (np.abs(found - expected) > 1e-4 * (1 + expected)).mean() <= 2e-3
    indices = median_gaussians(on_device, cameras, rasterize_mode=mode).cpu().numpy()
    assert (indices != median_gaussians(scene, cameras, rasterize_mode=mode)).mean() <= 2e-3
    np.testing.assert_array_equal(indices >= 0, found[..., 0] > 0)
    assert (found > 0).any() == (expected > 0).any()


def test_an_unknown_depth_or_backend_is_a_value_error():
    scene, cameras = SCENES["one"]
    with pytest.raises(ValueError, match="depth must be one of expected, median, got 'mode'"):
        rasterize(scene, cameras, depth="mode")
    with pytest.raises(ValueError, match="backend must be one of auto, cpu, reference, cuda, got 'gpu'"):
        median_depths(scene, cameras, backend="gpu")
