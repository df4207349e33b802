"""One level of the multiscale auction: its rows and columns, and what the kernels keep about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gatlas.transport import bidding, candidates, finish
from gatlas.transport.bidding import FREE, Matching
from gatlas.transport.candidates import Blocks, Columns, Lists, Rows
from gatlas.transport.certificate import FAR
from gatlas.transport.order import BLOCK, run_starts

if TYPE_CHECKING:
    from jaxtyping import Float

LARGEST_PRICE = 2.0**52  # up to here a reduced cost, a price less a product, is exact
LIST = 32  # columns that a row lists; a row of m > 1 copies lists 2m more


@dataclass(frozen=True, eq=False)
class Level:
    """An assignment problem in the making. Its prices only rise."""

    rows: Rows
    columns: Columns
    blocks: Blocks
    lists: Lists
    matching: Matching
    unit: float  # by how much the reduced costs of neighbors typically differ

    @classmethod
    def start(
        cls,
        x: Float[np.ndarray, "n 3"],
        y: Float[np.ndarray, "n 3"],
        w: Float[np.ndarray, " n"],
        partners: Float[np.ndarray, "n 3"],
    ) -> Level:
        """The problem of matching x to y at prices w; `partners` are about the x that each column will go to."""
        n = len(x)
        starts = run_starts(x)
        rows = Rows(np.ascontiguousarray(x[starts[:-1]]), starts)
        short = -n % BLOCK
        prices = np.pad(w, (0, short), constant_values=FAR)
        columns = Columns(np.ascontiguousarray(np.pad(y, ((0, short), (0, 0))).T), prices, n)
        centers, radii = _balls(y)
        blocks = Blocks(
            center=np.ascontiguousarray(centers.T),
            radius=radii,
            gradient=np.empty((3, len(radii))),
            base=np.empty_like(radii),
            bound=np.empty_like(radii),
        )
        copies = np.diff(starts)
        ends = np.concatenate([[0], np.cumsum(np.minimum(n, LIST + np.where(copies > 1, 2 * copies, 0)))])
        room = 2 * int(np.diff(ends).max()) + 2 * BLOCK
        lists = Lists(
            start=ends,
            column=np.empty(ends[-1], np.int64),
            cost=np.empty(ends[-1]),
            value=np.empty(ends[-1]),
            theta=np.empty(len(copies)),
            keys=np.empty(room),
            items=np.empty(room, np.int64),
        )
        matching = Matching(
            owner=np.full(n, FREE),
            slot=np.empty(n, np.int64),
            held=np.empty(n, np.int64),
            counts=np.zeros(len(copies), np.int64),
        )
        # Reduced costs of neighbors differ by about the product of the spacings of the two clouds; the 10 makes it
        # the squared spacing where both are the unit sphere.
        unit = float(np.median(radii) * np.median(_balls(rows.x)[1])) / 10
        level = cls(rows, columns, blocks, lists, matching, unit)
        level._refresh(partners)
        candidates.scan_first(rows, columns, blocks, lists)
        return level

    def partners(self) -> Float[np.ndarray, "n 3"]:
        """The x that each column goes to; every column must be matched."""
        return self.rows.x[self.matching.owner]

    def auction(self, epsilon: float, budget: int) -> bool:
        """Match afresh, every row within epsilon of its cheapest column. False: more than `budget` bids are needed."""
        self.matching.owner[:] = FREE
        self.matching.counts[:] = 0
        done = bidding.auction(epsilon, budget, self.rows, self.columns, self.blocks, self.lists, self.matching)
        self._lower_prices()
        if done:
            self._refresh(self.partners())
        return done

    def finish(self) -> Float[np.ndarray, " g"]:
        """Make the matching exactly optimal. Returns the rows' prices u [g]: each row's least reduced cost."""
        n, groups = self.columns.n, len(self.rows.x)
        rows, columns, blocks, lists, matching = self.rows, self.columns, self.blocks, self.lists, self.matching
        u = np.empty(groups)
        finish.make_exact(rows, columns, blocks, lists, matching, u, finish.start_search(n, groups))
        return u

    def _lower_prices(self) -> None:
        """Take the least price off all: that decides nothing, and keeps the numbers in the range that is exact.

        Few points far apart would leave it soon, for every auction raises all prices by what divides the points.
        """
        w = self.columns.w[: self.columns.n]
        if w.max() > LARGEST_PRICE:
            raise ArithmeticError("the auction's prices have left the range in which they are exact")
        least = w.min()
        w -= least
        self.lists.value[:] -= least
        self.lists.theta[self.lists.theta < FAR] -= least
        self.blocks.base[:] -= least

    def _refresh(self, partners: Float[np.ndarray, "n 3"]) -> None:
        """Make the blocks' bounds tight for today's prices."""
        starts = np.arange(0, len(partners), BLOCK)
        sizes = np.diff(np.append(starts, len(partners)))
        self.blocks.gradient[:] = np.rint(2 * np.add.reduceat(partners, starts, axis=0) / sizes[:, None]).T
        candidates.bound_blocks(self.columns, self.blocks)


def _balls(points: Float[np.ndarray, "n 3"]) -> tuple[Float[np.ndarray, "b 3"], Float[np.ndarray, " b"]]:
    """Integer centers and radii, rounded up, of balls around each BLOCK points that follow each other."""
    starts = np.arange(0, len(points), BLOCK)
    centers = np.rint((np.minimum.reduceat(points, starts) + np.maximum.reduceat(points, starts)) / 2)
    squares = np.square(points - np.repeat(centers, BLOCK, axis=0)[: len(points)]).sum(axis=1)
    return centers, np.ceil(np.sqrt(np.maximum.reduceat(squares, starts))) + 1.0
