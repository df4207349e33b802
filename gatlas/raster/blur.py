"""The blur of a camera's pixels, by which projected Gaussians are widened: that of the pixels that they were fitted to.

A fit makes Gaussians right together with the rasterizer's blur of 0.3 square pixels. In the pixels of a camera that is
much nearer or farther, or of a larger or smaller picture, the same 0.3 is another length: surfaces get holes or rims.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.geometry.cameras import pixel_widths
from gatlas.geometry.libraries import is_tensor
from gatlas.geometry.scene_unit import in_ball
from gatlas.raster.rendering import EPS2D

if TYPE_CHECKING:
    from jaxtyping import Float64

    from gatlas.types import Gaussians, SomeCameras

TOLERANCE = 1e-3  # of a pixel's width: cameras of one orbit differ by rounding
# Square pixels, antialiased. A pixel is a square of variance 1/12; 0.05 was measured 0.7 dB and more better than that
# at an eighth, a quarter and half of the size of three fits, and 0.3 dB at the size itself.
LEAST_EPS2D = EPS2D / 6


def fitted_blur(gaussians: Gaussians, cameras: SomeCameras) -> Float64[np.ndarray, " c"]:
    """Return the variance in square pixels that each camera's picture adds to the projected Gaussians.

    It is EPS2D where the camera's pixel is among `origin.pixel_sizes`, and where these are not known. Outside it is
    EPS2D (s / p)^2, of the camera's pixel p and the nearer end s of the sizes: the length that it was in the fit, so
    more pixels of a finer camera and fewer of a coarser one. That of antialiased Gaussians is at least LEAST_EPS2D,
    which keeps those that are smaller than a coarse pixel from falling between its centers.
    """
    origin = gaussians.origin
    stale = origin.pixel_sizes is not None and not is_tensor(gaussians.means) and not in_ball(gaussians, origin.ball)
    if origin.pixel_sizes is None or stale:  # moved by another program: then its header is of other units
        return np.full(len(cameras), EPS2D)
    low, high = origin.pixel_sizes
    widths = pixel_widths(cameras, origin.ball)
    nearest = np.clip(widths, low * (1 - TOLERANCE), high * (1 + TOLERANCE))
    blur = EPS2D * (nearest / widths) ** 2
    return np.maximum(blur, LEAST_EPS2D) if origin.antialiased else blur
