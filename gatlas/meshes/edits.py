"""A mesh made ready to be drawn: upright, and without what its file says wrongly."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from gatlas.types import Mesh

# What becomes of the axes x, y, z, by the one that points up: rotations, so that nothing is mirrored.
_UPRIGHT = {
    "y": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "z": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "x": ((0, -1, 0), (1, 0, 0), (0, 0, 1)),
    "-y": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
    "-z": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "-x": ((0, 1, 0), (-1, 0, 0), (0, 0, 1)),
}
UP_AXES = tuple(_UPRIGHT)


def stand_up(mesh: Mesh, up: str) -> Mesh:
    """The mesh turned so that its axis `up` points along +y. What `origin` leads back to is the turned mesh.

    `up` is one of "x", "y", "z", "-x", "-y" and "-z"; anything else is a ValueError. Of a file made with z up, x stays
    and its front, -y, comes to face +z.
    """
    if up not in _UPRIGHT:
        raise ValueError(f"up must be one of {', '.join(UP_AXES)}, got {up!r}")
    rotation = np.array(_UPRIGHT[up], dtype=np.float64)
    x, y, z = rotation @ np.asarray(mesh.origin.center)
    return replace(
        mesh,
        vertices=np.asarray(mesh.vertices, dtype=np.float64) @ rotation.T,
        origin=replace(mesh.origin, center=(float(x), float(y), float(z))),
    )


def without_vertex_colors(mesh: Mesh) -> Mesh:
    """The mesh with white, opaque vertices: some files keep masks or lighting where colours should be."""
    return replace(mesh, colors=np.ones_like(np.asarray(mesh.colors)))
