"""Photos of single objects, for systems that take them with cameras: those of their files, or of an orbit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gatlas.errors import GatlasError
from gatlas.geometry.cameras import intrinsics, orbit
from gatlas.images.composite import masked
from gatlas.images.recenter import recentered
from gatlas.io.photos.object_views import ObjectViewSet, is_view_source, read_object_views
from gatlas.io.photos.photo_loader import read_photos
from gatlas.systems.contract import Condition, Orbit, Photo

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.config import Report
    from gatlas.io.photos.photo_loader import UndistortedPhoto
    from gatlas.systems.options import SampleOptions

WHITE = 250 / 255  # of a background
OPAQUE = 1 - 0.5 / 255
POLE = 90.0  # degrees of elevation
STEM = "{stem}"
MASK_HINT = (
    "give --mask '{stem}_mask.png' (white is the object) or a PNG whose background is transparent, as background "
    "removers such as rembg write it"
)


def read_objects(options: SampleOptions, names: Sequence[str], defaults: Orbit, report: Report) -> list[Condition]:
    """Return a condition for each object that the names stand for, with the cameras of its photos.

    Folders of views and tars have cameras; photos that are named themselves, in order, are taken from an orbit. Photos
    whose background is neither transparent nor white are a GatlasError.
    """
    sources = [name for name in names if is_view_source(name)]
    if not sources:
        return [_orbit_condition(options, names, defaults, report)]
    if len(sources) < len(names):
        raise GatlasError(f"{sources[0]}: name photos of one object, or folders and tars of views, not both")
    given = {
        "--orbit-azimuths": options.orbit_azimuths is not None,
        "--orbit-elevation": options.orbit_elevation is not None,
        "--radius": options.radius is not None,
        "--fov": options.fov is not None,
        "--intrinsics": options.intrinsics is not None,
        "--recenter": options.recenter,
        "--relative": options.relative,
    }
    if any(given.values()):
        option = next(name for name, is_given in given.items() if is_given)
        raise GatlasError(f"{sources[0]}: its transforms.json has the cameras of its views: leave out {option}")
    return [_posed_condition(views, report) for name in sources for views in read_object_views(name, options.mask)]


def _posed_condition(views: ObjectViewSet, report: Report) -> Condition:
    arrays = zip(views.pictures, views.images, views.cameras.Ks, views.cameras.viewmats, strict=True)
    photos = [Photo(name, image, K, viewmat) for name, image, K, viewmat in arrays]
    _check_backgrounds(photos, views.masked or views.over_white, report)
    return Condition(views.name, photos=tuple(photos))


def _orbit_condition(options: SampleOptions, names: Sequence[str], defaults: Orbit, report: Report) -> Condition:
    """Return the condition of photos that are taken from an orbit, in order."""
    if options.recenter and options.intrinsics is not None:
        raise GatlasError("--recenter makes pictures of its own field of view: give --fov instead of --intrinsics")
    azimuths = _azimuths(options.orbit_azimuths, len(names), defaults, report)
    fov = None if options.intrinsics is not None else defaults.fov if options.fov is None else options.fov
    masks = None if options.mask is None else _mask_names(options.mask, names)
    found = read_photos(names, fov=fov, source=options.intrinsics, masks=masks)
    if len({each.size for each in found}) > 1:
        other = next(each for each in found if each.size != found[0].size)
        sizes = [f"{width} x {height}" for width, height in (other.size, found[0].size)]
        raise GatlasError(f"{other.path}: has {sizes[0]} pixels, and {found[0].path} {sizes[1]}: views have one size")
    elevation = 0.0 if options.orbit_elevation is None else options.orbit_elevation
    radius = defaults.radius if options.radius is None else options.radius
    placed = any(each is not None for each in (options.orbit_azimuths, options.orbit_elevation, options.radius))
    if options.relative and options.cameras is not None:
        if placed or len(names) > 1:
            raise GatlasError("--relative: the cameras of --cameras are in the axes of one photo: name that one alone")
        viewmats = [np.eye(4)]
    else:
        viewmats = [_viewmat(azimuth, elevation, radius) for azimuth in azimuths]
    photos = [Photo(each.path, _cut_out(each), each.K, viewmat) for each, viewmat in zip(found, viewmats, strict=True)]
    opaque = next((photo.name for photo in photos if _is_opaque(photo.image)), None)
    if options.recenter and opaque is not None and masks is None:
        raise GatlasError(f"{opaque}: --recenter needs to know where the object is: {MASK_HINT}")
    _check_backgrounds(photos, masks is not None, report)
    if options.recenter:
        photos = _recentered(photos, defaults.fov if fov is None else fov)
    relative = options.relative or not (placed or defaults.assumed)
    return Condition(found[0].stem or "object", photos=tuple(photos), relative=relative)


def _cut_out(photo: UndistortedPhoto) -> Float[np.ndarray, "h w d"]:
    return photo.image if photo.mask is None else masked(photo.image, photo.mask)


def _viewmat(azimuth: float, elevation: float, radius: float) -> Float[np.ndarray, "4 4"]:
    if abs(elevation) == POLE and azimuth % 360 != 0:  # at the pole itself azimuths would be one camera
        elevation = math.copysign(POLE - 1e-3, elevation)
    return orbit(1, 1, 1, elevation=elevation, azimuth=azimuth, distance=radius).viewmats[0]


def _recentered(photos: Sequence[Photo], fov: float) -> list[Photo]:
    pictures = recentered([photo.image for photo in photos])
    return [
        photo._replace(image=picture, K=intrinsics(picture.shape[1], picture.shape[0], fov))
        for photo, picture in zip(photos, pictures, strict=True)
    ]


def _azimuths(text: str | None, count: int, defaults: Orbit, report: Report) -> list[float]:
    """Return the azimuth of each of `count` photos, in degrees."""
    if text is None:
        azimuths = list(defaults.azimuths[:count])
        listed = ", ".join(f"{azimuth:g}" for azimuth in azimuths)
        if count > len(azimuths):
            raise GatlasError(
                f"{count} photos are given, and the orbit has {len(azimuths)} (azimuths {listed}): say where they are "
                "taken from with --orbit-azimuths A,B,..."
            )
        if 1 < count < len(defaults.azimuths):
            report(f"{count} photos: they are taken to be from azimuths {listed}; --orbit-azimuths gives others")
        return azimuths
    try:
        azimuths = [float(word) for word in text.split(",")]
    except ValueError:
        azimuths = [math.nan]
    if not all(map(math.isfinite, azimuths)):
        raise GatlasError(f"--orbit-azimuths {text}: must be degrees with commas between them, such as 0,90,180,270")
    if len(azimuths) != count:
        raise GatlasError(f"--orbit-azimuths {text}: has {len(azimuths)} angles, and {count} photos are given")
    return azimuths


def _mask_names(mask: str, names: Sequence[str]) -> list[str]:
    found = [mask.replace(STEM, Path(name).stem) for name in names]
    if len(set(found)) < len(found):
        raise GatlasError(f"--mask {mask}: photos would share a mask: put {STEM} into its name")
    return found


def _check_backgrounds(photos: Sequence[Photo], have_masks: bool, report: Report) -> None:
    """Refuse a photo whose background would become part of the object, and one that shows nothing."""
    empty = next((each.name for each in photos if each.image.shape[2] == 4 and each.image[..., 3].max() <= 0), None)
    if empty is not None:
        raise GatlasError(f"{empty}: shows nothing: all of it is transparent, or its mask is black")
    if have_masks:
        return
    opaque = [each for each in photos if _is_opaque(each.image)]
    if not opaque:
        return
    if len(opaque) < len(photos):
        raise GatlasError(f"{opaque[0].name}: is opaque, and other views of the object are not: {MASK_HINT}")
    photo = next((each for each in opaque if not _has_white_edges(each.image)), None)
    if photo is not None:
        raise GatlasError(f"{photo.name}: is opaque, so its background would be part of the object: {MASK_HINT}")
    report("the views are opaque with white edges: white is taken for their background")


def _is_opaque(image: Float[np.ndarray, "h w d"]) -> bool:
    return image.shape[2] == 3 or bool(image[..., 3].min() >= OPAQUE)


def _has_white_edges(image: Float[np.ndarray, "h w d"]) -> bool:
    edges = (image[0], image[-1], image[:, 0], image[:, -1])
    return all(bool((edge[..., :3] >= WHITE).all()) for edge in edges)
