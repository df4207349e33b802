"""PLY meshes, through trimesh, with vertex or face colors and one texture. Colors of PLY files are sRGB."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.errors import GatlasError
from gatlas.images.srgb import srgb_to_linear
from gatlas.io import ply_container as plyheader
from gatlas.io.meshes.parts import Part, join_parts
from gatlas.io.meshes.textures import decode_texture, read_beside, warn_missing
from gatlas.types import Material, Texture

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

    from gatlas.io.ply_container import Header
    from gatlas.io.streams import Blob
    from gatlas.types import Mesh

_UV_NAMES = (("u", "v"), ("s", "t"), ("texture_u", "texture_v"))


@np.errstate(all="ignore")  # damaged numbers are found in what comes of them
def ply_mesh(blob: Blob) -> Mesh:
    """The mesh of a PLY file; see `gatlas.io.load_mesh`. Point clouds and splats are a GatlasError."""
    header = plyheader.parse(blob)
    vertex = header.vertex(blob)
    if {"opacity", "scale_0", "rot_0"} <= set(vertex.names):
        raise GatlasError(f"{blob.name}: holds Gaussians, not a mesh: a mesh has faces")
    if not any(element.name in ("face", "tristrips") and element.count for element in header.elements):
        raise GatlasError(f"{blob.name}: a point cloud, not a mesh: it has no faces")
    _check_lines(blob, header)
    loaded = _load(blob)
    if len(loaded.vertices) != vertex.count:
        raise GatlasError(f"{blob.name}: truncated: {len(loaded.vertices):,} of {vertex.count:,} vertices are there")
    faces = np.asarray(loaded.faces).reshape(-1, 3)
    vertices = np.asarray(loaded.vertices, dtype=np.float64)
    colors, uvs, texture = None, None, None
    if loaded.visual.kind == "face":  # one color per face: no two faces share a corner
        colors = _linear(np.repeat(loaded.visual.face_colors, 3, axis=0))
        vertices, faces = vertices[faces.reshape(-1)], np.arange(faces.size).reshape(-1, 3)
    else:
        if loaded.visual.kind == "vertex":
            colors = _linear(loaded.visual.vertex_colors)
        uvs = _uvs(loaded, vertex.count)
        texture = _texture(blob, header, uvs is not None)
    material = Material(texture=-1 if texture is None else 0, alpha_mode="OPAQUE" if colors is None else "BLEND")
    if colors is None or (colors[:, 3] == 1).all():
        material = Material(texture=material.texture)
    return join_parts(blob, [Part(vertices, faces, uvs, colors, 0)], [material], [] if texture is None else [texture])


def _check_lines(blob: Blob, header: Header) -> None:
    """A text that is cut short between two faces would pass for a smaller mesh."""
    promised = sum(element.count for element in header.elements)
    if header.byte_order == "":
        there = sum(1 for line in blob.data[header.size :].splitlines() if line.strip())
        if there < promised:
            raise GatlasError(f"{blob.name}: truncated: its header promises {promised:,} lines, there are {there:,}")


def _load(blob: Blob) -> Any:
    import trimesh

    try:
        loaded = trimesh.load(io.BytesIO(blob.data), file_type="ply", process=False)
    except Exception as error:  # trimesh has no error of its own: it raises whatever its parser trips over
        raise GatlasError(f"{blob.name}: truncated or damaged: its PLY cannot be read ({error})") from None
    if not isinstance(loaded, trimesh.Trimesh):
        raise GatlasError(f"{blob.name}: a point cloud, not a mesh: it has no faces")
    return loaded


def _linear(colors: UInt8[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
    values = np.asarray(colors, dtype=np.float64) / 255
    values[:, :3] = srgb_to_linear(values[:, :3])
    return values


def _uvs(loaded: Any, count: int) -> Float[np.ndarray, "v 2"] | None:
    """Texture coordinates of the vertices, turned to run down."""
    raw = loaded.metadata.get("_ply_raw", {}).get("vertex", {}).get("data")
    names = raw.dtype.names if isinstance(raw, np.ndarray) else tuple(raw or ())
    for u, v in _UV_NAMES:
        if raw is not None and {u, v} <= set(names or ()):
            uvs = np.stack([np.asarray(raw[name], dtype=np.float64).reshape(-1) for name in (u, v)], axis=1)
            return uvs * [1, -1] + [0, 1] if len(uvs) == count else None
    return None


def _texture(blob: Blob, header: Header, has_uvs: bool) -> Texture | None:
    """The picture that a comment "TextureFile NAME" names."""
    named = [text.split(None, 1)[1] for text in header.comments if text.startswith("TextureFile ")]
    if not named:
        return None
    if not has_uvs:
        warnings.warn(f"{blob.name}: its texture is left out: it has no texture coordinates per vertex", stacklevel=2)
        return None
    content = read_beside(blob, named[0])
    if content is None:
        warn_missing(blob, named[0])
        return None
    pixels = decode_texture(blob, named[0], content, opaque=True)
    return None if pixels is None else Texture(pixels)
