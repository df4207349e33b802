"""The CPU kernels against the float64 reference: pictures and every gradient."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gatlas.raster import rasterize
from gatlas.raster.threads import set_num_threads
from gatlas.types import Gaussians
from tests.helpers.raster_scenes import FIELDS, SCENES, camera, gaussians


def render_and_differentiate(name, backend, dtype, **options):
    """Pictures of a scene, and the gradients of a loss on all of them at once, as float64 arrays."""
    scene, cameras = many_gaussians() if name == "100,000" else SCENES[name]
    leaves = {field: torch.tensor(getattr(scene, field), dtype=dtype, requires_grad=True) for field in FIELDS}
    background = torch.tensor([0.2, 0.5, 0.9], dtype=dtype, requires_grad=True)
    rendering = rasterize(Gaussians(**leaves), cameras, background=background, backend=backend, **options)
    generator = torch.Generator().manual_seed(1)
    loss = torch.zeros((), dtype=torch.float64)
    for image in rendering:
        loss = loss + (torch.randn(image.shape, generator=generator, dtype=torch.float64) * image).sum()
    loss.backward()
    gradients = {field: leaf.grad for field, leaf in leaves.items()} | {"background": background.grad}
    images = {field: image.detach().double().numpy() for field, image in rendering._asdict().items()}
    return images, {field: gradient.double().numpy() for field, gradient in gradients.items()}


def relative_error(actual, expected):
    scale = np.linalg.norm(expected)
    return np.linalg.norm(actual - expected) / scale if scale > 0 else np.abs(actual).max(initial=0.0)


def many_gaussians():
    """100,000 Gaussians that are many deep in every pixel, and a ragged picture."""
    return gaussians(100_000, 16, size=0.004), camera((0.8, 1.2, 2.6), 50, 33, 55.0)


def assert_agreement(name, **options):
    images, gradients = render_and_differentiate(name, "cpu", torch.float32, **options)
    expected_images, expected_gradients = render_and_differentiate(name, "reference", torch.float64, **options)
    for field, expected in expected_images.items():
        assert relative_error(images[field], expected) < 1e-6, field
    for field, expected in expected_gradients.items():
        assert relative_error(gradients[field], expected) < 1e-5, field


@pytest.mark.parametrize("mode", ["classic", "antialiased"])
@pytest.mark.parametrize("name", SCENES)
def test_kernels_agree_with_the_float64_reference(name, mode):
    assert_agreement(name, rasterize_mode=mode)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["classic", "antialiased"])
def test_kernels_agree_with_the_float64_reference_on_100_000_gaussians(mode):
    assert_agreement("100,000", rasterize_mode=mode)


def absolute_gradients(name, backend, dtype, mode="classic"):
    scene, cameras = SCENES[name]
    absolute = torch.zeros((len(cameras), len(scene), 2))
    _, gradients = render_and_differentiate(name, backend, dtype, rasterize_mode=mode, means2d_absgrad=absolute)
    return absolute.numpy(), gradients


@pytest.mark.parametrize("mode", ["classic", "antialiased"])
@pytest.mark.parametrize("name", ["torus", "two cameras", "saturated", "needles", "all culled", "none"])
def test_absolute_gradients_agree_with_the_reference_and_change_no_other(name, mode):
    absolute, gradients = absolute_gradients(name, "cpu", torch.float32, mode)
    expected, _ = absolute_gradients(name, "reference", torch.float64, mode)
    assert relative_error(absolute, expected) < 1e-5
    _, without = render_and_differentiate(name, "cpu", torch.float32, rasterize_mode=mode)
    for field, gradient in without.items():
        np.testing.assert_array_equal(gradients[field], gradient)


def test_absolute_gradients_add_up_over_backward_passes():
    scene, cameras = SCENES["two cameras"]
    leaves = {field: torch.tensor(getattr(scene, field), requires_grad=True) for field in FIELDS}
    absolute = torch.zeros((2, len(scene), 2))
    for _ in range(2):
        rasterize(Gaussians(**leaves), cameras, means2d_absgrad=absolute).colors.sum().backward()
        once = absolute / 2 if _ else absolute.clone()
    assert once.any()
    torch.testing.assert_close(absolute, 2 * once, rtol=1e-6, atol=0)


def test_antialiasing_keeps_what_a_small_gaussian_shows_in_all():
    # Far smaller than a pixel: the sum of alpha over the picture is opacity x 2 pi sqrt(det), whatever the blur.
    ball = gaussians(1, 0, spread=0.0)
    scene = replace(ball, scales=np.full((1, 3), 0.02, np.float32), opacities=np.ones(1, np.float32))
    cameras = camera((0.0, 0.0, 2.0), 33, 33, 30.0)
    focal = cameras.Ks[0, [0, 1], [0, 1]]
    expected = 2 * np.pi * np.prod(focal * 0.02 / 2.0)
    sums = [rasterize(scene, cameras, rasterize_mode="antialiased", eps2d=eps2d).alphas.sum() for eps2d in (0.3, 0.6)]
    np.testing.assert_allclose(sums, expected, rtol=0.05)  # less the faintest part
    assert rasterize(scene, cameras).alphas.sum() > 3 * expected


def test_results_do_not_depend_on_the_number_of_threads():
    results = []
    for threads in (1, 1, 2, 5):  # nor on the run
        set_num_threads(threads)
        try:
            results.append(render_and_differentiate("torus", "cpu", torch.float32))
            absolute, _ = absolute_gradients("torus", "cpu", torch.float32)
            results[-1][1]["means2d_absgrad"] = absolute
        finally:
            set_num_threads(None)
    for images, gradients in results[1:]:
        for field, image in images.items():
            np.testing.assert_array_equal(image, results[0][0][field])
        for field, gradient in gradients.items():
            np.testing.assert_array_equal(gradient, results[0][1][field])


def test_a_gaussian_too_faint_or_hidden_gets_no_gradient():
    _, gradients = render_and_differentiate("half of them too faint", "cpu", torch.float32)
    assert not gradients["opacities"][::2].any()
    assert gradients["opacities"][1::2].any()


def test_float64_tensors_come_back_as_float64():
    scene, cameras = SCENES["one"]
    leaves = {field: torch.tensor(getattr(scene, field), dtype=torch.float64, requires_grad=True) for field in FIELDS}
    rendering = rasterize(Gaussians(**leaves), cameras)
    rendering.colors.sum().backward()
    assert rendering.colors.dtype == torch.float64
    assert leaves["means"].grad.dtype == torch.float64


@pytest.mark.parametrize("field", ["viewmats", "Ks"])
def test_asking_the_kernels_for_a_camera_gradient_is_an_error(field):
    scene, cameras = SCENES["one"]
    cameras = replace(cameras, **{field: torch.tensor(getattr(cameras, field), requires_grad=True)})
    scene = Gaussians(**{name: torch.tensor(getattr(scene, name)) for name in FIELDS})
    with pytest.raises(ValueError, match=f"no gradient for cameras.{field}.*backend='reference'"):
        rasterize(scene, cameras)
    with torch.no_grad():
        rasterize(scene, cameras)


def test_changing_a_parameter_before_the_backward_pass_is_an_error():
    scene, cameras = SCENES["one"]
    leaves = {field: torch.tensor(getattr(scene, field), requires_grad=True) for field in FIELDS}
    loss = rasterize(Gaussians(**leaves), cameras).colors.sum()
    with torch.no_grad():
        leaves["means"] += 1.0
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_loss_on_depths_alone_moves_a_gaussian_along_the_view():
    _, cameras = SCENES["one"]
    cloud = gaussians(1, 0, spread=0.0, size=0.3)
    means = torch.tensor(cloud.means, requires_grad=True)
    parameters = {field: torch.tensor(getattr(cloud, field)) for field in FIELDS if field != "means"}
    depths = rasterize(Gaussians(means=means, **parameters), cameras).depths
    covered = depths > 0
    depths.sum().backward()
    # The mean depth of a single Gaussian is its own z wherever it shows.
    expected = covered.sum().item() * cameras.viewmats[0, 2, :3]
    np.testing.assert_allclose(means.grad[0], expected, rtol=1e-4, atol=1e-3)
