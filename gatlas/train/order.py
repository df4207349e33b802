"""Which sample goes where: an endless stream of shuffled epochs, cut into batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.errors import GatlasError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatlas.systems.contract import SampleSet
    from gatlas.train.options import TrainOptions


class Turn(NamedTuple):
    """One appearance of a sample."""

    sample: int  # its index in the set
    step: int  # that it is for, counted from 0
    seed: int  # of what is random in the sample: another one in each turn


class BatchOrder:
    """The batches of one process: lists of indices into a set of `size` samples.

    Epoch after epoch, each in an order of its own from (seed, epoch), is one stream, and every step takes the next
    `batch * accumulate * processes` samples from it; process `rank` has every `processes`-th of them. So each epoch
    shows each sample once over all processes, whatever divides what: where an epoch ends within a batch, the next
    epoch fills it up, and nothing is dropped or padded. A step's place in the stream follows from its number alone.
    """

    def __init__(self, size: int, options: TrainOptions, *, rank: int, processes: int, after: int = 0) -> None:
        self.size, self.options, self.rank, self.processes, self.after = size, options, rank, processes, after

    def __len__(self) -> int:
        return (self.options.steps - self.after) * self.options.accumulate

    def __iter__(self) -> Iterator[list[int]]:
        return ([turn.sample for turn in turns] for turns in self.turns())

    def turns(self) -> Iterator[list[Turn]]:
        """The same, with what a sample that is drawn anew in each turn needs to know."""
        together = self.options.batch * self.processes
        epoch, order = -1, np.empty(0, dtype=np.int64)
        first = self.after * self.options.accumulate * together
        for start in range(first, first + len(self) * together, together):
            turns = []
            step = start // (together * self.options.accumulate)
            for place in range(start + self.rank, start + together, self.processes):
                if place // self.size != epoch:
                    epoch = place // self.size
                    order = np.random.default_rng([self.options.seed, epoch]).permutation(self.size)
                state = np.random.SeedSequence([self.options.seed, place, 1]).generate_state(1, np.uint64)[0]
                turns.append(Turn(int(order[place % self.size]), step, int(state >> np.uint64(1))))
            yield turns


class Turns:
    """An order of batches as lists of turns."""

    def __init__(self, order: BatchOrder) -> None:
        self.order = order

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[list[Turn]]:
        return self.order.turns()


class Refused(str):
    """Why a sample cannot be used. It travels as a value, since an exception of a worker arrives as a traceback."""


class Reading:
    """A set whose samples' GatlasErrors are values. It is a class of its own so that workers can be sent it."""

    def __init__(self, scenes: SampleSet) -> None:
        self.scenes = scenes

    def __getitem__(self, index: int | Turn) -> object:
        try:
            if isinstance(index, Turn):
                return self.scenes.draw(index.sample, seed=index.seed, step=index.step)
            return self.scenes[index]
        except GatlasError as error:
            return Refused(error)

    def collate(self, items: list[object]) -> object:
        """The batch of the samples, or why there is none."""
        try:
            return next((item for item in items if isinstance(item, Refused)), None) or self.scenes.collate(items)
        except GatlasError as error:
            return Refused(error)


def ignore_signals(worker: int) -> None:
    """A reading worker leaves signals to its parent, which ends it when the last step is saved."""
    import signal

    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def batches(scenes: SampleSet, order: BatchOrder, *, workers: int, pin: bool) -> Iterator[object]:
    """The batches of `order` on the CPU, read ahead by worker processes. A sample that fails is a GatlasError."""
    from torch.utils.data import DataLoader

    reading = Reading(scenes)
    initialise: Callable[[int], None] | None = ignore_signals if workers else None
    loader: DataLoader[object] = DataLoader(
        reading,  # type: ignore[arg-type]
        batch_sampler=Turns(order),
        collate_fn=reading.collate,
        num_workers=workers,
        pin_memory=pin,
        worker_init_fn=initialise,
    )
    for batch in loader:
        if isinstance(batch, Refused):
            raise GatlasError(str(batch))
        yield batch
