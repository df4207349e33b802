"""Wavefront OBJ meshes. Read by our own code, not trimesh, which fails on negative indices.

Colors of OBJ files, Kd and per-vertex, are sRGB; texture coordinates run up and are turned here.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from gatlas.errors import GatlasError
from gatlas.images.srgb import srgb_to_linear
from gatlas.io.meshes.mtl import MtlMaterial, Placement, read_mtl
from gatlas.io.meshes.neighbors import Neighbors, shown
from gatlas.io.meshes.obj_columns import parse_columns
from gatlas.io.meshes.obj_lines import Polygons, parse_lines
from gatlas.io.meshes.parts import Part, join_parts
from gatlas.io.meshes.polygons import triangulate
from gatlas.types import Material, Texture

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from gatlas.io.streams import Blob
    from gatlas.types import Mesh

_NAMES = re.compile(r'"[^"]+"|\S+')  # of several libraries in one line


@np.errstate(all="ignore")  # damaged numbers are found in what comes of them
def obj_mesh(blob: Blob) -> Mesh:
    """The mesh of an OBJ file; see `gatlas.io.load_mesh`."""
    statements = parse_columns(blob) or parse_lines(blob)
    positions, colors = statements.positions[:, :3], _colors(statements.positions)
    uvs = statements.uvs[:, :2]
    neighbors = Neighbors(blob)
    libraries = _read_libraries(neighbors, statements.libraries)
    parts: list[Part] = []
    materials: list[Material] = []
    textures: list[Texture] = []

    def numbered(texture: Texture | None) -> int:
        if texture is None:
            return -1
        textures.append(texture)
        return len(textures) - 1

    for name, polygons in statements.polygons.items():
        found = libraries.get(name, MtlMaterial(Material(name=name)))
        if name and name not in libraries and libraries:
            warnings.warn(f"{blob.name}: material {name!r} is in no material library; it is white", stacklevel=2)
        parts.append(_part(blob, positions, colors, uvs, polygons, found, len(materials)))
        texture, emissive = numbered(found.texture), numbered(found.emissive_texture)
        materials.append(replace(found.material, name=name, texture=texture, emissive_texture=emissive))
    mesh = join_parts(blob, parts, materials, textures)
    neighbors.warn_moved()
    return mesh


def _colors(table: Float[np.ndarray, "n w"]) -> Float[np.ndarray, "n 4"] | None:
    """Linear colors where lines "v" read x y z r g b; in 0..255 where one is above 1. Vertices without are white."""
    if table.shape[1] < 6:
        return None
    colors = np.ones((len(table), 4))
    given = np.isfinite(table[:, 3:6]).all(axis=1)
    scale = 255.0 if given.any() and table[given, 3:6].max() > 1 else 1.0
    colors[given, :3] = srgb_to_linear(table[given, 3:6] / scale)
    return colors


def _read_libraries(neighbors: Neighbors, names: list[str]) -> dict[str, MtlMaterial]:
    """All materials of the libraries. A name may hold spaces, or several names, some in quotes, be divided by them."""
    materials: dict[str, MtlMaterial] = {}
    for line in dict.fromkeys(names):
        name, whole = line, neighbors.read(line)
        if whole is None and (uncommented := re.split(r"\s#", line, maxsplit=1)[0]) != line:
            name, whole = uncommented, neighbors.read(uncommented)
        parts = [name] if whole is not None else _NAMES.findall(name)
        candidates = [(part, whole if whole is not None else neighbors.read(part)) for part in parts]
        for part, content in candidates:
            if content is None:
                why = neighbors.why_missing(part)
                warnings.warn(
                    f"{neighbors.blob.name}: material library {shown(part)} is missing; its surfaces are white"
                    f"{f' ({why})' if why else ''}",
                    stacklevel=2,
                )
            else:
                neighbors.search_next_to(part)
                materials.update(read_mtl(neighbors, content))
    return materials


def _part(
    blob: Blob,
    positions: Float[np.ndarray, "p 3"],
    colors: Float[np.ndarray, "p 4"] | None,
    uvs: Float[np.ndarray, "t 2"],
    polygons: Polygons,
    found: MtlMaterial,
    material: int,
) -> Part:
    """The faces of one material: one vertex for each pair of a position and a texture coordinate."""
    if polygons.vertices.max() >= len(positions) or polygons.uvs.max() >= len(uvs):
        raise GatlasError(
            f"{blob.name}: a face refers to a vertex that does not exist: the file is damaged or cut short"
        )
    vertices, pair_uvs, numbers = _unique_pairs(polygons.vertices, polygons.uvs, len(positions), len(uvs))
    if (polygons.sizes == 3).all():
        faces = numbers.reshape(-1, 3)
    else:
        faces = numbers[triangulate(positions[polygons.vertices], polygons.sizes)]
    textured = pair_uvs >= 0

    def placed(placement: Placement) -> Float[np.ndarray, "v 2"]:
        own = np.zeros((len(vertices), 2))
        own[textured] = uvs[pair_uvs[textured]] * placement.scale + placement.offset
        own[:, 1] = 1 - own[:, 1]
        return own

    base, emissive = found.placement, found.emissive_placement
    one = found.texture is None or found.emissive_texture is None or base == emissive
    return Part(
        vertices=positions[vertices],
        faces=faces,
        uvs=placed(emissive if found.texture is None else base),
        colors=None if colors is None else colors[vertices],
        material=material,
        emissive_uvs=None if one else placed(emissive),
    )


def _unique_pairs(
    vertices: Int[np.ndarray, " c"], uvs: Int[np.ndarray, " c"], vertex_count: int, uv_count: int
) -> tuple[Int[np.ndarray, " v"], Int[np.ndarray, " v"], Int[np.ndarray, " c"]]:
    """The pairs of a position and a texture coordinate (-1: none), in their order, and the number of each corner's."""
    uv_of = np.full(vertex_count, -1, dtype=np.int64)
    uv_of[vertices] = uvs
    if (uv_of[vertices] == uvs).all():  # no position has two
        used = np.zeros(vertex_count, dtype=bool)
        used[vertices] = True
        pairs = np.flatnonzero(used)
        return pairs, uv_of[pairs], (np.cumsum(used) - 1)[vertices]
    keys, numbers = np.unique(vertices * (uv_count + 1) + uvs + 1, return_inverse=True)
    return keys // (uv_count + 1), keys % (uv_count + 1) - 1, numbers.reshape(-1)
