"""A splat to SOG version 2: eight bits for each number but positions, which have 16; see `gatlas.io.splats.sog`."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from gatlas import __version__
from gatlas.errors import GatlasError
from gatlas.io.splats.morton import morton_order
from gatlas.io.splats.palettes import codebook, palette
from gatlas.io.splats.sog import ANTIALIASED, ATLAS, FIRST_TAG, META, PALETTE_ROW
from gatlas.io.splats.stored import (
    ORIGIN,
    StoredColumns,
    origin_record,
    pack_smallest_three,
    rounded,
    stored_columns,
)
from gatlas.io.stored_zip import stored_zip

if TYPE_CHECKING:
    from jaxtyping import Integer

    from gatlas.types import Gaussians

MOST_ENTRIES = 1 << 16  # of a palette: labels have two bytes
MOST_SIDE = 16383  # pixels of a WebP picture
_EFFORT = {"lossless": True, "quality": 50, "method": 2, "exact": True}  # exact: colors where alpha is 0 count


def encode_sog(gaussians: Gaussians, *, atlas: Mapping[str, Any] | None = None) -> bytes:
    """Return a bundled SOG; the same Gaussians give the same bytes.

    `atlas` is the meta of the atlas whose cells the Gaussians are.

    They are sorted along a curve through space, which makes the pictures compress well, unless their order means
    something: that of a grid or of levels of detail.
    """
    origin = gaussians.origin
    stored = stored_columns(gaussians)
    if origin.grid is None and not origin.levels:
        order = morton_order(stored.means)
        stored = StoredColumns(*(column[order] for column in stored))
    side = math.ceil(math.sqrt(len(stored.means)) / 4) * 4
    height = math.ceil(len(stored.means) / side / 4) * 4
    shape = (height, side)
    if origin.grid is not None and origin.grid[0] * origin.grid[1] == len(stored.means):
        shape = origin.grid  # the pixels are its cells
    extra: dict[str, Any] = {ORIGIN: origin_record(origin, len(stored.means))}
    if atlas is not None:
        extra[ATLAS] = dict(atlas)
    return sog_bytes(stored, shape, extra, origin.antialiased)


def sog_bytes(stored: StoredColumns, shape: tuple[int, int], extra: dict[str, Any], antialiased: bool) -> bytes:
    """Return a bundled SOG of columns that point y down, in pictures of a height and width; `extra` joins its meta."""
    count = len(stored.means)
    if max(shape) > MOST_SIDE:
        raise GatlasError(f"not written: SOG holds no {count:,} Gaussians: write a .spz or .ply")
    files: dict[str, bytes] = {}

    def save(name: str, pixels: Integer[np.ndarray, "n 4"], size: tuple[int, int] = shape) -> str:
        files[f"{name}.webp"] = _webp(pixels, size)
        return f"{name}.webp"

    logs = np.sign(stored.means) * np.log1p(np.abs(stored.means.astype(np.float64)))
    mins, maxs = logs.min(axis=0), logs.max(axis=0)
    whole = rounded((logs - mins) / np.where(maxs == mins, 1.0, maxs - mins) * 65535, 65535)
    means = [save("means_l", _opaque(whole & 255)), save("means_u", _opaque(whole >> 8))]
    small, largest = pack_smallest_three(stored.quats)
    quats = np.concatenate([rounded((small * np.sqrt(2) + 1) * 127.5, 255), FIRST_TAG + largest[:, None]], axis=1)
    scale_book, scales = codebook(stored.log_scales)
    color_book, colors = codebook(stored.sh[:, 0])
    alphas = rounded(stored.opacities * 255, 255)
    meta: dict[str, Any] = {"version": 2, "asset": {"generator": f"gatlas {__version__}"}, "count": count}
    if antialiased:
        meta["model"] = ANTIALIASED
    meta["means"] = {"mins": mins.tolist(), "maxs": maxs.tolist(), "files": means}
    meta["scales"] = {"codebook": scale_book.tolist(), "files": [save("scales", _opaque(scales))]}
    meta["quats"] = {"files": [save("quats", quats)]}
    sh0 = save("sh0", np.concatenate([colors, alphas[:, None]], axis=1))
    meta["sh0"] = {"codebook": color_book.tolist(), "files": [sh0]}
    if stored.sh.shape[1] > 1:
        rest = stored.sh[:, 1:]
        entries, labels = palette(rest.reshape(count, -1).astype(np.float32), MOST_ENTRIES)
        rest_book, places = codebook(entries.reshape(-1, rest.shape[1], 3))
        rows = math.ceil(len(entries) / PALETTE_ROW)
        size = (rows, PALETTE_ROW * rest.shape[1])
        centroids = save("shN_centroids", _opaque(places.reshape(-1, 3)), size)
        chosen = np.stack([labels & 255, labels >> 8, np.zeros_like(labels)], axis=1)
        meta["shN"] = {
            "count": len(entries),
            "bands": {3: 1, 8: 2, 15: 3}[rest.shape[1]],
            "codebook": rest_book.tolist(),
            "files": [centroids, save("shN_labels", _opaque(chosen))],
        }
    text = json.dumps({**meta, **extra}, separators=(",", ":"), allow_nan=False).encode()
    return stored_zip({**files, META: text})


def _opaque(values: Integer[np.ndarray, "n 3"]) -> Integer[np.ndarray, "n 4"]:
    return np.concatenate([values, np.full((len(values), 1), 255)], axis=1)


def _webp(pixels: Integer[np.ndarray, "n 4"], size: tuple[int, int]) -> bytes:
    """A lossless picture of a height and width, whose first pixels these are; the rest is as the last of them."""
    rest = size[0] * size[1] - len(pixels)
    full = np.concatenate([pixels, np.repeat(pixels[-1:], rest, axis=0)]).astype(np.uint8).reshape(*size, 4)
    payload = io.BytesIO()
    Image.fromarray(full).save(payload, "WEBP", **_EFFORT)
    return payload.getvalue()
