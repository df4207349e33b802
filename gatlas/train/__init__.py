"""The one training loop, for every system of `gatlas.systems`."""

from typing import TYPE_CHECKING

from gatlas.lazy import lazy_names

if TYPE_CHECKING:
    from gatlas.train.begin import train
    from gatlas.train.loop import Outcome
    from gatlas.train.options import TrainOptions

__all__ = ["Outcome", "TrainOptions", "train"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {"Outcome": "gatlas.train.loop", "TrainOptions": "gatlas.train.options", "train": "gatlas.train.begin"},
)
