"""Texture coordinates of a mesh without any: charts and their packing by xatlas."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.errors import GatlasError

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Int, Int32

SIZES = 1.0, 1e4  # that xatlas is given the object in: areas below 1e-7 count as none
PADDING = 2  # texels between charts, so that no bilinear sample of one reads another


class Unwrapped(NamedTuple):
    """A mesh whose vertices are repeated along the borders of its charts."""

    sources: Int32[np.ndarray, " n"]  # the vertex that each one repeats
    faces: Int32[np.ndarray, "f 3"]  # in the order of the faces that were given
    uvs: Float32[np.ndarray, "n 2"]  # in [0, 1]


def unwrap(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], size: int) -> Unwrapped:
    """Return texture coordinates for a texture of `size` x `size` texels; no two triangles share a texel's center.

    That xatlas is not installed is a GatlasError.
    """
    try:
        import xatlas
    except ImportError as error:
        raise GatlasError(
            "textures of meshes need xatlas: pip install 'gatlas[mesh]', or --texture 0 for vertex colors"
        ) from error
    unit = np.ptp(vertices, axis=0).max() or 1.0
    placed = (vertices - vertices.mean(axis=0)) / unit
    for size_of_object in SIZES:
        atlas = xatlas.Atlas()
        atlas.add_mesh((size_of_object * placed).astype(np.float32), np.asarray(faces, dtype=np.uint32))
        packing = xatlas.PackOptions()
        packing.resolution = size
        packing.padding = PADDING
        packing.bilinear = True
        atlas.generate(pack_options=packing)
        sources, corners, uvs = atlas[0]
        if np.isfinite(uvs).all():
            return Unwrapped(sources.astype(np.int32), corners.astype(np.int32), uvs.astype(np.float32))
    raise GatlasError("the surface is too thin for a texture: use --texture 0 for vertex colors")
