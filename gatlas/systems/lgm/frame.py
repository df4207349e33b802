"""The frame that the network sees an object in: the first camera in front of it, at one distance, looks at its center.

The network's axes are those of the first camera in OpenGL's convention (x right, y up, z towards the camera), which
stands at (0, 0, distance). Tang et al. 2024, LGM: all poses are multiplied by T inv(P_0), with P_0 the first camera's
pose and T the move by (0, 0, distance). The published poses all look at one center from that distance; here the center
follows from the cameras' axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.errors import GatlasError
from gatlas.geometry.cameras import camera_centers
from gatlas.geometry.frames import turned
from gatlas.geometry.optical_axes import across_axes, meeting_point

if TYPE_CHECKING:
    from jaxtyping import Float, Float64

    from gatlas.types import Gaussians

# Of the mean of 1 - f f^T over the cameras' axes f, the smallest eigenvalue: two cameras that stand 12 degrees apart
# have it. Below, their axes do not show where they meet.
MIN_SPREAD = 0.01
MAX_MISS = (
    0.05  # of a camera's axis from the world's origin, relative to its distance, where it may be meant to meet it
)
MIN_DEPTH = 1e-3  # of the object's center in a camera, relative to the distance of the camera from it


class ObjectFrame(NamedTuple):
    """The network's frame in the world: `rotation @ (point - center) * scale` is the point in it."""

    rotation: Float64[np.ndarray, "3 3"]
    center: Float64[np.ndarray, " 3"]  # world units
    scale: float  # network's units per world unit

    def viewmats(self, viewmats: Float[np.ndarray, "c 4 4"]) -> Float64[np.ndarray, "c 4 4"]:
        """Return world-to-camera matrices as matrices from the network's frame, in its units."""
        moved = np.tile(np.eye(4), (len(viewmats), 1, 1))
        rotations = np.asarray(viewmats[:, :3, :3], dtype=np.float64)
        moved[:, :3, :3] = rotations @ self.rotation.T
        moved[:, :3, 3] = self.scale * (viewmats[:, :3, 3] + rotations @ self.center)
        return moved

    def to_world(self, gaussians: Gaussians) -> Gaussians:
        """Return Gaussians of the network's frame in the world (numpy)."""
        means, quats, sh = turned(gaussians.means, gaussians.quats, gaussians.sh, self.rotation.T)
        return replace(
            gaussians,
            means=(means.astype(np.float64) / self.scale + self.center).astype(np.float32),
            quats=quats.astype(np.float32),
            scales=(gaussians.scales / self.scale).astype(np.float32),
            sh=sh,
        )


def object_frame(
    viewmats: Float[np.ndarray, "c 4 4"], distance: float, names: Sequence[str] | None = None
) -> ObjectFrame:
    """Return the frame of the object that world-to-camera matrices (OpenCV) look at.

    The first camera stands `distance` from the center in the network's units. Cameras that do not look at one object
    are a GatlasError, which calls them by `names`.
    """
    viewmats = np.asarray(viewmats, dtype=np.float64)
    try:
        center = look_at_point(viewmats)
    except GatlasError as error:
        raise error if names is None else GatlasError(f"{names[0]}: {error}") from None
    depths = viewmats[:, 2, :3] @ center + viewmats[:, 2, 3]
    eyes = camera_centers(viewmats)
    lengths = np.linalg.norm(eyes - center, axis=-1)
    if lengths.max() <= _rounding(viewmats) * np.abs(eyes).max():
        place = "" if names is None else f"{names[0]}: "
        raise GatlasError(f"{place}the cameras all stand in one place, which does not show where the object is")
    if (wrong := np.flatnonzero(depths <= MIN_DEPTH * lengths)).size:
        camera = f"camera {wrong[0]}" if names is None else f"that of {names[wrong[0]]}"
        raise GatlasError(f"the cameras do not look at one object: it is not in front of {camera}")
    return ObjectFrame(np.diag([1.0, -1.0, -1.0]) @ viewmats[0, :3, :3], center, distance / float(lengths[0]))


def look_at_point(viewmats: Float64[np.ndarray, "c 4 4"]) -> Float64[np.ndarray, " 3"]:
    """Return the point that is nearest to the axes of all cameras, by least squares.

    Where the axes are nearly parallel, as that of one camera is, it is the mean of their points nearest to the world's
    origin; one that does not lie in front of its camera is a GatlasError.
    """
    center = meeting_point(viewmats, MIN_SPREAD)
    if center is not None:
        return center
    eyes, axes = camera_centers(viewmats), viewmats[:, 2, :3]
    along = -(eyes * axes).sum(axis=-1)  # depth of the world's origin
    if (along <= 0).any():
        raise GatlasError(
            "the views do not show where the object is: their cameras look in one direction, away from the origin of "
            "their world: add views from other sides"
        )
    return np.asarray((eyes + along[:, None] * axes).mean(axis=0))


def uncertain(viewmats: Float[np.ndarray, "c 4 4"], fov: float, names: Sequence[str]) -> list[str]:
    """Return what cameras that have an `object_frame` leave uncertain, one message each.

    `fov` is the network's field of view in degrees; the messages call the cameras by `names`.
    """
    viewmats = np.asarray(viewmats, dtype=np.float64)
    eyes, axes = camera_centers(viewmats), viewmats[:, 2, :3]
    center, messages = look_at_point(viewmats), []
    if meeting_point(viewmats, MIN_SPREAD) is None:
        missed = np.linalg.norm(np.einsum("cij,cj->ci", across_axes(viewmats), eyes), axis=-1)
        if (missed > MAX_MISS * np.linalg.norm(eyes, axis=-1)).any():
            messages.append(
                f"{names[0]}: cameras that look in one direction do not show how far the object is: it is taken to be "
                "as far as the origin of their world"
            )
    same = len(viewmats) - len(np.unique(viewmats[:, :3].reshape(len(viewmats), -1).round(9), axis=0))
    if same:
        messages.append(f"{names[0]}: {same} of the {len(viewmats)} views have the camera of another one")
    to_center = center - eyes
    cosine = (to_center * axes).sum(axis=-1) / np.linalg.norm(to_center, axis=-1)
    if (cosine < np.cos(np.radians(fov / 2))).any():
        messages.append(
            f"{names[int(cosine.argmin())]}: its camera looks past the point where the axes of all cameras come "
            "nearest to each other, which is taken for the middle of the object: the splat may be wrong"
        )
    return messages


def _rounding(viewmats: Float64[np.ndarray, "c 4 4"]) -> float:
    """Return how far rounding may have moved cameras, relative to their distance from the origin."""
    return 1e-5 if (viewmats == viewmats.astype(np.float32)).all() else 1e-12
