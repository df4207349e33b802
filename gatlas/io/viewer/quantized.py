"""Gaussians in few bytes, for a page that shows them: `viewer.js` unpacks what is packed here.

Lengths are in radii of the object, about its center. A coordinate has 16 bits of the box that holds all, or as many
bytes as it takes for a step of at most STEP; a log-scale 8 bits, or 16 where the scales differ very much; a rotation
its three smaller components in 10 bits each; color and opacity have 8 bits, the higher harmonics 6 or 5, band by band.
Gaussians that are never drawn, of opacities below 1/255, are left out; the others are in the order of a Morton curve,
each channel in planes of bytes, and the coordinates as differences, which gzip packs well.
"""

from __future__ import annotations

import gzip
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatlas.geometry.cameras import framing_ball
from gatlas.geometry.scene_unit import in_ball, scene_unit
from gatlas.geometry.sh import dc_to_rgb
from gatlas.io.arrays import host_array

if TYPE_CHECKING:
    from jaxtyping import Float64, UInt8, UInt32

    from gatlas.types import Gaussians

STEP = 2e-4  # radii, of positions: a twentieth of a pixel where 512 pixels show the object
RATIO = 0.04  # of log-scales, natural
THINNEST = 1e-5  # radii: thinner than any pixel's blur
NEAR_PLANE = 0.01  # units of the scene, as gatlas.raster has it
MIN_ALPHA = 1 / 255
# Of the higher harmonics, by degree, in bytes that gzip packs. Of two splats of GaussianVerse 6, 5, 5 keep 48 dB in
# 510 kB of a page, 8 bits each 65 dB in 830 kB, 5, 4, 4 (the usual ones of SPZ) 41 dB in 366 kB.
BAND_BITS = {1: 6, 2: 5, 3: 5}
STRAYS = 2e-4  # share of the colors, and of the harmonics, that may lie outside the range of the 8 bits


class Packed(NamedTuple):
    """The Gaussians of a page."""

    header: dict[str, Any]  # what unpacks them, and how they are drawn; JSON-able
    data: bytes  # gzip


def pack(gaussians: Gaussians) -> Packed:
    """Return the Gaussians (numpy or torch), of which one at least is drawn, in few bytes: the same for the same."""
    fields = ("means", "quats", "scales", "opacities", "sh")
    arrays: dict[str, Any] = {name: host_array(getattr(gaussians, name)) for name in fields}
    gaussians = replace(gaussians, **arrays)
    drawn = np.flatnonzero(gaussians.opacities >= MIN_ALPHA)
    center, radius = framing_ball(gaussians)
    means = (gaussians.means[drawn].astype(np.float64) - center) / radius
    low, high = means.min(axis=0), means.max(axis=0)
    position_bytes = next(n for n in (2, 3, 4) if (high - low).max() <= STEP * 256**n or n == 4)
    places = _levels(means, low, high, position_bytes)
    order = np.argsort(_morton(places >> np.uint32(8 * position_bytes - 10)), kind="stable")
    kept = drawn[order]

    logs = np.log(np.maximum(gaussians.scales[kept].astype(np.float64) / radius, THINNEST))
    scales = float(logs.min()), float(logs.max())
    scale_bytes = 1 if scales[1] - scales[0] <= RATIO * 255 else 2
    sh = gaussians.sh[kept].astype(np.float64)
    rgb = dc_to_rgb(sh[:, 0])
    colors = (min(0.0, _quantile(rgb, STRAYS)), max(1.0, _quantile(rgb, 1 - STRAYS)))
    if sh.shape[1] == 1:
        colors = (0.0, colors[1])  # nothing darkens or brightens a color below black
    bands, harmonics = _harmonics(sh)
    planes = [
        *_planes(_differences(places[order], position_bytes), position_bytes),
        *_planes(_levels(logs, scales[0], scales[1], scale_bytes), scale_bytes),
        *_planes(_packed_rotations(gaussians.quats[kept])[:, None], 4),
        *_planes(_levels(rgb, colors[0], colors[1], 1), 1),
        *_planes(_levels(gaussians.opacities[kept, None].astype(np.float64), 0.0, 1.0, 1), 1),
        *_planes(harmonics, 1),
    ]
    header = {
        "count": len(kept),
        "positionBytes": position_bytes,
        "scaleBytes": scale_bytes,
        "low": low.tolist(),
        "high": high.tolist(),
        "scales": scales,
        "colors": colors,
        "bands": bands,
        "coefficients": int(sh.shape[1]),
    }
    return Packed(header | _drawing(gaussians, center, radius), gzip.compress(b"".join(planes), 6, mtime=0))


