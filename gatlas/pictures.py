"""Pictures of Gaussians and meshes for people to look at."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from gatlas.errors import GatlasError
from gatlas.raster import composite, rasterize, straight_rgba
from gatlas.raster.mesh import normalize_mesh, render_mesh
from gatlas.types import LOG_SCALE_RANGE, Gaussians, Mesh, Views

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.raster.mesh_colors import Shading
    from gatlas.types import Atlas, Cameras

COLORS = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0), "grey": (0.5, 0.5, 0.5), "gray": (0.5, 0.5, 0.5)}

Background = tuple[float, float, float] | None  # None is transparent


def parse_background(text: str) -> Background:
    """A colour by name or as #rrggbb; None for "transparent"."""
    if text == "transparent":
        return None
    if text in COLORS:
        return COLORS[text]
    digits = text.removeprefix("#")
    if len(digits) == 3:  # #f80 is #ff8800
        digits = "".join(2 * digit for digit in digits)
    if len(digits) == 6 and all(digit in "0123456789abcdefABCDEF" for digit in digits):
        return tuple(int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4))  # type: ignore[return-value]
    raise GatlasError(f"background {text!r} is not a colour: use {', '.join(COLORS)}, transparent or #rrggbb")


def take_views(
    subject: Gaussians | Mesh,
    cameras: Cameras,
    background: Background = None,
    *,
    device: str = "cpu",
    supersample: int = 4,
    shading: Shading = "auto",
) -> Views:
    """Pictures of the subject (numpy): RGB over `background`, or straight RGBA where it is None.

    A mesh is moved into the unit ball first, as `fit` does, so that both are seen by the same cameras. Gaussians are
    rendered on `device`, "cpu" or "cuda"; meshes always on the CPU.
    """
    if isinstance(subject, Mesh):
        rgba = render_mesh(normalize_mesh(subject), cameras, supersample=supersample, shading=shading).images
    else:
        rgba = straight_rgba(rasterize(subject, cameras, backend="cuda" if device == "cuda" else "cpu"))
    if background is None:
        return Views(rgba, cameras)
    return Views(composite(rgba, np.asarray(background, dtype=np.float32)), cameras)


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


def atlas_picture(atlas: Atlas, side: int = 384) -> Float[np.ndarray, "h w 3"]:
    """The planes side by side, as the paper's figures show them: offset, colour, opacity, scale, rotation (numpy).

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
