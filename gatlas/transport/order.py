"""The order of the points in memory: leaves of a k-d tree, so that neighbors in space are neighbors in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.transport.kernels import kernel

if TYPE_CHECKING:
    from jaxtyping import Float, Int

BLOCK = 32  # points in a leaf that the scans skip or visit as a whole
BRANCH = 4  # points that become one point of the next coarser level

# Ciura 2001, continued by a factor of 2.25.
GAPS = np.array([1750, 701, 301, 132, 57, 23, 10, 4, 1])


@kernel
def kd_order(points):  # type: ignore[no-untyped-def]
    """A permutation [n] (int64) of points [n 3] that makes every aligned run of 4, 8, 16, 32 ... points compact.

    Splits across the widest axis near the median, at multiples of powers of two.
    """
    n = len(points)
    order = np.arange(n)
    keys = np.empty(n)
    first = np.empty(64, np.int64)  # a stack: the larger half is pushed first, so 64 levels are ample
    last = np.empty(64, np.int64)
    first[0], last[0] = 0, n
    depth = 1
    while depth > 0:
        depth -= 1
        lo, hi = first[depth], last[depth]
        size = hi - lo
        if size <= BRANCH:
            continue
        unit = BLOCK if size > BLOCK else BRANCH
        while unit * 8 <= size:
            unit *= 2
        middle = lo + unit * max(1, int(size / (2 * unit) + 0.5))

        axis, widest = 0, -1.0
        for a in range(3):
            low = high = points[order[lo], a]
            for k in range(lo + 1, hi):
                value = points[order[k], a]
                low = value if value < low else low
                high = value if value > high else high
            if high - low > widest:
                axis, widest = a, high - low
        for k in range(lo, hi):
            keys[k] = points[order[k], axis]
        select(keys, order, lo, hi, middle)

        left_is_larger = middle - lo > hi - middle
        for half in range(2):
            if (half == 0) == left_is_larger:
                first[depth], last[depth] = lo, middle
            else:
                first[depth], last[depth] = middle, hi
            depth += 1
    return order


@kernel
def select(keys, items, lo, hi, middle):  # type: ignore[no-untyped-def]
    """Permute keys[lo:hi] and items[lo:hi] alike until no key before `middle` exceeds a key from `middle` on."""
    while hi - lo > 1 and lo < middle < hi:
        a, b, c = keys[lo], keys[(lo + hi) // 2], keys[hi - 1]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = lo, hi - 1
        while i <= j:
            while keys[i] < pivot:
                i += 1
            while keys[j] > pivot:
                j -= 1
            if i <= j:
                keys[i], keys[j] = keys[j], keys[i]
                items[i], items[j] = items[j], items[i]
                i += 1
                j -= 1
        if middle <= j:
            hi = j + 1
        elif middle >= i:
            lo = i
        else:
            return


@kernel
def sort(keys, items, n):  # type: ignore[no-untyped-def]
    """Sort keys[:n] and items[:n] alike, ascending: Shell sort."""
    for gap in GAPS:
        for i in range(gap, n):
            key, item = keys[i], items[i]
            k = i
            while k >= gap and keys[k - gap] > key:
                keys[k], items[k] = keys[k - gap], items[k - gap]
                k -= gap
            keys[k], items[k] = key, item


def run_starts(points: Float[np.ndarray, "n 3"]) -> Int[np.ndarray, " starts"]:
    """Return the first index of each run of equal points, and the number of points."""
    changes = np.flatnonzero((points[1:] != points[:-1]).any(axis=1)) + 1
    return np.concatenate([[0], changes, [len(points)]])
