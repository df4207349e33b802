"""Pictures: PNG, JPEG and WebP to float arrays, and float arrays to 8-bit PNG."""

from __future__ import annotations

import io
import struct
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


def decode_image(blob: Blob) -> Float[np.ndarray, "h w d"]:
    """Return an RGB picture, or straight RGBA if it has transparency: float32 in [0, 1], upright by its EXIF tag."""
    if blob.kind != "image":
        raise refusal(blob, "image")
    try:
        with Image.open(io.BytesIO(blob.data)) as image:
            image.load()
            upright = ImageOps.exif_transpose(image)
            return _to_float(upright)
    # What Pillow raises for damaged files; an unlikely size is its guard against files that exhaust the memory.
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise GatlasError(f"{blob.name}: the picture cannot be read: {error}") from None


def _to_float(image: Image.Image) -> Float[np.ndarray, "h w d"]:
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow's own conversion saturates
        grey = np.asarray(image).astype(np.float32) / 65535.0
        return np.repeat(np.clip(grey, 0.0, 1.0)[:, :, None], 3, axis=2)
    transparent = "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa")
    if image.mode == "La":
        image = image.convert("LA")
    return np.asarray(image.convert("RGBA" if transparent else "RGB")).astype(np.float32) / 255.0


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
