"""Preparation of a photo for the search: at the size of the bank's renders, with a mask where one is known or found."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.ndimage import binary_closing, label

from gatlas.images.composite import composite, masked
from gatlas.images.resize import reduce_picture
from gatlas.pose.bank import BACKGROUND, working_size
from gatlas.pose.compare import with_mask

if TYPE_CHECKING:
    from jaxtyping import Float, Float32

MIN_CONTRAST = 0.06  # of [0, 1]: colors farther from the border's than this belong to the object
MAX_BORDER_SPREAD = 0.15  # of [0, 1]: a border with larger differences is no plain background


class PreparedPhoto(NamedTuple):
    """A photo at the size at which its camera is searched."""

    picture: Float32[np.ndarray, "h w 3"]  # over the bank's background where the mask is known
    mask: Float32[np.ndarray, "h w"] | None  # of the object; None: unknown
    K: Float[np.ndarray, "3 3"]
    stretch: Float[np.ndarray, " 2"]  # pixels here per pixel of the photo, x and y
    uncut: Float32[np.ndarray, "h w 3"] | None  # without the mask, where that is only estimated and may have holes


def prepare_photo(
    photo: Float[np.ndarray, "h w d"],
    K: Float[np.ndarray, "3 3"],
    mask: Float[np.ndarray, "h w"] | None,
    side: int,
) -> PreparedPhoto:
    """Return the photo with its longer side at most `side` pixels, its mask and its K."""
    if photo.ndim != 3 or photo.shape[2] not in (3, 4) or min(photo.shape[:2]) < 16:
        raise ValueError(
            f"photo must have shape [h w 3] or [h w 4] and at least 16 pixels per side, got {list(photo.shape)}"
        )
    height, width = photo.shape[:2]
    picture = with_mask(photo, mask)
    size = working_size(width, height, side) if side < max(width, height) else (width, height)
    picture = reduce_picture(picture, *size)
    stretch = np.array([size[0] / width, size[1] / height])
    scaled = np.asarray(K, dtype=np.float64) * np.array([[stretch[0]], [stretch[1]], [1.0]])
    if picture.shape[2] == 3:
        found = plain_mask(picture)
        if found is None:
            return PreparedPhoto(picture, None, scaled, stretch, None)
        return PreparedPhoto(composite(masked(picture, found), BACKGROUND), found, scaled, stretch, picture)
    return PreparedPhoto(composite(picture, BACKGROUND), picture[..., 3], scaled, stretch, None)


def plain_mask(photo: Float[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w"] | None:
    """Return a mask (1 or 0) of what differs from the photo's border where that is nearly one color; else None.

    The border's spread is the ninth decile of its differences from the median. Narrow gaps are closed, and pieces
    smaller than a hundredth of the largest are left out. None too where the mask is empty or nearly the whole photo.
    """
    border = np.concatenate([photo[0], photo[-1], photo[:, 0], photo[:, -1]])
    color = np.median(border, axis=0)
    spread = float(np.quantile(np.abs(border - color).max(axis=1), 0.9))
    if spread > MAX_BORDER_SPREAD:
        return None
    differs = np.abs(photo - color).max(axis=-1) > max(MIN_CONTRAST, 1.5 * spread)
    closed = binary_closing(np.pad(differs, 4), iterations=3)[4:-4, 4:-4] | differs
    pieces, count = label(closed)
    if count == 0:
        return None
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    mask = (sizes >= 0.01 * sizes.max())[pieces]
    return mask.astype(np.float32) if mask.sum() < 0.95 * mask.size else None
