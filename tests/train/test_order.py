"""Every sample once per epoch, over all processes, with a seed for each appearance."""

import pytest

from gatlas.train.options import TrainOptions
from gatlas.train.order import BatchOrder, SeededIndex, batches


def merged(size, processes, **options):
    """The stream of samples of all processes together."""
    chosen = TrainOptions(**{"seed": 3, **options})
    ranks = [list(BatchOrder(size, chosen, rank=rank, processes=processes)) for rank in range(processes)]
    return [each.sample for step in zip(*ranks, strict=True) for row in zip(*step, strict=True) for each in row]


@pytest.mark.parametrize(("size", "batch", "processes"), [(10, 4, 2), (12, 4, 3), (7, 8, 1), (3, 2, 4), (1, 2, 2)])
def test_every_sample_comes_once_an_epoch_over_all_processes(size, batch, processes):
    stream = merged(size, processes, steps=20, batch=batch)
    assert len(stream) == 20 * batch * processes
    for start in range(0, len(stream) - size + 1, size):
        assert sorted(stream[start : start + size]) == list(range(size))


def test_epochs_differ_in_their_order_and_seeds_do_too():
    stream = merged(50, 1, steps=20, batch=5)
    assert stream[:50] != stream[50:]
    assert stream[:50] != merged(50, 1, steps=20, batch=5, seed=4)[:50]


def test_the_stream_does_not_depend_on_how_it_is_split():
    whole = merged(10, 1, steps=9, batch=8)
    assert merged(10, 2, steps=9, batch=4) == whole
    assert merged(10, 2, steps=9, batch=2, accumulate=2) == whole


def test_a_resumed_run_gets_the_rest_of_the_stream():
    options = TrainOptions(steps=12, batch=3, accumulate=2)
    whole = list(BatchOrder(8, options, rank=1, processes=2))
    assert list(BatchOrder(8, options, rank=1, processes=2, after=5)) == whole[10:]
    assert len(BatchOrder(8, options, rank=1, processes=2, after=5)) == 14


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
