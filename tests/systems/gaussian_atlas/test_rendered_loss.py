"""The render losses: the differentiable decode and its slow twin, references, weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gatlas import io
from gatlas.atlas import EncodeOptions, decode, encode
from gatlas.atlas.statistics import stack
from gatlas.datasets.atlases import RandomViews, read_random_views, to_world, unit_ball_views
from gatlas.geometry.cameras import orbit
from gatlas.raster import rasterize
from gatlas.render import take_views
from gatlas.systems.gaussian_atlas.gaussians import bounded, planes_to_gaussians, sphere_points
from gatlas.systems.gaussian_atlas.rendered_loss import (
    Reference,
    compare,
    from_gaussians,
    from_views,
    rendered_terms,
)
from gatlas.types import Gaussians
from tests.helpers.atlas_sets import ball


def sphere(atlas):
    return torch.from_numpy(sphere_points(atlas.size, atlas.meta["projection"]))


def planes(atlas):
    return torch.from_numpy(stack(atlas))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("projection", ["equirect", "octahedral"])
def test_the_differentiable_decode_agrees_with_decode(projection):
    atlas = encode(ball("red", 50), EncodeOptions(size=8, projection=projection))
    rng = np.random.default_rng(0)
    noisy = replace(
        atlas,
        color=atlas.color + rng.normal(0, 0.5, atlas.color.shape).astype(np.float32),
        scale=atlas.scale + rng.normal(0, 3, atlas.scale.shape).astype(np.float32),
        opacity=atlas.opacity * rng.uniform(0.5, 2, atlas.opacity.shape).astype(np.float32),
        rotation=rng.normal(0, 1, atlas.rotation.shape).astype(np.float32),
    )
    slow = decode(noisy)
    fast = planes_to_gaussians(planes(noisy), sphere(noisy))
    real = fast.opacities > 0
    assert len(slow) == int(real.sum()) == 50
    for name in ("means", "quats", "scales", "opacities", "sh"):
        np.testing.assert_allclose(getattr(fast, name)[real].numpy(), getattr(slow, name), atol=1e-5)


def test_a_zero_quaternion_is_no_rotation_and_has_no_gradient():
    values = torch.zeros(2, 2, 14, requires_grad=True)
    gaussians = planes_to_gaussians(values, torch.zeros(2, 2, 3))
    assert gaussians.quats.tolist() == [[1, 0, 0, 0]] * 4
    gaussians.quats.sum().backward()
    assert torch.equal(values.grad, torch.zeros(2, 2, 14))


def test_gradients_outside_the_bounds_only_lead_back():
    values = torch.tensor([-1.0, -1.0, 0.5, 2.0, 2.0], requires_grad=True)
    result = bounded(values, 0.0, 1.0)
    assert result.tolist() == [0, 0, 0.5, 1, 1]
    # Descent moves against the gradient: below the range -1 leads up and back, above it +1 leads down and back.
    result.backward(torch.tensor([-1.0, 1.0, 1.0, 1.0, -1.0]))
    assert values.grad.tolist() == [-1, 0, 1, 1, 0]


def test_the_true_gaussians_have_no_loss():
    atlas = encode(ball("green"), EncodeOptions(size=8))
    truth = planes_to_gaussians(planes(atlas), sphere(atlas))
    reference = from_gaussians(truth, 2, 24, seeded())
    assert reference.colors.shape == (2, 24, 24, 3)
    assert {name: float(term) for name, term in compare(truth, reference, None).items()} == {"rgb": 0.0, "mask": 0.0}


def test_gaussians_of_an_antialiased_set_are_compared_in_its_mode():
    atlas = encode(ball("green"), EncodeOptions(size=8))
    thin, plain = (planes_to_gaussians(planes(atlas), sphere(atlas), antialiased=mode) for mode in (True, False))
    reference = from_gaussians(thin, 2, 24, seeded())
    assert float(compare(thin, reference, None)["mask"]) == 0.0
    assert float(compare(plain, reference, None)["mask"]) > 0.001


def test_the_terms_are_mean_absolute_differences():
    atlas = encode(ball("red"), EncodeOptions(size=8))
    nothing = replace(atlas, opacity=np.zeros_like(atlas.opacity))
    reference = from_gaussians(planes_to_gaussians(planes(atlas), sphere(atlas)), 1, 24, seeded())
    terms = compare(planes_to_gaussians(planes(nothing), sphere(atlas)), reference, None)
    # Nothing is white, of alpha 0.
    np.testing.assert_allclose(float(terms["rgb"]), float((1 - reference.colors).mean()), rtol=1e-5)
    np.testing.assert_allclose(float(terms["mask"]), float(reference.alphas.mean()), rtol=1e-5)


def test_descent_on_the_loss_brings_the_gaussians_nearer():
    atlas = encode(ball("red"), EncodeOptions(size=8))
    truth = planes(atlas)
    reference = from_gaussians(planes_to_gaussians(truth, sphere(atlas)), 4, 32, seeded())
    guess = truth.clone()
    guess[..., 3:6] = 0.5  # grey
    guess[..., :3] *= 0.9
    guess.requires_grad_()
    optimizer = torch.optim.Adam([guess], lr=0.03)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = sum(compare(planes_to_gaussians(guess, sphere(atlas)), reference, None).values())
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0]


def test_random_cameras_follow_from_the_generator():
    truth = planes_to_gaussians(
        planes(encode(ball("red"), EncodeOptions(size=8))), torch.from_numpy(sphere_points(8, "equirect"))
    )
    one, same, other = (from_gaussians(truth, 2, 16, seeded(seed)).cameras.viewmats for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.1


@pytest.mark.parametrize("frame", [None, "y-down"])
def test_cameras_of_the_world_see_the_unit_ball_as_it_is_there(frame):
    atlas = encode(ball("green", normalized=False), EncodeOptions(size=8))
    meta = {**atlas.meta, "normalization": {"center": [3.0, -1.0, 2.0], "scale": 4.0}, "frame": frame}
    atlas = replace(atlas, meta=meta)
    world = decode(atlas)
    middle = [-3.0, 1.0, 2.0] if frame else [3.0, -1.0, 2.0]
    cameras = orbit(3, 32, 32, azimuth=20.0, distance=12.0)
    viewmats = cameras.viewmats.copy()
    viewmats[:, :3, 3] -= viewmats[:, :3, :3] @ np.float32(middle)
    cameras = replace(cameras, viewmats=viewmats)
    moved = replace(cameras, viewmats=unit_ball_views(viewmats, to_world(atlas, "a.npz")))
    unit = planes_to_gaussians(planes(atlas), sphere(atlas))
    seen, wanted = rasterize(unit, moved), rasterize(world, cameras)
    assert wanted.alphas.mean() > 0.05
    np.testing.assert_allclose(seen.colors.numpy(), wanted.colors, atol=2e-4)


def test_a_folder_of_views_is_a_reference(tmp_path):
    atlas = encode(ball("blue"), EncodeOptions(size=8))
    views = take_views(decode(atlas), orbit(5, 48, 48))
    io.save_views(tmp_path / "views", views)
    reference = from_views(
        read_random_views(str(tmp_path / "views"), np.eye(4), RandomViews(2, 24), np.random.default_rng(0))
    )
    assert reference.colors.shape == (2, 24, 24, 3)
    # Each camera is one of the five, and the picture is what is seen from it.
    for viewmat in reference.cameras.viewmats:
        assert np.abs(views.cameras.viewmats - viewmat).max(axis=(1, 2)).min() < 1e-5
    terms = compare(planes_to_gaussians(planes(atlas), sphere(atlas)), reference, None)
    assert max(float(term) for term in terms.values()) < 0.02


def test_an_object_of_weight_0_costs_nothing():
    atlas = encode(ball("red"), EncodeOptions(size=8))
    truth = planes_to_gaussians(planes(atlas), sphere(atlas))
    darker = Gaussians(truth.means, truth.quats, truth.scales, truth.opacities / 2, truth.sh)
    reference = from_gaussians(truth, 1, 16, seeded())
    asked = []

    def reference_of(i) -> Reference:
        asked.append(i)
        return reference

    terms = rendered_terms(lambda i: darker, reference_of, torch.tensor([0.0, 1.0, 0.5, 0.0]), None)
    assert asked == [1, 2]
    whole = compare(darker, reference, None)
    for name in ("rgb", "mask"):
        np.testing.assert_allclose(float(terms[name]), 1.5 / 4 * float(whole[name]), rtol=1e-6)


@pytest.mark.parametrize("given", ["views", "gaussians"])
def test_references_come_to_the_device_of_the_gaussians(given, cuda_device):
    atlas = encode(ball("red", 20), EncodeOptions(size=6))
    cameras = orbit(2, 24, 24)
    pictures = take_views(ball("green", 20), cameras)
    terms = []
    for device in ("cuda", "cpu"):
        on_device = planes(atlas).to(device)
        gaussians = planes_to_gaussians(on_device, sphere(atlas).to(device))
        other = gaussians if given == "views" else planes_to_gaussians(on_device * 0.9, sphere(atlas).to(device))
        generator = torch.Generator(device).manual_seed(0)
        reference = from_views(pictures) if given == "views" else from_gaussians(gaussians, 2, 24, generator)
        terms.append({name: term.item() for name, term in compare(other, reference, None).items()})
    assert terms[0]["rgb"] > 0.001
    assert terms[0] == pytest.approx(terms[1], rel=1e-3)
