"""What every optimisation of this package shares: how rates decay, which view comes when, and on how many threads."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

FINAL_RATE = 0.02  # of the first, reached by one cosine: the decay, not the length, brings most of the gain


def cosine_decay(step: int, steps: int) -> float:
    """Share of the first learning rate after `step` of `steps` steps: from 1 to FINAL_RATE."""
    return FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * min(step / max(steps, 1), 1.0)))


def view_order(views: int, steps: int, rng: np.random.Generator) -> np.ndarray:
    """A view for each step: every view once, in random order, before any comes again (int64)."""
    epochs = -(-steps // views)
    order = [rng.permutation(views) for _ in range(epochs)]
    return np.concatenate([*order, np.empty(0, dtype=np.int64)])[:steps].astype(np.int64)


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Torch's own threads only get in the kernels' way: the tensors of these loops are small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
