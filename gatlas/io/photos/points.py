"""Colored point clouds, from which a fit of photos may start."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.errors import GatlasError
from gatlas.geometry.far_coordinates import float32_holds
from gatlas.io import ply_container as plyheader

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.io.streams import Blob

_COLOR_NAMES = (("red", "green", "blue"), ("diffuse_red", "diffuse_green", "diffuse_blue"), ("r", "g", "b"))
_FULL = {"u1": 255.0, "u2": 65535.0}  # the value that is 1; floats are in [0, 1] already


class Points(NamedTuple):
    """A colored point cloud."""

    xyz: Float[np.ndarray, "n 3"]  # world units; float64 where float32 cannot hold them
    rgb: Float[np.ndarray, "n 3"]  # sRGB, [0, 1]; 0.5 where the file has no colors


def checked_points(name: str, xyz: Float[np.ndarray, "n 3"], rgb: Float[np.ndarray, "n 3"]) -> Points:
    """The points, none of them off the map, float32 where that holds them; no points at all is a GatlasError.

    Points that are not finite, of which reconstructions have some, are left out with one warning.
    """
    if len(xyz) == 0:
        raise GatlasError(f"{name}: holds no points")
    finite = (np.abs(xyz) < np.finfo(np.float32).max).all(axis=1)
    if not finite.any():
        raise GatlasError(f"{name}: none of its {len(xyz):,} points is finite")
    if not finite.all():
        left_out = np.count_nonzero(~finite)
        warnings.warn(f"{name}: {left_out:,} of its {len(xyz):,} points are NaN or infinite and left out", stacklevel=2)
        xyz, rgb = xyz[finite], rgb[finite]
    xyz = xyz.astype(np.float32 if float32_holds(xyz) else np.float64)
    return Points(xyz, np.clip(np.nan_to_num(rgb, nan=0.5), 0.0, 1.0).astype(np.float32))


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
