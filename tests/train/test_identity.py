"""The identity of a run: what is refused when it is resumed, and what may change."""

from dataclasses import replace

import pytest

from gatlas.config import Options
from gatlas.errors import GatlasError
from gatlas.io.runs.train_run import Checkpoint
from gatlas.train.identity import RunIdentity, require_same_run, require_same_training
from gatlas.train.options import TrainOptions


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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("processes", "1"), ("processes", True), ("system", ["x"]), ("config", []), ("config", 3), ("origin", "a"),
        ("origin", ["base"]), ("samples", 1.5), ("precision", None), ("scenes", ["a"]), ("options", 3), ("options", {}),
    ],
)  # fmt: skip
def test_a_checkpoint_that_says_something_else_is_one_line(tmp_path, name, value):
    now = RunIdentity(TrainOptions(), 1, "toy", {}, {"base": None}, 4, "no", {"scenes": "0"})
    meta = {**now.to_json(), "step": 1}
    good = Checkpoint(1, tmp_path, meta)
    assert require_same_run(good, now, Options) == []
    with pytest.raises(GatlasError, match=r"training\.json") as error:
        require_same_run(Checkpoint(1, tmp_path, {**meta, name: value}), now, Options)
    assert "\n" not in str(error.value)
