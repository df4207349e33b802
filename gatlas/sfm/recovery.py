"""The cameras of a folder of photos: features, matches and mapping, each of which a later run goes on after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.config import Report, ignore
from gatlas.errors import GatlasError, first_sentence
from gatlas.io.photos.camera_store import KeptCameras, keep_cameras, kept_cameras, opened_store, store_of
from gatlas.io.photos.colmap_library import load_pycolmap
from gatlas.io.photos.unposed_photos import list_photos, read_colors
from gatlas.raster.threads import get_num_threads
from gatlas.sfm.failure import doubt, why_not
from gatlas.sfm.features import write_features
from gatlas.sfm.mapping import map_photos
from gatlas.sfm.matching import write_matches
from gatlas.sfm.options import SfmOptions
from gatlas.sfm.stages import Bar, no_bar
from gatlas.sfm.upright import upright_rotation

if TYPE_CHECKING:
    from gatlas.io.photos.unposed_photos import UnposedPhoto

LISTED = 20  # names of photos in a message
FEWEST = 1 / 4  # of the photos: with fewer, most of what the photos show would be missing


def recover_cameras(
    folder: str | Path,
    options: SfmOptions | None = None,
    *,
    out: str | None = None,
    masks: Mapping[Path, Path] | None = None,
    force: bool = False,
    report: Report = ignore,
    bar: Bar = no_bar,
) -> KeptCameras:
    """Return the folder of a COLMAP model of the photos in `folder`, and which of them it lacks.

    The photos are those in images/, in the folder itself or in input/. The model is kept in the folder `out`, or else
    in the cache, and found there by the next call with the same photos and options; so are the features and matches of
    a call that was ended. `masks` are paths of gray pictures by those of the photos; in their black no features are
    sought. The world of the model has y up and any unit of length. `gatlas.io.load_views(folder, model_dir=...)` reads
    both together.

    Too few cameras are a GatlasError that says what helps; pycolmap not being installed is one, too.
    """
    options = options or SfmOptions()
    photos = list_photos(folder, masks)
    store = store_of(photos, options.to_json(), out)
    kept = kept_cameras(store)
    if kept is None:
        load_pycolmap()
        if len(photos) < 3:
            raise GatlasError(f"{folder}: {len(photos)} photos are too few to find cameras: three or more are needed")
        _check_principal_point(folder, photos, options)
        with opened_store(store, force=force, on_wait=lambda: report(f"waiting for another process in {store.folder}")):
            kept = kept_cameras(store)  # another process may have finished meanwhile
            if kept is None:
                report(f"{folder}: the cameras of {len(photos)} photos are sought, to be kept in {store.folder}")
                model = _reconstruct(folder, photos, store.work / "database.db", options, bar)
                registered = _finish(model, photos)
                if (reason := doubt(store.work / "database.db")) is not None:
                    report(f"{folder}: the cameras may be wrong: {reason}")
                lacking = [photo.name for i, photo in enumerate(photos) if i not in registered]
                kept = keep_cameras(store, lambda place: model.write(place), len(photos), lacking)
    report(_summary(folder, kept))
    return kept


def _check_principal_point(folder: str | Path, photos: Sequence[UnposedPhoto], options: SfmOptions) -> None:
    if options.point is None:
        return
    (x, y), (width, height), sizes = options.point, photos[0].size, {photo.size for photo in photos}
    if len(sizes) > 1:
        raise GatlasError(f"{folder}: --principal-point is for photos of one size: these have {len(sizes)}")
    if not (0 < x < width and 0 < y < height):
        raise GatlasError(
            f"{folder}: --principal-point {options.principal_point} is outside the photos of {width} x {height} pixels"
        )


def _summary(folder: str | Path, kept: KeptCameras) -> str:
    found = f"{folder}: {kept.photos - len(kept.lacking)} of {kept.photos} photos have cameras, kept in {kept.folder}"
    if not kept.lacking:
        return found
    more = "" if len(kept.lacking) <= LISTED else f" and {len(kept.lacking) - LISTED} more"
    return f"{found}; without: {', '.join(kept.lacking[:LISTED])}{more}"


def _reconstruct(
    folder: str | Path, photos: Sequence[UnposedPhoto], database: Path, options: SfmOptions, bar: Bar
) -> Any:
    """Return COLMAP's reconstruction, in which the photos go by their numbers from 1 on."""
    threads = get_num_threads()
    try:
        write_features(photos, database, options, threads=threads, bar=bar)
        write_matches(len(photos), database, options, threads=threads, bar=bar)
        model = map_photos(len(photos), database, options, bar=bar)
    except (RuntimeError, ValueError) as error:
        raise GatlasError(f"{folder}: COLMAP could not find the cameras: {first_sentence(error)}") from error
    found = 0 if model is None else model.num_reg_images()
    if found < max(3, FEWEST * len(photos)):
        reason = why_not(database, len(photos))
        raise GatlasError(f"{folder}: {found} of {len(photos)} photos could be registered: {reason}")
    return model


def _finish(model: Any, photos: Sequence[UnposedPhoto]) -> set[int]:
    """Stand the model up, color its points and name its photos; return the numbers of those in it, from 0 on."""
    pycolmap = load_pycolmap()
    numbers = sorted(number for number, image in model.images.items() if image.has_pose)
    viewmats = np.tile(np.eye(4), (len(numbers), 1, 1))
    viewmats[:, :3] = [model.images[number].cam_from_world().matrix() for number in numbers]
    rotation = upright_rotation(viewmats, [photos[number - 1].header.orientation for number in numbers])
    model.transform(pycolmap.Sim3d(1.0, pycolmap.Rotation3d(rotation), np.zeros(3)))

    sums: dict[int, Any] = {}
    for number in numbers:
        image = model.images[number]
        image.name = photos[number - 1].name
        seen = image.get_observation_points2D()
        if seen:
            colors = read_colors(photos[number - 1], np.array([each.xy for each in seen]))
            for each, color in zip(seen, colors, strict=True):
                sums[each.point3D_id] = sums.get(each.point3D_id, 0.0) + np.append(color, 1.0)
    for point, total in sums.items():
        model.points3D[point].color = np.rint(255 * total[:3] / total[3]).astype(np.uint8)
    return {number - 1 for number in numbers}
