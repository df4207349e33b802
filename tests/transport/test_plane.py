"""Projections of the sphere, and the permutation that fills the grid."""

import numpy as np
import pytest

from gatlas.transport import (
    PROJECTIONS,
    compute_plane_permutation,
    fibonacci_sphere,
    project_equirect,
    project_octahedral,
)

SPHERE = fibonacci_sphere(20_000)


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_projections_stay_in_the_half_open_square(projection):
    edges = np.array([[0, 1, 0], [0, -1, 0], [1, 0, -1e-300], [1, 0, 0], [-1, 0, 0], [0, 0, -1.0], [-0.0, -1, -0.0]])
    plane = PROJECTIONS[projection](np.concatenate([SPHERE, edges]))
    assert plane.min() >= 0.0
    assert plane.max() < 1.0


def test_equirect_is_longitude_and_colatitude_about_y():
    points = np.array([[1, 0, 0], [0, 0, 1], [-1, 0, 0], [0, 0, -1], [np.sqrt(0.5), np.sqrt(0.5), 0]])
    expected = [[0, 0.5], [0.25, 0.5], [0.5, 0.5], [0.75, 0.5], [0, 0.25]]
    assert project_equirect(points) == pytest.approx(np.array(expected))


def test_octahedral_puts_the_axes_on_the_octahedron():
    points = np.array([[0, 1, 0], [1, 0, 0], [-1, 0, 0], [0, 0, 1], [0, 0, -1], [0.0, -1, 0.0]])
    expected = [[0.5, 0.5], [1, 0.5], [0, 0.5], [0.5, 1], [0.5, 0], [1, 1]]
    assert project_octahedral(points) == pytest.approx(np.array(expected))


def test_octahedral_keeps_areas():
    counts = np.histogramdd(project_octahedral(SPHERE), bins=10, range=[(0, 1), (0, 1)])[0]
    assert counts.sum() == len(SPHERE)
    assert counts == pytest.approx(np.full((10, 10), 200), rel=0.08)


def test_octahedral_inverts():
    """Clarberg's inverse, written out: it takes the plane back to the sphere."""
    plane = 2 * project_octahedral(SPHERE) - 1
    u, v = np.abs(plane).T
    upper = u + v <= 1
    radius = np.where(upper, u + v, 2 - u - v)
    turn = np.where(upper, v, 1 - u) / np.maximum(radius, 1e-300) * np.pi / 2
    y = np.where(upper, 1, -1) * (1 - radius**2)
    across = radius * np.sqrt(2 - radius**2)
    x = np.copysign(across * np.cos(turn), plane[:, 0])
    z = np.copysign(across * np.sin(turn), plane[:, 1])
    assert np.stack([x, y, z], axis=1) == pytest.approx(SPHERE, abs=1e-7)


@pytest.mark.parametrize("projection", PROJECTIONS)
@pytest.mark.parametrize("size", [1, 2, 3, 16, 33])
def test_a_plane_is_a_permutation_that_keeps_neighbours(projection, size):
    cells = compute_plane_permutation(size, projection)
    assert cells.dtype == np.int32
    assert (np.sort(cells) == np.arange(size * size)).all()
    if size >= 16:
        grid = fibonacci_sphere(size * size)[cells].reshape(size, size, 3)
        steps = np.concatenate([np.linalg.norm(np.diff(grid, axis=a), axis=-1).ravel() for a in (0, 1)])
        spacing = np.sqrt(4 * np.pi) / size
        assert np.median(steps) < 2 * spacing  # random cells are 1.33 apart
        assert np.mean(steps) < 3 * spacing


def test_rows_of_an_equirect_plane_run_from_the_upper_pole_to_the_lower():
    heights = fibonacci_sphere(256)[compute_plane_permutation(16)].reshape(16, 16, 3)[..., 1]
    assert heights[0].min() > 0.7
    assert heights[-1].max() < -0.7


@pytest.mark.usefixtures("no_shape_checks")
def test_what_is_not_a_plane_is_refused():
    with pytest.raises(ValueError, match="projection must be one of equirect, octahedral, got 'mercator'"):
        compute_plane_permutation(4, "mercator")
    with pytest.raises(ValueError, match="size must be >= 1, got 0"):
        compute_plane_permutation(0)
    with pytest.raises(ValueError, match=r"points must be \[n 3\], got shape \[4\]"):
        project_equirect(np.zeros(4))
