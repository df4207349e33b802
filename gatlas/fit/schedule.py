"""The parts that all optimizations of Gaussians share: decay of the rates, order of the views, targets, threads."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

from gatlas.geometry.rotations import normalize_quats
from gatlas.images.composite import composite
from gatlas.raster.over_color import over_color
from gatlas.raster.rendering import EPS2D
from gatlas.types import Gaussians

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from gatlas.types import AnyViews, Origin, Views

FINAL_RATE = 0.02  # of the first, reached by one cosine: the decay, not the length, brings most of the gain


def cosine_decay(step: int, steps: int) -> float:
    """Share of the first learning rate after `step` of `steps` steps: from 1 to FINAL_RATE."""
    return FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * min(step / max(steps, 1), 1.0)))


def view_order(views: int, steps: int, rng: np.random.Generator) -> np.ndarray:
    """A view for each step: every view once, in random order, before any comes again (int64)."""
    epochs = -(-steps // views)
    order = [rng.permutation(views) for _ in range(epochs)]
    return np.concatenate([*order, np.empty(0, dtype=np.int64)])[:steps].astype(np.int64)


class TrainingViews:
    """The RGBA views of an optimization, one per step: with `coarse`, the first so many steps take other ones."""

    def __init__(self, views: AnyViews, coarse: tuple[AnyViews, int] | None, iterations: int) -> None:
        if views.channels != 4:
            raise ValueError(f"views must be RGBA, got {views.channels} channels")
        self._views, self._iterations = views, iterations
        self._early, early_steps = coarse or (views, 0)
        self._early_steps = min(early_steps, iterations)

    def order(self, rng: np.random.Generator) -> np.ndarray:
        """Return the index of each step's view (int64)."""
        late = self._iterations - self._early_steps
        return np.concatenate(
            [view_order(len(self._early), self._early_steps, rng), view_order(len(self._views), late, rng)]
        )

    def is_order(self, order: np.ndarray) -> bool:
        """Return True for what `order` may have returned: a view for every step."""
        if order.dtype.kind not in "iu" or order.shape != (self._iterations,):
            return False
        early, late = order[: self._early_steps], order[self._early_steps :]
        within = ((part >= 0) & (part < len(views)) for part, views in ((early, self._early), (late, self._views)))
        return all(bool(part.all()) for part in within)

    def blur(self, step: int) -> float | None:
        """Return the variance in square pixels that a step's picture adds to the projected Gaussians.

        None is what belongs to the Gaussians. The first steps' is as wide on the object as that of the full pictures:
        what they settle then fits those.
        """
        if step >= self._early_steps:
            return None
        return EPS2D * (_longer_side(self._early) / _longer_side(self._views)) ** 2

    def at(self, step: int) -> AnyViews:
        """Return the views that a step, from 0, takes one of."""
        return self._early if step < self._early_steps else self._views


def _longer_side(views: AnyViews) -> int:
    cameras = views[0].cameras
    return max(cameras.width, cameras.height)


def over_random_color(
    view: Views, rng: np.random.Generator, device: str = "cpu", *, color: Float[np.ndarray, " 3"] | None = None
) -> tuple[Float[Tensor, "1 h w 3"], Float[Tensor, " 3"]]:
    """Return one RGBA view over a random color, or over `color`, and the color."""
    color = rng.random(3, dtype=np.float32) if color is None else color.astype(np.float32)
    rgba, background = np.ascontiguousarray(view.images, dtype=np.float32), torch.from_numpy(color).to(device)
    if device == "cpu":
        return torch.from_numpy(over_color(rgba, color)), background
    return composite(torch.from_numpy(rgba).to(device), background), background


def as_arrays(gaussians: Gaussians, origin: Origin) -> Gaussians:
    """Return Gaussians of tensors without gradients as numpy arrays of their own, with unit quaternions."""
    return Gaussians(
        means=gaussians.means.cpu().numpy().copy(),
        quats=normalize_quats(gaussians.quats.cpu().numpy()),
        scales=gaussians.scales.cpu().numpy(),
        opacities=gaussians.opacities.cpu().numpy(),
        sh=gaussians.sh.cpu().numpy(),
        origin=origin,
    )


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Torch's own threads only get in the kernels' way: the tensors of these loops are small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
