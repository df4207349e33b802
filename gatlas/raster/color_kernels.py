"""Numba kernels: spherical harmonics of degree 1 to 3 to the colors that one camera sees, and the gradients back.

`gatlas.raster.colors.seen_colors` is their slow twin; the basis is that of `gatlas.geometry.sh`. One thread handles a
range of Gaussians. In torch, degree 3 costs a third of a step of a fit; here a twentieth.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from gatlas.geometry.sh import SH_C0, SH_C1, SH_C2, SH_C3
from gatlas.jit import njit
from gatlas.raster.colors import TINY_SQUARED_DISTANCE

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64

_C20, _C21, _C22, _C23, _C24 = SH_C2
_C30, _C31, _C32, _C33, _C34, _C35, _C36 = SH_C3


@njit(nogil=True)
def _fill_basis(x, y, z, count, basis):  # type: ignore[no-untyped-def]
    """Write the first `count` basis functions at a unit direction."""
    basis[0] = SH_C0
    basis[1] = -SH_C1 * y
    basis[2] = SH_C1 * z
    basis[3] = -SH_C1 * x
    if count == 4:
        return
    xx, yy, zz = x * x, y * y, z * z
    basis[4] = _C20 * x * y
    basis[5] = _C21 * y * z
    basis[6] = _C22 * (2 * zz - xx - yy)
    basis[7] = _C23 * x * z
    basis[8] = _C24 * (xx - yy)
    if count == 9:
        return
    basis[9] = _C30 * y * (3 * xx - yy)
    basis[10] = _C31 * x * y * z
    basis[11] = _C32 * y * (4 * zz - xx - yy)
    basis[12] = _C33 * z * (2 * zz - 3 * xx - 3 * yy)
    basis[13] = _C34 * x * (4 * zz - xx - yy)
    basis[14] = _C35 * z * (xx - yy)
    basis[15] = _C36 * x * (xx - 3 * yy)


@njit(nogil=True)
def _direction_gradient(x, y, z, count, v):  # type: ignore[no-untyped-def]
    """The gradient to the direction, where `v` [count] are the gradients to the basis functions."""
    dx, dy, dz = -SH_C1 * v[3], -SH_C1 * v[1], SH_C1 * v[2]
    if count == 4:
        return dx, dy, dz
    xx, yy, zz, xy, yz, xz = x * x, y * y, z * z, x * y, y * z, x * z
    dx += _C20 * y * v[4] - 2 * _C22 * x * v[6] + _C23 * z * v[7] + 2 * _C24 * x * v[8]
    dy += _C20 * x * v[4] + _C21 * z * v[5] - 2 * _C22 * y * v[6] - 2 * _C24 * y * v[8]
    dz += _C21 * y * v[5] + 4 * _C22 * z * v[6] + _C23 * x * v[7]
    if count == 9:
        return dx, dy, dz
    dx += 6 * _C30 * xy * v[9] + _C31 * yz * v[10] - 2 * _C32 * xy * v[11] - 6 * _C33 * xz * v[12]
    dx += _C34 * (4 * zz - 3 * xx - yy) * v[13] + 2 * _C35 * xz * v[14] + 3 * _C36 * (xx - yy) * v[15]
    dy += 3 * _C30 * (xx - yy) * v[9] + _C31 * xz * v[10] + _C32 * (4 * zz - xx - 3 * yy) * v[11]
    dy += -6 * _C33 * yz * v[12] - 2 * _C34 * xy * v[13] - 2 * _C35 * yz * v[14] - 6 * _C36 * xy * v[15]
    dz += _C31 * xy * v[10] + 8 * _C32 * yz * v[11] + 3 * _C33 * (2 * zz - xx - yy) * v[12]
    dz += 8 * _C34 * xz * v[13] + _C35 * (xx - yy) * v[14]
    return dx, dy, dz


@njit(nogil=True)
def _direction(means, eye, i):  # type: ignore[no-untyped-def]
    """The unit direction from the camera to a Gaussian, and its distance."""
    x, y, z = means[i, 0] - eye[0], means[i, 1] - eye[1], means[i, 2] - eye[2]
    distance = math.sqrt(x * x + y * y + z * z + TINY_SQUARED_DISTANCE)
    return x / distance, y / distance, z / distance, distance


@njit(nogil=True)
def _color(sh, i, basis):  # type: ignore[no-untyped-def]
    """The unclamped color of a Gaussian, by the values of the spherical harmonics in its direction."""
    red, green, blue = 0.5, 0.5, 0.5
    for j in range(sh.shape[1]):
        red += basis[j] * sh[i, j, 0]
        green += basis[j] * sh[i, j, 1]
        blue += basis[j] * sh[i, j, 2]
    return red, green, blue


@njit(nogil=True, cache=True, error_model="numpy")
def evaluate(
    start: int,
    stop: int,
    means: Float32[np.ndarray, "n 3"],
    sh: Float32[np.ndarray, "n k 3"],
    eye: Float64[np.ndarray, " 3"],
    colors: Float32[np.ndarray, "n 3"],
) -> None:
    """Write the colors of a range of Gaussians as `eye` sees them, >= 0."""
    count = sh.shape[1]
    basis = np.empty(16)
    for i in range(start, stop):
        x, y, z, _ = _direction(means, eye, i)
        _fill_basis(x, y, z, count, basis)
        red, green, blue = _color(sh, i, basis)
        colors[i, 0], colors[i, 1], colors[i, 2] = max(red, 0.0), max(green, 0.0), max(blue, 0.0)


@njit(nogil=True, cache=True, error_model="numpy")
def evaluate_backward(
    start: int,
    stop: int,
    means: Float32[np.ndarray, "n 3"],
    sh: Float32[np.ndarray, "n k 3"],
    eye: Float64[np.ndarray, " 3"],
    v_colors: Float32[np.ndarray, "n 3"],
    v_means: Float32[np.ndarray, "n 3"],
    v_sh: Float32[np.ndarray, "n k 3"],
) -> None:
    """Write the gradients of a range of Gaussians; a color below 0, which shows as 0, has none."""
    count = sh.shape[1]
    basis, v_basis = np.empty(16), np.empty(16)
    for i in range(start, stop):
        red, green, blue = v_colors[i, 0], v_colors[i, 1], v_colors[i, 2]
        if red == 0 and green == 0 and blue == 0:  # most Gaussians of a picture are hidden
            v_means[i] = 0
            v_sh[i] = 0
            continue
        x, y, z, distance = _direction(means, eye, i)
        _fill_basis(x, y, z, count, basis)
        seen_red, seen_green, seen_blue = _color(sh, i, basis)
        red = red if seen_red >= 0 else np.float32(0)
        green = green if seen_green >= 0 else np.float32(0)
        blue = blue if seen_blue >= 0 else np.float32(0)
        for j in range(count):
            v_sh[i, j, 0], v_sh[i, j, 1], v_sh[i, j, 2] = basis[j] * red, basis[j] * green, basis[j] * blue
            v_basis[j] = red * sh[i, j, 0] + green * sh[i, j, 1] + blue * sh[i, j, 2]
        dx, dy, dz = _direction_gradient(x, y, z, count, v_basis)
        along = dx * x + dy * y + dz * z
        v_means[i, 0] = (dx - along * x) / distance
        v_means[i, 1] = (dy - along * y) / distance
        v_means[i, 2] = (dz - along * z) / distance
