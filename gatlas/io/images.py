"""Pictures: PNG, JPEG and WebP to float arrays, and float arrays to 8-bit PNG."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from gatlas.errors import GatlasError
from gatlas.images.srgb import to_bytes
from gatlas.io.arrays import host_array
from gatlas.io.registry import refusal

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.io.streams import Blob


# No format whose reader starts another program (EPS) or reads other files.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "GIF", "TGA", "TIFF", "PPM", "JPEG2000", "PSD", "PCX", "SGI", "QOI")
FREE_PIXELS = 1 << 24  # that any file may have, and beyond it as many per byte as PNG and JPEG can hold of 8-bit pixels
PIXELS_PER_BYTE = 1100


class PictureError(ValueError):
    """A fault of a picture, in one line."""


def decode_image(blob: Blob) -> Float[np.ndarray, "h w d"]:
    """Return an RGB picture, or straight RGBA if it has transparency: float32 in [0, 1], upright by its EXIF tag."""
    if blob.kind != "image":
        raise refusal(blob, "image")
    try:
        with opened_picture(blob.data) as image:
            return _to_float(ImageOps.exif_transpose(image))
    except PictureError as error:
        raise GatlasError(f"{blob.name}: the picture cannot be read: {error}") from None


@contextmanager
def opened_picture(data: bytes) -> Iterator[Image.Image]:
    """Yield the decoded picture of a file. Any error of its content, also inside the block, is a PictureError.

    Its size is checked before memory is taken for it. The only code that calls `Image.open`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tags that are damaged, and of sizes that are checked here
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_size(image, len(data))
                image.load()
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
