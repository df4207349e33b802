"""Atlases and their statistics as NPZ: named arrays in an uncompressed zip, with a JSON string `meta`.

Compression is left out: at 128 x 128 an atlas has 0.9 MB of float32 noise, of which it saves a tenth. The zip is
our own and not that of `np.savez`, which stamps the time of day into it: the same noun gives the same bytes.
"""

from __future__ import annotations

import json
from functools import partial
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from gatlas.errors import GatlasError
from gatlas.io.array_reader import read_npz
from gatlas.io.arrays import host_array
from gatlas.io.json_reader import JsonError, parse_json
from gatlas.io.registry import refusal
from gatlas.io.sniff import is_zip
from gatlas.io.stored_zip import stored_zip
from gatlas.types import SPACES, Atlas, AtlasStats

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeGuard

    from gatlas.io.streams import Blob

PLANES = {"offset": 3, "color": 3, "opacity": 1, "scale": 3, "rotation": 4}  # channels
FORMAT_KEY = "gatlas_atlas"  # in an atlas's meta: the version of the format
FORMAT = 1
STATS_CHANNELS = sum(PLANES.values())


def decode_atlas(blob: Blob) -> Atlas:
    """The atlas of an NPZ file.

    Planes that are missing, misshapen, not float32 or not finite are a GatlasError, as is a meta that contradicts them
    or that names value spaces which gatlas does not know. Of the meta, only the format version must be there.
    """
    arrays = _read(blob, "atlas", (*PLANES, "meta"))
    meta = _meta(blob, arrays["meta"])
    version = meta.get(FORMAT_KEY)
    if not _is_count(version) or version < 1:
        raise GatlasError(f"{blob.name}: not an atlas: its meta has no format version '{FORMAT_KEY}'")
    if version > FORMAT:
        raise GatlasError(
            f"{blob.name}: an atlas of format {version}; this gatlas reads format {FORMAT}: upgrade gatlas to read it"
        )
    planes = {name: _checked(blob, name, arrays[name], "float32") for name in PLANES}
    size = planes["offset"].shape[0] if planes["offset"].ndim else 0
    for name, channels in PLANES.items():
        if size == 0 or planes[name].shape != (size, size, channels):
            raise GatlasError(
                f"{blob.name}: damaged: plane '{name}' must have shape [h h {channels}], h alike in all planes, "
                f"got {list(planes[name].shape)}"
            )
    fault = _meta_fault(meta, planes)
    if fault is not None:
        raise GatlasError(f"{blob.name}: {fault}")
    return Atlas(**planes, meta=meta)


def atlas_bytes(atlas: Atlas) -> bytes:
    """The NPZ of an atlas whose `meta` has the format version and agrees with its planes.

    Values that are not finite are a GatlasError.
    """
    if atlas.meta.get(FORMAT_KEY) != FORMAT:
        raise ValueError(f"meta[{FORMAT_KEY!r}] must be {FORMAT}, got {atlas.meta.get(FORMAT_KEY)!r}")
    planes = {name: host_array(getattr(atlas, name)).astype("<f4") for name in PLANES}
    fault = _meta_fault(atlas.meta, planes)
    if fault is not None:
        raise ValueError(fault)
    return npz_bytes({**planes, "meta": _json(atlas.meta)})


def decode_stats(blob: Blob) -> AtlasStats:
    """The statistics of an NPZ file: `mean` and `m2` (float64), `count` and `meta`; its `std` follows from them."""
    arrays = _read(blob, "stats", ("mean", "m2", "count", "meta"))
    mean, m2 = (_checked(blob, name, arrays[name], "float64") for name in ("mean", "m2"))
    size = mean.shape[0] if mean.ndim else 0
    if size == 0 or mean.shape != (size, size, STATS_CHANNELS) or m2.shape != mean.shape:
        raise GatlasError(
            f"{blob.name}: damaged statistics: 'mean' and 'm2' must have shape [h h {STATS_CHANNELS}], "
            f"got {list(mean.shape)} and {list(m2.shape)}"
        )
    count = arrays["count"]
    if count.shape != () or count.dtype.kind not in "iu" or count < 1:
        raise GatlasError(f"{blob.name}: damaged statistics: 'count' must be a whole number >= 1")
    if (m2 < 0).any():
        raise GatlasError(f"{blob.name}: damaged statistics: {np.count_nonzero(m2 < 0)} values of 'm2' are negative")
    if max(np.abs(mean).max(), np.sqrt(m2.max() / int(count))) > np.finfo(np.float32).max:
        raise GatlasError(f"{blob.name}: damaged statistics: they have values that no atlas can have")
    return AtlasStats(mean, m2, int(count), _meta(blob, arrays["meta"]))


