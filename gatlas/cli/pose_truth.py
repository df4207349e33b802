"""How far the cameras that `gatlas pose-pnp` found are from those of --ground-truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatlas.cli.terminal import finite, say
from gatlas.errors import GatlasError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float

    from gatlas.types import Gaussians


class Truth(NamedTuple):
    """The true cameras of the photos, and the place that distances are measured from."""

    viewmats: Float[np.ndarray, "n 4 4"]
    target: Float[np.ndarray, " 3"] | None  # None: what counts is the place relative to the first camera, unscaled


def read_truth(source: str, photos: Sequence[str], gaussians: Gaussians, own_units: bool) -> Truth:
    """The cameras of the photos; a GatlasError, before any work, where errors could not be measured."""
    from gatlas.io.photos.pose_file import read_viewmats
    from gatlas.metrics.pose_errors import target_distances

    viewmats = read_viewmats(source, photos)
    if gaussians.origin.grid is not None:
        # A scene from unposed photos has a frame and a scale of its own: the first camera's.
        if len(photos) < 2:
            raise GatlasError("--ground-truth: cameras relative to the first one need two photos or more")
        return Truth(viewmats, None)
    origin, target = gaussians.origin, np.median(gaussians.means, axis=0)
    if own_units:
        target = target * origin.scale + np.asarray(origin.center)
    here = np.flatnonzero(target_distances(viewmats, target) == 0)
    if len(here):
        raise GatlasError(
            f"{source}: the camera of {photos[here[0]]} stands in the middle of the scene, and errors are in per cent "
            "of the distance to it: check the file, or leave out --ground-truth"
        )
    return Truth(viewmats, target)


def told_errors(found: Float[np.ndarray, "n 4 4"], truth: Truth) -> dict[str, Any]:
    """Errors of the cameras (NaN: not found, and never recalled), printed and for the report."""
    from gatlas.metrics.pose_errors import center_errors, direction_errors, recall_area, rotation_errors

    true = truth.viewmats
    if truth.target is None:
        found, true = found[1:] @ np.linalg.inv(found[0]), true[1:] @ np.linalg.inv(true[0])
        places, unit = direction_errors(found, true), "degrees of direction"
    else:
        places, unit = center_errors(found, true, truth.target), "% of the distance"
    turns = rotation_errors(found, true)
    worst = np.maximum(turns, places)
    areas = {f"auc@{limit}": recall_area(worst, limit) for limit in (5, 10, 20)}
    there = np.isfinite(worst)
    if there.any():
        say(
            f"rotation {np.median(turns[there]):.3f} deg, position {np.median(places[there]):.3f} {unit} in the median "
            f"of {there.sum()} of {len(worst)}; worst {turns[there].max():.3f} and {places[there].max():.3f}; "
            + ", ".join(f"AUC@{name[4:]} {area:.3f}" for name, area in areas.items())
        )
    return {
        "rotation_degrees": [finite(float(value)) for value in turns],
        "position": [finite(float(value)) for value in places],
        "position_unit": unit,
        **areas,
    }
