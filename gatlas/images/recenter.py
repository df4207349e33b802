"""Pictures of an object, cut so that it stands in their middle at one size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gatlas.images.window import window

if TYPE_CHECKING:
    from jaxtyping import Float, Float32

SHARE = 0.8  # of a picture's side, that the object's longer side has; LGM's and ImageDream's preparation


def recentered(
    pictures: Sequence[Float[np.ndarray, "h w 4"]], *, share: float = SHARE
) -> list[Float32[np.ndarray, "s s 4"]]:
    """Return square pictures with the box around each picture's visible pixels in the middle.

    The longest side of all boxes becomes `share` of the picture's side, which is the longer one of the picture: views
    of one object keep their sizes relative to each other. Each must have a visible pixel.
    """
    boxes = [_visible_box(picture) for picture in pictures]
    extent = max(max(right - left, bottom - top) for left, top, right, bottom in boxes) / share
    cut = []
    for picture, (left, top, right, bottom) in zip(pictures, boxes, strict=True):
        x, y, side = (left + right) / 2, (top + bottom) / 2, max(picture.shape[:2])
        around = (x - extent / 2, y - extent / 2, x + extent / 2, y + extent / 2)
        cut.append(window(picture, around, side, side))
    return cut


def _visible_box(picture: Float[np.ndarray, "h w 4"]) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the pixels that are not wholly transparent."""
    rows, columns = (np.flatnonzero((picture[..., 3] > 0).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        raise ValueError("a picture has no visible pixel")
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
