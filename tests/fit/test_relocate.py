"""Relocation and recounting: the number stands, what is moved is what did nothing."""

import numpy as np
import pytest
import torch

from gatlas.fit import relocate
from gatlas.fit.relocate import Relocator, idle_gaussians, wrong_spots
from gatlas.fit.set_count import set_count
from gatlas.geometry.cameras import fibonacci_views
from gatlas.geometry.sh import rgb_to_dc
from gatlas.raster import rasterize
from gatlas.types import Gaussians, Views


def balls(means, opacity=0.9, sigma=0.1, rgb=(1.0, 0.0, 0.0)):
    count = len(means)
    return Gaussians(
        means=np.asarray(means, dtype=np.float32),
        quats=np.tile(np.float32([1, 0, 0, 0]), (count, 1)),
        scales=np.full((count, 3), sigma, dtype=np.float32),
        opacities=np.broadcast_to(np.float32(opacity), (count,)).copy(),
        sh=np.tile(rgb_to_dc(np.float32(rgb)), (count, 1, 1)),
    )


def views_of(gaussians, count=6, side=40):
    cameras = fibonacci_views(count, side, side)
    drawn = rasterize(gaussians, cameras)
    straight = np.divide(drawn.colors, drawn.alphas, out=np.zeros_like(drawn.colors), where=drawn.alphas > 0)
    return Views(np.concatenate([straight, drawn.alphas], axis=-1), cameras)


def test_the_dead_and_the_hidden_are_idle():
    means = np.zeros((20, 3))
    means[:18] = np.random.default_rng(0).uniform(-0.6, 0.6, size=(18, 3))
    means[18] = (100, 0, 0)  # out of all pictures
    opacities = np.full(20, 0.9)
    opacities[3] = 0.001
    gaussians = balls(means, opacities, sigma=0.05)
    assert {3, 18} <= set(idle_gaussians(gaussians, fibonacci_views(6, 40, 40)).tolist())


def test_wrong_spots_are_where_something_is_missing():
    """Two balls are wanted and one is there: the places are at the other."""
    wanted = balls([[-0.5, 0, 0], [0.5, 0.2, 0]])
    spots = wrong_spots(wanted[:1], views_of(wanted), 300, np.random.default_rng(0))
    assert 30 < len(spots.means) <= 300
    np.testing.assert_allclose(np.median(spots.rgb, axis=0), [1, 0, 0], atol=1e-3)
    # Random places on the rays, less those that other views show as empty, are at the missing ball itself.
    assert np.median(np.linalg.norm(spots.means - wanted.means[1], axis=1)) < 0.25
    assert (np.linalg.norm(spots.means, axis=1) < relocate.REACH + 1e-6).all()


def test_pictures_that_agree_want_nothing():
    empty = views_of(balls([[0, 0, 0]]))
    clear = Views(np.zeros_like(empty.images), empty.cameras)
    assert len(wrong_spots(balls([[0, 0, 0]]), clear, 10, np.random.default_rng(0)).means) == 0


def test_the_hook_moves_rows_and_forgets_their_moments():
    means = np.random.default_rng(0).uniform(-0.4, 0.4, size=(30, 3))
    target = views_of(balls(means))
    names = {"means": means, "quats": np.tile([1.0, 0, 0, 0], (30, 1)), "log_scales": np.full((30, 3), -2.5)}
    logits = np.full(30, 2.0)
    logits[[4, 9]] = -9.0
    names |= {"logits": logits, "rgb": np.full((30, 3), 0.5)}
    parameters = {k: torch.tensor(v, dtype=torch.float32, requires_grad=True) for k, v in names.items()}
    adam = torch.optim.Adam([{"params": [p]} for p in parameters.values()], lr=1e-6)
    sum((p**2).sum() for p in parameters.values()).backward()
    adam.step()
    before = {k: p.detach().clone() for k, p in parameters.items()}
    hook = Relocator(target, 1000, np.random.default_rng(0))
    hook(relocate.EVERY + 1, parameters, adam)  # not its step
    hook(800, parameters, adam)  # too late
    assert all(torch.equal(before[k], parameters[k]) for k in parameters)
    hook(relocate.EVERY, parameters, adam)
    moved = (parameters["means"] != before["means"]).any(dim=1)
    assert {4, 9} <= set(torch.nonzero(moved)[:, 0].tolist())
    assert int(moved.sum()) <= 2 + 3  # the dead and a tenth
    for parameter in parameters.values():
        moments = adam.state[parameter]["exp_avg"].reshape(30, -1)
        assert (moments[moved] == 0).all()
        assert (moments[~moved] != 0).any()
    assert torch.allclose(parameters["logits"][moved].sigmoid(), torch.tensor(relocate.NEW_OPACITY))


@pytest.mark.parametrize("count", [1, 7, 12, 13, 40])
def test_the_count_is_exact(count):
    means = np.random.default_rng(0).uniform(-0.6, 0.6, size=(12, 3))
    assert len(set_count(balls(means), fibonacci_views(4, 32, 32), count, np.random.default_rng(0))) == count


def test_the_unseen_go_first():
    gaussians = balls([[0.3, 0, 0], [50, 0, 0], [-0.3, 0, 0]])
    kept = set_count(gaussians, fibonacci_views(4, 32, 32), 2, np.random.default_rng(0))
    np.testing.assert_array_equal(kept.means, gaussians.means[[0, 2]])


def test_splitting_hardly_changes_the_picture():
    cameras = fibonacci_views(4, 48, 48)
    gaussians = balls(np.random.default_rng(0).uniform(-0.6, 0.6, size=(40, 3)), 0.6)
    more = set_count(gaussians, cameras, 80, np.random.default_rng(0))
    before, after = (rasterize(each, cameras).alphas for each in (gaussians, more))
    assert np.abs(before - after).mean() < 0.06
    assert (more.scales <= gaussians.scales.max() + 1e-6).all()
