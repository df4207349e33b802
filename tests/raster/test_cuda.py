"""gsplat: against the float64 reference where there is a CUDA device; what happens where there is none."""

import warnings

import numpy as np
import pytest
import torch
from raster_scenes import FIELDS, SCENES

from gatlas.errors import GatlasError
from gatlas.raster import cuda, rasterize
from gatlas.types import Gaussians

without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")


def render_and_differentiate(name, backend, device, dtype):
    scene, cameras = SCENES[name]
    leaves = {
        field: torch.tensor(getattr(scene, field), dtype=dtype, device=device, requires_grad=True) for field in FIELDS
    }
    background = torch.tensor([0.2, 0.5, 0.9], dtype=dtype, device=device, requires_grad=True)
    rendering = rasterize(Gaussians(**leaves), cameras, background=background, backend=backend)
    generator = torch.Generator().manual_seed(1)
    loss = torch.zeros((), dtype=torch.float64)
    for image in rendering:
        loss = loss + (torch.randn(image.shape, generator=generator, dtype=torch.float64) * image.cpu()).sum()
    gradients = torch.autograd.grad(loss, [*leaves.values(), background], allow_unused=True)
    gradients = [torch.zeros(1) if gradient is None else gradient for gradient in gradients]
    return [image.detach().cpu().double() for image in rendering], [gradient.cpu().double() for gradient in gradients]


@pytest.mark.gpu
@pytest.mark.parametrize("name", SCENES)
def test_gsplat_agrees_with_the_float64_reference(name):
    images, gradients = render_and_differentiate(name, "auto", "cuda", torch.float32)
    expected_images, expected_gradients = render_and_differentiate(name, "reference", "cpu", torch.float64)
    for image, expected in zip(images, expected_images, strict=True):
        assert (image - expected).norm() <= 1e-4 * expected.norm()
    for gradient, expected in zip(gradients, expected_gradients, strict=True):
        assert (gradient - expected).norm() <= 1e-3 * expected.norm()


@pytest.mark.gpu
def test_auto_is_gsplat_for_tensors_on_cuda_and_stays_there():
    assert cuda.why_unusable() is None
    scene, cameras = SCENES["one"]
    rendering = rasterize(Gaussians(**{field: torch.tensor(getattr(scene, field)).cuda() for field in FIELDS}), cameras)
    assert rendering.colors.is_cuda


@without_cuda
def test_asking_for_cuda_without_a_device_says_what_to_do():
    with pytest.raises(GatlasError, match=r"torch sees no CUDA device\. Use the CPU instead"):
        rasterize(*SCENES["one"], backend="cuda")


def test_where_gsplat_fails_tensors_are_rendered_on_the_cpu_with_one_warning(monkeypatch):
    from gatlas.raster import dispatch

    class PretendsToBeOnCuda(torch.Tensor):
        device = property(lambda self: torch.device("cuda"))

    monkeypatch.setattr(cuda, "why_unusable", lambda: "ImportError: no kernels")
    dispatch._warn_of_cpu.cache_clear()
    means = torch.zeros((1, 3)).as_subclass(PretendsToBeOnCuda)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        chosen = [dispatch._choose(means, "auto") for _ in range(3)]
    assert chosen == ["cpu"] * 3
    assert [str(warning.message) for warning in caught] == [
        "gsplat does not run here, so Gaussians are rendered on the CPU: ImportError: no kernels"
    ]


def test_tensors_on_the_cpu_are_never_tried_on_gsplat(monkeypatch):
    def fail():
        raise AssertionError("gsplat was tried")

    monkeypatch.setattr(cuda, "why_unusable", fail)
    scene, cameras = SCENES["one"]
    rendering = rasterize(Gaussians(**{field: torch.tensor(getattr(scene, field)) for field in FIELDS}), cameras)
    np.testing.assert_array_equal(rendering.alphas.numpy(), rasterize(scene, cameras).alphas)