def stats_bytes(stats: AtlasStats) -> bytes:
    """Return the NPZ of statistics, with the standard deviation (float32) next to them for other programs."""
    mean, m2 = (host_array(array).astype("<f8") for array in (stats.mean, stats.m2))
    std = np.sqrt(m2 / stats.count).astype("<f4")
    arrays = {"mean": mean, "std": std, "m2": m2, "count": np.array(stats.count, "<i8"), "meta": _json(stats.meta)}
    return npz_bytes(arrays)


def _read(blob: Blob, noun: str, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    if not is_zip(blob):
        raise refusal(blob, noun)
    arrays = read_npz(blob, names)
    missing = [name for name in names if name not in arrays]
    if missing:
        what = "an atlas" if noun == "atlas" else "statistics of atlases"
        raise GatlasError(f"{blob.name}: not {what}: the NPZ file has no array '{missing[0]}'")
    return arrays


def _checked(blob: Blob, name: str, array: np.ndarray, dtype: str) -> np.ndarray:
    if array.dtype.newbyteorder("=") != np.dtype(dtype):
        raise GatlasError(f"{blob.name}: damaged: array '{name}' must be {dtype}, got {array.dtype}")
    bad = np.count_nonzero(~np.isfinite(array))
    if bad:
        raise GatlasError(f"{blob.name}: damaged: array '{name}' has {bad} values that are NaN or infinite")
    return array.astype(dtype)


def _meta(blob: Blob, array: np.ndarray) -> dict[str, Any]:
    if array.shape == () and array.dtype.kind == "U":
        try:
            meta = parse_json(str(array))
        except JsonError as error:
            raise GatlasError(f"{blob.name}: damaged: its meta is {error}") from None
        if isinstance(meta, dict):
            return meta
    raise GatlasError(f"{blob.name}: damaged: its meta must be a string that holds a JSON object")


def _meta_fault(meta: Mapping[str, Any], planes: Mapping[str, np.ndarray]) -> str | None:
    """Return what is wrong with an atlas's meta, in its form or compared with the planes, or None."""
    for key in ("size", "count", "padded", "dropped", "split"):
        if key in meta and not _is_count(meta[key]):
            return f"damaged: its meta's '{key}' must be a whole number >= 0, got {meta[key]!r:.80}"
    for key, kind, what in (("version", str, "a string"), ("spaces", dict, "an object"), ("origin", dict, "an object")):
        if key in meta and not isinstance(meta[key], kind):
            return f"damaged: its meta's '{key}' must be {what}, got {meta[key]!r:.80}"
    for name, space in meta.get("spaces", {}).items():
        if name in SPACES and space != SPACES[name]:
            return (
                f"its plane '{name}' is in the value space {space!r:.80}, which gatlas does not know: "
                f"turn it into {SPACES[name]!r}"
            )
    # The counts are of the encoding: planes that were edited since have others.
    size = planes["offset"].shape[0]
    if meta.get("size", size) != size:
        return f"damaged: its meta says 'size' {meta['size']!r:.80}, its planes have {size}"
    return None


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _json(meta: Mapping[str, Any]) -> np.ndarray:
    return np.array(json.dumps(dict(meta), sort_keys=True, allow_nan=False)).astype("<U")


def npz_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return an NPZ of arrays, uncompressed; the same arrays give the same bytes. NaN or infinity is a GatlasError."""
    for name, array in arrays.items():
        bad = 0 if array.dtype.kind == "U" else np.count_nonzero(~np.isfinite(array))
        if bad:
            raise GatlasError(f"not written: array '{name}' has {bad} values that are NaN or infinite")
    return stored_zip({f"{name}.npy": partial(_write_array, array) for name, array in arrays.items()})


def _write_array(array: np.ndarray, file: IO[bytes]) -> None:
    np.lib.format.write_array(file, np.asarray(array, order="C"), version=(1, 0), allow_pickle=False)
