"""Making the number of Gaussians equal to the number of cells."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatlas.geometry.rotations import quats_to_matrices
from gatlas.types import Gaussians

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

FILLS = ("duplicate", "split")


class Filled(NamedTuple):
    gaussians: Gaussians  # as many as there are cells
    padding: Bool[np.ndarray, " cells"]  # copies that are shown at opacity 0
    dropped: int  # Gaussians that found no cell
    split: int  # cells that splitting filled


def fill(gaussians: Gaussians, cells: int, how: str = "duplicate") -> Filled:
    """Exactly `cells` Gaussians (numpy).

    More than cells: the smallest by mean scale are dropped. Fewer: with "duplicate" the rest are copies of different
    Gaussians, smallest first, to be shown at opacity 0 (the rule of the authors' published converter); with "split"
    the largest are cut in two, again and again, so that the render stays nearly the same and no cell is wasted.
    """
    if how not in FILLS:
        raise ValueError(f"fill must be one of {', '.join(FILLS)}, got {how!r}")
    count = len(gaussians)
    none = np.zeros(cells, dtype=bool)
    by_size = np.argsort(gaussians.scales.mean(axis=1), kind="stable")
    if count >= cells:
        return Filled(gaussians[np.sort(by_size[count - cells :])], none, count - cells, 0)
    if how == "split":
        return Filled(split_largest(gaussians, cells), none, 0, cells - count)
    # Copies of different Gaussians: many points at one place would carry no layout.
    copies = np.resize(by_size, cells - count)
    return Filled(gaussians[np.concatenate([np.arange(count), copies])], np.arange(cells) >= count, 0, 0)


def split_largest(gaussians: Gaussians, count: int) -> Gaussians:
    """`count` Gaussians that look like the given ones: the longest are cut across, those of a round longest first."""
    while len(gaussians) < count:
        longest = gaussians.scales.max(axis=1)
        order = np.argsort(-longest, kind="stable")
        # What is cut becomes shorter, so a round takes only those that are still longest after it.
        shorter = longest[order[0]] * 0.7
        round_size = max(1, int((longest > shorter).sum()))
        chosen = np.sort(order[: min(round_size, count - len(gaussians))])
        gaussians = _cut(gaussians, chosen)
    return gaussians


def _cut(gaussians: Gaussians, chosen: np.ndarray) -> Gaussians:
    """The chosen Gaussians replaced by two halves along their longest axis; the second halves come last."""
    parts = gaussians[chosen]
    axis = parts.scales.argmax(axis=1)
    rows = np.arange(len(parts))
    distance, shrink, opacity = _halves(parts.opacities)
    direction = quats_to_matrices(parts.quats.astype(np.float64))[rows, :, axis]  # [m 3]
    step = direction * (distance * parts.scales[rows, axis])[:, None]
    scales = parts.scales.copy()
    scales[rows, axis] = scales[rows, axis] * shrink

    def half(sign: float) -> Gaussians:
        return replace(
            parts,
            means=(parts.means + sign * step).astype(np.float32),
            scales=scales.astype(np.float32),
            opacities=opacity.astype(np.float32),
        )

    first, second = half(-1.0), half(1.0)
    fields: dict[str, Any] = {}
    for name in ("means", "quats", "scales", "opacities", "sh"):
        whole = getattr(gaussians, name).copy()
        whole[chosen] = getattr(first, name)
        fields[name] = np.concatenate([whole, getattr(second, name)])
    return replace(gaussians, **fields)


def _halves(
    opacities: Float[np.ndarray, " m"],
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Offset (in sigmas), shrinkage and opacity of the two halves, by the opacity of the whole."""
    table = _halves_table()
    distance, shrink, opacity = (np.interp(opacities, table[:, 0], table[:, column]) for column in (1, 2, 3))
    return distance, shrink, opacity


@cache
def _halves_table() -> Float[np.ndarray, "rows 4"]:
    """Opacity, offset, shrinkage, opacity of a half: the two halves, blended, come nearest to the whole's profile.

    Least squares over the plane of the cut, where a Gaussian seen across has the alpha o exp(-(u^2 + v^2) / 2).
    """
    from scipy.optimize import least_squares

    u, v = np.meshgrid(np.linspace(-3.5, 3.5, 41), np.linspace(0, 3.5, 15))
    rows = []
    guess = np.array([0.6, 0.8, 0.6])
    for whole in (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0):
        target = whole * np.exp(-0.5 * (u**2 + v**2))

        def residual(x: np.ndarray, whole: float = whole, target: np.ndarray = target) -> np.ndarray:
            offset, shrink, share = x
            left, right = (
                share * whole * np.exp(-0.5 * (((u - sign * offset) / shrink) ** 2 + v**2)) for sign in (-1, 1)
            )
            return (1 - (1 - left) * (1 - right) - target).ravel()

        guess = least_squares(residual, guess, bounds=([0.05, 0.3, 0.3], [1.5, 1.0, 1.0])).x
        rows.append([whole, guess[0], guess[1], min(guess[2] * whole, 1.0)])
    return np.array(rows)
