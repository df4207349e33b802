"""Samples that are drawn anew in each epoch, and learning rates that differ between weights."""

import pytest
import torch

from gatlas.train import TrainOptions
from gatlas.train.options import learning_rate
from gatlas.train.order import BatchOrder, SeededIndex, batches
from gatlas.train.state import TrainState


class Drawn:
    """A set that gives back what it was asked for."""

    def __len__(self):
        return 3

    def draw(self, index, *, seed, step):
        return SeededIndex(index, step, seed)

    def collate(self, items):
        return items


def asked(rank=0, processes=1, after=0, accumulate=2):
    options = TrainOptions(steps=5, batch=2, accumulate=accumulate, seed=7)
    order = BatchOrder(3, options, rank=rank, processes=processes, after=after)
    return list(batches(Drawn(), order, workers=0, pin=False))


def test_every_appearance_has_its_step_and_a_seed_of_its_own():
    draws = [each for batch in asked() for each in batch]
    assert [each.step for each in draws] == [step for step in range(5) for _ in range(4)]
    assert len({each.seed for each in draws}) == 20
    assert sorted(each.sample for each in draws[:3]) == [0, 1, 2]


def test_draws_do_not_depend_on_when_a_run_was_broken_or_on_how_it_is_split():
    whole = asked()
    assert asked(after=3) == whole[6:]
    split = [asked(rank=rank, processes=2, accumulate=1) for rank in (0, 1)]
    together = [sorted(a + b) for a, b in zip(*split, strict=True)]
    assert together == [sorted(a + b) for a, b in zip(whole[::2], whole[1::2], strict=True)]


def test_the_cosine_ends_at_its_end_and_what_is_slower_stays_level():
    options = TrainOptions(steps=100, lr=2e-4, schedule="cosine", lr_end=2e-5, warmup=0)
    assert learning_rate(options, 1) == pytest.approx(2e-4)
    assert learning_rate(options, 51) == pytest.approx(1.1e-4)
    assert learning_rate(options, 100) == pytest.approx(2e-5, rel=0.01)
    assert [learning_rate(options, step, 0.1) for step in (1, 40, 100)] == pytest.approx([2e-5] * 3)
    assert learning_rate(TrainOptions(steps=100, lr=2e-4, schedule="cosine", warmup=10), 5, 0.5) == pytest.approx(
        5e-5, rel=0.01
    )


def test_weights_are_grouped_by_their_learning_rate():
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
    state = TrainState(network, TrainOptions(), lambda name: 0.1 if name.startswith("0") else 1.0)
    groups = {group["scale"]: group["params"] for group in state.optimizer.param_groups}
    assert groups[0.1][0] is network[0].weight
    assert groups[1.0][1] is network[1].bias
    assert {len(group) for group in groups.values()} == {2}
