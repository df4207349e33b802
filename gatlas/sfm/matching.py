"""Matches of the features of pairs of photos, verified by the geometry of two views, in a database of COLMAP's."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.errors import GatlasError
from gatlas.io.photos.colmap_library import load_pycolmap, opened_database
from gatlas.raster.threads import launch
from gatlas.sfm.descriptor_matching import match_descriptors
from gatlas.sfm.pairs import ALL_UP_TO, all_pairs, pairs_alike, pairs_in_order
from gatlas.sfm.stages import Bar, no_bar

if TYPE_CHECKING:
    from jaxtyping import Float64, UInt8

    from gatlas.sfm.options import SfmOptions

BLOCK = 32  # pairs, or two for each thread, that are written together: a kill loses those of one block
HELD = 128  # photos whose features are kept in memory


def write_matches(count: int, database: Path, options: SfmOptions, *, threads: int, bar: Bar = no_bar) -> None:
    """Write the verified matches of the pairs of `count` photos into the database; those that it has are left.

    They are the same for any number of threads.
    """
    pairs = _pairs(count, database, options)
    verification = _verification_options(options)
    block_size = max(BLOCK, 2 * threads)
    pycolmap = load_pycolmap()
    # Each thread has pairs of its own.
    with _one_blas_thread(), opened_database(database) as held, bar("matches", len(pairs)) as counted:
        photo = lru_cache(HELD)(lambda number: _read_photo(held, number))
        for start in range(0, len(pairs), block_size):
            block = pairs[start : start + block_size]
            missing = [(i + 1, j + 1) for i, j in block if not held.exists_two_view_geometry(i + 1, j + 1)]
            compared = _compare_pairs([(photo(i), photo(j)) for i, j in missing], verification, threads)
            with pycolmap.DatabaseTransaction(held):
                for (i, j), (matches, geometry) in zip(missing, compared, strict=True):
                    held.delete_matches(i, j)
                    held.write_matches(i, j, matches)
                    held.write_two_view_geometry(i, j, geometry)
            for _ in block:
                counted()


@dataclass(frozen=True, eq=False)
class _Photo:
    """A photo's camera, the positions of its features in pixels, and their descriptors."""

    camera: Any
    points: Float64[np.ndarray, "n 2"]
    descriptors: UInt8[np.ndarray, "n 128"]


def _read_photo(held: Any, number: int) -> _Photo:
    camera = held.read_camera(held.read_image(number).camera_id)
    points = np.asarray(held.read_keypoints(number), dtype=np.float64)[:, :2]
    return _Photo(camera, points, np.asarray(held.read_descriptors(number).data))


def _compare_pairs(pairs: Sequence[tuple[_Photo, _Photo]], options: Any, threads: int) -> list[tuple[Any, Any]]:
    """Return the matches of each pair, and their geometry as COLMAP estimates it."""
    estimate = load_pycolmap().estimate_two_view_geometry
    found: list[tuple[Any, Any]] = [(None, None)] * len(pairs)
    left = iter(range(len(pairs)))

    def compare() -> None:
        for k in left:  # the threads share one iterator: pairs take unequal times
            a, b = pairs[k]
            matches = match_descriptors(a.descriptors, b.descriptors)
            found[k] = matches, estimate(a.camera, a.points, b.camera, b.points, matches, options)

    launch(compare, [()] * threads)
    return found


def _one_blas_thread() -> AbstractContextManager[Any]:
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        raise GatlasError("photos without cameras need threadpoolctl: pip install 'gatlas[photos]'") from None
    limits: AbstractContextManager[Any] = threadpool_limits(1, "blas")
    return limits


def _pairs(count: int, database: Path, options: SfmOptions) -> list[tuple[int, int]]:
    if count <= ALL_UP_TO and not options.sequential:
        return all_pairs(count)
    with opened_database(database) as held:
        descriptors = [np.asarray(held.read_descriptors(number).data) for number in range(1, count + 1)]
    alike = pairs_alike(descriptors, np.random.default_rng(options.seed))
    return sorted({*pairs_in_order(count), *alike})


def _verification_options(options: SfmOptions) -> Any:
    found = load_pycolmap().TwoViewGeometryOptions()
    found.ransac.random_seed = options.seed
    return found
