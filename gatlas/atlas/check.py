"""Checks of an atlas: bijection, locality, transport gap, round-trip error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.atlas.decoding import decode, unit_positions
from gatlas.atlas.encoding import prepare
from gatlas.atlas.plane import plane_permutation
from gatlas.errors import GatlasError
from gatlas.transport import assign, fibonacci_sphere

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.types import Atlas, Gaussians

# A scrambled atlas has grid neighbors as far apart as random pairs (1); real objects measure 0.05 to 0.2.
MOST_DISTANT = 0.6

# Rounding an atlas's planes to float32 moves its cost by less than 1e-6 of the optimum.
LARGEST_GAP = 1e-3


@dataclass(frozen=True)
class AtlasCheck:
    """Measurements of an atlas. Distances are in the unit ball."""

    cells: int
    gaussians: int  # cells that are not padding
    bijection: bool  # every sphere point has one cell, and the cells hold as many Gaussians as meta says
    direction: str  # of the sphere-to-plane permutation: "forward", or "inverse" where that is the local one
    neighbor_distance: float  # mean over grid neighbors
    random_distance: float  # mean over random pairs
    smoothness_recovered: float | None  # share of the color smoothness of 3D neighbors that grid neighbors keep
    gap: float  # the layout's transport cost / the certified optimum - 1
    certified: bool  # meta says that the layout is optimal
    round_trip: float | None  # largest error of any field after decoding, relative to the field's largest value

    @property
    def problems(self) -> list[str]:
        """The problems found, a sentence each; empty for a sound atlas."""
        found = []
        if not self.bijection:
            found.append("its cells do not hold the Gaussians that its meta counts")
        if self.direction != "forward":
            found.append("its layout is local only under the inverse permutation: it was composed the wrong way round")
        # A tiny or shapeless object has no near neighbors; what its transport proves is not scrambled all the same.
        if self.gap > LARGEST_GAP and self.neighbor_distance > MOST_DISTANT * self.random_distance:
            found.append("neighbors in the grid are no nearer than random pairs: the cells are scrambled")
        if self.certified and self.gap > LARGEST_GAP:
            found.append("its meta says that the transport is optimal, and it is not: cells or offsets were moved")
        if self.round_trip is not None and self.round_trip > 1e-4:
            found.append("decoding does not give the Gaussians back")
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return the measurements for a JSON report."""
        names = {"neighbor_distance": "neighbour_distance"}  # the key that reports have always had
        return {**{names.get(name, name): value for name, value in asdict(self).items()}, "problems": self.problems}


def check_atlas(atlas: Atlas, gaussians: Gaussians | None = None, *, seed: int = 0) -> AtlasCheck:
    """Measure an atlas; with the Gaussians that it was made of, its round trip too (numpy)."""
    size = atlas.size
    positions = unit_positions(atlas)  # [cells 3]
    cells = plane_permutation(size, str(atlas.meta.get("projection")))
    real = atlas.opacity.reshape(-1) > 0
    rng = np.random.default_rng(seed)

    forward = neighbor_distance(positions, size)
    on_sphere = np.empty_like(positions)
    on_sphere[cells] = positions
    # Laid out through the inverse of `cells`, an atlas is local again after `cells` twice.
    inverse = neighbor_distance(positions[cells][cells], size)
    random_distance = float(np.linalg.norm(positions - positions[rng.permutation(size * size)], axis=1).mean())

    sphere = fibonacci_sphere(size * size)
    cost = float(((on_sphere - sphere) ** 2).sum(axis=1).mean())
    optimum = assign(on_sphere, sphere).cost
    expected = _counted(atlas.meta, "count") - _counted(atlas.meta, "dropped") + _counted(atlas.meta, "split")
    return AtlasCheck(
        cells=size * size,
        gaussians=int(real.sum()),
        bijection=bool((np.sort(cells) == np.arange(size * size)).all()) and expected == int(real.sum()),
        direction="inverse" if inverse < 0.5 * forward else "forward",
        neighbor_distance=forward,
        random_distance=random_distance,
        smoothness_recovered=_smoothness(positions, atlas.color.reshape(-1, 3), real, size, rng),
        gap=max(0.0, cost / max(optimum, 1e-30) - 1),
        certified=_is_certified(atlas.meta),
        round_trip=None if gaussians is None else _round_trip(atlas, gaussians),
    )


