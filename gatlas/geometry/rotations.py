"""Quaternions and rotation matrices. Quaternions are wxyz everywhere in memory.

The functions take numpy arrays or torch tensors and return the same kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatlas.geometry.libraries import library_of

if TYPE_CHECKING:
    from jaxtyping import Float

    Array = Any  # a numpy array or a torch tensor

TINY_SQUARED_ANGLE = 1e-24  # radians^2: keeps the axis of no rotation, and its gradient, finite


def _stack(parts: list[Any]) -> Any:
    """Return the parts stacked along a new last axis."""
    return library_of(*parts).stack(parts, axis=-1)


def normalize_quats(quats: Float[Array, "*n 4"]) -> Float[Array, "*n 4"]:
    """The same rotations as unit quaternions with w >= 0. The zero quaternion has no rotation: it gives NaN."""
    unit = quats / (quats**2).sum(-1)[..., None] ** 0.5
    sign = 1.0 - 2.0 * (unit[..., :1] < 0)
    return unit * sign


def multiply_quats(left: Float[Array, "*#n 4"], right: Float[Array, "*#n 4"]) -> Float[Array, "*n 4"]:
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


def so3_exp(vectors: Float[Array, "*n 3"]) -> Float[Array, "*n 3 3"]:
    """Rotation matrices of rotation vectors: axis times angle in radians."""
    half = 0.5 * ((vectors**2).sum(-1) + TINY_SQUARED_ANGLE) ** 0.5
    library = library_of(half)
    factor = 0.5 * library.sin(half) / half
    return quats_to_matrices(_stack([library.cos(half), *(factor * vectors[..., i] for i in range(3))]))


def so3_log(matrices: Float[Array, "*n 3 3"]) -> Float[Array, "*n 3"]:
    """Rotation vectors, at most pi long, of proper rotation matrices (numpy). A half turn has two; one is given."""
    import numpy as np

    quats = matrices_to_quats(np.asarray(matrices, dtype=np.float64))
    sine = np.linalg.norm(quats[..., 1:], axis=-1)  # of half the angle
    factor = np.where(sine > 1e-12, 2 * np.arctan2(sine, quats[..., 0]) / np.maximum(sine, 1e-12), 2.0)
    return (factor[..., None] * quats[..., 1:]).astype(matrices.dtype)


def se3_exp(twists: Float[Array, "*n 6"]) -> Float[Array, "*n 4 4"]:
    """Rigid motions of twists (numpy): a translation part first, then a rotation vector; both act at once."""
    import numpy as np

    twists = np.asarray(twists)
    rotation = twists[..., 3:]
    angle = np.linalg.norm(rotation, axis=-1)[..., None, None]
    small = angle < 1e-4  # where the closed forms cancel
    safe = np.where(small, 1.0, angle)
    first = np.where(small, 0.5 - angle**2 / 24, (1 - np.cos(safe)) / safe**2)
    second = np.where(small, 1 / 6 - angle**2 / 120, (safe - np.sin(safe)) / safe**3)
    zero = np.zeros_like(rotation[..., 0])
    x, y, z = (rotation[..., i] for i in range(3))
    cross = np.stack([_stack([zero, -z, y]), _stack([z, zero, -x]), _stack([-y, x, zero])], axis=-2)
    translations = (np.eye(3) + first * cross + second * cross @ cross) @ twists[..., :3, None]
    return rigid_motions(so3_exp(rotation), translations[..., 0])


def rigid_motions(rotations: Float[Array, "*n 3 3"], translations: Float[Array, "*n 3"]) -> Float[Array, "*n 4 4"]:
    """Return the matrices that rotate and then translate (numpy)."""
    import numpy as np

    motions = np.zeros((*rotations.shape[:-2], 4, 4), dtype=rotations.dtype)
    motions[..., :3, :3] = rotations
    motions[..., :3, 3] = translations
    motions[..., 3, 3] = 1.0
    return motions


def orthonormality_error(matrices: Float[Array, "*n 3 3"]) -> Float[Array, "*n"]:
    """Return the largest entry of |R^T R - I|, which is 0 for rotations and mirrors (numpy)."""
    import numpy as np

    return np.abs(matrices.swapaxes(-1, -2) @ matrices - np.eye(3)).max(axis=(-2, -1))


def nearest_rotation(matrices: Float[Array, "*n 3 3"]) -> Float[Array, "*n 3 3"]:
    """The proper rotation matrices nearest to 3 x 3 matrices in the Frobenius norm (numpy)."""
    import numpy as np

    left, _, right = np.linalg.svd(matrices)
    mirrored = np.linalg.det(left @ right) < 0
    left[..., -1] *= np.where(mirrored, -1.0, 1.0)[..., None]
    return left @ right


def angles_between(first: Float[Array, "*n 3 3"], second: Float[Array, "*n 3 3"]) -> Float[Array, "*n"]:
    """Degrees in [0, 180] by which rotation matrices differ (numpy); NaN where one is NaN."""
    import numpy as np

    between = first @ second.swapaxes(-1, -2)
    # The chord is exact for small angles, where the arc cosine of the trace has lost its digits.
    chord = np.linalg.norm(between - np.eye(3), axis=(-2, -1)) / np.sqrt(8)
    return np.degrees(2 * np.arcsin(np.clip(chord, 0, 1)))
