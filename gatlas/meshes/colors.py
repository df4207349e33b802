"""The color of a mesh's surface: texture x factor x vertex color x light + what it emits, in linear light (numba)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.images.srgb import BYTE_TO_LINEAR
from gatlas.jit import njit

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64, Int32, Int64, UInt8

    from gatlas.types import Material, Mesh, Texture

OPAQUE, MASK, BLEND = range(3)
ALPHA_MODES = {"OPAQUE": OPAQUE, "MASK": MASK, "BLEND": BLEND}
REPEAT, CLAMP, MIRROR = range(3)
WRAPS = {"repeat": REPEAT, "clamp": CLAMP, "mirror": MIRROR}

# The light of a mesh without colors of its own. It hangs in the world, so that every view sees the same surface:
# AMBIENT + DIFFUSE ((1 + n . towards the light) / 2)^2, a soft light that leaves no side black.
LIGHT = np.array([0.4, 0.75, 0.55]) / np.linalg.norm([0.4, 0.75, 0.55])
AMBIENT, DIFFUSE = 0.08, 0.77
CREASE = math.cos(math.radians(45.0))  # faces that meet at a sharper angle keep an edge between them
MOST_NEIGHBOURS = 256  # of a corner; beyond, it is lit by its own face alone

# Columns of the table of corners, per corner of a face.
U, V, RED, GREEN, BLUE, ALPHA, LIT, EMISSIVE_U, EMISSIVE_V = range(9)
CORNER = 9
# Columns of the table of materials. Five are of a texture: the row of its first texel (-1: it has none), height, width,
# wrap of u, wrap of v.
MODE, CUTOFF, TEXTURE = 4, 5, 6  # after the four of the factor
EMISSIVE, EMISSIVE_TEXTURE = 11, 14  # EMISSIVE is the first of three
MATERIAL = 19


class Surface(NamedTuple):
    """A mesh as few flat tables: each array that a kernel's inner call is given costs time."""

    faces: Int32[np.ndarray, "f 3"]
    face_materials: Int32[np.ndarray, " f"]
    corners: Float32[np.ndarray, "f 3*9"]  # texture coordinates, linear RGBA, light, emissive texture coordinates
    materials: Float64[np.ndarray, "m 19"]  # linear RGBA factor, then MODE, ...
    texels: UInt8[np.ndarray, "p 4"]  # of all textures, one after another
    layers: Int32[np.ndarray, " f"]  # translucent faces of one number hang together; 0 of the others


def build_surface(mesh: Mesh, *, lit: bool) -> Surface:
    """The tables that the kernels read. An unknown alpha mode or wrap, or a wild index, is a ValueError.

    Where only some materials are unlit, no light falls on theirs; a mesh that is unlit altogether is lit where that is
    asked for.
    """
    check_indices(mesh)
    faces = np.ascontiguousarray(mesh.faces, dtype=np.int32)
    corners = np.empty((len(faces), 3, CORNER), dtype=np.float32)
    corners[..., [U, V]] = np.asarray(mesh.uvs, dtype=np.float32)[faces]
    corners[..., [RED, GREEN, BLUE, ALPHA]] = np.asarray(mesh.colors, dtype=np.float32)[faces]
    corners[..., LIT] = corner_lights(mesh) if lit else 1.0
    unlit = np.array([material.unlit for material in mesh.materials], dtype=bool)[np.asarray(mesh.face_materials)]
    if lit and not unlit.all():
        corners[unlit, :, LIT] = 1.0
    emissive_uvs = mesh.uvs if mesh.emissive_uvs is None else mesh.emissive_uvs
    corners[..., [EMISSIVE_U, EMISSIVE_V]] = np.asarray(emissive_uvs, dtype=np.float32)[faces]
    texels = [np.asarray(texture.pixels, dtype=np.uint8).reshape(-1, 4) for texture in mesh.textures]
    starts = np.cumsum([0, *map(len, texels)])
    return Surface(
        faces=faces,
        face_materials=np.ascontiguousarray(mesh.face_materials, dtype=np.int32),
        corners=corners.reshape(-1, 3 * CORNER),
        materials=np.array([_material_row(m, mesh.textures, starts) for m in mesh.materials]).reshape(-1, MATERIAL),
        texels=np.concatenate([np.zeros((0, 4), dtype=np.uint8), *texels]),
        layers=_translucent_layers(mesh),
    )


def _material_row(material: Material, textures: tuple[Texture, ...], starts: Int64[np.ndarray, " t"]) -> list[float]:
    def columns(index: int) -> list[float]:
        if index < 0:
            return [-1, 0, 0, 0, 0]
        texture = textures[index]
        return [starts[index], *texture.pixels.shape[:2], *(_code("wrap", wrap, WRAPS) for wrap in texture.wrap)]

    mode = _code("alpha_mode", material.alpha_mode, ALPHA_MODES)
    emitted = [*material.emissive, *columns(material.emissive_texture)]
    return [*material.factor, mode, material.alpha_cutoff, *columns(material.texture), *emitted]


