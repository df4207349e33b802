"""RootSIFT keypoints of pictures, and matches between them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

CONTRAST_THRESHOLD = 0.01  # measured: at the usual 0.04 a 256^2 render has half as many keypoints
DESCRIPTOR_SIZE = 128


class Features(NamedTuple):
    """Keypoints of one picture, in a fixed order."""

    pixels: Float[np.ndarray, "k 2"]  # x, y; the center of the first pixel is (0.5, 0.5)
    descriptors: Float[np.ndarray, "k 128"]  # float32, unit length: a product of two is their cosine

    def select(self, keep: Bool[np.ndarray, " k"]) -> Features:
        """Return the keypoints whose entry is True."""
        return Features(self.pixels[keep], self.descriptors[keep])


def detect(
    image: Float[np.ndarray, "h w 3"],
    *,
    region: Bool[np.ndarray, "h w"] | None = None,
    upsample: int = 1,
    limit: int = 4000,
) -> Features:
    """Return RootSIFT features of an sRGB picture in [0, 1] (Lowe 2004; Arandjelovic and Zisserman 2012).

    Only keypoints inside `region` are kept, and at most the `limit` of highest contrast. `upsample` is the whole factor
    by which the picture is enlarged first: it gives more keypoints on weak texture, in its square of the time.
    """
    import cv2

    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image must have shape [h w 3], got {list(image.shape)}")
    x0, y0, x1, y1 = _bounds(region, image.shape[:2])
    if min(x1 - x0, y1 - y0) < 8:
        return Features(np.zeros((0, 2)), np.zeros((0, DESCRIPTOR_SIZE), dtype=np.float32))
    gray = image[y0:y1, x0:x1] @ np.array([0.299, 0.587, 0.114], dtype=image.dtype)
    # OpenCV's SIFT takes bytes; its smallest Gaussian hides the rounding.
    picture = np.rint(np.clip(gray, 0, 1) * 255).astype(np.uint8)
    if upsample > 1:
        size = ((x1 - x0) * upsample, (y1 - y0) * upsample)
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
    # Without enable_precise_upscale (new in 4.8) every keypoint is a quarter of a pixel off to the lower right.
    sift = cv2.SIFT.create(nfeatures=limit, contrastThreshold=CONTRAST_THRESHOLD, enable_precise_upscale=True)
    keypoints, raw = sift.detectAndCompute(picture, None)
    if raw is None or len(keypoints) == 0:
        return Features(np.zeros((0, 2)), np.zeros((0, DESCRIPTOR_SIZE), dtype=np.float32))
    # OpenCV's pixel centers are whole numbers.
    pixels = (np.array([point.pt for point in keypoints], dtype=np.float64) + 0.5) / upsample + (x0, y0)
    sums = raw.sum(axis=1, keepdims=True)
    features = Features(pixels, np.sqrt(raw / np.where(sums > 0, sums, 1)).astype(np.float32))
    if region is not None:
        column, row = np.floor(pixels).astype(int).T
        inside = (row >= 0) & (row < image.shape[0]) & (column >= 0) & (column < image.shape[1])
        inside[inside] = region[row[inside], column[inside]]
        features = features.select(inside)
    return features


def match(
    first: Features,
    second: Features,
    *,
    ratio: float,
    radius: float = np.inf,
) -> Int[np.ndarray, "m 2"]:
    """Return index pairs of mutual nearest neighbors that are nearer than `ratio` times the second nearest.

    Lowe's ratio is of distances, and is tested for keypoints of `first` in `second`. With a `radius` in pixels, only
    keypoints within it of each other are compared, which is for two pictures of nearly the same camera.
    """
    if len(first.pixels) == 0 or len(second.pixels) == 0:
        return np.zeros((0, 2), dtype=np.int64)
    cosines = first.descriptors @ second.descriptors.T  # [a b]
    if radius < np.inf:
        distances = ((first.pixels[:, None] - second.pixels[None]) ** 2).sum(axis=-1)
        cosines[distances > radius**2] = -1.0
    return _mutual(cosines, ratio)


def match_groups(
    first: Features, descriptors: Float[np.ndarray, "n 128"], starts: Int[np.ndarray, " starts"], *, ratio: float
) -> list[Int[np.ndarray, "_ 2"]]:
    """Return `match` of one picture with g others, whose descriptors are stored group after group, by one product.

    Group i is `descriptors[starts[i] : starts[i + 1]]`; the second index of its pairs counts from `starts[i]`.
    """
    if len(first.pixels) == 0:
        return [np.zeros((0, 2), dtype=np.int64)] * (len(starts) - 1)
    cosines = first.descriptors @ descriptors.T  # [a n]
    return [_mutual(cosines[:, a:b], ratio) for a, b in itertools.pairwise(starts)]


def _mutual(cosines: Float[np.ndarray, "a b"], ratio: float) -> Int[np.ndarray, "m 2"]:
    if cosines.shape[1] < 2:
        return np.zeros((0, 2), dtype=np.int64)  # the ratio needs a second neighbor
    index = np.arange(len(cosines))
    nearest = cosines.argmax(axis=1)
    mutual = cosines.argmax(axis=0)[nearest] == index
    best = cosines[index, nearest]
    chosen = np.flatnonzero(mutual & (best > -1))
    rows = cosines[chosen]
    rows[np.arange(len(chosen)), nearest[chosen]] = -1.0
    second = rows.max(axis=1)
    # |a - b|^2 = 2 - 2 cos; without a second within the radius, its distance is the greatest.
    clear = np.maximum(1 - best[chosen], 0) < ratio**2 * (1 - second)
    return np.stack([chosen[clear], nearest[chosen[clear]]], axis=1)


def _bounds(region: Bool[np.ndarray, "h w"] | None, shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the region's bounding box with a margin for descriptors that reach beyond it: x0, y0, x1, y1."""
    height, width = shape
    if region is None:
        return 0, 0, width, height
    if region.shape != shape:
        raise ValueError(f"region must have the picture's shape {list(shape)}, got {list(region.shape)}")
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    if len(rows) == 0:
        return 0, 0, 0, 0
    margin = max(16, max(shape) // 16)
    return (
        max(0, int(columns[0]) - margin),
        max(0, int(rows[0]) - margin),
        min(width, int(columns[-1]) + 1 + margin),
        min(height, int(rows[-1]) + 1 + margin),
    )
