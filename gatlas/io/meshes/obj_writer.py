"""A `Mesh` to Wavefront OBJ: the mesh, a material library and PNGs, named after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas import __version__
from gatlas.errors import GatlasError
from gatlas.images.srgb import linear_to_srgb
from gatlas.io.arrays import host_array
from gatlas.io.meshes.textures import encode_texture
from gatlas.io.meshes.written import check_writable, stored_positions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float

    from gatlas.types import Material, Mesh


def encode_obj(mesh: Mesh, stem: str) -> dict[str, bytes]:
    """Return the files of a mesh by name, STEM.obj last: it names STEM.mtl, which names the textures.

    Colors of the vertices are written behind their positions, sRGB, where one is not white. What OBJ cannot say, such
    as a color beside a texture, is a GatlasError.
    """
    check_writable(mesh)
    pictures = _pictures(mesh, stem)
    files = {
        pictures[index]: encode_texture(mesh.textures[index].pixels, opaque=opaque) for index, opaque in _used(mesh)
    }
    files[f"{stem}.mtl"] = _library(mesh, pictures).encode()
    files[f"{stem}.obj"] = _statements(mesh, stem).encode()
    return files


def _used(mesh: Mesh) -> list[tuple[int, bool]]:
    """Return the textures that materials name, and True for those whose alpha means nothing."""
    opaque: dict[int, bool] = {}
    for material in mesh.materials:
        for index, plain in ((material.texture, material.alpha_mode == "OPAQUE"), (material.emissive_texture, True)):
            if index >= 0:
                opaque[index] = plain and opaque.get(index, True)
    return sorted(opaque.items())


def _pictures(mesh: Mesh, stem: str) -> dict[int, str]:
    """Return the names of the textures' files: STEM.png, STEM-1.png, ..."""
    return {index: f"{stem}{f'-{k}' if k else ''}.png" for k, (index, _) in enumerate(_used(mesh))}


def _library(mesh: Mesh, pictures: dict[int, str]) -> str:
    lines = [f"# gatlas {__version__}"]
    for number, material in enumerate(mesh.materials):
        _refuse_unsaid(mesh, material)
        lines.append(f"newmtl {_name(material, number)}")
        lines.append(f"illum {0 if material.unlit else 1}")
        lines.append(f"Kd {_numbers(linear_to_srgb(np.array(material.factor[:3])))}")
        if material.factor[3] != 1:
            lines.append(f"d {_numbers([material.factor[3]])}")
        if material.texture >= 0:
            lines.append(f"map_Kd {_map(mesh, material.texture, pictures)}")
            if material.alpha_mode == "MASK":
                lines.append(f"map_d {_map(mesh, material.texture, pictures)}")
        if max(material.emissive) > 0:
            lines.append(f"Ke {_numbers(linear_to_srgb(np.array(material.emissive)))}")
            if material.emissive_texture >= 0:
                lines.append(f"map_Ke {_map(mesh, material.emissive_texture, pictures)}")
    return "\n".join(lines) + "\n"


def _refuse_unsaid(mesh: Mesh, material: Material) -> None:
    """Raise a GatlasError where the picture of the mesh would be another one in an OBJ."""
    unsaid = {
        "a color beside a texture": material.texture >= 0 and tuple(material.factor[:3]) != (1.0, 1.0, 1.0),
        "a texture that is translucent": material.texture >= 0 and material.alpha_mode == "BLEND",
        "light brighter than 1": max(material.emissive) > 1,
        "texture coordinates of its own for what is emitted": mesh.emissive_uvs is not None,
    }
    if fault := next((name for name, found in unsaid.items() if found), None):
        raise GatlasError(f"not written: OBJ cannot hold {fault}: write a .glb")


def _map(mesh: Mesh, texture: int, pictures: dict[int, str]) -> str:
    wrap = mesh.textures[texture].wrap
    if wrap[0] != wrap[1] or wrap[0] == "mirror":
        raise GatlasError("not written: OBJ cannot hold a texture that is mirrored or repeated one way: write a .glb")
    return f"{'-clamp on ' if wrap[0] == 'clamp' else ''}{pictures[texture]}"


def _statements(mesh: Mesh, stem: str) -> str:
    positions, faces = stored_positions(mesh), host_array(mesh.faces) + 1
    colors = host_array(mesh.colors)
    rows = [_numbers(row) for row in positions]
    if not (colors[:, :3] == 1).all():
        shown = linear_to_srgb(colors[:, :3].astype(np.float64))
        rows = [f"{row} {_numbers(color.astype(np.float32))}" for row, color in zip(rows, shown, strict=True)]
    lines = [f"# gatlas {__version__}", f"mtllib {stem}.mtl", *(f"v {row}" for row in rows)]
    textured = any(max(material.texture, material.emissive_texture) >= 0 for material in mesh.materials)
    if textured:  # v runs up; in float64 nothing is lost
        uvs = host_array(mesh.uvs).astype(np.float64) * [1, -1] + [0, 1]
        lines += [f"vt {_numbers(row)}" for row in uvs]
    corner = "{0}/{0}" if textured else "{0}"
    for number, material in enumerate(mesh.materials):
        chosen = faces[host_array(mesh.face_materials) == number]
        if len(chosen):
            lines.append(f"usemtl {_name(material, number)}")
            lines += [f"f {' '.join(corner.format(index) for index in face)}" for face in chosen.tolist()]
    return "\n".join(lines) + "\n"


def _name(material: Material, number: int) -> str:
    """Return a name without blanks, which no other material has."""
    plain = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in material.name)
    return f"{plain or 'material'}_{number}"


def _numbers(values: Sequence[float] | Float[np.ndarray, " n"]) -> str:
    """Return the shortest texts that are read back as the same numbers."""
    return " ".join(np.format_float_positional(value, trim="-") for value in np.asarray(values))
