"""Pictures of Gaussians against those of what they stand for: both in one frame, PSNR and SSIM over white."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.fit.mesh import SUPERSAMPLE, in_unit_ball_of, measure
from gatlas.fit.photos import held_out_indices, rgba_views
from gatlas.fit.scene_frame import SceneFrame, views_into_frame
from gatlas.geometry.cameras import fibonacci_views
from gatlas.geometry.frames import into_unit_ball, unscaled
from gatlas.meshes.edits import normalize_mesh
from gatlas.meshes.render import render_mesh
from gatlas.raster import rasterize, straight_rgba
from gatlas.types import Mesh, MixedViews, Views

if TYPE_CHECKING:
    from gatlas.types import AnyViews, Cameras, Gaussians


def picture_quality(
    gaussians: Gaussians, reference: Gaussians | Mesh | AnyViews, *, views: int = 20, resolution: int = 256
) -> tuple[float, float]:
    """PSNR in dB and SSIM against the reference over white, from cameras that `finetune` does not use (numpy)."""
    unit, judged, _, _ = in_one_frame(gaussians, reference)
    if isinstance(judged, Views | MixedViews):
        return measure(unit, judged[held_out_indices(len(judged))])
    return measure(unit, reference_views(judged, fibonacci_views(views, resolution, resolution, phase=0.5)))


def in_one_frame(
    gaussians: Gaussians, reference: Gaussians | Mesh | AnyViews
) -> tuple[Gaussians, Gaussians | Mesh | AnyViews, tuple[float, float, float], float]:
    """Both in the unit ball of the mesh, or else of the Gaussians; and the center and scale that lead back."""
    if isinstance(reference, Views | MixedViews):
        unit, center, scale = into_unit_ball(gaussians)
        origin = gaussians.origin
        own = SceneFrame(np.array(origin.center), origin.scale) if origin.normalized else None
        frame = own or SceneFrame(np.array(center) + origin.center, scale)
        return unit, rgba_views(views_into_frame(reference, frame)), center, scale
    if isinstance(reference, Mesh):
        mesh = normalize_mesh(reference)
        if gaussians.origin.normalized:
            return gaussians, mesh, (0.0, 0.0, 0.0), 1.0
        x, y, z = (float(value) for value in np.subtract(mesh.origin.center, gaussians.origin.center))
        return in_unit_ball_of(mesh, gaussians), mesh, (x, y, z), mesh.origin.scale
    unit, center, scale = into_unit_ball(gaussians)
    return unit, unscaled(reference, center, scale), center, scale


def reference_views(reference: Gaussians | Mesh, cameras: Cameras) -> Views:
    """RGBA pictures of a mesh or of Gaussians that are in the unit ball."""
    if isinstance(reference, Mesh):
        return render_mesh(reference, cameras, supersample=SUPERSAMPLE)
    images = np.empty((len(cameras), cameras.height, cameras.width, 4), dtype=np.float32)
    for image, camera in zip(images, cameras, strict=True):
        image[...] = straight_rgba(rasterize(reference, camera))[0]
    return Views(images.clip(0.0, 1.0), cameras)
