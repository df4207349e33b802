"""How far estimated cameras are from the true ones: degrees, per cent of the distance, and area under the recall."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.geometry.cameras import camera_centers
from gatlas.geometry.rotations import angles_between

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float


def rotation_errors(
    viewmats: Float[np.ndarray, "c 4 4"], truths: Float[np.ndarray, "c 4 4"]
) -> Float[np.ndarray, " c"]:
    """Angle between each camera's axes and the true ones, degrees in [0, 180]; NaN where a camera is NaN."""
    viewmats, truths = _pair(viewmats, truths)
    return angles_between(viewmats[:, :3, :3], truths[:, :3, :3])


def center_errors(
    viewmats: Float[np.ndarray, "c 4 4"],
    truths: Float[np.ndarray, "c 4 4"],
    target: Float[np.ndarray, " 3"] | Sequence[float] = (0.0, 0.0, 0.0),
) -> Float[np.ndarray, " c"]:
    """Distance between each camera's place and the true one, in per cent of the true one's distance to `target`."""
    viewmats, truths = _pair(viewmats, truths)
    distance = target_distances(truths, target)
    if not (distance > 0).all():
        raise ValueError("a true camera stands on the target: its distance is no unit to measure in")
    return 100 * np.linalg.norm(camera_centers(viewmats) - camera_centers(truths), axis=1) / distance


def target_distances(
    truths: Float[np.ndarray, "c 4 4"], target: Float[np.ndarray, " 3"] | Sequence[float] = (0.0, 0.0, 0.0)
) -> Float[np.ndarray, " c"]:
    """How far each camera stands from `target`; 0 is no unit for `center_errors`."""
    places = camera_centers(np.asarray(truths, dtype=np.float64))
    return np.linalg.norm(places - np.asarray(target, dtype=np.float64), axis=1)


def direction_errors(
    viewmats: Float[np.ndarray, "c 4 4"], truths: Float[np.ndarray, "c 4 4"]
) -> Float[np.ndarray, " c"]:
    """Angle between the places of cameras in a first camera's frame and the true ones, degrees in [0, 90].

    The error that has no scale, folded at 90 degrees as in the published figures of relative poses (Ye et al. 2024,
    NoPoSplat). NaN where a place is the first camera's own.
    """
    viewmats, truths = _pair(viewmats, truths)
    place, true_place = camera_centers(viewmats), camera_centers(truths)
    cross = np.linalg.norm(np.cross(place, true_place), axis=1)
    dot = np.abs((place * true_place).sum(axis=1))
    return np.degrees(np.where((cross > 0) | (dot > 0), np.arctan2(cross, dot), np.nan))


def recall_area(errors: Float[np.ndarray, " c"], threshold: float) -> float:
    """Area under the curve of recall over error up to `threshold`, [0, 1]: AUC@5 is `recall_area(errors, 5)`.

    The curve runs straight between the sorted errors, from (0, 0) on, and is level from the last error below the
    threshold (Sarlin et al. 2020, SuperGlue). A camera that was not found has an infinite or NaN error: it counts as
    never recalled.
    """
    errors = np.asarray(errors, dtype=np.float64)
    if errors.ndim != 1 or len(errors) == 0:
        raise ValueError(f"errors must have shape [c] and not be empty, got {list(errors.shape)}")
    if not 0 < threshold < np.inf:
        raise ValueError(f"threshold must be positive, got {threshold}")
    reached = np.sort(errors[errors < threshold])  # NaN is not below
    x = np.concatenate([[0.0], reached, [threshold]])
    recall = np.concatenate([np.arange(len(reached) + 1), [len(reached)]]) / len(errors)
    return float(((recall[1:] + recall[:-1]) / 2 * np.diff(x)).sum() / threshold)


def _pair(
    viewmats: Float[np.ndarray, "c 4 4"], truths: Float[np.ndarray, "c 4 4"]
) -> tuple[Float[np.ndarray, "c 4 4"], Float[np.ndarray, "c 4 4"]]:
    viewmats, truths = np.asarray(viewmats, dtype=np.float64), np.asarray(truths, dtype=np.float64)
    if viewmats.ndim != 3 or viewmats.shape[1:] != (4, 4) or viewmats.shape != truths.shape:
        raise ValueError(f"cameras must be two of [c 4 4], got {list(viewmats.shape)} and {list(truths.shape)}")
    return viewmats, truths
