"""PLY meshes: triangles, polygons and strips, colors per vertex or face, textures per vertex or corner.

Colors of PLY files are sRGB; texture coordinates run up and are turned here.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.errors import GatlasError
from gatlas.images.srgb import srgb_to_linear
from gatlas.io import ply_container as plyheader
from gatlas.io.meshes.neighbors import Neighbors
from gatlas.io.meshes.parts import Part, join_parts
from gatlas.io.meshes.polygons import are_convex, triangulate
from gatlas.io.meshes.textures import decode_texture
from gatlas.io.ply_tables import ListColumn, Table, read_tables
from gatlas.types import Material, Texture

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from gatlas.io.ply_container import Element, Header
    from gatlas.io.streams import Blob
    from gatlas.types import Mesh

_UV_NAMES = (("texture_u", "texture_v"), ("u", "v"), ("s", "t"))
_COLOR_NAMES = (
    ("red", "green", "blue", "alpha"),
    ("diffuse_red", "diffuse_green", "diffuse_blue", "diffuse_alpha"),
    ("r", "g", "b", "a"),
)
_INDEX_NAMES = ("vertex_indices", "vertex_index")
_FULL = {"u2": 65535.0}  # the value that is 1; 255 of other integers
_MOST_OF_UNIT = 2.0  # above it the floats of colors run to 255: some writers store bytes as floats
_FLOAT_SHARE = 1e-6  # of the extent: a rounding to float32 that moves nothing visibly


class _Faces(NamedTuple):
    """Polygons: their corners one after another."""

    corners: Int[np.ndarray, " c"]  # index of the vertex
    sizes: Int[np.ndarray, " p"]
    uvs: Float[np.ndarray, "c 2"] | None  # of the corners, NaN where a polygon has none; None: the file has none
    textures: Int[np.ndarray, " p"]  # number of the polygon's texture
    colors: Float[np.ndarray, "p 4"] | None  # linear


@np.errstate(all="ignore")  # damaged numbers are found in what comes of them
def ply_mesh(blob: Blob) -> Mesh:
    """The mesh of a PLY file; see `gatlas.io.load_mesh`. Point clouds and splats are a GatlasError."""
    header = plyheader.parse(blob)
    vertex = header.vertex(blob)
    if {"opacity", "scale_0", "rot_0"} <= set(vertex.names):
        raise GatlasError(f"{blob.name}: holds Gaussians, not a mesh: a mesh has faces")
    if not any(element.name in ("face", "tristrips") and element.count for element in header.elements):
        raise GatlasError(f"{blob.name}: a point cloud, not a mesh: it has no faces")
    tables = read_tables(blob, header)
    if not {"x", "y", "z"} <= set(tables["vertex"].columns):
        raise GatlasError(f"{blob.name}: damaged PLY: its vertices have no x, y and z")
    vertices = _positions(header, tables["vertex"])
    colors = _colors(vertex, tables["vertex"])
    faces = _faces(blob, header, tables)
    if len(faces.corners) and not (faces.corners.min() >= 0 and faces.corners.max() < len(vertices)):
        raise GatlasError(f"{blob.name}: a triangle refers to a vertex that does not exist (there are {len(vertices)})")
    neighbors = Neighbors(blob)
    own_uvs = _vertex_uvs(tables["vertex"])
    textures = _textures(neighbors, header, has_uvs=own_uvs is not None or faces.uvs is not None)
    if any(texture is not None for texture in textures):
        parts, materials, used = _textured(vertices, own_uvs, faces, textures)
    else:
        parts, materials, used = _colored(vertices, colors, faces)
    mesh = join_parts(blob, parts, materials, used)
    neighbors.warn_moved()
    return mesh


def _positions(header: Header, table: Table) -> Float[np.ndarray, "v 3"]:
    """Positions, rounded to the type that the header declares unless a text has digits that would show."""
    exact = np.stack([table.columns[axis] for axis in "xyz"], axis=1).astype(np.float64)
    if header.byte_order == "" and len(exact):
        rounded = exact.astype(np.float32).astype(np.float64)
        if np.abs(rounded - exact).max() <= _FLOAT_SHARE * np.ptp(exact, axis=0).max() and _is_float32(header):
            return rounded
    return exact


def _is_float32(header: Header) -> bool:
    vertex = next(element for element in header.elements if element.name == "vertex")
    return all(vertex.types[vertex.names.index(axis)] == "f4" for axis in "xyz")


def _colors(element: Element, table: Table) -> Float[np.ndarray, "n 4"] | None:
    """Linear RGBA of the rows; None where they have no colors."""
    names = {name.lower(): name for name in table.columns}
    for channels in _COLOR_NAMES:
        if set(channels[:3]) <= set(names):
            colors = np.ones((element.count, 4))
            there = [channel for channel in channels if channel in names]
            codes = {channel: element.types[element.names.index(names[channel])] for channel in there}
            floats = [table.columns[names[channel]] for channel in there if codes[channel][0] == "f"]
            full = 255.0 if any((np.nan_to_num(column) > _MOST_OF_UNIT).any() for column in floats) else 1.0
            for channel in there:
                column = table.columns[names[channel]]
                colors[:, channels.index(channel)] = _unit(column, codes[channel], full)
            colors[:, :3] = srgb_to_linear(colors[:, :3])
            return colors
    return None


def _unit(values: np.ndarray, code: str, full: float) -> Float[np.ndarray, " n"]:
    """A channel in [0, 1]; `full` is the float that is 1. Floats are rounded to bytes, as their writers have done."""
    values = values.astype(np.float64)
    if code[0] != "f":
        return np.clip(values / _FULL.get(code, 255.0), 0.0, 1.0)
    return np.rint(np.clip(np.where(np.isfinite(values), values, 0.0) * (255.0 / full), 0.0, 255.0)) / 255


def _vertex_uvs(table: Table) -> Float[np.ndarray, "v 2"] | None:
    """Texture coordinates of the vertices, running up."""
    for names in _UV_NAMES:
        if set(names) <= set(table.columns):
            return np.stack([table.columns[name] for name in names], axis=1).astype(np.float64)
    return None


def _faces(blob: Blob, header: Header, tables: dict[str, Table]) -> _Faces:
    """The polygons of the element "face", then the triangles of the strips."""
    corners, sizes = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    uvs, colors, numbers = None, None, np.zeros(0, dtype=np.int64)
    for element in header.elements:
        table = tables[element.name]
        if element.name == "face" and element.count:
            indices = _indices(blob, table)
            corners, sizes = indices.items.astype(np.int64), indices.sizes
            uvs = _corner_uvs(table, sizes)
            colors = _colors(element, table)
            numbers = table.columns.get("texnumber", np.zeros(len(sizes))).astype(np.int64)
        elif element.name == "tristrips" and element.count:
            strips = _strip_triangles(_indices(blob, table))
            corners = np.concatenate([corners, strips.reshape(-1)])
            sizes = np.concatenate([sizes, np.full(len(strips), 3)])
            numbers = np.concatenate([numbers, np.zeros(len(strips), dtype=np.int64)])
            if uvs is not None:
                uvs = np.concatenate([uvs, np.full((strips.size, 2), np.nan)])
            if colors is not None:
                colors = np.concatenate([colors, np.ones((len(strips), 4))])
    solid = sizes >= 3
    if solid.all():
        return _Faces(corners, sizes, uvs, numbers, colors)
    kept = np.repeat(solid, sizes)
    return _Faces(
        corners[kept],
        sizes[solid],
        None if uvs is None else uvs[kept],
        numbers[solid],
        None if colors is None else colors[solid],
    )


def _indices(blob: Blob, table: Table) -> ListColumn:
    found = next((table.lists[name] for name in _INDEX_NAMES if name in table.lists), None)
    if found is None and len(table.lists) == 1:
        found = next(iter(table.lists.values()))
    if found is None or found.items.dtype.kind == "f":
        raise GatlasError(f"{blob.name}: its faces have no list of vertices (vertex_indices)")
    return found


def _corner_uvs(table: Table, sizes: Int[np.ndarray, " p"]) -> Float[np.ndarray, "c 2"] | None:
    """Texture coordinates of the corners, from lists of u, v, u, v, ...; NaN where a list is not of its polygon."""
    lists = table.lists.get("texcoord")
    if lists is None or not len(lists.items):
        return None
    fits = lists.sizes == 2 * sizes
    uvs = np.full((int(sizes.sum()), 2), np.nan)
    uvs[np.repeat(fits, sizes)] = lists.items[np.repeat(fits, lists.sizes)].reshape(-1, 2)
    return uvs


def _strip_triangles(strips: ListColumn) -> Int[np.ndarray, "t 3"]:
    """The triangles of strips; -1 ends one. Every second triangle of a strip is wound the other way round."""
    items = strips.items.astype(np.int64)
    ends = np.cumsum(strips.sizes)
    firsts = np.sort(np.concatenate([[0], ends[:-1], np.flatnonzero(items < 0) + 1]))
    place = np.arange(len(items)) - firsts[np.searchsorted(firsts, np.arange(len(items)), side="right") - 1]
    thirds = np.flatnonzero((place >= 2) & (items >= 0))
    a, b, c = items[thirds - 2], items[thirds - 1], items[thirds]
    odd = place[thirds] % 2 == 1
    return np.stack([np.where(odd, b, a), np.where(odd, a, b), c], axis=1)


def _triangles(vertices: Float[np.ndarray, "v 3"], faces: _Faces) -> Int[np.ndarray, "t 3"]:
    """Triangles as indices of corners: first triangles, then halves of convex quads, then all other polygons."""
    starts = np.cumsum(faces.sizes) - faces.sizes
    triangles = [starts[faces.sizes == 3][:, None] + np.arange(3)]
    quads = starts[faces.sizes == 4][:, None] + np.arange(4)
    if len(quads):
        convex = are_convex(vertices[faces.corners[quads]])
        triangles += [quads[convex][:, [0, 1, 2]], quads[convex][:, [2, 3, 0]]]
        quads = quads[~convex]
    others = [quads.reshape(-1), np.flatnonzero(np.repeat(faces.sizes > 4, faces.sizes))]
    sizes = np.concatenate([np.full(len(quads), 4), faces.sizes[faces.sizes > 4]])
    if len(sizes):
        corners = np.concatenate(others)
        triangles.append(corners[triangulate(vertices[faces.corners[corners]], sizes)])
    return np.concatenate(triangles)


def _colored(
    vertices: Float[np.ndarray, "v 3"], colors: Float[np.ndarray, "v 4"] | None, faces: _Faces
) -> tuple[list[Part], list[Material], list[Texture]]:
    """One part, with the colors of the vertices or, where those say less, of the faces."""
    triangles = _triangles(vertices, faces)
    if faces.colors is not None and (
        colors is None or (_is_one_color(colors) and not _is_one_color(faces.colors))
    ):  # no two faces share a corner
        colors = np.repeat(faces.colors, faces.sizes, axis=0)[triangles.reshape(-1)]
        vertices = vertices[faces.corners[triangles.reshape(-1)]]
        part = Part(vertices, np.arange(triangles.size).reshape(-1, 3), None, colors, 0)
    else:
        part = Part(vertices, faces.corners[triangles], None, colors, 0)
    opaque = colors is None or bool((colors[:, 3] == 1).all())
    return [part], [Material(alpha_mode="OPAQUE" if opaque else "BLEND")], []


def _is_one_color(colors: Float[np.ndarray, "n 4"]) -> bool:
    return bool((colors == colors[:1]).all())


def _textured(
    vertices: Float[np.ndarray, "v 3"],
    own_uvs: Float[np.ndarray, "v 2"] | None,
    faces: _Faces,
    textures: Sequence[Texture | None],
) -> tuple[list[Part], list[Material], list[Texture]]:
    """A part for each texture. Colors do not count where there are textures: programs leave arbitrary greys in them."""
    triangles = _triangles(vertices, faces)
    numbers = np.repeat(faces.textures, faces.sizes)[triangles[:, 0]]
    if faces.uvs is not None:
        painted = np.isfinite(faces.uvs).all(axis=1)[triangles].all(axis=1)
    else:
        painted = np.ones(len(triangles), dtype=bool)
    there = np.array([texture is not None for texture in textures])
    painted &= (numbers >= 0) & (numbers < len(textures))
    painted[painted] = there[numbers[painted]]
    numbers = np.where(painted, numbers, -1)
    parts: list[Part] = []
    materials: list[Material] = []
    used: list[Texture] = []
    for number in np.unique(numbers):
        chosen = triangles[numbers == number]
        texture = None if number < 0 else textures[number]
        if texture is None or faces.uvs is None:
            uvs = None if own_uvs is None else own_uvs * [1, -1] + [0, 1]
            part = Part(vertices, faces.corners[chosen], uvs, None, len(materials))
        else:
            corners = chosen.reshape(-1)
            uvs = faces.uvs[corners] * [1, -1] + [0, 1]
            own = np.arange(len(corners)).reshape(-1, 3)
            part = Part(vertices[faces.corners[corners]], own, uvs, None, len(materials))
        parts.append(part)
        materials.append(Material(texture=-1 if texture is None else len(used)))
        used += [] if texture is None else [texture]
    return parts, materials, used


def _textures(neighbors: Neighbors, header: Header, has_uvs: bool) -> list[Texture | None]:
    """The pictures that comments "TextureFile NAME" name, None for one that is missing or damaged."""
    words = [text.split(None, 1) for text in header.comments]
    names = [word[1] for word in words if len(word) == 2 and word[0].lower().rstrip(":") == "texturefile"]
    if names and not has_uvs:
        warnings.warn(f"{neighbors.blob.name}: its texture is left out: it has no texture coordinates", stacklevel=2)
        return []
    return [_texture(neighbors, name) for name in names]


def _texture(neighbors: Neighbors, name: str) -> Texture | None:
    content = neighbors.read(name)
    if content is None:
        neighbors.warn_missing(name)
        return None
    pixels = decode_texture(neighbors.blob, name, content, opaque=True)
    return None if pixels is None else Texture(pixels)
