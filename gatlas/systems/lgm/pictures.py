"""Photos as the network sees them: square, over white, of one field of view with the principal point in the middle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.geometry.cameras import intrinsics
from gatlas.geometry.rays import plucker, rays
from gatlas.images.composite import composite
from gatlas.images.window import window
from gatlas.systems.lgm.frame import ObjectFrame, object_frame
from gatlas.types import Cameras

if TYPE_CHECKING:
    from jaxtyping import Float, Float32

    from gatlas.systems.contract import Photo
    from gatlas.systems.lgm.config import LgmSystemConfig

WHITE = 1.0


class ObjectViews(NamedTuple):
    """The views of one object that the network is given."""

    images: Float32[np.ndarray, "v s s 3"]  # sRGB-encoded, [0, 1]
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
    frame = object_frame(viewmats, config.distance)
    Ks = np.tile(K, (len(photos), 1, 1))
    return ObjectViews(images, Cameras(viewmats, Ks, config.side, config.side), frame)


def ray_maps(viewmats: Float[np.ndarray, "v 4 4"], Ks: Float[np.ndarray, "v 3 3"], side: int) -> np.ndarray:
    """Return the Plücker coordinates (v 6 side side, float32) of the pixels of cameras in the network's frame."""
    origins, directions = rays(Cameras(viewmats, Ks, side, side))
    return np.moveaxis(plucker(origins[:, None, None], directions), -1, 1).astype(np.float32)


def cut_to(
    image: Float[np.ndarray, "h w d"], own: Float[np.ndarray, "3 3"], K: Float[np.ndarray, "3 3"], side: int
) -> Float32[np.ndarray, "s s 4"]:
    """Return a picture of intrinsics `own` as one of intrinsics K, straight RGBA, by a shift and a stretch of each
    axis. The principal point of K is in the middle."""
    (fx, _, cx), (_, fy, cy), _ = np.asarray(own, dtype=np.float64)
    half_x, half_y = 0.5 * side * fx / K[0, 0], 0.5 * side * fy / K[1, 1]
    return window(image, (cx - half_x, cy - half_y, cx + half_x, cy + half_y), side, side)
