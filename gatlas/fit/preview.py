"""A picture of the fit as it goes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from gatlas.fit.optimize import as_gaussians
from gatlas.geometry.cameras import orbit
from gatlas.raster import rasterize
from gatlas.types import Origin

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float

    from gatlas.fit.adam import Adam

SECONDS = 5.0  # between two pictures
CAMERAS = 3
SIDE = 320  # pixels


class Preview:
    """A callback of `optimize` that every few seconds passes on a picture from three sides over white."""

    def __init__(self, show: Callable[[Float[np.ndarray, "h w 3"]], None], *, antialiased: bool = False) -> None:
        self._show, self._origin = show, Origin(normalized=True, antialiased=antialiased)
        self._next = 0.0

    def __call__(self, step: int, parameters: dict[str, torch.Tensor], adam: Adam) -> None:
        if time.monotonic() < self._next:
            return
        gaussians = as_gaussians(parameters, self._origin)
        images = rasterize(gaussians, orbit(CAMERAS, SIDE, SIDE), background=np.ones(3, dtype=np.float32)).colors
        self._show(np.concatenate(list(images), axis=1))
        self._next = time.monotonic() + SECONDS
