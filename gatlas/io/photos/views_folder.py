"""A folder of views that is written one view after another, and finished by a later process where one was stopped."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatlas.errors import GatlasError
from gatlas.io import outputs, streams
from gatlas.io.images import decode_image, encode_png
from gatlas.io.models.tensors import read_json
from gatlas.io.photos.transforms import INDEX, encode_index

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

    from gatlas.types import Cameras

    Picture = Float[np.ndarray, "h w d"]

_NAME = re.compile(r"images/\d{3,12}\.png")
PART = f"{INDEX}.part"  # name of the index until all views are there, so that no reader takes the folder for whole


def stored_record(folder: str | Path) -> dict[str, Any] | None:
    """Return the entry "sample" of a folder's index, {} where it has none; None where there is no index."""
    path = next((path for name in (INDEX, PART) if (path := Path(folder) / name).is_file()), None)
    return None if path is None else record_of(path)


def record_of(path: str | Path) -> dict[str, Any]:
    """Return the entry "sample" of a JSON file; {} where it has none."""
    found = read_json(Path(path)).get("sample")
    return found if isinstance(found, dict) else {}


def begun_views(folder: str | Path) -> list[Picture] | None:
    """Return the first views of a folder that is not whole yet; None of a whole one."""
    path = Path(folder)
    if (path / INDEX).is_file():
        return None
    frames = read_json(path / PART).get("frames", [])
    names = [
        frame.get("file_path") if isinstance(frame, dict) else ""
        for frame in (frames if isinstance(frames, list) else [""])
    ]
    if not all(isinstance(name, str) and _NAME.fullmatch(name) for name in names):
        raise GatlasError(f"{path / PART}: damaged: its frames are not pictures that gatlas wrote: remove the folder")
    files = [path / str(name) for name in names]
    return [decode_image(streams.read(file)) for file in files[: _count_files(files)]]


class ViewsFolder:
    """A folder that gets the views of some cameras, and its index when all are there."""

    def __init__(
        self, folder: str | Path, cameras: Cameras, record: Mapping[str, Any], *, resume: bool, force: bool
    ) -> None:
        """`record` is stored in the index as "sample". `resume` appends after the existing views."""
        self._folder = Path(folder)
        names, index = encode_index(cameras, sample=dict(record))
        self._files = [self._folder / name for name in names]
        if not resume:
            outputs.check_output(folder, force=force, folder=True)
            with streams.os_errors(folder):
                (self._folder / "images").mkdir(parents=True, exist_ok=True)
                for old in (self._folder / INDEX, *self._files):
                    old.unlink(missing_ok=True)
            outputs.write(self._folder / PART, [index], force=True)
        self._count = _count_files(self._files)

    def add(self, images: Iterable[Picture]) -> None:
        """Write the next views."""
        for image in images:
            outputs.write(self._files[self._count], [encode_png(image)], force=True)
            self._count += 1
        if self._count == len(self._files):
            with streams.os_errors(self._folder):
                os.replace(self._folder / PART, self._folder / INDEX)


def _count_files(files: list[Path]) -> int:
    """Return how many files are there before the first that is not."""
    return next((i for i, file in enumerate(files) if not file.is_file()), len(files))
