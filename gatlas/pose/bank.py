"""A scene as photos see it: renders from many sides, their features, and the points of the scene that these show."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.geometry.cameras import resized
from gatlas.geometry.rays import directions_of
from gatlas.geometry.sh import rgb_to_dc
from gatlas.images.composite import over
from gatlas.images.gray import to_gray
from gatlas.pose.candidates import VIEWS, bounding_ball, candidate_cameras
from gatlas.pose.features import detect
from gatlas.pose.silhouette import Silhouettes, make_silhouettes
from gatlas.raster import rasterize
from gatlas.types import Cameras

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from gatlas.types import Gaussians

SIDE = 256  # pixels of the longer side; measured: 512 finds no more
BACKGROUND = 0.5  # sRGB gray: no edge of the object is without contrast for long
SOLID = 0.9  # alpha from which a pixel shows a surface
SPREAD = 0.025  # of the depth: its standard deviation, above which a pixel shows two surfaces
SILHOUETTE_VIEWS = 80


class Sight(NamedTuple):
    """What one camera sees of the scene."""

    image: Float[np.ndarray, "h w 3"]  # sRGB, over black
    alpha: Float[np.ndarray, "h w"]
    depth: Float[np.ndarray, "h w"]  # z in the camera, world units
    solid: Bool[np.ndarray, "h w"]  # one surface, opaque

    def over(self, background: Float[np.ndarray, "h w 3"] | float) -> Float[np.ndarray, "h w 3"]:
        """The picture before a background."""
        return np.clip(over(self.image, self.alpha[..., None], background), 0.0, 1.0).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Bank:
    """The scene's features, group after group in the order of the cameras."""

    gaussians: Gaussians
    cameras: Cameras
    descriptors: Float[np.ndarray, "n 128"]
    points: Float[np.ndarray, "n 3"]  # world units
    starts: Int[np.ndarray, " c+1"]  # camera i has the rows starts[i] : starts[i + 1]
    center: Float[np.ndarray, " 3"]  # of the scene, world units
    radius: float  # world units

    @cached_property
    def enlarged(self) -> Bank:
        """The same views with features of pictures at twice the size, made when a photo first needs them."""
        return _bank_of(self.gaussians, self.cameras, 2)

    @cached_property
    def gray(self) -> Bank:
        """The same views of the scene without its colours, made when a photo without colours comes."""
        return replace(self, gaussians=to_gray(self.gaussians))

    @cached_property
    def silhouettes(self) -> Silhouettes:
        """Small pictures from all sides, made when a photo first needs them."""
        lens = self.cameras
        cameras = candidate_cameras(self.gaussians, lens.Ks[0], lens.width, lens.height, SILHOUETTE_VIEWS)
        return make_silhouettes(self.gaussians, cameras, self.center)


def make_bank(
    gaussians: Gaussians,
    K: Float[np.ndarray, "3 3"],
    width: int,
    height: int,
    *,
    cameras: Cameras | None = None,
    views: int = VIEWS,
    side: int = SIDE,
) -> Bank:
    """Look at the Gaussians (numpy) through the photos' lens from all sides, or from `cameras`, and keep the features.

    `width`, `height` and `K` are the photos'; the pictures here are `side` pixels on the longer side. One bank serves
    all photos of a scene, also those of somewhat other lenses.
    """
    if cameras is None:
        cameras = candidate_cameras(gaussians, K, width, height, views)
    cameras = resized(cameras, *working_size(cameras.width, cameras.height, side))
    return _bank_of(gaussians, cameras, 1)


def _bank_of(gaussians: Gaussians, cameras: Cameras, upsample: int) -> Bank:
    center, radius = bounding_ball(gaussians)
    descriptors, points = [], []
    for camera in cameras:
        sight = look(gaussians, camera)
        features = detect(sight.over(BACKGROUND), region=sight.solid, upsample=upsample)
        lifted = lift(features.pixels, sight, camera)
        descriptors.append(features.descriptors)
        points.append(lifted)
    starts = np.concatenate([[0], np.cumsum([len(group) for group in points])])
    return Bank(gaussians, cameras, np.concatenate(descriptors), np.concatenate(points), starts, center, radius)


def working_size(width: int, height: int, side: int) -> tuple[int, int]:
    """Width and height of the same picture with `side` pixels on the longer side, and at least 16 on the other."""
    longer = max(width, height)
    return max(16, round(width * side / longer)), max(16, round(height * side / longer))


def look(gaussians: Gaussians, camera: Cameras) -> Sight:
    """The scene from one camera, with the pixels that show a single surface told apart."""
    colors, alphas, depths = (picture[0] for picture in rasterize(gaussians, camera))
    alpha, depth = alphas[..., 0], depths[..., 0]
    # The mean of the squared depth is a picture whose colour is the squared depth: in units that keep the digits.
    view = np.asarray(camera.viewmats[0], dtype=np.float64)
    z = np.asarray(gaussians.means, dtype=np.float64) @ view[2, :3] + view[2, 3]
    seen = depth[alpha > SOLID]
    middle = float(np.median(seen)) if len(seen) else 1.0
    offset = (z / middle - 1)[:, None]
    tints = np.concatenate([offset + 1, offset**2, np.zeros_like(offset)], axis=1)  # a colour below 0 would show as 0
    tinted = replace(gaussians, sh=rgb_to_dc(tints)[:, None].astype(np.float32))
    moments = rasterize(tinted, camera).colors[0]
    with np.errstate(all="ignore"):
        mean = moments[..., 0] / alpha - 1
        variance = moments[..., 1] / alpha - mean**2
        solid = (alpha > SOLID) & (variance < SPREAD**2 * (mean + 1) ** 2)
    return Sight(colors, alpha, depth, solid)


def lift(pixels: Float[np.ndarray, "k 2"], sight: Sight, camera: Cameras) -> Float[np.ndarray, "k 3"]:
    """The points of the scene, in world units, that the camera sees at `pixels`; between pixel centres, between them.

    Neighbours that show another surface are left out. A pixel none of whose four neighbours is solid gives NaN.
    """
    height, width = sight.depth.shape
    x, y = pixels[:, 0] - 0.5, pixels[:, 1] - 0.5
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    total, weight = np.zeros(len(pixels)), np.zeros(len(pixels))
    for i in (0, 1):
        for j in (0, 1):
            column, row = np.clip(left + i, 0, width - 1), np.clip(top + j, 0, height - 1)
            share = np.abs(1 - i - (x - left)) * np.abs(1 - j - (y - top)) * sight.solid[row, column]
            total += share * sight.depth[row, column]
            weight += share
    with np.errstate(invalid="ignore", divide="ignore"):
        depth = total / weight
    local = directions_of(pixels, _double(camera.Ks[0]))
    view = _double(camera.viewmats[0])
    return (local * depth[:, None] - view[:3, 3]) @ view[:3, :3]


def _double(matrix: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    return np.asarray(matrix, dtype=np.float64)
