"""Pictures of an object, cut so that it stands in their middle at one size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gatlas.images.composite import composite
from gatlas.images.window import window

if TYPE_CHECKING:
    from jaxtyping import Float, Float32

FAINT = 0.1  # alpha up to which a pixel of soft edges counts as background
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


def on_white(
    picture: Float[np.ndarray, "h w 4"], side: int, *, share: float = SHARE, shift: tuple[float, float] = (0.0, 0.0)
) -> Float32[np.ndarray, "side side 3"]:
    """Return the object on white, in the middle, its longer side `share` of the picture's.

    It is moved to the right and down by `shift`, in sides. A picture that shows nothing is white.
    """
    alpha = picture[..., 3]
    if not alpha.any():
        return np.ones((side, side, 3), dtype=np.float32)
    visible = np.concatenate([picture[..., :3], (alpha > FAINT * alpha.max())[..., None]], axis=-1)
    left, top, right, bottom = _visible_box(visible)
    extent = max(right - left, bottom - top) / share
    x, y = (left + right) / 2 - shift[0] * extent, (top + bottom) / 2 - shift[1] * extent
    around = (x - extent / 2, y - extent / 2, x + extent / 2, y + extent / 2)
    return composite(window(picture, around, side, side), 1.0).astype(np.float32)


def _visible_box(picture: Float[np.ndarray, "h w 4"]) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the pixels that are not wholly transparent."""
    rows, columns = (np.flatnonzero((picture[..., 3] > 0).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        raise ValueError("a picture has no visible pixel")
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
