"""Wavefront MTL: the materials of OBJ meshes, as far as they define the color of a surface."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.images.srgb import srgb_to_linear
from gatlas.io.meshes.textures import decode_texture
from gatlas.types import Material, Texture

if TYPE_CHECKING:
    from gatlas.io.meshes.neighbors import Neighbors

# Options of a map and how many words follow them; those of -o, -s and -t are one to three numbers.
_OPTIONS = {
    "-blendu": 1, "-blendv": 1, "-boost": 1, "-bm": 1, "-cc": 1, "-clamp": 1, "-colorspace": 1, "-imfchan": 1,
    "-mm": 2, "-o": 3, "-s": 3, "-t": 3, "-texres": 1, "-type": 1,
}  # fmt: skip


class Placement(NamedTuple):
    """A map's own texture coordinates: uv * scale + offset, v running up."""

    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)


_IN_PLACE = Placement()
_COMMENT = re.compile(r"\s+#")


@dataclass(frozen=True, eq=False)
class MtlMaterial:
    """A material whose textures are not yet numbered, and how their maps move texture coordinates."""

    material: Material
    texture: Texture | None = None
    placement: Placement = _IN_PLACE
    emissive_texture: Texture | None = None
    emissive_placement: Placement = _IN_PLACE


@dataclass(frozen=True)
class _Map:
    name: str
    placement: Placement
    clamp: bool

    @property
    def wrap(self) -> tuple[str, str]:
        return ("clamp", "clamp") if self.clamp else ("repeat", "repeat")


def read_mtl(neighbors: Neighbors, content: bytes) -> dict[str, MtlMaterial]:
    """The materials of a library by their names. Textures lie next to the mesh whose `neighbors` they are.

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
            current[keyword] = rest if keyword.startswith("map") else _COMMENT.split(rest, maxsplit=1)[0]
    return {name: _emitting(neighbors, entry, _material(neighbors, name, entry)) for name, entry in entries.items()}


def _material(neighbors: Neighbors, name: str, entry: dict[str, str]) -> MtlMaterial:
    """A material by Kd, map_Kd, d and map_d: its base color."""
    red, green, blue = _color(entry.get("kd", ""), 1.0)
    for keyword in ("Kd", "Ke"):
        if entry.get(keyword.lower(), "").lower().startswith(("spectral", "xyz")):
            warnings.warn(
                f"{neighbors.blob.name}: material {name!r}: its {keyword} is left out, which is no RGB: "
                f"write {keyword} with three numbers",
                stacklevel=2,
            )
    dissolve = _floats(entry.get("d", ""))
    alpha = dissolve[-1] if dissolve and 0 < dissolve[-1] < 1 else 1.0
    inverse = _floats(entry.get("tr", ""))
    if not dissolve and inverse and 0 < inverse[-1] < 1:
        warnings.warn(
            f"{neighbors.blob.name}: material {name!r}: its Tr is left out, on which programs disagree: write d",
            stacklevel=2,
        )
    plain = Material(name, (red, green, blue, alpha), alpha_mode="BLEND" if alpha < 1 else "OPAQUE")
    if not entry.get("map_kd"):
        return MtlMaterial(plain)
    picture = _parse_map(entry["map_kd"])
    cut_out = "map_d" in entry and _parse_map(entry["map_d"]).name == picture.name
    if "map_d" in entry and not cut_out:
        warnings.warn(
            f"{neighbors.blob.name}: material {name!r}: its separate picture of opacity is left out",
            stacklevel=2,
        )
    mode = "MASK" if cut_out else plain.alpha_mode
    texture = _texture(neighbors, picture, opaque=not cut_out)
    if texture is None:
        return MtlMaterial(plain)
    material = replace(plain, factor=(1.0, 1.0, 1.0, alpha), alpha_mode=mode)
    return MtlMaterial(material, texture, picture.placement)


def _emitting(neighbors: Neighbors, entry: dict[str, str], found: MtlMaterial) -> MtlMaterial:
    """The material with what Ke and map_Ke emit. A Ke of zero, which exporters leave next to a map, does not dim it."""
    named = entry.get("map_ke") or entry.get("map_emissive")
    emitted = _color(entry.get("ke", ""), 0.0)
    if named is None:
        return replace(found, material=replace(found.material, emissive=emitted))
    picture = _parse_map(named)
    texture = _texture(neighbors, picture, opaque=True)
    if texture is None:
        return found
    emitted = emitted if max(emitted) > 0 else (1.0, 1.0, 1.0)
    return replace(
        found,
        material=replace(found.material, emissive=emitted),
        emissive_texture=texture,
        emissive_placement=picture.placement,
    )


def _texture(neighbors: Neighbors, picture: _Map, *, opaque: bool) -> Texture | None:
    """The picture of a map; None, after a warning, where it is missing or damaged."""
    content = neighbors.read(picture.name)
    if content is None and len(parts := _COMMENT.split(picture.name, maxsplit=1)) > 1:
        content = neighbors.read(parts[0])
    if content is None:
        neighbors.warn_missing(picture.name)
        return None
    pixels = decode_texture(neighbors.blob, picture.name, content, opaque=opaque)
    return None if pixels is None else Texture(pixels, picture.wrap)


def _color(text: str, default: float) -> tuple[float, float, float]:
    """Linear RGB of three sRGB numbers, >= 0, or of one for all three; `default` where there is neither."""
    values = _floats(text)
    values = values * 3 if len(values) == 1 else values
    red, green, blue = srgb_to_linear(np.array(values if len(values) == 3 else [default] * 3))
    return float(red), float(green), float(blue)


def _parse_map(text: str) -> _Map:
    """A file name, which may hold spaces, after options."""
    scale, offset, clamp = [1.0, 1.0], [0.0, 0.0], False
    while (first := text.split(None, 1)) and len(first) == 2 and first[0].lower() in _OPTIONS:
        option, text = first[0].lower(), first[1]
        words = text.split()
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
        text = (text.split(None, taken) + [""] * taken)[taken]  # the blanks in a file's name stay
    placement = Placement((scale[0], scale[1]), (offset[0], offset[1]))
    return _Map(text.strip().strip('"').replace("\\", "/"), placement, clamp)


def _floats(text: str) -> list[float]:
    """The finite numbers of a text, or none where one of its words is not a number."""
    try:
        values = [float(word) for word in text.split()]
    except ValueError:
        return []
    return values if np.isfinite(values).all() else []