def _translucent_layers(mesh: Mesh) -> Int32[np.ndarray, " f"]:
    """A number for each connected piece of the translucent faces."""
    layers = np.zeros(len(mesh.faces), dtype=np.int32)
    blended = np.array([material.alpha_mode == "BLEND" for material in mesh.materials], dtype=bool)
    translucent = np.flatnonzero(blended[np.asarray(mesh.face_materials, dtype=int)])
    if len(translucent):
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        faces = np.asarray(mesh.faces)[translucent]
        starts, ends = faces[:, [0, 1]].ravel(), faces[:, [1, 2]].ravel()
        links = coo_array((np.ones(len(starts), dtype=bool), (starts, ends)), shape=(len(mesh.vertices),) * 2)
        layers[translucent] = connected_components(links, directed=False)[1][faces[:, 0]]
    return layers


def _code(what: str, value: str, codes: dict[str, int]) -> int:
    if value not in codes:
        raise ValueError(f"{what} must be one of {', '.join(codes)}, got {value!r}")
    return codes[value]


def check_indices(mesh: Mesh) -> None:
    """The kernels do not look whether an index is in range."""
    limits = {
        "faces": (mesh.faces, 0, len(mesh.vertices)),
        "face_materials": (mesh.face_materials, 0, len(mesh.materials)),
        "materials[].texture": (np.array([m.texture for m in mesh.materials], dtype=int), -1, len(mesh.textures)),
        "materials[].emissive_texture": (
            np.array([m.emissive_texture for m in mesh.materials], dtype=int),
            -1,
            len(mesh.textures),
        ),
    }
    for name, (indices, low, high) in limits.items():
        if len(indices) and (indices.min() < low or indices.max() >= high):
            raise ValueError(
                f"Mesh.{name} must be in [{low}, {high}), got values from {indices.min()} to {indices.max()}"
            )


def face_normals(mesh: Mesh) -> Float64[np.ndarray, "f 3"]:
    """Cross products of the faces' edges: along the outward normals, twice the area long."""
    a, b, c = (np.asarray(mesh.vertices, dtype=np.float64)[mesh.faces[:, k]] for k in range(3))
    return np.cross(b - a, c - a)


