"""The initial anchors of a scaffold: Gaussians gathered into voxels, one anchor per voxel."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.fit.scaffold_model import FEATURES, OFFSETS
from gatlas.geometry.rotations import normalize_quats
from gatlas.geometry.sh import dc_to_rgb

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Int

    from gatlas.types import Gaussians

FILL = 6  # Gaussians in a voxel before it is cut into eight: an anchor keeps slots free
DEEPEST = 16  # levels of voxels; what still shares one is at the same place
COLOR_LIMIT = 4.0  # logits: beyond them the sigmoid hardly has a slope
SIGMOID_MIDDLE = 2.0  # times the Gaussians' size: an anchor's size, so that the sigmoid begins where it is steepest


class AnchorStart(NamedTuple):
    """Anchors, and the linear maps that decode their features, in numpy."""

    anchors: Float32[np.ndarray, "a 3"]  # world units
    alive: Bool[np.ndarray, "a k"]
    offsets: Float32[np.ndarray, "a k 3"]  # in units of the anchor's extent
    scalings: Float32[np.ndarray, "a 6"]  # natural logs: extent of the offsets, size of the Gaussians
    features: Float32[np.ndarray, "a 32"]
    weights: dict[str, Float32[np.ndarray, "_ 32"]]  # of "color" and "rotation"; the others begin as their bias
    biases: dict[str, Float32[np.ndarray, " _"]]


def gather_anchors(gaussians: Gaussians) -> AnchorStart:
    """One anchor for each voxel of an octree whose voxels hold at most FILL Gaussians (numpy).

    A feature is the principal components of its Gaussians' colors and rotations. Opacities begin at their mean.
    """
    voxels, slots, count = _voxelize(gaussians.means)
    alive = np.zeros((count, OFFSETS), dtype=bool)
    alive[voxels, slots] = True
    filled = np.bincount(voxels, minlength=count)

    def voxel_means(values: np.ndarray) -> np.ndarray:
        columns = [np.bincount(voxels, weights=column, minlength=count) for column in values.T]
        return np.stack(columns, axis=1) / filled[:, None]

    def by_slot(values: np.ndarray) -> np.ndarray:
        """[a k d]: free slots hold the mean of the others, which costs the principal components least."""
        table = np.repeat(voxel_means(values)[:, None], OFFSETS, axis=1)
        table[voxels, slots] = values
        return table

    anchors = voxel_means(gaussians.means)
    log_scales = voxel_means(np.log(gaussians.scales))
    distances = np.linalg.norm(gaussians.means - anchors[voxels], axis=1)
    extents = np.zeros(count)
    np.maximum.at(extents, voxels, distances)
    extents = np.maximum(extents, np.exp(log_scales.max(axis=1)))
    offsets = by_slot((gaussians.means - anchors[voxels]) / extents[voxels, None])

    rgb = np.clip(dc_to_rgb(gaussians.sh[:, 0].astype(np.float64)), 1e-6, 1 - 1e-6)
    colors = by_slot(np.clip(np.log(rgb / (1 - rgb)), -COLOR_LIMIT, COLOR_LIMIT)).reshape(count, -1)
    rotations = by_slot(normalize_quats(gaussians.quats)).reshape(count, -1)
    outputs = np.concatenate([colors, rotations], axis=1)
    middle = outputs.mean(axis=0)
    _, _, components = np.linalg.svd(outputs - middle, full_matrices=False)
    basis = np.zeros((outputs.shape[1], FEATURES))
    basis[:, : len(components)] = components[:FEATURES].T
    opacity = np.clip(gaussians.opacities.mean(), 0.05, 0.95)
    split = colors.shape[1]
    arrays = {
        "anchors": anchors,
        "offsets": offsets,
        "scalings": np.concatenate(
            [np.repeat(np.log(extents)[:, None], 3, axis=1), log_scales + np.log(SIGMOID_MIDDLE)], axis=1
        ),
        "features": (outputs - middle) @ basis,
    }
    return AnchorStart(
        alive=alive,
        **{name: array.astype(np.float32) for name, array in arrays.items()},
        weights={"color": basis[:split].astype(np.float32), "rotation": basis[split:].astype(np.float32)},
        biases={
            "opacity": np.full(OFFSETS, np.arctanh(opacity), dtype=np.float32),
            "color": middle[:split].astype(np.float32),
            "scale": np.zeros(3 * OFFSETS, dtype=np.float32),
            "rotation": middle[split:].astype(np.float32),
        },
    )


def _voxelize(means: Float32[np.ndarray, "n 3"]) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"], int]:
    """Voxel and slot of each point, and the number of voxels."""
    low, extent = means.min(axis=0), float(np.ptp(means, axis=0).max()) or 1.0
    unit = np.clip((means - low) / extent, 0.0, 1.0 - 1e-6)
    voxels = np.full(len(means), -1)
    slots = np.zeros(len(means), dtype=np.int64)
    open_points, count = np.arange(len(means)), 0
    for level in range(DEEPEST + 1):
        cells = (unit[open_points] * 2**level).astype(np.int64)
        _, keys, sizes = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
        keys = keys.reshape(-1)
        ranks = _ranks_within(keys)
        if level == DEEPEST:  # the same place: as many anchors there as they need
            _, keys, sizes = np.unique(np.stack([keys, ranks // FILL]), axis=1, return_inverse=True, return_counts=True)
            keys, ranks = keys.reshape(-1), ranks % FILL
        small = sizes <= FILL
        numbers = np.cumsum(small) - 1 + count
        done = small[keys]
        voxels[open_points[done]] = numbers[keys[done]]
        slots[open_points[done]] = ranks[done]
        count += int(small.sum())
        open_points = open_points[~done]
        if len(open_points) == 0:
            break
    return voxels, slots, count


def _ranks_within(keys: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Return the number of earlier points of the same key."""
    order = np.argsort(keys, kind="stable")
    starts = np.searchsorted(keys[order], keys[order], side="left")
    ranks = np.empty(len(keys), dtype=np.int64)
    ranks[order] = np.arange(len(keys)) - starts
    return ranks
