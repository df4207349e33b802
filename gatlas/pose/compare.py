"""Comparison of a photo with a render of the Gaussians: common size, background, exposure, and pixel weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.ndimage import binary_erosion, gaussian_filter

from gatlas.images.composite import composite, masked
from gatlas.images.resize import reduce_picture, reduced_size
from gatlas.pose.motion import Pivot, move_camera
from gatlas.raster import rasterize
from gatlas.raster.blur import fitted_blur
from gatlas.raster.rendering import EPS2D
from gatlas.types import Cameras

if TYPE_CHECKING:
    from jaxtyping import Float, Float32

    from gatlas.types import Gaussians

BORDER_TOLERANCE = 0.06  # color difference from the border's median, [0, 1] ...
BORDER_SHARE = 0.98  # ... within which this share of a border is, where the border is one color
OPAQUE_ALPHA = 0.9  # alpha from which a pixel shows the object alone
SIDE_PER_RIM_PIXEL = 128  # pixels of the longer side per pixel of the object's rim that is left out
MIN_PIXEL_SHARE = 1 / 500  # of the picture: fewer pixels are too few to compare
GAIN_RANGE = (0.25, 4.0)  # gains outside are not taken for an exposure
NOISE_STD = 0.03  # color difference that is explained by noise
SUPERSAMPLING = 2  # per side, of smaller pictures; 4 is not better (measured)
EXPOSURE_RIDGE = 1e-3  # per pixel, in squared color, towards no change: an object of one color has no contrast to fit


class Camera(NamedTuple):
    """The variables of a refinement: pose, intrinsics, and how much a pixel widens the Gaussians."""

    viewmat: Float[np.ndarray, "4 4"]  # world -> camera
    K: Float[np.ndarray, "3 3"]  # pixels of the full photo
    # Variance added to the Gaussians in a picture of scale 1, square pixels, where its pixels are among those that the
    # Gaussians were fitted to; see `blur_variance`.
    eps2d: float = EPS2D

    def moved(self, pivot: Pivot, step: Float[np.ndarray, " k"]) -> Camera:
        """Return the camera moved by six numbers in the pivot's units; a seventh is the log of a focal factor."""
        K = self.K
        if len(step) > 6:
            K = K.copy()
            K[[0, 1], [0, 1]] *= np.exp(step[6])
        return self._replace(viewmat=move_camera(self.viewmat, pivot, step[:6]), K=K)


class Target(NamedTuple):
    """A photo at one size, to be compared with renders."""

    picture: Float32[np.ndarray, "h w 3"]  # over the background where the object's mask is known
    background: Float32[np.ndarray, " 3"] | None  # None: unknown, and only the inside of the object is compared
    alpha: Float32[np.ndarray, "h w"] | None  # of the object in the photo; None: unknown
    stretch: Float[np.ndarray, "3 1"]  # K at this size = stretch x K of the photo
    scale: float = 1.0  # size relative to the picture in whose pixels the rasterizer widens the Gaussians


class SingleRender(NamedTuple):
    """The Gaussians rendered from one camera, over black."""

    colors: Float32[np.ndarray, "h w 3"]
    alphas: Float32[np.ndarray, "h w 1"]
    depths: Float32[np.ndarray, "h w 1"]


@dataclass(frozen=True, eq=False)
class Comparison:
    """A target and a camera's render of the same size, rendered once and passed to every function that needs it."""

    camera: Camera
    target: Target
    supersampled: SingleRender  # at the rasterized size, see `render_at`

    @cached_property
    def render(self) -> SingleRender:
        """The render at the target's size."""
        return _reduce(self.supersampled, _supersampling(self.target))

    @cached_property
    def weights(self) -> Float32[np.ndarray, "h w"] | None:
        """The weight of each pixel, see `pixel_weights`."""
        return pixel_weights(self.target, self.render)


class Exposure(NamedTuple):
    """The photo's colors = gain x the Gaussians' colors + offset, per channel."""

    gain: Float32[np.ndarray, " 3"]
    offset: Float32[np.ndarray, " 3"]


IDENTITY_EXPOSURE = Exposure(np.ones(3, np.float32), np.zeros(3, np.float32))


