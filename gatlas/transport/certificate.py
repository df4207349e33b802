"""The pass over all pairs that proves an assignment optimal, and that carries prices from level to level."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from gatlas.transport.kernels import kernel

if TYPE_CHECKING:
    from jaxtyping import Float

LANES = 64  # rows that are worked on side by side
STRIDE = 4  # columns that are read at once
FAR = 2.0**60  # above every reduced cost (below 2^53), and still exact to add to one


def row_minima(
    x: Float[np.ndarray, "g 3"], y: Float[np.ndarray, "3 m"], w: Float[np.ndarray, " m"], threads: int
) -> Float[np.ndarray, " g"]:
    """min_j w_j - 2 x_i.y_j for each row i, over every column; no pair is skipped.

    The numbers are integers below 2^53, so that the result is exact. `threads` share the rows.
    """
    if short := -len(w) % STRIDE:
        y = np.concatenate([y, np.zeros((3, short))], axis=1)
        w = np.concatenate([w, np.full(short, FAR)])
    minima = np.empty(len(x))
    shares = min(threads, -(-len(x) // LANES))
    cuts = [len(x) * share // shares for share in range(shares + 1)]
    if shares == 1:
        minima_of_rows(x, y, w, minima)
    else:
        with ThreadPoolExecutor(shares) as pool:  # the kernel releases the GIL
            shared = pairwise(cuts)
            jobs = [pool.submit(minima_of_rows, x[a:b], y, w, minima[a:b]) for a, b in shared]
            for job in jobs:
                job.result()
    return minima


@kernel
def minima_of_rows(x, y, w, minima):  # type: ignore[no-untyped-def]
    """`row_minima` on one thread; the number of columns is a multiple of STRIDE."""
    n = len(x)
    x0, x1, x2, least = np.empty(LANES), np.empty(LANES), np.empty(LANES), np.empty(LANES)
    for i in range(0, n, LANES):
        for t in range(LANES):
            row = min(i + t, n - 1)
            x0[t], x1[t], x2[t] = 2 * x[row, 0], 2 * x[row, 1], 2 * x[row, 2]
            least[t] = FAR
        for j in range(0, len(w), STRIDE):
            a0, a1, a2, a = y[0, j], y[1, j], y[2, j], w[j]
            b0, b1, b2, b = y[0, j + 1], y[1, j + 1], y[2, j + 1], w[j + 1]
            c0, c1, c2, c = y[0, j + 2], y[1, j + 2], y[2, j + 2], w[j + 2]
            d0, d1, d2, d = y[0, j + 3], y[1, j + 3], y[2, j + 3], w[j + 3]
            for t in range(LANES):
                p = a - x0[t] * a0 - x1[t] * a1 - x2[t] * a2
                q = b - x0[t] * b0 - x1[t] * b1 - x2[t] * b2
                r = c - x0[t] * c0 - x1[t] * c1 - x2[t] * c2
                s = d - x0[t] * d0 - x1[t] * d1 - x2[t] * d2
                p = q if q < p else p
                r = s if s < r else r
                p = r if r < p else p
                least[t] = p if p < least[t] else least[t]
        for t in range(min(LANES, n - i)):
            minima[i + t] = least[t]


def matched_slack(
    x: Float[np.ndarray, "n 3"],
    y: Float[np.ndarray, "3 n"],
    w: Float[np.ndarray, " n"],
    matched: np.ndarray,
    minima: Float[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
    """Return the excess of each row's reduced cost over its minimum. All zero: no other assignment costs less.

    Any assignment costs at least sum_i min_j a_ij - sum_j w_j, whatever the prices w are, so that a wrong assignment
    cannot pass: its slack sums to at least what it costs too much.
    """
    own = w[matched] - 2.0 * np.einsum("ia,ai->i", x, y[:, matched])
    return own - minima
