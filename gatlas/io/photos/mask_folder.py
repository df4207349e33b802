"""Masks of photos in a folder of their own, named as COLMAP or nerfstudio name them, or as the photos are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from gatlas.errors import GatlasError
from gatlas.io import registry, streams

PLACES = ("images", "input", "rgb")  # folders of photos, which do not count among the names of masks
SUFFIX = ".png"  # that COLMAP appends to the whole name of a photo, and that masks made here have


def masks_in(folder: str | Path, pictures: Sequence[Path], root: str | Path) -> dict[Path, Path]:
    """Return the mask of each picture that has one in a folder, by the picture's path.

    Of a photo sub/a.jpg below `root` (or its images/) it is sub/a.jpg.png, as COLMAP names it, else sub/a.png or
    another picture of that stem, as nerfstudio does, else the same without sub/, else a_mask.png. One mask for two
    photos is a GatlasError, as is a folder that is not there.
    """
    place = Path(folder)
    if not streams.is_folder(place):
        raise GatlasError(f"{place}: there is no such folder of masks")
    found: dict[Path, Path] = {}
    owners: dict[Path, Path] = {}
    listed = _Listing()
    for picture in pictures:
        mask = _mask_of(place, relative_name(picture, root), listed)
        if mask is None or mask.resolve() == picture.resolve():
            continue
        if mask in owners and owners[mask] != picture:
            raise GatlasError(
                f"{mask}: is the mask of two photos, {owners[mask]} and {picture}: name it by their folders"
            )
        owners[mask] = picture
        found[picture] = mask
    return found


def require_all(masks: Mapping[Path, Path], pictures: Sequence[Path], folder: str | Path) -> None:
    """Raise a GatlasError where a picture has no mask: it would be taken for all object."""
    lacking = [picture for picture in pictures if picture not in masks]
    if len(lacking) == len(pictures):
        example = f"{pictures[0].name}{SUFFIX}"
        raise GatlasError(f"{folder}: has no mask of any photo: that of the first would be {Path(folder) / example}")
    if lacking:
        raise GatlasError(
            f"{folder}: {len(lacking)} of {len(pictures)} photos have no mask in it, the first is {lacking[0]}: "
            "add a white one where all is object"
        )


def relative_name(picture: Path, root: str | Path) -> Path:
    """Return the name of a picture below a folder, or below the folder of photos in it; else its last part."""
    path, base = picture.resolve(), Path(root).resolve()
    for above in (*(base / name for name in PLACES), base):
        if path.is_relative_to(above):
            return path.relative_to(above)
    return Path(picture.name)


class _Listing:
    """Names of the pictures in folders, by their stem."""

    def __init__(self) -> None:
        self._found: dict[Path, dict[str, list[str]]] = {}

    def of_stem(self, folder: Path, stem: str) -> Path | None:
        """Return the first picture of that stem in a folder."""
        if folder not in self._found:
            names: dict[str, list[str]] = defaultdict(list)
            if folder.is_dir():
                with streams.os_errors(folder):
                    for path in sorted(folder.iterdir()):
                        if path.suffix.lower() in registry.suffixes("image"):
                            names[path.stem].append(path.name)
            self._found[folder] = names
        named = self._found[folder].get(stem)
        return folder / named[0] if named else None


def _mask_of(place: Path, name: Path, listed: _Listing) -> Path | None:
    for parent in dict.fromkeys((place / name.parent, place)):
        for stem in (name.name, name.stem, f"{name.stem}_mask"):
            if (found := listed.of_stem(parent, stem)) is not None:
                return found
    return None
