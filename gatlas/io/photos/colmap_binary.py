"""COLMAP's binary files: cameras.bin, images.bin and points3D.bin, all little-endian."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.errors import GatlasError
from gatlas.io.photos.colmap_records import MODELS, CameraRecord, ImageRecord

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.io.streams import Blob


class _Reader:
    """A place in a file's bytes that moves on as values are taken; an end too soon is a GatlasError."""

    def __init__(self, blob: Blob, noun: str) -> None:
        self.blob, self.noun, self.at = blob, noun, 0
        (self.count,) = self.take("Q")

    def take(self, form: str) -> tuple[Any, ...]:
        size = struct.calcsize("<" + form)
        self.skip(size)
        return struct.unpack_from("<" + form, self.blob.data, self.at - size)

    def skip(self, size: int) -> None:
        self.at += size
        if self.at > len(self.blob.data):
            raise self.truncated()

    def text(self) -> str:
        """Up to the next zero byte."""
        end = self.blob.data.find(b"\0", self.at)
        if end < 0:
            raise self.truncated()
        raw, self.at = self.blob.data[self.at : end], end + 1
        return raw.decode("utf-8", "surrogateescape")

    def finish(self) -> None:
        if self.at != len(self.blob.data):
            raise GatlasError(
                f"{self.blob.name}: damaged: {len(self.blob.data) - self.at:,} bytes follow its last {self.noun}"
            )

    def truncated(self) -> GatlasError:
        count = getattr(self, "count", None)
        promise = "the file is too short" if count is None else f"its header promises {count:,} {self.noun}s"
        return GatlasError(f"{self.blob.name}: truncated or damaged: {promise}, it has {len(self.blob.data):,} bytes")


def decode_cameras(blob: Blob) -> dict[int, CameraRecord]:
    """Cameras by their id."""
    reader = _Reader(blob, "camera")
    cameras = {}
    for _ in range(reader.count):
        camera, model, width, height = reader.take("iiQQ")
        if not 0 <= model < len(MODELS):
            raise GatlasError(f"{blob.name}: camera {camera} is of model {model}, which gatlas does not know")
        name, parameters = MODELS[model]
        cameras[camera] = CameraRecord(name, width, height, reader.take(f"{parameters}d"))
    reader.finish()
    return cameras


def decode_images(blob: Blob) -> list[ImageRecord]:
    """Images, without the points that were seen in them."""
    reader = _Reader(blob, "image")
    images = []
    for _ in range(reader.count):
        _, *pose, camera = reader.take("i7di")
        name = reader.text()
        (seen,) = reader.take("Q")
        reader.skip(24 * seen)
        images.append(ImageRecord(name, tuple(pose[:4]), tuple(pose[4:]), camera))
    reader.finish()
    return images


def decode_points(blob: Blob) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """Positions, and colors from 0 to 255."""
    reader = _Reader(blob, "point")
    rows = []
    for _ in range(reader.count):
        _, x, y, z, red, green, blue, _, track = reader.take("Q3d3BdQ")
        reader.skip(8 * track)
        rows.append((x, y, z, red, green, blue))
    reader.finish()
    table = np.array(rows, dtype=np.float64).reshape(-1, 6)
    return table[:, :3], table[:, 3:]
