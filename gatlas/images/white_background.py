"""Opaque pictures of an object over white, cut out of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.images.resize import map_views
from gatlas.types import MixedViews, Views

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32

    from gatlas.types import AnyViews

WHITE = 0.97  # from here on, in every channel, a pixel may be background; the darkest of JPEG's whites


def cut_from_white(image: Float[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 4"]:
    """Return straight RGBA whose alpha is 0 in the white that reaches the picture's edge; over white it is the same.

    Pixels beside that background are mixtures: their alpha is their share of the least white color next to them. White
    that the object encloses stays opaque, as does a picture without white edges.
    """
    from scipy.ndimage import binary_dilation

    image = np.asarray(image, dtype=np.float32)
    behind = _background(image)
    alpha = np.where(behind, 0.0, 1.0).astype(np.float32)
    rim = ~behind & binary_dilation(behind, np.ones((3, 3), dtype=bool))
    darkness = 1.0 - image  # of what is mixed with white, it is the share times that of the color
    full = _darkest_neighbor(np.where(behind[..., None], 0.0, darkness))
    share = (darkness * full).sum(axis=-1) / np.maximum((full**2).sum(axis=-1), 1e-6)
    alpha[rim] = np.clip(np.maximum(share, darkness.max(axis=-1)), 1e-3, 1.0)[rim]
    straight = 1.0 - darkness / np.maximum(alpha, 1e-3)[..., None]
    colors = np.where(rim[..., None], np.clip(straight, 0.0, 1.0), image)
    return np.concatenate([colors, alpha[..., None]], axis=-1, dtype=np.float32)


def cut_views_from_white(views: AnyViews) -> AnyViews:
    """Return RGB views as straight RGBA, each picture by `cut_from_white`."""
    if isinstance(views, MixedViews):
        return map_views(views, cut_views_from_white)
    return Views(np.stack([cut_from_white(image) for image in views.images]), views.cameras)


def _background(image: Float32[np.ndarray, "h w 3"]) -> Bool[np.ndarray, "h w"]:
    """Return True for white pixels that are connected to the picture's edge."""
    from scipy.ndimage import label

    regions, _ = label((image >= WHITE).all(axis=-1))
    edges = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    return np.isin(regions, edges[edges > 0])


def _darkest_neighbor(darkness: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
    """Return, for each pixel, the one of the nine around it that is farthest from white."""
    height, width, _ = darkness.shape
    padded = np.pad(darkness, ((1, 1), (1, 1), (0, 0)))
    around = np.stack([padded[y : y + height, x : x + width] for y in range(3) for x in range(3)])
    farthest = around.sum(axis=-1).argmax(axis=0)
    return np.take_along_axis(around, farthest[None, ..., None], axis=0)[0]
