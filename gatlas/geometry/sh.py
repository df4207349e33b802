"""Real spherical harmonics of the 3DGS convention, degree 0 to 3, for numpy arrays and torch tensors alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

    Array = Any  # a numpy array or a torch tensor

SH_C0 = 0.28209479177387814
SH_C1 = 0.4886025119029199
SH_C2 = (1.0925484305920792, -1.0925484305920792, 0.31539156525252005, -1.0925484305920792, 0.5462742152960396)
SH_C3 = (
    -0.5900435899266435,
    2.890611442640554,
    -0.4570457994644658,
    0.3731763325901154,
    -0.4570457994644658,
    1.445305721320277,
    -0.5900435899266435,
)

# Sign that each basis function takes in a half turn. About x, y and z change theirs; about z, the odd orders flip.
HALF_TURN_SIGNS = {
    "x": (1, -1, -1, 1, -1, 1, 1, -1, 1, -1, 1, -1, -1, 1, -1, 1),
    "z": (1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1),
}


def rgb_to_dc(rgb: Array) -> Array:
    """The degree-0 coefficient that shows as `rgb` (sRGB, [0, 1])."""
    return (rgb - 0.5) / SH_C0


def dc_to_rgb(dc: Array) -> Array:
    """The color (sRGB, unclamped) of a degree-0 coefficient."""
    return dc * SH_C0 + 0.5


def degree_of(count: int) -> int:
    """The degree of `count` coefficients: 1, 4, 9, 16 -> 0, 1, 2, 3. Any other count is a ValueError."""
    degrees = {1: 0, 4: 1, 9: 2, 16: 3}
    if count not in degrees:
        raise ValueError(f"sh needs 1, 4, 9 or 16 coefficients, got {count}")
    return degrees[count]


def with_degree(sh: Float[np.ndarray, "n k 3"], degree: int) -> Float[np.ndarray, "n j 3"]:
    """Return the coefficients up to a degree, 0 where there were none (numpy)."""
    import numpy as np

    count = (degree + 1) ** 2
    return np.pad(sh[:, :count], ((0, 0), (0, max(0, count - sh.shape[1])), (0, 0)))


def eval_sh(sh: Float[Array, "n k 3"], directions: Float[Array, "n 3"]) -> Float[Array, "n 3"]:
    """Color (sRGB, unclamped) seen along unit `directions` from the camera to each Gaussian."""
    degree = degree_of(sh.shape[-2])
    color = SH_C0 * sh[..., 0, :] + 0.5
    if degree == 0:
        return color
    x, y, z = directions[..., 0:1], directions[..., 1:2], directions[..., 2:3]
    color = color + SH_C1 * (-y * sh[..., 1, :] + z * sh[..., 2, :] - x * sh[..., 3, :])
    if degree == 1:
        return color
    xx, yy, zz = x * x, y * y, z * z
    color = (
        color
        + SH_C2[0] * x * y * sh[..., 4, :]
        + SH_C2[1] * y * z * sh[..., 5, :]
        + SH_C2[2] * (2 * zz - xx - yy) * sh[..., 6, :]
        + SH_C2[3] * x * z * sh[..., 7, :]
        + SH_C2[4] * (xx - yy) * sh[..., 8, :]
    )
    if degree == 2:
        return color
    return (
        color
        + SH_C3[0] * y * (3 * xx - yy) * sh[..., 9, :]
        + SH_C3[1] * x * y * z * sh[..., 10, :]
        + SH_C3[2] * y * (4 * zz - xx - yy) * sh[..., 11, :]
        + SH_C3[3] * z * (2 * zz - 3 * xx - 3 * yy) * sh[..., 12, :]
        + SH_C3[4] * x * (4 * zz - xx - yy) * sh[..., 13, :]
        + SH_C3[5] * z * (xx - yy) * sh[..., 14, :]
        + SH_C3[6] * x * (xx - 3 * yy) * sh[..., 15, :]
    )


def rotated_sh(sh: Float[np.ndarray, "n k 3"], rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "n k 3"]:
    """Return coefficients of the same colors after the object was turned by a rotation matrix (numpy).

    A turned band is a combination of the same band: what the turned colors are in some directions determines it.
    """
    import numpy as np

    if sh.shape[-2] == 1:
        return sh
    directions = np.random.default_rng(0).normal(size=(64, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    after, before = _basis(directions, sh.shape[-2]), _basis(directions @ rotation, sh.shape[-2])
    turned = sh.astype(np.float64)
    for degree in range(1, degree_of(sh.shape[-2]) + 1):
        band = slice(degree**2, (degree + 1) ** 2)
        turn = np.linalg.lstsq(after[:, band], before[:, band], rcond=None)[0]
        turned[:, band] = turn @ sh[:, band].astype(np.float64)
    return turned.astype(sh.dtype)


def _basis(directions: Float[np.ndarray, "d 3"], count: int) -> Float[np.ndarray, "d k"]:
    """The first `count` basis functions at unit directions."""
    import numpy as np

    unit = np.eye(count)[:, :, None].repeat(3, axis=2)  # each function alone
    return np.stack([eval_sh(unit, np.tile(direction, (count, 1)))[:, 0] - 0.5 for direction in directions])


def half_turn_sh(sh: Float[np.ndarray, "n k 3"], axis: Literal["x", "z"]) -> Float[np.ndarray, "n k 3"]:
    """Return coefficients of the same colors after the object turned by 180 degrees (numpy). Its own inverse."""
    import numpy as np

    return sh * np.array(HALF_TURN_SIGNS[axis][: sh.shape[-2]], dtype=sh.dtype)[:, None]
