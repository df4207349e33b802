"""The result of a rasterizer and the options of its projection, which all backends share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from jaxtyping import Float

    Array = Any  # a numpy array or a torch tensor


class Rendering(NamedTuple):
    """Pictures of Gaussians."""

    colors: Float[Array, "c h w 3"]  # sRGB, over the background, which is black where none was given
    alphas: Float[Array, "c h w 1"]  # [0, 1]
    depths: Float[Array, "c h w 1"]  # mean z in the camera, weighted by alpha, world units; 0 where nothing is


NEAR_PLANE, FAR_PLANE = 0.01, 1e10  # in units of the scene: see `gatlas.geometry.scene_unit`


class ProjectionOptions(NamedTuple):
    """Projection settings of `rasterize`, for the backends."""

    near_plane: float = NEAR_PLANE  # world units
    far_plane: float = FAR_PLANE
    eps2d: float = 0.3  # square pixels
    antialiased: bool = False
