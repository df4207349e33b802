"""Folders of photos with known cameras: a transforms.json, a COLMAP model or another layout, distinguished here."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.errors import GatlasError
from gatlas.geometry.cameras import camera_centers
from gatlas.io import registry, streams
from gatlas.io.photos import bundler, colmap, opensfm, polycam, record3d, srn, transforms
from gatlas.io.photos.posed_photos import PosedPhoto, cameras_of, photo_turns, skip_missing, views_of
from gatlas.io.photos.unposed_photos import unposed_paths
from gatlas.io.streams import Blob

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.io.photos.points import Points
    from gatlas.types import AnyCameras, AnyViews

    Source = str | Path | Blob

# Each has `has_scene`, `read_posed_photos` and `read_points` of a folder; the first that has a scene counts.
_LAYOUTS = (srn, opensfm, polycam, record3d, bundler)


def load_cameras(source: Source) -> AnyCameras:
    """Return the cameras of a transforms.json, of the folder that holds it, or of a COLMAP model's folder.

    Pictures need not be there. Cameras with lens distortion are given as the pinholes of the undistorted pictures.
    """
    if not isinstance(source, Blob) and streams.is_folder(source):
        if (layout := _layout_of(source)) is not None:
            return cameras_of(*layout.read_posed_photos(source), keep_single=layout is not srn)
        return (colmap if _is_colmap(source) else transforms).read_cameras(source)
    found: AnyCameras = registry.decode("cameras", streams.as_blob(source))
    return found


def load_views(
    folder: str | Path,
    *,
    side: int | None = None,
    model_dir: str | None = None,
    masks: Mapping[Path, Path] | None = None,
) -> AnyViews:
    """Return the pictures and cameras of a folder of photos, undistorted, their longer side at most `side` pixels.

    The folder holds a transforms.json (which may itself be named), else COLMAP models in sparse/, the folder itself or
    colmap/sparse, of which the largest or that in `model_dir` is taken, else the files of OpenSfM, Polycam, Record3D,
    Bundler or SRN's data sets. Missing pictures are left out with one warning.
    `masks` are those of pictures, by their paths, in place of those that the folder's index names.
    """
    if masks:
        name, photos = read_posed_photos(folder, model_dir=model_dir)
        found = [photo if photo.picture is None else _with_mask(photo, masks) for photo in photos]
        return views_of(name, found, side)
    if model_dir is None and (layout := _layout_of(folder)) is not None:
        name, photos = layout.read_posed_photos(folder)
        return views_of(name, photos, side)
    if model_dir is not None or _is_colmap(folder):
        return colmap.read_views(folder, side=side, model_dir=model_dir)
    return transforms.read_views(folder, side=side)


def _with_mask(photo: PosedPhoto, masks: Mapping[Path, Path]) -> PosedPhoto:
    mask = None if photo.picture is None else masks.get(photo.picture)
    return photo if mask is None else photo._replace(mask=mask)


def photo_paths(folder: str | Path, *, model_dir: str | None = None) -> list[Path]:
    """Return the paths of the photos that `load_views` returns, in their order."""
    _, photos = read_posed_photos(folder, model_dir=model_dir)
    return [photo.picture for photo in photos if photo.picture is not None]


def photo_names(folder: str | Path, *, model_dir: str | None = None) -> list[str]:
    """Return the names of the photos that `load_views` returns, in their order, as the index calls them."""
    if model_dir is None and (layout := _layout_of(folder)) is not None:
        _, photos = layout.read_posed_photos(folder)
    elif model_dir is not None or _is_colmap(folder):
        photos = colmap.registered_photos(folder, model_dir)
    else:
        _, photos = transforms.read_posed_photos(folder)
    return [photo.name for photo in photos if photo.picture is not None]


def load_points(source: Source, *, model_dir: str | None = None) -> Points | None:
    """Return colored points: of a point-cloud PLY, of a COLMAP model's folder, or those that a transforms.json names.

    None where a folder or a transforms.json has none. For `model_dir` see `load_views`.
    """
    if not isinstance(source, Blob):
        if model_dir is None and (layout := _layout_of(source)) is not None:
            found: Points | None = layout.read_points(source)
            return found
        if model_dir is not None or _is_colmap(source):
            return colmap.read_points(source, model_dir=model_dir)
        if streams.is_folder(source):
            return transforms.read_points(source)
    blob = streams.as_blob(source)
    if blob.kind == "cameras":
        return transforms.read_points(blob)
    points: Points = registry.decode("points", blob)
    return points


def _layout_of(source: str | Path) -> Any:
    """Return the module that reads a folder of another layout than a transforms.json and COLMAP's; None of these."""
    layout = next((each for each in _LAYOUTS if each.has_scene(source)), None)
    return None if layout is None or transforms.has_index(source) or colmap.has_model(source) else layout


