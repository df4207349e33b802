"""Every sample once an epoch, over all processes, whatever divides what."""

import pytest

from gatlas.train.options import TrainOptions
from gatlas.train.order import BatchOrder


def merged(size, processes, **options):
    """The stream of samples as all processes together see it."""
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


def test_going_on_gives_the_rest_of_the_stream():
    options = TrainOptions(steps=12, batch=3, accumulate=2)
    whole = list(BatchOrder(8, options, rank=1, processes=2))
    assert list(BatchOrder(8, options, rank=1, processes=2, after=5)) == whole[10:]
    assert len(BatchOrder(8, options, rank=1, processes=2, after=5)) == 14
