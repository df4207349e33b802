"""Gaussians and cameras to pictures: one signature, three backends.

`rasterize` takes numpy arrays or torch tensors and returns the same kind. Numpy never imports torch; torch is
differentiable. What every backend computes is written down in `gatlas.raster.reference`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatlas.geometry.libraries import is_tensor
from gatlas.images.composite import straight_alpha
from gatlas.raster.rendering import EPS2D, FAR_PLANE, NEAR_PLANE, ProjectionOptions, Rendering

if TYPE_CHECKING:
    from typing import Literal

    import numpy as np
    from jaxtyping import Float, Float32, Int32

    from gatlas.types import Cameras, Gaussians

    Array = Any  # a numpy array or a torch tensor

__all__ = ["Rendering", "median_depths", "median_gaussians", "overdraw", "rasterize", "straight_rgba", "visibility"]

BACKENDS = ("auto", "cpu", "reference", "cuda")
MODES = ("classic", "antialiased")
DEPTHS = ("expected", "median")


def rasterize(
    gaussians: Gaussians,
    cameras: Cameras,
    *,
    background: Float[Array, " 3"] | Float[Array, "c 3"] | None = None,
    backend: Literal["auto", "cpu", "reference", "cuda"] = "auto",
    near_plane: float | None = None,
    far_plane: float | None = None,
    eps2d: float | Float[np.ndarray, " c"] | None = None,
    rasterize_mode: Literal["classic", "antialiased"] | None = None,
    means2d_absgrad: Float32[Array, "c n 2"] | None = None,
    depth: Literal["expected", "median"] = "expected",
) -> Rendering:
    """Render Gaussians, numpy arrays or torch tensors, as each camera sees them.

    Differentiable for torch: to every field of `gaussians`, to `background`, and to `cameras.viewmats` with the
    backends "reference" and "cuda" only. "auto" is gsplat for tensors on a CUDA device and the CPU kernels for all
    else. Gaussians nearer than `near_plane` or farther than `far_plane` (world units) are left out. None is 0.01 and
    1e10 in units of the scene (`gatlas.geometry.scene_unit`), so that the unit of length has no effect; of
    tensors, which change in a training, it is that of a scene that was brought to unit size. `eps2d` (square pixels; of
    all cameras or of each) is added to the variance of every projected Gaussian; None is that of the pixels that the
    Gaussians were fitted to (`gatlas.raster.blur`), 0.3 where their origin does not say. Degree-0 colors are those of
    `gatlas.geometry.sh.eval_sh`, and negative ones are shown as 0. Opacities must be in [0, 1]. The conventions are
    gsplat 1.5's.

    `rasterize_mode="antialiased"` lowers opacities by as much as `eps2d` enlarges the Gaussians (the 2D filter of Yu et
    al. 2024, Mip-Splatting); None is the mode of the Gaussians' origin. To `means2d_absgrad`, a float32 tensor, the
    backward pass adds for each camera and each Gaussian the sums over the pixels of the absolute gradients to x and y
    of its mean in the picture (Ye et al. 2024, AbsGS): what densification looks at. It costs nothing where it is left
    out.

    `depth="median"` gives `median_depths` instead of the mean depths, in a pass of its own; they have no gradient.
    """
    if depth not in DEPTHS:
        raise ValueError(f"depth must be one of {', '.join(DEPTHS)}, got {depth!r}")
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    if isinstance(background, (tuple, list)):
        import numpy as np

        background = np.array(background, dtype=np.float32)
    if background is not None and tuple(background.shape) not in {(3,), (len(cameras), 3)}:
        raise ValueError(f"background must have shape [3] or [{len(cameras)} 3], got {list(background.shape)}")
    if rasterize_mode is not None and rasterize_mode not in MODES:
        raise ValueError(f"rasterize_mode must be one of {', '.join(MODES)}, got {rasterize_mode!r}")
    options = _options(gaussians, cameras, near_plane, far_plane, eps2d, rasterize_mode)
    if means2d_absgrad is not None and not is_tensor(gaussians.means):
        raise ValueError("means2d_absgrad needs Gaussians that are torch tensors: numpy arrays have no backward pass")
    if is_tensor(gaussians.means) or backend in ("reference", "cuda"):
        from gatlas.raster.dispatch import rasterize_tensors

        rendering = rasterize_tensors(gaussians, cameras, background, backend, means2d_absgrad, options)
    else:
        from gatlas.raster.cpu import rasterize_arrays

        rendering = rasterize_arrays(gaussians, cameras, background, options)
    return (
        rendering if depth == "expected" else rendering._replace(depths=_medians(gaussians, cameras, backend, options))
    )


def median_depths(
    gaussians: Gaussians,
    cameras: Cameras,
    *,
    backend: Literal["auto", "cpu", "reference", "cuda"] = "auto",
    near_plane: float | None = None,
    far_plane: float | None = None,
    eps2d: float | Float[np.ndarray, " c"] | None = None,
    rasterize_mode: Literal["classic", "antialiased"] | None = None,
) -> Float[Array, "c h w 1"]:
    """Return z in the camera, world units, of the Gaussian that takes each pixel's transmittance to 1/2 or below.

    It is 0 where alpha is less than a half. Unlike the mean depth it lies on one surface where a pixel shows an edge
    in front of another surface. It has no gradient. The arguments are those of `rasterize`; on the CPU it is cheaper
    than a picture, for gsplat dearer.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    options = _options(gaussians, cameras, near_plane, far_plane, eps2d, rasterize_mode)
    return _medians(gaussians, cameras, backend, options)


