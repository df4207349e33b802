"""Checks and columns that the writers of all mesh formats share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.errors import GatlasError
from gatlas.geometry.far_coordinates import float32_holds
from gatlas.io.arrays import host_array

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.types import Mesh


def check_writable(mesh: Mesh) -> None:
    """Raise a GatlasError for a mesh that no reader could show, a ValueError for indices out of range."""
    if len(mesh.faces) == 0:
        raise GatlasError("not written: the mesh has no triangles")
    for name in ("vertices", "uvs", "colors"):
        values = host_array(getattr(mesh, name))
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            raise GatlasError(f"not written: {np.count_nonzero(~finite)} of {len(finite)} {name} are not finite")
    faces, materials = host_array(mesh.faces), host_array(mesh.face_materials)
    for label, indices, count in (("faces", faces, len(mesh.vertices)), ("materials", materials, len(mesh.materials))):
        if indices.min() < 0 or indices.max() >= count:
            raise ValueError(f"Mesh.{label}: indices must be in [0, {count}), got {indices.min()} to {indices.max()}")


def stored_positions(mesh: Mesh) -> Float[np.ndarray, "v 3"]:
    """Return the vertices in float32 where that holds them, else in float64."""
    vertices = host_array(mesh.vertices).astype(np.float64)
    return vertices.astype(np.float32) if float32_holds(vertices) else vertices
