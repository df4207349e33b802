"""The choice, for photos with an EXIF turn, between the pixels as stored and as people see them.

Cameras are of the stored pixels, as COLMAP's are, unless the width and height that their file states say otherwise.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

from gatlas.io.images import UPRIGHT, PictureHeader

KEY = "exif_turned"  # in a transforms.json: true where the cameras are of the turned photos, false where they are not
JSON_HINT = f' (if they are of the turned photos, write "{KEY}": true into the file)'


class TurnEvidence(NamedTuple):
    """Knowledge of one photo and of the camera that a file gives it."""

    name: str
    header: PictureHeader
    fits_stored: bool  # the file's width and height are those of the stored pixels
    fits_turned: bool  # … or those after the turn
    stated: bool | None = None  # by the file itself; None: it does not say


def choose_turns(index: str, photos: Sequence[TurnEvidence], hint: str = "") -> list[bool]:
    """Return for each photo whether its EXIF turn is to be applied. `index` is the file that has the cameras.

    Where width and height fit both ways (a half turn, a square photo), the photo is read as those are whose size
    decides; where none decides, as stored. One warning says which was taken; `hint` says how to have it otherwise.
    """
    turns: list[bool | None] = [_decided(photo) for photo in photos]
    decided = {turned for turned, photo in zip(turns, photos, strict=True) if photo.header.orientation != UPRIGHT}
    taken = decided - {None} == {True}
    open_ones = [photo for turned, photo in zip(turns, photos, strict=True) if turned is None]
    if open_ones:
        first, count = open_ones[0].name, len(open_ones)
        what = first if len(photos) == 1 else f"{count} of {len(photos)} photos (the first is {first})"
        reading = (
            "applied, as the sizes of others say" if taken else f"not applied: cameras are of the stored pixels{hint}"
        )
        warnings.warn(f"{index}: the EXIF turn of {what} is {reading}", stacklevel=3)
    return [taken if turned is None else turned for turned in turns]


def _decided(photo: TurnEvidence) -> bool | None:
    """Return whether to turn a photo; None where both readings are possible."""
    if photo.header.orientation == UPRIGHT:
        return False
    if photo.stated is not None:
        return photo.stated
    if photo.fits_stored and photo.fits_turned:
        return None
    return photo.fits_turned