def _drawing(gaussians: Gaussians, center: Float64[np.ndarray, " 3"], radius: float) -> dict[str, Any]:
    """Return how they are drawn, in radii of the object: near plane and blur as `gatlas.raster` chooses them."""
    origin = gaussians.origin
    sizes = origin.pixel_sizes if in_ball(gaussians, origin.ball) else None  # moved by another program: of other units
    ball = origin.ball or (0.0, 0.0, 0.0, 1.0)
    return {
        "near": NEAR_PLANE * scene_unit(gaussians) / radius,
        "antialiased": origin.antialiased,
        "pixelSizes": None if sizes is None else [size / radius for size in sizes],
        "ball": [*((np.asarray(ball[:3]) - center) / radius).tolist(), ball[3] / radius],
    }


def _quantile(values: Float64[np.ndarray, "n c"], share: float) -> float:
    return float(np.quantile(values, share)) if values.size else 0.0


def _levels(
    values: Float64[np.ndarray, "n c"],
    low: float | Float64[np.ndarray, " c"],
    high: float | Float64[np.ndarray, " c"],
    width: int,
) -> UInt32[np.ndarray, "n c"]:
    """Return the nearest of the levels of so many bytes from `low` to `high`."""
    most = 256**width - 1
    span = np.asarray(high, dtype=np.float64) - low
    share = (values - low) / np.where(span > 0, span, 1.0)
    return np.asarray(np.rint(np.clip(share, 0.0, 1.0) * most), dtype=np.uint32)


def _morton(cells: UInt32[np.ndarray, "n 3"]) -> UInt32[np.ndarray, " n"]:
    """Return the place along a Morton curve of cells of 10 bits per axis."""
    place = np.zeros(len(cells), dtype=np.uint32)
    for bit in range(10):
        for axis in range(3):
            place |= ((cells[:, axis] >> np.uint32(bit)) & np.uint32(1)) << np.uint32(3 * bit + axis)
    return place


def _differences(places: UInt32[np.ndarray, "n 3"], width: int) -> UInt32[np.ndarray, "n 3"]:
    """Return the zigzag of the differences of neighbors, modulo 256^width: 0, -1, 1, -2, ... as 0, 1, 2, 3, ..."""
    bits = 8 * width
    steps = np.remainder(np.diff(places.astype(np.int64), axis=0, prepend=0), 1 << bits)
    steps -= (steps >> (bits - 1)) << bits  # the upper half are negative
    return np.asarray(np.where(steps < 0, -2 * steps - 1, 2 * steps), dtype=np.uint32)


def _packed_rotations(quats: Any) -> UInt32[np.ndarray, " n"]:
    """Return each rotation as its three smaller components, 10 bits each from the lowest on, and which is left out."""
    quats = quats.astype(np.float64)
    quats = quats / np.linalg.norm(quats, axis=1, keepdims=True)
    largest = np.argmax(np.abs(quats), axis=1)
    signs = np.where(np.take_along_axis(quats, largest[:, None], axis=1) < 0, -1.0, 1.0)
    others = np.array([[j for j in range(4) if j != i] for i in range(4)])
    small = np.take_along_axis(quats * signs, others[largest], axis=1)
    levels = np.clip(np.rint((small * np.sqrt(2.0) + 1.0) * 511.0), 0, 1022).astype(np.uint32)
    packed = levels[:, 0] | levels[:, 1] << np.uint32(10) | levels[:, 2] << np.uint32(20)
    return np.asarray(packed | largest.astype(np.uint32) << np.uint32(30))


def _harmonics(sh: Float64[np.ndarray, "n k 3"]) -> tuple[list[float], UInt32[np.ndarray, "n c"]]:
    """Return the step of the levels of each of three bands, and the levels of the higher coefficients: 128 is 0."""
    bands, columns = [], []
    for degree, bits in BAND_BITS.items():
        most = 2 ** (bits - 1) - 1
        band = sh[:, degree**2 : (degree + 1) ** 2].reshape(len(sh), -1)
        bands.append((_quantile(np.abs(band), 1 - STRAYS) or 1.0) / most)
        columns.append((np.clip(np.rint(band / bands[-1]), -most, most) + 128).astype(np.uint32))
    return bands, np.concatenate(columns, axis=1)


def _planes(values: UInt32[np.ndarray, "n c"], width: int) -> list[bytes]:
    """Return the bytes of the columns: of each the lowest byte of all rows, then the next."""
    bytes_of: UInt8[np.ndarray, "c n 4"] = np.ascontiguousarray(values.T.astype("<u4"))[..., None].view(np.uint8)
    return [bytes_of[column, :, byte].tobytes() for column in range(values.shape[1]) for byte in range(width)]
