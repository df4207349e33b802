"""Exact assignment by a multiscale auction with a shortest-path finish and a certificate.

1. Coordinates are rounded to integers (`quantize`), after which every number of the solver is an integer below 2^53,
   held in float64: all comparisons are exact and no tolerance is needed.
2. Both clouds are laid out along a k-d tree. Every run of four points becomes one point, their mean, of a coarser
   problem, and so on until a few hundred are left.
3. From coarse to fine: the coarser level's prices carry over by the c-transform, and an auction refines them with
   epsilon falling in steps (`bidding`), on candidate lists (`candidates`, `level`).
4. At the finest level shortest augmenting paths make the matching exactly optimal (`finish`).
5. A pass over all pairs proves it (`certificate`).

Equal points cost nothing extra. The hard inputs are clusters of *nearly* equal points, thousands of them within a
hundredth of the usual spacing: exact all the same, but slower by one to two orders of magnitude.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.transport.certificate import matched_slack, row_minima
from gatlas.transport.kernels import compile_notice
from gatlas.transport.level import Level
from gatlas.transport.order import BRANCH, kd_order, run_starts

if TYPE_CHECKING:
    from jaxtyping import Float, Int

STEPS = 2.0**24  # a cloud's radius in integer steps: products stay below 2^49, prices below 2^51
COARSEST = 256  # levels stop at about this many points

# Epsilon in units of the level's typical difference between neighboring reduced costs. Measured: the run time is flat
# around these values.
FIRST_EPSILON = 0.25
LAST_EPSILON = 0.002
LAST_EPSILON_COARSE = 0.02
EPSILON_STEP = 10.0
EPSILON_RETREAT = 8.0  # what epsilon is multiplied by where prices turn out to be far off
BIDS_A_ROW = 50  # an auction that needs more than this started too low: usual are 10 to 20


def solve_auction(
    sources: Float[np.ndarray, "n d"], targets: Float[np.ndarray, "n d"], *, threads: int
) -> tuple[Int[np.ndarray, " n"], float, float]:
    """The exact assignment: targets [n], the least slack, and the mean slack of the matched pairs, in squared units.

    Both slacks are those of the certificate, and exactly zero where the assignment is proven optimal.
    """
    x, x_step = quantize(sources)
    y, y_step = quantize(targets)
    with compile_notice():
        x_order, x_distinct = _lay_out(x)
        y_order, y_distinct = _lay_out(y)
        x, y = x[x_order], y[y_order]
        swapped = y_distinct < x_distinct  # equal rows are dealt with as one, equal columns are not
        if swapped:
            x, y = y, x
        matched, w, u = solve_levels(x, y, threads)
        minima = row_minima(x, np.ascontiguousarray(y.T), w, threads)
    slack = matched_slack(x, y.T, w, matched, minima)
    unit = x_step * y_step
    matches = np.empty(len(x), dtype=np.int64)
    if swapped:
        matches[x_order[matched]] = y_order
    else:
        matches[x_order] = y_order[matched]
    return matches, float((minima - u).min()) * unit, float(slack.mean()) * unit


def quantize(points: Float[np.ndarray, "n d"]) -> tuple[Float[np.ndarray, "n 3"], float]:
    """The points about the middle of their box, as integers up to STEPS in float64 [n 3], and the length of a step.

    Neither a shift nor the two scales change which assignment is optimal: only the products x.y count.
    """
    padded = np.zeros((len(points), 3))
    middle = points.min(axis=0) / 2 + points.max(axis=0) / 2
    padded[:, : points.shape[1]] = points - middle
    largest = np.abs(padded).max()
    if largest == 0.0:
        return padded, 0.0
    step = largest * np.sqrt(np.square(padded / largest).sum(axis=1).max()) / STEPS
    return np.rint(padded / step), float(step)


def _lay_out(points: Float[np.ndarray, "n 3"]) -> tuple[Int[np.ndarray, " n"], int]:
    """An order along a k-d tree in which equal points follow each other, and how many distinct points there are."""
    by_value = np.lexsort(points.T[::-1])
    starts = run_starts(points[by_value])
    tree = kd_order(points[by_value[starts[:-1]]])
    copies = np.diff(starts)[tree]
    within = np.arange(len(points)) - np.repeat(np.cumsum(copies) - copies, copies)
    return by_value[np.repeat(starts[:-1][tree], copies) + within], len(tree)


def solve_levels(
    x: Float[np.ndarray, "n 3"], y: Float[np.ndarray, "n 3"], threads: int
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Return the columns of the rows [n], the prices w [n] of the columns and u [n] of the rows.

    x and y are integers along a k-d tree.
    """
    clouds = [(x, y)]
    while len(clouds[-1][0]) > COARSEST:
        clouds.append((_coarsen(clouds[-1][0]), _coarsen(clouds[-1][1])))

    x, y = clouds.pop()
    partners = np.repeat(x.mean(axis=0, keepdims=True), len(y), axis=0)
    level = Level.start(x, y, np.square(y).sum(axis=1), partners)
    first = max(FIRST_EPSILON, 0.25 * STEPS**2 / level.unit)  # without prices to start from, epsilon starts large
    _run_auctions(level, first, LAST_EPSILON_COARSE if clouds else LAST_EPSILON)
    while clouds:
        rows, columns = level.rows, level.columns
        u = row_minima(rows.x, columns.y, columns.w, threads)
        x, y = clouds.pop()
        w = -row_minima(y, np.ascontiguousarray(rows.x.T), -u, threads)  # w_j = max_i u_i + 2 x_i.y_j
        partners = np.repeat(level.partners(), BRANCH, axis=0)[: len(y)]
        level = Level.start(x, y, w, partners)
        _run_auctions(level, FIRST_EPSILON, LAST_EPSILON_COARSE if clouds else LAST_EPSILON)
    u = level.finish()
    return level.matching.held, level.columns.w[: len(y)], np.repeat(u, np.diff(level.rows.start))


def _coarsen(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "m 3"]:
    """The means of each four points that follow each other, as integers."""
    starts = np.arange(0, len(points), BRANCH)
    sizes = np.diff(np.append(starts, len(points)))
    return np.rint(np.add.reduceat(points, starts, axis=0) / sizes[:, None])


def _run_auctions(level: Level, first: float, last: float) -> None:
    """Auctions from epsilon `first` down to `last`, in the level's units; the last one matches every row."""
    factor = max(first, last)
    retreats = 0
    while True:
        epsilon = max(1.0, np.floor(factor * level.unit))
        # Each retreat doubles the budget, so that the descent after it ends.
        budget = BIDS_A_ROW * len(level.matching.owner) << retreats
        if not level.auction(epsilon, budget):
            retreats += 1
            factor = epsilon / level.unit * EPSILON_RETREAT
        elif factor <= last or epsilon == 1.0:
            return
        else:
            factor = max(last, factor / EPSILON_STEP)
