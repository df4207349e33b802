"""Cameras that were found of photos, kept for the next run: COLMAP models in the cache or in a folder of the user's.

A folder holds a model (cameras.bin, images.bin, points3D.bin) and, written last, `photos.json`, which says of which
photos and options it is. Work in progress is in `work/` in it, and goes when the model stands.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gatlas.errors import GatlasError
from gatlas.io import outputs, streams
from gatlas.io.atlases.plane_cache import cache_folder
from gatlas.io.json_reader import read_json
from gatlas.locks import exclusive
from gatlas.trust import foreign_writer

if TYPE_CHECKING:
    from gatlas.io.photos.unposed_photos import UnposedPhoto

INDEX = "photos.json"
WORK = "work"
LOCK = ".lock"
VERSION = 2  # of the identity: raised when the same photos and options give other cameras
MODEL_FILES = ("rigs.bin", "frames.bin", "cameras.bin", "images.bin", "points3D.bin")


class KeptCameras(NamedTuple):
    """A finished model."""

    folder: Path
    photos: int  # that there are
    lacking: tuple[str, ...]  # names of the photos without a camera


class CameraStore(NamedTuple):
    """A folder for the cameras of certain photos, found with certain options."""

    folder: Path
    identity: str
    chosen: bool  # by the user; else it is in the cache

    @property
    def work(self) -> Path:
        """The folder of what is not finished."""
        return self.folder / WORK


def store_of(photos: Sequence[UnposedPhoto], options: Mapping[str, Any], out: str | None) -> CameraStore:
    """Return the store of photos, by their content, and of options: the folder `out`, or one in the cache."""
    digest = hashlib.sha256(json.dumps([VERSION, options], sort_keys=True).encode())
    for photo in photos:
        for path in (photo.path, photo.mask):
            digest.update(b"-" if path is None else hashlib.sha256(streams.read(path).data).digest())
        digest.update(photo.name.encode("utf-8", "surrogateescape") + b"\0")
    identity = digest.hexdigest()
    folder = cache_folder() / "cameras" / identity[:32] if out is None else Path(out)
    return CameraStore(folder, identity, out is not None)


def kept_cameras(store: CameraStore) -> KeptCameras | None:
    """Return the finished model of a store; None where there is none of these photos and options."""
    index = store.folder / INDEX
    if not streams.exists(index):
        return None
    try:
        held = read_json(streams.read(index), fault="no record of photos")
        lacking = tuple(map(str, held["lacking"]))
        found = KeptCameras(store.folder, int(held["photos"]), lacking)
        whole = all((store.folder / name).is_file() for name in MODEL_FILES[2:])
        return found if held["identity"] == store.identity and whole else None
    except (GatlasError, KeyError, TypeError, ValueError):
        return None


@contextmanager
def opened_store(store: CameraStore, *, force: bool, on_wait: Callable[[], object]) -> Iterator[None]:
    """Hold a store's folder, which is made, against other processes; `on_wait` is called before waiting for one.

    In the block its `work` is a folder, which holds what an earlier run for the same photos and options has done. A
    folder of the user's with anything else in it is a GatlasError unless `force` is given.
    """
    with streams.os_errors(store.folder):
        if store.chosen:
            outputs.check_parent(store.folder)
        elif (fault := foreign_writer(store.folder)) is not None:
            raise GatlasError(f"cameras are not kept there, as {fault}: name a folder of your own with --cameras-out")
        try:
            store.folder.mkdir(parents=not store.chosen, exist_ok=True)
        except OSError as error:
            reason = error.strerror or str(error)
            hint = "" if store.chosen else ": name a folder with --cameras-out, or in GATLAS_CACHE"
            raise GatlasError(f"{store.folder}: cannot be made ({reason}){hint}") from None
    with exclusive(str(store.folder / LOCK), on_wait), streams.os_errors(store.folder):
        if kept_cameras(store) is None:
            _begin(store, force=force)
        yield


def keep_cameras(
    store: CameraStore, write_model: Callable[[Path], object], photos: int, lacking: Sequence[str]
) -> KeptCameras:
    """Keep the model that `write_model` writes into the folder it is given; what the work left is removed."""
    with streams.os_errors(store.folder):
        scratch = store.work / "model"
        outputs.remove(scratch)
        scratch.mkdir()
        write_model(scratch)
        for name in MODEL_FILES:
            if (scratch / name).is_file():
                (scratch / name).replace(store.folder / name)
        record = {"identity": store.identity, "photos": photos, "lacking": list(lacking)}
        outputs.write(
            store.folder / INDEX,
            [json.dumps(record, indent=2).encode() + b"\n"],
            force=True,
            suffix=".json",
            what="a record of photos",
            text=True,
        )
        outputs.remove(store.work, ignore_errors=True)
    return KeptCameras(store.folder, photos, tuple(lacking))


def _begin(store: CameraStore, *, force: bool) -> None:
    """Make the folder of the work; that of other photos or options is removed."""
    mark = store.work / INDEX
    begun = mark.is_file() and mark.read_text(errors="replace").strip() == store.identity
    if begun:
        return
    known = {INDEX, WORK, LOCK, *MODEL_FILES}
    foreign = sorted(each.name for each in store.folder.iterdir() if each.name not in known)
    if store.chosen and foreign and not force:
        raise GatlasError(
            f"{store.folder}: holds {foreign[0]:.200}, which is not of cameras that gatlas found: name a new folder"
        )
    if store.chosen and (store.folder / INDEX).exists() and not force:
        raise GatlasError(
            f"{store.folder}: holds the cameras of other photos or options: name another folder, or use --force"
        )
    outputs.remove(store.folder / INDEX)
    outputs.remove(store.work)
    store.work.mkdir()
    mark.write_text(store.identity)
