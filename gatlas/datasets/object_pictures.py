"""Pictures of the objects of a set that a network is shown: from random sides, of the folder or rendered."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from gatlas.geometry.cameras import random_views
from gatlas.images.recenter import SHARE, on_white
from gatlas.images.white_background import cut_from_white
from gatlas.io.photos.transforms import read_views
from gatlas.raster import rasterize, straight_rgba

if TYPE_CHECKING:
    from jaxtyping import Float, Float32

    from gatlas.types import Gaussians

SPREAD = 0.1  # of the logarithm of the object's size: photos are not cut exactly
SHIFT = 0.04  # of its place, in sides
RENDERED = 1.25  # sides of the render that a picture is cut from


def shown_picture(
    image: Float[np.ndarray, "h w d"], side: int, rng: np.random.Generator | None = None
) -> Float32[np.ndarray, "side side 3"]:
    """Return a picture as a network is shown it: the object on white, in the middle, at one size.

    RGBA is cut to what is opaque. RGB is cut to what is not white, if its edges are, and else taken whole. With `rng`
    size and place differ a little.
    """
    picture = image if image.shape[2] == 4 else cut_from_white(image)
    whole = bool((picture[..., 3] == 1).all())
    share, shift = 1.0 if whole else SHARE, (0.0, 0.0)
    if rng is not None:
        share *= math.exp(rng.uniform(-SPREAD, SPREAD))
        shift = (rng.uniform(-SHIFT, SHIFT), rng.uniform(-SHIFT, SHIFT))
    return on_white(picture, side, share=share, shift=shift)


def random_picture_of_folder(folder: str, side: int, rng: np.random.Generator) -> Float32[np.ndarray, "side side 3"]:
    """Return one of the pictures of a folder with a transforms.json, as `shown_picture` gives it."""
    views = read_views(folder, side=2 * side, pick=lambda count: [int(rng.integers(count))], one_size=True)
    return shown_picture(np.asarray(views.images)[0], side, rng)


def random_picture_of_gaussians(
    gaussians: Gaussians, side: int, rng: np.random.Generator
) -> Float32[np.ndarray, "side side 3"]:
    """Return a render of Gaussians in the unit ball (numpy) from a random direction, as `shown_picture` gives it."""
    rendered = math.ceil(RENDERED * side)
    rendering = rasterize(gaussians, random_views(1, rendered, rendered, rng), backend="cpu")
    return shown_picture(straight_rgba(rendering)[0], side, rng)
