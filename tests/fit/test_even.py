"""The start that makes smooth atlases: evenly spread on the surface, and in the order of the sphere."""

import numpy as np
import pytest
from scipy.spatial import KDTree

from gatlas.fit import FitOptions, fit
from gatlas.fit.even import even_gaussians
from gatlas.fit.start import surface_gaussians
from gatlas.geometry.cameras import fibonacci_views
from gatlas.meshes.closest import closest_points
from gatlas.meshes.edits import normalize_mesh
from gatlas.meshes.render import render_mesh
from gatlas.transport import assign, fibonacci_sphere
from tests.fit.test_fit import textured_box

COUNT = 300


@pytest.fixture(scope="module")
def mesh():
    return normalize_mesh(textured_box())


@pytest.fixture(scope="module")
def views(mesh):
    return render_mesh(mesh, fibonacci_views(8, 40, 40), supersample=2)


@pytest.fixture(scope="module")
def starts(mesh, views):
    """Two draws of each start."""
    draws = [np.random.default_rng(seed) for seed in (0, 1)]
    return {make: [make(mesh, views, COUNT, rng) for rng in draws] for make in (surface_gaussians, even_gaussians)}


def irregularity(gaussians):
    """The variation of the distances from the nearest other Gaussian, relative to their mean."""
    distances = KDTree(gaussians.means).query(gaussians.means, k=2)[0][:, 1]
    return distances.std() / distances.mean()


def on_the_sphere(gaussians):
    """The positions in the order in which exact transport puts them on the sphere."""
    ordered = np.empty_like(gaussians.means)
    ordered[assign(gaussians.means.astype(np.float64), fibonacci_sphere(len(gaussians))).targets] = gaussians.means
    return ordered


def test_every_gaussian_lies_on_the_surface(mesh, starts):
    for start in starts[even_gaussians]:
        assert len(start) == COUNT
        assert closest_points(mesh, start.means).distances.max() < 1e-6


def test_they_are_spread_more_evenly(starts):
    chance = irregularity(starts[surface_gaussians][0])
    assert irregularity(starts[even_gaussians][0]) < 0.8 * chance


def test_their_order_is_that_of_the_sphere(starts):
    for start in starts[even_gaussians]:
        moved = np.linalg.norm(on_the_sphere(start) - start.means, axis=1)
        assert np.median(moved) == 0
        assert np.mean(moved > 0) < 0.2  # the relaxation changes a few places


def test_chance_decides_less_of_where_each_lies(starts):
    differences = {
        make: np.median(np.linalg.norm(on_the_sphere(one) - on_the_sphere(other), axis=1))
        for make, (one, other) in starts.items()
    }
    assert differences[even_gaussians] < 0.6 * differences[surface_gaussians]


def test_a_fit_from_it_is_as_good(mesh):
    options = {"count": COUNT, "iterations": 60, "views": 8, "resolution": 40, "supersample": 2, "lambda_lpips": 0.0}
    surface, even = (fit(mesh, FitOptions(**options, init=init)).psnr for init in ("surface", "even"))
    assert even > surface - 0.3


def test_a_surface_that_is_nearly_all_hidden_is_enough(mesh):
    one = render_mesh(mesh, fibonacci_views(1, 24, 24), supersample=1)
    start = even_gaussians(mesh, one, COUNT, np.random.default_rng(0))
    assert len(start) == COUNT
    assert np.isfinite(start.means).all()
