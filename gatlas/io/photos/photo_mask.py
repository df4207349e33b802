"""Masks: gray pictures of photos, white where the object is."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from gatlas.errors import GatlasError
from gatlas.images.composite import coverage
from gatlas.io import streams
from gatlas.io.images import UPRIGHT, decode_image, read_header, turn, turn_back

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from jaxtyping import Float

    from gatlas.io.images import PictureHeader


def read_mask(
    name: str | Path, photo: Float[np.ndarray, "h w d"], header: PictureHeader, *, turned: bool
) -> Float[np.ndarray, "h w"]:
    """Return the brightness of the mask of a photo, times its alpha, as the photo's pixels lie.

    `turned` says whether the photo's EXIF turn was applied. A mask whose size shows that it was made of the other
    reading is turned like the photo, or back. Another size is a GatlasError.
    """
    blob = streams.read(name)
    mask = decode_image(blob, upright=turned)
    if header.orientation != UPRIGHT:
        if mask.shape[:2] != photo.shape[:2] and mask.shape[1::-1] == photo.shape[:2]:
            mask = turn(mask, header.orientation) if turned else turn_back(mask, header.orientation)
        elif turned and header.turned_size == header.size and read_header(blob).orientation == UPRIGHT:
            warnings.warn(f"{blob.name}: the mask is taken to be of the photo as its EXIF tag turns it", stacklevel=2)
    if mask.shape[:2] != photo.shape[:2]:
        raise GatlasError(
            f"{blob.name}: the mask has {mask.shape[1]} x {mask.shape[0]} pixels, "
            f"its photo {photo.shape[1]} x {photo.shape[0]}: make it of the photo as it was taken"
        )
    return coverage(mask)
