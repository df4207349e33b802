"""The options of a training: what they must be, what they mean, what may change when a run goes on."""

import math
from dataclasses import replace

import pytest

from gatlas.errors import GatlasError
from gatlas.train.identity import require_same_training
from gatlas.train.options import TrainOptions, learning_rate
from gatlas.train.process_group import check_devices


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
        ({"schedule": "linear"}, "schedule must be constant or cosine"),
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


def test_the_cosine_begins_where_the_warmup_ends():
    options = TrainOptions(steps=1000, lr=1.0, schedule="cosine", warmup=500)
    rates = [learning_rate(options, step) for step in (1, 250, 500, 501, 626, 751, 876)]
    high, low = (1 + 0.5**0.5) / 2, (1 - 0.5**0.5) / 2  # an eighth and three eighths of a turn
    assert rates == pytest.approx([0.002, 0.5, 1.0, 1.0, high, 0.5, low])
    assert 0 < learning_rate(options, 1000) < 1e-4
    rising = replace(options, warmup=2000)
    assert [learning_rate(rising, step) for step in (500, 1000)] == [0.25, 0.5]


def test_what_changes_the_result_is_refused_by_name():
    options = TrainOptions(lr=1e-3, seed=1)
    with pytest.raises(GatlasError, match=r"lr is 0.001 there and 0.002 here; seed is 1 there and 2 here"):
        require_same_training(replace(options, lr=2e-3, seed=2), 1, options, 1, "checkpoint-000100")
    with pytest.raises(GatlasError, match="batch is 8 there and 16 here"):
        require_same_training(replace(options, batch=16), 1, options, 1, "checkpoint-000100")
    with pytest.raises(GatlasError, match="processes is 1 there and 2 here"):
        require_same_training(options, 2, options, 1, "checkpoint-000100")


def test_what_does_not_change_the_result_may_change():
    options = TrainOptions()
    other = replace(options, keep=9, checkpoint_every=7, log_every=3, workers=2, gradient_checkpointing=True)
    assert require_same_training(other, 1, options, 1, "x") == []
    (remark,) = require_same_training(replace(options, batch=4), 2, options, 1, "x")
    assert "8 samples per step are split in another way" in remark


def test_steps_may_grow_unless_the_learning_rate_follows_from_them():
    options = TrainOptions(steps=100)
    (remark,) = require_same_training(replace(options, steps=200), 1, options, 1, "x")
    assert "steps is 100 in x and 200 here" in remark
    cosine = replace(options, schedule="cosine")
    with pytest.raises(GatlasError, match="steps is 100 there and 200 here"):
        require_same_training(replace(cosine, steps=200), 1, cosine, 1, "x")
    fixed = replace(cosine, schedule_steps=400)
    assert require_same_training(replace(fixed, steps=200), 1, fixed, 1, "x")


def test_more_processes_than_cuda_devices_are_refused_by_all_of_them(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    check_devices()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(GatlasError, match=r"4 processes .* 2 CUDA devices: .*--nproc-per-node 2"):
        check_devices()
