"""The result of a rasterizer and the options of its projection, which all backends share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Float64

    Array = Any  # a numpy array or a torch tensor


def is_scalar(value: Any) -> bool:
    """Return True of a number, also one of numpy's or a tensor of no dimension."""
    return getattr(value, "ndim", 0) == 0


class Rendering(NamedTuple):
    """Pictures of Gaussians."""

    colors: Float[Array, "c h w 3"]  # sRGB, over the background, which is black where none was given
    alphas: Float[Array, "c h w 1"]  # [0, 1]
    depths: Float[Array, "c h w 1"]  # mean z in the camera, weighted by alpha, or median; world units; 0 where none


EPS2D = 0.3  # square pixels: the blur of gsplat and of the 3DGS viewers
NEAR_PLANE, FAR_PLANE = 0.01, 1e10  # in units of the scene: see `gatlas.geometry.scene_unit`


class ProjectionOptions(NamedTuple):
    """Projection settings of `rasterize`, for the backends."""

    near_plane: float = NEAR_PLANE  # world units
    far_plane: float = FAR_PLANE
    eps2d: float | Float64[np.ndarray, " c"] = EPS2D  # square pixels; of all cameras or of each
    antialiased: bool = False

    def of_camera(self, index: int) -> ProjectionOptions:
        """Return the settings of one camera, whose blur is a number."""
        eps2d: Any = self.eps2d if is_scalar(self.eps2d) else self.eps2d[index]  # type: ignore[index]
        return self._replace(eps2d=float(eps2d))