def read_posed_photos(folder: str | Path, *, model_dir: str | None = None) -> tuple[str, list[PosedPhoto]]:
    """Return the name of a folder's index, or of the index that is named, and its photos."""
    if model_dir is not None:
        return colmap.read_posed_photos(folder, model_dir=model_dir)
    if transforms.has_index(folder) or not streams.is_folder(folder):
        return transforms.read_posed_photos(folder)
    return (_layout_of(folder) or colmap).read_posed_photos(folder)


def _is_colmap(source: str | Path) -> bool:
    """Return whether a source is a folder with a COLMAP model and no transforms.json; with neither, a GatlasError."""
    if not streams.is_folder(source) or transforms.has_index(source):
        return False
    if not colmap.has_model(source):
        photos = (
            "; photos need cameras: gatlas fit finds them, or run COLMAP on them first"
            if transforms.has_pictures(source)
            else ""
        )
        raise GatlasError(
            f"{source}: there is no {transforms.INDEX} in this folder, and no COLMAP model (images.bin or images.txt, "
            f"in sparse/0, sparse, the folder itself or colmap/sparse){photos}"
        )
    return True


def has_photos(folder: str | Path) -> bool:
    """Return whether a folder has an index of photos with their cameras."""
    return transforms.has_index(folder) or colmap.has_model(folder) or _layout_of(folder) is not None


def has_unposed_photos(folder: str | Path) -> bool:
    """Return whether a folder has photos, no index of their cameras, and no meshes, whose textures they might be."""
    if has_photos(folder) or not unposed_paths(folder):
        return False
    meshes = registry.suffixes("mesh")
    with streams.os_errors(folder):
        return not any(name.lower().endswith(meshes) for _, _, names in os.walk(folder) for name in names)


def scene_folders(folder: str | Path) -> list[Path]:
    """Return the folder itself where it has photos with cameras, else those of its folders that have, by name."""
    path = Path(folder)
    if not streams.is_folder(path):
        if path.is_file():
            raise GatlasError(
                f"{path}: is a file: name a folder of photos with their cameras, or a .tar of such folders"
            )
        raise GatlasError(f"{path}: there is no such folder")
    if has_photos(path):
        return [path]
    with streams.os_errors(path):
        return sorted(each for each in path.iterdir() if each.is_dir() and has_photos(each))


class PhotoFolder:
    """The photos of a folder in the order of its index, read one at a time: a training looks at few of many."""

    def __init__(self, folder: str | Path) -> None:
        """Read the index only. One that cannot be used is a GatlasError; photos that are missing are left out."""
        self.name, photos = read_posed_photos(folder)
        self.key = Path(folder).name
        self._present = skip_missing(self.name, photos)
        self._photos: list[PosedPhoto] = [photo for photo, _ in self._present]
        cameras = cameras_of(self.name, self._photos)
        self.viewmats: Float[np.ndarray, "n 4 4"] = np.stack([photo.viewmat for photo in self._photos])
        centers = camera_centers(self.viewmats)
        self.unit = float(np.linalg.norm(centers - centers.mean(axis=0), axis=1).max())  # any unit of length will do
        sizes = np.array([[[width], [height], [1.0]] for width, height in cameras.sizes])
        self.Ks: Float[np.ndarray, "n 3 3"] = cameras.Ks / sizes  # rows divided by the width and the height

    def __len__(self) -> int:
        return len(self._photos)

    def pictures(self, indices: Sequence[int]) -> list[Float[np.ndarray, "_ _ d"]]:
        """Some of the photos, undistorted: RGB or straight RGBA in [0, 1]."""
        photos = [self._photos[i] for i in indices]
        return list(views_of(self.name, photos, None, self._turns).images)

    @cached_property
    def _turns(self) -> dict[Path, bool]:
        return photo_turns(self.name, self._present)
