"""Rotation matrices that were rounded to float32 before a file got their quaternions.

Where a camera stands follows from its matrix and its translation, and far from the origin the rounding of the matrix
counts. A quaternion in double precision that was made of the entries of such a matrix is not quite unit, and tells
which matrix that was: of the float32 matrices next to its rotation hardly any other has exactly this quaternion.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.geometry.rotations import quats_to_matrices

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Float64

REACH = 6e-8  # radians: float32's rounding of the entries changes a rotation by less
TRIES = 100_000  # rotations within REACH
KEPT, FINER = 20, 2e-9  # of these the best, about which as many again are tried, radians
FOUND = 1e-10  # largest difference from the quaternion with which a matrix is taken for the one that it was made of


def float32_matrix(quat: Float[np.ndarray, " 4"]) -> Float64[np.ndarray, "3 3"] | None:
    """Return the matrix of float32 entries that a quaternion (wxyz) was made of; None where there is none.

    Quaternions are taken to be made by Shepperd's method (1978), from the trace where it is positive or from the
    largest entry of the diagonal. The search is the same every time.
    """
    rng = np.random.default_rng(0)
    base = quats_to_matrices(quat / np.linalg.norm(quat))
    best, found = FOUND, None
    for largest in {int(np.abs(quat).argmax()), *([0] if quat[0] ** 2 > 0.25 else [])}:
        turns = rng.uniform(-REACH, REACH, (TRIES, 3))
        _, errors = _candidates(base, turns, quat, largest)
        near = turns[np.argsort(errors, kind="stable")[:KEPT]]
        turns = np.repeat(near, TRIES // KEPT, axis=0) + rng.uniform(-FINER, FINER, (TRIES, 3))
        matrices, errors = _candidates(base, turns, quat, largest)
        first = int(errors.argmin())
        if errors[first] < best:
            best, found = float(errors[first]), matrices[first].astype(np.float64)
    return found


def _candidates(
    base: Float[np.ndarray, "3 3"], turns: Float[np.ndarray, "n 3"], quat: Float[np.ndarray, " 4"], largest: int
) -> tuple[Float32[np.ndarray, "n 3 3"], Float[np.ndarray, " n"]]:
    """Return the float32 matrices after small rotations, and how far their quaternions are from `quat`."""
    x, y, z = turns.T
    zero = np.zeros_like(x)
    cross = np.stack([np.stack([zero, -z, y], -1), np.stack([z, zero, -x], -1), np.stack([-y, x, zero], -1)], axis=1)
    matrices = (base + cross @ base).astype(np.float32)
    quats = _shepperd(matrices.astype(np.float64), largest)
    signs = np.sign(quats[:, largest] * quat[largest])[:, None]
    return matrices, np.abs(quats * signs - quat).max(axis=1)


def _shepperd(matrices: Float[np.ndarray, "n 3 3"], largest: int) -> Float[np.ndarray, "n 4"]:
    """Return quaternions (wxyz), not made unit, by the square root of the component `largest`."""
    m = matrices
    skew = np.stack([m[:, 2, 1] - m[:, 1, 2], m[:, 0, 2] - m[:, 2, 0], m[:, 1, 0] - m[:, 0, 1]], axis=1)
    trace = np.einsum("nii->n", m)
    quats = np.empty((len(m), 4))
    if largest == 0:
        quats[:, 0] = np.sqrt(np.maximum(1 + trace, 0)) / 2
        quats[:, 1:] = skew / (4 * quats[:, :1])
        return quats
    i = largest - 1
    root = np.sqrt(np.maximum(1 + 2 * m[:, i, i] - trace, 0)) / 2
    quats[:, 0] = skew[:, i] / (4 * root)
    quats[:, 1:] = (m[:, i, :] + m[:, :, i]) / (4 * root[:, None])
    quats[:, largest] = root
    return quats
