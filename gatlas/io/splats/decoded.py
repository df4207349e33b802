"""Decoded columns of a splat file to checked Gaussians, y up: shared by the readers of all formats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.errors import GatlasError
from gatlas.geometry.frames import half_turn
from gatlas.types import Gaussians, Origin

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from gatlas.io.streams import Blob


def check(blob: Blob, good: Any, fault: str) -> None:
    """Raise a GatlasError that counts the Gaussians which are not `good`."""
    if not good.all():
        raise GatlasError(
            f"{blob.name}: {np.count_nonzero(~good)} of its {len(good)} Gaussians have {fault}: "
            "remove them with the tool that wrote the file"
        )


def canonical_quats(quats: Float[np.ndarray, "n 4"], norms: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 4"]:
    """Return unit quaternions whose first component that is not zero is positive, float64.

    What is unit to float32's precision stays as it is, so that reading and writing again gives the same bytes.
    """
    unit = quats / np.where(np.abs(norms - 1) < 4e-7, 1.0, norms)[:, None]
    first = np.take_along_axis(unit, (unit != 0).argmax(axis=1)[:, None], axis=1)
    return unit * np.where(first < 0, -1.0, 1.0) + 0.0  # + 0.0 turns -0.0 into 0.0


def checked_gaussians(
    blob: Blob,
    means: Float[np.ndarray, "n 3"],
    quats: Float[np.ndarray, "n 4"],
    log_scales: Float[np.ndarray, "n 3"],
    opacities: Float[np.ndarray, " n"],
    sh: Float[np.ndarray, "n k 3"],
    *,
    as_stored: bool,
    origin: Origin | None = None,
) -> Gaussians:
    """Return the float32 Gaussians of a file whose y axis points down, upright unless they are wanted `as_stored`.

    Quaternions are wxyz and need not be unit. None at all, or what cannot be shown, is a GatlasError. Without an
    `origin` the object has the file's name.
    """
    if len(means) == 0:
        raise GatlasError(f"{blob.name}: it holds no Gaussians")
    means = means.astype(np.float32)
    check(blob, np.isfinite(means).all(axis=1), "a position that is NaN or infinite")
    check(blob, ~np.isnan(opacities), "an opacity that is NaN")
    with np.errstate(over="ignore", invalid="ignore"):
        scales = np.exp(log_scales.astype(np.float64)).astype(np.float32)
    check(blob, ((scales > 0) & np.isfinite(scales)).all(axis=1), "a scale that is zero, infinite or NaN")
    quats = quats.astype(np.float64)
    norms = np.linalg.norm(quats, axis=1)
    check(blob, (norms > 0) & np.isfinite(norms), "a rotation that is the zero quaternion, NaN or infinite")
    sh = sh.astype(np.float32, copy=False)
    check(blob, np.isfinite(sh).all(axis=(1, 2)), "a color that is NaN or infinite")
    if not as_stored:
        means, quats, sh = half_turn(means, quats, sh, "z")
    quats = canonical_quats(quats, norms).astype(np.float32)
    origin = origin or Origin(name=blob.stem.removesuffix(".compressed"))
    return Gaussians(means, quats, scales, opacities.astype(np.float32), sh, origin)


def smallest_three(small: Float[np.ndarray, "n 3"], largest: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n 4"]:
    """Return unit quaternions of three components, in order, and the index [n] of the one that was left out."""
    missing = np.sqrt(np.maximum(0.0, 1.0 - (small**2).sum(axis=1)))
    place = np.arange(4)
    source = np.where(place < largest[:, None], place, place - 1)  # [n 4]
    quats = np.take_along_axis(small, np.clip(source, 0, 2), axis=1)
    return np.where(place == largest[:, None], missing[:, None], quats)
