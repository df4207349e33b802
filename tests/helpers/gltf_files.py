"""glTF files built number by number, for the tests."""

import io
import json
import struct
from pathlib import Path

import numpy as np
from PIL import Image

from gatlas.io.streams import Blob

COMPONENTS = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
SHAPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}

TRIANGLE = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]])


class Gltf:
    """A document that grows accessor by accessor; `primitive` adds a mesh of one primitive and a node for it."""

    def __init__(self):
        self.binary = b""
        self.root = {"asset": {"version": "2.0"}, "accessors": [], "bufferViews": [], "meshes": [], "nodes": []}

    def view(self, content, **extra):
        self.binary += bytes(-len(self.binary) % 4)
        view = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(content), **extra}
        self.binary += content
        self.root["bufferViews"].append(view)
        return len(self.root["bufferViews"]) - 1

    def accessor(self, values, code="f4", **extra):
        array = np.asarray(values).astype("<" + code)
        array = array.reshape(len(array), -1)
        return self.describe(self.view(array.tobytes()), len(array), array.shape[1], code, **extra)

    def describe(self, view, count, width, code, **extra):
        entry = {"componentType": COMPONENTS[code], "count": count, "type": SHAPES[width], **extra}
        if view is not None:
            entry["bufferView"] = view
        self.root["accessors"].append(entry)
        return len(self.root["accessors"]) - 1

    def primitive(self, positions=TRIANGLE, *, node=None, **extra):
        attributes = {"POSITION": self.accessor(positions), **extra.pop("attributes", {})}
        self.root["meshes"].append({"primitives": [{"attributes": attributes, **extra}]})
        self.root["nodes"].append({"mesh": len(self.root["meshes"]) - 1, **(node or {})})

    def material(self, **material):
        self.root.setdefault("materials", []).append(material)
        return len(self.root["materials"]) - 1

    def texture(self, picture, **extra):
        """A texture of a picture: bytes to embed, or a URI."""
        image = {"uri": picture} if isinstance(picture, str) else {"bufferView": self.view(picture)}
        self.root.setdefault("images", []).append(image)
        self.root.setdefault("textures", []).append({"source": len(self.root["images"]) - 1, **extra})
        return len(self.root["textures"]) - 1

    def textured(self, picture, info=None, sampler=None, **material):
        """A material with that base colour texture."""
        extra = {}
        if sampler is not None:
            self.root.setdefault("samplers", []).append(sampler)
            extra["sampler"] = len(self.root["samplers"]) - 1
        base = {"baseColorTexture": {"index": self.texture(picture, **extra), **(info or {})}}
        return self.material(pbrMetallicRoughness=base, **material)

    def glb(self):
        root = {**self.root, "buffers": [{"byteLength": len(self.binary)}]}
        text = json.dumps(root).encode()
        text += b" " * (-len(text) % 4)
        binary = self.binary + bytes(-len(self.binary) % 4)
        head = struct.pack("<4sII", b"glTF", 2, 28 + len(text) + len(binary))
        return (
            head
            + struct.pack("<II", len(text), 0x4E4F534A)
            + text
            + struct.pack("<II", len(binary), 0x004E4942)
            + binary
        )

    def json(self, uri):
        root = {**self.root, "buffers": [{"byteLength": len(self.binary), "uri": uri}]}
        return json.dumps(root).encode()

    def blob(self, path="thing.glb"):
        return blob(self.glb(), path)


def blob(content, path="thing.glb"):
    """A file that was read; `path` None is a pipe."""
    if path is None:
        return Blob("standard input", content)
    return Blob(str(path), content, Path(path))


def png(pixels):
    """An encoded picture of an array."""
    payload = io.BytesIO()
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(payload, "PNG")
    return payload.getvalue()


RED_BLUE = png([[[255, 0, 0], [0, 0, 255]]])  # two texels side by side
