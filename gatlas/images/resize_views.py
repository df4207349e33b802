"""Views at a smaller size."""

from __future__ import annotations

import numpy as np

from gatlas.geometry.cameras import resized
from gatlas.images.resize import reduce_picture, reduced_size
from gatlas.types import Views


def resize_views(views: Views, side: int) -> Views:
    """The views with the longer side at most `side` pixels (numpy); never enlarged. Pixels are area averages.

    The focal lengths and the principal point follow the pictures.
    """
    cameras = views.cameras
    width, height = reduced_size(cameras.width, cameras.height, side)
    if (width, height) == (cameras.width, cameras.height):
        return views
    images = np.stack([reduce_picture(image, width, height) for image in views.images])
    return Views(images, resized(cameras, width, height))
