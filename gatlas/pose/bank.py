"""Feature bank of a scene: renders from many sides, their features, and the points of the scene at the features."""

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
from gatlas.pose.candidates import DEFAULT_VIEWS, bounding_ball, candidate_cameras
from gatlas.pose.features import detect
from gatlas.pose.silhouette import Silhouettes, make_silhouettes
from gatlas.raster import rasterize
from gatlas.types import Cameras

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from jaxtyping import Bool, Float, Int

    from gatlas.types import Gaussians

SIDE = 256  # pixels of the longer side; measured: 512 finds no more
BACKGROUND = 0.5  # sRGB gray: contrasts with most edges of an object
SOLID_ALPHA = 0.9  # alpha from which a pixel shows a surface
# Standard deviation over mean of the depth, above which a pixel shows two surfaces. Those of an object are thin: of its
# opaque pixels 56 to 96 % are below the first limit. Those of a scene with a background that was fitted to photos are
# thick: 0 to 5 % are below it from where its photos were taken, and up to 45 % from all sides.
THIN_SPREAD, THICK_SPREAD = 0.025, 0.3
THIN_SHARE = 0.7  # least share of the opaque pixels below THIN_SPREAD where that is the limit
SPREAD_VIEWS = 8  # cameras at which it is chosen
SILHOUETTE_VIEWS = 80


class SceneRender(NamedTuple):
    """The scene rendered from one camera, with the pixels that show a single surface."""

    image: Float[np.ndarray, "h w 3"]  # sRGB, over black
    alpha: Float[np.ndarray, "h w"]
    depth: Float[np.ndarray, "h w"]  # z in the camera, world units
    spread: Float[np.ndarray, "h w"]  # of the depth: standard deviation over mean; infinite where it is not opaque
    solid: Bool[np.ndarray, "h w"]  # True where one opaque surface is seen

    def over(self, background: Float[np.ndarray, "h w 3"] | float) -> Float[np.ndarray, "h w 3"]:
        """Return the picture over a background."""
        return np.clip(over(self.image, self.alpha[..., None], background), 0.0, 1.0).astype(np.float32)


@dataclass(frozen=True, eq=False)
class FeatureBank:
    """The features of a scene's renders, group after group in the order of the cameras."""

    gaussians: Gaussians
    cameras: Cameras
    descriptors: Float[np.ndarray, "n 128"]
    points: Float[np.ndarray, "n 3"]  # world units
    starts: Int[np.ndarray, " starts"]  # camera i has the rows starts[i] : starts[i + 1]
    center: Float[np.ndarray, " 3"]  # of the scene, world units
    radius: float  # world units
    max_spread: float  # of the depth of a pixel that shows one surface: standard deviation over mean

    @cached_property
    def upsampled(self) -> FeatureBank:
        """The same views with features of pictures at twice the size, made when a photo first needs them."""
        return _build(self.gaussians, self.cameras, 2, self.max_spread, {})

    @cached_property
    def gray(self) -> FeatureBank:
        """The same views of the scene in gray, made when a gray photo first needs them."""
        return replace(self, gaussians=to_gray(self.gaussians))

    @cached_property
    def silhouettes(self) -> Silhouettes:
        """Small pictures from all sides, made when a photo first needs them."""
        width, height = self.cameras.width, self.cameras.height
        cameras = candidate_cameras(self.gaussians, self.cameras.Ks[0], width, height, SILHOUETTE_VIEWS)
        return make_silhouettes(self.gaussians, cameras, self.center)


def make_feature_bank(
    gaussians: Gaussians,
    K: Float[np.ndarray, "3 3"],
    width: int,
    height: int,
    *,
    cameras: Cameras | None = None,
    views: int = DEFAULT_VIEWS,
    side: int = SIDE,
) -> FeatureBank:
    """Return the features of renders of the Gaussians (numpy) from `views` cameras on all sides, or from `cameras`.

    `width`, `height` and `K` are those of the photos; the renders have `side` pixels on the longer side. One bank
    serves all photos of a scene, also those with somewhat different intrinsics.
    """
    if cameras is None:
        cameras = candidate_cameras(gaussians, K, width, height, views)
    cameras = resized(cameras, *working_size(cameras.width, cameras.height, side))
    chosen = np.unique(np.linspace(0, len(cameras) - 1, min(SPREAD_VIEWS, len(cameras))).astype(int))
    renders = {int(i): render_scene(gaussians, cameras[i]) for i in chosen}
    max_spread = choose_spread(renders.values())
    return _build(gaussians, cameras, 1, max_spread, renders if max_spread == THIN_SPREAD else {})


