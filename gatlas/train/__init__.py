"""The one training loop, for every system of `gatlas.systems`."""

from typing import TYPE_CHECKING

from gatlas.lazy import lazy_names

if TYPE_CHECKING:
    from gatlas.train.loop import Outcome
    from gatlas.train.options import TrainCommand, TrainOptions
    from gatlas.train.plan import TrainPlan, plan_training, run_plan
    from gatlas.train.start import train

__all__ = ["Outcome", "TrainCommand", "TrainOptions", "TrainPlan", "plan_training", "run_plan", "train"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Outcome": "gatlas.train.loop",
        "TrainCommand": "gatlas.train.options",
        "TrainOptions": "gatlas.train.options",
        "TrainPlan": "gatlas.train.plan",
        "plan_training": "gatlas.train.plan",
        "run_plan": "gatlas.train.plan",
        "train": "gatlas.train.start",
    },
)
