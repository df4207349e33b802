"""Parts of a mesh, one material each, and their joining into a checked `Mesh`: shared by the readers of all formats."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gatlas.errors import GatlasError
from gatlas.types import Material, Mesh, Origin, Texture

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from gatlas.io.streams import Blob


@dataclass(frozen=True, eq=False)
class Part:
    """Triangles of one material, in world units."""

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    uvs: Float[np.ndarray, "v 2"] | None  # v runs down
    colors: Float[np.ndarray, "v 4"] | None  # linear
    material: int
    emissive_uvs: Float[np.ndarray, "v 2"] | None = None  # v runs down; None where they are `uvs`


def object_name(blob: Blob) -> str:
    """The stem of the file, "" for a pipe."""
    return blob.path.stem if blob.path is not None else ""


def join_parts(blob: Blob, parts: Sequence[Part], materials: Sequence[Material], textures: Sequence[Texture]) -> Mesh:
    """One mesh of all parts, without unused vertices and without triangles that are a line or a point by their indices.

    GatlasError: no triangles, vertices that are not finite, no extent, or no area.
    """
    vertices, faces, uvs, emissive_uvs, colors, face_materials = [], [], [], [], [], []
    start = 0
    for part in parts:
        count = len(part.vertices)
        if len(part.faces) and not (part.faces.min() >= 0 and part.faces.max() < count):
            raise GatlasError(f"{blob.name}: a triangle refers to a vertex that does not exist (there are {count})")
        a, b, c = part.faces.T
        solid = part.faces[(a != b) & (b != c) & (c != a)]
        used = np.zeros(count, dtype=bool)
        used[solid] = True
        number = np.cumsum(used) - 1 + start
        vertices.append(np.asarray(part.vertices, dtype=np.float64)[used])
        faces.append(number[solid])
        uvs.append(np.zeros((count, 2))[used] if part.uvs is None else part.uvs[used])
        emissive_uvs.append(uvs[-1] if part.emissive_uvs is None else part.emissive_uvs[used])
        colors.append(np.ones((count, 4))[used] if part.colors is None else part.colors[used])
        face_materials.append(np.full(len(solid), part.material))
        start += int(used.sum())
    if not any(map(len, faces)):
        raise GatlasError(f"{blob.name}: has no triangles to show")
    mesh = Mesh(
        vertices=np.concatenate(vertices),
        faces=np.concatenate(faces).astype(np.int32),
        face_materials=np.concatenate(face_materials).astype(np.int32),
        uvs=_finite(blob, np.concatenate(uvs), "texture coordinates"),
        colors=_finite(blob, np.concatenate(colors), "vertex colors"),
        materials=tuple(materials),
        textures=tuple(textures),
        origin=Origin(name=object_name(blob)),
        emissive_uvs=(
            _finite(blob, np.concatenate(emissive_uvs), "texture coordinates")
            if any(part.emissive_uvs is not None for part in parts)
            else None
        ),
    )
    _check_extent(blob, mesh.vertices)
    corners = (mesh.vertices / np.ptp(mesh.vertices, axis=0).max())[mesh.faces]
    if not np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).any():
        raise GatlasError(f"{blob.name}: has no area: each of its triangles is a line or a point")
    return mesh


def _finite(blob: Blob, values: Float[np.ndarray, "n d"], what: str) -> Float[np.ndarray, "n d"]:
    values = np.clip(np.asarray(values, dtype=np.float64), -3e38, 3e38).astype(np.float32)
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        warnings.warn(f"{blob.name}: {bad.sum()} of its {what} are not numbers; zeros stand for them", stacklevel=2)
        values[bad] = 0.0
    return values


def _check_extent(blob: Blob, vertices: Float[np.ndarray, "v 3"]) -> None:
    bad = ~np.isfinite(vertices).all(axis=1)
    if bad.any():
        raise GatlasError(f"{blob.name}: {bad.sum()} of {len(bad)} vertices are not finite: export the mesh again")
    extent = float(np.ptp(vertices, axis=0).max())
    if extent == 0:
        raise GatlasError(f"{blob.name}: has no extent: all its vertices are at one point")
    # Beyond, areas (fourth powers of lengths) leave the range of float64 or the positions have no digits left.
    largest = float(np.abs(vertices).max())
    if not 1e-30 < extent < 1e30 or extent < 1e-12 * largest:
        raise GatlasError(f"{blob.name}: an extent of {extent:.3g} at a distance of {largest:.3g} cannot be handled")
