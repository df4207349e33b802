"""PlayCanvas's compressed PLY: chunks of 256 Gaussians, each packed into four words between the chunk's bounds.

Layout after PlayCanvas, "Compressed PLY" (developer documentation of the SuperSplat formats). y points down.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.errors import GatlasError
from gatlas.geometry.sh import dc_to_rgb, rgb_to_dc
from gatlas.io import ply_container as plyheader
from gatlas.io.splats.decoded import SplatReading, checked_gaussians, smallest_three
from gatlas.io.splats.morton import morton_order
from gatlas.io.splats.ply import commented_origin, header_up, origin_comments
from gatlas.io.splats.stored import StoredColumns, pack_smallest_three, rounded, stored_columns

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt32

    from gatlas.io.ply_container import Element, Header
    from gatlas.io.streams import Blob
    from gatlas.types import Gaussians

CHUNK = 256  # Gaussians
_AXES = ("x", "y", "z")
_BOUNDS = tuple(f"{end}_{name}" for name in (*_AXES, *(f"scale_{axis}" for axis in _AXES)) for end in ("min", "max"))
_COLOR_BOUNDS = tuple(f"{end}_{name}" for name in "rgb" for end in ("min", "max"))
_PACKED = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
_SH_COUNTS = (9, 24, 45)
_CHUNK_ORDER = tuple(
    f"{end}_{name}"
    for names in (_AXES, tuple(f"scale_{axis}" for axis in _AXES), tuple("rgb"))
    for end in ("min", "max")
    for name in names
)
_MOST_LOG_SCALE = 20.0


def decode_compressed_ply(blob: Blob, **asked: Any) -> Gaussians:
    """The Gaussians of a compressed PLY, float32, in the object's own frame. Damage is a GatlasError.

    `asked` are the fields of `SplatReading`.
    """
    reading = SplatReading(**asked)
    header = plyheader.parse(blob)
    if header.byte_order != "<":
        raise GatlasError(f"{blob.name}: damaged: a compressed splat must be binary_little_endian")
    tables = _tables(blob, header)
    vertex, chunk = tables["vertex"], tables["chunk"]
    count = len(vertex)
    if len(chunk) != -(-count // CHUNK):
        raise GatlasError(
            f"{blob.name}: damaged: {count:,} Gaussians need {-(-count // CHUNK)} chunks, not {len(chunk)}"
        )
    bounds = chunk[np.arange(count) // CHUNK]

    def between(names: tuple[str, ...], shares: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
        low = np.stack([bounds[f"min_{name}"] for name in names], axis=1).astype(np.float64)
        high = np.stack([bounds[f"max_{name}"] for name in names], axis=1).astype(np.float64)
        with np.errstate(all="ignore"):  # damaged bounds are looked at with what comes of them
            return low * (1 - shares) + high * shares

    means = between(_AXES, _fields(vertex["packed_position"], (11, 10, 11)))
    log_scales = between(tuple(f"scale_{axis}" for axis in _AXES), _fields(vertex["packed_scale"], (11, 10, 11)))
    rotation = vertex["packed_rotation"]
    small = (_fields(rotation, (10, 10, 10)) - 0.5) * np.sqrt(2)
    quats = smallest_three(small, (rotation >> 30).astype(np.int64))
    color = _fields(vertex["packed_color"], (8, 8, 8, 8))
    rgb = between(("r", "g", "b"), color[:, :3]) if "min_r" in (chunk.dtype.names or ()) else color[:, :3]
    sh = np.zeros((count, 1, 3))
    sh[:, 0] = rgb_to_dc(rgb)
    if "sh" in tables:
        sh = np.concatenate([sh, _rest(tables["sh"])], axis=1)
    stated = header_up(blob, header.comments, reading)
    origin = commented_origin(blob, header.comments, count)
    if origin.name == blob.stem:
        origin = replace(origin, name=blob.stem.removesuffix(".compressed"))
    return checked_gaussians(blob, means, quats, log_scales, color[:, 3], sh, reading, stated=stated, origin=origin)


def encode_compressed_ply(gaussians: Gaussians) -> list[bytes]:
    """Return the buffers of a compressed PLY; the same Gaussians give the same bytes.

    They are sorted along a curve through space, so that the bounds of a chunk are narrow, unless their order means
    something: that of a grid or of levels of detail.
    """
    origin, stored = gaussians.origin, stored_columns(gaussians)
    if origin.grid is None and not origin.levels:
        order = morton_order(stored.means)
        stored = StoredColumns(*(column[order] for column in stored))
    count, coefficients = stored.sh.shape[:2]
    limited = np.clip(stored.log_scales, -_MOST_LOG_SCALE, _MOST_LOG_SCALE)
    colors = dc_to_rgb(stored.sh[:, 0].astype(np.float64))
    chunks, shares = zip(*(_in_chunks(column) for column in (stored.means, limited, colors)), strict=True)
    small, largest = pack_smallest_three(stored.quats)
    words = np.stack(
        [
            _word(shares[0], (11, 10, 11)),
            _word(small * np.sqrt(0.5) + 0.5, (10, 10, 10)) | largest << 30,
            _word(shares[1], (11, 10, 11)),
            _word(np.concatenate([shares[2], stored.opacities[:, None]], axis=1), (8, 8, 8, 8)),
        ],
        axis=1,
    )
    rest = stored.sh[:, 1:].transpose(0, 2, 1).reshape(count, -1).astype(np.float64)
    lines = [
        "ply",
        "format binary_little_endian 1.0",
        *(f"comment {line}" for line in origin_comments(origin, count)),
        f"element chunk {len(chunks[0])}",
        *(f"property float {name}" for name in _CHUNK_ORDER),
        f"element vertex {count}",
        *(f"property uint {name}" for name in _PACKED),
    ]
    if coefficients > 1:
        lines += [f"element sh {count}", *(f"property uchar f_rest_{i}" for i in range(rest.shape[1]))]
    header = ("\n".join([*lines, "end_header"]) + "\n").encode("ascii")
    harmonics = np.clip(np.floor((rest / 8 + 0.5) * 256), 0, 255).astype(np.uint8)
    return [header, np.concatenate(chunks, axis=1).tobytes(), words.astype("<u4").tobytes(), harmonics.tobytes()]


def _in_chunks(values: Float[np.ndarray, "n 3"]) -> tuple[Float[np.ndarray, "c 6"], Float[np.ndarray, "n 3"]]:
    """Return the bounds of each chunk (float32), least then largest, and the values as shares of the way between."""
    count = len(values)
    full = np.concatenate([values, np.repeat(values[-1:], -count % CHUNK, axis=0)]).astype(np.float64)
    grouped = full.reshape(-1, CHUNK, 3)
    low, high = (each.astype("<f4") for each in (grouped.min(axis=1), grouped.max(axis=1)))
    span = high.astype(np.float64) - low
    shares = (grouped - low[:, None]) / np.where(span > 0, span, 1.0)[:, None]
    return np.concatenate([low, high], axis=1), np.clip(shares, 0, 1).reshape(-1, 3)[:count]


def _word(shares: Float[np.ndarray, "n k"], bits: tuple[int, ...]) -> Int[np.ndarray, " n"]:
    """Return what `_fields` reads."""
    word = np.zeros(len(shares), dtype=np.int64)
    for column, width in zip(shares.T, bits, strict=True):
        word = word << width | rounded(column * ((1 << width) - 1), (1 << width) - 1)
    return word


def _tables(blob: Blob, header: Header) -> dict[str, np.ndarray]:
    """The elements as structured arrays, whose properties and size were found to be right."""
    elements = {element.name: element for element in header.elements}
    if not {"chunk", "vertex"} <= elements.keys() <= {"chunk", "vertex", "sh"}:
        raise GatlasError(f"{blob.name}: damaged: a compressed splat has the elements chunk, vertex and perhaps sh")
    _check_properties(blob, elements["chunk"], _BOUNDS, "f4", extra=_COLOR_BOUNDS)
    _check_properties(blob, elements["vertex"], _PACKED, "u4")
    if "sh" in elements:
        number = len(elements["sh"].names)
        if number not in _SH_COUNTS or elements["sh"].count != elements["vertex"].count:
            raise GatlasError(f"{blob.name}: damaged: its spherical harmonics fit no degree, or not all its Gaussians")
        _check_properties(blob, elements["sh"], tuple(f"f_rest_{i}" for i in range(number)), "u1")
    total = header.size + sum(element.count * element.stride for element in header.elements)
    if len(blob.data) != total:
        state = "truncated" if len(blob.data) < total else "damaged"
        raise GatlasError(f"{blob.name}: {state}: its header promises {total:,} bytes, there are {len(blob.data):,}")
    tables, at = {}, header.size
    for element in header.elements:
        dtype = np.dtype([(name, "<" + code) for name, code in zip(element.names, element.types, strict=True)])
        tables[element.name] = np.frombuffer(blob.data, dtype, element.count, at)
        at += element.count * element.stride
    return tables


def _check_properties(
    blob: Blob, element: Element, names: tuple[str, ...], code: str, *, extra: tuple[str, ...] = ()
) -> None:
    if set(element.names) not in (set(names), {*names, *extra}) or set(element.types) != {code}:
        raise GatlasError(f"{blob.name}: damaged: its element '{element.name}' is not that of a compressed splat")


def _fields(words: UInt32[np.ndarray, " n"], bits: tuple[int, ...]) -> Float[np.ndarray, "n k"]:
    """Bit fields as shares of 1; the last field lies in the lowest bits."""
    columns, shift = [], sum(bits)
    for width in bits:
        shift -= width
        most = (1 << width) - 1
        columns.append(((words >> np.uint32(shift)) & np.uint32(most)) / most)
    return np.stack(columns, axis=1)


def _rest(table: np.ndarray) -> Float[np.ndarray, "n k 3"]:
    """Coefficients in [-4, 4] from bytes; all of red, then green, then blue. The ends are exact, the rest centers."""
    stored = np.stack([table[f"f_rest_{i}"] for i in range(len(table.dtype.names or ()))], axis=1)
    shares = np.where(stored == 0, 0.0, np.where(stored == 255, 1.0, (stored + 0.5) / 256))
    return ((shares - 0.5) * 8).reshape(len(table), 3, -1).transpose(0, 2, 1)
