"""The auction: rows without a column bid for their cheapest one, and so raise prices, until every row has its columns.

Bertsekas 1988 (forward auction, Gauss-Seidel), on candidate lists; Bertsekas and Castanon 1989 for equal rows, which
bid together: a row with m copies takes its m cheapest columns, priced up to its next best alternative.

Each row ends up within epsilon of its cheapest column (epsilon-complementary slackness).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gatlas.transport.candidates import FAR, rescan
from gatlas.transport.kernels import kernel
from gatlas.transport.order import select

FREE = -1


class Matching(NamedTuple):
    """The current assignment. Row g's columns are held[start[g]] ... held[start[g] + counts[g] - 1]."""

    owner: np.ndarray  # [n] int64: the row that holds a column, or FREE
    slot: np.ndarray  # [n] int64: where in `held` a held column stands
    held: np.ndarray  # [n] int64
    counts: np.ndarray  # [g] int64


@kernel
def take(g, j, rows, matching):  # type: ignore[no-untyped-def]
    """Row g takes column j from whoever holds it. Returns the row that lost it, or FREE."""
    loser = matching.owner[j]
    if loser != FREE:
        drop(loser, j, rows, matching)
    slot = rows.start[g] + matching.counts[g]
    matching.owner[j] = g
    matching.slot[j] = slot
    matching.held[slot] = j
    matching.counts[g] += 1
    return loser


@kernel
def drop(g, j, rows, matching):  # type: ignore[no-untyped-def]
    """Row g gives up column j."""
    matching.counts[g] -= 1
    moved = matching.held[rows.start[g] + matching.counts[g]]
    matching.held[matching.slot[j]] = moved
    matching.slot[moved] = matching.slot[j]
    matching.owner[j] = FREE


@kernel
def auction(epsilon, budget, rows, columns, blocks, lists, matching):  # type: ignore[no-untyped-def]
    """Let rows that lack columns bid, first come first served, until none does; returns True.

    False: `budget` bids were not enough. The prices are sound all the same, but epsilon is too small for how far they
    have to rise.
    """
    groups = len(rows.x)
    queue = np.empty(groups, np.int64)
    waiting = np.zeros(groups, np.bool_)
    head, length = 0, 0
    for g in range(groups):
        if matching.counts[g] < rows.start[g + 1] - rows.start[g]:
            queue[length] = g
            waiting[g] = True
            length += 1
    w = columns.w
    while length > 0:
        if budget == 0:
            return False
        budget -= 1
        g = queue[head]
        head = head + 1 if head + 1 < groups else 0
        length -= 1
        waiting[g] = False
        copies = rows.start[g + 1] - rows.start[g]
        if copies == 1:
            j, cheapest, second = two_cheapest(g, w, lists)
            if second > lists.theta[g]:
                rescan(g, rows, columns, blocks, lists)
                j, cheapest, second = two_cheapest(g, w, lists)
            w[j] += (second - cheapest if second < FAR else 0.0) + epsilon
            loser = take(g, j, rows, matching)
            if loser != FREE and not waiting[loser]:
                tail = head + length
                queue[tail if tail < groups else tail - groups] = loser
                waiting[loser] = True
                length += 1
        else:
            lacking = copies - matching.counts[g]
            level = cheapest_not_held(g, lacking, w, lists, matching)
            if level > lists.theta[g]:
                rescan(g, rows, columns, blocks, lists)
                level = cheapest_not_held(g, lacking, w, lists, matching)
            raise_held(g, level + epsilon, rows, columns, matching)
            for k in range(lacking):
                j = lists.items[k]
                w[j] += level - lists.keys[k] + epsilon
                loser = take(g, j, rows, matching)
                if loser != FREE and not waiting[loser]:
                    tail = head + length
                    queue[tail if tail < groups else tail - groups] = loser
                    waiting[loser] = True
                    length += 1
    return True


@kernel
def two_cheapest(g, w, lists):  # type: ignore[no-untyped-def]
    """Row g's cheapest listed column, its reduced cost, and the next higher one; exact where that is within theta."""
    best = -1
    cheapest = second = FAR
    for k in range(lists.start[g], lists.start[g + 1]):
        if lists.value[k] >= second:
            break  # the list is sorted, and prices only rise: nothing cheaper can follow
        j = lists.column[k]
        value = lists.cost[k] + w[j]
        if value < cheapest:
            second = cheapest
            cheapest, best = value, j
        elif value < second:
            second = value
    return best, cheapest, second


@kernel
def cheapest_not_held(g, wanted, w, lists, matching):  # type: ignore[no-untyped-def]
    """Put row g's `wanted` cheapest columns that it does not hold in front of the scratch `lists.keys` and `items`.

    Returns the reduced cost of the one after the wanted: the price level of the bid.
    """
    keys, items = lists.keys, lists.items
    found = 0
    for k in range(lists.start[g], lists.start[g + 1]):
        j = lists.column[k]
        if matching.owner[j] != g:
            keys[found] = lists.cost[k] + w[j]
            items[found] = j
            found += 1
    level = FAR
    if found > wanted:
        select(keys, items, 0, found, wanted)
        for k in range(wanted, found):
            level = min(level, keys[k])
    else:  # the row takes every column there is
        level = -FAR
        for k in range(found):
            level = max(level, keys[k])
    return level


@kernel
def raise_held(g, level, rows, columns, matching):  # type: ignore[no-untyped-def]
    """Raise what row g holds to the reduced cost `level`. It keeps them, and others see what they are worth."""
    for k in range(rows.start[g], rows.start[g] + matching.counts[g]):
        j = matching.held[k]
        value = reduced_cost(g, j, rows, columns)
        if value < level:
            columns.w[j] += level - value


@kernel
def reduced_cost(g, j, rows, columns):  # type: ignore[no-untyped-def]
    """a_gj."""
    dot = rows.x[g, 0] * columns.y[0, j] + rows.x[g, 1] * columns.y[1, j] + rows.x[g, 2] * columns.y[2, j]
    return columns.w[j] - 2.0 * dot
