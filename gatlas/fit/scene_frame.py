"""The position and size of the subject of a set of photos, which a fit moves into the unit ball."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.geometry.cameras import camera_centers
from gatlas.geometry.frames import bounding_ball, unscaled_views
from gatlas.geometry.optical_axes import meeting_point
from gatlas.types import MixedViews, Views

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.types import AnyCameras, AnyViews, SomeCameras

PARALLEL = 1e-3  # least curvature of the sum of squared distances, per camera, at which the axes meet in a point
FEW_POINTS = 100  # fewer say nothing about the subject's extent


class SceneFrame(NamedTuple):
    """The ball that becomes the unit ball, in the photos' own units."""

    center: Float[np.ndarray, " 3"]
    radius: float


def frame_of_cameras(cameras: AnyCameras) -> SceneFrame:
    """The ball that fills the pictures, about the point nearest to all optical axes (least squares).

    Where the axes are parallel, or most cameras look away from that point (a room seen from within), it is the ball
    around the cameras instead. Cameras that all stand at one place see nothing of its size, which then is any.
    """
    center, radius = _looked_at(cameras)
    return SceneFrame(center, radius or float(np.linalg.norm(center)) or 1.0)


def _looked_at(cameras: AnyCameras) -> SceneFrame:
    """Return the ball of `frame_of_cameras`; its radius is 0 where the cameras all stand at one place."""
    eyes = camera_centers(cameras.viewmats).astype(np.float64)
    axes = cameras.viewmats[:, 2, :3].astype(np.float64)
    center = meeting_point(cameras.viewmats, PARALLEL)
    if center is not None:
        depths = np.einsum("ci,ci->c", center - eyes, axes)
        if (depths > 0).mean() > 0.5:
            return SceneFrame(center, float(np.median(depths[depths > 0] * _half_widths(cameras)[depths > 0])))
    center = eyes.mean(axis=0)
    return SceneFrame(center, float(np.linalg.norm(eyes - center, axis=1).max()))


def frame_of_points(cameras: AnyCameras, xyz: Float[np.ndarray, "n 3"]) -> SceneFrame:
    """The bounding ball of the points that lie where the cameras look, the outermost hundredth left out.

    Points far behind the subject do not count, unless hardly any others are there.
    """
    looked_at = _looked_at(cameras)
    near = xyz[np.linalg.norm(xyz - looked_at.center, axis=1) < (looked_at.radius or np.inf)]
    cloud = (near if len(near) >= FEW_POINTS else xyz).astype(np.float64)
    center, radius = bounding_ball(cloud, tail=0.01, share=0.99)
    return SceneFrame(center, radius or frame_of_cameras(cameras).radius)


def into_frame(cameras: SomeCameras, frame: SceneFrame) -> SomeCameras:
    """The same cameras in the units of the frame: own units = position * radius + center."""
    viewmats = unscaled_views(cameras.viewmats, frame.center, frame.radius)
    return replace(cameras, viewmats=viewmats.astype(np.float32), Ks=cameras.Ks.astype(np.float32))


def _half_widths(cameras: AnyCameras) -> Float[np.ndarray, " c"]:
    """Sine of half the field of view across the shorter side: the ball at distance 1 that the picture holds."""
    across = np.array(cameras.sizes) / np.stack([cameras.Ks[:, 0, 0], cameras.Ks[:, 1, 1]], axis=-1)
    return np.sin(np.arctan(0.5 * across.min(axis=1)))


def views_into_frame(views: AnyViews, frame: SceneFrame) -> AnyViews:
    """The same views with their cameras in the units of the frame."""
    if isinstance(views, MixedViews):
        return MixedViews(views.images, into_frame(views.cameras, frame))
    return Views(views.images, into_frame(views.cameras, frame))
