"""A `Mesh` to GLB: one node, a primitive per material, pictures inside. glTF 2.0.1."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas import __version__
from gatlas.geometry.far_coordinates import center_of_far
from gatlas.io.arrays import host_array
from gatlas.io.meshes.textures import encode_texture
from gatlas.io.meshes.written import check_writable

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Int

    from gatlas.types import Material, Mesh, Texture

    Json = dict[str, Any]

_COMPONENTS = {"<f4": 5126, "|u1": 5121, "<u2": 5123, "<u4": 5125}
_TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}
ARRAY, _ELEMENTS = 34962, 34963  # targets of buffer views: vertices, indices
_WRAPS = {"repeat": 10497, "clamp": 33071, "mirror": 33648}
_LINEAR, _MIPMAPS = 9729, 9987
_UNLIT, _STRENGTH = "KHR_materials_unlit", "KHR_materials_emissive_strength"
_MAX_SHORT = 65534  # the largest index of two bytes; 65535 is reserved


def encode_glb(mesh: Mesh) -> list[bytes]:
    """Return the buffers of a GLB file: the same mesh gives the same bytes.

    Positions are float32; those that float32 would not hold are relative to the translation of the node. Normals are
    written where a material is lit, vertex colors where one is not white. A mesh without triangles or with values that
    are not finite is a GatlasError.
    """
    check_writable(mesh)
    document = GltfBuilder()
    vertices = host_array(mesh.vertices).astype(np.float64)
    center = center_of_far(vertices)
    placed = (vertices if center is None else vertices - center).astype(np.float32)
    faces = host_array(mesh.faces)
    attributes = _attributes(document, mesh, placed, faces)
    primitives = []
    for number, material in enumerate(mesh.materials):
        chosen = faces[host_array(mesh.face_materials) == number]
        if len(chosen):
            indices = chosen.reshape(-1).astype("<u2" if len(vertices) <= _MAX_SHORT + 1 else "<u4")
            written = document.material(material, mesh)
            primitives.append(
                {
                    "attributes": attributes,
                    "indices": document.accessor(indices, _ELEMENTS),
                    "material": written,
                    "mode": 4,
                }
            )
    name = {"name": mesh.origin.name} if mesh.origin.name else {}
    node: Json = {**name, "mesh": 0}
    if center is not None:
        node["translation"] = [float(x) for x in center]
    document.root.update(scene=0, scenes=[{"nodes": [0]}], nodes=[node], meshes=[{**name, "primitives": primitives}])
    return document.chunks()


def _attributes(
    document: GltfBuilder, mesh: Mesh, vertices: Float32[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> Json:
    """Write the columns of the vertices that say something; return their accessors by name."""
    bounds = {"min": vertices.min(axis=0).tolist(), "max": vertices.max(axis=0).tolist()}
    attributes = {"POSITION": document.accessor(vertices, ARRAY, **bounds)}
    if not all(material.unlit for material in mesh.materials):
        attributes["NORMAL"] = document.accessor(smooth_normals(vertices, faces), ARRAY)
    if any(max(material.texture, material.emissive_texture) >= 0 for material in mesh.materials):
        attributes["TEXCOORD_0"] = document.accessor(host_array(mesh.uvs), ARRAY)
        if mesh.emissive_uvs is not None:
            attributes["TEXCOORD_1"] = document.accessor(host_array(mesh.emissive_uvs), ARRAY)
    colors = host_array(mesh.colors)
    if not (colors == 1).all():
        attributes["COLOR_0"] = document.accessor(colors if (colors[:, 3] != 1).any() else colors[:, :3], ARRAY)
    return attributes


def smooth_normals(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Float32[np.ndarray, "v 3"]:
    """Return unit normals of the vertices: of the faces around each place, weighed by area.

    Vertices at one place, as along the seams of a texture, have one normal; that of a place without area is +y.
    """
    corners = np.asarray(vertices, dtype=np.float64)[faces]
    crosses = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    _, places = np.unique(vertices, axis=0, return_inverse=True)
    places = places.reshape(-1)
    around = places[faces].reshape(-1)
    sums = np.stack([np.bincount(around, np.repeat(crosses[:, k], 3), places.max() + 1) for k in range(3)], axis=1)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    units = np.where(lengths > 0, sums / np.where(lengths > 0, lengths, 1), [0.0, 1.0, 0.0])
    return units[places].astype(np.float32)


class GltfBuilder:
    """A glTF document and its binary chunk, which grow together."""

    def __init__(self) -> None:
        self.root: Json = {"asset": {"version": "2.0", "generator": f"gatlas {__version__}"}}
        self._parts: list[bytes] = []
        self._length = 0
        self._textures: dict[int, int] = {}  # index in the mesh -> in the file

    def _append(self, key: str, entry: Json) -> int:
        entries = self.root.setdefault(key, [])
        entries.append(entry)
        return len(entries) - 1

    def view(self, content: bytes, target: int | None = None) -> int:
        """Add bytes to the binary chunk; return their buffer view."""
        view = {"buffer": 0, "byteOffset": self._length, "byteLength": len(content)}
        self._parts.append(content + bytes(-len(content) % 4))
        self._length += len(self._parts[-1])
        return self._append("bufferViews", view if target is None else {**view, "target": target})

    def accessor(self, values: np.ndarray, target: int, **more: Any) -> int:
        """Add an array: floats as float32, integers as they are; one column is a scalar. `more` joins its entry."""
        array = np.ascontiguousarray(
            values, dtype=values.dtype.newbyteorder("<") if values.dtype.kind == "u" else "<f4"
        )
        width = 1 if array.ndim == 1 else array.shape[1]
        entry = {
            "bufferView": self.view(array.tobytes(), target),
            "componentType": _COMPONENTS[array.dtype.str],
            "count": len(array),
            "type": _TYPES[width],
        }
        return self._append("accessors", {**entry, **more})

    def material(self, material: Material, mesh: Mesh) -> int:
        """Add a material and its textures."""
        surface: Json = {"baseColorFactor": list(material.factor), "metallicFactor": 0.0, "roughnessFactor": 0.9}
        if material.texture >= 0:
            opaque = material.alpha_mode == "OPAQUE"
            surface["baseColorTexture"] = {"index": self._texture(mesh.textures, material.texture, opaque)}
        entry: Json = {"name": material.name} if material.name else {}
        entry |= {"pbrMetallicRoughness": surface, "doubleSided": material.double_sided}
        if material.alpha_mode != "OPAQUE":
            entry["alphaMode"] = material.alpha_mode
        if material.alpha_mode == "MASK":
            entry["alphaCutoff"] = material.alpha_cutoff
        extensions: Json = {}
        if material.unlit:
            extensions[_UNLIT] = {}
        elif max(material.emissive) > 0:
            strength = max(1.0, *material.emissive)
            entry["emissiveFactor"] = [value / strength for value in material.emissive]
            if strength > 1:
                extensions[_STRENGTH] = {"emissiveStrength": strength}
            if material.emissive_texture >= 0:
                index = self._texture(mesh.textures, material.emissive_texture, True)
                channel = {} if mesh.emissive_uvs is None else {"texCoord": 1}
                entry["emissiveTexture"] = {"index": index, **channel}
        if extensions:
            entry["extensions"] = extensions
            self.root["extensionsUsed"] = sorted({*self.root.get("extensionsUsed", []), *extensions})
        return self._append("materials", entry)

    def _texture(self, textures: tuple[Texture, ...], index: int, opaque: bool) -> int:
        key = 2 * index + opaque
        if key not in self._textures:
            texture = textures[index]
            content = encode_texture(texture.pixels, opaque=opaque)
            image = self._append("images", {"bufferView": self.view(content), "mimeType": "image/png"})
            wrap = {"wrapS": _WRAPS[texture.wrap[0]], "wrapT": _WRAPS[texture.wrap[1]]}
            sampler = self._append("samplers", {"magFilter": _LINEAR, "minFilter": _MIPMAPS, **wrap})
            self._textures[key] = self._append("textures", {"source": image, "sampler": sampler})
        return self._textures[key]

    def text(self, uri_of: Callable[[bytes], str]) -> bytes:
        """Return the JSON of a file that names its buffer by a URI."""
        self.root["buffers"] = [{"byteLength": self._length, "uri": uri_of(b"".join(self._parts))}]
        return json.dumps(self.root, separators=(",", ":"), allow_nan=False).encode()

    def chunks(self) -> list[bytes]:
        """Return the buffers of the file: header, JSON and binary chunk."""
        self.root["buffers"] = [{"byteLength": self._length}]
        text = json.dumps(self.root, separators=(",", ":"), allow_nan=False).encode()
        text += b" " * (-len(text) % 4)
        head = struct.pack("<4sIII4s", b"glTF", 2, 28 + len(text) + self._length, len(text), b"JSON")
        return [head, text, struct.pack("<I4s", self._length, b"BIN\0"), *self._parts]
