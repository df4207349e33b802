"""The cameras of the views that a user asks for: those of a file, or an orbit that begins at the photo's camera."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.geometry.cameras import in_float32
from gatlas.types import Cameras, MixedCameras

if TYPE_CHECKING:
    from gatlas.systems.contract import Condition, Photo
    from gatlas.systems.options import SampleOptions


def target_cameras(options: SampleOptions, conditions: Sequence[Condition]) -> Cameras | None:
    """Return the cameras of the views to make, in the world of the photos' cameras; None where none are asked for.

    Cameras whose relation to those of the photos is not known are a GatlasError.
    """
    if options.orbit is not None and options.cameras is not None:
        raise GatlasError("--orbit and --cameras both say where the views are taken from: leave out one of them")
    if options.orbit is not None:
        if not conditions or not conditions[0].photos:
            raise GatlasError("--orbit: begins at the camera of a photo, and there is none")
        return orbit_of(conditions[0].photos[0], options.orbit)
    if options.cameras is None:
        return None
    unplaced = next((each for each in conditions if each.relative and not options.relative), None)
    if unplaced is not None:
        raise GatlasError(
            f"{unplaced.photos[0].name}: where it is taken from is not known: give --orbit-azimuths (with "
            f"--orbit-elevation and --radius), or --relative where {options.cameras} is in the axes of its camera"
        )
    return read_cameras(options.cameras)


def read_cameras(name: str) -> Cameras:
    """Return the cameras of a file, which must have one size."""
    cameras = io.load_cameras(name)
    if isinstance(cameras, MixedCameras):
        sizes = ", ".join(f"{width} x {height}" for width, height in sorted(set(cameras.sizes)))
        raise GatlasError(f"{name}: its cameras have pictures of several sizes ({sizes}): views are made in one")
    return in_float32(cameras)


def orbit_of(photo: Photo, count: int) -> Cameras:
    """Return a photo's camera turned about the y axis of its world: `count` cameras (float64), the first as it is.

    Azimuths grow as in `gatlas.geometry.cameras.orbit`. A photo without a camera is a GatlasError.
    """
    if photo.viewmat is None:
        raise GatlasError(f"{photo.name}: has no camera for --orbit to begin at: name a folder of views")
    angles = 2 * np.pi * np.arange(count) / count
    turns = np.tile(np.eye(4), (count, 1, 1))  # of the world, against the camera's own
    turns[:, 0, 0] = turns[:, 2, 2] = np.cos(angles)
    turns[:, 0, 2], turns[:, 2, 0] = -np.sin(angles), np.sin(angles)
    height, width = photo.image.shape[:2]
    Ks = np.tile(np.asarray(photo.K, dtype=np.float64), (count, 1, 1))
    return Cameras(np.asarray(photo.viewmat, dtype=np.float64) @ turns, Ks, width, height)
