"""The frame of an object: its bounding ball, the unit ball and back, half turns between conventions of axes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from gatlas.geometry.rotations import matrices_to_quats, multiply_quats
from gatlas.geometry.scene_unit import in_ball, in_unit_ball
from gatlas.geometry.sh import half_turn_sh, rotated_sh

if TYPE_CHECKING:
    from jaxtyping import Float, Float64

    from gatlas.types import Gaussians, Origin

# Rotations that stand an object up, by the axis of its file that points up: of z, x stays and the front, -y, faces +z.
UPRIGHT = {
    "y": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "z": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "x": ((0, -1, 0), (1, 0, 0), (0, 0, 1)),
    "-y": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
    "-z": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "-x": ((0, 1, 0), (-1, 0, 0), (0, 0, 1)),
}


def bounding_ball(
    points: Float[np.ndarray, "n 3"], *, tail: float = 0.0, share: float = 1.0
) -> tuple[Float[np.ndarray, " 3"], float]:
    """Return center and radius of a ball about the center of the points' bounding box (numpy).

    So that strays do not enlarge it, the box leaves out the share `tail` of the coordinates at either end of each axis,
    and the ball holds a `share` of the points.
    """
    if tail == 0.0 and share == 1.0:
        center = (points.min(axis=0) + points.max(axis=0)) / 2
        return center, float(np.linalg.norm(points - center, axis=1).max())
    low, high = np.quantile(points, [tail, 1 - tail], axis=0)
    center = (low + high) / 2
    return center, float(np.quantile(np.linalg.norm(points - center, axis=1), share))


def half_turn(
    means: Float[np.ndarray, "n 3"],
    quats: Float[np.ndarray, "n 4"],
    sh: Float[np.ndarray, "n k 3"],
    axis: Literal["x", "z"],
) -> tuple[Float[np.ndarray, "n 3"], Float64[np.ndarray, "n 4"], Float[np.ndarray, "n k 3"]]:
    """Return positions, quaternions (float64) and coefficients after 180 degrees about an axis of the world (numpy).

    About x it leads from OpenCV's axes to OpenGL's, about z from an object that stands on its head to one upright.
    """
    signs = np.array([1 if name == axis else -1 for name in "xyz"], dtype=means.dtype)
    turn = np.array([0.0, *(1.0 if name == axis else 0.0 for name in "xyz")])  # wxyz
    return means * signs, multiply_quats(turn, quats), half_turn_sh(sh, axis)


def turned(
    means: Float[np.ndarray, "n 3"],
    quats: Float[np.ndarray, "n 4"],
    sh: Float[np.ndarray, "n k 3"],
    rotation: Float64[np.ndarray, "3 3"],
) -> tuple[Float[np.ndarray, "n 3"], Float64[np.ndarray, "n 4"], Float[np.ndarray, "n k 3"]]:
    """Return positions, quaternions (float64) and coefficients after a rotation matrix turned the world (numpy).

    A reflection is right too: a Gaussian's shape is symmetric, so its axes turn as under the negative, a rotation.
    """
    moved = (means.astype(np.float64) @ rotation.T).astype(means.dtype)
    proper = rotation if np.linalg.det(rotation) > 0 else -rotation
    return moved, multiply_quats(matrices_to_quats(proper), quats), rotated_sh(sh, rotation)


def into_unit_ball(gaussians: Gaussians) -> tuple[Gaussians, tuple[float, float, float], float]:
    """The Gaussians with their means in the unit ball, and the center and scale with which `scaled` leads back (numpy).

    What is normalized already, by its mesh, stays as it is: two fits of one mesh share one frame.
    """
    if in_unit_ball(gaussians):
        return gaussians, (0.0, 0.0, 0.0), 1.0
    means = gaussians.means.astype(np.float64)
    center, scale = bounding_ball(means)
    if scale == 0.0:  # a single Gaussian, or all at one place
        scale = 10 * float(np.max(gaussians.scales))
    x, y, z = (float(value) for value in center)
    unit = replace(
        gaussians,
        means=((means - center) / scale).astype(np.float32),
        scales=(gaussians.scales.astype(np.float64) / scale).astype(np.float32),
        origin=_scaled_origin(gaussians, (-x / scale, -y / scale, -z / scale), 1 / scale),
    )
    return unit, (x, y, z), scale


def scaled(gaussians: Gaussians, center: tuple[float, float, float], scale: float) -> Gaussians:
    """Positions times `scale` plus `center`, and scales alike (numpy): the way back from the unit ball."""
    return replace(
        gaussians,
        means=(gaussians.means.astype(np.float64) * scale + center).astype(np.float32),
        scales=(gaussians.scales.astype(np.float64) * scale).astype(np.float32),
        origin=_scaled_origin(gaussians, center, scale),
    )


def _scaled_origin(gaussians: Gaussians, center: tuple[float, float, float], scale: float) -> Origin:
    origin = gaussians.origin
    if origin.pixel_sizes is not None and not in_ball(gaussians, origin.ball):
        return replace(origin, pixel_sizes=None, ball=None)  # moved by another program: they are of other units
    return origin.scaled(center, scale)


def unscaled(gaussians: Gaussians, center: tuple[float, float, float], scale: float) -> Gaussians:
    """The inverse of `scaled` (numpy)."""
    x, y, z = center
    return scaled(gaussians, (-x / scale, -y / scale, -z / scale), 1 / scale)


def denormalized(gaussians: Gaussians) -> Gaussians:
    """The Gaussians in the object's own units, which their origin leads back to (numpy)."""
    origin = gaussians.origin
    back = scaled(gaussians, origin.center, origin.scale)
    return replace(back, origin=replace(back.origin, center=(0.0, 0.0, 0.0), scale=1.0, normalized=False))


def with_turned_ball(
    origin: Origin, rotation: Float[np.ndarray, "3 3"], center: Float[np.ndarray, " 3"] | None = None
) -> Origin:
    """Return the origin with the ball of its pixel sizes turned, and then moved to positions relative to `center`."""
    if origin.ball is None:
        return origin
    x, y, z = rotation @ np.asarray(origin.ball[:3]) - (np.zeros(3) if center is None else center)
    return replace(origin, ball=(float(x), float(y), float(z), origin.ball[3]))


def scaled_views(
    viewmats: Float[np.ndarray, "*c 4 4"], center: Float[np.ndarray, " 3"] | tuple[float, float, float], scale: float
) -> Float[np.ndarray, "*c 4 4"]:
    """World-to-camera matrices (numpy, float64) that see `scaled` Gaussians as these see the Gaussians."""
    moved = np.array(viewmats, dtype=np.float64)
    moved[..., :3, 3] = moved[..., :3, 3] * scale - moved[..., :3, :3] @ np.asarray(center)
    return moved


def unscaled_views(
    viewmats: Float[np.ndarray, "*c 4 4"], center: Float[np.ndarray, " 3"] | tuple[float, float, float], scale: float
) -> Float[np.ndarray, "*c 4 4"]:
    """The inverse of `scaled_views`."""
    moved = np.array(viewmats, dtype=np.float64)
    moved[..., :3, 3] = (moved[..., :3, :3] @ np.asarray(center) + moved[..., :3, 3]) / scale
    return moved
