"""A photo as it is looked for in a scene: at the size of the bank's pictures, and cut out where that can be told."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.ndimage import binary_closing, label

from gatlas.images.composite import composite, masked
from gatlas.images.resize import reduce_picture
from gatlas.pose.bank import BACKGROUND, working_size
from gatlas.pose.compare import cut_out

if TYPE_CHECKING:
    from jaxtyping import Float, Float32

PLAIN = 0.06  # of [0, 1]: a colour farther from the border's than this is the object's
UNEVEN = 0.15  # a border less even than this is no plain background


class Prepared(NamedTuple):
    """A photo at the size that is worked with."""

    picture: Float32[np.ndarray, "h w 3"]  # over the bank's background where the mask is known
    mask: Float32[np.ndarray, "h w"] | None  # of the object; None where it is not known
    K: Float[np.ndarray, "3 3"]
    stretch: Float[np.ndarray, " 2"]  # pixels here per pixel of the photo, x and y
    uncut: Float32[np.ndarray, "h w 3"] | None  # as it was given, where the mask is only guessed and may have holes


def prepare(
    photo: Float[np.ndarray, "h w d"],
    K: Float[np.ndarray, "3 3"],
    mask: Float[np.ndarray, "h w"] | None,
    side: int,
) -> Prepared:
    """The photo with its longer side at most `side` pixels, its mask and its K."""
    if photo.ndim != 3 or photo.shape[2] not in (3, 4) or min(photo.shape[:2]) < 16:
        raise ValueError(f"photo must have shape [h w 3] or [h w 4] and 16 pixels a side, got {list(photo.shape)}")
    height, width = photo.shape[:2]
    picture = cut_out(photo, mask)
    size = working_size(width, height, side) if side < max(width, height) else (width, height)
    picture = reduce_picture(picture, *size)
    stretch = np.array([size[0] / width, size[1] / height])
    scaled = np.asarray(K, dtype=np.float64) * np.array([[stretch[0]], [stretch[1]], [1.0]])
    if picture.shape[2] == 3:
        found = plain_mask(picture)
        if found is None:
            return Prepared(picture, None, scaled, stretch, None)
        return Prepared(composite(masked(picture, found), BACKGROUND), found, scaled, stretch, picture)
    return Prepared(composite(picture, BACKGROUND), picture[..., 3], scaled, stretch, None)


def plain_mask(photo: Float[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w"] | None:
    """Where the photo differs from its border, 1 or 0, if the border is nearly one colour, as in a studio; else None.

    Nine tenths of the border say how even it is. Narrow gaps are closed and pieces under a hundredth of the largest are
    left out. None too where nothing or nearly all of the photo is the object.
    """
    border = np.concatenate([photo[0], photo[-1], photo[:, 0], photo[:, -1]])
    color = np.median(border, axis=0)
    uneven = float(np.quantile(np.abs(border - color).max(axis=1), 0.9))
    if uneven > UNEVEN:
        return None
    differs = np.abs(photo - color).max(axis=-1) > max(PLAIN, 1.5 * uneven)
    closed = binary_closing(np.pad(differs, 4), iterations=3)[4:-4, 4:-4] | differs
    pieces, count = label(closed)
    if count == 0:
        return None
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    mask = (sizes >= 0.01 * sizes.max())[pieces]
    return mask.astype(np.float32) if mask.sum() < 0.95 * mask.size else None
