"""GaussianVerse's layout on disk: `point_cloud.ply` and `gs2sphere.npy` for each object, `sphere2plane.npy` for all."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from gatlas.errors import GatlasError
from gatlas.io import outputs, streams
from gatlas.io.array_reader import read_npy
from gatlas.io.splats.ply import encode_ply

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Int

    from gatlas.io.streams import Blob
    from gatlas.types import Gaussians

SPLAT, TO_SPHERE, TO_PLANE = "point_cloud.ply", "gs2sphere.npy", "sphere2plane.npy"


def load_indices(source: str | Path | Blob) -> Int[np.ndarray, " n"]:
    """Return the index map of an NPY file, a row of whole numbers (int64)."""
    blob = streams.as_blob(source)
    array = read_npy(blob, fault="not an NPY file of indices")
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise GatlasError(f"{blob.name}: an index map must be one row of whole numbers")
    return array.astype(np.int64)


def save_published(
    folder: str | Path,
    gaussians: Gaussians,
    gs2sphere: Int[np.ndarray, " n"],
    sphere2plane: Int[np.ndarray, " n"],
    *,
    force: bool = False,
) -> None:
    """Write the three files into a folder. The PLY keeps the atlas's own axes, as published ones do: it is y-up."""
    header, table = encode_ply(gaussians, "y-up")
    with outputs.filling_folder(folder, force=force) as target:
        for name, indices in ((TO_SPHERE, gs2sphere), (TO_PLANE, sphere2plane)):
            buffer = io.BytesIO()
            np.save(buffer, indices.astype(np.int64))
            outputs.write(target / name, [buffer.getvalue()], force=True)
        outputs.write(target / SPLAT, [header, table], force=True)
