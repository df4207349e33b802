"""Several pictures in one: contact sheets, and the planes of an atlas."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from gatlas.types import LOG_SCALE_RANGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float

    from gatlas.types import Atlas


def contact_sheet(
    images: Float[np.ndarray, "c _ _ d"] | Sequence[Float[np.ndarray, "_ _ d"]],
) -> Float[np.ndarray, "rows columns d"]:
    """All pictures in one, row by row, in a grid that is nearly square and has the fewest empty places.

    Smaller pictures are in the middle of their places.
    """
    if len({image.shape for image in images}) > 1:
        images = _padded(images)
    count, (height, width, channels) = len(images), images[0].shape
    columns = min(
        range(math.ceil(math.sqrt(count)), min(count, 2 * math.ceil(math.sqrt(count))) + 1),
        key=lambda wide: (-count % wide, wide),
    )
    rows = -(-count // columns)
    sheet = np.zeros((rows * columns, height, width, channels), dtype=images[0].dtype)
    if channels == 3:
        sheet[count:] = 1.0
    sheet[:count] = np.asarray(images)
    grid = sheet.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    return grid.reshape(rows * height, columns * width, channels)


def _padded(
    images: Float[np.ndarray, "c _ _ d"] | Sequence[Float[np.ndarray, "_ _ d"]],
) -> list[Float[np.ndarray, "h w d"]]:
    """Pictures of several sizes in the middle of equal ones: white, or transparent where they have alpha."""
    height, width = (max(image.shape[i] for image in images) for i in range(2))
    padded = []
    for image in images:
        place = np.full((height, width, image.shape[2]), float(image.shape[2] == 3), dtype=image.dtype)
        top, left = (height - image.shape[0]) // 2, (width - image.shape[1]) // 2
        place[top : top + image.shape[0], left : left + image.shape[1]] = image
        padded.append(place)
    return padded


def atlas_picture(atlas: Atlas, side: int = 384) -> Float[np.ndarray, "h w 3"]:
    """The planes side by side, as the paper's figures show them: offset, color, opacity, scale, rotation (numpy).

    Each plane is enlarged by whole cells to at least `side` pixels. Offsets and the quaternion's vector part go from
    -1 to 1, log-scales over their range, from black to white.
    """
    low, high = LOG_SCALE_RANGE
    planes = [
        (atlas.offset + 1) / 2,
        atlas.color,
        np.repeat(atlas.opacity, 3, axis=-1),
        (atlas.scale - low) / (high - low),
        (atlas.rotation[..., 1:] + 1) / 2,
    ]
    cell = max(1, -(-side // atlas.size))
    large = [np.clip(plane, 0.0, 1.0).repeat(cell, axis=0).repeat(cell, axis=1) for plane in planes]
    gap = np.ones((large[0].shape[0], max(2, side // 48), 3), dtype=np.float32)
    row = [part for plane in large for part in (plane, gap)][:-1]
    return np.concatenate(row, axis=1).astype(np.float32)
