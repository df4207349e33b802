"""Finetuning of Gaussians whose color depends on the direction."""

from dataclasses import replace

import numpy as np

from gatlas.prune import PruneOptions, measure_pruning, prune
from gatlas.raster.flat_color import with_flat_color
from tests.helpers.shiny_ball import shiny_ball

OPTIONS = PruneOptions(count=400, finetune=5, views=8, resolution=32)


def test_finetuning_keeps_view_dependent_color_and_is_better_for_it():
    ball, messages = shiny_ball(), []
    tuned = prune(ball, OPTIONS, report=messages.append)
    flat = prune(with_flat_color(ball), OPTIONS, reference=ball)
    assert tuned.sh.shape == (400, 4, 3)
    assert messages == ["finetuning keeps the spherical harmonics of degree 1"]
    assert tuned.sh[:, 1:].tobytes() != ball.sh[:, 1:].tobytes()
    of_shiny, of_flat = (measure_pruning(ball, each, None, resolution=32)["psnr"] for each in (tuned, flat))
    assert of_shiny > of_flat + 2


def test_coefficients_that_are_all_zero_stay_away_without_a_message():
    flat, messages = with_flat_color(shiny_ball(100)), []
    padded = replace(flat, sh=np.pad(flat.sh, ((0, 0), (0, 15), (0, 0))))
    options = replace(OPTIONS, count=100, finetune=3)
    one, other = (prune(each, options, report=messages.append) for each in (flat, padded))
    assert other.sh.shape == (100, 1, 3)
    assert one.sh.tobytes() == other.sh.tobytes()
    assert messages == []
