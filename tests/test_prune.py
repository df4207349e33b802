import numpy as np
import pytest

from gatlas.prune import keep_most_visible, rank_visibility
from gatlas.types import Gaussians, Origin


def shell_and_core(outer=500, inner=100, seed=0):
    """An opaque ball of radius 0.9 around Gaussians that nobody can see."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(outer + inner, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    radius = np.where(np.arange(outer + inner) < outer, 0.9, 0.2)
    n = outer + inner
    return Gaussians(
        means=(directions * radius[:, None]).astype(np.float32),
        quats=np.tile(np.float32([1, 0, 0, 0]), (n, 1)),
        scales=np.where(np.arange(n)[:, None] < outer, 0.15, 0.05).astype(np.float32).repeat(3, axis=1),
        opacities=np.full(n, 0.99, dtype=np.float32),
        sh=np.zeros((n, 1, 3), dtype=np.float32),
        origin=Origin(name="ball", normalized=True),
    )


def test_what_is_hidden_inside_is_pruned_first():
    gaussians = shell_and_core()
    scores = rank_visibility(gaussians, np.random.default_rng(0), views=8, resolution=48)
    assert scores[500:].max() < 1e-3 * scores[:500].mean()
    kept = keep_most_visible(gaussians, scores, 500)
    assert np.linalg.norm(kept.means, axis=1).min() > 0.8
    assert kept.origin == gaussians.origin


def test_a_transparent_gaussian_scores_nothing():
    gaussians = shell_and_core(50, 0)
    gaussians.opacities[7] = 0.001  # below 1/255: no pixel counts it
    scores = rank_visibility(gaussians, np.random.default_rng(0), views=4, resolution=32)
    assert scores[7] == 0
    assert (np.delete(scores, 7) > 0).all()


def test_kept_gaussians_stay_in_order_and_ties_go_to_the_earlier():
    gaussians = shell_and_core(5, 0)
    kept = keep_most_visible(gaussians, np.array([1.0, 3.0, 1.0, 2.0, 1.0]), 3)
    assert np.array_equal(kept.means, gaussians.means[[0, 1, 3]])


@pytest.mark.parametrize("count", [0, 6])
def test_an_impossible_count_is_refused(count):
    with pytest.raises(ValueError, match="count must be"):
        keep_most_visible(shell_and_core(5, 0), np.ones(5), count)
