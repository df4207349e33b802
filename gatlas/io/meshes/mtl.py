"""Wavefront MTL: the materials of OBJ meshes, as far as they define the color of a surface."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from gatlas.images.srgb import srgb_to_linear
from gatlas.io.meshes.textures import decode_texture, read_beside, warn_missing
from gatlas.types import Material, Texture

if TYPE_CHECKING:
    from gatlas.io.streams import Blob

# Options of a map and how many words follow them; those of -o, -s and -t are one to three numbers.
_OPTIONS = {
    "-blendu": 1, "-blendv": 1, "-boost": 1, "-bm": 1, "-cc": 1, "-clamp": 1, "-imfchan": 1, "-mm": 2,
    "-o": 3, "-s": 3, "-t": 3, "-texres": 1, "-type": 1,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class MtlMaterial:
    """A material whose texture, if it has one, is not yet numbered, and how its map moves texture coordinates."""

    material: Material
    texture: Texture | None = None
    uv_scale: tuple[float, float] = (1.0, 1.0)  # applied first; v runs up
    uv_offset: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class _Map:
    name: str
    scale: tuple[float, float]
    offset: tuple[float, float]
    clamp: bool


def read_mtl(blob: Blob, content: bytes) -> dict[str, MtlMaterial]:
    """The materials of a library by their names. Textures lie next to the mesh; `blob` is the mesh.

    Where there is a texture, Kd does not count: exporters leave arbitrary greys in it. Of the two ways to write
    transparency, Tr is ignored, because 1 means opaque to some programs and invisible to others.
    """
    entries: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    for line in content.decode("utf-8-sig", "replace").splitlines():
        words = line.strip().split(None, 1)
        if not words or words[0].startswith("#"):
            continue
        keyword, rest = words[0].lower(), words[1].strip() if len(words) > 1 else ""
        if keyword == "newmtl":
            current = entries.setdefault(rest, {})
        else:
            current[keyword] = rest
    return {name: _material(blob, name, entry) for name, entry in entries.items()}


def _material(blob: Blob, name: str, entry: dict[str, str]) -> MtlMaterial:
    color = _floats(entry.get("kd", ""))
    red, green, blue = (float(c) for c in srgb_to_linear(np.array(color if len(color) == 3 else [1.0] * 3)))
    dissolve = _floats(entry.get("d", ""))
    alpha = dissolve[-1] if dissolve and 0 < dissolve[-1] < 1 else 1.0
    plain = Material(name, (red, green, blue, alpha), alpha_mode="BLEND" if alpha < 1 else "OPAQUE")
    if not entry.get("map_kd"):
        return MtlMaterial(plain)
    picture = _parse_map(entry["map_kd"])
    cut_out = "map_d" in entry and _parse_map(entry["map_d"]).name == picture.name
    if "map_d" in entry and not cut_out:
        warnings.warn(f"{blob.name}: material {name!r}: its separate picture of opacity is left out", stacklevel=2)
    content = _find(blob, picture.name)
    if content is None:
        warn_missing(blob, picture.name)
        return MtlMaterial(plain)
    mode = "MASK" if cut_out else plain.alpha_mode
    pixels = decode_texture(blob, picture.name, content, opaque=not cut_out)
    if pixels is None:
        return MtlMaterial(plain)
    wrap = ("clamp", "clamp") if picture.clamp else ("repeat", "repeat")
    material = replace(plain, factor=(1.0, 1.0, 1.0, alpha), alpha_mode=mode)
    return MtlMaterial(material, Texture(pixels, wrap), picture.scale, picture.offset)


def _find(blob: Blob, name: str) -> bytes | None:
    """A texture under its own name, else, where that is a path of another machine, under its last part."""
    content = read_beside(blob, name)
    return content if content is not None else read_beside(blob, name.rsplit("/", 1)[-1])


def _parse_map(text: str) -> _Map:
    """A file name, which may hold spaces, after options."""
    scale, offset, clamp = [1.0, 1.0], [0.0, 0.0], False
    words = text.split(" ")
    while len(words) > 1 and words[0].lower() in _OPTIONS:
        option, words = words[0].lower(), words[1:]
        taken = _OPTIONS[option]
        if option in ("-o", "-s", "-t"):
            taken = next((k for k in range(min(3, len(words) - 1)) if not _floats(words[k])), min(3, len(words) - 1))
        values = _floats(" ".join(words[:taken]))
        if option == "-s":
            scale[: len(values[:2])] = values[:2]
        elif option == "-o":
            offset[: len(values[:2])] = values[:2]
        elif option == "-clamp":
            clamp = words[0].lower() == "on"
        words = words[taken:]
    return _Map(
        " ".join(words).strip().strip('"').replace("\\", "/"), (scale[0], scale[1]), (offset[0], offset[1]), clamp
    )


def _floats(text: str) -> list[float]:
    """The finite numbers of a text, or none where one of its words is not a number."""
    try:
        values = [float(word) for word in text.split()]
    except ValueError:
        return []
    return values if np.isfinite(values).all() else []
