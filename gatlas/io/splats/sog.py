"""PlayCanvas's SOG, versions 1 and 2: the columns as lossless WebP pictures, in a zip or beside a meta.json. y down.

Layout after PlayCanvas, "The SOG Format" (developer documentation); version 1 has ranges where 2 has codebooks.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.errors import GatlasError
from gatlas.io.array_reader import read_members
from gatlas.io.beside import find_beside
from gatlas.io.json_reader import JsonError, parse_json, read_json_object
from gatlas.io.registry import refusal
from gatlas.io.sniff import is_sog, zip_has
from gatlas.io.splats.decoded import SplatReading, checked_gaussians, smallest_three
from gatlas.io.splats.stored import ORIGIN, origin_of_record
from gatlas.io.streams import as_blob
from gatlas.types import Origin

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

    from gatlas.io.streams import Blob
    from gatlas.types import Gaussians

META = "meta.json"
PALETTE_ROW = 64  # entries of a palette side by side in its picture
COEFFICIENTS = (0, 3, 8, 15)  # beyond degree 0, by degree
FIRST_TAG = 252  # alpha of a quaternion whose first component is the largest
ATLAS = "gatlas_atlas"  # key of the meta of the atlas whose cells the pixels are
ANTIALIASED = "antialiased"  # value of "model" in the meta
_FREE_COUNT = 500_000  # Gaussians that any file may hold; beyond it, one for each of its bytes


class Sog:
    """The meta.json of a SOG and its pictures: what is asked of them is there and of the right type, or an error."""

    def __init__(self, blob: Blob, meta: dict[str, Any], read: Callable[[str], bytes | None]) -> None:
        self.blob, self.meta, self._read = blob, meta, read
        self._bytes = 0
        version = meta.get("version", 1)
        if version not in (1, 2):
            raise self.error(f"a SOG of version {version!r:.40}: gatlas reads 1 and 2")
        self.version = int(version)
        shape = self.part("means").get("shape")
        count = meta.get("count") if self.version == 2 else shape[0] if isinstance(shape, list) and shape else None
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise self.error("damaged: its meta has no number of Gaussians")
        self.count = count

    def error(self, what: str) -> GatlasError:
        return GatlasError(f"{self.blob.name}: {what}")

    def part(self, name: str) -> dict[str, Any]:
        """An object of the meta, such as "means"."""
        found = self.meta.get(name)
        if not isinstance(found, dict):
            raise self.error(f"damaged: its meta has no '{name}'")
        return found

    def numbers(self, name: str, key: str, sizes: range) -> Float[np.ndarray, " k"]:
        """A list of numbers in a part of the meta, whose length is one of `sizes`; a single number is a list of one."""
        values = self.part(name).get(key)
        values = values if isinstance(values, list) else [values]
        plain = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
        if not plain or len(values) not in sizes:
            raise self.error(f"damaged: '{key}' of '{name}' in its meta must be {sizes[0]} or more numbers")
        return np.array(values, dtype=np.float64)

    def picture(self, name: str, index: int) -> UInt8[np.ndarray, "h w 4"]:
        """A picture that a part of the meta names, as RGBA."""
        files = self.part(name).get("files")
        file = files[index] if isinstance(files, list) and index < len(files) else None
        if not isinstance(file, str) or not file:
            raise self.error(f"damaged: its meta names no picture of '{name}'")
        content = self._read(file)
        if content is None:
            raise self.error(f"its picture {file[:80]!a} is missing: keep all files of a SOG together")
        from gatlas.io.images import PictureError, opened_picture  # Pillow, which no other splat needs

        self._bytes += len(content)
        try:
            with opened_picture(content) as image:
                return np.asarray(image.convert("RGBA"))
        except PictureError as error:
            raise self.error(f"its picture {file[:80]!a} cannot be read: {error}") from None

    def rows(self, name: str, index: int = 0) -> UInt8[np.ndarray, "n 4"]:
        """The pixels of a picture, row by row, one for each Gaussian."""
        pixels = self.picture(name, index)
        if self.count > pixels.shape[0] * pixels.shape[1] or self.count > max(_FREE_COUNT, self._bytes):
            raise self.error(f"damaged: its pictures of '{name}' do not hold {self.count:,} Gaussians")
        return pixels.reshape(-1, 4)[: self.count].copy()


def decode_sog(blob: Blob, **asked: Any) -> Gaussians:
    """The Gaussians of a bundled SOG, float32, in the object's own frame. Damage is a GatlasError.

    `asked` are the fields of `SplatReading`.
    """
    if not zip_has(META, "*.webp")(blob):
        raise refusal(blob, "splat")
    return _decode(open_sog(blob), SplatReading(**asked))


def decode_sog_meta(blob: Blob, **asked: Any) -> Gaussians:
    """The Gaussians of a SOG whose pictures lie beside its meta.json; else as `decode_sog`."""
    if not is_sog(blob):
        raise refusal(blob, "splat")

    def read(name: str) -> bytes | None:
        if blob.path is None:
            return None
        found = find_beside(blob.path.parent, name)
        try:
            return None if found is None else found.read_bytes()
        except OSError:
            return None

    named = Origin(name=blob.path.resolve().parent.name) if blob.path is not None and blob.stem == "meta" else None
    return _decode(Sog(blob, read_json_object(blob), read), SplatReading(**asked), named)


def open_sog(blob: Blob) -> Sog:
    """Return what a bundled SOG holds."""
    content = read_members(blob, [META]).get(META)
    if content is None:
        raise GatlasError(f"{blob.name}: damaged: it has no {META}")
    try:
        meta = parse_json(content)
    except JsonError as error:
        raise GatlasError(f"{blob.name}: damaged: its {META} is {error}") from None
    if not isinstance(meta, dict):
        raise GatlasError(f"{blob.name}: damaged: its {META} must hold a JSON object")
    return Sog(blob, meta, lambda name: read_members(blob, [name]).get(name))


def sog_atlas_meta(source: str | Path | Blob) -> dict[str, Any] | None:
    """Return the meta of the atlas whose cells the pixels of a bundled SOG are; None for any other file."""
    blob = as_blob(source)
    if not zip_has(META, "*.webp")(blob):
        return None
    meta = open_sog(blob).meta.get(ATLAS)
    return meta if isinstance(meta, dict) else None


def _decode(sog: Sog, reading: SplatReading, named: Origin | None = None) -> Gaussians:
    means, quats = decode_means(sog), decode_quats(sog)
    log_scales, (dc, opacities) = _scales(sog), _colors(sog)
    sh = np.empty((sog.count, 1, 3), dtype=np.float32)
    with np.errstate(over="ignore"):
        sh[:, 0] = dc
    if isinstance(sog.meta.get("shN"), dict):
        sh = np.concatenate([sh, _rest(sog)], axis=1)
    antialiased = sog.meta.get("model") == ANTIALIASED
    name = named.name if named is not None else sog.blob.stem
    origin = origin_of_record(sog.meta.get(ORIGIN), name, sog.count) or named
    return checked_gaussians(
        sog.blob, means, quats, log_scales, opacities, sh, reading, origin=origin, antialiased=antialiased
    )


def decode_means(sog: Sog) -> Float[np.ndarray, "n 3"]:
    """Return positions: 16 bits between bounds of sign(x) log(1 + |x|)."""
    low, high = sog.rows("means", 0)[:, :3], sog.rows("means", 1)[:, :3]
    shares = (low | high.astype(np.uint16) << 8) / 65535.0
    mins, maxs = (sog.numbers("means", key, range(3, 4)) for key in ("mins", "maxs"))
    with np.errstate(over="ignore", invalid="ignore"):
        logs = mins + shares * np.where(maxs == mins, 1.0, maxs - mins)
        return np.sign(logs) * np.expm1(np.abs(logs))


def decode_quats(sog: Sog) -> Float[np.ndarray, "n 4"]:
    """Return quaternions, wxyz: a byte each of all components but the largest; 0 where the tag names none."""
    pixels = sog.rows("quats")
    tags = pixels[:, 3].astype(np.int64) - FIRST_TAG
    quats = smallest_three((pixels[:, :3] / 127.5 - 1) * np.sqrt(0.5), np.maximum(tags, 0))
    return np.where(tags[:, None] < 0, 0.0, quats)


def _scales(sog: Sog) -> Float[np.ndarray, "n 3"]:
    pixels = sog.rows("scales")[:, :3]
    if sog.version == 2:
        return _codebook(sog, "scales", pixels)
    return _between(sog, "scales", pixels)


def _colors(sog: Sog) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, " n"]]:
    """Coefficients of degree 0, and opacities."""
    pixels = sog.rows("sh0")
    if sog.version == 2:
        return _codebook(sog, "sh0", pixels[:, :3]), pixels[:, 3] / 255.0
    values = _between(sog, "sh0", pixels)
    with np.errstate(over="ignore"):
        return values[:, :3], 1.0 / (1.0 + np.exp(-values[:, 3]))


def _between(sog: Sog, name: str, pixels: UInt8[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    sizes = range(pixels.shape[1], pixels.shape[1] + 1)
    mins, maxs = sog.numbers(name, "mins", sizes), sog.numbers(name, "maxs", sizes)
    with np.errstate(over="ignore", invalid="ignore"):
        return mins + (maxs - mins) * (pixels / 255.0)


def _codebook(sog: Sog, name: str, places: UInt8[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    book = sog.numbers(name, "codebook", range(1, 257))
    if places.size and places.max() >= len(book):
        raise sog.error(f"damaged: the codebook of '{name}' has {len(book)} entries, a picture names {places.max()}")
    return book[places]


def _rest(sog: Sog) -> Float[np.ndarray, "n k 3"]:
    """Coefficients beyond degree 0: a label for each Gaussian of an entry in a palette."""
    labels = sog.rows("shN", 1)
    palette = sog.picture("shN", 0)
    degree = sog.part("shN").get("bands")
    if sog.version == 1:  # told by the width
        degree = next((d for d, k in enumerate(COEFFICIENTS) if k and palette.shape[1] == PALETTE_ROW * k), None)
    if degree not in (1, 2, 3) or palette.shape[1] != PALETTE_ROW * COEFFICIENTS[degree]:
        raise sog.error("damaged: its palette of spherical harmonics fits no degree")
    coefficients = COEFFICIENTS[degree]
    entries = palette[..., :3].reshape(-1, coefficients, 3)
    chosen = labels[:, 0].astype(np.int64) | labels[:, 1].astype(np.int64) << 8
    if len(chosen) and chosen.max() >= len(entries):
        raise sog.error(f"damaged: its palette has {len(entries):,} entries, a Gaussian names {chosen.max():,}")
    if sog.version == 2:
        values = _codebook(sog, "shN", entries)
    else:
        mins, maxs = (sog.numbers("shN", key, range(1, 2)) for key in ("mins", "maxs"))
        with np.errstate(over="ignore", invalid="ignore"):
            values = mins + (maxs - mins) * (entries / 255.0)
    with np.errstate(over="ignore"):
        return values.astype(np.float32)[chosen]
