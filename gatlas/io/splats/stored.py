"""Shared by the writers of splats: checked columns as files store them, and the origin of the object as JSON."""

from __future__ import annotations

import warnings
from dataclasses import asdict, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatlas.errors import GatlasError
from gatlas.geometry.cameras import plausible_pixels
from gatlas.geometry.frames import half_turn
from gatlas.io.arrays import host_array
from gatlas.io.splats.decoded import canonical_quats
from gatlas.types import MAX_GROWTH, Gaussians, Origin

if TYPE_CHECKING:
    from jaxtyping import Float, Int

ORIGIN = "gatlas"  # key of the origin in the JSON of a file


class StoredColumns(NamedTuple):
    """The Gaussians of a file, in the file's axes."""

    means: Float[np.ndarray, "n 3"]
    quats: Float[np.ndarray, "n 4"]  # float64, unit, wxyz, the first component that is not zero positive
    log_scales: Float[np.ndarray, "n 3"]  # float64
    opacities: Float[np.ndarray, " n"]  # float64, [0, 1]
    sh: Float[np.ndarray, "n k 3"]


def stored_columns(gaussians: Gaussians, *, y_down: bool = True) -> StoredColumns:
    """Return the columns of a file that points y down, as splats do, or up.

    What viewers would take silently and show wrongly is a GatlasError.
    """
    means, quats = host_array(gaussians.means), host_array(gaussians.quats).astype(np.float64)
    scales, opacities = host_array(gaussians.scales), host_array(gaussians.opacities).astype(np.float64)
    sh = host_array(gaussians.sh)
    if len(means) == 0:
        raise GatlasError("there are no Gaussians to write")
    _refuse(np.isfinite(means).all(axis=1), "a position that is NaN or infinite")
    _refuse(((scales > 0) & np.isfinite(scales)).all(axis=1), "a scale that is not a positive number")
    norms = np.linalg.norm(quats, axis=1)
    _refuse((norms > 0) & np.isfinite(norms), "a rotation that is the zero quaternion, NaN or infinite")
    _refuse(~np.isnan(opacities), "an opacity that is NaN")
    _refuse(np.isfinite(sh).all(axis=(1, 2)), "a color that is NaN or infinite")
    if y_down:
        means, quats, sh = half_turn(means, quats, sh, "z")
    quats = canonical_quats(quats, norms)
    return StoredColumns(means, quats, np.log(scales.astype(np.float64)), np.clip(opacities, 0.0, 1.0), sh)


def _refuse(good: Any, fault: str) -> None:
    if not good.all():
        raise GatlasError(f"not written: {np.count_nonzero(~good)} of {len(good)} Gaussians have {fault}")


def pack_smallest_three(
    quats: Float[np.ndarray, "n 4"],
) -> tuple[Float[np.ndarray, "n 3"], Int[np.ndarray, " n"]]:
    """Return the components of unit quaternions beside the largest, which is made positive, in order, and its index."""
    largest = np.abs(quats).argmax(axis=1)
    signs = np.where(np.take_along_axis(quats, largest[:, None], axis=1) < 0, -1.0, 1.0)
    place = np.arange(3)
    others = place + (place >= largest[:, None])
    return np.take_along_axis(quats * signs, others, axis=1), largest


def rounded(values: Float[np.ndarray, "*n"], top: int) -> Int[np.ndarray, "*n"]:
    """Return the nearest whole numbers in [0, top]."""
    return np.clip(np.rint(values), 0, top).astype(np.int64)


def warn_lost(gaussians: Gaussians, format_name: str) -> None:
    """Warn, in one line, of what a format that holds nothing but Gaussians has no room for."""
    origin = gaussians.origin
    lost = [
        word
        for word, there in (
            ("its normalization (center and scale of its source)", origin.normalized or origin.recentered),
            ("its pixel sizes", origin.pixel_sizes is not None),
            ("its antialiased mode", origin.antialiased),
            ("its levels of detail", bool(origin.levels)),
            ("its grid", origin.grid is not None),
        )
        if there
    ]
    if lost:
        warnings.warn(f"{format_name} has no room for {', '.join(lost)}: a splat PLY keeps it", stacklevel=3)


def origin_record(origin: Origin, count: int) -> dict[str, Any]:
    """Return an origin as JSON that `origin_of_record` reads; only what says something."""
    plain = asdict(Origin())
    record = {name: value for name, value in asdict(origin).items() if value != plain[name]}
    if record.get("levels", (count,))[-1] != count:
        del record["levels"]
    return record


def origin_of_record(record: Any, name: str, count: int) -> Origin | None:
    """Return the origin that `origin_record` wrote; None for anything else: the content of files is not trusted."""
    plain = Origin(name=name)
    if not isinstance(record, dict):
        return None
    known = {key: record[key] for key in asdict(plain) if key in record}
    try:
        values: dict[str, Any] = {
            key: tuple(float(x) for x in known[key])
            for key in ("center", "pixel_sizes", "ball")
            if known.get(key) is not None
        }
        values |= {key: bool(known[key]) for key in ("normalized", "antialiased") if key in known}
        values |= {key: float(known[key]) for key in ("scale", "growth") if key in known}
        values |= {key: tuple(int(x) for x in known[key]) for key in ("grid", "levels") if known.get(key) is not None}
        if "name" in known:
            values["name"] = str(known["name"])[:1024]
        origin = replace(plain, **values)
        sound = len(origin.center) == 3 and np.isfinite([*origin.center, origin.scale]).all() and origin.scale > 0
        sound = sound and 0 <= origin.growth <= MAX_GROWTH
        sound = sound and all(one < more for one, more in pairwise((0, *origin.levels)))
        sound = sound and (origin.grid is None or (len(origin.grid) == 2 and min(origin.grid) > 0))
        if sound and origin.pixel_sizes is not None:
            low, high = origin.pixel_sizes
            x, y, z, radius = origin.ball or (0.0, 0.0, 0.0, 1.0)
            sound = plausible_pixels((low, high), (x, y, z, radius))
    except (TypeError, ValueError, OverflowError):
        return None
    if not sound:
        return None
    if origin.grid is not None and count % (origin.grid[0] * origin.grid[1]):
        origin = replace(origin, grid=None)
    if origin.levels[-1:] != (count,):
        origin = replace(origin, levels=(), growth=0.0)
    return origin