def _is_certified(meta: Mapping[str, Any]) -> bool:
    """Return True where meta records a transport gap of (nearly) 0; generated and imported atlases record no gap."""
    transport = meta.get("transport")
    gap = transport.get("gap") if isinstance(transport, Mapping) else None
    return isinstance(gap, (int, float)) and gap < LARGEST_GAP


def _counted(meta: Mapping[str, Any], key: str) -> int:
    value = meta.get(key, 0)
    if not isinstance(value, int) or isinstance(value, bool):
        raise GatlasError(f"the atlas's meta has a broken {key!r}: {value!r}")
    return value


def _grid_pairs(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of horizontal and vertical neighbors."""
    index = np.arange(size * size).reshape(size, size)
    left = np.concatenate([index[:, :-1].ravel(), index[:-1].ravel()])
    right = np.concatenate([index[:, 1:].ravel(), index[1:].ravel()])
    return left, right


def neighbor_distance(positions: Float[np.ndarray, "cells 3"], size: int) -> float:
    left, right = _grid_pairs(size)
    return float(np.linalg.norm(positions[left] - positions[right], axis=1).mean())


def _smoothness(
    positions: Float[np.ndarray, "cells 3"],
    colors: Float[np.ndarray, "cells 3"],
    real: np.ndarray,
    size: int,
    rng: np.random.Generator,
) -> float | None:
    """(random - grid) / (random - 3D) of the mean color difference of pairs: 1 is as smooth as space itself.

    None where space is not smoother than chance itself, so that there is nothing to recover.
    """
    from scipy.spatial import cKDTree

    if real.sum() < 6:
        return None
    points, shown = positions[real], colors[real]
    near = cKDTree(points).query(points, k=5)[1][:, 1:]  # a cell has four neighbors
    in_space = np.linalg.norm(shown[:, None] - shown[near], axis=-1).mean()
    at_random = np.linalg.norm(shown - shown[rng.permutation(len(shown))], axis=-1).mean()
    left, right = _grid_pairs(size)
    both = real[left] & real[right]
    in_grid = np.linalg.norm(colors[left[both]] - colors[right[both]], axis=-1).mean()
    if at_random - in_space < 0.05 * at_random + 1e-9:
        return None
    return float((at_random - in_grid) / (at_random - in_space))


def _round_trip(atlas: Atlas, gaussians: Gaussians) -> float:
    """Largest error of any field between the decoded set and what was laid out, each relative to its largest value.

    What was laid out is the given set inside the atlas's spaces, filled: what that costs is in the atlas's meta.
    """
    from scipy.spatial import cKDTree

    how = "split" if atlas.meta.get("split") else "duplicate"
    prepared = prepare(gaussians, atlas.size**2, how)
    in_unit_ball = {**atlas.meta, "normalization": {"center": [0.0, 0.0, 0.0], "scale": 1.0}, "frame": None}
    given = _table(prepared.gaussians[~prepared.padding])
    got = _table(decode(replace(atlas, meta=in_unit_ball)))
    if len(given) != len(got):
        return float("inf")
    span = np.abs(given).max(axis=0)
    span[:3], span[3:7], span[7:10] = span[:3].max(), 1.0, span[7:10].max()
    span[span == 0] = 1.0
    distance, match = cKDTree(given / span).query(got / span)
    if len(np.unique(match)) < len(given) and distance.max() > 1e-5:
        return float("inf")
    return float(np.abs((given[match] - got) / span).max())


def _table(gaussians: Gaussians) -> Float[np.ndarray, "n 14"]:
    columns = [gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities[:, None], gaussians.sh[:, 0]]
    return np.concatenate(columns, axis=1, dtype=np.float64)