def choose_spread(renders: Iterable[SceneRender]) -> float:
    """Return the spread of the depth up to which a pixel of the rendered scene shows one surface."""
    spreads = np.concatenate([render.spread.ravel() for render in renders])
    opaque = spreads[np.isfinite(spreads)]
    thin = np.count_nonzero(opaque < THIN_SPREAD) >= THIN_SHARE * len(opaque)
    return THIN_SPREAD if thin else THICK_SPREAD


def _build(
    gaussians: Gaussians, cameras: Cameras, upsample: int, max_spread: float, rendered: Mapping[int, SceneRender]
) -> FeatureBank:
    """Return the bank; `rendered` are renders with `max_spread` that there are already, by the camera's number."""
    center, radius = bounding_ball(gaussians)
    descriptors, points = [], []
    for number, camera in enumerate(cameras):
        render = rendered[number] if number in rendered else render_scene(gaussians, camera, max_spread)
        features = detect(render.over(BACKGROUND), region=render.solid, upsample=upsample)
        descriptors.append(features.descriptors)
        points.append(lift_pixels(features.pixels, render, camera))
    starts = np.concatenate([[0], np.cumsum([len(group) for group in points])])
    return FeatureBank(
        gaussians, cameras, np.concatenate(descriptors), np.concatenate(points), starts, center, radius, max_spread
    )


def working_size(width: int, height: int, side: int) -> tuple[int, int]:
    """Return width and height of a picture with `side` pixels on the longer side and at least 16 on the other."""
    longer = max(width, height)
    return max(16, round(width * side / longer)), max(16, round(height * side / longer))


def render_scene(gaussians: Gaussians, camera: Cameras, max_spread: float = THIN_SPREAD) -> SceneRender:
    """Return the scene (numpy) from one camera, with the pixels that show a single surface."""
    colors, alphas, depths = (picture[0] for picture in rasterize(gaussians, camera))
    alpha, depth = alphas[..., 0], depths[..., 0]
    # The mean squared depth is rendered as a color, in units that keep its digits.
    view = np.asarray(camera.viewmats[0], dtype=np.float64)
    z = np.asarray(gaussians.means, dtype=np.float64) @ view[2, :3] + view[2, 3]
    solid_depths = depth[alpha > SOLID_ALPHA]
    middle = float(np.median(solid_depths)) if len(solid_depths) else 1.0
    offset = (z / middle - 1)[:, None]
    tints = np.concatenate([offset + 1, offset**2, np.zeros_like(offset)], axis=1)  # negative colors are rendered as 0
    tinted = replace(gaussians, sh=rgb_to_dc(tints)[:, None].astype(np.float32))
    moments = rasterize(tinted, camera).colors[0]
    with np.errstate(all="ignore"):
        mean = moments[..., 0] / alpha - 1
        variance = moments[..., 1] / alpha - mean**2
        spread = np.where(alpha > SOLID_ALPHA, np.sqrt(np.maximum(variance, 0)) / (mean + 1), np.inf)
        solid = (alpha > SOLID_ALPHA) & (variance < max_spread**2 * (mean + 1) ** 2)
    return SceneRender(colors, alpha, depth, spread, solid)


def lift_pixels(pixels: Float[np.ndarray, "k 2"], render: SceneRender, camera: Cameras) -> Float[np.ndarray, "k 3"]:
    """Return the points of the scene, in world units, at `pixels` of a render, by bilinear interpolation of the depth.

    Pixels that are not solid are left out; NaN where none of the four neighbors is solid.
    """
    height, width = render.depth.shape
    x, y = pixels[:, 0] - 0.5, pixels[:, 1] - 0.5
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    total, weight = np.zeros(len(pixels)), np.zeros(len(pixels))
    for i in (0, 1):
        for j in (0, 1):
            column, row = np.clip(left + i, 0, width - 1), np.clip(top + j, 0, height - 1)
            share = np.abs(1 - i - (x - left)) * np.abs(1 - j - (y - top)) * render.solid[row, column]
            total += share * render.depth[row, column]
            weight += share
    with np.errstate(invalid="ignore", divide="ignore"):
        depth = total / weight
    local = directions_of(pixels, _double(camera.Ks[0]))
    view = _double(camera.viewmats[0])
    return (local * depth[:, None] - view[:3, 3]) @ view[:3, :3]


def _double(matrix: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    return np.asarray(matrix, dtype=np.float64)
