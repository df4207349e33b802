"""Levels of detail from one fit: the first so many Gaussians, for several counts, each stand for the whole object.

Every step renders one of the levels, so that the Gaussians of a level are fitted alone and together with all that are
added to them. Steps are shared out over the levels evenly, by the golden ratio: a level depends on the step alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.fit.blue_noise import choose_blue_noise
from gatlas.types import LOG_SCALE_RANGE

if TYPE_CHECKING:
    from jaxtyping import Int

    from gatlas.types import Gaussians

# Share of the steps that render all Gaussians, in the first and in the second half; the smaller levels have equal parts
# of the rest. What has no part in a small level is too small to be seen in the first half, of smaller pictures.
FULL_SHARES = (0.3, 0.65)
GOLDEN = (5**0.5 - 1) / 2


class ShownLevel(NamedTuple):
    """The Gaussians that a step of an optimization renders."""

    number: int  # so many, from the first on
    growth: float = 1.0  # factor of their scales


def shown_at(step: int, iterations: int, levels: tuple[int, ...], growth: float = 0.0) -> ShownLevel:
    """Return the level that a step, from 0, of so many renders; for `growth` see `gatlas.types.Origin`.

    Over any few steps each level comes nearly as often as its share says (Weyl's sequence of the golden ratio).
    """
    count = levels[-1]
    full = FULL_SHARES[2 * step >= iterations]
    place = step * GOLDEN % 1.0
    if place < 1 - full and len(levels) > 1:
        count = levels[int(place / (1 - full) * (len(levels) - 1))]
    return ShownLevel(count, (levels[-1] / count) ** growth)


def in_levels(start: Gaussians, levels: tuple[int, ...], growth: float = 0.0) -> Gaussians:
    """The Gaussians that a fit starts from, ordered so that every level is spread over all of them (numpy).

    A level is blue noise among those of the next, as dense in proportion. Those that a level adds are as much larger as
    its Gaussians are farther apart, less the factor that they are shown with.
    """
    density = start.scales.max(axis=1).astype(np.float64) ** -2
    chosen = np.arange(len(start))
    parts: list[Int[np.ndarray, " k"]] = []
    for count in reversed(levels[:-1]):
        inner = chosen[choose_blue_noise(start.means[chosen], density[chosen], count)]
        parts.append(np.setdiff1d(chosen, inner))
        chosen = inner
    parts.append(chosen)
    parts.reverse()  # what each level adds, the smallest level first
    larger = [np.full(len(part), (len(start) / n) ** (0.5 - growth)) for part, n in zip(parts, levels, strict=True)]
    ordered = start[np.concatenate(parts)]
    scales = np.clip(ordered.scales * np.concatenate(larger)[:, None], *np.exp(LOG_SCALE_RANGE)).astype(np.float32)
    return replace(ordered, scales=scales)


def marked(gaussians: Gaussians, levels: tuple[int, ...], growth: float) -> Gaussians:
    """The Gaussians with an origin that names these levels, and no others."""
    return replace(gaussians, origin=replace(gaussians.origin, levels=levels, growth=growth))
