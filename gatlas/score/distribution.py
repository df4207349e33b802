"""A set of generated objects against a reference set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatlas.metrics.point_sets import DISTANCES, set_distances

if TYPE_CHECKING:
    from jaxtyping import Float64

    from gatlas.score.scored_object import ScoredObject


class DistributionScore(NamedTuple):
    """Figures of the sets, and of each generated object."""

    coverage: float
    mmd: float
    one_nna: float
    diversity: float | None  # mean distance of samples of one prompt; None: no prompt has two
    objects: tuple[dict[str, Any], ...]


def score_distribution(
    generated: Sequence[ScoredObject],
    reference: Sequence[ScoredObject],
    *,
    distance: str = "chamfer",
    on_row: Callable[[], None] = lambda: None,
) -> DistributionScore:
    """Return the measures of point sets, and the nearest reference of each generated object.

    `distance` is a key of `gatlas.metrics.point_sets.DISTANCES`.
    `on_row` is called 2 n + m times, for n generated objects and m of the reference. An empty set is a ValueError.
    """
    pairwise = DISTANCES[distance]
    clouds, others = ([each.points for each in part] for part in (generated, reference))
    across = pairwise(clouds, others, on_row=on_row)
    inside = pairwise(clouds, on_row=on_row)
    measures = set_distances(across, inside, pairwise(others, on_row=on_row))
    objects = []
    for each, distances in zip(generated, across, strict=True):
        nearest = int(distances.argmin())
        color = float(np.linalg.norm(each.color - reference[nearest].color))
        objects.append(
            {
                "name": each.name,
                "prompt": each.prompt,
                "gaussians": each.gaussians,
                "nearest": float(distances[nearest]),
                "nearest_name": reference[nearest].name,
                "nearest_color_distance": color,
            }
        )
    return DistributionScore(*measures, diversity_within_prompts(generated, inside), tuple(objects))


def diversity_within_prompts(generated: Sequence[ScoredObject], inside: Float64[np.ndarray, "n n"]) -> float | None:
    """Return the mean distance between samples of one prompt, the mean over prompts that have two or more."""
    groups: dict[str, list[int]] = defaultdict(list)
    for i, each in enumerate(generated):
        if each.prompt is not None:
            groups[each.prompt].append(i)
    means = []
    for members in groups.values():
        if len(members) > 1:
            within = inside[np.ix_(members, members)]
            means.append(within.sum() / (len(members) * (len(members) - 1)))
    return float(np.mean(means)) if means else None
