"""Gaussians as a square image and back.

`encode` moves the Gaussians one-to-one onto a sphere by exact optimal transport, flattens the sphere and moves the
flattened points one-to-one onto a grid; `decode` is its inverse. Xiang et al. 2025 (Gaussian Atlas), sec. 4.
"""

from typing import TYPE_CHECKING

from gatlas.lazy import lazy_names

if TYPE_CHECKING:
    from gatlas.atlas.check import check_atlas
    from gatlas.atlas.decoding import decode
    from gatlas.atlas.encoding import encode
    from gatlas.atlas.gaussianverse import from_published, to_published
    from gatlas.atlas.options import DecodeOptions, EncodeOptions, StatisticsOptions
    from gatlas.atlas.plane import plane_permutation
    from gatlas.atlas.set_statistics import measure_statistics
    from gatlas.atlas.spaces import FORMAT, MIN_OPACITY, SPACES
    from gatlas.atlas.statistics import merge_statistics

_HOMES = {
    "DecodeOptions": "options",
    "EncodeOptions": "options",
    "FORMAT": "spaces",
    "MIN_OPACITY": "spaces",
    "SPACES": "spaces",
    "StatisticsOptions": "options",
    "check_atlas": "check",
    "decode": "decoding",
    "encode": "encoding",
    "from_published": "gaussianverse",
    "measure_statistics": "set_statistics",
    "merge_statistics": "statistics",
    "plane_permutation": "plane",
    "to_published": "gaussianverse",
}
__all__ = [
    "FORMAT",
    "MIN_OPACITY",
    "SPACES",
    "DecodeOptions",
    "EncodeOptions",
    "StatisticsOptions",
    "check_atlas",
    "decode",
    "encode",
    "from_published",
    "measure_statistics",
    "merge_statistics",
    "plane_permutation",
    "to_published",
]

__getattr__, __dir__ = lazy_names(__name__, {name: f"gatlas.atlas.{home}" for name, home in _HOMES.items()})
