"""Numba kernels that bring the colors of pictures to a surface: to the texels of its texture, or to its vertices.

What a pixel sees of the surface is a sample. It depends on a few unknowns, the four texels around it or the three
corners of its face, whose weights add up to 1. All sums run in the order of the samples on one thread: the bytes do not
depend on the number of threads.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.jit import njit

if TYPE_CHECKING:
    from jaxtyping import Float32, Int32, UInt8, UInt16

# There are millions of samples, so their values are small numbers.
LEVELS = 255.0  # of a color: rounded once more, since a texel is the mean of many
STEPS = 65535.0  # of a place
SOUND_ALPHA = 0.98
LEAST_ALPHA = 0.5  # of a pixel that counts at all
# Weight of a pixel that may show something else, beside a sound one: it decides where there is no other.
DOUBTFUL = 1e-4


class Samples(NamedTuple):
    """Points of the surface that pixels show, and the colors of these pixels."""

    faces: Int32[np.ndarray, " n"]
    places: UInt16[np.ndarray, "n 2"]  # weights of the face's first two corners times STEPS
    colors: UInt8[np.ndarray, "n 3"]  # sRGB times LEVELS
    weights: Float32[np.ndarray, " n"]  # > 0


class Unknowns(NamedTuple):
    """The colors that are sought: texels where there is a texture, row by row, else vertices."""

    faces: Int32[np.ndarray, "f 3"]
    corners: Float32[np.ndarray, "f 6"]  # u, v of the corners in texels
    width: int  # texels; 0: vertices
    height: int


@njit(cache=True, nogil=True, error_model="numpy")
def take_samples(pictures, depths, hit_faces, hit_places, hit_depths, normals, rays, tolerance, samples):  # type: ignore[no-untyped-def]
    """Fill `samples` with those of one picture, row by row; return how many there are.

    `pictures` [h w 4] are straight sRGB and alpha times LEVELS, `depths` [h w] those of what the splat shows, `normals`
    [f 3] those of the faces, unit; `rays` [3 3] takes pixel coordinates (x, y, 1) to a direction in the world. A pixel
    is sound where it is opaque, the two depths agree to the tolerance (world units) and the mesh has no edge of depth
    next to it.
    """
    height, width = depths.shape
    count = 0
    for y in range(height):
        for x in range(width):
            face, alpha = hit_faces[y, x], pictures[y, x, 3] / LEVELS
            if face < 0 or alpha < LEAST_ALPHA:
                continue
            u, v = x + 0.5, y + 0.5
            dx = rays[0, 0] * u + rays[0, 1] * v + rays[0, 2]
            dy = rays[1, 0] * u + rays[1, 1] * v + rays[1, 2]
            dz = rays[2, 0] * u + rays[2, 1] * v + rays[2, 2]
            along = dx * normals[face, 0] + dy * normals[face, 1] + dz * normals[face, 2]
            weight = along * along / (dx * dx + dy * dy + dz * dz)  # the cosine's square
            depth = hit_depths[y, x]
            sound = alpha >= SOUND_ALPHA and abs(depths[y, x] - depth) <= tolerance
            if sound:
                for k in range(4):
                    i, j = y + (k == 0) - (k == 1), x + (k == 2) - (k == 3)
                    if 0 <= i < height and 0 <= j < width and not abs(hit_depths[i, j] - depth) <= tolerance:
                        sound = False
            weight = max(weight, 1e-6) * (1.0 if sound else DOUBTFUL)
            samples.faces[count] = face
            for k in range(2):
                samples.places[count, k] = np.uint16(hit_places[y, x, k] * STEPS + 0.5)
            for channel in range(3):
                samples.colors[count, channel] = pictures[y, x, channel]
            samples.weights[count] = weight
            count += 1
    return count


@njit(nogil=True, forceinline=True)
def _taps(unknowns, face, b0, b1, taps, shares):  # type: ignore[no-untyped-def]
    """Fill the unknowns that a sample depends on, and their shares; return how many there are."""
    b2 = max(1.0 - b0 - b1, 0.0)
    if unknowns.width == 0:
        for k in range(3):
            taps[k] = unknowns.faces[face, k]
        shares[0], shares[1], shares[2] = b0, b1, b2
        return 3
    corners = unknowns.corners
    x = b0 * corners[face, 0] + b1 * corners[face, 2] + b2 * corners[face, 4] - 0.5
    y = b0 * corners[face, 1] + b1 * corners[face, 3] + b2 * corners[face, 5] - 0.5
    left, top = math.floor(x), math.floor(y)
    fx, fy = x - left, y - top
    for k in range(4):
        column = min(max(int(left) + (k & 1), 0), unknowns.width - 1)
        row = min(max(int(top) + (k >> 1), 0), unknowns.height - 1)
        taps[k] = row * unknowns.width + column
        shares[k] = (fx if k & 1 else 1.0 - fx) * (fy if k & 2 else 1.0 - fy)
    return 4


@njit(cache=True, nogil=True, error_model="numpy")
def add_residuals(samples, unknowns, values, sums):  # type: ignore[no-untyped-def]
    """Add to `sums` [t 4] what the samples differ from `values` [t 3], and the weights of their unknowns in column 3.

    Divided by it, the sums are the corrections of one round of simultaneous algebraic reconstruction (Andersen and Kak
    1984); from values of 0 they are the weighted mean of the samples.
    """
    taps, shares = np.empty(4, dtype=np.int64), np.empty(4)
    faces, places, colors, weights = samples.faces, samples.places, samples.colors, samples.weights
    for n in range(len(weights)):
        b0, b1 = places[n, 0] / STEPS, places[n, 1] / STEPS
        count = _taps(unknowns, faces[n], b0, b1, taps, shares)
        red, green, blue = colors[n, 0] / LEVELS, colors[n, 1] / LEVELS, colors[n, 2] / LEVELS
        for k in range(count):
            t = taps[k]
            red -= shares[k] * values[t, 0]
            green -= shares[k] * values[t, 1]
            blue -= shares[k] * values[t, 2]
        for k in range(count):
            weight, t = shares[k] * weights[n], taps[k]
            sums[t, 0] += weight * red
            sums[t, 1] += weight * green
            sums[t, 2] += weight * blue
            sums[t, 3] += weight


@njit(cache=True, nogil=True, error_model="numpy")
def add_by_face(samples, sums):  # type: ignore[no-untyped-def]
    """Add the weighted colors of the samples, and their weights in column 3, to their faces' `sums` [f 4]."""
    for n in range(len(samples.weights)):
        weight, face = samples.weights[n], samples.faces[n]
        for channel in range(3):
            sums[face, channel] += weight * samples.colors[n, channel] / LEVELS
        sums[face, 3] += weight


