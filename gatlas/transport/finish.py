"""From nearly to exactly optimal: shortest augmenting paths over the candidate lists.

The Hungarian method with Dijkstra's algorithm (Jonker and Volgenant 1987), in sparse form: the columns that a row does
not list stand in its queue as one entry at the distance of theta, and only a search that reaches it looks at them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gatlas.transport.bidding import FREE, drop, raise_held, reduced_cost, take
from gatlas.transport.candidates import bound_row, rescan
from gatlas.transport.certificate import FAR
from gatlas.transport.kernels import kernel
from gatlas.transport.order import BLOCK


class Search(NamedTuple):
    """State of one shortest-path search for a free column, and its queue."""

    distance: np.ndarray  # [n + g] to a column, or to the columns that a row does not list (n + g); FAR: not reached
    origin: np.ndarray  # [n] int64: the row that a column was reached from
    depth: np.ndarray  # [g] the distance of a row, FAR: not reached
    entry: np.ndarray  # [g] int64: the column that a row was reached through
    rows: np.ndarray  # [g] int64: the rows reached, in order
    touched: np.ndarray  # [n + g] int64: where `distance` is set
    heap: np.ndarray  # [n + g] int64: a binary heap by `distance`
    place: np.ndarray  # [n + g] int64: where in the heap; -1: not there
    sizes: np.ndarray  # [3] int64: rows reached, distances touched, heap
    goal: np.ndarray  # [1] int64: the nearest free column so far, or FREE


def start_search(n: int, groups: int) -> Search:
    """An empty search over n columns and as many rows as `groups`."""
    return Search(
        distance=np.full(n + groups, FAR),
        origin=np.empty(n, np.int64),
        depth=np.full(groups, FAR),
        entry=np.empty(groups, np.int64),
        rows=np.empty(groups, np.int64),
        touched=np.empty(n + groups, np.int64),
        heap=np.empty(n + groups, np.int64),
        place=np.full(n + groups, -1),
        sizes=np.zeros(3, np.int64),
        goal=np.empty(1, np.int64),
    )


@kernel
def make_exact(rows, columns, blocks, lists, matching, u, search):  # type: ignore[no-untyped-def]
    """Make a nearly optimal matching exactly optimal, and u [g] the prices of the rows that prove it."""
    for g in range(len(rows.x)):
        rescan(g, rows, columns, blocks, lists)
    make_tight(rows, columns, lists, matching, u)
    match_tight(rows, columns, lists, matching, u)
    augment_all(rows, columns, blocks, lists, matching, u, search)


@kernel
def make_tight(rows, columns, lists, matching, u):  # type: ignore[no-untyped-def]
    """Give each row its price u, the least reduced cost of what it does not hold, and drop what costs it more.

    What a row holds below that is raised to it. Then every reduced cost is at least u, and equal to u where matched.
    """
    for g in range(len(rows.x)):
        level = lists.theta[g]
        for k in range(lists.start[g], lists.start[g + 1]):
            if lists.value[k] >= level:
                break
            j = lists.column[k]
            value = lists.cost[k] + columns.w[j]
            if value < level and matching.owner[j] != g:
                level = value
        if level >= FAR:  # the row holds every column, or there is only one
            level = -FAR
            for k in range(lists.start[g], lists.start[g + 1]):
                level = max(level, lists.cost[k] + columns.w[lists.column[k]])
        u[g] = level
        raise_held(g, level, rows, columns, matching)
        for k in range(matching.counts[g] - 1, -1, -1):
            j = matching.held[rows.start[g] + k]
            if reduced_cost(g, j, rows, columns) > level:
                drop(g, j, rows, matching)


@kernel
def match_tight(rows, columns, lists, matching, u):  # type: ignore[no-untyped-def]
    """Let rows that lack columns take free ones that cost them exactly u."""
    for g in range(len(rows.x)):
        copies = rows.start[g + 1] - rows.start[g]
        if matching.counts[g] == copies:
            continue
        for k in range(lists.start[g], lists.start[g + 1]):
            if lists.value[k] > u[g] or matching.counts[g] == copies:
                break
            j = lists.column[k]
            if matching.owner[j] == FREE and lists.cost[k] + columns.w[j] == u[g]:
                take(g, j, rows, matching)


@kernel
def augment_all(rows, columns, blocks, lists, matching, u, search):  # type: ignore[no-untyped-def]
    """Give every row the columns that it lacks, one shortest path each."""
    for g in range(len(rows.x)):
        while matching.counts[g] < rows.start[g + 1] - rows.start[g]:
            find_path(g, rows, columns, blocks, lists, matching, u, search)
            augment(g, rows, columns, matching, u, search)


@kernel
def find_path(source, rows, columns, blocks, lists, matching, u, search):  # type: ignore[no-untyped-def]
    """Find the nearest free column from row `source`: `search.goal`."""
    n = columns.n
    search.goal[0] = FREE
    reach_row(source, 0.0, columns, lists, matching, u, search)
    while search.sizes[2] > 0:
        code = pop(search)
        at = search.distance[code]
        if search.goal[0] != FREE and at >= search.distance[search.goal[0]]:
            break
        if code < n:
            owner = matching.owner[code]
            if search.depth[owner] == FAR:
                search.entry[owner] = code
                reach_row(owner, at, columns, lists, matching, u, search)
        else:
            g = code - n
            reach_unlisted(g, search.depth[g] - u[g], rows, columns, blocks, matching, search)


@kernel
def reach_row(g, at, columns, lists, matching, u, search):  # type: ignore[no-untyped-def]
    """Row g is at distance `at`: bring the columns that it lists, and the rest as one, into the queue."""
    search.depth[g] = at
    search.rows[search.sizes[0]] = g
    search.sizes[0] += 1
    base = at - u[g]
    for k in range(lists.start[g], lists.start[g + 1]):
        goal = search.goal[0]
        if goal != FREE and base + lists.value[k] >= search.distance[goal]:
            return
        j = lists.column[k]
        relax(g, j, base + lists.cost[k] + columns.w[j], matching, search)
    if lists.theta[g] < FAR:
        push(columns.n + g, base + lists.theta[g], search)


@kernel
def reach_unlisted(g, base, rows, columns, blocks, matching, search):  # type: ignore[no-untyped-def]
    """The search has come to what row g does not list: look at every column that may be nearer than the goal."""
    y0, y1, y2, w = columns.y[0], columns.y[1], columns.y[2], columns.w
    x0, x1, x2 = 2 * rows.x[g, 0], 2 * rows.x[g, 1], 2 * rows.x[g, 2]
    bound_row(x0, x1, x2, blocks)
    values = np.empty(BLOCK)
    for b in range(len(blocks.radius)):
        limit = (FAR if search.goal[0] == FREE else search.distance[search.goal[0]]) - base
        if blocks.bound[b] >= limit:
            continue
        j0 = b * BLOCK
        p0, p1, p2, price = y0[j0 : j0 + BLOCK], y1[j0 : j0 + BLOCK], y2[j0 : j0 + BLOCK], w[j0 : j0 + BLOCK]
        for t in range(BLOCK):
            values[t] = price[t] - x0 * p0[t] - x1 * p1[t] - x2 * p2[t]
        for t in range(min(BLOCK, columns.n - j0)):
            if values[t] < limit:
                relax(g, j0 + t, base + values[t], matching, search)


@kernel
def relax(g, j, at, matching, search):  # type: ignore[no-untyped-def]
    """Column j can be reached from row g at distance `at`."""
    if at >= search.distance[j] or matching.owner[j] == g:
        return
    goal = search.goal[0]
    if goal != FREE and at >= search.distance[goal]:
        return
    search.origin[j] = g
    if matching.owner[j] == FREE:
        if search.distance[j] == FAR:
            search.touched[search.sizes[1]] = j
            search.sizes[1] += 1
        search.distance[j] = at
        search.goal[0] = j
    else:
        push(j, at, search)


@kernel
def push(code, at, search):  # type: ignore[no-untyped-def]
    """Put `code` into the heap at distance `at`, or move it up to there."""
    if search.distance[code] == FAR:
        search.touched[search.sizes[1]] = code
        search.sizes[1] += 1
    search.distance[code] = at
    k = search.place[code]
    if k < 0:
        k = search.sizes[2]
        search.sizes[2] += 1
    while k > 0:
        parent = (k - 1) // 2
        above = search.heap[parent]
        if search.distance[above] <= at:
            break
        search.heap[k] = above
        search.place[above] = k
        k = parent
    search.heap[k] = code
    search.place[code] = k


@kernel
def pop(search):  # type: ignore[no-untyped-def]
    """Take the nearest entry out of the heap."""
    top = search.heap[0]
    search.place[top] = -1
    search.sizes[2] -= 1
    size = search.sizes[2]
    if size > 0:
        code = search.heap[size]
        at = search.distance[code]
        k = 0
        while 2 * k + 1 < size:
            child = 2 * k + 1
            if child + 1 < size and search.distance[search.heap[child + 1]] < search.distance[search.heap[child]]:
                child += 1
            below = search.heap[child]
            if search.distance[below] >= at:
                break
            search.heap[k] = below
            search.place[below] = k
            k = child
        search.heap[k] = code
        search.place[code] = k
    return top


@kernel
def augment(source, rows, columns, matching, u, search):  # type: ignore[no-untyped-def]
    """Raise the prices along the search, move the columns of the path on by one row, and clear the search."""
    goal = search.goal[0]
    at = search.distance[goal]
    for k in range(search.sizes[0]):
        g = search.rows[k]
        step = at - search.depth[g]
        if step > 0.0:
            u[g] += step
            for slot in range(rows.start[g], rows.start[g] + matching.counts[g]):
                columns.w[matching.held[slot]] += step
    g = search.origin[goal]
    j = goal
    while g != source:
        through = search.entry[g]
        drop(g, through, rows, matching)
        take(g, j, rows, matching)
        j = through
        g = search.origin[j]
    take(source, j, rows, matching)
    for k in range(search.sizes[0]):
        search.depth[search.rows[k]] = FAR
    for k in range(search.sizes[1]):
        search.distance[search.touched[k]] = FAR
    for k in range(search.sizes[2]):
        search.place[search.heap[k]] = -1
    search.sizes[:] = 0
