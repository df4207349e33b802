"""An ellipsoid of Gaussians whose sides can be told apart, of which a mesh can be made."""

import numpy as np

from gatlas.geometry.rotations import quats_from_normals
from gatlas.geometry.sh import rgb_to_dc
from gatlas.types import Gaussians, Origin

AXES = np.array([0.6, 0.9, 0.45])  # of an ellipsoid whose sides can be told apart
CENTER, SCALE = (3.0, -2.0, 10.0), 5.0  # of the object before it was normalized


def ellipsoid(count=900):
    """Opaque discs on an ellipsoid that is red towards +x, green towards +y and blue towards +z."""
    index = np.arange(count) + 0.5
    y = 1 - 2 * index / count
    angle = index * np.pi * (3 - np.sqrt(5))
    ball = np.stack([np.sqrt(1 - y * y) * np.sin(angle), y, np.sqrt(1 - y * y) * np.cos(angle)], axis=1)
    normals = ball / AXES
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return Gaussians(
        (ball * AXES).astype(np.float32),
        quats_from_normals(normals.astype(np.float32)),
        np.tile(np.float32([0.05, 0.05, 0.005]), (count, 1)),
        np.full(count, 0.99, dtype=np.float32),
        rgb_to_dc(0.5 + 0.4 * ball)[:, None].astype(np.float32),
        Origin(name="egg", normalized=True, center=CENTER, scale=SCALE),
    )