@njit(cache=True, nogil=True, error_model="numpy")
def paint_faces(chosen, unknowns, colors, values, known):  # type: ignore[no-untyped-def]
    """Give the unknowns of the chosen faces [n] that are not `known` [t] the faces' colors [f 3], and mark them."""
    corners = unknowns.corners
    for face in chosen:
        if unknowns.width == 0:
            for k in range(3):
                t = unknowns.faces[face, k]
                if not known[t]:
                    values[t, 0], values[t, 1], values[t, 2] = colors[face, 0], colors[face, 1], colors[face, 2]
                    known[t] = True
            continue
        x0, y0, x1, y1 = corners[face, 0], corners[face, 1], corners[face, 2], corners[face, 3]
        x2, y2 = corners[face, 4], corners[face, 5]
        area = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
        if area == 0.0:
            continue
        first, last = max(int(min(x0, x1, x2)), 0), min(int(max(x0, x1, x2)), unknowns.width - 1)
        top, bottom = max(int(min(y0, y1, y2)), 0), min(int(max(y0, y1, y2)), unknowns.height - 1)
        for row in range(top, bottom + 1):
            for column in range(first, last + 1):
                x, y = column + 0.5, row + 0.5
                b1 = ((x - x0) * (y2 - y0) - (y - y0) * (x2 - x0)) / area
                b2 = ((x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)) / area
                t = row * unknowns.width + column
                if b1 >= 0.0 and b2 >= 0.0 and b1 + b2 <= 1.0 and not known[t]:
                    values[t, 0], values[t, 1], values[t, 2] = colors[face, 0], colors[face, 1], colors[face, 2]
                    known[t] = True
