"""The plain-torch oracle: against hand-worked values, finite differences and gsplat's own projection."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gatlas.geometry.sh import rgb_to_dc
from gatlas.raster import ProjectionOptions, rasterize
from gatlas.raster.reference import project
from gatlas.types import Cameras, Gaussians
from tests.helpers.raster_scenes import FIELDS, SCENES, camera, gaussians


def tensors(scene, dtype=torch.float64):
    return Gaussians(**{field: torch.tensor(getattr(scene, field), dtype=dtype) for field in FIELDS})


def balls(depths, opacities, colors, radius=0.5):
    """Isotropic Gaussians on the optical axis of `axial_camera`."""
    count = len(depths)
    means = torch.zeros((count, 3), dtype=torch.float64)
    means[:, 2] = torch.tensor(depths)
    quats = torch.tensor([[1.0, 0.0, 0.0, 0.0]], dtype=torch.float64).expand(count, 4)
    scales = torch.full((count, 3), radius, dtype=torch.float64)
    sh = rgb_to_dc(torch.tensor(colors, dtype=torch.float64))[:, None]
    return Gaussians(means, quats, scales, torch.tensor(opacities, dtype=torch.float64), sh)


def axial_camera(size=3, focal=10.0):
    """At the origin, looking along +z; the centre of the middle pixel lies on the axis."""
    K = torch.tensor([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]], dtype=torch.float64)
    return Cameras(torch.eye(4, dtype=torch.float64)[None], K[None], size, size)


def test_one_gaussian_by_hand():
    scene = balls([2.0], [0.8], [[1.0, 0.5, 0.25]])
    rendering = rasterize(scene, axial_camera(), backend="reference", background=torch.tensor([0.0, 0.0, 1.0]))
    variance = (10.0 * 0.5 / 2.0) ** 2 + 0.3  # focal x scale / z, and the blur
    alpha = 0.8 * np.exp(-0.5 / variance)  # one pixel beside the centre
    colors, alphas, depths = (image[0].numpy() for image in rendering)
    np.testing.assert_allclose(alphas[1, 1, 0], 0.8, rtol=1e-12)
    np.testing.assert_allclose(alphas[1, 2, 0], alpha, rtol=1e-12)
    np.testing.assert_allclose(colors[1, 2], [alpha, 0.5 * alpha, 0.25 * alpha + 1 - alpha], rtol=1e-12)
    np.testing.assert_allclose(depths[..., 0], 2.0, rtol=1e-12)


def test_two_gaussians_blend_front_to_back_whatever_their_order():
    scene = balls([3.0, 2.0], [0.6, 0.5], [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    rendering = rasterize(scene, axial_camera(), backend="reference")
    np.testing.assert_allclose(rendering.colors[0, 1, 1], [0.5 * 0.6, 0.5, 0.0], atol=1e-12)
    np.testing.assert_allclose(rendering.depths[0, 1, 1], (0.5 * 2 + 0.3 * 3) / 0.8, rtol=1e-12)


def test_the_gaussian_that_would_leave_no_light_is_not_blended():
    # 1 - 0.999 = 1e-3 is left after the first; the second would leave 1e-6 <= 1e-4.
    scene = balls([2.0, 3.0], [1.0, 1.0], [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    rendering = rasterize(scene, axial_camera(), backend="reference")
    np.testing.assert_allclose(rendering.colors[0, 1, 1], [0.999, 0.0, 0.0], rtol=1e-12)
    np.testing.assert_allclose(rendering.alphas[0, 1, 1], 0.999, rtol=1e-12)


def test_negative_colours_show_as_black():
    rendering = rasterize(balls([2.0], [0.5], [[-1.0, 0.5, 0.5]]), axial_camera(), backend="reference")
    np.testing.assert_allclose(rendering.colors[0, 1, 1], [0.0, 0.25, 0.25], atol=1e-12)


@pytest.mark.parametrize(("depth", "shown"), [(0.0099, False), (0.0101, True), (-1.0, False)])
def test_the_near_plane_culls(depth, shown):
    rendering = rasterize(balls([depth], [0.5], [[1.0, 1.0, 1.0]], radius=1e-3), axial_camera(), backend="reference")
    assert bool(rendering.alphas.any()) == shown


def test_the_far_plane_culls():
    scene = balls([2.0, 4.0], [0.5, 0.5], [[1.0, 1.0, 1.0]] * 2)
    rendering = rasterize(scene, axial_camera(), backend="reference", far_plane=3.0)
    np.testing.assert_allclose(rendering.alphas[0, 1, 1], 0.5)


@pytest.mark.parametrize("name", ["torus", "close-up with clamped Jacobians", "around the camera"])
def test_projection_is_that_of_gsplat(name):
    implementation = pytest.importorskip("gsplat.cuda._torch_impl")
    scene, cameras = SCENES[name]
    scene = tensors(scene)
    cameras = replace(cameras, viewmats=torch.tensor(cameras.viewmats).double(), Ks=torch.tensor(cameras.Ks).double())
    covars, _ = implementation._quat_scale_to_covar_preci(scene.quats, scene.scales, compute_preci=False)
    radii, means2d, depths, conics, compensations = implementation._fully_fused_projection(
        scene.means, covars, cameras.viewmats, cameras.Ks, cameras.width, cameras.height, calc_compensations=True
    )
    projection = project(scene, cameras)
    kept = projection.visible
    assert kept.sum() > 50
    np.testing.assert_allclose(projection.depths[kept], depths[0][kept], rtol=1e-9)
    np.testing.assert_allclose(projection.means2d[kept], means2d[0][kept], rtol=1e-9)
    np.testing.assert_allclose(projection.conics[kept], conics[0][kept], rtol=1e-7, atol=1e-9)
    extents = torch.sqrt(2 * torch.log(255 * scene.opacities[kept]))[:, None]  # its are 3.33 for any opacity
    np.testing.assert_array_equal(torch.ceil(projection.radii[kept] * 3.33 / extents), radii[0][kept])
    antialiased = project(scene, cameras, ProjectionOptions(antialiased=True))
    kept = antialiased.visible
    expected = scene.opacities[kept] * compensations[0][kept]
    np.testing.assert_allclose(antialiased.opacities[kept], expected, rtol=1e-7)


def test_camera_gradients_are_finite_differences():
    scene = tensors(gaussians(40, 1, size=0.2, degree=1))
    cameras = camera((0.3, 0.2, 2.0), 8, 6, 8.0)
    weights = torch.rand((6, 8, 5), generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def loss(viewmats, Ks):
        moved = replace(cameras, viewmats=viewmats, Ks=Ks)
        images = rasterize(scene, moved, backend="reference")
        return (torch.cat([image[0] for image in images], dim=-1) * weights).sum()

    inputs = [torch.tensor(array, dtype=torch.float64, requires_grad=True) for array in (cameras.viewmats, cameras.Ks)]
    gradients = torch.autograd.grad(loss(*inputs), inputs)
    generator = torch.Generator().manual_seed(2)
    for i, (value, gradient) in enumerate(zip(inputs, gradients, strict=True)):
        direction = torch.zeros_like(value)
        direction[:, :2, :3] = torch.randn((1, 2, 3), generator=generator, dtype=torch.float64)
        direction[:, 0, 1] = 0.0  # skew is not used
        step = 1e-6
        ends = []
        for sign in (1, -1):
            moved = [v.detach() for v in inputs]
            moved[i] = moved[i] + sign * step * direction
            ends.append(loss(*moved).item())
        np.testing.assert_allclose((gradient * direction).sum().item(), (ends[0] - ends[1]) / (2 * step), rtol=1e-4)
