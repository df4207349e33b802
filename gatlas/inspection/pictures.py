"""A small picture of what a file holds, for people."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from gatlas import io
from gatlas.errors import GatlasError

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

    from gatlas.inspection.findings import Inspection

MOST_GAUSSIANS = 500_000  # of a splat that is drawn: a larger one takes long, and more memory than its facts
MOST_BYTES = 100_000_000  # of another file that is read a second time


def small_picture(found: Inspection, side: int) -> Float[np.ndarray, "h w d"] | None:
    """Return a picture of the file that `found` is of: at most `side` pixels wide and high, RGBA of objects.

    None where it is of a kind that has no picture, too large to draw at once, or cannot be drawn.
    """
    if found.name == "standard input" or found.facts.get("Gaussians", 0) > MOST_GAUSSIANS:
        return None
    if found.kind != "splat" and found.facts.get("bytes", 0) > MOST_BYTES:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are among the notes
        try:
            return _picture(found, side)
        except GatlasError:  # whose reason is among the findings
            return None


def _picture(found: Inspection, side: int) -> Float[np.ndarray, "h w d"] | None:
    if found.kind == "image":
        from gatlas.images.resize import reduce_picture

        image = io.load_image(found.name)
        share = min(1.0, side / max(image.shape[:2]))
        return reduce_picture(image, *(max(1, round(share * image.shape[axis])) for axis in (1, 0)))
    subject = _subject(found)
    if subject is None:
        return None
    from gatlas.render import RenderOptions, render

    views = render(subject, RenderOptions(width=side, background="transparent", device="cpu"))
    picture: Float[np.ndarray, "h w d"] = views.images[0]
    return picture


def _subject(found: Inspection) -> Any:
    """Return the Gaussians or the mesh of a file; None for other kinds."""
    if found.kind == "splat":
        return io.load_gaussians(found.name, drop_invalid=True)
    if found.kind == "mesh":
        return io.load_mesh(found.name)
    if found.kind == "atlas":
        from gatlas.atlas import decode

        return decode(io.load_atlas(found.name))
    return None