def median_gaussians(
    gaussians: Gaussians,
    cameras: Cameras,
    *,
    backend: Literal["auto", "cpu", "reference", "cuda"] = "auto",
    eps2d: float | Float[np.ndarray, " c"] | None = None,
    rasterize_mode: Literal["classic", "antialiased"] | None = None,
) -> Int32[Array, "c h w"]:
    """Return the index of the Gaussian that takes each pixel's transmittance to 1/2 or below; -1 where none.

    `median_depths` are its z. The planes are the defaults, the other arguments as in `rasterize`.
    """
    options = _options(gaussians, cameras, None, None, eps2d, rasterize_mode)
    if is_tensor(gaussians.means) or backend in ("reference", "cuda"):
        from gatlas.raster.dispatch import median_gaussians_tensors

        return median_gaussians_tensors(gaussians, cameras, backend, options)
    from gatlas.raster.cpu import median_gaussians_arrays

    return median_gaussians_arrays(gaussians, cameras, options)


def _medians(
    gaussians: Gaussians, cameras: Cameras, backend: str, options: ProjectionOptions
) -> Float[Array, "c h w 1"]:
    if is_tensor(gaussians.means) or backend in ("reference", "cuda"):
        from gatlas.raster.dispatch import median_depths_tensors

        return median_depths_tensors(gaussians, cameras, backend, options)
    from gatlas.raster.cpu import median_depths_arrays

    return median_depths_arrays(gaussians, cameras, options)


def _options(
    gaussians: Gaussians,
    cameras: Cameras,
    near_plane: float | None,
    far_plane: float | None,
    eps2d: float | Float[np.ndarray, " c"] | None,
    rasterize_mode: str | None,
) -> ProjectionOptions:
    """Return the settings of the projection, those that are None chosen by the Gaussians."""
    from gatlas.geometry.scene_unit import scene_unit

    unit = 1.0 if is_tensor(gaussians.means) else scene_unit(gaussians)
    near_plane = NEAR_PLANE * unit if near_plane is None else near_plane
    far_plane = FAR_PLANE * unit if far_plane is None else far_plane
    if eps2d is None and gaussians.origin.pixel_sizes is not None:
        from gatlas.raster.blur import fitted_blur

        eps2d = fitted_blur(gaussians, cameras)
    eps2d = EPS2D if eps2d is None else eps2d
    shape = list(getattr(eps2d, "shape", []))
    if shape not in ([], [len(cameras)]):
        raise ValueError(f"eps2d must be a number or have shape [{len(cameras)}], got {shape}")
    antialiased = gaussians.origin.antialiased if rasterize_mode is None else rasterize_mode == "antialiased"
    return ProjectionOptions(near_plane, far_plane, eps2d, antialiased)


def straight_rgba(rendering: Rendering) -> Float[np.ndarray, "c h w 4"]:
    """Return the pictures as straight RGBA in [0, 1] (numpy); the rendering must have had no background."""
    return straight_alpha(rendering.colors, rendering.alphas).clip(0.0, 1.0)


def visibility(
    gaussians: Gaussians,
    cameras: Cameras,
    *,
    reduce: Literal["sum", "max"] = "sum",
    eps2d: float | Float[np.ndarray, " c"] | None = None,
    rasterize_mode: Literal["classic", "antialiased"] | None = None,
) -> Float32[np.ndarray, "c n"]:
    """Return the blending weight of each Gaussian in each picture, summed over the pixels (numpy only).

    With `reduce="max"` it is the largest weight in any one pixel, in [0, 1]. The planes are the defaults, blur and mode
    as in `rasterize`.
    """
    if reduce not in ("sum", "max"):
        raise ValueError(f"reduce must be 'sum' or 'max', got {reduce!r}")
    from gatlas.raster.cpu import visibility_arrays

    options = _options(gaussians, cameras, None, None, eps2d, rasterize_mode)
    return visibility_arrays(gaussians, cameras, reduce, options)


def overdraw(
    gaussians: Gaussians,
    cameras: Cameras,
    *,
    eps2d: float | Float[np.ndarray, " c"] | None = None,
    rasterize_mode: Literal["classic", "antialiased"] | None = None,
) -> Int32[np.ndarray, "c h w"]:
    """Return how many Gaussians are blended in each pixel (numpy only): those that a renderer evaluates there.

    Those behind what ends a pixel do not count. The planes are the defaults, blur and mode as in `rasterize`.
    """
    from gatlas.raster.cpu import overdraw_arrays

    return overdraw_arrays(gaussians, cameras, _options(gaussians, cameras, None, None, eps2d, rasterize_mode))
