"""Photos with known cameras, read one at a time: a training set looks at few photos of many folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gatlas.errors import GatlasError
from gatlas.io import streams
from gatlas.io.photos import colmap, transforms
from gatlas.io.photos.frames import Shot, cameras_of, skip_missing, views_of

if TYPE_CHECKING:
    from jaxtyping import Float


class PhotoFolder:
    """The photos of a folder with a transforms.json or a COLMAP model, in the order of the index."""

    def __init__(self, folder: str | Path) -> None:
        """Read the index only. One that cannot be used is a GatlasError; photos that are missing are left out."""
        reader = transforms.read_shots if transforms.has_index(folder) else colmap.read_shots
        self.name, shots, self.width, self.height = reader(folder)
        self.key = Path(folder).name
        self._shots: list[Shot] = [shot for shot, _ in skip_missing(self.name, shots)]
        cameras = cameras_of(self.name, self._shots, self.width, self.height)
        self.viewmats: Float[np.ndarray, "n 4 4"] = np.stack([shot.viewmat for shot in self._shots])
        size = np.array([[self.width], [self.height], [1.0]])
        self.Ks: Float[np.ndarray, "n 3 3"] = cameras.Ks / size  # rows divided by the width and the height

    def __len__(self) -> int:
        return len(self._shots)

    def pictures(self, indices: Sequence[int]) -> list[Float[np.ndarray, "h w d"]]:
        """Some of the photos, undistorted: RGB or straight RGBA in [0, 1]."""
        shots = [self._shots[i] for i in indices]
        return list(views_of(self.name, shots, self.width, self.height, None).images)


def is_scene(folder: str | Path) -> bool:
    """Whether a folder has an index of posed photos."""
    return transforms.has_index(folder) or colmap.find_model(folder) is not None


def scene_folders(folder: str | Path) -> list[Path]:
    """The folder itself where it is a scene, else those of its folders that are, by name."""
    path = Path(folder)
    if not streams.is_folder(path):
        raise GatlasError(f"{path}: there is no such folder")
    if is_scene(path):
        return [path]
    with streams.os_errors(path):
        return sorted(each for each in path.iterdir() if each.is_dir() and is_scene(each))
