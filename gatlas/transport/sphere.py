"""The points on the unit sphere that Gaussians move onto."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

# Names the convention below in files: another order or another axis gives another atlas.
SPHERE_NAME = "fibonacci-y-endpoints-v1"


def fibonacci_sphere(n: int) -> Float[np.ndarray, "n 3"]:
    """`n` nearly evenly spread points of the unit sphere, the first at y = -1 and the last at y = +1.

    y_i = -1 + 2i/(n-1), theta_i = i pi (3 - sqrt 5), (x, z) = sqrt(1 - y^2) (cos theta, sin theta): the convention of
    the published Gaussian Atlas files. A single point has no second end: it is (0, -1, 0).
    """
    if n < 1:
        raise ValueError(f"n must be >= 1, got {n}")
    index = np.arange(n, dtype=np.float64)
    y = -1.0 + 2.0 * index / max(n - 1, 1)
    theta = index * (np.pi * (3.0 - np.sqrt(5.0)))
    radius = np.sqrt(np.maximum(0.0, 1.0 - y * y))
    return np.stack([np.cos(theta) * radius, y, np.sin(theta) * radius], axis=1)
