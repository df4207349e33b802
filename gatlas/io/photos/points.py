"""Colored point clouds, from which a fit of photos may start."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.errors import GatlasError
from gatlas.io import ply_container as plyheader

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.io.streams import Blob

_COLOR_NAMES = (("red", "green", "blue"), ("diffuse_red", "diffuse_green", "diffuse_blue"), ("r", "g", "b"))
_FULL = {"u1": 255.0, "u2": 65535.0}  # the value that is 1; floats are in [0, 1] already


class Points(NamedTuple):
    """A colored point cloud."""

    xyz: Float[np.ndarray, "n 3"]  # world units
    rgb: Float[np.ndarray, "n 3"]  # sRGB, [0, 1]; 0.5 where the file has no colors


def checked_points(name: str, xyz: Float[np.ndarray, "n 3"], rgb: Float[np.ndarray, "n 3"]) -> Points:
    """The points, float32, none of them off the map; no points at all is a GatlasError."""
    if len(xyz) == 0:
        raise GatlasError(f"{name}: holds no points")
    finite = np.isfinite(xyz).all(axis=1)
    if not finite.all():
        raise GatlasError(f"{name}: {int((~finite).sum()):,} of its {len(xyz):,} points are NaN or infinite")
    return Points(xyz.astype(np.float32), np.clip(np.nan_to_num(rgb, nan=0.5), 0.0, 1.0).astype(np.float32))


def ply_points(blob: Blob) -> Points:
    """The vertices of a PLY (a point cloud, or the corners of a mesh) with their colors."""
    header = plyheader.parse(blob)
    vertices = plyheader.read_vertices(blob, header, noun="points")
    names = vertices.element.names
    if not {"x", "y", "z"} <= set(names):
        raise GatlasError(f"{blob.name}: not a point cloud: it has no properties x, y, z")
    xyz = vertices.columns(("x", "y", "z"), np.float64)
    rgb = np.full_like(xyz, 0.5)
    found = next((each for each in _COLOR_NAMES if set(each) <= set(names)), None)
    if found is not None:
        rgb = vertices.columns(found, np.float64) / _FULL.get(vertices.element.types[names.index(found[0])], 1.0)
    return checked_points(blob.name, xyz, rgb)
