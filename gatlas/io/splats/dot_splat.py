"""antimatter15's .splat: 32 bytes per Gaussian and nothing else. y points down.

Three float32 of position and three of standard deviation, RGBA bytes, and the quaternion wxyz as bytes: 0 to 255 stand
for -1 to 1.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.errors import GatlasError
from gatlas.geometry.sh import dc_to_rgb, rgb_to_dc
from gatlas.io.splats.decoded import SplatReading, checked_gaussians
from gatlas.io.splats.stored import rounded, stored_columns, warn_lost

if TYPE_CHECKING:
    from gatlas.io.streams import Blob
    from gatlas.types import Gaussians

RECORD = np.dtype([("mean", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("quat", "u1", 4)])


def decode_records(blob: Blob, **asked: Any) -> Gaussians:
    """The Gaussians of a .splat file, float32, in the object's own frame. Damage is a GatlasError.

    `asked` are the fields of `SplatReading`.
    """
    if len(blob.data) % RECORD.itemsize:
        raise GatlasError(
            f"{blob.name}: truncated or damaged: {len(blob.data):,} bytes are no whole number of Gaussians of 32 bytes"
        )
    records = np.frombuffer(blob.data, RECORD)
    colors = records["rgba"] / 255.0
    with np.errstate(divide="ignore", invalid="ignore"):  # what is not positive is found by its logarithm
        log_scales = np.log(records["scale"].astype(np.float64))
    quats = records["quat"] / 127.5 - 1.0
    sh = rgb_to_dc(colors[:, None, :3])
    return checked_gaussians(blob, records["mean"], quats, log_scales, colors[:, 3], sh, SplatReading(**asked))


def encode_records(gaussians: Gaussians) -> bytes:
    """Return a .splat file: one color for each Gaussian, clamped to what can be shown. What it loses is a warning."""
    stored = stored_columns(gaussians)
    warn_lost(gaussians, ".splat")
    if stored.sh.shape[1] > 1:
        warnings.warn(".splat has no room for color that depends on the direction: degree 0 is kept", stacklevel=2)
    records = np.zeros(len(stored.means), RECORD)
    records["mean"], records["scale"] = stored.means, np.exp(stored.log_scales)
    shown = np.concatenate([dc_to_rgb(stored.sh[:, 0]), stored.opacities[:, None]], axis=1)
    records["rgba"] = rounded(shown * 255, 255)
    records["quat"] = rounded((stored.quats + 1) * 127.5, 255)
    return records.tobytes()
