"""Meshes made ready to be drawn: in the unit ball, upright, without misleading vertex colors."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from gatlas.errors import GatlasError
from gatlas.geometry.frames import UPRIGHT, bounding_ball

if TYPE_CHECKING:
    from gatlas.types import Mesh

UP_AXES = tuple(UPRIGHT)


def normalize_mesh(mesh: Mesh) -> Mesh:
    """Return the mesh in the unit ball: its bounding box's center at 0, its farthest vertex at distance 1.

    Only vertices that a face refers to count. `origin` leads back: own units = position * scale + center.
    """
    vertices = np.asarray(mesh.vertices, dtype=np.float64)
    used = vertices[np.unique(mesh.faces)]
    if len(used) == 0:
        raise GatlasError(f"{mesh.origin.name or 'the mesh'}: has no triangles")
    center, radius = bounding_ball(used)
    if not 0 < radius < np.inf:
        raise GatlasError(f"{mesh.origin.name or 'the mesh'}: its vertices are all at one point, or not finite")
    before = mesh.origin
    own = center * before.scale + np.asarray(before.center)
    origin = replace(
        before,
        center=(float(own[0]), float(own[1]), float(own[2])),
        scale=radius * before.scale,
        normalized=True,
    )
    return replace(mesh, vertices=(vertices - center) / radius, origin=origin)


def stand_up(mesh: Mesh, up: str) -> Mesh:
    """Return the mesh turned so that its axis `up` points along +y. What `origin` leads back to is the turned mesh.

    `up` is one of "x", "y", "z", "-x", "-y" and "-z"; anything else is a ValueError. Of a file made with z up, x stays
    and its front, -y, comes to face +z.
    """
    if up not in UPRIGHT:
        raise ValueError(f"up must be one of {', '.join(UP_AXES)}, got {up!r}")
    rotation = np.array(UPRIGHT[up], dtype=np.float64)
    x, y, z = rotation @ np.asarray(mesh.origin.center)
    return replace(
        mesh,
        vertices=np.asarray(mesh.vertices, dtype=np.float64) @ rotation.T,
        origin=replace(mesh.origin, center=(float(x), float(y), float(z))),
    )


def without_vertex_colors(mesh: Mesh) -> Mesh:
    """Return the mesh with white, opaque vertices: some files keep masks or lighting where colors should be."""
    return replace(mesh, colors=np.ones_like(np.asarray(mesh.colors)))
