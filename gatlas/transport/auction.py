"""Exact assignment by a multiscale auction with a shortest-path finish and a certificate.

1. Coordinates are rounded to integers (`quantize`), after which every number of the solver is an integer below 2^53,
   held in float64: all comparisons are exact and no tolerance is needed.
2. Both clouds are laid out along a k-d tree. Every run of four points becomes one point, their mean, of a coarser
   problem, and so on until a few hundred are left.
3. From coarse to fine: the coarser level's prices carry over by the c-transform, and an auction refines them with
   epsilon falling in steps (`bidding`), on candidate lists (`candidates`).
4. At the finest level shortest augmenting paths make the matching exactly optimal (`finish`).
5. A pass over all pairs proves it (`certificate`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.transport import bidding, candidates, finish
from gatlas.transport.bidding import FREE, Matching
from gatlas.transport.candidates import Blocks, Columns, Lists, Rows
from gatlas.transport.certificate import FAR, matched_slack, row_minima
from gatlas.transport.kernels import compile_notice
from gatlas.transport.order import BLOCK, BRANCH, kd_order

if TYPE_CHECKING:
    from jaxtyping import Float, Int

STEPS = 2.0**24  # a cloud's radius in integer steps: products stay below 2^49, sums below 2^53
LARGEST_PRICE = 2.0**52
COARSEST = 256  # levels stop at about this many points
LIST = 32  # columns that a row lists; a row of m copies lists 2m more

# Epsilon, in units of the level's typical difference between neighbouring reduced costs.
FIRST_EPSILON = 0.5
LAST_EPSILON = 0.002
LAST_EPSILON_COARSE = 0.02
EPSILON_STEP = 10.0
UNIT = 0.5
BAND = 16.0
BUDGET=20.0
TAIL=0.005

import os

for _k in list(os.environ):
    if _k.startswith("GA_"): globals()[_k[3:]] = float(os.environ[_k]) if '.' in os.environ[_k] else int(os.environ[_k])
import time

DEBUG = "DBG" in os.environ


def solve_auction(
    sources: Float[np.ndarray, "n 3"], targets: Float[np.ndarray, "n 3"], *, threads: int
) -> tuple[Int[np.ndarray, " n"], float, float]:
    """The exact assignment: targets [n], the least slack, and the mean slack of the matched pairs, in squared units.

    Both slacks are those of the certificate and exactly zero where the assignment is proven optimal.
    """
    x, x_step = quantize(sources)
    y, y_step = quantize(targets)
    x_order, x_copies = _lay_out(x)
    y_order, y_copies = _lay_out(y)
    x, y = x[x_order], y[y_order]
    swapped = len(y_copies) < len(x_copies)  # equal rows are dealt with as one, equal columns are not
    if swapped:
        x, y = y, x
    with compile_notice():
        if DEBUG: _t0 = time.process_time()
        matched, w, u = _solve_levels(x, y, threads)
        if DEBUG: print('levels total', time.process_time()-_t0)
        minima = row_minima(x, y.T.copy(), w, threads)
        if DEBUG: print('+cert', time.process_time()-_t0)
    slack = matched_slack(x, y.T, w, matched, minima)
    unit = x_step * y_step
    matches = np.empty(len(x), dtype=np.int64)
    if swapped:
        matches[x_order[matched]] = y_order
    else:
        matches[x_order] = y_order[matched]
    return matches, float((minima - u).min()) * unit, float(slack.mean()) * unit


def quantize(points: Float[np.ndarray, "n d"]) -> tuple[Float[np.ndarray, "n 3"], float]:
    """The points about their centre, as integers up to STEPS in float64 [n 3], and the length of one step.

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


def _lay_out(points: Float[np.ndarray, "n 3"]) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " g"]]:
    """An order along a k-d tree in which equal points follow each other, and how many there are of each."""
    by_value = np.lexsort(points.T[::-1])
    ordered = points[by_value]
    starts = _run_starts(ordered)
    with compile_notice():
        tree = kd_order(ordered[starts[:-1]])
    copies = np.diff(starts)[tree]
    offsets = np.cumsum(copies) - copies
    within = np.arange(len(points)) - np.repeat(offsets, copies)
    return by_value[np.repeat(starts[:-1][tree], copies) + within], copies


def _run_starts(points: Float[np.ndarray, "n 3"]) -> Int[np.ndarray, " g+1"]:
    """Where runs of equal points start, and the end."""
    changes = np.flatnonzero((points[1:] != points[:-1]).any(axis=1)) + 1
    return np.concatenate([[0], changes, [len(points)]])


