"""Files of glTF that hold Gaussians, told by their documents alone."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from gatlas.io.sniff import is_gltf_splat
from gatlas.io.streams import Blob

_HEADER = 20  # bytes of a GLB before its document


def is_gltf_splat_file(path: Path) -> bool:
    """Return True for a GLB or glTF file of Gaussians without triangles; False where it cannot be read.

    Of a GLB only the document is read, which comes before the buffers.
    """
    if path.suffix.lower() not in (".glb", ".gltf"):
        return False
    with suppress(OSError), path.open("rb") as file:
        data = file.read(_HEADER)
        data += file.read(int.from_bytes(data[12:16], "little") if data.startswith(b"glTF") else -1)
        return is_gltf_splat(Blob(str(path), data))
    return False
