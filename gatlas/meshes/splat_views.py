"""Views of a splat from all around, rendered once: its colors, and the surface that each pixel shows."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from gatlas.errors import GatlasError
from gatlas.meshes.depth_maps import DepthMaps, empty_maps, fill_maps, parts_of, precisions
from gatlas.raster import rasterize, straight_rgba

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float64, UInt8

    from gatlas.types import Cameras, Gaussians


BYTES = 12  # a pixel: depth, normal and color


class SplatViews(NamedTuple):
    """Pictures of a splat and the points that they show, 12 bytes a pixel: 300 MB for 96 views of 512 x 512 pixels."""

    cameras: Cameras
    maps: DepthMaps
    pictures: UInt8[np.ndarray, "c h w 4"]  # straight sRGB and alpha, times 255

    def without_normals(self) -> SplatViews:
        """Return the views without their normals, which are a third of their memory."""
        return self._replace(maps=self.maps._replace(normals=self.maps.normals[:, :0, :0].copy()))


def see_splat(
    gaussians: Gaussians,
    cameras: Cameras,
    eps2d: Float64[np.ndarray, " c"] | None = None,
    *,
    backend: Literal["auto", "cuda"] = "auto",
    on_view: Callable[[], None] = lambda: None,
) -> SplatViews:
    """Return what the cameras see of Gaussians (numpy); `on_view` is called once per view.

    More pixels than memory holds are a GatlasError.
    """
    maps, pictures = _room(cameras)
    inverses = precisions(gaussians)
    for part in parts_of(cameras):
        blur = None if eps2d is None else eps2d[part]
        fill_maps(maps, part, gaussians, inverses, cameras, eps2d, backend)
        shown = straight_rgba(rasterize(gaussians, cameras[part], eps2d=blur, backend=backend))
        pictures[part] = np.rint(255.0 * shown)
        for _ in range(part.start, part.stop):
            on_view()
    return SplatViews(cameras, maps, pictures)


def _room(cameras: Cameras) -> tuple[DepthMaps, UInt8[np.ndarray, "c h w 4"]]:
    """Return maps and pictures to be filled. Memory that is not there is noticed before they are."""
    shape = (len(cameras), cameras.height, cameras.width)
    needed = BYTES * int(np.prod(shape, dtype=np.int64))
    fault = f"{shape[0]:,} views of {shape[2]} x {shape[1]} pixels need {needed / 1e9:.1f} GB of memory"
    if needed > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
        raise GatlasError(f"{fault}, more than this machine has: give fewer --views or a smaller --resolution")
    try:
        return empty_maps(cameras), np.empty((*shape, 4), dtype=np.uint8)
    except MemoryError:
        raise GatlasError(f"{fault}, more than is free: give fewer --views or a smaller --resolution") from None
