"""A photo and a render of the Gaussians, made comparable: size, background, exposure, and which pixels count."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.ndimage import binary_erosion, gaussian_filter

from gatlas.images.composite import composite, masked
from gatlas.images.resize import reduce_picture, reduced_size
from gatlas.pose.motion import Pivot, move
from gatlas.raster import rasterize
from gatlas.types import Cameras

if TYPE_CHECKING:
    from jaxtyping import Float, Float32

    from gatlas.types import Gaussians

EVEN_BORDER = (0.06, 0.98)  # a border is one colour where this share of it is as near as this to its median
SOLID = 0.9  # alpha from which a pixel shows the object alone
MARGIN = 128  # pixels of the longer side for each pixel that is taken off the object's rim
FEW_PIXELS = 1 / 500  # of the picture: fewer pixels that count decide nothing
GAINS = (0.25, 4.0)  # exposures beyond these are no exposures
NOISE = 0.03  # colour difference that says nothing
WIDENING = 0.3  # square pixels: the rasteriser's own
FINER = 2  # times as many pixels a side that a smaller picture is rendered with; 4 are no better (measured)
PRIOR = 1e-3  # weight of "no change", in squared colour per pixel: an object of one colour has no contrast to fit


class Camera(NamedTuple):
    """What is looked for."""

    viewmat: Float[np.ndarray, "4 4"]
    K: Float[np.ndarray, "3 3"]  # of the photo as it was given
    widening: float = WIDENING  # of the Gaussians by the pixels of a picture of share 1, square pixels

    def stepped(self, pivot: Pivot, step: Float[np.ndarray, " k"]) -> Camera:
        """Moved by six numbers in the pivot's units, and zoomed by a seventh: the log of the focal length's factor."""
        K = self.K
        if len(step) > 6:
            K = K.copy()
            K[[0, 1], [0, 1]] *= np.exp(step[6])
        return self._replace(viewmat=move(self.viewmat, pivot, step[:6]), K=K)


class Target(NamedTuple):
    """A photo at one size."""

    picture: Float32[np.ndarray, "h w 3"]  # over the background where the object's mask is known
    background: Float32[np.ndarray, " 3"] | None  # None: unknown, so only the inside of the object counts
    alpha: Float32[np.ndarray, "h w"] | None  # of the object in the photo; None where it is not known
    stretch: Float[np.ndarray, "3 1"]  # K at this size = stretch x K of the photo
    share: float = 1.0  # of the size at which the rasteriser's pixels are those that the Gaussians were made for


class Seen(NamedTuple):
    """The Gaussians from one camera, over black."""

    colors: Float32[np.ndarray, "h w 3"]
    alphas: Float32[np.ndarray, "h w 1"]
    depths: Float32[np.ndarray, "h w 1"]


@dataclass(frozen=True, eq=False)
class Shot:
    """What a camera shows beside a target: rendered once, then handed to all that ask about it."""

    camera: Camera
    target: Target
    fine: Seen  # with as many pixels as are rendered, see `see`

    @cached_property
    def seen(self) -> Seen:
        """At the target's size."""
        return _reduced(self.fine, _finer(self.target))

    @cached_property
    def weights(self) -> Float32[np.ndarray, "h w"] | None:
        """`pixel_weights`."""
        return pixel_weights(self.target, self.seen)


class Exposure(NamedTuple):
    """The photo's colours = gain x the Gaussians' colours + offset, channel by channel."""

    gain: Float32[np.ndarray, " 3"]
    offset: Float32[np.ndarray, " 3"]


AS_IT_IS = Exposure(np.ones(3, np.float32), np.zeros(3, np.float32))


