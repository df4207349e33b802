"""Tars of folders of views, read out of order: a training looks at few of many pictures."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from gatlas.errors import GatlasError
from gatlas.io import streams
from gatlas.io.photos import transforms
from gatlas.io.photos.posed_photos import views_of
from gatlas.io.photos.scenes import PhotoFolder
from gatlas.io.sets.scratch import temporary_folder
from gatlas.io.sets.shard_index import shard_index
from gatlas.io.sets.shards import SUFFIX, Member, read_member

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float


def is_view_shard(name: str | Path) -> bool:
    """Return True for the name of a tar."""
    return str(name).lower().endswith(SUFFIX)


def shard_objects(path: str | Path) -> list[list[Member]]:
    """Return the files of each object in a tar: a transforms.json and what lies in its folder, by name."""
    members = shard_index(path).members
    folders = sorted({PurePosixPath(each.key).parent for each in members if _name(each).name == transforms.INDEX})
    if not folders:
        raise GatlasError(f"{path}: there is no {transforms.INDEX} with the cameras of its views in this tar")
    return [[each for each in members if folder in _name(each).parents] for folder in folders]


class ShardPhotos(PhotoFolder):
    """The photos of one object in a tar, in the order of its index."""

    def __init__(self, members: Sequence[Member]) -> None:
        """Read the index and the sizes of the pictures. An index that cannot be used is a GatlasError."""
        self._files = {str(_name(each)): each for each in members}
        index = next(name for name in self._files if PurePosixPath(name).name == transforms.INDEX)
        with temporary_folder() as scratch:
            _unpack(scratch, self._files.items())
            super().__init__((scratch / index).parent)
            turns = self._turns
            self._turned = [turns[path] for _, path in self._present]
            self._names = [
                tuple(_relative(each, scratch) for each in (photo.picture, photo.mask)) for photo in self._photos
            ]
        shard = members[0].shard
        self.name = f"{shard}:{index}"
        folder = str(PurePosixPath(index).parent)
        self.key = f"{shard.stem}/{folder}" if folder != "." else shard.stem

    def pictures(self, indices: Sequence[int]) -> list[Float[np.ndarray, "_ _ d"]]:
        """Return some of the photos, undistorted: RGB or straight RGBA in [0, 1]."""
        wanted = list(dict.fromkeys(indices))
        with temporary_folder() as scratch:
            _unpack(scratch, ((name, self._files[name]) for i in wanted for name in self._names[i] if name is not None))
            photos, turns = [], {}
            for i in indices:
                picture, mask = (None if name is None else scratch / name for name in self._names[i])
                photos.append(self._photos[i]._replace(picture=picture, mask=mask))
                if picture is not None:
                    turns[picture] = self._turned[i]
            return list(views_of(self.name, photos, None, turns).images)


def _name(member: Member) -> PurePosixPath:
    return PurePosixPath(member.key + member.suffix)


def _relative(path: Path | None, scratch: Path) -> str | None:
    return None if path is None else os.path.relpath(path, scratch)


def _unpack(scratch: Path, files: Iterable[tuple[str, Member]]) -> None:
    for name, member in files:
        place = scratch / name
        with streams.os_errors(member.shard):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(read_member(member).data)
