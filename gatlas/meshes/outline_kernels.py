"""Numba kernels: how far the outline of a surface is from that of the splat, pixel by pixel.

One thread handles a range of pixels and writes to nothing else: results do not depend on their number.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from gatlas.jit import njit

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Float64, Int64, UInt8

STEP = 0.25  # pixels between the places at which an outline is looked for
OWN = 2.0  # pixels from the center of a covered pixel to the outline beside it, at most
LEAST_REACH = 1.5  # pixels that the splat's outline may be away, whatever length that is
LEAST_SINE = 0.5  # of the angle between ray and normal: a surface that faces the camera has no outline
NONE = 1e9


@njit(nogil=True, cache=True)
def measure_outlines(
    start: int,
    stop: int,
    pixels: Int64[np.ndarray, "n 3"],
    normals: Float64[np.ndarray, "n 3"],
    views: Float64[np.ndarray, "c 3 4"],
    focals: Float64[np.ndarray, "c 4"],
    covered: Bool[np.ndarray, "c h w"],
    depths: Float32[np.ndarray, "c h w"],
    alphas: UInt8[np.ndarray, "c h w"],
    reach: float,
    distances: Float64[np.ndarray, " n"],
    weights: Float64[np.ndarray, " n"],
) -> None:
    """Fill distances and weights of pixels start..stop: view, row and column of places beside the surface's outline.

    A distance is that along the normal, in world units, by which the surface would have to move there for its outline
    to be where the splat's alpha, times 255, falls through a half. Its weight is the squared sine of the angle at which
    the surface is seen; 0 where no outline is within reach.
    """
    for n in range(start, stop):
        view, row, column = pixels[n, 0], pixels[n, 1], pixels[n, 2]
        fx, fy, cx, cy = focals[view, 0], focals[view, 1], focals[view, 2], focals[view, 3]
        r, z = views[view], float(depths[view, row, column])
        x, y = (column + 0.5 - cx) / fx, (row + 0.5 - cy) / fy
        nx, ny, nz = normals[n, 0], normals[n, 1], normals[n, 2]
        a = r[0, 0] * nx + r[0, 1] * ny + r[0, 2] * nz
        b = r[1, 0] * nx + r[1, 1] * ny + r[1, 2] * nz
        c = r[2, 0] * nx + r[2, 1] * ny + r[2, 2] * nz
        du, dv = fx * (a - x * c) / z, fy * (b - y * c) / z  # pixels that a step along the normal moves it
        scale = math.sqrt(du * du + dv * dv)
        sine = scale * z / fx
        distances[n], weights[n] = 0.0, 0.0
        if not sine >= LEAST_SINE:
            continue
        du, dv = du / scale, dv / scale
        own = crossing(covered[view], 0.5, column + 0.5, row + 0.5, du, dv, 0.0, OWN)
        if own == NONE:
            continue
        far = max(reach * scale, LEAST_REACH)
        other = crossing(alphas[view], 127.5, column + 0.5 + own * du, row + 0.5 + own * dv, du, dv, -far, far)
        if other == NONE:
            continue
        distances[n], weights[n] = other / scale, min(sine * sine, 1.0)


@njit(nogil=True, cache=True)
def crossing(picture, level, u, v, du, dv, low, high):  # type: ignore[no-untyped-def]
    """Return where on u + t du, v + t dv, t in low..high, the picture falls through a level: the t nearest to 0."""
    best, count = NONE, math.ceil((high - low) / STEP)
    last = bilinear(picture, u + low * du, v + low * dv)
    for k in range(1, count + 1):
        t = low + k * STEP
        value = bilinear(picture, u + t * du, v + t * dv)
        if last > level and value <= level:
            found = t - STEP + STEP * (last - level) / (last - value)
            if abs(found) < abs(best):
                best = found
        last = value
    return best


@njit(nogil=True, cache=True)
def bilinear(picture, u, v):  # type: ignore[no-untyped-def]
    """Return the value at u, v pixels from the picture's corner; 0 beyond the centers of its outermost pixels."""
    height, width = picture.shape
    x, y = math.floor(u - 0.5), math.floor(v - 0.5)
    i, j = int(y), int(x)
    if i < 0 or j < 0 or i + 1 >= height or j + 1 >= width:
        return 0.0
    fx, fy = u - 0.5 - x, v - 0.5 - y
    upper = (1.0 - fx) * picture[i, j] + fx * picture[i, j + 1]
    lower = (1.0 - fx) * picture[i + 1, j] + fx * picture[i + 1, j + 1]
    return (1.0 - fy) * upper + fy * lower
