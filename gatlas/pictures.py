"""Pictures of Gaussians and meshes for people to look at."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from gatlas.errors import GatlasError
from gatlas.raster import rasterize
from gatlas.raster.mesh import normalize_mesh, render_mesh
from gatlas.types import Gaussians, Mesh, Views

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.types import Cameras

COLORS = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0), "grey": (0.5, 0.5, 0.5), "gray": (0.5, 0.5, 0.5)}

Background = tuple[float, float, float] | None  # None is transparent


def parse_background(text: str) -> Background:
    """A colour by name or as #rrggbb; None for "transparent"."""
    if text == "transparent":
        return None
    if text in COLORS:
        return COLORS[text]
    digits = text.removeprefix("#")
    if len(digits) == 6 and all(digit in "0123456789abcdefABCDEF" for digit in digits):
        return tuple(int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4))  # type: ignore[return-value]
    raise GatlasError(f"background {text!r} is not a colour: use {', '.join(COLORS)}, transparent or #rrggbb")


def take_views(subject: Gaussians | Mesh, cameras: Cameras, background: Background = None) -> Views:
    """Pictures of the subject (numpy): RGB over `background`, or straight RGBA where it is None.

    A mesh is moved into the unit ball first, as `fit` does, so that both are seen by the same cameras.
    """
    if isinstance(subject, Mesh):
        rgba = render_mesh(normalize_mesh(subject), cameras).images
    else:
        colors, alphas, _ = rasterize(subject, cameras)
        straight = np.divide(colors, alphas, out=np.zeros_like(colors), where=alphas > 0)
        rgba = np.concatenate([np.clip(straight, 0.0, 1.0), alphas], axis=-1)
    if background is None:
        return Views(rgba, cameras)
    backdrop = np.asarray(background, dtype=np.float32)
    return Views(rgba[..., :3] * rgba[..., 3:] + backdrop * (1 - rgba[..., 3:]), cameras)


def contact_sheet(images: Float[np.ndarray, "c h w d"]) -> Float[np.ndarray, "rows columns d"]:
    """All pictures in one, row by row, in a grid that is nearly square and has the fewest empty places."""
    count, height, width, channels = images.shape
    columns = min(
        range(math.ceil(math.sqrt(count)), min(count, 2 * math.ceil(math.sqrt(count))) + 1),
        key=lambda wide: (-count % wide, wide),
    )
    rows = -(-count // columns)
    sheet = np.zeros((rows * columns, height, width, channels), dtype=images.dtype)
    if channels == 3:
        sheet[count:] = 1.0
    sheet[:count] = images
    grid = sheet.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    return grid.reshape(rows * height, columns * width, channels)
