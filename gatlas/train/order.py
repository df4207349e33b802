"""The order of the samples: an endless stream of shuffled epochs, cut into batches."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.errors import GatlasError

if TYPE_CHECKING:
    from gatlas.systems.contract import SampleSet
    from gatlas.train.options import TrainOptions


class SeededIndex(NamedTuple):
    """One appearance of a sample in the stream."""

    sample: int  # its index in the set
    step: int  # that it is for, counted from 0
    seed: int  # of what is random in the sample: another one for each appearance


class BatchOrder:
    """The batches of one process: lists of indices into a set of `size` samples.

    Epoch after epoch, each in an order of its own from (seed, epoch), is one stream, and every step takes the next
    `batch * accumulate * processes` samples from it; process `rank` has every `processes`-th of them. So each epoch
    shows each sample once over all processes, whatever divides what: where an epoch ends within a batch, the next
    epoch fills it up, and nothing is dropped or padded. The samples of a step follow from its number alone; the batches
    begin behind the first `after` steps.
    """

    def __init__(self, size: int, options: TrainOptions, *, rank: int, processes: int, after: int = 0) -> None:
        self.size, self.options, self.rank, self.processes, self.after = size, options, rank, processes, after

    def __len__(self) -> int:
        return (self.options.steps - self.after) * self.options.accumulate

    def __iter__(self) -> Iterator[list[SeededIndex]]:
        stride = self.options.batch * self.processes  # samples of one batch of all processes
        epoch, order = -1, np.empty(0, dtype=np.int64)
        first = self.after * self.options.accumulate * stride
        for start in range(first, first + len(self) * stride, stride):
            step, batch = start // (stride * self.options.accumulate), []
            for position in range(start + self.rank, start + stride, self.processes):  # in the stream
                if position // self.size != epoch:
                    epoch = position // self.size
                    order = np.random.default_rng([self.options.seed, epoch]).permutation(self.size)
                state = np.random.SeedSequence([self.options.seed, position, 1]).generate_state(1, np.uint64)[0]
                batch.append(SeededIndex(int(order[position % self.size]), step, int(state >> np.uint64(1))))
            yield batch


class ReadFailure(str):
    """The message about a sample that cannot be read: a value, since a worker's exception arrives as a traceback."""


class ErrorsAsValues:
    """A set whose samples' GatlasErrors are values. It is a class of its own so that workers can be sent it."""

    def __init__(self, samples: SampleSet) -> None:
        self.samples = samples

    def __getitem__(self, which: SeededIndex) -> object:
        try:
            return self.samples.draw(which.sample, seed=which.seed, step=which.step)
        except GatlasError as error:
            return ReadFailure(error)

    def collate(self, items: list[object]) -> object:
        """Return the batch of the samples, or the first failure."""
        try:
            return next((item for item in items if isinstance(item, ReadFailure)), None) or self.samples.collate(items)
        except GatlasError as error:
            return ReadFailure(error)


def ignore_signals(worker: int) -> None:
    """Leave signals to the parent, which ends a reading worker when the last step is saved."""
    import signal

    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def batches(samples: SampleSet, order: BatchOrder, *, workers: int, pin: bool) -> Generator[object, None, None]:
    """Yield the batches of `order` on the CPU, read ahead by worker processes. A sample that fails is a GatlasError.

    The generator must be closed: Python waits at its exit for worker processes, and they ignore SIGTERM.
    """
    from torch.utils.data import DataLoader

    reader = ErrorsAsValues(samples)
    initialize: Callable[[int], None] | None = ignore_signals if workers else None
    loader: DataLoader[object] = DataLoader(
        reader,  # type: ignore[arg-type]
        batch_sampler=order,
        collate_fn=reader.collate,
        num_workers=workers,
        pin_memory=pin,
        worker_init_fn=initialize,
    )
    others = set(multiprocessing.active_children())
    iterator = iter(loader)
    readers = set(multiprocessing.active_children()) - others
    try:
        for batch in iterator:
            if isinstance(batch, ReadFailure):
                raise GatlasError(str(batch))
            yield batch
    finally:
        del iterator  # asks the processes to end
        for process in readers:
            process.kill()  # those that are in the middle of a slow sample
            process.join()
