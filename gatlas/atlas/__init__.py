"""Gaussians as a square image and back.

`encode` moves the Gaussians one-to-one onto a sphere by exact optimal transport, flattens the sphere and moves the
flattened points one-to-one onto a grid; `decode` is its inverse. Xiang et al. 2025 (Gaussian Atlas), sec. 4.
"""

from gatlas.atlas.decode import decode
from gatlas.atlas.encode import encode
from gatlas.atlas.plane import plane_permutation
from gatlas.atlas.spaces import FORMAT, MIN_OPACITY, SPACES

__all__ = ["FORMAT", "MIN_OPACITY", "SPACES", "decode", "encode", "plane_permutation"]
