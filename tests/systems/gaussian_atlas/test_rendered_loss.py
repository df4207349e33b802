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
from gatlas.metrics.lpips import Lpips
from gatlas.raster import rasterize
from gatlas.raster.batched import rasterize_batch
from gatlas.render import take_views
from gatlas.systems.gaussian_atlas.gaussians import batch_to_gaussians, bounded, planes_to_gaussians, sphere_points
from gatlas.systems.gaussian_atlas.rendered_loss import references_of, rendered_terms
from tests.helpers.atlas_sets import ball
from tests.helpers.object_loss import from_gaussians, from_views, one_by_one
from tests.metrics.test_lpips import random_state


def sphere(atlas):
    return torch.from_numpy(sphere_points(atlas.size, atlas.meta["projection"]))


def planes(atlas):
    return torch.from_numpy(stack(atlas))


def terms_of(gaussians, reference):
    """The terms of one object against pictures from `references_of`."""
    terms = rendered_terms([gaussians], [reference], torch.ones(1), None)
    return {name: float(term) for name, term in terms.items()}


def renders_of(gaussians, count, side, seed=0):
    (reference,) = references_of([gaussians], [None], count, side, [seed])
    return reference


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
    reference = renders_of(truth, 2, 24)
    assert reference.colors.shape == (1, 2, 24, 24, 3)
    assert terms_of(truth, reference) == {"rgb": 0.0, "mask": 0.0}


def test_gaussians_of_an_antialiased_set_are_compared_in_its_mode():
    atlas = encode(ball("green"), EncodeOptions(size=8))
    thin, plain = (
        batch_to_gaussians(planes(atlas)[None], sphere(atlas), antialiased=mode)[0] for mode in (True, False)
    )
    reference = renders_of(thin, 2, 24)
    assert terms_of(thin, reference)["mask"] == 0.0
    assert terms_of(plain, reference)["mask"] > 0.001


def test_the_terms_are_mean_absolute_differences():
    atlas = encode(ball("red"), EncodeOptions(size=8))
    nothing = replace(atlas, opacity=np.zeros_like(atlas.opacity))
    reference = renders_of(planes_to_gaussians(planes(atlas), sphere(atlas)), 1, 24)
    terms = terms_of(planes_to_gaussians(planes(nothing), sphere(atlas)), reference)
    # Nothing is white, of alpha 0.
    np.testing.assert_allclose(terms["rgb"], float((1 - reference.colors).mean()), rtol=1e-5)
    np.testing.assert_allclose(terms["mask"], float(reference.alphas.mean()), rtol=1e-5)


def test_descent_on_the_loss_brings_the_gaussians_nearer():
    atlas = encode(ball("red"), EncodeOptions(size=8))
    truth = planes(atlas)
    reference = renders_of(planes_to_gaussians(truth, sphere(atlas)), 4, 32)
    guess = truth.clone()
    guess[..., 3:6] = 0.5  # grey
    guess[..., :3] *= 0.9
    guess.requires_grad_()
    optimizer = torch.optim.Adam([guess], lr=0.03)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        gaussians = planes_to_gaussians(guess, sphere(atlas))
        loss = sum(rendered_terms([gaussians], [reference], torch.ones(1), None).values())
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0]


def test_random_cameras_follow_from_the_seed():
    truth = planes_to_gaussians(
        planes(encode(ball("red"), EncodeOptions(size=8))), torch.from_numpy(sphere_points(8, "equirect"))
    )
    one, same, other = (renders_of(truth, 2, 16, seed).cameras[0].viewmats for seed in (1, 1, 2))
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
    chosen = RandomViews(2, 24), np.random.default_rng(0)
    pictures = read_random_views(str(tmp_path / "views"), np.eye(4), *chosen)
    truth = planes_to_gaussians(planes(atlas), sphere(atlas))
    (reference,) = references_of([truth], [pictures], 2, 24, [0])
    assert reference.colors.shape == (1, 2, 24, 24, 3)
    # Each camera is one of the five, and the picture is what is seen from it.
    for viewmat in reference.cameras[0].viewmats:
        assert np.abs(views.cameras.viewmats - viewmat).max(axis=(1, 2)).min() < 1e-5
    assert max(terms_of(truth, reference).values()) < 0.02


def batch(device="cpu", *, own_views=True):
    """Four objects, what a network might make of them, and pictures of the second and, fewer, of the third."""
    atlases = [encode(ball(color, 20), EncodeOptions(size=6)) for color in ("red", "green", "blue", "red")]
    every = torch.stack([planes(atlas) for atlas in atlases]).to(device)
    place = sphere(atlases[0]).to(device)
    noise = 0.1 * torch.randn(every.shape, generator=torch.Generator().manual_seed(3)).to(device)
    guess = (every + noise).requires_grad_()
    green, blue = (take_views(ball(color, 20), orbit(n, 20, 20)) for color, n in (("green", 2), ("blue", 1)))
    views = [None, green, blue, None] if own_views else [None] * 4
    return every, guess, place, views


def twins_of(every, place, views, seeds):
    return [
        from_gaussians(planes_to_gaussians(each, place), 2, 20, seed) if own is None else from_views(own)
        for each, own, seed in zip(every, views, seeds, strict=True)
    ]


def test_a_batch_is_rendered_and_compared_as_one_object_after_another():
    every, guess, place, views = batch()
    lpips, weights, seeds = Lpips("vgg16", random_state("vgg16")), torch.tensor([0.5, 1.0, 0.25, 0.0]), [4, 5, 6, 7]
    references = references_of(batch_to_gaussians(every, place), views, 2, 20, seeds)
    assert [each.objects for each in references] == [(0, 3), (1,), (2,)]
    fast = rendered_terms(batch_to_gaussians(guess, place), references, weights, lpips)
    slow = one_by_one(
        [planes_to_gaussians(each, place) for each in guess], twins_of(every, place, views, seeds), weights, lpips
    )
    assert fast.keys() == slow.keys() == {"rgb", "mask", "lpips"}
    for name in fast:
        torch.testing.assert_close(fast[name], slow[name], rtol=1e-5, atol=1e-7)
        found, expected = (torch.autograd.grad(terms[name], guess, retain_graph=True)[0] for terms in (fast, slow))
        assert (found - expected).norm() <= 1e-4 * expected.norm()
        assert expected[:3].flatten(1).norm(dim=1).min() > 0
        assert not found[3].any()  # its weight is 0


def test_objects_of_other_counts_and_sizes_are_refused():
    every, _, place, _ = batch()
    one, two = batch_to_gaussians(every, place)[:2]
    with pytest.raises(ValueError, match=r"same counts and sizes, got \[36\] and \[\(1, 20, 20\), \(2, 20, 20\)\]"):
        rasterize_batch([one, two], [orbit(1, 20, 20), orbit(2, 20, 20)])
    with pytest.raises(ValueError, match="one or more objects, got 0, 0"):
        rasterize_batch([], [])


@pytest.mark.parametrize("given", ["views", "gaussians"])
def test_references_come_to_the_device_of_the_gaussians(given, cuda_device):
    terms = []
    for device in ("cuda", "cpu"):
        every, guess, place, views = batch(device, own_views=given == "views")
        references = references_of(batch_to_gaussians(every, place), views, 2, 20, [4, 5, 6, 7])
        found = rendered_terms(batch_to_gaussians(guess, place), references, torch.ones(4, device=device), None)
        terms.append({name: term.item() for name, term in found.items()})
    assert terms[0]["rgb"] > 0.001
    assert terms[0] == pytest.approx(terms[1], rel=1e-3)
