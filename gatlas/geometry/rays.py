"""Rays through pixels, and their encodings for networks, for numpy arrays and torch tensors alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.geometry.cameras import camera_centers
from gatlas.geometry.libraries import is_tensor, library_of

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from gatlas.types import AnyCameras, Cameras

    Array = Any  # a numpy array or a torch tensor


def rays(cameras: Cameras) -> tuple[Float[Array, "c 3"], Float[Array, "c h w 3"]]:
    """Return the origins and the unit directions, in the world, of the rays through the pixel centers.

    Directions of numpy cameras are float64; tensors keep their type.
    """
    Ks, rotations = cameras.Ks, cameras.viewmats[:, :3, :3]
    if not is_tensor(Ks):
        Ks, rotations = np.asarray(Ks, dtype=np.float64), np.asarray(rotations, dtype=np.float64)
    local = pixel_rays(Ks, cameras.width, cameras.height)
    directions = (rotations[:, None, None] * local[..., None]).sum(-2)
    lengths = library_of(Ks).linalg.norm(directions, axis=-1)
    return camera_centers(cameras.viewmats), directions / lengths[..., None]


def pixel_rays(
    Ks: Float[Array, "*c 3 3"], width: int, height: int, *, normalized: bool = False
) -> Float[Array, "*c h w 3"]:
    """Return the directions through the pixel centers in each camera's own axes, with z = 1.

    `normalized` intrinsics have their first row divided by the width and their second by the height. Torch's autocast
    must be off: it would round the directions.
    """
    library = library_of(Ks)
    kind = {"dtype": Ks.dtype, **({"device": Ks.device} if is_tensor(Ks) else {})}
    u, v = library.arange(width, **kind) + 0.5, library.arange(height, **kind) + 0.5
    if normalized:
        u, v = u / width, v / height
    x, y = library.meshgrid(u, v, indexing="xy")
    pixels = library.stack([x, y, library.ones_like(x)], axis=-1)  # [h w 3]
    return library.einsum("...ij,hwj->...hwi", library.linalg.inv(Ks), pixels)


def directions_of(pixels: Float[np.ndarray, "n 2"], K: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "n 3"]:
    """Return the directions through `pixels` (x, y) in the camera's own axes, with z = 1 (numpy)."""
    return np.concatenate([pixels, np.ones((len(pixels), 1))], axis=1) @ np.linalg.inv(K).T


def directions_through(
    pixels: Float[np.ndarray, "n 2"], cameras: AnyCameras, index: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "n 3"]:
    """Return the world directions through `pixels` (x, y) of camera `index`, with z = 1 in that camera (numpy)."""
    inverses = np.linalg.inv(cameras.Ks.astype(np.float64))
    local = np.einsum("nij,nj->ni", inverses[index], np.concatenate([pixels, np.ones((len(pixels), 1))], axis=1))
    return np.einsum("nji,nj->ni", cameras.viewmats[index, :3, :3].astype(np.float64), local)


def plucker(origins: Float[Array, "*#n 3"], directions: Float[Array, "*#n 3"]) -> Float[Array, "*n 6"]:
    """Return the Plücker coordinates of rays: the moment, origin x direction, and then the direction.

    They are the same for every point of the ray that is taken as its origin. Tang et al. 2024, LGM, sec. 3.2.
    """
    library = library_of(origins, directions)
    (a, b, c), (x, y, z) = (tuple(array[..., i] for i in range(3)) for array in (origins, directions))
    moments = library.stack([b * z - c * y, c * x - a * z, a * y - b * x], axis=-1)
    return library.concatenate([moments, library.broadcast_to(directions, moments.shape)], axis=-1)


def posenc_nerf(values: Float[Array, "*n d"], octaves: int) -> Float[Array, "*n e"]:
    """Return the values, then the sines of 2^k times them for each k < `octaves`, then the cosines: d + 2 d octaves.

    Without a factor pi: Watson et al. 2023, 3DiM, after Mildenhall et al. 2020, NeRF, eq. 4.
    """
    library = library_of(values)
    waves = [2.0**k * values for k in range(octaves)]
    parts = [values, *(library.sin(wave) for wave in waves), *(library.cos(wave) for wave in waves)]
    return library.concatenate(parts, axis=-1)
