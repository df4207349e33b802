"""Points projected into pictures, and the colors found there."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.geometry.cameras import to_camera
from gatlas.types import Views

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from gatlas.types import AnyCameras, AnyViews


class ImagePoints(NamedTuple):
    """Projections of points into one camera."""

    rows: Int[np.ndarray, " n"]  # of the pixel; 0 where it is not seen
    columns: Int[np.ndarray, " n"]
    depths: Float[np.ndarray, " n"]  # z in the camera, world units
    inside: Bool[np.ndarray, " n"]  # in front of the camera and within the picture


def project_points(points: Float[np.ndarray, "n 3"], cameras: AnyCameras, index: int) -> ImagePoints:
    """Return the projections of the points into camera `index`, occluded or not."""
    viewmat, K = cameras.viewmats[index], cameras.Ks[index]
    local = to_camera(points, viewmat)
    depths = local[:, 2]
    front = depths > 0
    depth = np.where(front, depths, 1.0)
    with np.errstate(over="ignore"):  # beside a camera, far beyond the picture
        u = (local[:, 0] * K[0, 0] + local[:, 1] * K[0, 1]) / depth + K[0, 2]
        v = local[:, 1] * K[1, 1] / depth + K[1, 2]
    width, height = cameras.sizes[index]
    inside = front & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    return ImagePoints(np.where(inside, v, 0).astype(np.int32), np.where(inside, u, 0).astype(np.int32), depths, inside)


def mean_colors(
    points: Float[np.ndarray, "n 3"], views: AnyViews, normals: Float[np.ndarray, "n 3"] | None = None
) -> tuple[Float[np.ndarray, "n 3"], Int[np.ndarray, " n"]]:
    """The photos' mean color at each point, hidden or not, and how many photos show it; 0.5 where none does.

    With `normals`, views count by the squared cosine at which they face the surface. Transparent pixels do not count.
    """
    total, weights = np.zeros((len(points), 3)), np.zeros(len(points))
    seen = np.zeros(len(points), dtype=np.int64)
    for index, image in enumerate(views.images):
        found = project_points(points, views.cameras, index)
        rgba = image[found.rows, found.columns]
        weight = found.inside * (rgba[:, 3] if image.shape[-1] == 4 else 1.0)
        if normals is not None:
            viewmat = views.cameras.viewmats[index]
            towards = -viewmat[:3, :3].T @ viewmat[:3, 3] - points
            towards /= np.linalg.norm(towards, axis=1, keepdims=True)
            weight = weight * np.maximum(np.einsum("ni,ni->n", towards, normals), 0.01) ** 2
        total += weight[:, None] * rgba[:, :3]
        weights += weight
        seen += found.inside
    colors = np.divide(total, weights[:, None], out=np.full_like(total, 0.5), where=weights[:, None] > 0)
    return colors, seen


def pixels_at(
    views: AnyViews, index: Int[np.ndarray, " n"], rows: Int[np.ndarray, " n"], columns: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "n d"]:
    """Return the pixels of views `index` at rows and columns."""
    if isinstance(views, Views):
        found: np.ndarray = views.images[index, rows, columns]
        return found
    found = np.empty((len(index), views.channels), dtype=np.float32)
    for number in np.unique(index):
        of = index == number
        found[of] = views.images[number][rows[of], columns[of]]
    return found
