"""The vertical of a scene, from photos that were taken upright."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float

# Of a photo as its EXIF orientation (1 to 8) turns it: the axis of the stored pixels that runs to the right, and that
# which runs down.
_RIGHT = ((1, 0), (-1, 0), (-1, 0), (1, 0), (0, 1), (0, -1), (0, -1), (0, 1))
_DOWN = ((0, 1), (0, 1), (0, -1), (0, -1), (1, 0), (1, 0), (-1, 0), (-1, 0))
SPREAD = 0.02  # least mean square of the horizontal axes across their main direction, for a vertical of their own
TILTED = 0.5  # cosine between that vertical and the mean of the photos', below which it is none


def upright_rotation(viewmats: Float[np.ndarray, "c 4 4"], orientations: Sequence[int]) -> Float[np.ndarray, "3 3"]:
    """Return the rotation of the world after which +y is up and the first camera looks along -z.

    Photos are held level, and may look up or down: their axes to the right lie in a plane, whose normal is up. Where
    all these are parallel, up is the mean of the photos' own.
    """
    turned = np.asarray(orientations) - 1
    across, down = (np.asarray(table)[turned].astype(np.float64) for table in (_RIGHT, _DOWN))
    rows = viewmats[:, :2, :3].astype(np.float64)
    right, up = (np.einsum("ci,cij->cj", axes, rows) for axes in (across, -down))
    mean = up.mean(axis=0)
    values, vectors = np.linalg.eigh(right.T @ right / len(right))
    normal = vectors[:, 0] * np.sign(vectors[:, 0] @ mean or 1.0)
    if values[1] < SPREAD or normal @ mean < TILTED * np.linalg.norm(mean):
        normal = mean
    y = normal / max(float(np.linalg.norm(normal)), 1e-12)
    if not np.isclose(np.linalg.norm(y), 1.0):
        return np.eye(3)
    back = -viewmats[0, 2, :3].astype(np.float64)
    level = back - (back @ y) * y
    if np.linalg.norm(level) < 1e-6:  # it looks straight up or down
        level = np.cross(right[0], y)
    z = level / np.linalg.norm(level)
    return np.stack([np.cross(y, z), y, z])
