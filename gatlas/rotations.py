"""Quaternions and rotation matrices. Quaternions are wxyz everywhere in memory.

The functions take numpy arrays or torch tensors and return the same kind.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxtyping import Float

    Array = Any  # a numpy array or a torch tensor


def _stack(parts: list[Any]) -> Any:
    """Stack along a new last axis, in whichever library the parts belong to."""
    torch = sys.modules.get("torch")
    if torch is not None and any(isinstance(part, torch.Tensor) for part in parts):
        return torch.stack(parts, dim=-1)
    import numpy as np

    return np.stack(parts, axis=-1)


def normalize_quats(quats: Float[Array, "*n 4"]) -> Float[Array, "*n 4"]:
    """The same rotations as unit quaternions with w >= 0. The zero quaternion has no rotation: it gives NaN."""
    unit = quats / (quats**2).sum(-1)[..., None] ** 0.5
    sign = 1.0 - 2.0 * (unit[..., :1] < 0)
    return unit * sign


def multiply_quats(left: Float[Array, "*n 4"], right: Float[Array, "*n 4"]) -> Float[Array, "*n 4"]:
    """Hamilton product: rotate by `right` first, then by `left`."""
    a, b, c, d = (left[..., i] for i in range(4))
    w, x, y, z = (right[..., i] for i in range(4))
    return _stack(
        [
            a * w - b * x - c * y - d * z,
            a * x + b * w + c * z - d * y,
            a * y - b * z + c * w + d * x,
            a * z + b * y - c * x + d * w,
        ]
    )


def quats_to_matrices(quats: Float[Array, "*n 4"]) -> Float[Array, "*n 3 3"]:
    """Rotation matrices of quaternions that need not be unit (they must not be zero)."""
    unit = quats / (quats**2).sum(-1)[..., None] ** 0.5
    w, x, y, z = (unit[..., i] for i in range(4))
    rows = [
        _stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)]),
        _stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)]),
        _stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]),
    ]
    return _stack(rows).swapaxes(-1, -2)


def matrices_to_quats(matrices: Float[Array, "*n 3 3"]) -> Float[Array, "*n 4"]:
    """Unit quaternions, w >= 0, of proper rotation matrices (numpy).

    Bar-Itzhack 2000: the quaternion is the leading eigenvector of a symmetric 4x4 matrix, which has no
    singular case and gives the nearest rotation where the matrix is slightly off.
    """
    import numpy as np

    m = np.asarray(matrices, dtype=np.float64)
    xx, xy, xz = m[..., 0, 0], m[..., 0, 1], m[..., 0, 2]
    yx, yy, yz = m[..., 1, 0], m[..., 1, 1], m[..., 1, 2]
    zx, zy, zz = m[..., 2, 0], m[..., 2, 1], m[..., 2, 2]
    rows = [
        _stack([xx + yy + zz, zy - yz, xz - zx, yx - xy]),
        _stack([zy - yz, xx - yy - zz, xy + yx, xz + zx]),
        _stack([xz - zx, xy + yx, yy - xx - zz, yz + zy]),
        _stack([yx - xy, xz + zx, yz + zy, zz - xx - yy]),
    ]
    _, vectors = np.linalg.eigh(np.stack(rows, axis=-2))
    return normalize_quats(vectors[..., -1]).astype(matrices.dtype)


def quats_from_normals(normals: Float[Array, "n 3"]) -> Float[Array, "n 4"]:
    """Unit quaternions that turn the z axis onto each unit normal by the shortest way (numpy).

    The normal (0, 0, -1) has no shortest way; it gets the half turn about x.
    """
    import numpy as np

    x, y, z = (np.asarray(normals[:, i], dtype=np.float64) for i in range(3))
    quats = np.stack([1 + z, -y, x, np.zeros_like(x)], axis=-1)
    flipped = np.linalg.norm(quats, axis=-1) < 1e-6
    quats[flipped] = (0.0, 1.0, 0.0, 0.0)
    return (quats / np.linalg.norm(quats, axis=-1, keepdims=True)).astype(normals.dtype)
