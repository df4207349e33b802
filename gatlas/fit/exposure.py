"""Exposure of photos: a gain and an offset of the colors per photo and channel, fitted together with the Gaussians."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from gatlas.geometry.sh import SH_C0
from gatlas.images.composite import composite
from gatlas.metrics import psnr
from gatlas.raster import rasterize
from gatlas.types import MixedViews, Views

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from gatlas.raster import Rendering
    from gatlas.types import AnyViews, Gaussians

BEGIN = 0.05  # of the steps: before, the pictures of the Gaussians say too little
PACE = 0.5  # of the way to the solved exposure, each time that a photo is looked at
SPREAD = (0.3, 0.05)  # standard deviations of the gains and offsets of photos, as far as nothing is known of them
KNOWN_SPREAD = (0.05, 0.05)  # where gains are known beforehand
INDEPENDENT = 4  # pixels of a photo, as its errors count: they are alike over large parts of it
RIDGE = np.array([1e-6, 1e-6])  # per pixel, towards the identity: a picture of one color determines no gain
IDENTITY = np.array([[1.0] * 3, [0.0] * 3])  # gain, offset
GAINS = (0.1, 10.0)
PIXELS = 16_384  # of a photo that are looked at, in a grid
SATURATED = 254.5 / 255  # of a photo: the exposure may be any that is as bright or brighter


class ExposureValues(NamedTuple):
    """Colors of c photos are those of the Gaussians times the gain plus the offset."""

    gains: Float[np.ndarray, "c 3"]
    offsets: Float[np.ndarray, "c 3"]  # sRGB

    def at(self, photos: Int[np.ndarray, " k"]) -> ExposureValues:
        """Return those of some photos."""
        return ExposureValues(self.gains[photos], self.offsets[photos])


class PhotoExposures:
    """The exposures of the training photos in `gatlas.fit.optimize.optimize`, which are solved as the Gaussians change.

    They begin at `gains`, of mean 1, or as the identity, and are near it until the pictures of the Gaussians say more.
    Their mean over the photos stays the identity: brightness belongs to the Gaussians. Each time
    that a photo is trained on, least squares between it and the rendered picture gives its exposure: unlike a gradient
    step, it gets there in few looks at each of many photos. Photo i is that of view i of the optimization, and of view
    i plus a multiple of the number of photos.
    """

    def __init__(self, photos: int, gains: Float[np.ndarray, "photos 3"] | None = None) -> None:
        self.values = torch.tensor([[1.0], [0.0]]).repeat(photos, 1, 3)  # [photos 2 3]: gain, offset
        if gains is not None:
            self.values[:, 0] = torch.from_numpy(gains)
        self._first = self.values.double().numpy()
        self._spread = SPREAD if gains is None else KNOWN_SPREAD

    def __len__(self) -> int:
        return len(self.values)

    def of(self, gaussians: Gaussians, view: int) -> Gaussians:
        """Return Gaussians (torch) with the colors that the photo of a view shows.

        That is the gain and offset of the composed picture's premultiplied colors: a background stays as it is.
        """
        gain, offset = self.values[view % len(self)].to(gaussians.sh.device, copy=True)
        dark = (0.5 * (gain - 1) + offset) / SH_C0  # what a color of 0.5, all coefficients 0, gets
        sh = gaussians.sh * gain
        if sh.shape[1] == 1:
            return replace(gaussians, sh=sh + dark)
        return replace(gaussians, sh=torch.cat([sh[:, :1] + dark, sh[:, 1:]], dim=1))

    def update(self, view: int, rendering: Rendering, target: Float[Tensor, "1 h w 3"], background: Tensor) -> None:
        """Bring the exposure of a view's photo nearer to what its exposed rendering and the photo ask for.

        Both are over the same background. Channels of pixels that the photo shows saturated do not count.
        """
        every = max(1, math.ceil(math.sqrt(target.shape[1] * target.shape[2] / PIXELS)))
        image, alpha, wanted = (
            each.detach()[0, ::every, ::every].reshape(-1, each.shape[-1]).cpu().double().numpy()
            for each in (rendering.colors, rendering.alphas, target)
        )
        behind = (1 - alpha) * background.cpu().double().numpy()
        photo = view % len(self)
        gain, offset = self.values[photo].double().numpy()
        unexposed = (image - behind - alpha * offset) / gain
        # The worse the picture is yet, the nearer to the beginning: errors alone would make a gain small.
        ridge = RIDGE + np.mean((image - wanted) ** 2) / (INDEPENDENT * np.square(self._spread))
        solved = _solve(unexposed, alpha[:, 0], wanted - behind, wanted < SATURATED, ridge, self._first[photo])
        self.values[photo] += PACE * (torch.from_numpy(solved).float() - self.values[photo])
        gains, offsets = self.values[:, 0], self.values[:, 1]
        mean, shift = gains.mean(dim=0), offsets.mean(dim=0)
        gains /= mean
        offsets -= gains * shift

    def found(self) -> ExposureValues:
        """Return the exposures (numpy)."""
        gains, offsets = self.values.double().numpy().transpose(1, 0, 2).copy()
        return ExposureValues(gains, offsets)


def _solve(
    image: Float[np.ndarray, "p 3"],
    alpha: Float[np.ndarray, " p"],
    wanted: Float[np.ndarray, "p 3"],
    counts: Bool[np.ndarray, "p 3"],
    ridge: Float[np.ndarray, " 2"],
    prior: Float[np.ndarray, "2 3"] = IDENTITY,
) -> Float[np.ndarray, "2 3"]:
    """Gain and offset of each channel with least squared error of image * gain + alpha * offset (premultiplied).

    The ridge is towards the prior.
    """
    solved = np.empty((2, 3))
    for channel in range(3):
        inputs = np.stack([image[:, channel], alpha], axis=1) * counts[:, channel, None]  # [p 2]
        normal = inputs.T @ inputs + len(alpha) * np.diag(ridge)
        error = wanted[:, channel] - image[:, channel] * prior[0, channel] - alpha * prior[1, channel]
        asked = inputs.T @ error
        change = np.linalg.solve(normal, asked)
        gain = np.clip(prior[0, channel] + change[0], *GAINS)
        if gain != prior[0, channel] + change[0]:  # the offset that was solved with it belongs to another gain
            change[0] = gain - prior[0, channel]
            change[1] = (asked[1] - normal[1, 0] * change[0]) / normal[1, 1]
        solved[:, channel] = gain, prior[1, channel] + change[1]
    return solved


def without_exposure(views: AnyViews, exposure: ExposureValues) -> AnyViews:
    """Return RGBA views with the colors that the Gaussians have: offset and gain undone, in [0, 1]."""
    images = []
    for image, gain, offset in zip(views.images, exposure.gains, exposure.offsets, strict=True):
        rgb = np.clip((image[..., :3] - offset) / gain, 0.0, 1.0).astype(np.float32)
        images.append(np.concatenate([rgb, image[..., 3:]], axis=-1))
    if isinstance(views, MixedViews):
        return MixedViews(tuple(images), views.cameras)
    return Views(np.stack(images), views.cameras)


def solve_exposure(gaussians: Gaussians, views: AnyViews) -> ExposureValues:
    """Return the exposure of RGBA photos that were not trained on: least squares over the pixels of each, per channel.

    Both are premultiplied: the gain and offset are those that bring the rendered picture nearest to the photo.
    """
    solved = np.empty((len(views), 2, 3))
    for i in range(len(views)):
        solved[i] = _solve_photo(*_premultiplied(gaussians, views, i))
    return ExposureValues(solved[:, 0], solved[:, 1])


class FittedExposure(NamedTuple):
    """Exposure of all photos of a fit: optimized for those trained on, solved for those held out."""

    photos: ExposureValues
    held_out: Int[np.ndarray, " h"]  # indices of the photos that were held out
    psnr: float  # dB over white, mean over the held-out photos, the rendered colors exposed as the photos


def fitted_exposure(
    gaussians: Gaussians,
    views: AnyViews,
    held_out: Int[np.ndarray, " h"],
    exposures: PhotoExposures,
    backgrounds: Float[np.ndarray, "c 3"] | None = None,
) -> FittedExposure:
    """Return the exposures of a fit's RGBA photos, and the PSNR of the held-out ones under theirs.

    Pictures are compared over white, or over the `backgrounds` of the photos.
    """
    gains, offsets = np.empty((len(views), 3)), np.empty((len(views), 3))
    kept = np.setdiff1d(np.arange(len(views)), held_out)
    gains[kept], offsets[kept] = exposures.found()
    decibels = []
    for i in held_out:
        behind = 1.0 if backgrounds is None else backgrounds[i]
        pictures = _premultiplied(gaussians, views, i, behind)
        gains[i], offsets[i] = _solve_photo(*pictures, behind)
        decibels.append(_exposed_psnr(*pictures, gains[i], offsets[i], behind))
    return FittedExposure(ExposureValues(gains, offsets), held_out, float(np.mean(decibels)))


def corrected_psnr(gaussians: Gaussians, views: AnyViews, exposure: ExposureValues) -> float:
    """Return the PSNR in dB against RGBA views over white, the rendered colors exposed as the photos: their mean."""
    decibels = [
        _exposed_psnr(*_premultiplied(gaussians, views, i), gain, offset)
        for i, (gain, offset) in enumerate(zip(*exposure, strict=True))
    ]
    return float(np.mean(decibels))


def _solve_photo(
    image: Float[np.ndarray, "p 3"],
    alpha: Float[np.ndarray, " p"],
    wanted: Float[np.ndarray, "p 3"],
    behind: float | Float[np.ndarray, " 3"] = 1.0,
) -> Float[np.ndarray, "2 3"]:
    """Gain and offset of one photo; for the pictures see `_premultiplied`."""
    photo = wanted + (1 - alpha[:, None]) * behind
    return _solve(image, alpha, wanted, (photo < SATURATED) | (alpha[:, None] < 1), RIDGE)


def _exposed_psnr(
    image: Float[np.ndarray, "p 3"],
    alpha: Float[np.ndarray, " p"],
    wanted: Float[np.ndarray, "p 3"],
    gain: Float[np.ndarray, " 3"],
    offset: Float[np.ndarray, " 3"],
    behind: float | Float[np.ndarray, " 3"] = 1.0,
) -> float:
    """PSNR in dB of one exposed picture over a color; for the pictures see `_premultiplied`."""
    shown = (1 - alpha[:, None]) * behind
    exposed = image * gain + alpha[:, None] * offset + shown
    # `wanted` is the photo less the color that shows through the rendered picture.
    return float(psnr(np.clip(exposed, 0.0, 1.0)[None, None], (wanted + shown)[None, None])[0])


def _premultiplied(
    gaussians: Gaussians, views: AnyViews, index: int, behind: float | Float[np.ndarray, " 3"] = 1.0
) -> tuple[Float[np.ndarray, "p 3"], Float[np.ndarray, " p"], Float[np.ndarray, "p 3"]]:
    """Rendered premultiplied colors, rendered alpha, and the photo over a color less what of it shows through."""
    rendered = rasterize(gaussians, views.cameras[index])
    image = rendered.colors[0].reshape(-1, 3).astype(np.float64)
    alpha = rendered.alphas[0].reshape(-1).astype(np.float64)
    photo = composite(views[index].images, behind)[0].reshape(-1, 3).astype(np.float64)
    return image, alpha, photo - (1 - alpha[:, None]) * behind
