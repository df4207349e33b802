"""Triangles to a closed surface on which each edge belongs to two of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float64, Int, Int64

    Vertices = Float64[np.ndarray, "v 3"]
    Triangles = Int64[np.ndarray, "t 3"]

APART = 1e-3  # of the way to the middle of its triangles: as far a vertex that becomes several moves


def is_watertight(triangles: Int[np.ndarray, "t 3"]) -> bool:
    """Return True where each edge is in exactly two triangles, which run along it in opposite directions."""
    triangles = triangles.astype(np.int64)
    starts, ends = _half_edges(triangles)
    forward = starts < ends
    low, high = np.minimum(starts, ends), np.maximum(starts, ends)
    keys = low * (int(triangles.max(initial=0)) + 1) + high
    _, first = np.unique(keys[forward], return_counts=True)
    _, second = np.unique(keys[~forward], return_counts=True)
    alike = np.array_equal(np.unique(keys[forward]), np.unique(keys[~forward]))
    return len(triangles) > 0 and alike and bool((first == 1).all() and (second == 1).all())


def closed(vertices: Vertices, triangles: Triangles) -> tuple[Vertices, Triangles]:
    """Return the surface as a closed one on which each edge is in two triangles.

    Triangles of no extent and pairs of opposite ones go. Where more than two meet in an edge, the sheets are taken
    apart: their vertices become several, a little apart. Borders are closed by a fan of triangles.
    """
    triangles = _without_opposite(_without_degenerate(triangles))
    for _ in range(3):
        vertices, triangles = _taken_apart(vertices, triangles)
        vertices, triangles = _without_borders(vertices, triangles)
        vertices, triangles = _without_double_edges(vertices, triangles)
        if is_watertight(triangles):
            break
    return vertices, triangles


def _half_edges(triangles: Triangles) -> tuple[Int64[np.ndarray, " h"], Int64[np.ndarray, " h"]]:
    """Return start and end of the sides of the triangles: number 3 t + k leads from corner k of t to the next."""
    return triangles.reshape(-1), triangles[:, [1, 2, 0]].reshape(-1)


def _without_degenerate(triangles: Triangles) -> Triangles:
    a, b, c = triangles.T
    return triangles[(a != b) & (b != c) & (c != a)]


def _without_opposite(triangles: Triangles) -> Triangles:
    """Return the triangles less pairs with the same corners and opposite windings, and less repetitions."""
    least = triangles.argmin(axis=1)[:, None]
    turned = np.take_along_axis(triangles, (least + np.arange(3)) % 3, axis=1)  # from the lowest corner on
    flipped = turned[:, 1] > turned[:, 2]
    keys = np.stack([turned[:, 0], turned[:, 1:].min(axis=1), turned[:, 1:].max(axis=1)], axis=1)
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    windings = np.bincount(inverse.reshape(-1), np.where(flipped, -1, 1), len(first))
    kept = np.sort(first[windings != 0])
    signs = windings[inverse.reshape(-1)[kept]]
    result = triangles[kept]
    wrong = (signs > 0) == flipped[kept]
    result[wrong] = result[wrong][:, ::-1]
    return result


def _mates(triangles: Triangles) -> Int64[np.ndarray, " h"]:
    """Return for each half-edge the one that runs the other way and belongs to it; -1 at a border."""
    starts, ends = _half_edges(triangles)
    keys = np.minimum(starts, ends) * (int(triangles.max(initial=0)) + 1) + np.maximum(starts, ends)
    forward, backward = np.flatnonzero(starts < ends), np.flatnonzero(starts > ends)
    forward = forward[np.argsort(keys[forward], kind="stable")]
    backward = backward[np.argsort(keys[backward], kind="stable")]

    def numbered(halves: Int64[np.ndarray, " h"]) -> Int64[np.ndarray, "h 2"]:
        ordered = keys[halves]
        return np.stack([ordered, np.arange(len(ordered)) - np.searchsorted(ordered, ordered)], axis=1)

    both = np.concatenate([numbered(forward), numbered(backward)])
    _, inverse, counts = np.unique(both, axis=0, return_inverse=True, return_counts=True)
    inverse = inverse.reshape(-1)
    place = np.full(len(counts), -1)
    place[inverse[len(forward) :]] = backward
    mates = np.full(len(starts), -1)
    matched = place[inverse[: len(forward)]] >= 0
    mates[forward[matched]] = place[inverse[: len(forward)][matched]]
    mates[mates[forward[matched]]] = forward[matched]
    return mates


def _taken_apart(vertices: Vertices, triangles: Triangles) -> tuple[Vertices, Triangles]:
    """Return the surface with a vertex for each fan of triangles that hang together by their edges."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    mates = _mates(triangles)
    half = np.flatnonzero(mates >= 0)
    mate = mates[half]
    rows, columns = np.concatenate([half, _next(half)]), np.concatenate([_next(mate), mate])
    graph = coo_matrix((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(3 * len(triangles),) * 2)
    count, fans = connected_components(graph, directed=False)
    corners = triangles.reshape(-1)
    owners = np.zeros(count, dtype=np.int64)
    owners[fans] = corners
    moved = vertices[owners]
    several = np.bincount(owners, minlength=len(vertices))[owners] > 1
    middles = vertices[triangles].mean(axis=1).repeat(3, axis=0)
    sums = np.stack([np.bincount(fans, middles[:, axis], count) for axis in range(3)], axis=1)
    middle = sums / np.bincount(fans, minlength=count)[:, None]
    moved[several] += APART * (middle[several] - moved[several])
    return moved, fans.astype(np.int64).reshape(-1, 3)


def _without_borders(vertices: Vertices, triangles: Triangles) -> tuple[Vertices, Triangles]:
    """Return the surface with each loop of its border closed by a fan about the loop's middle."""
    border = np.flatnonzero(_mates(triangles) < 0)
    if len(border) == 0:
        return vertices, triangles
    starts, ends = _half_edges(triangles)
    following = dict(zip(ends[border].tolist(), starts[border].tolist(), strict=True))  # the fan runs the other way
    added: list[Float64[np.ndarray, " 3"]] = []
    fans = []
    while following:
        first, current = following.popitem()
        loop = [first]
        while current != first and current in following:
            loop.append(current)
            current = following.pop(current)
        if current != first or len(loop) < 3:
            continue
        middle = len(vertices) + len(added)
        added.append(vertices[loop].mean(axis=0))
        fans += [(loop[i], loop[(i + 1) % len(loop)], middle) for i in range(len(loop))]
    if not added:
        return vertices, triangles
    return np.concatenate([vertices, added]), np.concatenate([triangles, np.array(fans, dtype=np.int64)])


def _without_double_edges(vertices: Vertices, triangles: Triangles) -> tuple[Vertices, Triangles]:
    """Return the surface with a new vertex on all but one of the pairs of triangles that share one edge."""
    while len(pairs := _repeated_pairs(triangles)):
        half, mate = pairs.T
        middles = np.arange(len(pairs)) + len(vertices)
        starts, ends = _half_edges(triangles)
        apexes = np.stack([ends[_next(half)], ends[_next(mate)]], axis=1)
        edge = 0.5 * (vertices[starts[half]] + vertices[ends[half]])
        new = edge + APART * (vertices[apexes].mean(axis=1) - edge)
        split, added = triangles.copy(), []
        for each in (half, mate):  # a b c becomes a m c and m b c
            face, corner = each // 3, each % 3
            second = triangles[face]
            second[np.arange(len(face)), corner] = middles
            split[face, (corner + 1) % 3] = middles
            added.append(second)
        vertices, triangles = np.concatenate([vertices, new]), np.concatenate([split, *added])
    return vertices, triangles


def _next(halves: Int64[np.ndarray, " k"]) -> Int64[np.ndarray, " k"]:
    """Return the half-edges that follow in the same triangles."""
    return halves - halves % 3 + (halves + 1) % 3


def _repeated_pairs(triangles: Triangles) -> Int64[np.ndarray, "k 2"]:
    """Return half-edges that another one repeats with their mates, no triangle twice."""
    starts, ends = _half_edges(triangles)
    keys = starts * (int(triangles.max(initial=0)) + 1) + ends
    _, first, inverse, counts = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    mates = _mates(triangles)
    repeated = np.flatnonzero((counts > 1)[inverse.reshape(-1)] & (first[inverse.reshape(-1)] != np.arange(len(keys))))
    chosen: list[tuple[int, int]] = []
    taken: set[int] = set()
    for half in repeated[(starts < ends)[repeated] & (mates[repeated] >= 0)].tolist():
        mate = int(mates[half])
        if not taken & {half // 3, mate // 3}:
            taken |= {half // 3, mate // 3}
            chosen.append((half, mate))
    return np.array(chosen, dtype=np.int64).reshape(-1, 2)
