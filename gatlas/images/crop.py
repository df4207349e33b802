"""Photos of any size and shape, cut to the one that a network takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from gatlas.images.composite import composite
from gatlas.images.srgb import to_bytes

if TYPE_CHECKING:
    from jaxtyping import Float


def cover(
    picture: Float[np.ndarray, "h w d"],
    K: Float[np.ndarray, "3 3"],
    width: int,
    height: int,
    *,
    background: float = 0.0,
) -> tuple[Float[np.ndarray, "height width 3"], Float[np.ndarray, "3 3"]]:
    """Return the middle of a picture, resized (Lanczos) to just cover `width` x `height`, and its intrinsics.

    K has its first row divided by the width and its second by the height, here and in the result. Straight RGBA is put
    on a gray background; black is what a scene's pictures have where there is nothing.
    """
    rows, columns = picture.shape[:2]
    picture = composite(picture, background)
    scale = max(width / columns, height / rows)
    wide, high = max(width, round(columns * scale)), max(height, round(rows * scale))
    if (wide, high) != (columns, rows):
        pixels = Image.fromarray(to_bytes(picture))
        picture = np.asarray(pixels.resize((wide, high), Image.Resampling.LANCZOS), dtype=np.float32) / 255
    left, top = (wide - width) // 2, (high - height) // 2
    cut = np.ascontiguousarray(picture[top : top + height, left : left + width], dtype=np.float32)
    moved = np.array(K, dtype=np.float64)
    moved[0] = (moved[0] * wide - np.array([0.0, 0.0, left])) / width
    moved[1] = (moved[1] * high - np.array([0.0, 0.0, top])) / height
    return cut, moved
