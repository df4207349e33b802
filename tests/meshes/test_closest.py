"""The closest points of a surface: those of all pairs, and of trimesh; whatever the triangles are."""

import numpy as np
import pytest
import trimesh

from gatlas.meshes.closest import closest_points, surround
from gatlas.types import Material, Mesh


def soup(triangles):
    """A mesh of triangles [f 3 3] that share no vertex."""
    vertices = np.asarray(triangles, dtype=np.float64).reshape(-1, 3)
    count = len(vertices) // 3
    return Mesh(
        vertices=vertices,
        faces=np.arange(3 * count).reshape(count, 3),
        face_materials=np.zeros(count, dtype=int),
        uvs=np.zeros((len(vertices), 2)),
        colors=np.ones((len(vertices), 4)),
        materials=(Material(),),
    )


def nearest_of_all_pairs(triangles, points):
    """The slow twin: by Lagrange's conditions of each triangle's corners, sides and inside; distances [n f]."""
    triangles, points = np.asarray(triangles, dtype=np.float64), np.asarray(points, dtype=np.float64)[:, None]
    distances = np.full((len(points), len(triangles)), np.inf)
    for i in range(3):
        first, side = triangles[:, i], triangles[:, (i + 1) % 3] - triangles[:, i]
        squared = (side**2).sum(axis=1)
        along = np.einsum("nfi,fi->nf", points - first, side) / np.where(squared > 0, squared, 1)
        at = first + np.clip(along, 0, 1)[..., None] * side
        distances = np.minimum(distances, np.linalg.norm(points - at, axis=2))
    for face, (a, b, c) in enumerate(triangles):
        if np.linalg.matrix_rank(np.stack([b - a, c - a]), tol=1e-12) < 2:
            continue
        weights, *_ = np.linalg.lstsq(np.stack([b - a, c - a], axis=1), (points[:, 0] - a).T, rcond=None)
        foot = a + weights.T @ np.stack([b - a, c - a])
        inside = (weights >= 0).all(axis=0) & (weights.sum(axis=0) <= 1)
        apart = np.linalg.norm(points[:, 0] - foot, axis=1)
        distances[inside, face] = np.minimum(distances[inside, face], apart[inside])
    return distances


def random_triangles(kind, count, rng):
    middles = rng.uniform(-1, 1, size=(count, 1, 3))
    triangles = middles + 0.05 * rng.normal(size=(count, 3, 3))
    if kind == "huge next to tiny":
        triangles[::7] = middles[::7] + 3 * rng.normal(size=triangles[::7].shape)
        triangles[1::7] = middles[1::7] + 1e-6 * rng.normal(size=triangles[1::7].shape)
    if kind == "degenerate":
        triangles[::3, 2] = triangles[::3, 1]  # lines
        triangles[1::3] = middles[1::3]  # points
        triangles[2::6, 2] = triangles[2::6, :2].mean(axis=1)  # lines whose corners are apart
    if kind == "one plane":
        triangles[..., 2] = 0.25
    if kind == "one place":
        triangles[:] = triangles[:1]
    return triangles


@pytest.mark.parametrize("count", [1, 3, 4, 7, 8, 9, 200])
@pytest.mark.parametrize("kind", ["even", "huge next to tiny", "degenerate", "one plane", "one place"])
def test_the_nearest_is_that_of_all_pairs(kind, count):
    rng = np.random.default_rng(count)
    triangles = random_triangles(kind, count, rng)
    points = np.concatenate([rng.uniform(-1.5, 1.5, size=(40, 3)), triangles[:5, 0], [[0, 0, 100.0]]])
    found = closest_points(soup(triangles), points)
    every = nearest_of_all_pairs(triangles, points)
    np.testing.assert_allclose(found.distances, every.min(axis=1), rtol=1e-9, atol=1e-12)
    # The face is one of the nearest, the point lies on it, and the distance is the point's.
    np.testing.assert_allclose(every[np.arange(len(points)), found.faces], found.distances, rtol=1e-9, atol=1e-12)
    on_face = nearest_of_all_pairs(triangles, found.points)[np.arange(len(points)), found.faces]
    np.testing.assert_allclose(on_face, 0, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(points - found.points, axis=1), found.distances, rtol=1e-9, atol=1e-12)


def test_a_body_agrees_with_trimesh():
    body = trimesh.creation.torus(1.0, 0.3, major_sections=24, minor_sections=12)
    points = np.random.default_rng(0).uniform(-1.5, 1.5, size=(60, 3))
    places, distances, _ = trimesh.proximity.closest_point_naive(body, points)
    found = closest_points(soup(body.triangles), points)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(found.points, places, atol=1e-7)


def test_distances_from_a_triangle_by_hand():
    """Above its inside, off a side, off a corner, and on it."""
    found = closest_points(soup([[[0, 0, 0], [4, 0, 0], [0, 4, 0]]]), [[1, 1, 2], [2, -3, 0], [7, -4, 0], [1, 2, 0]])
    np.testing.assert_allclose(found.distances, [2, 3, 5, 0])
    np.testing.assert_allclose(found.points, [[1, 1, 0], [2, 0, 0], [4, 0, 0], [1, 2, 0]])


def test_own_units_are_those_of_the_vertices():
    triangles = random_triangles("even", 50, np.random.default_rng(1))
    points = np.random.default_rng(2).uniform(-1, 1, size=(30, 3))
    near, far = (closest_points(soup(scale * triangles), scale * points) for scale in (1.0, 1024.0))
    np.testing.assert_array_equal(far.distances, 1024.0 * near.distances)
    np.testing.assert_array_equal(far.faces, near.faces)


def test_vertices_without_a_face_are_no_surface():
    mesh = soup([[[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[9, 9, 9], [9, 9, 8], [9, 8, 8]]])
    one = Mesh(**{**vars(mesh), "faces": mesh.faces[:1], "face_materials": mesh.face_materials[:1]})
    assert closest_points(one, [[9.0, 0.0, 0.0]]).distances == pytest.approx(8.0)


def test_a_tree_is_built_once_for_many_calls():
    mesh = soup(random_triangles("even", 30, np.random.default_rng(0)))
    points = np.random.default_rng(1).normal(size=(20, 3))
    for once, again in zip(closest_points(surround(mesh), points), closest_points(mesh, points), strict=True):
        np.testing.assert_array_equal(once, again)


def test_no_points_have_no_distances():
    assert closest_points(soup(random_triangles("even", 5, np.random.default_rng(0))), np.empty((0, 3))).faces.size == 0


@pytest.mark.parametrize(
    ("triangles", "points", "fault"),
    [
        (np.empty((0, 3, 3)), np.zeros((1, 3)), "faces"),
        (np.full((1, 3, 3), np.nan), np.zeros((1, 3)), "vertices"),
        (np.zeros((1, 3, 3)), np.full((1, 3), np.inf), "points"),
        (np.zeros((1, 3, 3)), np.zeros(3), "points"),
    ],
)
def test_what_has_no_distance_is_refused(triangles, points, fault):
    with pytest.raises(ValueError, match=fault):
        closest_points(soup(triangles), points)
