"""Mesh files to a `Mesh`: GLB, glTF, OBJ and PLY."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from gatlas.errors import GatlasError

if TYPE_CHECKING:
    from gatlas.io.streams import Blob
    from gatlas.types import Mesh


def mesh_from_blob(blob: Blob) -> Mesh:
    """The mesh of a GLB, glTF (JSON), OBJ or PLY file, told apart by content: axes and units of the file, float64.

    Files that it names (buffers, textures, material libraries) are looked for beside it. A texture that is missing or
    damaged is a warning, and its surface shows its plain base colour. Everything else that cannot be read as the file
    means it is a GatlasError: no triangles, values that are not finite, damage, compression.
    """
    # Damaged floats are large or not finite; what comes of them is looked at in the end.
    with np.errstate(all="ignore"):
        if blob.data.startswith(b"glTF"):
            from gatlas.io.meshes.gltf import gltf_mesh

            return gltf_mesh(blob)
        if re.match(rb"ply\r?\n", blob.data):
            from gatlas.io.meshes.ply import ply_mesh

            return ply_mesh(blob)
        if blob.data[:64].removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{":
            from gatlas.io.meshes.gltf import gltf_mesh

            return gltf_mesh(blob)
        if re.search(rb"^[ \t]*v[ \t]", blob.data, re.MULTILINE) and b"\0" not in blob.data[:4096]:
            from gatlas.io.meshes.obj import obj_mesh

            return obj_mesh(blob)
    raise GatlasError(f"{blob.name}: not a mesh that gatlas reads: GLB, glTF, OBJ or PLY")
