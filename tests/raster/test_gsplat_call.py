"""Our call of gsplat, without a GPU: its own Python code over torch twins of its kernels, on a pretended CUDA device.

Arguments, types, shapes and conventions against the float64 reference, forward and backward.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gatlas.raster import cuda, rasterize
from gatlas.types import Gaussians
from tests.helpers.raster_scenes import FIELDS, ILL_CONDITIONED_FOR_GSPLAT, SCENES, gaussians, nudged
from tests.raster.test_cuda import (
    GSPLAT_SCENES,
    agree,
    differences,
    differentiate,
    render_and_differentiate,
)

pytestmark = pytest.mark.usefixtures("cuda_device")

QUICK = ("all culled", "one", "behind, on and beyond the near plane", "one pixel", "none")
CLOUD = gaussians(40, 21, size=0.1)
CAMERAS = replace(SCENES["two cameras"][1], width=20, height=24)


@pytest.mark.parametrize("mode", ["classic", "antialiased"])
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n not in QUICK)) for n in GSPLAT_SCENES])
def test_it_agrees_with_the_float64_reference(name, mode):
    found = render_and_differentiate(name, "auto", "cuda", torch.float32, rasterize_mode=mode)
    assert agree(found, render_and_differentiate(name, "reference", "cpu", torch.float64, rasterize_mode=mode))


def test_planes_and_blur_are_those_of_the_reference():
    options = {"near_plane": 2.3, "far_plane": 2.9, "eps2d": 1.5}
    found = differentiate(CLOUD, CAMERAS, "auto", "cuda", torch.float32, **options)
    expected = differentiate(CLOUD, CAMERAS, "reference", "cpu", torch.float64, **options)
    assert agree(found, expected)
    for name in options:  # each has an effect
        others = {other: value for other, value in options.items() if other != name}
        assert not agree(found, differentiate(CLOUD, CAMERAS, "auto", "cuda", torch.float32, **others))


def test_each_camera_has_its_background():
    colors = [[0.1, 0.2, 0.3], [0.9, 0.8, 0.7]]
    found = differentiate(CLOUD, CAMERAS, "auto", "cuda", torch.float32, background=colors)
    assert agree(found, differentiate(CLOUD, CAMERAS, "reference", "cpu", torch.float64, background=colors))


@pytest.mark.parametrize("mode", ["classic", "antialiased"])
def test_each_camera_has_its_blur(mode):
    options = {"eps2d": np.array([0.3, 1.5]), "rasterize_mode": mode}
    found = differentiate(CLOUD, CAMERAS, "auto", "cuda", torch.float32, **options)
    assert agree(found, differentiate(CLOUD, CAMERAS, "reference", "cpu", torch.float64, **options))


@pytest.mark.parametrize("eps2d", [0.3, np.array([0.3, 1.5])])
def test_absolute_gradients_are_those_of_the_reference(eps2d):
    shape = (len(CAMERAS), len(CLOUD), 2)
    absolute, expected = torch.zeros(shape, device="cuda"), torch.zeros(shape)
    differentiate(CLOUD, CAMERAS, "auto", "cuda", torch.float32, means2d_absgrad=absolute, eps2d=eps2d)
    differentiate(CLOUD, CAMERAS, "reference", "cpu", torch.float64, means2d_absgrad=expected, eps2d=eps2d)
    assert expected.norm() > 0
    assert (absolute.cpu() - expected).norm() <= 1e-3 * expected.norm()


def test_the_gradient_to_the_cameras_is_that_of_the_reference():
    gradients = []
    for backend, device, dtype in (("auto", "cuda", torch.float32), ("reference", "cpu", torch.float64)):
        fields = {field: torch.tensor(getattr(CLOUD, field), dtype=dtype, device=device) for field in FIELDS}
        viewmats = torch.tensor(CAMERAS.viewmats, dtype=dtype, device=device, requires_grad=True)
        cameras = replace(CAMERAS, viewmats=viewmats, Ks=torch.tensor(CAMERAS.Ks, dtype=dtype, device=device))
        rasterize(Gaussians(**fields), cameras, backend=backend).colors.square().sum().backward()
        gradients.append(viewmats.grad.cpu().double()[:, :3])
    assert (gradients[0] - gradients[1]).norm() <= 1e-3 * gradients[1].norm()


@pytest.mark.parametrize("backend", ["auto", "cuda"])
def test_pictures_of_tensors_on_the_device_stay_there_and_those_of_numpy_are_numpy(backend):
    assert cuda.why_unusable() is None
    tensors = Gaussians(**{field: torch.tensor(getattr(CLOUD, field), device="cuda") for field in FIELDS})
    assert rasterize(tensors, CAMERAS, backend=backend).colors.is_cuda
    arrays = rasterize(CLOUD, CAMERAS, backend=backend).colors
    assert isinstance(arrays, np.ndarray)
    np.testing.assert_allclose(arrays, rasterize(CLOUD, CAMERAS, backend="cpu").colors, atol=2e-3)


def test_the_cpu_kernels_take_tensors_of_the_device_and_give_gradients_back_there():
    found, expected = (differentiate(CLOUD, CAMERAS, "cpu", device, torch.float32) for device in ("cuda", "cpu"))
    assert differences(found, expected) == [0.0, 0.0]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["classic", "antialiased"])
def test_only_scenes_on_which_all_roundings_agree_are_asked_of_a_gpu(mode):
    """The float64 reference of each rounding of the input, against gsplat's formulas in float32."""

    def all_agree(name):
        scene, cameras = SCENES[name]
        roundings = [scene, *(nudged(scene, seed) for seed in (1, 2))]
        return all(
            agree(
                differentiate(rounding, cameras, "auto", "cuda", torch.float32, rasterize_mode=mode),
                differentiate(rounding, cameras, "reference", "cpu", torch.float64, rasterize_mode=mode),
            )
            for rounding in roundings
        )

    assert all_agree("short needles")
    assert {"needles"} == ILL_CONDITIONED_FOR_GSPLAT
    assert not all_agree("needles")
