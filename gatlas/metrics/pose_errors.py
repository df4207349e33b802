"""Errors of estimated cameras: degrees, per cent of the distance, and area under the recall curve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatlas.errors import GatlasError
from gatlas.geometry.cameras import camera_centers
from gatlas.geometry.rotations import angles_between

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float

    from gatlas.types import Gaussians

AUC_LIMITS = (5, 10, 20)  # of the larger of both errors


class GroundTruth(NamedTuple):
    """The true cameras of photos, and the point to which distances are measured."""

    viewmats: Float[np.ndarray, "c 4 4"]
    target: Float[np.ndarray, " 3"] | None  # None: only positions relative to the first camera count, without scale


class PoseErrors(NamedTuple):
    """Errors per camera; NaN where a camera was not found."""

    rotation: Float[np.ndarray, " c"]  # degrees
    position: Float[np.ndarray, " c"]  # in `unit`
    unit: str

    @property
    def larger(self) -> Float[np.ndarray, " c"]:
        """The larger of both errors."""
        return np.maximum(self.rotation, self.position)

    @property
    def areas(self) -> dict[str, float]:
        """The area under the recall curve of the larger error, by "auc@LIMIT"; cameras not found are not recalled."""
        return {f"auc@{limit}": recall_area(self.larger, limit) for limit in AUC_LIMITS}

    def summary(self) -> str:
        """Return median and largest errors and the areas in one line; empty where no camera was found."""
        found = np.isfinite(self.larger)
        if not found.any():
            return ""
        rotation, position = self.rotation[found], self.position[found]
        return (
            f"rotation {np.median(rotation):.3f} deg, position {np.median(position):.3f} {self.unit} in the median "
            f"of {found.sum()} of {len(found)}; worst {rotation.max():.3f} and {position.max():.3f}; "
            + ", ".join(f"AUC@{name[4:]} {area:.3f}" for name, area in self.areas.items())
        )

    def to_json(self) -> dict[str, Any]:
        """Return the errors for a report, with NaN where a camera was not found."""
        return {
            "rotation_degrees": self.rotation.tolist(),
            "position": self.position.tolist(),
            "position_unit": self.unit,
            **self.areas,
        }


def make_ground_truth(
    viewmats: Float[np.ndarray, "c 4 4"], names: Sequence[str], gaussians: Gaussians, *, own_units: bool = False
) -> GroundTruth:
    """Return the ground truth of the photos `names` of a scene; a GatlasError where errors could not be measured.

    Distances are measured to the median of the Gaussians' centers. A scene of unposed photos has the first camera's
    frame and no scale: its cameras are compared relative to the first one. With `own_units`, `viewmats` have the units
    of the object and not of the Gaussians.
    """
    if gaussians.origin.grid is not None:
        if len(names) < 2:
            raise GatlasError("cameras relative to the first one need two photos or more")
        return GroundTruth(viewmats, None)
    origin, target = gaussians.origin, np.median(gaussians.means, axis=0)
    if own_units:
        target = target * origin.scale + np.asarray(origin.center)
    at_target = np.flatnonzero(target_distances(viewmats, target) == 0)
    if len(at_target):
        raise GatlasError(
            f"the camera of {names[at_target[0]]} is in the middle of the scene, and errors are in per cent of the "
            "distance to it: check the file, or leave out --ground-truth"
        )
    return GroundTruth(viewmats, target)


def measure_poses(viewmats: Float[np.ndarray, "c 4 4"], truth: GroundTruth) -> PoseErrors:
    """Return the errors of cameras, which are NaN where they were not found."""
    if truth.target is None:
        found, true = (each[1:] @ np.linalg.inv(each[0]) for each in (viewmats, truth.viewmats))
        position, unit = direction_errors(found, true), "degrees of direction"
    else:
        found, true = viewmats, truth.viewmats
        position, unit = center_errors(found, true, truth.target), "% of the distance"
    return PoseErrors(rotation_errors(found, true), position, unit)


def rotation_errors(
    viewmats: Float[np.ndarray, "c 4 4"], truths: Float[np.ndarray, "c 4 4"]
) -> Float[np.ndarray, " c"]:
    """Return the angle between the axes of each camera and the true ones, degrees in [0, 180]; NaN for NaN cameras."""
    viewmats, truths = _pair(viewmats, truths)
    return angles_between(viewmats[:, :3, :3], truths[:, :3, :3])


def center_errors(
    viewmats: Float[np.ndarray, "c 4 4"],
    truths: Float[np.ndarray, "c 4 4"],
    target: Float[np.ndarray, " 3"] | Sequence[float] = (0.0, 0.0, 0.0),
) -> Float[np.ndarray, " c"]:
    """Return the distance of each camera's position from the true one, in per cent of its true distance to `target`."""
    viewmats, truths = _pair(viewmats, truths)
    distance = target_distances(truths, target)
    if not (distance > 0).all():
        raise ValueError("a true camera is at the target: errors cannot be relative to a distance of 0")
    return 100 * np.linalg.norm(camera_centers(viewmats) - camera_centers(truths), axis=1) / distance


def target_distances(
    truths: Float[np.ndarray, "c 4 4"], target: Float[np.ndarray, " 3"] | Sequence[float] = (0.0, 0.0, 0.0)
) -> Float[np.ndarray, " c"]:
    """Return the distance of each camera to `target`; `center_errors` needs distances greater than 0."""
    centers = camera_centers(np.asarray(truths, dtype=np.float64))
    return np.linalg.norm(centers - np.asarray(target, dtype=np.float64), axis=1)


def direction_errors(
    viewmats: Float[np.ndarray, "c 4 4"], truths: Float[np.ndarray, "c 4 4"]
) -> Float[np.ndarray, " c"]:
    """Return the angle between positions in a first camera's frame and the true ones, degrees in [0, 90].

    An error without scale, folded at 90 degrees as in the published figures of relative poses (Ye et al. 2024,
    NoPoSplat). NaN where a position is the first camera's own.
    """
    viewmats, truths = _pair(viewmats, truths)
    center, true_center = camera_centers(viewmats), camera_centers(truths)
    cross = np.linalg.norm(np.cross(center, true_center), axis=1)
    dot = np.abs((center * true_center).sum(axis=1))
    return np.degrees(np.where((cross > 0) | (dot > 0), np.arctan2(cross, dot), np.nan))


def recall_area(errors: Float[np.ndarray, " c"], threshold: float) -> float:
    """Return the area under the curve of recall over error up to `threshold`, [0, 1].

    AUC@5 is `recall_area(errors, 5)`.
    The curve is linear between the sorted errors, from (0, 0) on, and constant from the last error below the threshold
    (Sarlin et al. 2020, SuperGlue). A camera that was not found has an infinite or NaN error: it is never recalled.
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
