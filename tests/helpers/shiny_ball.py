"""A ball whose color depends on the direction."""

import numpy as np

from gatlas.geometry.rotations import quats_from_normals
from gatlas.geometry.sh import SH_C1
from gatlas.transport import fibonacci_sphere
from gatlas.types import Gaussians, Origin

SHINE = 0.25  # how much the color changes from the rim of the ball to its middle


def shiny_ball(count=400):
    """Opaque discs on a ball, gray along its rim and darker by SHINE times the cosine where they face the camera."""
    normals = fibonacci_sphere(count)
    sh = np.zeros((count, 4, 3), dtype=np.float32)
    x, y, z = normals.T * SHINE / SH_C1
    sh[:, 1], sh[:, 2], sh[:, 3] = -y[:, None], z[:, None], -x[:, None]
    return Gaussians(
        means=(0.9 * normals).astype(np.float32),
        quats=quats_from_normals(normals).astype(np.float32),
        scales=np.tile(np.float32([0.08, 0.08, 0.002]), (count, 1)),
        opacities=np.full(count, 0.99, dtype=np.float32),
        sh=sh,
        origin=Origin(normalized=True),
    )