def unit(vectors: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
    """The vectors at length 1; a zero vector becomes +y."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.where(lengths > 0, vectors / np.where(lengths > 0, lengths, 1), [0.0, 1.0, 0.0])


def corner_lights(mesh: Mesh) -> Float32[np.ndarray, "f 3"]:
    """The head light on each face's corners, linear: smooth across soft edges, broken at creases.

    Corners at the same place count as one vertex, however often the file repeats it.
    """
    crosses = face_normals(mesh)
    _, places = np.unique(np.asarray(mesh.vertices, dtype=np.float64), axis=0, return_inverse=True)
    corners = places.reshape(-1)[np.asarray(mesh.faces)].reshape(-1)  # place of each corner [3f]
    order = np.argsort(corners, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(corners))])
    normals = unit(_smooth_normals(crosses, unit(crosses), order, starts))
    return (AMBIENT + DIFFUSE * ((1 + normals @ LIGHT) / 2) ** 2).astype(np.float32).reshape(-1, 3)


@njit(cache=True, nogil=True)
def _smooth_normals(crosses, units, order, starts):  # type: ignore[no-untyped-def]
    """Per corner [3f 3]: the area-weighted sum over the faces around its place that make no crease with its own."""
    normals = np.zeros((len(order), 3))
    for place in range(len(starts) - 1):
        around = order[starts[place] : starts[place + 1]]
        for corner in around:
            own = corner // 3
            if len(around) > MOST_NEIGHBOURS:
                normals[corner] = crosses[own]
                continue
            for other in around:
                face = other // 3
                cosine = (
                    units[own, 0] * units[face, 0] + units[own, 1] * units[face, 1] + units[own, 2] * units[face, 2]
                )
                if cosine >= CREASE:
                    for axis in range(3):
                        normals[corner, axis] += crosses[face, axis]
    return normals


@njit(nogil=True, forceinline=True)
def _wrapped(index, size, wrap):  # type: ignore[no-untyped-def]
    if wrap == CLAMP:
        return min(max(index, 0), size - 1)
    if wrap == MIRROR:
        index = index % (2 * size)
        return index if index < size else 2 * size - 1 - index
    return index % size


@njit(nogil=True, forceinline=True)
def _texture_color(materials, texels, material, texture, weigh_alpha, u, v):  # type: ignore[no-untyped-def]
    """Bilinear, in linear light. Where alpha counts, colors are weighed by it: transparent texels lend none.

    `texture` is the first of the columns of the texture.
    """
    start = int(materials[material, texture])
    height, width = int(materials[material, texture + 1]), int(materials[material, texture + 2])
    # The center of the first texel is at 1/2. Beyond 2^30 texels a coordinate has no fraction worth keeping.
    x = min(max(u * width - 0.5, -1073741824.0), 1073741824.0)
    y = min(max(v * height - 0.5, -1073741824.0), 1073741824.0)
    left, top = math.floor(x), math.floor(y)
    fx, fy = np.float32(x - left), np.float32(y - top)
    wrap_u, wrap_v = materials[material, texture + 3], materials[material, texture + 4]
    x0, x1 = _wrapped(left, width, wrap_u), _wrapped(left + 1, width, wrap_u)
    y0, y1 = _wrapped(top, height, wrap_v), _wrapped(top + 1, height, wrap_v)
    one, zero = np.float32(1.0), np.float32(0.0)
    red, green, blue, alpha, total = zero, zero, zero, zero, zero
    for k in range(4):
        texel = start + (y1 if k & 2 else y0) * width + (x1 if k & 1 else x0)
        weight = (fx if k & 1 else one - fx) * (fy if k & 2 else one - fy)
        opacity = np.float32(texels[texel, 3])
        alpha += weight * opacity
        if weigh_alpha:
            weight *= opacity
        red += weight * BYTE_TO_LINEAR[texels[texel, 0]]
        green += weight * BYTE_TO_LINEAR[texels[texel, 1]]
        blue += weight * BYTE_TO_LINEAR[texels[texel, 2]]
        total += weight
    share = one / total if total > zero else zero
    return red * share, green * share, blue * share, alpha / np.float32(255.0)


@njit(nogil=True, forceinline=True)
def surface_color(corners, materials, texels, face, material, b0, b1, b2):  # type: ignore[no-untyped-def]
    """Straight linear RGBA at barycentric (b0, b1, b2) of a face; alpha is 1 of an OPAQUE one, 0 or 1 of a MASK one."""
    light = _at(corners, face, LIT, b0, b1, b2)
    red = materials[material, 0] * _at(corners, face, RED, b0, b1, b2) * light
    green = materials[material, 1] * _at(corners, face, GREEN, b0, b1, b2) * light
    blue = materials[material, 2] * _at(corners, face, BLUE, b0, b1, b2) * light
    alpha = materials[material, 3] * _at(corners, face, ALPHA, b0, b1, b2)
    if materials[material, TEXTURE] >= 0.0:
        u, v = _at(corners, face, U, b0, b1, b2), _at(corners, face, V, b0, b1, b2)
        weigh_alpha = materials[material, MODE] != OPAQUE
        sample = _texture_color(materials, texels, material, TEXTURE, weigh_alpha, u, v)
        red, green, blue, alpha = red * sample[0], green * sample[1], blue * sample[2], alpha * sample[3]
    e0, e1, e2 = materials[material, EMISSIVE], materials[material, EMISSIVE + 1], materials[material, EMISSIVE + 2]
    if e0 + e1 + e2 > 0.0:
        if materials[material, EMISSIVE_TEXTURE] >= 0.0:
            u = _at(corners, face, EMISSIVE_U, b0, b1, b2)
            v = _at(corners, face, EMISSIVE_V, b0, b1, b2)
            glow = _texture_color(materials, texels, material, EMISSIVE_TEXTURE, False, u, v)
            e0, e1, e2 = e0 * glow[0], e1 * glow[1], e2 * glow[2]
        red, green, blue = min(red + e0, 1.0), min(green + e1, 1.0), min(blue + e2, 1.0)
    mode = materials[material, MODE]
    if mode == OPAQUE:
        alpha = 1.0
    elif mode == MASK:
        alpha = 1.0 if alpha >= materials[material, CUTOFF] else 0.0
    return red, green, blue, alpha


@njit(nogil=True, forceinline=True)
def _at(corners, face, column, b0, b1, b2):  # type: ignore[no-untyped-def]
    """A value of the corners, interpolated."""
    return b0 * corners[face, column] + b1 * corners[face, CORNER + column] + b2 * corners[face, 2 * CORNER + column]


@njit(cache=True, nogil=True)
def sample_colors(start, stop, surface, faces, barycentrics, colors):  # type: ignore[no-untyped-def]
    """Straight linear RGBA [n 4] at points of the surface: faces [n], barycentrics [n 3]."""
    corners, materials, texels, face_materials = (
        surface.corners, surface.materials, surface.texels, surface.face_materials
    )  # fmt: skip
    for n in range(start, stop):
        b0, b1, b2 = barycentrics[n, 0], barycentrics[n, 1], barycentrics[n, 2]
        material = face_materials[faces[n]]
        red, green, blue, alpha = surface_color(corners, materials, texels, faces[n], material, b0, b1, b2)
        colors[n, 0], colors[n, 1], colors[n, 2], colors[n, 3] = red, green, blue, alpha
