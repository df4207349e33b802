"""Matches of the features of pairs of photos, verified by the geometry of two views, in a database of COLMAP's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.io.photos.colmap_library import load_pycolmap, opened_database
from gatlas.io.text import save_text
from gatlas.sfm.pairs import ALL_UP_TO, all_pairs, pairs_alike, pairs_in_order
from gatlas.sfm.stages import Bar, no_bar

if TYPE_CHECKING:
    from gatlas.sfm.options import SfmOptions

BLOCK = 64  # pairs between two looks at the clock; those of a block that was cut off are kept, too


def write_matches(count: int, database: Path, options: SfmOptions, *, threads: int, bar: Bar = no_bar) -> None:
    """Write the verified matches of the pairs of `count` photos into the database; those that it has are left."""
    pycolmap = load_pycolmap()
    pairs = _pairs(count, database, options)
    names = database.with_name("pairs.txt")
    with bar("matches", len(pairs)) as counted:
        for start in range(0, len(pairs), BLOCK):
            block = pairs[start : start + BLOCK]
            save_text(names, "".join(f"{i + 1:06d} {j + 1:06d}\n" for i, j in block), force=True)
            pairing = pycolmap.ImportedPairingOptions()
            pairing.match_list_path = names
            pycolmap.match_image_pairs(
                database, _matching_options(threads), pairing, _verification_options(options), pycolmap.Device.cpu
            )
            for _ in block:
                counted()


def _pairs(count: int, database: Path, options: SfmOptions) -> list[tuple[int, int]]:
    if count <= ALL_UP_TO and not options.sequential:
        return all_pairs(count)
    with opened_database(database) as held:
        descriptors = [np.asarray(held.read_descriptors(number).data) for number in range(1, count + 1)]
    alike = pairs_alike(descriptors, np.random.default_rng(options.seed))
    return sorted({*pairs_in_order(count), *alike})


def _matching_options(threads: int) -> Any:
    options = load_pycolmap().FeatureMatchingOptions()
    options.num_threads = threads
    options.use_gpu = False
    return options


def _verification_options(options: SfmOptions) -> Any:
    found = load_pycolmap().TwoViewGeometryOptions()
    found.ransac.random_seed = options.seed
    return found
