"""Cameras made, moved and measured. World axes are glTF's (y up); cameras are OpenCV (x right, y down, z forward)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.geometry.default_camera import DEFAULT_DISTANCE, DEFAULT_FOV
from gatlas.geometry.frames import bounding_ball
from gatlas.geometry.libraries import is_tensor
from gatlas.geometry.scene_unit import in_unit_ball, scene_unit
from gatlas.types import Cameras

if TYPE_CHECKING:
    from jaxtyping import Float, Float64

    from gatlas.types import Gaussians, SomeCameras

    Array = Any  # a numpy array or a torch tensor

FINEST = 1e12  # pixels to a ball's radius, or radii to a pixel, that no camera has
LARGEST = 3e38  # of a float32
OPENGL_AXES = np.diag([1.0, -1.0, -1.0, 1.0])  # OpenGL's camera (x right, y up, z backward) in OpenCV's, and back


def intrinsics(width: int, height: int, fov: float = DEFAULT_FOV) -> Float[np.ndarray, "3 3"]:
    """K of a centered pinhole whose field of view, in degrees, spans the shorter side."""
    if not 0 < fov < 180:
        raise ValueError(f"fov must be between 0 and 180 degrees, got {fov}")
    focal = 0.5 * min(width, height) / np.tan(0.5 * np.radians(fov))
    return np.array([[focal, 0, 0.5 * width], [0, focal, 0.5 * height], [0, 0, 1]])


def look_at(
    eyes: Float[np.ndarray, "c 3"],
    targets: Float[np.ndarray, "*c 3"] | tuple[float, float, float] = (0.0, 0.0, 0.0),
    up: tuple[float, float, float] = (0.0, 1.0, 0.0),
) -> Float[np.ndarray, "c 4 4"]:
    """World -> camera matrices of cameras at `eyes` that look at `targets` with `up` towards the picture's top.

    Where the view is along `up` itself, the world's -z (for a view down) or +z (for a view up) is the picture's top.
    """
    eyes = np.atleast_2d(np.asarray(eyes, dtype=np.float64))
    forward = np.asarray(targets, dtype=np.float64) - eyes
    distance = np.linalg.norm(forward, axis=-1, keepdims=True)
    if not (distance > 0).all():
        raise ValueError("a camera stands on its own target")
    forward = forward / distance
    right = np.cross(forward, np.asarray(up, dtype=np.float64))
    polar = np.linalg.norm(right, axis=-1) < 1e-6
    if polar.any():
        vertical = np.sign(forward[polar] @ np.asarray(up, dtype=np.float64))
        right[polar] = np.cross(forward[polar], vertical[:, None] * np.array([0.0, 0.0, 1.0]))
    right /= np.linalg.norm(right, axis=-1, keepdims=True)
    down = np.cross(forward, right)
    rotation = np.stack([right, down, forward], axis=1)  # rows are the camera's axes [c 3 3]
    viewmats = np.tile(np.eye(4), (len(eyes), 1, 1))
    viewmats[:, :3, :3] = rotation
    return moved_to(viewmats, eyes)


def orbit(
    count: int,
    width: int,
    height: int,
    *,
    elevation: float = 20.0,
    azimuth: float = 0.0,
    distance: float = DEFAULT_DISTANCE,
    fov: float = DEFAULT_FOV,
) -> Cameras:
    """`count` cameras on a circle about the y axis, evenly spaced; angles in degrees.

    Azimuth 0 stands on +z, the front of a glTF object, and grows towards +x.
    """
    if count < 1:
        raise ValueError(f"an orbit needs at least one camera, got {count}")
    angles = np.radians(azimuth) + 2 * np.pi * np.arange(count) / count
    tilt = np.radians(elevation)
    eyes = distance * np.stack(
        [np.cos(tilt) * np.sin(angles), np.full(count, np.sin(tilt)), np.cos(tilt) * np.cos(angles)], axis=-1
    )
    return _around(eyes, width, height, fov)


def fibonacci_views(
    count: int,
    width: int,
    height: int,
    *,
    phase: float = 0.0,
    distance: float = DEFAULT_DISTANCE,
    fov: float = DEFAULT_FOV,
) -> Cameras:
    """`count` cameras spread evenly over the whole sphere. `phase` turns the lattice about y, in turns [0, 1)."""
    if count < 1:
        raise ValueError(f"needs at least one view, got {count}")
    index = np.arange(count)
    y = 1 - (2 * index + 1) / count
    angles = index * np.pi * (3 - np.sqrt(5)) + 2 * np.pi * phase
    ring = np.sqrt(1 - y * y)
    eyes = distance * np.stack([ring * np.sin(angles), y, ring * np.cos(angles)], axis=-1)
    return _around(eyes, width, height, fov)


def random_views(
    count: int,
    width: int,
    height: int,
    rng: np.random.Generator,
    *,
    distance: float = DEFAULT_DISTANCE,
    fov: float = DEFAULT_FOV,
) -> Cameras:
    """`count` cameras in uniformly random directions that look at the origin."""
    eyes = rng.normal(size=(count, 3))
    eyes *= distance / np.linalg.norm(eyes, axis=-1, keepdims=True)
    return _around(eyes, width, height, fov)


def _around(eyes: Float[np.ndarray, "c 3"], width: int, height: int, fov: float) -> Cameras:
    Ks = np.tile(intrinsics(width, height, fov), (len(eyes), 1, 1))
    return Cameras(look_at(eyes).astype(np.float32), Ks.astype(np.float32), width, height)


def around(gaussians: Gaussians, cameras: Cameras) -> Cameras:
    """Cameras that were placed around the unit ball, moved to frame the Gaussians (numpy): see `framing_ball`."""
    if in_unit_ball(gaussians):
        return cameras
    center, radius = framing_ball(gaussians)
    return replace(cameras, viewmats=moved_to(cameras.viewmats, camera_centers(cameras.viewmats) * radius + center))


def framing_ball(gaussians: Gaussians) -> tuple[Float[np.ndarray, " 3"], float]:
    """Return center and radius, > 0, of the ball that a picture of the Gaussians (numpy) frames.

    It leaves out what is nearly transparent and the farthest thousandth, so that a few stray Gaussians do not shrink
    the picture. Normalized objects keep the unit ball, hence one frame for all of them.
    """
    if in_unit_ball(gaussians):
        return np.zeros(3), 1.0
    means = gaussians.means[gaussians.opacities > 0.05]
    if len(means) == 0:
        means = gaussians.means
    center, radius = bounding_ball(means, tail=0.0005, share=0.999)
    return center, radius or scene_unit(gaussians)


def resized(cameras: Cameras, width: int, height: int) -> Cameras:
    """The same cameras with pictures of another size: the whole of the old picture fills the new one."""
    stretch = np.array([[width / cameras.width], [height / cameras.height], [1.0]], dtype=cameras.Ks.dtype)
    return replace(cameras, Ks=cameras.Ks * stretch, width=width, height=height)


def camera_centers(viewmats: Float[Array, "*c 4 4"]) -> Float[Array, "*c 3"]:
    """Return the position of each camera in the world, -R^T t of its world-to-camera matrix."""
    return -(viewmats[..., :3, :3] * viewmats[..., :3, 3:]).sum(-2)  # no matrix product: exact under autocast too


def pixel_widths(
    cameras: SomeCameras, ball: tuple[float, float, float, float] | None = None
) -> Float64[np.ndarray, " c"]:
    """Return the width of each camera's pixel at the center of a ball, in world units.

    It is the distance of the eye to the center, at least the radius, over the focal length. `ball` is center and
    radius; None is the unit ball.
    """
    x, y, z, radius = ball or (0.0, 0.0, 0.0, 1.0)
    viewmats, Ks = (np.asarray(_on_host(each), dtype=np.float64) for each in (cameras.viewmats, cameras.Ks))
    distances = np.linalg.norm(camera_centers(viewmats) - (x, y, z), axis=-1)
    return np.maximum(distances, radius) / np.sqrt(np.abs(Ks[:, 0, 0] * Ks[:, 1, 1]))


def pixel_sizes(*sets: SomeCameras) -> tuple[float, float]:
    """Return the smallest and the largest pixel of cameras around the unit ball, for `Origin.pixel_sizes`."""
    widths = np.concatenate([pixel_widths(cameras) for cameras in sets])
    return float(widths.min()), float(widths.max())


def plausible_pixels(sizes: tuple[float, float], ball: tuple[float, float, float, float] | None = None) -> bool:
    """Return True for what `Origin.pixel_sizes` and `Origin.ball` may be: others blur pictures until they are empty."""
    low, high = sizes
    x, y, z, radius = ball or (0.0, 0.0, 0.0, 1.0)
    inside = all(abs(value) < LARGEST for value in (x, y, z)) and 1 / LARGEST < radius < LARGEST
    return inside and radius / FINEST <= low <= high <= radius * FINEST


def _on_host(array: Array) -> Any:
    return array.detach().cpu() if is_tensor(array) else array


def opengl_poses(viewmats: Float[np.ndarray, "*c 4 4"]) -> Float[np.ndarray, "*c 4 4"]:
    """Return camera-to-world matrices (numpy, float64) of cameras with OpenGL's axes: x right, y up, z backward."""
    return np.linalg.inv(np.asarray(viewmats, dtype=np.float64)) @ OPENGL_AXES