def make_target(
    photo: Float[np.ndarray, "h w d"],
    mask: Float[np.ndarray, "h w"] | None = None,
    background: Float[np.ndarray, " 3"] | tuple[float, float, float] | None = None,
    side: int | None = None,
    full: int | None = None,
) -> Target:
    """Return a photo, RGB or straight RGBA in [0, 1], with its longer side at most `side` pixels.

    The object's mask is the photo's alpha times `mask`. Where it is known, the photo is composited over black or white,
    whichever is farther from the object's mean color. Otherwise `background` is the color behind the object; None takes
    the color of the photo's border where that is one color.

    Where `side` is smaller than `full`, the Gaussians are rendered as in a picture of side `full` that is reduced to
    this size.
    """
    if photo.ndim != 3 or photo.shape[2] not in (3, 4) or 0 in photo.shape:
        raise ValueError(f"photo must have shape [h w 3] or [h w 4], got {list(photo.shape)}")
    height, width = photo.shape[:2]
    picture = with_mask(photo, mask)
    small = (width, height) if side is None else reduced_size(width, height, side)
    picture = reduce_picture(picture, *small)
    stretch = np.array([[small[0] / width], [small[1] / height], [1.0]])
    scale = 1.0 if full is None else min(1.0, max(small) / max(reduced_size(width, height, full)))
    if picture.shape[2] == 3:
        color = border_color(picture) if background is None else np.asarray(background, dtype=np.float32)
        return Target(picture, color, None, stretch, scale)
    alpha = picture[..., 3:]
    brightness = float((picture[..., :3] * alpha).sum() / max(3 * float(alpha.sum()), 1e-6))
    contrast = np.full(3, 0.0 if brightness > 0.5 else 1.0, dtype=np.float32)
    return Target(composite(picture, contrast), contrast, alpha[..., 0], stretch, scale)


def with_mask(photo: Float[np.ndarray, "h w d"], mask: Float[np.ndarray, "h w"] | None) -> Float32[np.ndarray, "h w e"]:
    """Return the photo, RGB or straight RGBA, with its alpha times the mask; unchanged without a mask."""
    if mask is None:
        return np.asarray(photo, dtype=np.float32)
    if mask.shape != photo.shape[:2]:
        raise ValueError(f"mask must have the photo's shape {list(photo.shape[:2])}, got {list(mask.shape)}")
    return masked(photo, mask)


def border_color(photo: Float[np.ndarray, "h w 3"]) -> Float32[np.ndarray, " 3"] | None:
    """Return the color of the photo's outermost pixels where it is uniform, as in a studio or a render; else None."""
    border = np.concatenate([photo[0], photo[-1], photo[:, 0], photo[:, -1]])
    color = np.median(border, axis=0)
    uniform = (np.abs(border - color).max(axis=1) < BORDER_TOLERANCE).mean() >= BORDER_SHARE
    return color.astype(np.float32) if uniform else None


def render_comparison(
    gaussians: Gaussians, camera: Camera, target: Target, cached: Iterable[Comparison] = ()
) -> Comparison:
    """Return a camera's comparison with a target; the Gaussians are rendered unless one of `cached` has the picture.

    A target of half the size needs the same picture as the full one.
    """
    for comparison in cached:
        if _equal(comparison.camera, camera):
            if comparison.target is target:
                return comparison
            if _raster_size(comparison.target) == _raster_size(target):
                return Comparison(camera, target, comparison.supersampled)
    return Comparison(camera, target, _rasterize(gaussians, camera, target))


def _equal(first: Camera, second: Camera) -> bool:
    same = np.array_equal(first.viewmat, second.viewmat) and np.array_equal(first.K, second.K)
    return same and first.eps2d == second.eps2d


def render_at(gaussians: Gaussians, camera: Camera, target: Target) -> SingleRender:
    """Return the Gaussians from a camera at the target's size.

    A reduced photo is the mean of smaller pixels. Gaussians that are widened by the larger pixels instead cover more
    than the object: at a quarter of the size, cameras that were right moved away by 8 % of their distance. With the
    smaller pixels' widening, one sample per large pixel misses thin Gaussians. So several are rendered and averaged.
    """
    return _reduce(_rasterize(gaussians, camera, target), _supersampling(target))


def _supersampling(target: Target) -> int:
    return SUPERSAMPLING if target.scale < 1 else 1


def _raster_size(target: Target) -> tuple[float, ...]:
    """Return what determines a rendered picture, in addition to the camera: width, height, scale, and stretch of K."""
    factor = _supersampling(target)
    height, width = target.picture.shape[:2]
    return (width * factor, height * factor, target.scale * factor, *(target.stretch[:2, 0] * factor))


def _rasterize(gaussians: Gaussians, camera: Camera, target: Target) -> SingleRender:
    width, height, scale, stretch_x, stretch_y = _raster_size(target)
    K = camera.K * [[stretch_x], [stretch_y], [1.0]]
    cameras = Cameras(camera.viewmat[None], K[None], int(width), int(height))
    eps2d = blur_variance(gaussians, camera._replace(K=K), scale)
    return SingleRender(*(image[0] for image in rasterize(gaussians, cameras, eps2d=eps2d)))


