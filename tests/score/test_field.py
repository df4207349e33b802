import numpy as np
import pytest

from gatlas.score import ConsistencyOptions, score_consistency
from gatlas.score.field import held_out_splits, score_field
from tests.helpers.view_sets import (
    blank_views,
    noise_views,
    of_many_objects,
    one_replaced,
    over_white,
    shuffled,
    textured_views,
    turned,
)

SMALL = ConsistencyOptions(splits=1, count=300, iterations=80, resolution=32, device="cpu")


def scored(views, options=SMALL):
    return score_field(over_white(views) if views.channels == 4 else views, options, on_step=lambda: None)


@pytest.mark.parametrize("count", [3, 10, 24, 100])
def test_a_tenth_of_the_views_is_held_out_and_none_twice(count):
    splits = held_out_splits(count, 4, np.random.default_rng(0))
    assert {len(each) for each in splits} == {max(1, round(count / 10))}
    held = np.concatenate(splits)
    assert len(set(held)) == len(held)
    assert held.max() < count
    assert len(splits) == min(4, count)


def test_true_views_score_more_than_shuffled_ones_and_noise():
    truth, mixed, noise = (
        scored(views) for views in (textured_views(), shuffled(textured_views()), noise_views(16, 32))
    )
    assert truth.psnr > mixed.psnr + 1
    assert truth.ssim > mixed.ssim + 0.03
    assert mixed.ssim > noise.ssim


def test_the_same_seed_gives_the_same_figures_and_another_other_views():
    options = ConsistencyOptions(splits=2, count=50, iterations=3, resolution=16, seed=3, device="cpu")
    one, two, other = (
        scored(textured_views(), each)
        for each in (options, options, ConsistencyOptions(**{**options.to_json(), "seed": 4}))
    )
    assert one.to_json() == two.to_json()
    assert other.held_out != one.held_out
    assert one.psnr == pytest.approx(np.mean(one.split_psnr))


def test_transparency_and_white_are_measured_alike():
    views = textured_views()
    white = over_white(views)
    options = ConsistencyOptions(splits=1, count=50, iterations=3, resolution=16, device="cpu")
    field = ConsistencyOptions(**{**options.to_json(), "measure": "field"})
    one, other = (score_consistency(each, field).field for each in (views, white))
    assert one.psnr == pytest.approx(other.psnr, abs=0.01)
    assert one.ssim == pytest.approx(other.ssim, abs=1e-4)


@pytest.mark.slow
def test_the_less_consistent_views_are_the_lower_they_score():
    options = ConsistencyOptions(splits=2, device="cpu")
    views, other = textured_views(20), textured_views(20, seed=1)
    sets = [views, one_replaced(views, other), of_many_objects(20), noise_views(20)]
    truth, *worse = [scored(each, options) for each in sets]
    ssim = [truth.ssim, *(each.ssim for each in worse)]
    assert ssim == sorted(ssim, reverse=True), ssim
    psnr = [truth.psnr, *(scored(turned(views, degrees), options).psnr for degrees in (2, 10))]
    assert psnr[0] > psnr[1] + 0.5 > psnr[2] + 2.5, psnr


def test_blank_views_have_a_finite_score():
    assert scored(blank_views(6, 16)).psnr <= 100
