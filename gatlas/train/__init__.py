"""The one training loop, for every system of `gatlas.systems`."""

from gatlas.train.begin import train
from gatlas.train.loop import Outcome
from gatlas.train.options import TrainOptions

__all__ = ["Outcome", "TrainOptions", "train"]
