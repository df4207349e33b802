"""gsplat: against the float64 reference where there is a CUDA device; what happens where there is none."""

import warnings
import weakref

import numpy as np
import pytest
import torch

from gatlas.errors import GatlasError
from gatlas.raster import cuda, rasterize
from gatlas.raster.dispatch import choose_backend
from gatlas.types import Gaussians
from tests.helpers.raster_scenes import FIELDS, ILL_CONDITIONED_FOR_GSPLAT, SCENES

without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")


GSPLAT_SCENES = [name for name in SCENES if name not in ILL_CONDITIONED_FOR_GSPLAT]


def render_and_differentiate(name, backend, device, dtype, **options):
    return differentiate(*SCENES[name], backend, device, dtype, **options)


def differentiate(scene, cameras, backend, device, dtype, *, background=(0.2, 0.5, 0.9), **options):
    """The pictures and the gradients of a random combination of their pixels, float64 on the CPU."""
    leaves = {
        field: torch.tensor(getattr(scene, field), dtype=dtype, device=device, requires_grad=True) for field in FIELDS
    }
    background = torch.tensor(background, dtype=dtype, device=device, requires_grad=True)
    rendering = rasterize(Gaussians(**leaves), cameras, background=background, backend=backend, **options)
    generator = torch.Generator().manual_seed(1)
    loss = torch.zeros((), dtype=torch.float64)
    for image in rendering:
        loss = loss + (torch.randn(image.shape, generator=generator, dtype=torch.float64) * image.cpu()).sum()
    gradients = torch.autograd.grad(loss, [*leaves.values(), background], allow_unused=True)
    gradients = [torch.zeros(1) if gradient is None else gradient for gradient in gradients]
    return [image.detach().cpu().double() for image in rendering], [gradient.cpu().double() for gradient in gradients]


def differences(found, expected):
    """The largest relative distance of a picture and of a gradient."""
    return [
        max(float((a - b).norm() / b.norm().clamp(min=1e-9)) for a, b in zip(one, other, strict=True))
        for one, other in zip(found, expected, strict=True)
    ]


def agree(found, expected):
    images, gradients = differences(found, expected)
    return images <= 1e-4 and gradients <= 1e-3


@pytest.mark.gpu
@pytest.mark.parametrize("mode", ["classic", "antialiased"])
@pytest.mark.parametrize("name", GSPLAT_SCENES)
def test_gsplat_agrees_with_the_float64_reference(name, mode):
    options = {"rasterize_mode": mode}
    found = render_and_differentiate(name, "auto", "cuda", torch.float32, **options)
    assert agree(found, render_and_differentiate(name, "reference", "cpu", torch.float64, **options))


@pytest.mark.gpu
def test_absolute_gradients_of_gsplat_agree_with_the_reference():
    scene, cameras = SCENES["two cameras"]
    absolute, expected = (torch.zeros((len(cameras), len(scene), 2), device=device) for device in ("cuda", "cpu"))
    render_and_differentiate("two cameras", "auto", "cuda", torch.float32, means2d_absgrad=absolute)
    render_and_differentiate("two cameras", "reference", "cpu", torch.float64, means2d_absgrad=expected)
    assert (absolute.cpu() - expected).norm() <= 1e-3 * expected.norm()


def test_what_the_backward_pass_leaves_at_the_means_is_added_up_and_nothing_is_kept_alive():
    class LikeGsplat(torch.autograd.Function):  # it sets the attribute on the tensor that it saved
        @staticmethod
        def forward(ctx, means2d):
            ctx.save_for_backward(means2d)
            return means2d.sum()

        @staticmethod
        def backward(ctx, gradient):
            (means2d,) = ctx.saved_tensors
            means2d.absgrad = torch.full_like(means2d, 3.0)
            return torch.ones_like(means2d) * gradient

    leaf = torch.zeros((1, 4, 2), requires_grad=True)
    total = torch.zeros((1, 4, 2))
    means2d = leaf * 2
    kept = weakref.ref(means2d)
    cuda.collect_absgrad(means2d, total)
    loss = LikeGsplat.apply(means2d)
    del means2d
    loss.backward()
    assert (total == 3).all()
    del loss
    assert kept() is None


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
    class PretendsToBeOnCuda(torch.Tensor):
        device = property(lambda self: torch.device("cuda"))

    monkeypatch.setattr(cuda, "why_unusable", lambda: "ImportError: no kernels")
    means = torch.zeros((1, 3)).as_subclass(PretendsToBeOnCuda)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        chosen = [choose_backend(means, "auto") for _ in range(3)]
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
