"""Surfaces that emit: pictures, points of the surface and all kernels agree."""

from dataclasses import replace

import numpy as np
import pytest

from gatlas.geometry.cameras import orbit
from gatlas.images.srgb import linear_to_srgb
from gatlas.io import load_mesh
from gatlas.meshes.edits import normalize_mesh
from gatlas.meshes.render import mesh_hits, render_mesh
from gatlas.meshes.sample import surface_colors
from gatlas.types import Material, Texture
from tests.helpers.gltf_files import RED_BLUE, blob
from tests.helpers.meshes import textured_tetrahedron

FACES, PLACES = np.array([0, 1, 2, 3]), np.full((4, 3), 1 / 3)


def emitting(emissive, texture=-1, factor=(0.0, 0.0, 0.0, 1.0), **extra):
    """The tetrahedron, black but for what it emits."""
    mesh = textured_tetrahedron()
    material = Material(factor=factor, emissive=emissive, emissive_texture=texture, **extra)
    return replace(mesh, materials=(material,))


def srgb(*linear):
    return linear_to_srgb(np.array(linear, dtype=float))


def test_emission_is_added_in_linear_light_and_clipped():
    mesh = emitting((0.25, 0.5, 8.0), factor=(0.25, 0.75, 0.1, 1.0))
    colors = surface_colors(mesh, FACES, PLACES, "unlit")
    np.testing.assert_allclose(colors[:, :3], np.tile(srgb(0.5, 1.0, 1.0), (4, 1)), atol=1e-6)


def test_an_emissive_texture_alone_shows_as_a_base_color_texture_does():
    base = textured_tetrahedron()
    mesh = emitting((1.0, 1.0, 1.0), texture=0)
    cameras = orbit(3, 32, 32)
    np.testing.assert_array_equal(
        render_mesh(mesh, cameras, shading="unlit").images, render_mesh(base, cameras, shading="unlit").images
    )
    rng = np.random.default_rng(0)
    places = rng.dirichlet(np.ones(3), 50)
    faces = rng.integers(0, 4, 50)
    np.testing.assert_array_equal(
        surface_colors(mesh, faces, places, "unlit"), surface_colors(base, faces, places, "unlit")
    )


def test_emission_is_not_dimmed_by_the_light():
    lit = surface_colors(emitting((0.5, 0.5, 0.5)), FACES, PLACES, "headlight")
    np.testing.assert_allclose(lit[:, :3], np.tile(srgb(0.5, 0.5, 0.5), (4, 1)), atol=1e-6)
    plain = surface_colors(emitting((0.0, 0.0, 0.0), factor=(0.5, 0.5, 0.5, 1.0)), FACES, PLACES, "headlight")
    both = surface_colors(emitting((0.2, 0.2, 0.2), factor=(0.5, 0.5, 0.5, 1.0)), FACES, PLACES, "headlight")
    assert (both[:, :3] > plain[:, :3]).all()


@pytest.mark.parametrize("shading", ["unlit", "headlight"])
def test_pictures_and_points_of_the_surface_agree(shading):
    mesh = replace(emitting((0.5, 1.0, 0.25), texture=1, factor=(0.2, 0.1, 0.3, 1.0)))
    glow = Texture(
        np.kron(np.array([[[255, 0, 0, 255], [0, 255, 128, 9]]], dtype=np.uint8), np.ones((4, 4, 1), np.uint8))
    )
    uvs = np.random.default_rng(1).random((12, 2)).astype(np.float32)
    mesh = replace(mesh, textures=(*mesh.textures, glow), emissive_uvs=uvs)
    cameras = orbit(2, 24, 24)
    hits = mesh_hits(mesh, cameras)
    images = render_mesh(mesh, cameras, supersample=1, shading=shading).images
    seen = hits.faces >= 0
    two = hits.barycentrics[seen]
    places = np.concatenate([two, 1 - two.sum(axis=1, keepdims=True)], axis=1)
    np.testing.assert_allclose(images[seen], surface_colors(mesh, hits.faces[seen], places, shading), atol=2e-4)


def test_an_index_of_an_emissive_texture_is_checked():
    with pytest.raises(ValueError, match="emissive_texture"):
        render_mesh(emitting((1.0, 1.0, 1.0), texture=3), orbit(1, 8, 8))


SQUARE = "mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 1 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nusemtl m\nf 1/1 2/2 3/3\n"


@pytest.mark.parametrize(
    ("lines", "emissive", "texture"),
    [
        ("Ke 0 0 0", (0, 0, 0), -1),
        ("Ke 1 0.5 0", (1, 0.21404, 0), -1),
        ("Ke 1 1 1\nmap_Ke tex.png", (1, 1, 1), 0),
        ("map_Ke tex.png", (1, 1, 1), 0),
        ("Ke 0 0 0\nmap_Ke -clamp on tex.png", (1, 1, 1), 0),
        ("map_Kd tex.png\nKe 0.5 0.5 0.5\nmap_Ke tex.png", (0.21404,) * 3, 1),
    ],
)
def test_emission_of_an_obj(tmp_path, lines, emissive, texture):
    (tmp_path / "a.mtl").write_text("newmtl m\nKd 0 0 0\n" + lines + "\n")
    (tmp_path / "tex.png").write_bytes(RED_BLUE)
    mesh = load_mesh(blob(SQUARE.encode(), tmp_path / "thing.obj"))
    np.testing.assert_allclose(mesh.materials[0].emissive, emissive, atol=1e-5)
    assert mesh.materials[0].emissive_texture == texture
    assert mesh.emissive_uvs is None


def test_maps_of_an_obj_are_placed_each_for_itself(tmp_path):
    (tmp_path / "a.mtl").write_text("newmtl m\nmap_Kd tex.png\nmap_Ke -s 2 2 -o 0.5 0 tex.png\n")
    (tmp_path / "tex.png").write_bytes(RED_BLUE)
    mesh = load_mesh(blob(SQUARE.encode(), tmp_path / "thing.obj"))
    np.testing.assert_allclose(mesh.uvs, [[0, 1], [1, 1], [1, 0]])
    np.testing.assert_allclose(mesh.emissive_uvs, [[0.5, 1], [2.5, 1], [2.5, -1]])


@pytest.mark.shared
@pytest.mark.parametrize("name", ["emissive.gltf", "ke.obj"])
def test_real_emissive_models_show_their_texture(shared_data, name):
    mesh = normalize_mesh(load_mesh(shared_data / "cases" / "emissive_only" / name))
    image = render_mesh(mesh, orbit(1, 48, 48, elevation=20)).images[0]
    shown = np.unique(np.rint(image[image[..., 3] == 1][:, :3] * 255), axis=0)
    assert (shown.max(axis=0) > 200).all()
    assert len(shown) >= 2
    np.testing.assert_array_equal(np.asarray(mesh.materials[0].factor[:3]), 0)


@pytest.mark.shared
def test_emission_on_white_is_white(shared_data):
    mesh = normalize_mesh(load_mesh(shared_data / "cases" / "emissive_only" / "emissive_white.gltf"))
    image = render_mesh(mesh, orbit(1, 32, 32), shading="unlit").images[0]
    np.testing.assert_array_equal(image[image[..., 3] == 1][:, :3], 1)