def viewmats_of_opengl(poses: Float[np.ndarray, "*c 4 4"]) -> Float[np.ndarray, "*c 4 4"]:
    """Return the world-to-camera matrices (numpy, float64) of OpenGL's camera-to-world ones: undo `opengl_poses`."""
    return np.linalg.inv(np.asarray(poses, dtype=np.float64) @ OPENGL_AXES)


def orbit_angles(viewmats: Float[np.ndarray, "c 4 4"]) -> tuple[Float[np.ndarray, " c"], Float[np.ndarray, " c"]]:
    """Return azimuth and elevation, in degrees, of cameras that look at one object and stand upright (numpy).

    Azimuth counts from the first camera and grows as in `orbit`, elevation from the horizon upwards. The vertical need
    not be an axis of the world: it is at right angles to the horizontal axis of every camera.
    """
    right, down, forward = (viewmats[:, row, :3].astype(np.float64) for row in range(3))
    mean_up = -down.mean(axis=0)
    mean_up /= np.linalg.norm(mean_up) or 1.0
    # Where all horizontal axes are parallel, as on two sides of an object, the mean of the cameras' own decides.
    spread = right.T @ right + 1e-6 * (np.eye(3) - np.outer(mean_up, mean_up))
    up = np.linalg.eigh(spread)[1][:, 0]
    up *= np.sign(up @ mean_up) or 1.0
    elevation = np.degrees(np.arcsin(np.clip(-forward @ up, -1, 1)))
    front = np.cross(right[0], up)  # the horizontal direction to the first camera
    side = np.cross(up, front)
    azimuth = np.degrees(np.arctan2(-forward @ side, -forward @ front))
    return azimuth, elevation


def to_camera(points: Float[Array, "n 3"], viewmat: Float[Array, "4 4"]) -> Float[Array, "n 3"]:
    """Return points of the world in a camera's own axes: x right, y down, z its depth."""
    return points @ viewmat[:3, :3].T + viewmat[:3, 3]


def in_float32(cameras: SomeCameras) -> SomeCameras:
    """Return the cameras with poses in float32 (numpy): files of one camera, or of far ones, are read in float64."""
    return replace(cameras, viewmats=cameras.viewmats.astype(np.float32))


def moved_to(viewmats: Float[np.ndarray, "c 4 4"], centers: Float[np.ndarray, "c 3"]) -> Float[np.ndarray, "c 4 4"]:
    """Return the world-to-camera matrices of the same cameras at other positions (numpy)."""
    moved = viewmats.copy()
    moved[:, :3, 3] = -np.einsum("cij,cj->ci", moved[:, :3, :3], centers)
    return moved
