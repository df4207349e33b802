"""Pictures gathered by the Gaussians that show them: the transpose of blending colors (numpy, the CPU kernels)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.raster.cpu import Images, compile_kernels, pair_gradients, pinhole, render, seen_parameters
from gatlas.raster.projection_kernels import S_BLUE, S_RED
from gatlas.raster.rendering import ProjectionOptions

if TYPE_CHECKING:
    from jaxtyping import Float, Float32

    from gatlas.types import Cameras, Gaussians


def gather(
    gaussians: Gaussians, cameras: Cameras, images: Float[np.ndarray, "c h w 3"], *, eps2d: float = 0.3
) -> Float32[np.ndarray, "n 3"]:
    """Return, per Gaussian, the sum over all pixels of the weight that it is blended with times the pixel's values.

    Of pictures of ones it is `gatlas.raster.visibility` summed over the cameras. `eps2d` in square pixels, in the
    classic mode; the planes are the defaults.
    """
    shape = (cameras.height, cameras.width)
    if images.shape != (len(cameras), *shape, 3):
        raise ValueError(f"images must have shape [{len(cameras)} {shape[0]} {shape[1]} 3], got {list(images.shape)}")
    compile_kernels(backward=True)
    options = ProjectionOptions(eps2d=eps2d)
    black, nothing = np.zeros(3, dtype=np.float32), np.zeros(shape, dtype=np.float32)
    shown = Images(np.empty((*shape, 3), np.float32), np.empty(shape, np.float32), np.empty(shape, np.float32))
    sums = np.zeros((len(gaussians), 3), dtype=np.float32)
    for i, parameters in enumerate(seen_parameters(gaussians, cameras)):
        rendered = render(parameters, pinhole(cameras, i, options), black, shown)
        values = np.ascontiguousarray(images[i], dtype=np.float32)
        slots = pair_gradients(rendered, Images(values, nothing, nothing))
        projected = rendered.projected
        if len(projected.order):  # every visible Gaussian has a slot, so no segment is empty
            starts = projected.slot_starts[:-1]
            sums[projected.order] += np.add.reduceat(slots[:, S_RED : S_BLUE + 1], starts, axis=0)
    return sums
