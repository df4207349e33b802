"""Cameras and points from matches, one photo after another.

Schönberger and Frahm 2016, Structure-from-Motion Revisited.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatlas.io.photos.colmap_library import load_pycolmap
from gatlas.sfm.refinement import adjust, refine_model
from gatlas.sfm.stages import Bar, no_bar

if TYPE_CHECKING:
    from gatlas.sfm.options import SfmOptions

ENOUGH = 0.9  # of the photos: below it a second attempt is made
FEW_MATCHES = {"init_min_num_inliers": 40, "abs_pose_min_num_inliers": 15, "init_min_tri_angle": 8.0}
SMALLEST = 3  # photos of a model


def map_photos(count: int, database: Path, options: SfmOptions, *, bar: Bar = no_bar) -> Any | None:
    """Return COLMAP's reconstruction of the most photos; None where no three of them go together.

    Where many are left out, fewer matches are made do with in a second attempt.
    """
    best: Any | None = None
    for relaxed in ({}, FEW_MATCHES):
        for each in _models(count, database, _mapper_options(options, relaxed), bar):
            if best is None or each.num_reg_images() > best.num_reg_images():
                best = each
        if best is not None and best.num_reg_images() >= ENOUGH * count:
            break
    if best is None or best.num_reg_images() < SMALLEST:
        return None
    _with_lens(best, options.colmap_model)
    refine_model(best)
    return best


def _models(count: int, database: Path, options: Any, bar: Bar) -> list[Any]:
    models = database.with_name("models")
    with bar("cameras", count) as counted:

        def count_pair() -> None:
            counted()
            counted()

        found = load_pycolmap().incremental_mapping(
            database,
            database.parent,
            models,
            options,
            initial_image_pair_callback=count_pair,
            next_image_callback=counted,
        )
    return [found[number] for number in sorted(found)]


def _mapper_options(options: SfmOptions, relaxed: dict[str, float]) -> Any:
    found = load_pycolmap().IncrementalPipelineOptions()
    found.num_threads = 1  # with more, rarely, the same matches give other cameras
    found.random_seed = options.seed
    found.min_model_size = SMALLEST
    found.extract_colors = False  # of the photos, which go by other names there
    for name, value in relaxed.items():
        setattr(found.mapper, name, value)
    return found


def _with_lens(model: Any, name: str) -> None:
    """Refine a model with a lens of more parameters than the one that it was found with."""
    pycolmap = load_pycolmap()
    changed = False
    for camera in model.cameras.values():
        if camera.model_name == name:
            continue
        old = pycolmap.Camera(camera.todict(recursive=False))
        camera.model = getattr(pycolmap.CameraModelId, name)
        camera.params = _more_parameters(old.model_name, list(old.params), name)
        changed = True
    if changed:
        adjust(model)


def _more_parameters(old: str, values: list[float], new: str) -> list[float]:
    """Return the parameters in another model that stand for the same camera."""
    f, cx, cy, *distortion = values
    k = distortion[0] if old == "SIMPLE_RADIAL" else 0.0
    made = {"PINHOLE": [f, f, cx, cy], "RADIAL": [f, cx, cy, k, 0.0], "OPENCV": [f, f, cx, cy, k, 0.0, 0.0, 0.0]}
    return made[new]
