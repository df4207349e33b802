"""Relocation of idle Gaussians to places where the pictures have large errors; their number never changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from gatlas.fit.adam import MOMENTS
from gatlas.fit.exposure import without_exposure
from gatlas.fit.hull import inside_silhouettes
from gatlas.fit.optimize import as_gaussians
from gatlas.fit.projection import pixels_at
from gatlas.geometry.cameras import camera_centers
from gatlas.geometry.rays import directions_through
from gatlas.images.composite import composite
from gatlas.raster import rasterize, visibility
from gatlas.types import LOG_SCALE_RANGE, Origin

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from gatlas.fit.adam import Adam
    from gatlas.fit.exposure import PhotoExposures
    from gatlas.types import AnyCameras, AnyViews, Gaussians

EVERY = 100  # steps
UNTIL = 0.7  # of the steps
PICTURES = 16  # looked at each time
DEAD_OPACITY = 0.005
IDLE_SHARE = 0.1  # of the Gaussians: those that make up least of the pictures move too
COVERED = 0.5  # alpha above which a pixel's depth is known
NEW_OPACITY = 0.5
NEW_SIGMA = 1.0  # pixels
TRIES = 4  # places drawn for each that is wanted: some are in the air
STRAY_MISSES = 0.1  # of the views that show a place, saying that it is empty: above it it is in the air
REACH = 1.25  # radii of the unit ball: pictures hold more along their longer side


class Relocator:
    """Between the steps of an optimization: every EVERY steps, up to UNTIL of them, moves what is dead or idle.

    Dead is an opacity below DEAD_OPACITY; idle are the IDLE_SHARE that make up least of the pictures, summed over at
    most PICTURES views. Each goes to a random pixel, likelier where the pictures differ, at the depth that is rendered
    there, with the photo's color and the size of a pixel. Its moments in Adam begin anew. Those before `first` stay
    where they are. Kheradmand et al. 2024 (3DGS-MCMC) move dead ones onto living ones instead, which finds no part that
    is missing altogether.
    """

    def __init__(
        self,
        views: AnyViews,
        iterations: int,
        rng: np.random.Generator,
        exposures: PhotoExposures | None = None,
        *,
        antialiased: bool = False,
        first: int = 0,
    ) -> None:
        self._views, self._last, self._rng, self._exposures = views, int(UNTIL * iterations), rng, exposures
        self._first = first
        self._origin = Origin(normalized=True, antialiased=antialiased)

    def __call__(self, step: int, parameters: dict[str, torch.Tensor], adam: Adam) -> None:
        if step % EVERY or step > self._last:
            return
        gaussians = as_gaussians(parameters, self._origin)
        count = min(PICTURES, len(self._views))
        chosen = np.sort(self._rng.choice(len(self._views), size=count, replace=False))
        looked_at = self._views[chosen]
        if self._exposures is not None:
            looked_at = without_exposure(looked_at, self._exposures.found().at(chosen))
        rows = idle_gaussians(gaussians, looked_at.cameras)
        rows = rows[rows >= self._first]
        spots = wrong_spots(gaussians, looked_at, len(rows), self._rng)
        _move(rows[: len(spots.means)], spots, parameters, adam)


class RelocationTargets(NamedTuple):
    """Places where pictures need more Gaussians."""

    means: Float[np.ndarray, "n 3"]
    sigmas: Float[np.ndarray, " n"]
    rgb: Float[np.ndarray, "n 3"]


def idle_gaussians(gaussians: Gaussians, cameras: AnyCameras) -> Int[np.ndarray, " k"]:
    """Indices of the dead and of the least visible IDLE_SHARE, sorted."""
    seen = np.zeros(len(gaussians))
    for camera in cameras:
        seen += visibility(gaussians, camera)[0]
    idle = np.argsort(seen, kind="stable")[: int(IDLE_SHARE * len(gaussians))]
    return np.union1d(idle, np.flatnonzero(gaussians.opacities < DEAD_OPACITY))


def wrong_spots(gaussians: Gaussians, views: AnyViews, count: int, rng: np.random.Generator) -> RelocationTargets:
    """At most `count` places on rays through pixels that differ from the RGBA views, likelier where they differ more.

    A pixel that should show something and is rendered empty has no depth: the place is a random one on its ray, in or
    just around the unit ball. Pixels that should be empty get none. Places that
    other views show as empty are left out, so fewer than `count` may come back.
    """
    errors, depths, alphas = [], [], []
    for index, rgba in enumerate(views.images):
        background = rng.random(3, dtype=np.float32)
        drawn = rasterize(gaussians, views.cameras[index], background=background)
        target = composite(rgba, background)
        errors.append(np.abs(drawn.colors[0] - target).mean(axis=-1) * (rgba[..., 3] > COVERED))
        depths.append(drawn.depths[0, ..., 0])
        alphas.append(drawn.alphas[0, ..., 0])
    weights = _raveled(errors).astype(np.float64)
    if not weights.sum() > 0:
        return RelocationTargets(np.empty((0, 3)), np.empty(0), np.empty((0, 3)))
    # One draw by the cumulative error: a thousand times faster than choice(p=...), and the same distribution.
    cumulative = np.cumsum(weights)
    tries = TRIES * count
    picked = np.searchsorted(cumulative, rng.random(tries) * cumulative[-1], side="right")
    picked = np.minimum(picked, weights.size - 1)
    ends = np.cumsum([each.size for each in errors])
    view = np.searchsorted(ends, picked, side="right")
    widths = np.array([each.shape[1] for each in errors])[view]
    row, column = np.divmod(picked - np.concatenate([[0], ends])[view], widths)

    cameras = views.cameras
    pixels = np.stack([column + rng.random(tries), row + rng.random(tries)], axis=-1)
    eyes = camera_centers(cameras.viewmats.astype(np.float64))[view]
    rays = directions_through(pixels, cameras, view)
    known = _raveled(alphas)[picked] > COVERED
    depth, met = _through_ball(eyes, rays, rng)
    depth = np.where(known, _raveled(depths)[picked], depth)
    means = eyes + depth[:, None] * rays
    # A place that other views show as empty would be a speck in the air.
    kept = (known | met) & (depth > 0) & inside_silhouettes(means, views, STRAY_MISSES)
    first = np.flatnonzero(kept)[:count]
    sigmas = NEW_SIGMA * depth / cameras.Ks[view, 0, 0]
    rgb = pixels_at(views, view, row, column)[:, :3]
    return RelocationTargets(means[first], sigmas[first], rgb[first])


def _raveled(pictures: list[Float[np.ndarray, "_ _"]]) -> Float[np.ndarray, " n"]:
    return np.concatenate([each.ravel() for each in pictures])


def _through_ball(
    eyes: Float[np.ndarray, "n 3"], rays: Float[np.ndarray, "n 3"], rng: np.random.Generator
) -> tuple[Float[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Random t of points eye + t * ray within REACH of the origin, in front of the eye; False where there is none."""
    a, b, c = (rays**2).sum(axis=1), np.einsum("ni,ni->n", rays, eyes), (eyes**2).sum(axis=1) - REACH**2
    root = b * b - a * c
    half = np.sqrt(np.maximum(root, 0.0)) / a
    near, far = np.maximum(-b / a - half, 0.0), -b / a + half
    return near + rng.random(len(eyes)) * (far - near), (root > 0) & (far > near)


def _move(
    rows: Int[np.ndarray, " k"], spots: RelocationTargets, parameters: dict[str, torch.Tensor], adam: Adam
) -> None:
    """Overwrite these rows of the parameters, and forget what Adam remembers of them."""
    device = parameters["means"].device
    index = torch.from_numpy(rows).to(device)
    log_sigmas = np.clip(np.log(np.maximum(spots.sigmas, 1e-12)), *LOG_SCALE_RANGE)
    values = {
        "means": spots.means,
        "quats": np.tile([1.0, 0.0, 0.0, 0.0], (len(rows), 1)),
        "log_scales": np.repeat(log_sigmas[:, None], 3, axis=1),
        "logits": np.full(len(rows), np.log(NEW_OPACITY / (1 - NEW_OPACITY))),
        "rgb": spots.rgb,
    }
    if "sh_rest" in parameters:
        values["sh_rest"] = np.zeros((len(rows), *parameters["sh_rest"].shape[1:]))
    with torch.no_grad():
        for name, value in values.items():
            parameters[name][index] = torch.from_numpy(np.asarray(value, dtype=np.float32)).to(device)
            state = adam.state.get(parameters[name], {})
            for moment in MOMENTS:
                if moment in state:
                    state[moment][index] = 0.0
