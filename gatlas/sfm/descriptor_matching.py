"""Matches of SIFT descriptors: the nearest one of each in the other photo, exactly.

Descriptors are unit vectors in steps of 1/512. The products of their integers stay below 2^24, so single precision adds
them without rounding in any order: the matches are the same for any number of threads and any BLAS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.jit import njit

if TYPE_CHECKING:
    from jaxtyping import Float32, Int64, UInt8, UInt32

UNIT = 512.0  # the length of a descriptor
FARTHEST = 0.7  # radians, between two that match
RATIO = 0.8  # at most, of that angle to the one of the second nearest (Lowe 2004)
ROWS = 256  # of the table of products at a time


def match_descriptors(a: UInt8[np.ndarray, "n 128"], b: UInt8[np.ndarray, "m 128"]) -> UInt32[np.ndarray, "k 2"]:
    """Return the indices of descriptors that are each other's nearest, and clearly nearer than the second nearest.

    They are COLMAP's matches by its exact search.
    """
    nearest_b, nearest_a = _Nearest(len(a)), _Nearest(len(b))
    columns = np.ascontiguousarray(b.T, dtype=np.float32)
    for start in range(0, len(a), ROWS):
        products = a[start : start + ROWS].astype(np.float32) @ columns
        _take_in(products, start, *nearest_b.arrays, *nearest_a.arrays)
    there, back = nearest_b.distinct(), nearest_a.distinct()
    kept = np.flatnonzero(there >= 0)
    kept = kept[back[there[kept]] == kept]
    return np.stack([kept, there[kept]], axis=1).astype(np.uint32)


class _Nearest:
    """The largest and second largest product of each descriptor so far, and whose the largest is; -1 is nobody's."""

    def __init__(self, count: int) -> None:
        self.first: Float32[np.ndarray, " n"] = np.zeros(count, dtype=np.float32)
        self.second: Float32[np.ndarray, " n"] = np.zeros(count, dtype=np.float32)
        self.index: Int64[np.ndarray, " n"] = np.full(count, -1)

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.first, self.second, self.index

    def distinct(self) -> Int64[np.ndarray, " n"]:
        """Return the index of the nearest of each; -1 where it is too far off or not the only one so near."""
        angle, second = (np.arccos(np.minimum(each / UNIT**2, 1)) for each in (self.first, self.second))
        return np.where((angle <= FARTHEST) & (angle < RATIO * second), self.index, -1)


@njit(cache=True, nogil=True)
def _take_in(products, start, first_b, second_b, index_b, first_a, second_a, index_a):  # type: ignore[no-untyped-def]
    """Take rows of the table of products [rows m], from row `start` on, into the nearest by row and by column."""
    rows, columns = products.shape
    for i in range(rows):
        first, second, index = np.float32(0), np.float32(0), -1
        for j in range(columns):
            value = products[i, j]
            if value > second:
                if value > first:
                    second, first, index = first, value, j
                else:
                    second = value
            if value > second_a[j]:
                if value > first_a[j]:
                    second_a[j], first_a[j], index_a[j] = first_a[j], value, start + i
                else:
                    second_a[j] = value
        first_b[start + i], second_b[start + i], index_b[start + i] = first, second, index
