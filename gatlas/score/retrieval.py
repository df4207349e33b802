"""Retrieval without weights: is the object that a sample should be the nearest of all, in shape and in color?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.metrics.point_sets import pairwise_chamfer

if TYPE_CHECKING:
    from jaxtyping import Float64

    from gatlas.score.scored_object import ScoredObject


class Retrieved(NamedTuple):
    """Distances of a sample from objects; smaller is nearer."""

    shape: Float64[np.ndarray, " n"]  # chamfer distance of the centers
    color: Float64[np.ndarray, " n"]  # of the mean sRGB colors

    def nearest(self) -> tuple[int, int]:
        """Return the numbers of the objects that are nearest in shape and in color; the first of several."""
        return int(self.shape.argmin()), int(self.color.argmin())


def retrieve(sample: ScoredObject, objects: Sequence[ScoredObject]) -> Retrieved:
    """Return the distances of a sample from each of the objects."""
    shape = pairwise_chamfer([sample.points], [each.points for each in objects])[0]
    colors = np.array([each.color for each in objects])
    return Retrieved(shape, np.linalg.norm(colors - sample.color, axis=1))
