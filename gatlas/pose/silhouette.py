"""Initial cameras for a photo with a known mask but few features: the renders whose small pictures are most like it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.geometry.cameras import resized
from gatlas.raster import rasterize
from gatlas.types import Cameras

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.types import Gaussians

SIDE = 64  # pixels of the longer side of a small render
CROP_SIDE = 32  # pixels of the pictures that are compared
CROP_RADIUS = 2.2  # half the crop's side, relative to sqrt(silhouette area / pi)
ROLLS = (-20.0, 0.0, 20.0)  # degrees about the optical axis
MIN_ANGLE = 10.0  # degrees between two starts
MIN_PIXELS = 9  # smaller silhouettes are left out


class Silhouettes(NamedTuple):
    """Small pictures of a scene from many sides."""

    viewmats: Float[np.ndarray, "c 4 4"]
    crops: Float[np.ndarray, "c 32 32 4"]  # premultiplied colors and alpha, about the silhouette's center
    centers: Float[np.ndarray, "c 2"]  # of the silhouette, in normalized camera coordinates: x / z, y / z
    areas: Float[np.ndarray, " c"]  # of the silhouette, in the same units squared
    target: Float[np.ndarray, " 3"]  # the scene's center, world units


def make_silhouettes(gaussians: Gaussians, cameras: Cameras, target: Float[np.ndarray, " 3"]) -> Silhouettes:
    """Return small renders of the scene (numpy) from each camera with each roll, without cameras that see nothing."""
    longer = max(cameras.width, cameras.height)
    width, height = (max(16, round(side * SIDE / longer)) for side in (cameras.width, cameras.height))
    viewmats = np.concatenate([_roll(angle) @ np.asarray(cameras.viewmats, dtype=np.float64) for angle in ROLLS])
    Ks = np.tile(resized(cameras, width, height).Ks, (len(ROLLS), 1, 1))
    colors, alphas, _ = rasterize(gaussians, Cameras(viewmats, Ks, width, height))
    crops = [_crop(color, alpha[..., 0], K) for color, alpha, K in zip(colors, alphas, Ks, strict=True)]
    visible = [i for i, crop in enumerate(crops) if crop is not None]
    present = [crop for crop in crops if crop is not None]
    return Silhouettes(
        viewmats[visible],
        np.array([crop[0] for crop in present], dtype=np.float32).reshape(-1, CROP_SIDE, CROP_SIDE, 4),
        np.array([crop[1] for crop in present]).reshape(-1, 2),
        np.array([crop[2] for crop in present]),
        np.asarray(target, dtype=np.float64),
    )


def silhouette_starts(
    silhouettes: Silhouettes,
    photo: Float[np.ndarray, "h w 3"],
    mask: Float[np.ndarray, "h w"],
    K: Float[np.ndarray, "3 3"],
    *,
    count: int = 8,
) -> Float[np.ndarray, "s 4 4"]:
    """Return up to `count` cameras, 10 degrees apart or more, whose small picture is most like the photo, best first.

    Colors and alpha are compared in crops about the silhouette's center, scaled by its size; center and area then give
    the camera's direction and distance. Errors are some 10 or 20 degrees, or the camera is on the object's other side.
    """
    found = _crop(photo * mask[..., None], mask, np.asarray(K, dtype=np.float64))
    if found is None or len(silhouettes.areas) == 0:
        return np.zeros((0, 4, 4))
    crop, center, area = found
    costs = ((silhouettes.crops - crop) ** 2).mean(axis=(1, 2, 3))
    chosen: list[int] = []
    for i in np.argsort(costs, kind="stable"):
        rotations = silhouettes.viewmats[chosen][:, :3, :3] @ silhouettes.viewmats[i][:3, :3].T
        cosines = (np.trace(rotations, axis1=1, axis2=2) - 1) / 2
        if (cosines < np.cos(np.radians(MIN_ANGLE))).all():
            chosen.append(int(i))
        if len(chosen) == count:
            break
    return np.array([_aligned(silhouettes, i, center, area) for i in chosen]).reshape(-1, 4, 4)


def _aligned(
    silhouettes: Silhouettes, index: int, center: Float[np.ndarray, " 2"], area: float
) -> Float[np.ndarray, "4 4"]:
    """Return the camera rotated and moved so that its silhouette has the photo's center and area.

    The camera sees the object from the same side: it rotates about its own center when the silhouette's center moves.
    """
    viewmat = silhouettes.viewmats[index]
    aim = _rotation_between(np.append(silhouettes.centers[index], 1.0), np.append(center, 1.0))
    moved = viewmat.copy()
    moved[:3, :3] = aim @ viewmat[:3, :3]
    local = viewmat[:3, :3] @ silhouettes.target + viewmat[:3, 3]
    # The area is proportional to the inverse square of the distance.
    moved[:3, 3] = aim @ local * np.sqrt(silhouettes.areas[index] / area) - moved[:3, :3] @ silhouettes.target
    return moved


def _crop(
    premultiplied: Float[np.ndarray, "h w 3"], alpha: Float[np.ndarray, "h w"], K: Float[np.ndarray, "3 3"]
) -> tuple[Float[np.ndarray, "32 32 4"], Float[np.ndarray, " 2"], float] | None:
    """Return the picture about its silhouette, and the silhouette's center and area in normalized coordinates."""
    total = float(alpha.sum())
    if not total >= MIN_PIXELS:
        return None
    height, width = alpha.shape
    x = float(alpha.sum(axis=0) @ (np.arange(width) + 0.5)) / total
    y = float(alpha.sum(axis=1) @ (np.arange(height) + 0.5)) / total
    half = CROP_RADIUS * np.sqrt(total / np.pi)
    crop = _resample(np.concatenate([premultiplied, alpha[..., None]], axis=-1), x, y, half)
    center = np.array([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1]])
    return crop, center, total / (K[0, 0] * K[1, 1])


def _resample(picture: Float[np.ndarray, "h w d"], x: float, y: float, half: float) -> Float[np.ndarray, "32 32 d"]:
    """Return the square of half side `half` about (x, y) as 32 x 32 means of the covered pixels; black outside."""
    for axis, middle in ((0, y), (1, x)):
        size = picture.shape[axis]
        edges = middle + half * np.linspace(-1, 1, CROP_SIDE + 1)
        # The integral of a row of pixels is linear between their edges.
        integral = np.concatenate(
            [np.zeros_like(picture.take([0], axis=axis)), picture.cumsum(axis=axis, dtype=np.float64)], axis=axis
        )
        position = np.clip(edges, 0, size)
        low = np.minimum(position.astype(int), size - 1)
        share = (position - low).reshape([-1 if i == axis else 1 for i in range(3)])
        cumulative = integral.take(low, axis=axis) * (1 - share) + integral.take(low + 1, axis=axis) * share
        picture = np.diff(cumulative, axis=axis) / (edges[1] - edges[0])
    return picture.astype(np.float32)


def _rotation_between(first: Float[np.ndarray, " 3"], second: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "3 3"]:
    """Return the smallest rotation of one direction onto another in the same half space."""
    a, b = first / np.linalg.norm(first), second / np.linalg.norm(second)
    x, y, z = np.cross(a, b)
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + skew + skew @ skew / (1 + a @ b)


def _roll(degrees: float) -> Float[np.ndarray, "4 4"]:
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.eye(4)
    matrix[:2, :2] = [[cosine, -sine], [sine, cosine]]
    return matrix