def make_target(
    photo: Float[np.ndarray, "h w d"],
    mask: Float[np.ndarray, "h w"] | None = None,
    background: Float[np.ndarray, " 3"] | tuple[float, float, float] | None = None,
    side: int | None = None,
    full: int | None = None,
) -> Target:
    """A photo, RGB or straight RGBA in [0, 1], with its longer side at most `side` pixels.

    The object's mask is the photo's alpha times `mask`. Where it is known the photo is laid over black or white,
    whichever is farther from the object's mean colour. Else `background` is what stands behind the object; None takes
    the colour of the photo's border where that is one colour.

    Where `side` is smaller than `full`, the Gaussians are shown as they look in a picture of that size reduced to this
    one.
    """
    if photo.ndim != 3 or photo.shape[2] not in (3, 4) or 0 in photo.shape:
        raise ValueError(f"photo must have shape [h w 3] or [h w 4], got {list(photo.shape)}")
    height, width = photo.shape[:2]
    picture = cut_out(photo, mask)
    small = (width, height) if side is None else reduced_size(width, height, side)
    picture = reduce_picture(picture, *small)
    stretch = np.array([[small[0] / width], [small[1] / height], [1.0]])
    share = 1.0 if full is None else min(1.0, max(small) / max(reduced_size(width, height, full)))
    if picture.shape[2] == 3:
        known = border_color(picture) if background is None else np.asarray(background, dtype=np.float32)
        return Target(picture, known, None, stretch, share)
    alpha = picture[..., 3:]
    brightness = float((picture[..., :3] * alpha).sum() / max(3 * float(alpha.sum()), 1e-6))
    behind = np.full(3, 0.0 if brightness > 0.5 else 1.0, dtype=np.float32)
    return Target(composite(picture, behind), behind, alpha[..., 0], stretch, share)


def cut_out(photo: Float[np.ndarray, "h w d"], mask: Float[np.ndarray, "h w"] | None) -> Float32[np.ndarray, "h w e"]:
    """Return the photo, RGB or straight RGBA, with its alpha times the mask; as it is without one."""
    if mask is None:
        return np.asarray(photo, dtype=np.float32)
    if mask.shape != photo.shape[:2]:
        raise ValueError(f"mask must have the photo's shape {list(photo.shape[:2])}, got {list(mask.shape)}")
    return masked(photo, mask)


def border_color(photo: Float[np.ndarray, "h w 3"]) -> Float32[np.ndarray, " 3"] | None:
    """The colour of the photo's outermost pixels where they have one, as in a studio or a render; else None."""
    border = np.concatenate([photo[0], photo[-1], photo[:, 0], photo[:, -1]])
    color = np.median(border, axis=0)
    near, share = EVEN_BORDER
    return color.astype(np.float32) if (np.abs(border - color).max(axis=1) < near).mean() >= share else None


def shoot(gaussians: Gaussians, camera: Camera, target: Target, known: Iterable[Shot] = ()) -> Shot:
    """The Gaussians from a camera beside a target: one of the `known` pictures of them, else a new one.

    A picture of half the size is rendered as the full one is.
    """
    for shot in known:
        if _same(shot.camera, camera):
            if shot.target is target:
                return shot
            if _frame(shot.target) == _frame(target):
                return Shot(camera, target, shot.fine)
    return Shot(camera, target, _render(gaussians, camera, target))


def _same(first: Camera, second: Camera) -> bool:
    same = np.array_equal(first.viewmat, second.viewmat) and np.array_equal(first.K, second.K)
    return same and first.widening == second.widening


def see(gaussians: Gaussians, camera: Camera, target: Target) -> Seen:
    """The Gaussians from a camera, at the target's size.

    A reduced photo is the mean of finer pixels. Gaussians that are widened by the larger pixels instead cover more than
    the object: at a quarter of the size cameras that were right left by 8 % of their distance. At the fine pixels'
    widening a sample for each large pixel misses thin ones. So several are rendered and averaged.
    """
    return _reduced(_render(gaussians, camera, target), _finer(target))


def _finer(target: Target) -> int:
    return FINER if target.share < 1 else 1


def _frame(target: Target) -> tuple[float, ...]:
    """What else than the camera makes a rendered picture: its size, its pixels' shape and how they widen."""
    finer = _finer(target)
    height, width = target.picture.shape[:2]
    return (width * finer, height * finer, target.share * finer, *(target.stretch[:2, 0] * finer))


def _render(gaussians: Gaussians, camera: Camera, target: Target) -> Seen:
    width, height, share, right, down = _frame(target)
    K = camera.K * [[right], [down], [1.0]]
    cameras = Cameras(camera.viewmat[None], K[None], int(width), int(height))
    return Seen(*(image[0] for image in rasterize(gaussians, cameras, eps2d=camera.widening * share**2)))


