"""The fusion kernel in plain numpy: the oracle of `gatlas.meshes.fusion_kernels.fuse_blocks`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.meshes.fusion_kernels import SAME_SIDE, UNITS

if TYPE_CHECKING:
    from jaxtyping import Float64

    from gatlas.meshes.depth_maps import DepthMaps


def fused_reference(
    points: Float64[np.ndarray, "n 3"],
    maps: DepthMaps,
    offset: float,
    thickness: float,
    front: float,
    behind: float,
    free_share: float,
    free_distance: float,
    two_sheets: bool = True,
) -> Float64[np.ndarray, " n"]:
    """Return the signed distance at each point: positive outside, at most `front`, at least -`behind`.

    `offset` is added to every distance; parts of two sheets that are less than `thickness` apart are given that.
    """
    observed = [_observe(points, maps, view, front, behind) for view in range(len(maps.depths))]
    distances, cosines = (np.stack([each[i] for each in observed]) for i in (0, 1))  # [c n]; cosine 0: sees none
    normals = np.stack([each[2] for each in observed])  # [c n 3]
    free = np.stack([each[3] for each in observed]).sum(axis=0)
    scores = cosines * (1 - np.abs(distances) / front)
    best = scores.argmax(axis=0)
    seen = scores.max(axis=0) > 0
    sides = (normals * normals[best, np.arange(len(points))]).sum(axis=2)
    near = np.where(sides >= SAME_SIDE, cosines, 0.0) if two_sheets else cosines
    far = np.where(sides < -SAME_SIDE, cosines, 0.0) if two_sheets else np.zeros_like(cosines)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = (near * distances).sum(axis=0) / near.sum(axis=0) + offset
        other = (far * distances).sum(axis=0) / far.sum(axis=0) + offset
    both = far.sum(axis=0) > 0
    apart = -(value + other)
    value = np.where(both, np.fmax(value, other), value)
    thin = both & (apart > -thickness) & (apart < thickness)
    value = np.where(thin, value - 0.5 * (thickness - np.fmax(apart, 0.0)), value)
    weight = near.sum(axis=0) + far.sum(axis=0)
    value = (np.where(seen, value, 0.0) * weight + free_share * free * free_distance) / np.where(
        seen, weight + free_share * free, 1.0
    )
    value = np.clip(value, -behind, front)
    return np.where(seen, value, np.where(free > 0, free_distance, -behind))


def _observe(
    points: Float64[np.ndarray, "n 3"], maps: DepthMaps, view: int, front: float, behind: float
) -> tuple[np.ndarray, ...]:
    """Return of one view the distance to what it sees, its squared cosine (0: it says nothing), normal, and freedom."""
    depths, normals = maps.depths[view].astype(np.float64), maps.normals[view]
    world_to_camera = maps.pinholes.views[view]
    fx, fy, cx, cy = maps.pinholes.focals[view]
    local = points @ world_to_camera[:, :3].T + world_to_camera[:, 3]
    z = local[:, 2]
    safe = np.where(z > 0, z, 1.0)
    u, v = fx * local[:, 0] / safe + cx, fy * local[:, 1] / safe + cy
    shown = (z > 0) & (u >= 0) & (u < depths.shape[1]) & (v >= 0) & (v < depths.shape[0])
    columns, rows = np.where(shown, u, 0).astype(int), np.where(shown, v, 0).astype(int)
    surface = depths[rows, columns]
    world = normals[rows, columns, :3] / UNITS
    normal = world @ world_to_camera[:, :3].T
    pixel = np.stack([(columns + 0.5 - cx) / fx * surface, (rows + 0.5 - cy) / fy * surface, surface], axis=1)
    distance = (normal * (local - pixel)).sum(axis=1)
    length = (pixel**2).sum(axis=1)
    cosine = (normal * pixel).sum(axis=1) ** 2 / np.where(length > 0, length, 1.0)
    covered = shown & (surface > 0)
    known = covered & (normals[rows, columns, 3] == 1)
    free = (shown & (surface <= 0)) | (known & (distance > front))
    used = known & (distance <= front) & (distance >= -behind) & (surface - z >= -4 * behind)
    return np.where(used, distance, 0.0), np.where(used, cosine, 0.0), world, free