def blur_variance(gaussians: Gaussians, camera: Camera, scale: float = 1.0) -> float:
    """Return the variance, in square pixels of the camera's K, that it adds to the Gaussians in a picture of `scale`.

    Outside the pixels that they were fitted to, the rasterizer's blur is another one, and the camera's `eps2d` is a
    multiple of it.
    """
    if gaussians.origin.pixel_sizes is None:
        return camera.eps2d * scale**2
    full = camera.K / [[scale], [scale], [1.0]]
    fitted = float(fitted_blur(gaussians, Cameras(camera.viewmat[None], full[None], 1, 1))[0])
    return camera.eps2d * (fitted / EPS2D) * scale**2


def _reduce(render: SingleRender, factor: int) -> SingleRender:
    if factor == 1:
        return render
    colors, alphas, depths = render
    small = _block_means(alphas, factor)
    depths = _block_means(depths * alphas, factor) / np.maximum(small, 1e-6)
    return SingleRender(_block_means(colors, factor), small, depths)


def _block_means(picture: Float32[np.ndarray, "h w d"], factor: int) -> Float32[np.ndarray, "h2 w2 d"]:
    height, width, depth = picture.shape
    return picture.reshape(height // factor, factor, width // factor, factor, depth).mean(axis=(1, 3))


def predict_photo(target: Target, render: SingleRender, exposure: Exposure) -> Float32[np.ndarray, "h w 3"]:
    """Return the render with an exposure over the background; where that is unknown, over the photo itself."""
    background = target.picture if target.background is None else target.background
    return render.colors * exposure.gain + render.alphas * (exposure.offset - background) + background


def pixel_weights(target: Target, render: SingleRender) -> Float32[np.ndarray, "h w"] | None:
    """Return the weight of each pixel in a comparison; None where too few would count.

    All pixels count where the background is known; otherwise those that the Gaussians cover, without a narrow rim.
    """
    opaque = render.alphas[..., 0] > OPAQUE_ALPHA
    min_pixels = opaque.size * MIN_PIXEL_SHARE
    if target.background is not None:
        return np.ones(opaque.shape, dtype=np.float32) if (render.alphas > 0.5).sum() > min_pixels else None
    rim = max(1, round(max(opaque.shape) / SIDE_PER_RIM_PIXEL))
    inner = binary_erosion(opaque, iterations=rim, border_value=1)
    if inner.sum() < min_pixels:
        return None
    return inner.astype(np.float32)


def fit_exposure(
    target: Target,
    render: SingleRender,
    weights: Float32[np.ndarray, "h w"],
    huber: float,
    start: Exposure = IDENTITY_EXPOSURE,
) -> Exposure:
    """Return gain and offset of each channel by least squares over the object, with Huber weights after `start`."""
    inside = (render.alphas[..., 0] > 0.5) & (weights > 0)
    if target.alpha is not None:
        inside &= target.alpha > 0.5
    if not inside.any():
        return start
    background = target.picture if target.background is None else target.background
    background = np.broadcast_to(background, target.picture.shape)
    alphas = render.alphas[inside]
    colors, wanted = render.colors[inside], target.picture[inside] - (1 - alphas) * background[inside]
    error = np.abs(colors * start.gain + alphas * start.offset - wanted)
    robust = np.minimum(1.0, huber / np.maximum(error, 1e-6))
    gain, offset = np.ones(3, np.float32), np.zeros(3, np.float32)
    for i in range(3):
        rows = np.stack([colors[:, i], alphas[:, 0]], axis=-1).astype(np.float64)
        ridge = EXPOSURE_RIDGE * len(rows) * np.eye(2)
        normal = rows.T @ (rows * robust[:, i : i + 1]) + ridge
        a, b = np.linalg.solve(normal, rows.T @ (robust[:, i] * wanted[:, i]) + ridge @ (1.0, 0.0))
        if not GAIN_RANGE[0] <= a <= GAIN_RANGE[1]:
            return start
        gain[i], offset[i] = a, b
    return Exposure(gain, offset)


def explained_variance(
    target: Target, render: SingleRender, weights: Float32[np.ndarray, "h w"], exposure: Exposure
) -> float:
    """Return the share of the photo's variance inside the object that the prediction explains, both slightly blurred.

    1 is all of it; a camera in the wrong place explains half or less. A photo of one color has no variance: that of
    noise is added, so that it counts as explained where the color is right. NaN where nothing can be compared.
    """
    inside = (render.alphas[..., 0] > 0.5) & (weights > 0)
    if not inside.any():
        return float("nan")
    photo = blur(target.picture, 1.0)[inside].astype(np.float64)
    error = photo - blur(predict_photo(target, render, exposure), 1.0)[inside]
    variance = ((photo - photo.mean(axis=0)) ** 2).mean() + NOISE_STD**2
    return float(1 - (error**2).mean() / variance)


def blur(picture: Float32[np.ndarray, "h w d"], sigma: float) -> Float32[np.ndarray, "h w d"]:
    """Return the picture convolved with a Gaussian of `sigma` pixels."""
    return gaussian_filter(picture, (sigma, sigma, 0), truncate=3.0, mode="nearest") if sigma > 0 else picture
