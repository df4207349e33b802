"""Smaller pictures and views, by exact area averages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.geometry.cameras import resized
from gatlas.images.composite import straight_alpha
from gatlas.types import AnyCameras, AnyViews, MixedCameras, MixedViews, Views, join_cameras

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Float, Float32


def reduced_size(width: int, height: int, side: int) -> tuple[int, int]:
    """Return width and height with the longer side at most `side` pixels and the shape kept; never enlarged."""
    if side < 1:
        raise ValueError(f"side must be >= 1 pixel, got {side}")
    longer = max(width, height)
    if longer <= side:
        return width, height
    return max(1, round(width * side / longer)), max(1, round(height * side / longer))


def reduce_picture(picture: Float[np.ndarray, "h w d"], width: int, height: int) -> Float[np.ndarray, "h2 w2 d"]:
    """Return the picture at a smaller size: each pixel is the mean of the area it covers, colors weighed by alpha.

    The mean is over the stored sRGB values, as Gaussians too are blended in them. Straight RGBA in and out.
    """
    if picture.shape[1] == width and picture.shape[0] == height:
        return np.asarray(picture, dtype=np.float32)
    rows, columns = _shares(picture.shape[0], height), _shares(picture.shape[1], width)

    def averaged(channels: Float[np.ndarray, "h w k"]) -> Float[np.ndarray, "h2 w2 k"]:
        return np.stack([rows @ channels[..., i] @ columns.T for i in range(channels.shape[2])], axis=-1)

    if picture.shape[2] == 3:
        return averaged(picture)
    return straight_alpha(averaged(picture[..., :3] * picture[..., 3:]), averaged(picture[..., 3:]))


def join_views(images: Sequence[Float[np.ndarray, "_ _ _"]], cameras: AnyCameras) -> AnyViews:
    """Return pictures with their cameras; where some have transparency, the others become opaque RGBA (float32)."""
    depth = max(image.shape[2] for image in images)
    if isinstance(cameras, MixedCameras):
        return MixedViews(tuple(_of_depth(image, depth) for image in images), cameras)
    joined = np.ones((len(images), cameras.height, cameras.width, depth), dtype=np.float32)
    for place, image in zip(joined, images, strict=True):
        place[:, :, : image.shape[2]] = image
    return Views(joined, cameras)


def map_views(views: MixedViews, change: Callable[[Views], AnyViews]) -> AnyViews:
    """Return each view changed on its own."""
    changed = [change(view) for view in views]
    viewmats, Ks = (np.concatenate([getattr(each.cameras, name) for each in changed]) for name in ("viewmats", "Ks"))
    cameras = join_cameras(viewmats, Ks, [size for each in changed for size in each.cameras.sizes])
    return join_views([each.images[0] for each in changed], cameras)


def _of_depth(image: Float[np.ndarray, "h w _"], depth: int) -> Float32[np.ndarray, "h w _"]:
    whole = np.ones((*image.shape[:2], depth), dtype=np.float32)
    whole[:, :, : image.shape[2]] = image
    return whole


def resize_views(views: AnyViews, side: int) -> AnyViews:
    """Return the views with the longer side of each at most `side` pixels (numpy), never enlarged.

    The focal lengths and the principal point follow the pictures.
    """
    if isinstance(views, MixedViews):
        return map_views(views, lambda view: resize_views(view, side))
    cameras = views.cameras
    width, height = reduced_size(cameras.width, cameras.height, side)
    if (width, height) == (cameras.width, cameras.height):
        return views
    images = np.stack([reduce_picture(image, width, height) for image in views.images])
    return Views(images, resized(cameras, width, height))


def _shares(before: int, after: int) -> Float[np.ndarray, "after before"]:
    """Return the share of each new pixel that each old one makes up; the rows sum to 1."""
    if after > before:
        raise ValueError(f"a picture is only ever reduced: from {before} pixels a side, got {after}")
    edges = np.arange(after + 1) * (before / after)
    start, stop = edges[:-1, None], edges[1:, None]
    index = np.arange(before)
    overlap = np.minimum(stop, index + 1) - np.maximum(start, index)
    return (np.maximum(overlap, 0.0) * (after / before)).astype(np.float32)
