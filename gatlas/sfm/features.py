"""SIFT features of photos, in a database of COLMAP's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.images.resize import reduced_size
from gatlas.io.photos.colmap_library import load_pycolmap, opened_database
from gatlas.io.photos.unposed_photos import UnposedPhoto, read_gray
from gatlas.sfm.stages import Bar, no_bar

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from gatlas.sfm.options import SfmOptions

SIDE = 1600  # longer side of the photos in pixels, at most: more is noise of the sensor
FEATURES = 4096  # per photo at most; those of the largest scales
FINE_SIDE = 1000  # up to which photos are enlarged first: small photos have few features
PEAK = 0.004  # least contrast of a feature; COLMAP's is 0.0067, at which plain objects have too few
GUESSED_FOCAL = 1.2  # of the longer side, without a better guess


def write_features(
    photos: Sequence[UnposedPhoto], database: Path, options: SfmOptions, *, threads: int, bar: Bar = no_bar
) -> None:
    """Write the cameras, the photos and their features into the database; those that it has are left as they are.

    Photos are called by their numbers there, from 1 on.
    """
    pycolmap = load_pycolmap()
    with opened_database(database) as held:
        if held.num_images() != len(photos):
            held.clear_all_tables()
            with pycolmap.DatabaseTransaction(held):
                _write_photos(held, photos, options)
    with opened_database(database) as held, bar("features", len(photos)) as count:
        for number, photo in enumerate(photos, 1):
            if not held.exists_descriptors(number):
                keypoints, descriptors = _features(photo, threads)
                with pycolmap.DatabaseTransaction(held):
                    held.write_keypoints(number, keypoints)
                    held.write_descriptors(number, descriptors)
            count()


def _write_photos(held: Any, photos: Sequence[UnposedPhoto], options: SfmOptions) -> None:
    pycolmap = load_pycolmap()
    numbers: dict[tuple[object, ...], int] = {}
    for number, photo in enumerate(photos, 1):
        if photo.camera not in numbers:
            camera = _camera(photo, options)
            camera.camera_id = held.write_camera(camera)
            rig = pycolmap.Rig()
            rig.rig_id = camera.camera_id
            rig.add_ref_sensor(camera.sensor_id)
            held.write_rig(rig, use_rig_id=True)
            numbers[photo.camera] = camera.camera_id
        image = pycolmap.Image()
        image.name, image.camera_id, image.image_id = f"{number:06d}", numbers[photo.camera], number
        held.write_image(image, use_image_id=True)
        frame = pycolmap.Frame()
        frame.rig_id = numbers[photo.camera]
        frame.add_data_id(image.data_id)
        held.write_frame(frame)


def _camera(photo: UnposedPhoto, options: SfmOptions) -> Any:
    """Return the camera of a photo as it is known or guessed before anything is seen.

    It has one parameter of distortion at most: more of them are determined only when the scene is.
    """
    width, height = photo.size
    focal = photo.focal
    if options.fov is not None:
        focal = 0.5 * min(width, height) / np.tan(0.5 * np.radians(options.fov))
    simple = {"PINHOLE": "SIMPLE_PINHOLE", "RADIAL": "SIMPLE_RADIAL", "OPENCV": "SIMPLE_RADIAL"}
    model = simple.get(options.colmap_model, options.colmap_model)
    guess = focal or GUESSED_FOCAL * max(width, height)
    camera = load_pycolmap().Camera.create_from_model_name(0, model, guess, width, height)
    camera.has_prior_focal_length = focal is not None
    if options.point is not None:
        camera.principal_point_x, camera.principal_point_y = options.point
    return camera


def _features(photo: UnposedPhoto, threads: int) -> tuple[Float[np.ndarray, "n 4"], Any]:
    """Return keypoints (x, y, scale, orientation) in pixels of the photo as stored, and their descriptors."""
    pycolmap = load_pycolmap()
    picture = read_gray(photo, SIDE)
    options = pycolmap.FeatureExtractionOptions()
    options.num_threads = threads
    options.use_gpu = False
    options.sift.max_num_features = FEATURES
    options.sift.peak_threshold = PEAK
    options.sift.first_octave = -1 if max(picture.gray.shape) <= FINE_SIDE else 0
    found, descriptors = pycolmap.FeatureExtractor.create(options).extract_from_uint8_array(picture.gray)
    keypoints = pycolmap.keypoints_to_matrix(found)[:, :4] if len(found) else np.empty((0, 4), dtype=np.float32)
    if picture.shown is not None and len(keypoints):
        kept = _within(picture.shown, keypoints)
        keypoints = keypoints[kept]
        descriptors = pycolmap.FeatureDescriptors(descriptors.type, np.asarray(descriptors.data)[kept])
    width, _ = reduced_size(*photo.size, SIDE)
    keypoints[:, :3] *= photo.size[0] / width
    return keypoints, descriptors


def _within(shown: Bool[np.ndarray, "h w"], keypoints: Float[np.ndarray, "n 4"]) -> Bool[np.ndarray, " n"]:
    columns, rows = np.floor(keypoints[:, :2]).astype(int).T
    return shown[rows.clip(0, shown.shape[0] - 1), columns.clip(0, shown.shape[1] - 1)]
