"""glTF materials, textures and samplers: base and emissive color. glTF 2.0.1, sections 3.8 and 3.9."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.io.meshes.gltf_document import short_name
from gatlas.io.meshes.textures import decode_texture
from gatlas.types import Material, Texture

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

    from gatlas.io.meshes.gltf_document import Document, Json

_WRAPS = {10497: "repeat", 33071: "clamp", 33648: "mirror"}
_ALPHA_MODES = ("OPAQUE", "MASK", "BLEND")
# Extensions of materials that are read, or that only change how a surface answers to light.
_WITHOUT_LOSS = {
    "KHR_materials_anisotropy", "KHR_materials_clearcoat", "KHR_materials_dispersion",
    "KHR_materials_emissive_strength", "KHR_materials_ior", "KHR_materials_iridescence",
    "KHR_materials_pbrSpecularGlossiness", "KHR_materials_sheen", "KHR_materials_specular", "KHR_materials_unlit",
    "KHR_materials_volume",
}  # fmt: skip
# Extensions that let light through, and the factor that says how much.
_TRANSPARENT = {
    "KHR_materials_transmission": "transmissionFactor",
    "KHR_materials_diffuse_transmission": "diffuseTransmissionFactor",
}


class Mapping(NamedTuple):
    """Mapping of a primitive's texture coordinates to those of the texture."""

    channel: int  # k of TEXCOORD_k
    matrix: Float[np.ndarray, "2 3"]  # (u, v, 1) -> (u, v)


class Resolved(NamedTuple):
    """A material as a primitive needs it."""

    number: int  # index into Materials.materials
    base: Mapping | None  # of the base color texture; None: it has none
    emissive: Mapping | None  # of the emissive texture


class Materials:
    """The materials that primitives ask for, each read once, and the textures they share."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.materials: list[Material] = []
        self.textures: list[Texture] = []
        self._known: dict[int | None, Resolved] = {}
        self._textures: dict[tuple[int, tuple[str, str], bool], int] = {}
        self._pixels: dict[tuple[int, bool], UInt8[np.ndarray, "h w 4"] | None] = {}

    def resolve(self, index: int | None) -> Resolved:
        """Return a glTF material (None: the default one) by its index into `materials`, and its mappings."""
        if index not in self._known:
            material, base, emissive = (
                (Material(), None, None) if index is None else self._read(self.document.item("materials", index))
            )
            self.materials.append(material)
            self._known[index] = Resolved(len(self.materials) - 1, base, emissive)
        return self._known[index]

    def _read(self, source: Json) -> tuple[Material, Mapping | None, Mapping | None]:
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
        texture, mapping = self._texture_of(base, texture_name, opaque=mode == "OPAQUE")
        unlit = document.extension(source, "KHR_materials_unlit") is not None
        emissive, emissive_texture, emissive_mapping = self._emissive(source, unlit=unlit)
        self._note_left_out(source)
        material = Material(
            name=document.get(source, "name", str, ""),
            factor=(red, green, blue, alpha),
            texture=texture,
            alpha_mode=mode,
            alpha_cutoff=document.number(source, "alphaCutoff", 0.5),
            double_sided=document.get(source, "doubleSided", bool, False),
            unlit=unlit,
            emissive=emissive,
            emissive_texture=emissive_texture,
        )
        return material, mapping, emissive_mapping

    def _texture_of(self, owner: Json, key: str, *, opaque: bool) -> tuple[int, Mapping | None]:
        """Return the texture that an owner's textureInfo names, and its mapping; (-1, None) where there is none."""
        info = self.document.get(owner, key, dict, None)
        if info is None:
            return -1, None
        texture = self._texture(self.document.index(info, "index"), opaque=opaque)
        return texture, None if texture < 0 else self._mapping(info)

    def _emissive(self, source: Json, *, unlit: bool) -> tuple[tuple[float, float, float], int, Mapping | None]:
        """Return what a material emits: its color, linear, its texture and the mapping of that.

        An unlit material is its base color alone. Where the texture is missing, no part of the surface emits.
        """
        document = self.document
        factor = document.numbers(source, "emissiveFactor", 3, [0.0, 0.0, 0.0])
        strength = document.extension(source, "KHR_materials_emissive_strength") or {}
        scale = max(document.number(strength, "emissiveStrength", 1.0), 0.0)
        red, green, blue = (min(max(value, 0.0) * scale, 1e6) for value in factor)
        if unlit or not max(red, green, blue) > 0:
            return (0.0, 0.0, 0.0), -1, None
        texture, mapping = self._texture_of(source, "emissiveTexture", opaque=True)
        if texture < 0 and document.get(source, "emissiveTexture", dict, None) is not None:
            return (0.0, 0.0, 0.0), -1, None
        return (red, green, blue), texture, mapping

    def _note_left_out(self, source: Json) -> None:
        """Remember the extensions of a material that would show in a picture and are not read."""
        document = self.document
        for name in document.get(source, "extensions", dict, {}):
            if name in _WITHOUT_LOSS:
                continue
            if name in _TRANSPARENT:
                if document.number(document.extension(source, name) or {}, _TRANSPARENT[name], 0.0) > 0:
                    document.left_out[f"transparency of glass ({name})"] = None
            else:
                document.left_out[f"materials' {name}"] = None

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
            document.neighbors.warn_missing(f"number {index}")
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
            document.neighbors.warn_missing(name)
            return None
        return decode_texture(document.blob, name, content, opaque=opaque)
