"""Measures of real photos, meshes, splats and cameras against independent implementations."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from gatlas import io
from gatlas.meshes.edits import normalize_mesh
from gatlas.metrics.pictures import compare_pictures
from gatlas.metrics.point_sets import chamfer_distance
from gatlas.metrics.surface_distance import even_points, surface_distance
from gatlas.metrics.trajectories import trajectory_error

pytestmark = pytest.mark.shared


def temple_centers(shared_data):
    """Positions of the cameras of templeRing, -R^T t: a line of its file is a name, K, R and t."""
    (path,) = (shared_data / "photos" / "templeRing").glob("*_par.txt")
    rows = np.array([line.split()[1:] for line in path.read_text().splitlines()[1:]], dtype=np.float64)
    return -np.einsum("nij,ni->nj", rows[:, 9:18].reshape(-1, 3, 3), rows[:, 18:])


def test_psnr_and_ssim_of_photos_are_those_of_scikit_image(shared_data):
    metrics = pytest.importorskip("skimage.metrics")
    paths = sorted((shared_data / "photos" / "templeRing").glob("*.png"))[:2]
    rim = ((12, 12), (12, 12), (0, 0))  # black, beyond which all implementations see black
    one, other = (np.pad(np.float32(io.load_image(path)[::6, ::6, :3]), rim) for path in paths)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    wide = [each.astype(float) for each in (one, other)]
    _, values = metrics.structural_similarity(*wide, channel_axis=-1, full=True, **settings)
    found = compare_pictures(one, other)
    assert found.psnr == pytest.approx(metrics.peak_signal_noise_ratio(*wide, data_range=1.0), rel=1e-9)
    assert found.ssim == pytest.approx(values.mean(), abs=1e-5)


def test_chamfer_and_f_score_of_meshes_are_those_of_all_distances(shared_data):
    rng = np.random.default_rng(0)
    meshes = [
        normalize_mesh(io.load_mesh(shared_data / "models" / name)) for name in ("Knight.glb", "cakeBirthday.glb")
    ]
    points, others = (even_points(mesh.vertices, mesh.faces, 1500, rng) for mesh in meshes)
    distances = cdist(points, others)
    there, back = distances.min(axis=1), distances.min(axis=0)
    precision, recall = (there <= 0.1).mean(), (back <= 0.1).mean()
    found = surface_distance(points, others, 0.1)
    assert found.chamfer == pytest.approx((there.mean() + back.mean()) / 2)
    assert found.f_score == pytest.approx(2 * precision * recall / (precision + recall))


def test_chamfer_between_splats_is_that_of_all_distances(shared_data):
    names = ("gaussianverse_9350303", "gaussianverse_9585727")
    one, other = (io.load_gaussians(shared_data / "splats" / f"{name}.ply").means[::20] for name in names)
    distances = cdist(one, other)
    expected = (distances.min(axis=1).mean() + distances.min(axis=0).mean()) / 2
    assert chamfer_distance(one, other) == pytest.approx(expected, rel=1e-5)


def test_the_trajectory_of_real_cameras_is_that_of_evo(shared_data):
    trajectory, metrics = (pytest.importorskip(f"evo.core.{name}") for name in ("trajectory", "metrics"))
    truths = temple_centers(shared_data)
    points = 3 * truths + 0.002 * np.random.default_rng(0).normal(size=truths.shape)
    quats = np.tile([1.0, 0, 0, 0], (len(truths), 1))
    found, true = (trajectory.PosePath3D(positions_xyz=each, orientations_quat_wxyz=quats) for each in (points, truths))
    found.align(true, correct_scale=True)
    error = metrics.APE(metrics.PoseRelation.translation_part)
    error.process_data((true, found))
    expected = error.get_statistic(metrics.StatisticsType.rmse)
    assert trajectory_error(points, truths).rmse == pytest.approx(expected, rel=1e-6)
