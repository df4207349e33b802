"""Pictures: PNG, JPEG and WebP to float arrays, and float arrays to 8-bit PNG."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, PngImagePlugin

from gatlas.errors import GatlasError
from gatlas.images.srgb import to_bytes
from gatlas.io.arrays import host_array
from gatlas.io.registry import refusal
from gatlas.io.streams import Blob, opened_file

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from jaxtyping import Float


# No format whose reader starts another program (EPS) or reads other files.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "GIF", "TGA", "TIFF", "PPM", "JPEG2000", "PSD", "PCX", "SGI", "QOI")
FREE_PIXELS = 1 << 24  # that any file may have, and beyond it as many per byte as PNG and JPEG can hold of 8-bit pixels
PIXELS_PER_BYTE = 1100
UPRIGHT = 1  # EXIF orientation of a picture that is shown as it is stored
_EXIF_OF_PNG = frozenset({"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"})  # else Pillow decodes it all


class PictureError(ValueError):
    """A fault of a picture, in one line."""


class PictureHeader(NamedTuple):
    """Size of a picture as it is stored, and how its EXIF tag turns it for people."""

    width: int  # pixels
    height: int
    orientation: int  # 1 to 8, as EXIF counts; 5 to 8 swap width and height

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, as stored."""
        return self.width, self.height

    @property
    def turned_size(self) -> tuple[int, int]:
        """Width and height in pixels after the turn."""
        return (self.height, self.width) if self.orientation >= 5 else self.size


def decode_image(blob: Blob, *, upright: bool = True) -> Float[np.ndarray, "h w d"]:
    """Return an RGB picture, or straight RGBA if it has transparency: float32 in [0, 1].

    It is turned as its EXIF tag says, or else (`upright` False) as it is stored.
    """
    if blob.kind != "image":
        raise refusal(blob, "image")
    try:
        with opened_picture(blob.data) as image:
            return _to_float(ImageOps.exif_transpose(image) if upright else image)
    except PictureError as error:
        raise GatlasError(f"{blob.name}: the picture cannot be read: {error}") from None


def read_header(source: str | Path | Blob) -> PictureHeader:
    """Return the header of a picture without decoding it; of a PNG, an EXIF tag behind the pixels is not found."""
    if isinstance(source, Blob):
        return _header(source.name, io.BytesIO(source.data))
    with opened_file(source) as file:
        return _header(str(source), file)


def _header(name: str, file: BinaryIO) -> PictureHeader:
    try:
        with _undecoded(file) as image:
            tagged = image.format != "PNG" or not _EXIF_OF_PNG.isdisjoint(image.info)
            orientation = image.getexif().get(ExifTags.Base.Orientation, UPRIGHT) if tagged else UPRIGHT
            known = isinstance(orientation, int) and UPRIGHT <= orientation <= 8
            return PictureHeader(*image.size, orientation if known else UPRIGHT)
    except PictureError as error:
        raise GatlasError(f"{name}: the picture cannot be read: {error}") from None


def turn(picture: Float[np.ndarray, "h w *d"], orientation: int) -> Float[np.ndarray, "_ _ *d"]:
    """Return a picture as stored, turned as an EXIF orientation says."""
    if orientation in (5, 6, 7, 8):
        picture = picture.swapaxes(0, 1)
    return picture[:: -1 if orientation in (3, 4, 7, 8) else 1, :: -1 if orientation in (2, 3, 6, 7) else 1]


def turn_back(picture: Float[np.ndarray, "h w *d"], orientation: int) -> Float[np.ndarray, "_ _ *d"]:
    """Return a picture that was turned, as it was stored."""
    return turn(picture, {6: 8, 8: 6}.get(orientation, orientation))


