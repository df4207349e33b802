"""Finetuning begins with one color per Gaussian: the mean of what is seen of it."""

from dataclasses import replace

from gatlas.prune import PruneOptions, measure_pruning, prune
from tests.helpers.shiny_ball import shiny_ball


def test_finetuning_begins_with_the_mean_of_the_color_that_is_seen():
    ball = shiny_ball()
    tuned = prune(ball, PruneOptions(count=400, finetune=1, views=8, resolution=32))
    plain = replace(ball, sh=ball.sh[:, :1])
    before, after = (measure_pruning(ball, each, None, resolution=32)["psnr"] for each in (plain, tuned))
    assert after > before + 3