def _reduced(fine: Seen, finer: int) -> Seen:
    if finer == 1:
        return fine
    colors, alphas, depths = fine
    small = _averaged(alphas, finer)
    return Seen(_averaged(colors, finer), small, _averaged(depths * alphas, finer) / np.maximum(small, 1e-6))


def _averaged(picture: Float32[np.ndarray, "h w d"], finer: int) -> Float32[np.ndarray, "h2 w2 d"]:
    """Means of blocks of `finer` x `finer` pixels."""
    height, width, depth = picture.shape
    return picture.reshape(height // finer, finer, width // finer, finer, depth).mean(axis=(1, 3))


def predict(target: Target, seen: Seen, exposure: Exposure) -> Float32[np.ndarray, "h w 3"]:
    """What the photo would be. Where its background is not known, the photo itself is what shines through."""
    behind = target.picture if target.background is None else target.background
    return seen.colors * exposure.gain + seen.alphas * (exposure.offset - behind) + behind


def pixel_weights(target: Target, seen: Seen) -> Float32[np.ndarray, "h w"] | None:
    """How much each pixel counts; None where too few would.

    All of them where the background is known; else those that the Gaussians cover, less a rim of one to some pixels.
    """
    solid = seen.alphas[..., 0] > SOLID
    few = solid.size * FEW_PIXELS
    if target.background is not None:
        return np.ones(solid.shape, dtype=np.float32) if (seen.alphas > 0.5).sum() > few else None
    rim = max(1, round(max(solid.shape) / MARGIN))
    inner = binary_erosion(solid, iterations=rim, border_value=1)
    if inner.sum() < few:
        return None
    return inner.astype(np.float32)


def fit_exposure(
    target: Target, seen: Seen, weights: Float32[np.ndarray, "h w"], huber: float, start: Exposure = AS_IT_IS
) -> Exposure:
    """Gain and offset of each channel by least squares over the object, what is far off after `start` counting less."""
    inside = (seen.alphas[..., 0] > 0.5) & (weights > 0)
    if target.alpha is not None:
        inside &= target.alpha > 0.5
    if not inside.any():
        return start
    behind = target.picture if target.background is None else np.broadcast_to(target.background, target.picture.shape)
    alphas = seen.alphas[inside]
    colors, wanted = seen.colors[inside], target.picture[inside] - (1 - alphas) * behind[inside]
    error = np.abs(colors * start.gain + alphas * start.offset - wanted)
    trust = np.minimum(1.0, huber / np.maximum(error, 1e-6))
    gain, offset = np.ones(3, np.float32), np.zeros(3, np.float32)
    for i in range(3):
        rows = np.stack([colors[:, i], alphas[:, 0]], axis=-1).astype(np.float64)
        ridge = PRIOR * len(rows) * np.eye(2)
        normal = rows.T @ (rows * trust[:, i : i + 1]) + ridge
        a, b = np.linalg.solve(normal, rows.T @ (trust[:, i] * wanted[:, i]) + ridge @ (1.0, 0.0))
        if not GAINS[0] <= a <= GAINS[1]:
            return start
        gain[i], offset[i] = a, b
    return Exposure(gain, offset)


def explained(target: Target, seen: Seen, weights: Float32[np.ndarray, "h w"], exposure: Exposure) -> float:
    """The share of the photo's variance inside the object that the prediction explains, both a little blurred.

    1 is all of it; a camera in the wrong place explains half and less. A photo of one colour has no variance: that of
    noise is added, so that it counts as explained where the colour is right.
    """
    inside = (seen.alphas[..., 0] > 0.5) & (weights > 0)
    if not inside.any():
        return float("nan")
    photo = blurred(target.picture, 1.0)[inside].astype(np.float64)
    error = photo - blurred(predict(target, seen, exposure), 1.0)[inside]
    variance = ((photo - photo.mean(axis=0)) ** 2).mean() + NOISE**2
    return float(1 - (error**2).mean() / variance)


def blurred(picture: Float32[np.ndarray, "h w d"], sigma: float) -> Float32[np.ndarray, "h w d"]:
    """The picture under a Gaussian of `sigma` pixels."""
    return gaussian_filter(picture, (sigma, sigma, 0), truncate=3.0, mode="nearest") if sigma > 0 else picture
