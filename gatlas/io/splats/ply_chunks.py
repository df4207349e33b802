"""A splat PLY of any size in parts that are PLYs themselves, so that looking at it takes bounded memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gatlas.errors import GatlasError
from gatlas.io import ply_container
from gatlas.io.sniff import is_ply, ply_has
from gatlas.io.streams import Blob, opened_file

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 500_000  # Gaussians of a part
_HEAD = 1 << 17  # bytes in which a header ends
_SPLAT = ply_has("opacity", "scale_0", "rot_0")


def splat_ply_chunks(path: Path) -> Iterator[Blob] | None:
    """Return the parts of a binary splat PLY of more than ROWS Gaussians; None for any other file.

    A file that ends too early is a GatlasError, once its end is reached.
    """
    with opened_file(path) as file:
        head = Blob(str(path), file.read(_HEAD), path)
    if not (is_ply(head) and _SPLAT(head)) or b"end_header" not in head.data:
        return None
    header = ply_container.parse(head)
    vertex = header.vertex(head)
    if header.byte_order == "" or len(header.elements) != 1 or not vertex.fixed or vertex.count <= ROWS:
        return None
    return _chunks(path, head, header.size, vertex.count, vertex.stride)


def _chunks(path: Path, head: Blob, start: int, count: int, stride: int) -> Iterator[Blob]:
    with opened_file(path) as file:
        file.seek(start)
        for first in range(0, count, ROWS):
            rows = min(ROWS, count - first)
            body = file.read(rows * stride)
            if len(body) < rows * stride:
                raise GatlasError(
                    f"{path}: truncated: header promises {count:,} Gaussians, there are {first + len(body) // stride:,}"
                )
            line = b"element vertex %d" % rows
            yield Blob(str(path), re.sub(rb"element vertex \d+", line, head.data[:start], count=1) + body, path)
