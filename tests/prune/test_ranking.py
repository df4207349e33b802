import numpy as np
import pytest

from gatlas.errors import GatlasError
from gatlas.prune.ranking import SCORES, drop_faint, keep_highest, rank
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


@pytest.mark.parametrize("score", ["visibility-sum", "visibility-max", "sampled"])
def test_what_is_hidden_inside_is_pruned_first(score):
    gaussians = shell_and_core()
    scores = rank(gaussians, score, np.random.default_rng(0), views=8, resolution=48)
    kept = keep_highest(gaussians, scores, 500)
    outer = (np.linalg.norm(kept.means, axis=1) > 0.8).sum()
    assert outer == 500 if score != "sampled" else outer >= 495  # a sample may hold a few that are hardly seen
    assert kept.origin == gaussians.origin


def test_a_transparent_gaussian_scores_nothing():
    gaussians = shell_and_core(50, 0)
    gaussians.opacities[7] = 0.001  # below 1/255: no pixel counts it
    scores = rank(gaussians, "visibility-sum", np.random.default_rng(0), views=4, resolution=32)
    assert scores[7] == 0
    assert (np.delete(scores, 7) > 0).all()


def test_kept_gaussians_stay_in_order_and_ties_go_to_the_earlier():
    gaussians = shell_and_core(5, 0)
    kept = keep_highest(gaussians, np.array([1.0, 3.0, 1.0, 2.0, 1.0]), 3)
    assert np.array_equal(kept.means, gaussians.means[[0, 1, 3]])


@pytest.mark.parametrize("count", [0, 6])
def test_an_impossible_count_is_refused(count):
    with pytest.raises(ValueError, match="count must be"):
        keep_highest(shell_and_core(5, 0), np.ones(5), count)


def test_opacity_and_volume_need_no_cameras():
    gaussians = shell_and_core(5, 2)
    gaussians.opacities[3] = 0.2
    gaussians.scales[1] = [0.1, 0.2, 0.3]
    rng = np.random.default_rng(0)
    assert rank(gaussians, "opacity", rng).argmin() == 3
    assert rank(gaussians, "volume", rng)[1] == pytest.approx(0.006)


def test_sampled_draws_in_proportion_to_visibility(monkeypatch):
    """Drawn one at a time, each comes as often as its share of what is seen; what is not seen never comes."""
    seen = np.array([1.0, 2.0, 5.0, 0.0])
    monkeypatch.setattr("gatlas.prune.ranking.visibility", lambda *_: seen[None])
    rng, gaussians = np.random.default_rng(0), shell_and_core(4, 0)
    draws = [rank(gaussians, "sampled", rng, views=1).argmax() for _ in range(4000)]
    draws = np.bincount(draws, minlength=4)
    assert np.abs(draws / 4000 - seen / seen.sum()).max() < 0.03
    assert draws[3] == 0


def test_an_unknown_score_is_refused():
    with pytest.raises(ValueError, match=SCORES[0]):
        rank(shell_and_core(2, 0), "beauty", np.random.default_rng(0))


def test_what_is_faint_is_dropped():
    gaussians = shell_and_core(5, 0)
    gaussians.opacities[[0, 2]] = 0.01
    assert len(drop_faint(gaussians, 0.05)) == 3
    with pytest.raises(GatlasError, match=r"0\.999"):
        drop_faint(gaussians, 0.999)
