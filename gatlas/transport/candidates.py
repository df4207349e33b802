"""Each row's few cheapest columns, found by scans that skip whole blocks of columns.

The reduced cost of row i and column j is a_ij = w_j - 2 x_i.y_j: squared distance less what does not depend on the
pairing, plus the column's price, all in w_j. Prices only rise, so that

- a list's value at the time of its scan stays a lower bound for its column, and
- `theta`, the dearest listed value at that time, stays a lower bound for every column that is not listed.

A bid that stays below theta is thereby exact, and only a bid that does not needs a new scan.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gatlas.transport.certificate import FAR
from gatlas.transport.kernels import kernel
from gatlas.transport.order import BLOCK, select, sort


class Rows(NamedTuple):
    """The distinct sources. Equal ones are one row that wants several columns."""

    x: np.ndarray  # [g 3] integers in float64
    start: np.ndarray  # [g + 1] int64, the row's copies are start[g] ... start[g + 1] - 1


class Columns(NamedTuple):
    """The targets, in blocks of BLOCK; the last block is filled up with columns that no row wants."""

    y: np.ndarray  # [3 m] integers in float64
    w: np.ndarray  # [m] prices, integers in float64; FAR from n on
    n: int  # how many columns there are


class Blocks(NamedTuple):
    """Lower bounds of the reduced costs of whole blocks of columns.

    Within a block prices rise about as 2 x.y does for the rows that the block's columns go to. Let g be that gradient,
    c the center, r the radius and b = min_j w_j - g.(y_j - c). Then a_ij >= b - 2 x_i.c - |g - 2 x_i| r, which is tight
    for the rows that matter. A risen price only lifts the truth further above the bound.
    """

    center: np.ndarray  # [3 b]
    radius: np.ndarray  # [b]
    gradient: np.ndarray  # [3 b]
    base: np.ndarray  # [b]
    bound: np.ndarray  # [b] scratch: the bound for one row


class Lists(NamedTuple):
    """Candidate lists, one after the other, each sorted by its value at the time of its scan."""

    start: np.ndarray  # [g + 1] int64
    column: np.ndarray  # [k] int64
    cost: np.ndarray  # [k] -2 x.y
    value: np.ndarray  # [k] a at the time of the scan
    theta: np.ndarray  # [g] no column that is not listed is cheaper; FAR where all columns are listed
    keys: np.ndarray  # scratch for one scan: twice the longest list and two blocks
    items: np.ndarray


@kernel
def bound_blocks(columns, blocks):  # type: ignore[no-untyped-def]
    """Bring `base` up to date with the prices and `gradient`."""
    for b in range(len(blocks.radius)):
        base = FAR
        for j in range(b * BLOCK, min((b + 1) * BLOCK, columns.n)):
            tilt = 0.0
            for a in range(3):
                tilt += blocks.gradient[a, b] * (columns.y[a, j] - blocks.center[a, b])
            base = min(base, columns.w[j] - tilt)
        blocks.base[b] = base


@kernel
def bound_row(x0, x1, x2, blocks):  # type: ignore[no-untyped-def]
    """Lower bounds [b] of the reduced costs in each block for the row (x0, x1, x2) / 2, into `blocks.bound`."""
    c0, c1, c2 = blocks.center[0], blocks.center[1], blocks.center[2]
    g0, g1, g2 = blocks.gradient[0], blocks.gradient[1], blocks.gradient[2]
    base, radius, bound = blocks.base, blocks.radius, blocks.bound
    for b in range(len(radius)):
        d0, d1, d2 = g0[b] - x0, g1[b] - x1, g2[b] - x2
        slope = np.sqrt(d0 * d0 + d1 * d1 + d2 * d2)
        # The integer parts are exact; the 16 makes up for the rounding of the root, the product and the difference.
        bound[b] = base[b] - (x0 * c0[b] + x1 * c1[b] + x2 * c2[b]) - slope * radius[b] - 16.0


@kernel
def scan(g, ceiling, rows, columns, blocks, lists):  # type: ignore[no-untyped-def]
    """Write row g's list anew: its cheapest columns. At least as many as it holds must cost less than `ceiling`."""
    y0, y1, y2, w = columns.y[0], columns.y[1], columns.y[2], columns.w
    x0, x1, x2 = 2 * rows.x[g, 0], 2 * rows.x[g, 1], 2 * rows.x[g, 2]
    keys, items = lists.keys, lists.items
    first = lists.start[g]
    wanted = lists.start[g + 1] - first
    room = 2 * wanted + BLOCK

    bound_row(x0, x1, x2, blocks)
    found = 0
    values = np.empty(BLOCK)
    for b in range(len(blocks.radius)):
        if blocks.bound[b] >= ceiling:
            continue
        j0 = b * BLOCK
        # Slices, not offsets: numba guards an offset against being negative, and LLVM then does not vectorise.
        p0, p1, p2, price = y0[j0 : j0 + BLOCK], y1[j0 : j0 + BLOCK], y2[j0 : j0 + BLOCK], w[j0 : j0 + BLOCK]
        below = 0
        for t in range(BLOCK):
            value = price[t] - x0 * p0[t] - x1 * p1[t] - x2 * p2[t]
            values[t] = value
            below += value < ceiling
        if below == 0:
            continue
        for t in range(BLOCK):
            if values[t] < ceiling:
                keys[found] = values[t]
                items[found] = j0 + t
                found += 1
        if found > room:
            select(keys, items, 0, found, wanted)
            found = wanted
            ceiling = keys[0]
            for k in range(1, wanted):
                ceiling = max(ceiling, keys[k])

    if found > wanted:
        select(keys, items, 0, found, wanted)
    sort(keys, items, wanted)
    for k in range(wanted):
        j = items[k]
        lists.column[first + k] = j
        lists.value[first + k] = keys[k]
        lists.cost[first + k] = keys[k] - w[j]
    lists.theta[g] = FAR if wanted == columns.n else keys[wanted - 1]


@kernel
def rescan(g, rows, columns, blocks, lists):  # type: ignore[no-untyped-def]
    """Scan row g again. The columns that it lists, at current prices, bound the scan."""
    ceiling = -FAR
    for k in range(lists.start[g], lists.start[g + 1]):
        ceiling = max(ceiling, lists.cost[k] + columns.w[lists.column[k]])
    scan(g, ceiling + 1.0, rows, columns, blocks, lists)


@kernel
def scan_first(rows, columns, blocks, lists):  # type: ignore[no-untyped-def]
    """Every row's first list. The list of the row before, which is near, bounds the scan."""
    for g in range(len(rows.x)):
        ceiling = FAR
        first = lists.start[g]
        if g > 0 and first - lists.start[g - 1] >= lists.start[g + 1] - first:
            ceiling = -FAR
            for k in range(lists.start[g - 1], first):
                j = lists.column[k]
                cost = 0.0
                for a in range(3):
                    cost -= 2 * rows.x[g, a] * columns.y[a, j]
                ceiling = max(ceiling, columns.w[j] + cost)
            ceiling += 1.0
        scan(g, ceiling, rows, columns, blocks, lists)
