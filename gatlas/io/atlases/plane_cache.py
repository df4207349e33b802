"""Sphere-to-plane permutations on disk: those shipped with the package, and the user's cache of computed ones.

The cache only saves time: where it cannot be
read or written there is a warning, and the caller computes the permutation again.
"""

from __future__ import annotations

import os
import secrets
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gatlas.errors import GatlasError
from gatlas.io.array_reader import read_npz
from gatlas.io.caches import cache_folder
from gatlas.io.streams import exists, read
from gatlas.trust import foreign_writer

if TYPE_CHECKING:
    from jaxtyping import Int

SHIPPED = Path(__file__).parent / "planes"

_LAYOUT = "v1"  # part of the name of a cached file: raised when the sphere, a projection or the grid changes


def load_permutation(size: int, projection: str) -> Int[np.ndarray, " cells"] | None:
    """Return the sphere point of each cell of a `size` x `size` grid (int32), shipped or cached, or None.

    A cached file that cannot be used gives a warning and None; a damaged shipped file likewise.
    """
    for path in (SHIPPED / f"{projection}-{size}.npz", _cached(size, projection)):
        try:
            if not exists(path) or (path.parent != SHIPPED and not _is_ours(path)):
                continue
            cells = read_npz(read(path), ["cells"]).get("cells", np.empty(0))
        except GatlasError as error:
            warnings.warn(f"{error}; computing it again", stacklevel=2)
            continue
        if not _is_permutation(cells, size * size):
            warnings.warn(f"{path} is not a permutation of {size * size} cells; computing it again", stacklevel=2)
            continue
        return cells.astype(np.int32)
    return None


def _is_ours(path: Path) -> bool:
    """Return True where no other user could have written a cached file; else there is a warning."""
    fault = foreign_writer(path)
    if fault is not None:
        warnings.warn(f"{fault}: computing it again instead of trusting it", stacklevel=3)
    return fault is None


def save_permutation(
    cells: Int[np.ndarray, " cells"], size: int, projection: str, *, folder: Path | None = None
) -> None:
    """Keep a permutation for `load_permutation`: in the cache, or as `PROJECTION-SIZE.npz` in `folder`.

    The file appears whole or not at all. A cache that cannot be written is a warning.
    """
    if not _is_permutation(cells, size * size):
        raise ValueError(f"cells must be a permutation of {size * size} cells")
    path = _cached(size, projection) if folder is None else folder / f"{projection}-{size}.npz"
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    kind = np.uint16 if size * size <= 2**16 else np.int32
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(scratch, "xb") as stream:
                np.savez_compressed(stream, cells=cells.astype(kind))
            os.replace(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError as error:
        if folder is not None:
            raise
        warnings.warn(f"{path} cannot be written ({error}); set GATLAS_CACHE to a folder that can", stacklevel=2)


def _cached(size: int, projection: str) -> Path:
    return cache_folder() / f"plane-{_LAYOUT}-{projection}-{size}.npz"


def _is_permutation(cells: np.ndarray, count: int) -> bool:
    if cells.shape != (count,) or not np.issubdtype(cells.dtype, np.integer):
        return False
    return bool((np.sort(cells.astype(np.int64)) == np.arange(count)).all())
