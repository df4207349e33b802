"""RealEstate10K as pixelSplat and its successors keep it: clips of video with a camera for each frame.

    {train,test}/000000.torch ...   each a list of clips; a clip is a dict
        key      str
        images   list of uint8 tensors, the bytes of a JPEG each
        cameras  [n 18]: fx fy cx cy of a picture of 1 x 1, two zeros, and the rows of world -> camera (3 x 4, OpenCV)
    {train,test}/index.json         from the key of each clip to its file

The files are read as data: one that holds code is refused, not run. They are mapped, so that a frame costs its own
bytes and not its file's hundred megabytes.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.errors import GatlasError
from gatlas.io import streams
from gatlas.io.images import UPRIGHT, decode_image, read_header
from gatlas.io.json_reader import read_json
from gatlas.io.models.torch_file import is_stored, load_torch
from gatlas.io.photos.posed_photos import orthonormalized
from gatlas.io.streams import Blob

if TYPE_CHECKING:
    from jaxtyping import Float

SUFFIX, INDEX, TRAIN = ".torch", "index.json", "train"


class Clip:
    """The frames of one clip."""

    unit = 1.0  # the set's clips are scaled so that the nearest things are about this far away

    def __init__(self, name: str, record: Any) -> None:
        """`name` is what to call it in messages. A record that is no clip is a GatlasError."""
        import torch

        self.name = self._file = name
        key, images, cameras = (record.get(part) for part in ("key", "images", "cameras"))
        if not isinstance(key, str) or not isinstance(images, list) or not isinstance(cameras, torch.Tensor):
            raise GatlasError(f"{name}: not a clip: it needs 'key', a list of 'images' and a tensor of 'cameras'")
        self.key, self.name = key, f"{name}: clip {key:.200}"
        if tuple(cameras.shape) != (len(images), 18) or not cameras.is_floating_point() or not is_stored(cameras):
            raise GatlasError(
                f"{self.name}: its {len(images)} images need cameras of shape [{len(images)} 18], "
                f"got {list(cameras.shape)}"
            )
        if not images:
            raise GatlasError(f"{self.name}: has no images")
        self._images = images
        values = cameras.double().numpy()
        if not np.isfinite(values).all() or not (values[:, :2] > 0).all():
            raise GatlasError(f"{self.name}: a camera has a focal length that is not positive, or NaN or infinity")
        count = len(images)
        self.Ks: Float[np.ndarray, "n 3 3"] = np.tile(np.eye(3), (count, 1, 1))
        self.Ks[:, 0, 0], self.Ks[:, 1, 1], self.Ks[:, 0, 2], self.Ks[:, 1, 2] = values[:, :4].T
        viewmats = np.tile(np.eye(4), (count, 1, 1))
        viewmats[:, :3] = values[:, 6:].reshape(count, 3, 4)
        self.viewmats: Float[np.ndarray, "n 4 4"] = orthonormalized(viewmats, self.name, "camera")

    def __len__(self) -> int:
        return len(self._images)

    def pictures(self, indices: Sequence[int]) -> list[Float[np.ndarray, "_ _ d"]]:
        """Some of the frames, RGB in [0, 1]. A damaged one is a GatlasError."""
        return [self._picture(int(i)) for i in indices]

    def _picture(self, i: int) -> Float[np.ndarray, "h w d"]:
        import torch

        stored = self._images[i]
        bytewise = isinstance(stored, torch.Tensor) and stored.dtype == torch.uint8 and stored.ndim == 1
        if not bytewise or not is_stored(stored):
            raise GatlasError(f"{self.name}: image {i} is not a row of bytes")
        blob = Blob(f"{self.name}, image {i}", stored.numpy().tobytes())
        if read_header(blob).orientation != UPRIGHT:
            _say_unturned(self._file)
        return decode_image(blob, upright=False)


@cache  # once per file
def _say_unturned(name: str) -> None:
    warnings.warn(f"{name}: the EXIF turn of its images is not applied: cameras are of the stored pixels", stacklevel=2)


def read_chunk(path: str | Path) -> list[Any]:
    """The records of a chunk, each for `Clip`. A file that is damaged, or of another kind, is a GatlasError."""
    path = Path(path)
    stored = load_torch(path, "clips")
    if not isinstance(stored, list) or not all(isinstance(record, dict) for record in stored):
        raise GatlasError(f"{path}: not a chunk: it must hold a list of clips")
    return stored


def chunk_files(folder: str | Path) -> list[Path]:
    """The chunks of a folder, or of its folder `train`; none where it is no folder of chunks."""
    for place in (Path(folder), Path(folder) / TRAIN):
        with streams.os_errors(place):
            found = sorted(place.glob(f"*{SUFFIX}"))
        if found:
            return found
    return []


def listed_keys(folder: Path) -> set[str] | None:
    """The keys that a folder's index.json lists; None where it has none."""
    path = folder / INDEX
    if not path.is_file():
        return None
    index = read_json(streams.read(path))
    if not isinstance(index, dict):
        raise GatlasError(f"{path}: damaged: must map the keys of clips to files")
    return set(index)
