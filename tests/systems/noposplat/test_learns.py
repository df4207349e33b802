"""NoPoSplat learns from nothing on a CPU: new views of scenes that it has not seen, and poses from its splats."""

import numpy as np
import pytest
import torch

from gatlas import io
from gatlas.datasets.posed_views import posed_view_set
from gatlas.pose.solve import grid_correspondences, solve_pnp
from gatlas.systems import load_system
from gatlas.systems.contract import Condition, Photo, SampleRequest, Sources
from gatlas.systems.noposplat import PRESETS, create
from gatlas.systems.noposplat.splat import FIRST_VIEWMAT
from gatlas.train import TrainOptions, train
from tests.helpers.scene_files import write_scenes

STEPS = 150


@pytest.fixture(scope="module")
def trained(tmp_path_factory, one_thread):
    """A model of a few CPU minutes, and samples of scenes that it has not seen."""
    folder = tmp_path_factory.mktemp("learns")
    preset = PRESETS["tiny"]
    system = create(preset.config)
    options = TrainOptions(**{**preset.training, "steps": STEPS, "warmup": 20, "sample_every": 0})
    scenes = system.dataset(Sources((str(write_scenes(folder / "train", range(32))),)))
    train(system, scenes, options, str(folder / "run"), device="cpu")
    held = posed_view_set([str(write_scenes(folder / "held", range(1000, 1006)))], preset.config.sampling)
    return load_system(str(folder / "run")), held, [held.draw(i, seed=i) for i in range(6)]


@pytest.mark.slow
def test_new_views_are_four_decibels_better_than_their_mean_colour(trained):
    system, held, samples = trained
    found = system.diagnose(system.network, held.collate(samples), torch.Generator())
    assert found["psnr"] > found["psnr_mean_color"] + 4


@pytest.mark.slow
def test_photos_to_a_scene_to_poses(trained, tmp_path):
    system, _, samples = trained
    turns, shifts = [], []
    for sample in samples:
        K = (sample.context_intrinsics * np.array([[64], [64], [1]])).astype(np.float64)
        photos = tuple(Photo(f"{i}", each / np.float32(255), K[i]) for i, each in enumerate(sample.context))
        (gaussians,) = system.sample(SampleRequest((Condition("scene", photos=photos),)))
        io.save_gaussians(tmp_path / "scene.ply", gaussians, force=True)
        points, pixels = grid_correspondences(io.load_gaussians(tmp_path / "scene.ply"), 1, 64, 64)
        found = solve_pnp(points, pixels, K[1], threshold=1.0)
        assert found is not None
        relative = found.viewmat @ FIRST_VIEWMAT @ np.linalg.inv(sample.context_viewmats[1].astype(np.float64))
        turns.append(np.degrees(np.arccos((np.trace(relative[:3, :3]) - 1) / 2)))
        shifts.append(np.linalg.norm(relative[:3, 3]))
    assert np.median(turns) < 8
    assert np.median(shifts) < 0.8  # of the distance between the photos: the second camera is not the first
