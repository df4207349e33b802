"""Color behind everything that photos show, of all or of each: fitted with the Gaussians, which leave it out."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from gatlas.metrics.pictures import compare_pictures
from gatlas.raster import rasterize

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from gatlas.raster import Rendering
    from gatlas.types import AnyViews, Gaussians

BORDER = 0.04  # of the shorter side: width of the frame of a photo that is taken for background at first
PACE = {"scene": 0.1, "view": 0.5}  # of the way to the solved color, each time that a photo is looked at
RIDGE = 1e-3  # per pixel, towards the color as it is: a photo that is covered determines none
NEAR = 0.12  # largest difference of a channel between the background and a pixel that shows it
ALIKE = 0.04  # largest difference of a channel between the background and a point that is taken for a part of it
SAME = 0.5  # of the border that differs by less than ALIKE from its median: below it the photos have no one color


class FittedBackground(NamedTuple):
    """The color behind each photo of a fit; of those held out it was solved, or is that of the scene."""

    colors: Float[np.ndarray, "c 3"]  # sRGB
    shared: bool  # all are the same


class PhotoBackgrounds:
    """The colors behind the training photos in `gatlas.fit.optimize.optimize`, solved as the Gaussians change.

    They begin at the median of the photos' borders. Each time that a photo is trained on, least squares over the pixels
    that the Gaussians leave open gives its color. Photo i is that of view i of the optimization, and of view i plus a
    multiple of the number of photos.
    """

    def __init__(self, views: AnyViews, *, shared: bool) -> None:
        borders = [_border(np.asarray(image)[..., :3]) for image in views.images]
        colors = np.array([np.median(border, axis=0) for border in borders])
        if shared:
            colors = np.median(np.concatenate(borders), axis=0)[None]
        self.shared = shared
        self.values = torch.from_numpy(colors.astype(np.float32))  # [photos 3], or [1 3]
        away = [np.abs(border - self.color(i)).max(axis=1) for i, border in enumerate(borders)]
        self.plain = float(np.mean(np.concatenate(away) < ALIKE)) >= SAME

    def color(self, view: int) -> Float[np.ndarray, " 3"]:
        """Return the color behind the photo of a view (numpy)."""
        return self.values[view % len(self.values)].numpy()

    def update(self, view: int, rendering: Rendering, target: Float[Tensor, "1 h w 3"]) -> None:
        """Bring the color of a view's photo nearer to what the photo shows where the rendering is open."""
        number = view % len(self.values)
        color = self.values[number].double().numpy()
        image, alpha, wanted = (
            each.detach()[0].reshape(-1, each.shape[-1]).cpu().double().numpy()
            for each in (rendering.colors, rendering.alphas, target)
        )
        solved = _solve(image - (1 - alpha) * color, alpha, wanted, color)
        pace = PACE["scene" if self.shared else "view"]
        self.values[number] += pace * (torch.from_numpy(solved).float() - self.values[number])

    def found(self, count: int) -> Float[np.ndarray, "count 3"]:
        """Return the colors of `count` photos (numpy)."""
        return np.stack([self.color(i) for i in range(count)]).astype(np.float64)


def _border(image: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "p 3"]:
    height, width = image.shape[:2]
    wide = max(1, round(BORDER * min(height, width)))
    inside = np.zeros((height, width), dtype=bool)
    inside[wide:-wide, wide:-wide] = True
    return image[~inside]


def _solve(
    premultiplied: Float[np.ndarray, "p 3"],
    alpha: Float[np.ndarray, "p 1"],
    wanted: Float[np.ndarray, "p 3"],
    color: Float[np.ndarray, " 3"],
) -> Float[np.ndarray, " 3"]:
    """The color of least squared error behind a picture; the ridge is towards `color`.

    Pixels that are far from it show something that the Gaussians do not show yet.
    """
    clear = (1 - alpha) * (np.abs(wanted - color).max(axis=1, keepdims=True) < NEAR)
    ridge = RIDGE * len(alpha)
    left = (clear * (wanted - premultiplied)).sum(axis=0) + ridge * color
    return np.clip(left / ((clear**2).sum() + ridge), 0.0, 1.0)


def is_background(
    points: Float[np.ndarray, "n 3"], colors: Float[np.ndarray, "n 3"], backgrounds: PhotoBackgrounds
) -> Bool[np.ndarray, " n"]:
    """Return True for points of surfaces that have the color of the background: nothing is there."""
    nearest = np.full(len(points), np.inf)
    for color in np.unique(np.round(backgrounds.values.numpy(), 2), axis=0):
        nearest = np.minimum(nearest, np.abs(colors - color).max(axis=1))
    return nearest < ALIKE


def fitted_background(
    gaussians: Gaussians, views: AnyViews, held_out: Int[np.ndarray, " h"], backgrounds: PhotoBackgrounds
) -> FittedBackground:
    """Return the colors behind all photos of a fit (RGBA, opaque)."""
    colors = np.empty((len(views), 3))
    kept = np.setdiff1d(np.arange(len(views)), held_out)
    colors[kept] = backgrounds.found(len(kept))
    if backgrounds.shared:
        return FittedBackground(backgrounds.found(len(views)), shared=True)
    middle = np.median(colors[kept], axis=0)
    for i in held_out:
        rendered = rasterize(gaussians, views.cameras[i])
        image, alpha = (each[0].reshape(-1, each.shape[-1]).astype(np.float64) for each in rendered[:2])
        wanted = np.asarray(views.images[i])[..., :3].reshape(-1, 3).astype(np.float64)
        colors[i] = _solve(image, alpha, wanted, middle)
    return FittedBackground(colors, shared=False)


def measure_over(gaussians: Gaussians, views: AnyViews, colors: Float[np.ndarray, "c 3"]) -> tuple[float, float]:
    """PSNR in dB and SSIM of the Gaussians over the colors, against opaque views: means over the views (numpy)."""
    found = []
    for i, color in enumerate(colors):
        reference = np.asarray(views[i].images)[0, ..., :3].astype(np.float32)
        drawn = rasterize(gaussians, views.cameras[i], background=color.astype(np.float32)).colors
        found.append(compare_pictures(np.clip(drawn, 0.0, 1.0)[0], reference))
    decibels, similarity = zip(*found, strict=True)
    return float(np.mean(decibels)), float(np.mean(similarity))
