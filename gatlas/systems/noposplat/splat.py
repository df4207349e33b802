"""The splat that is predicted from photos, and the cameras of its photos.

The world is the first camera with the axes of glTF and OpenGL, as everywhere in gatlas: x right, y up, z towards the
viewer, so that the first photo's `transform_matrix` is the identity. The network's own frame has OpenCV's axes, half a
turn about x from there. There is a Gaussian per pixel, view by view and row by row: `origin.grid` is (height, width) of
one view.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gatlas.geometry.cameras import OPENGL_AXES
from gatlas.geometry.frames import half_turn
from gatlas.images.crop import cover
from gatlas.pose.solve import GRID_THRESHOLD, grid_correspondences, solve_pnp
from gatlas.systems.contract import Located
from gatlas.types import Cameras, Gaussians, Origin, Views

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.systems.contract import Photo
    from gatlas.systems.noposplat.network import PixelGaussians

FIRST_VIEWMAT = OPENGL_AXES  # of the first camera
MIN_SCALE = 1e-9  # files store the logarithm


def crop_photos(photos: Sequence[Photo], width: int, height: int) -> tuple[Float[np.ndarray, "v h w 3"], np.ndarray]:
    """Return the middle of each photo at the network's size, and K with rows divided by the width and the height."""
    cuts = []
    for photo in photos:
        size = np.array([[photo.image.shape[1]], [photo.image.shape[0]], [1.0]])
        cuts.append(cover(photo.image, np.asarray(photo.K, dtype=np.float64) / size, width, height))
    return np.stack([picture for picture, _ in cuts]), np.stack([K for _, K in cuts]).astype(np.float32)


def to_gaussians(pixels: PixelGaussians, name: str) -> Gaussians:
    """Return the Gaussians of one scene (numpy) in the world of gatlas."""
    height, width = pixels.means.shape[2:4]
    means, quats, scales, opacities, sh = (array[0].float().cpu().numpy() for array in pixels.flatten())
    means, turned, sh = half_turn(means, quats.astype(np.float64), sh, "x")
    return Gaussians(
        means=means,
        quats=turned.astype(np.float32),
        scales=np.maximum(scales, MIN_SCALE),
        opacities=opacities,
        sh=sh,
        origin=Origin(name, grid=(height, width)),
    )


def locate_photos(
    gaussians: Gaussians, pictures: Float[np.ndarray, "v h w 3"], Ks: Float[np.ndarray, "v 3 3"]
) -> Located:
    """Return the camera of each picture: the first by definition, the others by PnP of their own Gaussians.

    `pictures` and `Ks` are those of `crop_photos`.
    """
    height, width = pictures.shape[1:3]
    size = np.array([[width], [height], [1.0]])
    viewmats: dict[int, np.ndarray] = {0: FIRST_VIEWMAT}
    for view in range(1, len(pictures)):
        points, pixels = grid_correspondences(gaussians, view, width, height)
        found = solve_pnp(points, pixels, Ks[view] * size, threshold=GRID_THRESHOLD * max(width, height))
        if found is not None:
            viewmats[view] = found.viewmat
    found_views = sorted(viewmats)
    cameras = Cameras(
        np.stack([viewmats[view] for view in found_views]).astype(np.float32),
        (Ks[found_views] * size).astype(np.float32),
        width,
        height,
    )
    return Located(Views(pictures[found_views], cameras), tuple(sorted(set(range(len(pictures))) - set(found_views))))