def read_exif(source: str | Path) -> dict[str, object]:
    """Return the EXIF tags of a picture by name, without decoding it; {} where it has none, or they are damaged."""
    with opened_file(source) as file:
        try:
            with _undecoded(file) as image:
                if image.format == "PNG" and _EXIF_OF_PNG.isdisjoint(image.info):
                    return {}
                tags = image.getexif()
                values = {**tags, **tags.get_ifd(ExifTags.IFD.Exif)}
        except PictureError as error:
            raise GatlasError(f"{source}: the picture cannot be read: {error}") from None
    return {ExifTags.TAGS[number]: value for number, value in values.items() if number in ExifTags.TAGS}


@contextmanager
def opened_picture(data: bytes) -> Iterator[Image.Image]:
    """Yield the decoded picture of a file. Any error of its content, also inside the block, is a PictureError.

    Its size is checked before memory is taken for it.
    """
    with _undecoded(io.BytesIO(data)) as image:
        image.load()
        yield image


@contextmanager
def _undecoded(file: BinaryIO) -> Iterator[Image.Image]:
    """Yield a picture whose size is plausible. The only code that calls `Image.open`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tags that are damaged, and of sizes that are checked here
            with Image.open(file, formats=FORMATS) as image:
                at = file.tell()
                _check_size(image, file.seek(0, io.SEEK_END))
                file.seek(at)
                yield image
    except (MemoryError, PictureError):
        raise
    except Image.UnidentifiedImageError:
        raise PictureError("it is of no known format, or damaged") from None
    except Exception as error:  # on damaged bytes Pillow fails in any way
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise PictureError(reason) from None


def _check_size(image: Image.Image, size: int) -> None:
    width, height = image.size
    if width * height > max(FREE_PIXELS, PIXELS_PER_BYTE * size):
        raise PictureError(f"its header promises {width} x {height} pixels, and it has {size:,} bytes")


def _to_float(image: Image.Image) -> Float[np.ndarray, "h w d"]:
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow's own conversion saturates
        grey = np.asarray(image).astype(np.float32)
        grey /= 65535.0
        return np.repeat(np.clip(grey, 0.0, 1.0, out=grey)[:, :, None], 3, axis=2)
    transparent = "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa")
    if image.mode == "La":
        image = image.convert("LA")
    pixels = np.asarray(image.convert("RGBA" if transparent else "RGB")).astype(np.float32)
    pixels /= 255.0  # in place: the pictures of a large photo take gigabytes
    return pixels


def encode_depth_png(depths: Float[np.ndarray, "h w"], unit: float) -> bytes:
    """Return a 16-bit gray PNG of depths in multiples of `unit`, which its text "depth_unit_scale_factor" holds."""
    levels = np.rint(np.asarray(depths, dtype=np.float64) / unit)
    if not (levels.min() >= 0 and levels.max() <= 65535):
        raise ValueError(f"depths must be in [0, {65535 * unit}], got {depths.min()} to {depths.max()}")
    text = PngImagePlugin.PngInfo()
    text.add_text("depth_unit_scale_factor", repr(float(unit)))
    payload = io.BytesIO()
    Image.fromarray(levels.astype(np.uint16)).save(payload, "PNG", pnginfo=text)
    return payload.getvalue()


def encode_png(image: Float[np.ndarray, "h w d"]) -> bytes:
    """An 8-bit PNG of an RGB or RGBA picture in [0, 1]; values beyond are clamped, NaN is a GatlasError."""
    pixels = host_array(image)
    if pixels.ndim != 3 or pixels.shape[2] not in (3, 4) or 0 in pixels.shape:
        raise ValueError(f"a picture must have shape [h w 3 or 4], got {list(pixels.shape)}")
    if not np.issubdtype(pixels.dtype, np.floating):
        raise ValueError(f"a picture must be float in [0, 1], got {pixels.dtype}")
    if np.isnan(pixels).any():
        raise GatlasError(f"not written: the picture has {np.count_nonzero(np.isnan(pixels))} values that are NaN")
    payload = io.BytesIO()
    Image.fromarray(to_bytes(pixels)).save(payload, "PNG")
    return payload.getvalue()
