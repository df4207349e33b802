"""Photos as the network sees them: square, over white, of one field of view with the principal point in the middle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.ndimage import maximum_filter, minimum_filter

from gatlas.errors import GatlasError
from gatlas.geometry.cameras import intrinsics
from gatlas.images.composite import composite
from gatlas.images.window import window
from gatlas.systems.lgm.frame import ObjectFrame, object_frame
from gatlas.types import Cameras

if TYPE_CHECKING:
    from jaxtyping import Float, Float32

    from gatlas.systems.contract import Photo
    from gatlas.systems.lgm.config import LgmSystemConfig

WHITE = 1.0
MIN_INK = 0.02  # opacity, or difference from white, of a pixel that shows something
MIN_EXTENT = 0.1  # of the network's pictures, that an object should be wide or high in one of them
MAX_LOST = 0.05  # share of an object that may lie outside the network's pictures without a message


class ObjectViews(NamedTuple):
    """The views of one object that the network is given."""

    images: Float32[np.ndarray, "v s s 3"]  # sRGB-encoded, [0, 1]
    alphas: Float32[np.ndarray, "v s s"]  # of opaque photos, which are over white, by their difference from it
    cameras: Cameras  # in the world
    frame: ObjectFrame


def network_views(photos: Sequence[Photo], config: LgmSystemConfig) -> ObjectViews:
    """Return photos with cameras as the network sees them; cameras that do not look at one object are a GatlasError.

    A photo is cut, or gets a white margin, until it has the network's field of view: what its pixels show, and the
    positions of the cameras, stay as they are.
    """
    viewmats = np.stack([np.asarray(photo.viewmat, dtype=np.float64) for photo in photos])
    K = intrinsics(config.side, config.side, config.view_fov)
    cuts = [cut_to(photo.image, photo.K, K, config.side) for photo in photos]
    images = np.stack([np.asarray(composite(cut, WHITE), dtype=np.float32) for cut in cuts])
    shown = zip(photos, images, cuts, strict=True)
    alphas = np.stack(
        [_alpha_over_white(image) if is_opaque(photo.image) else cut[..., 3] for photo, image, cut in shown]
    )
    frame = object_frame(viewmats, config.distance, [photo.name for photo in photos])
    Ks = np.tile(K, (len(photos), 1, 1))
    return ObjectViews(images, alphas, Cameras(viewmats, Ks, config.side, config.side), frame)


def cut_to(
    image: Float[np.ndarray, "h w d"], own: Float[np.ndarray, "3 3"], K: Float[np.ndarray, "3 3"], side: int
) -> Float32[np.ndarray, "s s 4"]:
    """Return a picture of intrinsics `own` as one of intrinsics K, straight RGBA, by a shift and a stretch of each
    axis. The principal point of K is in the middle."""
    return window(image, _box(own, K, side), side, side)


def _alpha_over_white(image: Float[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w"]:
    """Return the alpha of a picture over white: at the outline the share of a neighbor's difference from white."""
    ink = 1 - image.min(axis=-1)
    outline = minimum_filter(ink, 3) < MIN_INK
    share = ink / np.maximum(maximum_filter(ink, 3), MIN_INK)
    return np.where(outline, share, 1.0).astype(np.float32) * (ink >= MIN_INK)


def badly_shown(photos: Sequence[Photo], config: LgmSystemConfig) -> list[str]:
    """Return a message where the network's pictures cut the object or hardly show it; not at all is a GatlasError."""
    K = intrinsics(config.side, config.side, config.view_fov)
    fits = [_fit(photo, _box(photo.K, K, config.side)) for photo in photos]
    lost, extents = ([fit[i] for fit in fits] for i in range(2))
    most = int(np.argmax(lost))
    if lost[most] > MAX_LOST:
        return [
            f"{photos[most].name}: {100 * lost[most]:.0f}% of the object lies outside the network's field of view of "
            f"{config.view_fov:g} degrees and is cut off: take the views from farther away"
        ]
    if max(extents) < MIN_EXTENT:
        return [
            f"{photos[0].name}: the object fills {100 * max(extents):.2g}% of the network's field of view of "
            f"{config.view_fov:g} degrees, too little to see it: take views from nearer, or correct the focal length"
        ]
    return []


def _fit(photo: Photo, box: tuple[float, float, float, float]) -> tuple[float, float]:
    """Return the share of what a photo shows that is outside a box, and its width or height, relative to the box.

    Nothing inside is a GatlasError.
    """
    image = photo.image
    ink = 1 - image[..., :3].min(axis=-1) if is_opaque(image) else image[..., 3]
    if not (shown := ink >= MIN_INK).any():
        raise GatlasError(f"{photo.name}: shows nothing: it is all white or transparent")
    left, top, right, bottom = box
    (y, x), (height, width) = np.nonzero(shown), ink.shape
    # By the pixels' areas: the box may be smaller than one of them.
    inside = (x + 1 > left) & (x < right) & (y + 1 > top) & (y < bottom)
    if not inside.any():
        raise GatlasError(
            f"{photo.name}: the object is outside the network's field of view about its camera's axis: correct its "
            f"focal length and center (in pixels of {width} x {height}) or its direction"
        )
    centers = (x + 0.5 >= left) & (x + 0.5 <= right) & (y + 0.5 >= top) & (y + 0.5 <= bottom)
    weights = ink[y, x].astype(np.float64)
    extent = max((np.ptp(x) + 1) / (right - left), (np.ptp(y) + 1) / (bottom - top))
    return 1 - float(weights[centers].sum() / weights.sum()), float(extent)


def is_opaque(image: Float[np.ndarray, "h w d"]) -> bool:
    """Return True for a picture without transparency."""
    return image.shape[-1] == 3 or bool((image[..., 3] >= 1).all())


def _box(own: Float[np.ndarray, "3 3"], K: Float[np.ndarray, "3 3"], side: int) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom, in pixels of a picture of intrinsics `own`, of what a picture of K shows."""
    (fx, _, cx), (_, fy, cy), _ = np.asarray(own, dtype=np.float64)
    half_x, half_y = 0.5 * side * fx / K[0, 0], 0.5 * side * fy / K[1, 1]
    return cx - half_x, cy - half_y, cx + half_x, cy + half_y
