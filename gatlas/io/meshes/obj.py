"""Wavefront OBJ meshes. Read by our own code, not trimesh, which fails on negative indices.

Colors of OBJ files, Kd and per-vertex, are sRGB; texture coordinates run up and are turned here.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from gatlas.errors import GatlasError
from gatlas.images.srgb import srgb_to_linear
from gatlas.io.meshes.mtl import MtlMaterial, read_mtl
from gatlas.io.meshes.parts import Part, join_parts
from gatlas.io.meshes.polygons import triangulate
from gatlas.io.meshes.textures import read_beside
from gatlas.types import Material, Texture

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from gatlas.io.streams import Blob
    from gatlas.types import Mesh


class _Statements:
    """Statements of an OBJ file, in their order."""

    def __init__(self, blob: Blob) -> None:
        self.blob = blob
        self.positions: list[list[str]] = []
        self.uvs: list[list[str]] = []
        self.polygons: dict[str, list[list[tuple[int, int]]]] = {}  # by material: corners (vertex, uv or -1)
        self.libraries: list[str] = []
        material = ""
        for number, line in _lines(blob):
            keyword, _, rest = line.partition(" ")
            if keyword == "v":
                self.positions.append(rest.split())
            elif keyword == "vt":
                self.uvs.append(rest.split())
            elif keyword == "f":
                corners = [self._corner(token, number) for token in rest.split()]
                if len(corners) >= 3:
                    self.polygons.setdefault(material, []).append(corners)
            elif keyword == "usemtl":
                material = rest.strip()
            elif keyword == "mtllib" and rest.strip():
                self.libraries.append(rest.strip())

    def _corner(self, token: str, number: int) -> tuple[int, int]:
        """Zero-based indices of "v", "v/vt", "v//vn" or "v/vt/vn"; negative ones count back from the last."""
        first, _, others = token.partition("/")
        second = others.partition("/")[0]
        try:
            return self._index(int(first), len(self.positions)), (
                self._index(int(second), len(self.uvs)) if second else -1
            )
        except ValueError:
            raise GatlasError(f"{self.blob.name}: line {number}: {token[:40]!r} is not a corner of a face") from None

    @staticmethod
    def _index(index: int, count: int) -> int:
        absolute = index - 1 if index > 0 else count + index
        if index == 0 or absolute < 0:
            raise ValueError
        return absolute


@np.errstate(all="ignore")  # damaged numbers are found in what comes of them
def obj_mesh(blob: Blob) -> Mesh:
    """The mesh of an OBJ file; see `gatlas.io.load_mesh`."""
    statements = _Statements(blob)
    table = _numbers(blob, statements.positions, "v", 3)
    positions, colors = table[:, :3], _colors(table)
    uvs = _numbers(blob, statements.uvs, "vt", 2, fill=0.0)[:, :2] if statements.uvs else np.zeros((0, 2))
    libraries = _read_libraries(blob, statements.libraries)
    parts: list[Part] = []
    materials: list[Material] = []
    textures: list[Texture] = []
    for name, polygons in statements.polygons.items():
        found = libraries.get(name, MtlMaterial(Material(name=name)))
        if name and name not in libraries and libraries:
            warnings.warn(f"{blob.name}: material {name!r} is in no material library; it is white", stacklevel=2)
        parts.append(_part(blob, positions, colors, uvs, polygons, found, len(materials)))
        texture = -1
        if found.texture is not None:
            texture = len(textures)
            textures.append(found.texture)
        materials.append(
            Material(name, found.material.factor, texture, found.material.alpha_mode, found.material.alpha_cutoff)
        )
    return join_parts(blob, parts, materials, textures)


def _lines(blob: Blob) -> Iterator[tuple[int, str]]:
    """Statements and their line numbers: without comments, continued lines joined, one space after the keyword."""
    pending = ""
    for number, raw in enumerate(blob.data.decode("utf-8-sig", "replace").split("\n"), start=1):
        line = pending + raw.strip()
        if line.endswith("\\"):
            pending = line[:-1] + " "
            continue
        pending = ""
        if line and not line.startswith("#"):
            keyword, *rest = line.split(None, 1)
            yield number, f"{keyword} {rest[0]}" if rest else keyword


def _numbers(
    blob: Blob, rows: list[list[str]], keyword: str, least: int, fill: float = np.nan
) -> Float[np.ndarray, "n w"]:
    """Rows of numbers; short ones are filled up to the longest."""
    width = max([least, *map(len, rows)])
    if width > 8 or (fill != fill and any(len(row) < least for row in rows)):
        raise GatlasError(f"{blob.name}: a line {keyword!r} has the wrong count of numbers")
    try:
        return np.array([row + [fill] * (width - len(row)) for row in rows], dtype=np.float64).reshape(-1, width)
    except ValueError as error:
        raise GatlasError(f"{blob.name}: a line {keyword!r} does not hold numbers ({error})") from None


def _colors(table: Float[np.ndarray, "n w"]) -> Float[np.ndarray, "n 4"] | None:
    """Linear colors where lines "v" read x y z r g b; in 0..255 where one is above 1. Vertices without are white."""
    if table.shape[1] < 6:
        return None
    colors = np.ones((len(table), 4))
    given = np.isfinite(table[:, 3:6]).all(axis=1)
    scale = 255.0 if given.any() and table[given, 3:6].max() > 1 else 1.0
    colors[given, :3] = srgb_to_linear(table[given, 3:6] / scale)
    return colors


def _read_libraries(blob: Blob, names: list[str]) -> dict[str, MtlMaterial]:
    """All materials of the libraries. A name may hold spaces, or several names be divided by them."""
    materials: dict[str, MtlMaterial] = {}
    for name in dict.fromkeys(names):
        whole = read_beside(blob, name.replace("\\", "/"))
        candidates = (
            [(name, whole)] if whole is not None else [(part, read_beside(blob, part)) for part in name.split()]
        )
        for part, content in candidates:
            if content is None:
                warnings.warn(f"{blob.name}: material library {part} is missing; its surfaces are white", stacklevel=2)
            else:
                materials.update(read_mtl(blob, content))
    return materials


def _part(
    blob: Blob,
    positions: Float[np.ndarray, "p 3"],
    colors: Float[np.ndarray, "p 4"] | None,
    uvs: Float[np.ndarray, "t 2"],
    polygons: list[list[tuple[int, int]]],
    found: MtlMaterial,
    material: int,
) -> Part:
    """The faces of one material: one vertex for each pair of a position and a texture coordinate."""
    corners = np.array([corner for polygon in polygons for corner in polygon])
    if corners[:, 0].max() >= len(positions) or corners[:, 1].max() >= len(uvs):
        raise GatlasError(
            f"{blob.name}: a face refers to a vertex that does not exist: the file is damaged or cut short"
        )
    pairs, numbers = np.unique(corners, axis=0, return_inverse=True)
    faces: Int[np.ndarray, "f 3"] = numbers.reshape(-1)[
        triangulate(positions[corners[:, 0]], np.array([len(polygon) for polygon in polygons]))
    ]
    own_uvs = np.zeros((len(pairs), 2))
    textured = pairs[:, 1] >= 0
    own_uvs[textured] = uvs[pairs[textured, 1]] * found.uv_scale + found.uv_offset
    own_uvs[:, 1] = 1 - own_uvs[:, 1]
    own_colors = None if colors is None else colors[pairs[:, 0]]
    return Part(positions[pairs[:, 0]], faces, own_uvs, own_colors, material)