class _Level(NamedTuple):
    rows: Rows
    columns: Columns
    blocks: Blocks
    lists: Lists
    matching: Matching
    unit: np.ndarray


def _solve_levels(
    x: Float[np.ndarray, "n 3"], y: Float[np.ndarray, "n 3"], threads: int
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """The columns of the rows [n], the prices w [n] of the columns and u [n] of the rows."""
    clouds = [(x, y)]
    while len(clouds[-1][0]) > COARSEST:
        clouds.append((_coarsen(clouds[-1][0]), _coarsen(clouds[-1][1])))
    x, y = clouds.pop()
    w = np.square(y).sum(axis=1)
    partner = np.repeat(x.mean(axis=0, keepdims=True), len(w), axis=0)
    level = _start_level(x, y, w, np.full(len(x), np.median(spacings(y))))
    _refresh(level, partner)
    candidates.scan_first(level.rows, level.columns, level.blocks, level.lists)
    last = LAST_EPSILON_COARSE if clouds else LAST_EPSILON
    epsilon = 0.25 * STEPS**2
    while True:
        if DEBUG: print(epsilon, level.unit.min(), level.unit.max())
        _auction(level, partner, np.maximum(epsilon, last * level.unit))
        epsilon /= EPSILON_STEP
        if epsilon < last*level.unit.min() or epsilon < 1: break
    while clouds:
        if DEBUG: t0 = time.process_time()
        rows, columns = level.rows, level.columns
        x, y = clouds.pop()
        u = row_minima(rows.x, columns.y, columns.w, threads)
        partner = np.repeat(_partners(level, partner), BRANCH, axis=0)[: len(y)]
        w = -row_minima(y, np.ascontiguousarray(rows.x.T), -u, threads)
        held=_held(level)
        near = np.minimum(np.repeat(held * BRANCH, BRANCH), len(y) - 1)[: len(y)]
        level = _start_level(x, y, w, spacings(y)[near])
        _refresh(level, partner)
        if DEBUG: print(f'level {len(x)} prolong {time.process_time()-t0:.3f}')
        if DEBUG: t1 = time.process_time()
        candidates.scan_first(level.rows, level.columns, level.blocks, level.lists)
        if DEBUG: print('   first scan', round(time.process_time()-t1, 4))
        last = LAST_EPSILON_COARSE if clouds else LAST_EPSILON
        factor = FIRST_EPSILON
        while True:
            factor = max(factor, last)
            _auction(level, partner, factor * level.unit)
            if factor <= last: break
            factor /= EPSILON_STEP
        if DEBUG: print(f'  auctions {time.process_time()-t1:.3f}')
    if DEBUG: t1 = time.process_time()
    u = np.empty(len(level.rows.x))
    _finish(level, partner, u)
    if DEBUG: print(f'  finish {time.process_time()-t1:.3f}')
    return _columns_of_rows(level), level.columns.w[: len(y)], np.repeat(u, np.diff(level.rows.start))


RUN = 8
def spacings(points):
    """Distance of each point to its fourth nearest among the 8 that it lies with"""
    n = len(points)
    run = min(n, RUN)
    starts = np.minimum(np.arange(0, n, run), n - run)
    runs = points[starts[:, None] + np.arange(run)]
    squares = np.square(runs[:, :, None] - runs[:, None]).sum(axis=-1)
    nearest = np.partition(squares, run // 2, axis=-1)[..., run // 2]
    out = np.empty(n)
    out[starts[:, None] + np.arange(run)] = np.sqrt(nearest)
    return out


def _partners(level, partner):
    owner = level.matching.owner
    return np.where(owner[:, None] == FREE, partner, level.rows.x[owner])


def _auction(level, partner, epsilon):
    rows, columns, blocks, lists, matching, unit = level
    matching.owner[:] = FREE
    matching.count[:] = 0
    if DEBUG: t0 = time.process_time()
    r = bidding.auction(np.maximum(1.0, np.floor(epsilon)), int(BUDGET*len(rows.x)), int(TAIL*len(rows.x)), rows, columns, blocks, lists, matching)
    if DEBUG: print(f'   eps {np.median(epsilon/unit):.4f} bids {r[0]/len(rows.x):.2f} scans {r[1]/len(rows.x):.2f} per row, {time.process_time()-t0:.4f} s')
    _refresh(level, _partners(level, partner))


def _coarsen(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "m 3"]:
    """The means of each four points that follow each other, as integers."""
    starts = np.arange(0, len(points), BRANCH)
    sizes = np.diff(np.append(starts, len(points)))
    return np.rint(np.add.reduceat(points, starts, axis=0) / sizes[:, None])


def _start_level(x, y, w, y_spacing) -> _Level:
    n = len(x)
    starts = _run_starts(x)
    rows = Rows(np.ascontiguousarray(x[starts[:-1]]), starts)
    groups = len(rows.x)
    short = -n % BLOCK
    columns = Columns(
        np.ascontiguousarray(np.pad(y, ((0, short), (0, 0))).T), np.pad(w, (0, short), constant_values=FAR), n
    )
    centers, radii = _balls(y)
    blocks = Blocks(
        np.ascontiguousarray(centers.T), radii, np.empty((3, len(radii))), np.empty(len(radii)), np.empty(len(radii))
    )
    copies = np.diff(starts)
    sizes = np.minimum(n, LIST + np.where(copies > 1, 2 * copies, 0))
    ends = np.concatenate([[0], np.cumsum(sizes)])
    room = 2 * int(sizes.max()) + 2 * BLOCK
    lists = Lists(
        ends, np.empty(ends[-1], np.int64), np.empty(ends[-1]), np.empty(ends[-1]), np.empty(groups),
        np.empty(room), np.empty(room, np.int64),
    )  # fmt: skip
    matching = Matching(np.full(n, FREE), np.empty(n, np.int64), np.empty(n, np.int64), np.zeros(groups, np.int64))
    # Two neighbours' reduced costs differ by about the product of the spacings of the two clouds.
    unit = spacings(rows.x) * y_spacing[starts[:-1]] * UNIT
    typical = np.median(unit)
    unit = np.where((unit > typical / BAND) & (unit < typical * BAND), typical, unit)
    return _Level(rows, columns, blocks, lists, matching, unit)


def _balls(points: Float[np.ndarray, "n 3"]) -> tuple[Float[np.ndarray, "b 3"], Float[np.ndarray, " b"]]:
    """Integer centres and radii, rounded up, of balls around each BLOCK points that follow each other."""
    starts = np.arange(0, len(points), BLOCK)
    lowest = np.minimum.reduceat(points, starts, axis=0)
    highest = np.maximum.reduceat(points, starts, axis=0)
    centers = np.rint((lowest + highest) / 2)
    distances = np.square(points - np.repeat(centers, BLOCK, axis=0)[: len(points)]).sum(axis=1)
    return centers, np.ceil(np.sqrt(np.maximum.reduceat(distances, starts))) + 1.0


def _refresh(level: _Level, partner: Float[np.ndarray, "n 3"]) -> None:
    starts = np.arange(0, len(partner), BLOCK)
    sizes = np.diff(np.append(starts, len(partner)))
    level.blocks.gradient[:] = np.rint(2 * np.add.reduceat(partner, starts, axis=0) / sizes[:, None]).T
    candidates.bound_blocks(level.columns, level.blocks)


def _finish(level: _Level, partner, u) -> None:
    rows, columns, blocks, lists, matching, _ = level
    n, groups = columns.n, len(rows.x)
    if DEBUG: t0 = time.process_time()
    _refresh(level, _partners(level, partner))
    candidates.rescan_all(rows, columns, blocks, lists)
    finish.make_tight(rows, columns, lists, matching, u)
    if DEBUG: t1 = time.process_time()
    search = finish.Search(
        np.full(n + groups, FAR), np.empty(n, np.int64), np.full(groups, FAR), np.empty(groups, np.int64),
        np.empty(groups, np.int64), np.empty(n + groups, np.int64), np.empty(n + groups, np.int64),
        np.full(n + groups, -1), np.zeros(3, np.int64), np.empty(1, np.int64),
    )  # fmt: skip
    free = finish.match_tight(rows, columns, lists, matching, u)
    r = finish.augment_all(rows, columns, lists, matching, u, search)
    if DEBUG: print(f'   prep {t1-t0:.3f} paths {time.process_time()-t1:.3f} free {free/n:.3f} reached {r[0]} full scans {r[1]}')


def _held(level):
    owner=level.matching.owner
    cols=np.arange(len(owner))
    out=np.full(len(owner),-1)
    got=owner!=FREE
    out[level.matching.slot[got]]=cols[got]
    out[out<0]=cols[~got]
    return out


def _columns_of_rows(level: _Level) -> Int[np.ndarray, " n"]:
    return level.matching.held
