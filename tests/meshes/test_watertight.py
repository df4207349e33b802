"""Damaged triangles to closed surfaces."""

import numpy as np
import pytest

from gatlas.meshes.watertight import closed, is_watertight

trimesh = pytest.importorskip("trimesh")


def joined(*meshes):
    count, vertices, triangles = 0, [], []
    for mesh in meshes:
        vertices.append(mesh.vertices)
        triangles.append(mesh.faces + count)
        count += len(mesh.vertices)
    return np.concatenate(vertices).astype(np.float64), np.concatenate(triangles).astype(np.int64)


def merged(vertices, triangles):
    _, first, inverse = np.unique(vertices.round(6), axis=0, return_index=True, return_inverse=True)
    return vertices[first], inverse.reshape(-1)[triangles]


def two_boxes(shift):
    return merged(*joined(trimesh.creation.box(), trimesh.creation.box().apply_translation(shift)))


def as_trimesh(vertices, triangles):
    return trimesh.Trimesh(vertices.astype(np.float32), triangles)  # it joins vertices at one place


def test_a_closed_surface_stays_as_it_is():
    sphere = trimesh.creation.icosphere(subdivisions=1)
    vertices, triangles = closed(sphere.vertices.copy(), sphere.faces.astype(np.int64))
    assert len(vertices) == len(sphere.vertices)
    assert as_trimesh(vertices, triangles).volume == pytest.approx(sphere.volume)


@pytest.mark.parametrize("shift", [[1, 1, 0], [1, 1, 1]])  # they meet in an edge, and in a corner
def test_boxes_that_touch_come_apart(shift):
    vertices, triangles = closed(*two_boxes(shift))
    mesh = as_trimesh(vertices, triangles)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume == pytest.approx(2, rel=1e-2)


def test_a_wall_of_two_opposite_triangles_goes():
    box, mirrored = trimesh.creation.box(), trimesh.creation.box()
    mirrored.vertices[:, 0] = 1 - mirrored.vertices[:, 0]  # now the boxes share a side, once from within each
    mirrored.faces = mirrored.faces[:, ::-1]
    vertices, triangles = merged(*joined(box, mirrored))
    assert not is_watertight(triangles)
    vertices, triangles = closed(vertices, triangles)
    assert as_trimesh(vertices, triangles).is_watertight
    assert as_trimesh(vertices, triangles).volume == pytest.approx(2)


def test_a_hole_is_closed():
    box = trimesh.creation.box()
    vertices, triangles = closed(box.vertices.copy(), box.faces[1:].astype(np.int64))
    mesh = as_trimesh(vertices, triangles)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(1)


def test_a_fin_of_four_triangles_at_an_edge_of_one_fan_is_closed():
    # Around the edge 0 1 a closed ring of six triangles comes back to it: all of them hang together at 0 and at 1.
    vertices = np.array([[0, 0, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]], dtype=np.float64)
    triangles = np.array(
        [[0, 1, 2], [1, 0, 3], [0, 2, 3], [1, 3, 2], [0, 1, 4], [1, 0, 5], [0, 4, 5], [1, 5, 4]], dtype=np.int64
    )
    assert not is_watertight(triangles)
    vertices, triangles = closed(vertices, triangles)
    assert is_watertight(triangles)
    assert as_trimesh(vertices, triangles).is_watertight


@pytest.mark.fuzz
@pytest.mark.parametrize("seed", range(30))
def test_random_collapses_of_a_closed_surface_are_closed_again(seed):
    rng = np.random.default_rng(seed)
    torus = trimesh.creation.torus(1.0, 0.4, major_sections=9, minor_sections=7)
    index = np.arange(len(torus.vertices))
    ends = rng.integers(0, len(index), (20, 2))
    for start, end in ends:  # also of vertices that share no edge, which pinches the surface
        index[index == index[start]] = index[end]
    vertices, triangles = closed(torus.vertices.copy(), index[torus.faces])
    assert is_watertight(triangles)
    assert as_trimesh(vertices, triangles).is_watertight
