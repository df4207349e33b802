"""Small motions of a camera, as rotations and translations of the object about a point in it.

About the center of the camera or of the world, a rotation and a translation change the picture in nearly the same way;
about a point in the object they do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.geometry.cameras import to_camera
from gatlas.geometry.rotations import angles_between, multiply_quats, so3_exp

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.types import Gaussians

MIN_OPACITY = 0.05  # fainter Gaussians are not taken for parts of the object


class Pivot(NamedTuple):
    """The point about which a camera is moved, and the depth that sets the scale of translations."""

    point: Float[np.ndarray, " 3"]  # world
    depth: float  # z of the point in the camera at the start, > 0, world units

    @property
    def units(self) -> Float[np.ndarray, " 6"]:
        """One unit of each variable: translations (x, y, z) as large in the picture as rotations (radians)."""
        return np.array([self.depth / 2, self.depth / 2, self.depth, 1.0, 1.0, 1.0])


def find_pivot(
    gaussians: Gaussians,
    viewmat: Float[np.ndarray, "4 4"],
    K: Float[np.ndarray, "3 3"],
    width: int,
    height: int,
) -> Pivot | None:
    """Return the opacity-weighted mean of the Gaussians inside the picture; None where there are none (numpy)."""
    means = np.asarray(gaussians.means, dtype=np.float64)
    opacities = np.asarray(gaussians.opacities, dtype=np.float64)
    local = to_camera(means, viewmat)
    z = local[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        x, y = (K[:2] @ local.T) / z
    inside = (z > 0) & (x > 0) & (x < width) & (y > 0) & (y < height) & (opacities > MIN_OPACITY)
    if not inside.any():
        return None
    point = np.average(means[inside], axis=0, weights=opacities[inside])
    return Pivot(point, float(viewmat[2, :3] @ point + viewmat[2, 3]))


def move_camera(
    viewmat: Float[np.ndarray, "4 4"], pivot: Pivot, step: Float[np.ndarray, " 6"]
) -> Float[np.ndarray, "4 4"]:
    """Return the camera that sees the object rotated about the pivot, then translated, by `step` in the pivot's units.

    Both are along the camera's axes.
    """
    shift, turn = np.split(step * pivot.units, 2)
    center = viewmat[:3, :3] @ pivot.point + viewmat[:3, 3]
    rotation = so3_exp(turn)
    moved = np.eye(4)
    moved[:3, :3] = rotation @ viewmat[:3, :3]
    moved[:3, 3] = rotation @ (viewmat[:3, 3] - center) + center + shift
    return moved


def step_gradient(
    gaussians: Gaussians,
    v_means: Float[np.ndarray, "n 3"],
    v_quats: Float[np.ndarray, "n 4"],
    viewmat: Float[np.ndarray, "4 4"],
    center: Float[np.ndarray, " 3"],
) -> Float[np.ndarray, " 6"]:
    """Return the gradient by a translation and a rotation about `center`, in camera axes, from those by the Gaussians.

    The rasterizer has no gradient by its cameras, but moving the camera is moving all Gaussians the other way.
    """
    rotation = viewmat[:3, :3]
    forces = np.asarray(v_means, dtype=np.float64) @ rotation.T  # in camera axes
    arms = gaussians.means.astype(np.float64) @ rotation.T + viewmat[:3, 3] - center
    # A rotation w maps a quaternion q to (1, w / 2) q, so the gradient by w is half the vector part of v_q times q*.
    conjugates = gaussians.quats.astype(np.float64) * (1.0, -1.0, -1.0, -1.0)
    spin = 0.5 * multiply_quats(np.asarray(v_quats, dtype=np.float64), conjugates)[:, 1:]
    turn = np.cross(arms, forces).sum(axis=0) + rotation @ spin.sum(axis=0)
    return np.concatenate([forces.sum(axis=0), turn])


def rotation_angle(first: Float[np.ndarray, "4 4"], second: Float[np.ndarray, "4 4"]) -> float:
    """Return the angle in degrees between the axes of two cameras."""
    return float(angles_between(first[:3, :3], second[:3, :3]))
