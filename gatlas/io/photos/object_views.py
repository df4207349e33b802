"""Views of single objects with their cameras: folders of them, folders of folders, and tars.

A tar holds the files of views folders: NAME/transforms.json beside NAME/images/000.png, as `gatlas sample` and tar
itself write them. It is read from front to back, from a pipe too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from gatlas.errors import GatlasError
from gatlas.io import registry, streams
from gatlas.io.json_reader import read_json
from gatlas.io.photos import transforms
from gatlas.io.photos.posed_photos import PosedPhoto, views_of
from gatlas.io.photos.scenes import read_posed_photos, scene_folders
from gatlas.io.sets.scratch import temporary_folder
from gatlas.io.sets.shards import SUFFIX, stream_members
from gatlas.io.streams import Blob
from gatlas.types import MixedViews

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

    from gatlas.types import Cameras

STEM = "{stem}"  # in the name of a mask: the picture's name without its suffix
TARS = (SUFFIX, ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


class ObjectViewSet(NamedTuple):
    """The views of one object."""

    name: str
    pictures: tuple[str, ...]  # names, for messages
    images: Float[np.ndarray, "v h w d"]  # RGB or straight RGBA, sRGB-encoded, [0, 1]
    cameras: Cameras
    masked: bool  # every picture has a mask, which is its alpha
    over_white: bool  # they were made over white, which their index says


def is_view_source(name: str) -> bool:
    """Return True for a name of a folder, a transforms.json, a tar or standard input: not of a picture."""
    return streams.is_stream(name) or streams.is_folder(name) or name.lower().endswith((".json", *TARS))


def read_object_views(name: str, mask: str | None = None, *, side: int | None = None) -> Iterator[ObjectViewSet]:
    """Yield the views of each object that a name stands for; see `is_view_source`.

    `mask` is the name of a gray picture, white where the object is, in which {stem} is a picture's name; without it,
    the `mask_path` of a frame is taken. Pictures are reduced as they are read, so that their longer side is at most
    `side` pixels (None: as they are). A picture that is missing, pictures of several sizes, and a source without
    cameras are a GatlasError.
    """
    if not streams.is_stream(name) and streams.is_folder(name):
        for folder in _folders(name):
            over_white = is_over_white(folder)
            yield _read(Path(folder).resolve().name, *read_posed_photos(folder), mask, over_white, side)
    elif name.lower().endswith(".json"):
        key, over_white = Path(name).resolve().parent.name, is_over_white(name)
        yield _read(key, *transforms.read_posed_photos(name), mask, over_white, side)
    else:
        with temporary_folder() as scratch:
            for key, index in _unpacked(name, scratch):
                yield _read(key, *transforms.read_posed_photos(index), mask, is_over_white(index), side)


def is_over_white(index: str | Path | Blob) -> bool:
    """Return True where an index, or that of a folder, says that its views were sampled over white."""
    if not isinstance(index, Blob) and streams.is_folder(index):
        if not transforms.has_index(index):
            return False
        index = transforms.index_of(index)
    document = read_json(streams.as_blob(index), fault="no cameras")
    record = document.get("sample") if isinstance(document, dict) else None
    return isinstance(record, dict) and record.get("background") == "white"


def _folders(name: str) -> list[Path]:
    found = scene_folders(name)
    if not found:
        suffix = transforms.picture_suffix(name)
        pictures = f"; to name the pictures of an orbit in order: {Path(name)}/*{suffix}" if suffix else ""
        raise GatlasError(f"{Path(name)}: there is no {transforms.INDEX} with the cameras of its views{pictures}")
    return found


def _read(
    name: str, index: str, photos: list[PosedPhoto], mask: str | None, over_white: bool, side: int | None
) -> ObjectViewSet:
    missing = [photo.name for photo in photos if photo.picture is None]
    if missing:
        raise GatlasError(
            f"{index}: {len(missing)} of its {len(photos)} pictures are missing, the first is {missing[0]:.200}"
        )
    if mask is not None:
        photos = [photo._replace(mask=Path(mask.replace(STEM, Path(photo.name).stem))) for photo in photos]
        if len({photo.mask for photo in photos}) < len(photos):
            raise GatlasError(f"--mask {mask}: pictures would share a mask: put {STEM} into its name")
    views = views_of(index, photos, side)
    if isinstance(views, MixedViews):
        sizes = ", ".join(f"{width} x {height}" for width, height in sorted(set(views.cameras.sizes))[:3])
        raise GatlasError(f"{index}: its pictures have several sizes ({sizes}): views of an object have one")
    names = tuple(f"{index}: {photo.name}" for photo in photos)
    have_masks = all(photo.mask is not None for photo in photos)
    return ObjectViewSet(name, names, views.images, views.cameras, have_masks, over_white)


def _unpacked(source: str, scratch: Path) -> Iterator[tuple[str, Blob]]:
    """Write the pictures of a tar into a folder, and yield the name and the index of each object, in its order."""
    title = "standard input" if streams.is_stream(source) else source
    for folder, index in _unpack(stream_members(source), title, scratch):
        yield folder.name or _stem(source), index


def _unpack(members: Iterable[Blob], title: str, scratch: Path) -> list[tuple[PurePosixPath, Blob]]:
    """Write the pictures of a tar into a folder, and return the folder in it and the index of each object."""
    indexes: list[tuple[PurePosixPath, Blob]] = []
    for blob in members:
        if blob.key is None:
            raise GatlasError(f"{title}: not a tar of views, which holds {transforms.INDEX} and its pictures")
        path = PurePosixPath(blob.name[len(title) + 1 :])  # which does not lead out of the tar: its reader sees to it
        place = scratch / path
        if path.name == transforms.INDEX:
            indexes.append((path.parent, Blob(blob.name, blob.data, place)))
        elif path.suffix.lower() in registry.suffixes("image"):
            _write(place, blob)
    if not indexes:
        raise GatlasError(f"{title}: there is no {transforms.INDEX} with the cameras of its views in this tar")
    return indexes


def _write(place: Path, blob: Blob) -> None:
    with streams.os_errors(blob.name):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(blob.data)


def views_ahead(members: Iterator[Blob]) -> tuple[bool, Iterator[Blob]]:
    """Return True where the members of a tar are of views, and the members, of which none is lost.

    They are where nothing but pictures comes before a transforms.json.
    """
    pictures, first = registry.suffixes("image"), list[Blob]()
    for blob in members:
        first.append(blob)
        suffix = PurePosixPath(blob.name).suffix
        if blob.key is None or suffix.lower() not in pictures:
            last = "" if blob.key is None else PurePosixPath(blob.key).name + suffix
            return last == transforms.INDEX, chain(first, members)
    return False, iter(first)


@contextmanager
def unpacked_views(source: str, members: Iterable[Blob] | None = None) -> Iterator[str]:
    """Yield a folder with the views of the one object of a tar, until the end of the block.

    `members` are those of the tar where some have been read already. A tar of several objects is a GatlasError.
    """
    title = "standard input" if streams.is_stream(source) else source
    with temporary_folder() as scratch:
        place = scratch / _stem(source)  # a name for views that lie in no folder of the tar
        found = _unpack(stream_members(source) if members is None else members, title, place)
        if len(found) > 1:
            raise GatlasError(f"{title}: holds views of {len(found):,} objects: unpack the tar and name the folder")
        ((folder, index),) = found
        _write(place / folder / transforms.INDEX, index)
        yield str(place / folder)


def _stem(source: str) -> str:
    """Return the name of the only object of a tar."""
    if streams.is_stream(source):
        return "object"
    name = Path(source).name
    return next((name[: -len(end)] for end in TARS if name.lower().endswith(end)), name)
