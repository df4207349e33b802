"""The last bundle adjustments, on models that COLMAP synthesizes."""

import numpy as np
import pytest

from gatlas.metrics.trajectories import trajectory_error
from gatlas.sfm.refinement import adjust, refine_model

pycolmap = pytest.importorskip("pycolmap")


def synthesized(wrong):
    """A model seen with 0.1 pixels of noise, a share `wrong` of it 3 pixels to the right; and its true positions."""
    pycolmap.set_random_seed(0)
    options = pycolmap.SyntheticDatasetOptions()
    options.num_rigs, options.num_cameras_per_rig, options.num_frames_per_rig = 1, 1, 8
    options.num_points3D = 150
    options.num_points2D_without_point3D = 0
    model = pycolmap.synthesize_dataset(options)
    truth = centers(model)
    rng = np.random.default_rng(0)
    for number in sorted(model.reg_image_ids()):
        for each in model.images[number].points2D:
            each.xy = each.xy + rng.normal(scale=0.1, size=2) + [3.0 * (rng.random() < wrong), 0]
    return model, truth


def centers(model):
    return np.array([model.images[number].projection_center() for number in sorted(model.reg_image_ids())])


def test_wrong_observations_are_removed_and_the_cameras_are_as_without_them():
    clean, truth = synthesized(0.0)
    refine_model(clean)
    least = trajectory_error(centers(clean), truth).rmse
    kept, _ = synthesized(0.15)
    adjust(kept)
    assert trajectory_error(centers(kept), truth).rmse > 4 * least
    model, _ = synthesized(0.15)
    before = model.compute_num_observations()
    refine_model(model)
    assert trajectory_error(centers(model), truth).rmse < 1.5 * least
    assert model.compute_num_observations() == pytest.approx(0.85 * before, rel=0.05)


def test_observations_that_agree_are_kept():
    model, _ = synthesized(0.0)
    before = model.compute_num_observations()
    refine_model(model)
    assert model.compute_num_observations() > 0.99 * before
