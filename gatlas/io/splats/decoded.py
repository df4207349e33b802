"""Decoded columns of a splat file to checked Gaussians, y up: shared by the readers of all formats."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from gatlas.config import Report, ignore
from gatlas.errors import GatlasError
from gatlas.geometry.far_coordinates import center_of_far
from gatlas.geometry.frames import with_turned_ball
from gatlas.io.splats.up_axis import Y_DOWN, axis, stand_up, upright_rotation
from gatlas.types import Gaussians, Origin

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from gatlas.io.splats.up_axis import Up
    from gatlas.io.streams import Blob


@dataclass(frozen=True)
class SplatReading:
    """Wishes of the caller of a splat reader beside the file: the keywords of every decoder."""

    as_stored: bool = False  # keep the axes of the file
    up: str | None = None  # the axis of the file that points up, whatever the file says; None: as it says
    drop_invalid: bool = False  # leave out what cannot be shown, which is an error otherwise
    report: Report = ignore

    def up_of(self, stated: Up) -> Up:
        """Return the direction in the file's axes that points up, where the file says `stated`."""
        return stated if self.up is None else axis(self.up)


def _kept(
    blob: Blob, faults: dict[str, Bool[np.ndarray, " n"]], reading: SplatReading
) -> Bool[np.ndarray, " n"] | None:
    """Return which Gaussians have no fault, or None for all; those with a fault are an error or reported as dropped."""
    found = {fault: bad for fault, bad in faults.items() if bad.any()}
    if not found:
        return None
    count = len(next(iter(found.values())))
    if not reading.drop_invalid:
        fault, bad = next(iter(found.items()))
        raise GatlasError(
            f"{blob.name}: {np.count_nonzero(bad)} of its {count} Gaussians have {fault}: "
            "to leave out what cannot be shown, use --drop-invalid"
        )
    good, parts = np.ones(count, dtype=bool), []
    for fault, bad in found.items():
        if new := np.count_nonzero(bad & good):
            parts.append(f"{new:,} with {fault}")
        good &= ~bad
    if not good.any():
        raise GatlasError(f"{blob.name}: none of its {count:,} Gaussians can be shown: {', '.join(parts)}")
    reading.report(f"{blob.name}: dropped {count - good.sum():,} of its {count:,} Gaussians: {', '.join(parts)}")
    return good


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
    reading: SplatReading,
    *,
    stated: Up = Y_DOWN,
    origin: Origin | None = None,
    antialiased: bool = False,
) -> Gaussians:
    """Return the float32 Gaussians of a file that points `stated` up, upright unless `reading` keeps its axes.

    Quaternions are wxyz and need not be unit. None at all, or what cannot be shown, is a GatlasError. Without an
    `origin` the object has the file's name, and the mode that `antialiased` says.
    """
    if len(means) == 0:
        raise GatlasError(f"{blob.name}: it holds no Gaussians")
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = means.astype(np.float32)
        scales = np.exp(log_scales.astype(np.float64)).astype(np.float32)
    quats = quats.astype(np.float64)
    with np.errstate(over="ignore"):  # infinite where the squares of a finite quaternion are
        norms = np.linalg.norm(quats, axis=1)
    with np.errstate(over="ignore"):
        sh = sh.astype(np.float32, copy=False)
    faults = {
        "a position that is NaN or infinite": ~np.isfinite(rounded).all(axis=1),
        "an opacity that is NaN": np.isnan(opacities),
        "a scale that is zero, infinite or NaN": ~((scales > 0) & np.isfinite(scales)).all(axis=1),
        "a rotation that is the zero quaternion, NaN or infinite": ~((norms > 0) & np.isfinite(norms)),
        "a color that is NaN or infinite": ~np.isfinite(sh).all(axis=(1, 2)),
    }
    good = _kept(blob, faults, reading)
    if good is not None:
        means, quats, norms, scales = means[good], quats[good], norms[good], scales[good]
        rounded = rounded[good]
        opacities, sh = opacities[good], sh[good]
    origin = origin or Origin(name=blob.stem.removesuffix(".compressed"), antialiased=antialiased)
    if good is not None:
        origin = replace(origin, grid=None, levels=(), growth=0.0)
    center = None if origin.normalized else center_of_far(means, 6 * float(np.median(scales)))
    means = rounded if center is None else (means - center).astype(np.float32)
    if not reading.as_stored:
        up = reading.up_of(stated)
        means, quats, sh = stand_up(means, quats, sh, up)
        origin = _turned_with(origin, stated, up)
        center = None if center is None else upright_rotation(up) @ center
    elif origin.ball is not None:  # a header's lengths are of the upright object
        origin = with_turned_ball(origin, upright_rotation(stated).T)
    if center is not None:
        origin = _moved(blob, origin, center)
    quats = canonical_quats(quats, norms).astype(np.float32)
    return Gaussians(means, quats, scales, opacities.astype(np.float32), sh, origin)


def _turned_with(origin: Origin, stated: Up, up: Up) -> Origin:
    """Return the origin of an object that stands otherwise than the file says: its center turns with it."""
    if up == stated:
        return origin
    rotation = upright_rotation(up) @ upright_rotation(stated).T
    origin = with_turned_ball(origin, rotation)
    if not any(origin.center):
        return origin
    x, y, z = rotation @ np.asarray(origin.center)
    return replace(origin, center=(float(x), float(y), float(z)))


def _moved(blob: Blob, origin: Origin, center: Float[np.ndarray, " 3"]) -> Origin:
    """Return the origin of an object whose positions had `center` subtracted, with a warning."""
    x, y, z = (float(value) for value in origin.scale * center + origin.center)
    warnings.warn(
        f"{blob.name}: it is far from the origin, where float32 is coarse: its positions are relative to "
        f"({x:.10g}, {y:.10g}, {z:.10g}), which the header of a splat PLY made of it holds",
        stacklevel=4,
    )
    return replace(with_turned_ball(origin, np.eye(3), center), center=(x, y, z))


def smallest_three(small: Float[np.ndarray, "n 3"], largest: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n 4"]:
    """Return unit quaternions of three components, in order, and the index [n] of the one that was left out."""
    missing = np.sqrt(np.maximum(0.0, 1.0 - (small**2).sum(axis=1)))
    place = np.arange(4)
    source = np.where(place < largest[:, None], place, place - 1)  # [n 4]
    quats = np.take_along_axis(small, np.clip(source, 0, 2), axis=1)
    return np.where(place == largest[:, None], missing[:, None], quats)
