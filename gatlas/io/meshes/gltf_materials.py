"""glTF materials, textures and samplers: what decides the base color. glTF 2.0.1, sections 3.8 and 3.9."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.io.meshes.gltf_document import short_name
from gatlas.io.meshes.textures import decode_texture, warn_missing
from gatlas.types import Material, Texture

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

    from gatlas.io.meshes.gltf_document import Document, Json

_WRAPS = {10497: "repeat", 33071: "clamp", 33648: "mirror"}
_ALPHA_MODES = ("OPAQUE", "MASK", "BLEND")


class Mapping(NamedTuple):
    """Mapping of a primitive's texture coordinates to those of the texture."""

    channel: int  # k of TEXCOORD_k
    matrix: Float[np.ndarray, "2 3"]  # (u, v, 1) -> (u, v)


class Materials:
    """The materials that primitives ask for, each read once, and the textures they share."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.materials: list[Material] = []
        self.textures: list[Texture] = []
        self._known: dict[int | None, tuple[int, Mapping | None]] = {}
        self._textures: dict[tuple[int, tuple[str, str], bool], int] = {}
        self._pixels: dict[tuple[int, bool], UInt8[np.ndarray, "h w 4"] | None] = {}

    def resolve(self, index: int | None) -> tuple[int, Mapping | None]:
        """Index into `materials` of a glTF material (None: the default one), and its mapping where it has a texture."""
        if index not in self._known:
            material, mapping = (
                (Material(), None) if index is None else self._read(self.document.item("materials", index))
            )
            self.materials.append(material)
            self._known[index] = len(self.materials) - 1, mapping
        return self._known[index]

    def _read(self, source: Json) -> tuple[Material, Mapping | None]:
        document = self.document
        glossy = document.extension(source, "KHR_materials_pbrSpecularGlossiness")
        if glossy is not None:
            base, factor_name, texture_name = glossy, "diffuseFactor", "diffuseTexture"
        else:
            base = document.get(source, "pbrMetallicRoughness", dict, {})
            factor_name, texture_name = "baseColorFactor", "baseColorTexture"
        mode = document.get(source, "alphaMode", str, "OPAQUE")
        if mode not in _ALPHA_MODES:
            raise document.error(f"damaged glTF: there is no alphaMode {mode!r}")
        red, green, blue, alpha = document.numbers(base, factor_name, 4, [1.0, 1.0, 1.0, 1.0])
        info = document.get(base, texture_name, dict, None)
        texture = -1 if info is None else self._texture(document.index(info, "index"), opaque=mode == "OPAQUE")
        material = Material(
            name=document.get(source, "name", str, ""),
            factor=(red, green, blue, alpha),
            texture=texture,
            alpha_mode=mode,
            alpha_cutoff=document.number(source, "alphaCutoff", 0.5),
            double_sided=document.get(source, "doubleSided", bool, False),
            unlit=document.extension(source, "KHR_materials_unlit") is not None,
        )
        return material, None if info is None or texture < 0 else self._mapping(info)

    def _mapping(self, info: Json) -> Mapping:
        """texCoord and KHR_texture_transform: translation x rotation x scale; a rotation turns (u, v) from v to u."""
        document = self.document
        channel = document.index(info, "texCoord", 0)
        transform = document.extension(info, "KHR_texture_transform")
        if transform is None:
            return Mapping(channel, np.eye(2, 3))
        x, y = document.numbers(transform, "offset", 2, [0.0, 0.0])
        wide, high = document.numbers(transform, "scale", 2, [1.0, 1.0])
        angle = document.number(transform, "rotation", 0.0)
        cos, sin = math.cos(angle), math.sin(angle)
        matrix = np.array([[cos * wide, sin * high, x], [-sin * wide, cos * high, y]])
        return Mapping(document.index(transform, "texCoord", channel), matrix)

    def _texture(self, index: int, *, opaque: bool) -> int:
        """Index into `textures`; -1, after a warning, where the picture is missing or damaged."""
        document = self.document
        source = document.item("textures", index)
        image = self._image_index(source)
        sampler_index = document.index(source, "sampler", None)
        sampler = {} if sampler_index is None else document.item("samplers", sampler_index)
        wrap = self._wrap(sampler, "wrapS"), self._wrap(sampler, "wrapT")
        if image is None:
            warn_missing(document.blob, f"number {index}")
            return -1
        if (image, opaque) not in self._pixels:
            self._pixels[image, opaque] = self._read_image(image, opaque=opaque)
        pixels = self._pixels[image, opaque]
        if pixels is None:
            return -1
        key = (image, wrap, opaque)
        if key not in self._textures:
            self.textures.append(Texture(pixels, wrap))
            self._textures[key] = len(self.textures) - 1
        return self._textures[key]

    def _wrap(self, sampler: Json, key: str) -> str:
        code = self.document.index(sampler, key, 10497)
        if code not in _WRAPS:
            raise self.document.error(f"damaged glTF: there is no {key} {code}")
        return _WRAPS[code]

    def _image_index(self, texture: Json) -> int | None:
        """The image of a texture: the WebP one where there is one, else the plain one."""
        document = self.document
        webp = document.extension(texture, "EXT_texture_webp")
        if webp is not None and (source := document.index(webp, "source", None)) is not None:
            return source
        source = document.index(texture, "source", None)
        if source is None:
            for name in ("KHR_texture_basisu", "MSFT_texture_dds", "EXT_texture_avif"):
                if document.extension(texture, name) is not None:
                    raise document.error(f"has textures in {name}, which gatlas does not read: use PNG, JPEG or WebP")
        return source

    def _read_image(self, index: int, *, opaque: bool) -> UInt8[np.ndarray, "h w 4"] | None:
        document = self.document
        image = document.item("images", index)
        uri = document.get(image, "uri", str, None)
        if uri is None:
            content: bytes | None = document.view(document.index(image, "bufferView"))
            name = document.get(image, "name", str, "") or f"number {index}"
        else:
            content, name = document.fetch(uri), short_name(uri)
        if content is None:
            warn_missing(document.blob, name)
            return None
        return decode_texture(document.blob, name, content, opaque=opaque)
