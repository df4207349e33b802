"""The options of the training loop: their ranges, and the learning rate."""

import math
from dataclasses import replace

import pytest
import torch

from gatlas.errors import GatlasError
from gatlas.train.options import TrainOptions, betas, learning_rate


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"keep": 0}, "keep must be at least 1"),
        ({"lr": 0.0}, "lr must be greater than 0"),
        ({"lr": math.inf}, "lr must be greater than 0 and finite"),
        ({"lr": math.nan}, "lr must be a number"),
        ({"warmup": -1}, "warmup must be at least 0"),
        ({"ema_decay": 1.0}, "ema_decay must be at least 0 and less than 1"),
        ({"clip": 0.0}, "clip must be greater than 0"),
        ({"betas": (0.9, 1.0)}, "betas must be at least 0 and less than 1"),
        ({"schedule": "linear"}, "schedule must be constant, cosine or onecycle"),
        ({"schedule_steps": 2_000}, "schedule_steps is for schedule=cosine"),
        (
            {"schedule": "cosine", "schedule_steps": 10},
            "schedule_steps must be at least the 1000 steps, got 10: for a new run, add --set schedule_steps=1000",
        ),
        ({"precision": "fp16"}, "precision must be auto, fp32 or bf16"),
    ],
)
def test_an_impossible_option_is_named(changed, message):
    with pytest.raises(GatlasError, match=message):
        TrainOptions(**changed)


def test_the_learning_rate_rises_and_falls_by_hand():
    options = TrainOptions(steps=100, lr=1.0, warmup=4)
    assert [learning_rate(options, step) for step in (1, 2, 4, 100)] == [0.25, 0.5, 1.0, 1.0]
    cosine = replace(options, schedule="cosine", schedule_steps=200)
    assert learning_rate(cosine, 4 + 1 + 98) == pytest.approx(0.5)
    assert learning_rate(replace(cosine, schedule_steps=None), 4 + 1 + 48) == pytest.approx(0.5)


def test_one_cycle_is_that_of_torch_with_its_betas():
    options = TrainOptions(steps=20, lr=4e-4, schedule="onecycle", warmup=6, betas=(0.9, 0.95))
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], betas=options.betas)
    torchs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-4, total_steps=20, pct_start=6 / 20)
    for step in range(1, 21):
        group = optimizer.param_groups[0]
        assert learning_rate(options, step) == pytest.approx(group["lr"], rel=1e-6)
        assert betas(options, step) == pytest.approx(group["betas"])
        optimizer.step()
        if step < 20:
            torchs.step()
    assert betas(replace(options, schedule="cosine"), 5) == (0.9, 0.95)
    assert learning_rate(replace(options, warmup=1), 1) == 4e-4


def test_the_cosine_begins_where_the_warmup_ends():
    options = TrainOptions(steps=1000, lr=1.0, schedule="cosine", warmup=500)
    rates = [learning_rate(options, step) for step in (1, 250, 500, 501, 626, 751, 876)]
    high, low = (1 + 0.5**0.5) / 2, (1 - 0.5**0.5) / 2  # an eighth and three eighths of a turn
    assert rates == pytest.approx([0.002, 0.5, 1.0, 1.0, high, 0.5, low])
    assert 0 < learning_rate(options, 1000) < 1e-4
    rising = replace(options, warmup=2000)
    assert [learning_rate(rising, step) for step in (500, 1000)] == [0.25, 0.5]


def test_the_cosine_ends_at_its_end_and_what_is_slower_stays_level():
    options = TrainOptions(steps=100, lr=2e-4, schedule="cosine", lr_end=2e-5, warmup=0)
    assert learning_rate(options, 1) == pytest.approx(2e-4)
    assert learning_rate(options, 51) == pytest.approx(1.1e-4)
    assert learning_rate(options, 100) == pytest.approx(2e-5, rel=0.01)
    assert [learning_rate(options, step, 0.1) for step in (1, 40, 100)] == pytest.approx([2e-5] * 3)
    assert learning_rate(TrainOptions(steps=100, lr=2e-4, schedule="cosine", warmup=10), 5, 0.5) == pytest.approx(
        5e-5, rel=0.01
    )
