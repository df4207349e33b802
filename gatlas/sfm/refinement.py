"""The last bundle adjustments of a model: without the observations that are far off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.io.photos.colmap_library import load_pycolmap

if TYPE_CHECKING:
    from jaxtyping import Float, Int64

FAR = 4.0  # standard deviations from where a point should be seen: an observation farther off is of something else
FINE = 0.25  # pixels, within which every observation counts
RAYLEIGH = 1.1774  # median length of two coordinates with a standard deviation of 1
ROUNDS = 4


def refine_model(model: Any) -> None:
    """Refine cameras and points of a COLMAP reconstruction, in place, without the observations that are far off.

    COLMAP keeps those within 4 pixels with the whole of their squares, where most are within 0.2: few wrong ones would
    decide the cameras. How far is too far follows from the median of all, and for a photo with larger errors, as a
    blurred one, from its own median: no photo loses more than half of its observations at once.
    """
    for _ in range(ROUNDS):
        _remove_far(model)
        adjust(model)


def adjust(model: Any) -> None:
    """Minimize the reprojection errors of a reconstruction over poses, points and lenses, in place.

    Principal points stay.
    """
    pycolmap = load_pycolmap()
    options = pycolmap.BundleAdjustmentOptions()
    options.print_summary = False
    options.ceres.solver_options.num_threads = 1  # sums of several come in no fixed order
    config = pycolmap.BundleAdjustmentConfig()
    for number in model.reg_image_ids():
        config.add_image(number)
    config.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    pycolmap.create_default_bundle_adjuster(options, config, model).solve()


def _remove_far(model: Any) -> None:
    observed = {number: _errors(model, number) for number in sorted(model.reg_image_ids())}
    usual = float(np.median(np.concatenate([errors for _, errors in observed.values()])))
    for number, (features, errors) in observed.items():
        if not len(errors):
            continue
        limit = max(FINE, FAR / RAYLEIGH * max(usual, float(np.median(errors))))
        for feature in features[errors > limit].tolist():
            if model.images[number].points2D[feature].has_point3D():  # a point that one photo sees goes with the other
                model.delete_observation(number, feature)


def _errors(model: Any, number: int) -> tuple[Int64[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Return the features of a photo that show a point, and how far from where it should be they are, in pixels."""
    image = model.images[number]
    features = np.array([i for i, each in enumerate(image.points2D) if each.has_point3D()], dtype=np.int64)
    errors = np.full(len(features), np.inf)
    for i, feature in enumerate(features.tolist()):
        each = image.points2D[feature]
        seen = image.project_point(model.points3D[each.point3D_id].xyz)
        if seen is not None:
            errors[i] = np.linalg.norm(seen - each.xy)
    return features, errors
