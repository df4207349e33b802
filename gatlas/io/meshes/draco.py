"""Primitives compressed by KHR_draco_mesh_compression, through the package DracoPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Int, Shaped

    from gatlas.io.meshes.gltf_document import Document, Json

EXTENSION = "KHR_draco_mesh_compression"


class DracoPrimitive(NamedTuple):
    """Content of a compressed primitive; attributes as their accessors store them."""

    faces: Int[np.ndarray, "f 3"]
    attributes: dict[str, Shaped[np.ndarray, "v w"]]


def decode_primitive(document: Document, compressed: Json) -> DracoPrimitive:
    """The triangles and attributes of a primitive's Draco extension. Damage, or no DracoPy, is a GatlasError."""
    try:
        import DracoPy
    except ImportError:
        raise document.error(f"is compressed with {EXTENSION}: to read it, run: pip install 'gatlas[draco]'") from None
    content = document.view(document.index(compressed, "bufferView"))
    names = document.get(compressed, "attributes", dict)
    try:
        decoded = DracoPy.decode(content)
        stored = {entry["unique_id"]: np.asarray(entry["data"]) for entry in decoded.attributes}
        faces = np.asarray(decoded.faces).reshape(-1, 3).astype(np.int64)
    except Exception as error:  # DracoPy's own errors have no base class, and a point cloud has no attribute `faces`
        raise document.error(f"damaged glTF: its Draco data cannot be read ({error})") from None
    attributes = {}
    for name in names:
        number = document.index(names, name)
        if number not in stored:
            raise document.error(f"damaged glTF: its Draco data have no attribute {number} for {name}")
        values = stored[number]
        attributes[name] = values.reshape(len(values), -1)
    if len({len(values) for values in attributes.values()}) > 1:
        raise document.error("damaged glTF: its Draco attributes have different lengths")
    return DracoPrimitive(faces, attributes)
