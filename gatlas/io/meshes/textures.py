"""Textures of meshes: pictures as RGBA bytes of a bounded size."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from gatlas.errors import GatlasError
from gatlas.images.srgb import BYTE_TO_LINEAR, linear_to_srgb, to_bytes
from gatlas.io.images import PictureError, opened_picture
from gatlas.io.meshes.neighbors import shown

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

    from gatlas.io.streams import Blob

MAX_SIDE = 2048  # pixels; larger textures hold more than the pictures can show


def decode_texture(blob: Blob, name: str, content: bytes, *, opaque: bool) -> UInt8[np.ndarray, "h w 4"] | None:
    """A picture as sRGB-encoded RGBA, at most MAX_SIDE pixels a side; None, with a warning, where it is damaged.

    Where `opaque`, alpha means nothing and becomes 255, so that it does not weigh the colors when the picture shrinks.
    KTX2 and DDS are a GatlasError.
    """
    for signature, format_name in ((b"\xabKTX", "KTX2 (Basis Universal)"), (b"DDS ", "DDS")):
        if content.startswith(signature):
            raise GatlasError(
                f"{blob.name}: texture {shown(name)} is {format_name}, which gatlas does not read: use PNG or JPEG"
            )
    try:
        with opened_picture(content) as image:
            pixels = _rgba(image)
    except PictureError as error:
        warnings.warn(
            f"{blob.name}: texture {shown(name)} cannot be read; its plain base color is used ({error})", stacklevel=2
        )
        return None
    if opaque:
        pixels[..., 3] = 255
    return shrink(pixels, MAX_SIDE)


def _rgba(image: Image.Image) -> UInt8[np.ndarray, "h w 4"]:
    """8-bit RGBA of any picture. 16-bit and float grey is scaled, where Pillow's own conversion saturates."""
    if image.mode.startswith(("I", "F")):
        grey = np.asarray(image).astype(np.float64)
        top = 65535.0 if image.mode.startswith("I") else 1.0
        level = to_bytes(grey / top)
        return np.stack([level, level, level, np.full_like(level, 255)], axis=-1)
    if image.mode == "La":
        image = image.convert("LA")
    return np.array(image.convert("RGBA"))


def shrink(pixels: UInt8[np.ndarray, "h w 4"], most: int) -> UInt8[np.ndarray, "h2 w2 4"]:
    """The picture with no side above `most`: areas are averaged in linear light, colors weighed by alpha."""
    height, width = pixels.shape[:2]
    if max(height, width) <= most:
        return np.ascontiguousarray(pixels)
    ratio = most / max(height, width)
    size = max(1, round(width * ratio)), max(1, round(height * ratio))

    def averaged(channel: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h2 w2"]:
        return np.asarray(Image.fromarray(channel).resize(size, Image.Resampling.BOX))

    weight = pixels[..., 3].astype(np.float32) / 255
    alpha = averaged(weight)
    clear = alpha <= 0
    channels = []
    for k in range(3):
        linear = BYTE_TO_LINEAR[pixels[..., k]]
        mean = averaged(linear * weight) / np.where(clear, 1, alpha)
        channels.append(linear_to_srgb(np.where(clear, averaged(linear), mean) if clear.any() else mean))
    return np.rint(np.stack([*channels, alpha], axis=-1) * 255).clip(0, 255).astype(np.uint8)


def encode_texture(pixels: UInt8[np.ndarray, "h w 4"], *, opaque: bool) -> bytes:
    """Return a PNG of a texture: RGB where `opaque`, whose alpha means nothing, else straight RGBA."""
    payload = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels[..., :3] if opaque else pixels)).save(payload, "PNG")
    return payload.getvalue()
