"""Loading of the photos of one scene with the intrinsics, masks and cameras that files hold of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gatlas.errors import GatlasError
from gatlas.io import streams
from gatlas.io.photos.photo_loader import UndistortedPhoto, frame_masks, read_photos
from gatlas.io.photos.pose_file import read_viewmats
from gatlas.io.photos.transforms import index_of, read_posed_photos

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from jaxtyping import Float

    from gatlas.io.streams import Blob

STEM = "{stem}"  # in the name of a mask: the photo's name without its suffix


class PhotoSet(NamedTuple):
    """Photos of one scene, and their cameras where an initial file holds them."""

    photos: list[UndistortedPhoto]
    viewmats: Float[np.ndarray, "n 4 4"] | None  # world -> camera, in the units of the file


def read_photo_set(
    names: Sequence[str],
    *,
    fov: float | None = None,
    intrinsics: str | None = None,
    init: str | None = None,
    mask: str | None = None,
) -> PhotoSet:
    """Return the named photos, those of one named folder with a transforms.json, or without names those of `init`.

    `init` is a transforms.json or its folder with the cameras of all photos; its pictures are in the named folder, if
    there is one. Intrinsics are from `fov` (see `read_photos`), from the file `intrinsics`, or from the folder's own
    transforms.json or `init`. `mask` is the name of a gray picture in which {stem} is the photo's name; without it, the
    `mask_path` of the photo's frame is read.
    """
    paths, index = list(names), None
    init_file = None if init is None else streams.read(_index_file(init))
    if len(paths) == 1 and streams.is_folder(paths[0]):
        folder = Path(paths[0])
        if init_file is None:
            index = streams.read(index_of(folder))
        else:
            init_file = index = replace(init_file, path=folder / Path(init_file.name).name)
        paths = _pictures(index, folder)
    elif not paths and init_file is not None:
        index = init_file
        paths = _pictures(init_file, Path(init_file.name).parent)
    intrinsics_file = None if intrinsics is None else streams.read(_index_file(intrinsics))
    source = intrinsics_file or (None if fov is not None else index or init_file)
    paths = paths or ["-"]
    framed = index or init_file or intrinsics_file
    masks: Sequence[str | Path | None] | None = None
    if mask is not None:
        masks = _mask_names(mask, paths)
    elif framed is not None:
        masks = frame_masks(framed, paths)
    photos = read_photos(paths, fov=fov, source=source, masks=masks, poses=framed)
    if init_file is None:
        return PhotoSet(photos, None)
    viewmats = read_viewmats(init_file, paths)
    clear = [photo.path for photo in photos if photo.image.shape[2] == 4]
    if 0 < len(clear) < len(photos):
        opaque = next(photo.path for photo in photos if photo.image.shape[2] == 3)
        raise GatlasError(f"--init needs photos all with or all without transparency: {clear[0]} has, {opaque} has not")
    return PhotoSet(photos, viewmats)


def _index_file(name: str) -> str | Path:
    return index_of(name) if streams.is_folder(name) else name


def _pictures(index: Blob, folder: Path) -> list[str]:
    """Return the paths of the pictures that an index lists, all of which must exist."""
    _, photos = read_posed_photos(index)
    missing = [photo.name for photo in photos if photo.picture is None]
    if missing:
        raise GatlasError(
            f"{index.name}: {len(missing)} of its pictures are missing in {folder}, the first is {missing[0]:.200}"
        )
    return [str(photo.picture) for photo in photos]


def _mask_names(mask: str, paths: list[str]) -> list[str]:
    names = [mask.replace(STEM, Path(path).stem) for path in paths]
    if len(set(names)) < len(set(paths)):
        raise GatlasError(
            f"--mask {mask}: photos would share a mask: put {STEM} into its name, and give the photos different names"
        )
    return names
