"""Errors of found cameras against the true ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatlas.errors import GatlasError
from gatlas.fit.scene_frame import frame_of_cameras
from gatlas.geometry.cameras import camera_centers
from gatlas.metrics.pose_errors import AUC_LIMITS, GroundTruth, PoseErrors, measure_poses, recall_area, target_distances
from gatlas.metrics.trajectories import TrajectoryError, trajectory_error, umeyama
from gatlas.types import Cameras

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from gatlas.score.options import PosesOptions


class PoseScore(NamedTuple):
    """Errors of the cameras of one scene."""

    photos: tuple[str, ...]
    errors: PoseErrors  # per photo; without scale, of all but the first that was found
    trajectory: TrajectoryError | None  # None: fewer than three cameras, or all on a line
    target: tuple[float, float, float] | None  # to which distances are measured
    first: str | None  # photo that the others are relative to, without scale

    def figures(self) -> dict[str, float | None]:
        """Return the figures by name; None: not measured."""
        found = np.isfinite(self.errors.larger)
        medians = [float(np.median(each[found])) if found.any() else None for each in self.errors[:2]]
        ate = self.trajectory
        return {
            "found": float(found.mean()),
            "rotation": medians[0],
            "position": medians[1],
            **self.errors.areas,
            "ate": None if ate is None else ate.rmse,
        }

    def to_json(self) -> dict[str, Any]:
        """Return the figures and the errors of every photo; null for one that was not found."""
        held = zip(self.photos, *(each.tolist() for each in self.errors[:2]), strict=True)
        photos = [
            {"photo": photo, "rotation": _number(rotation), "position": _number(position)}
            for photo, rotation, position in held
        ]
        more = {
            "ate_scale": None if self.trajectory is None else self.trajectory.scale,
            "position_unit": self.errors.unit,
            "target": self.target,
            "relative_to": self.first,
        }
        return {**self.figures(), **more, "photos": photos}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def score_poses(
    found: Float[np.ndarray, "c 4 4"], truth: Float[np.ndarray, "c 4 4"], photos: Sequence[str], options: PosesOptions
) -> PoseScore:
    """Return the errors of cameras (world -> camera), NaN where one was not found, against the true ones.

    Both are of one world and scale, unless `options.align` moves those found onto the true ones first. Positions are in
    per cent of the true distance to `options.target`; with `options.unscaled` rotations and directions of motion are
    relative to the first photo that was found. Cameras that several similarities align as well are a GatlasError.
    """
    found, truth = (np.asarray(each, dtype=np.float64) for each in (found, truth))
    present = np.asarray(np.isfinite(found).all(axis=(1, 2)))
    centers = camera_centers(found[present]), camera_centers(truth[present])
    trajectory = trajectory_error(*centers) if present.any() else None
    if options.align == "similarity" and present.any():
        found = _aligned(found, present, *centers)
    if not options.unscaled:
        target = _target(truth, options)
        if not (target_distances(truth, target) > 0).all():
            raise GatlasError("a true camera is at the point to which distances are measured: give another --target")
        errors = measure_poses(found, GroundTruth(truth, target))
        x, y, z = (float(value) for value in target)
        return PoseScore(tuple(photos), errors, trajectory, (x, y, z), None)
    if len(photos) < 2:
        raise GatlasError("cameras relative to the first one need two photos or more")
    first = int(present.argmax())
    order = [first, *(i for i in range(len(photos)) if i != first)]
    errors = measure_poses(found[order], GroundTruth(truth[order], None))
    return PoseScore(tuple(photos[i] for i in order[1:]), errors, trajectory, None, photos[first])


def _aligned(
    viewmats: Float[np.ndarray, "c 4 4"],
    present: Bool[np.ndarray, " c"],
    centers: Float[np.ndarray, "n 3"],
    truths: Float[np.ndarray, "n 3"],
) -> Float[np.ndarray, "c 4 4"]:
    moved = umeyama(centers, truths)
    if moved is None:
        raise GatlasError(
            f"--align similarity needs three cameras that are not on a line, and {len(centers)} were found: "
            "for cameras of another scale there is --unscaled, too"
        )
    placed = viewmats.copy()
    placed[present] = moved.apply_to_cameras(viewmats[present])
    return placed


def _target(truth: Float[np.ndarray, "c 4 4"], options: PosesOptions) -> Float[np.ndarray, " 3"]:
    """Return the point that is given, or the one nearest to all true optical axes."""
    if options.target is not None:
        try:
            x, y, z = map(float, options.target.split(","))
            if not np.isfinite([x, y, z]).all():
                raise ValueError
        except ValueError:
            raise GatlasError(
                f"--target must be three numbers with commas between them, got {options.target}"
            ) from None
        return np.array([x, y, z])
    return np.asarray(frame_of_cameras(Cameras(truth, np.tile(np.eye(3), (len(truth), 1, 1)), 2, 2)).center)


def pooled_areas(objects: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the areas under the recall curve of the photos of all objects together."""
    pairs = [(photo.get("rotation"), photo.get("position")) for each in objects for photo in each["photos"]]
    errors = np.array(
        [np.inf if rotation is None or position is None else max(rotation, position) for rotation, position in pairs]
    )
    return {f"auc@{limit}": recall_area(errors, limit) for limit in AUC_LIMITS} if pairs else {}
