"""The state of a training run."""

import torch

from gatlas.train import TrainOptions
from gatlas.train.state import TrainState


def test_weights_are_grouped_by_their_learning_rate():
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
    state = TrainState(network, TrainOptions(), lambda name: 0.1 if name.startswith("0") else 1.0)
    groups = {group["scale"]: group["params"] for group in state.optimizer.param_groups}
    assert groups[0.1][0] is network[0].weight
    assert groups[1.0][1] is network[1].bias
    assert {len(group) for group in groups.values()} == {2}
