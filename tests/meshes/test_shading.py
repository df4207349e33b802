"""The shading that "auto" means: unlit where the colors of a mesh show its form."""

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from gatlas.fit.fitting import fit
from gatlas.fit.options import FitOptions
from gatlas.geometry.cameras import orbit
from gatlas.io import load_mesh
from gatlas.meshes.render import render_mesh
from gatlas.meshes.sample import surface_colors
from gatlas.meshes.shading import auto_shading, choose_shading, steps
from gatlas.render import RenderOptions, render
from gatlas.types import Material, Mesh, Texture

BOX = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)
QUADS = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
TRIANGLES = np.concatenate([QUADS[:, [0, 1, 2]], QUADS[:, [0, 2, 3]]])


def engine(colors, shares=None, parts=30, seed=0):
    """Boxes stuck into each other, each of one of these greys or colors."""
    rng = np.random.default_rng(seed)
    vertices = [BOX * rng.uniform(0.05, 0.35, 3) + rng.normal(size=3) * 0.5 for _ in range(parts)]
    chosen = rng.choice(len(colors), size=parts, p=shares)
    return Mesh(
        vertices=np.concatenate(vertices),
        faces=np.concatenate([TRIANGLES + 8 * k for k in range(parts)]),
        face_materials=np.repeat(chosen, len(TRIANGLES)),
        uvs=np.zeros((8 * parts, 2)),
        colors=np.ones((8 * parts, 4)),
        materials=tuple(Material(factor=(*color, 1.0)) for color in colors),
    )


GREYS = ((0.6, 0.6, 0.6), (0.05, 0.05, 0.05))


def test_a_machine_of_two_colors_is_lit():
    choice = auto_shading(engine(GREYS, shares=[0.9, 0.1]))
    assert choice.shading == "headlight"
    assert "% of the form" in choice.message
    assert "--shading unlit" in choice.message


def test_two_colors_of_the_vertices_are_lit_as_those_of_materials_are():
    mesh = engine(GREYS, shares=[0.9, 0.1])
    colors = np.ones_like(mesh.colors)
    colors[: 8 * 3, :3] = 0.2
    assert auto_shading(replace(mesh, materials=(Material(),) * 2, colors=colors)).shading == "headlight"
    assert (
        auto_shading(replace(mesh, materials=(Material(),) * 2, colors=np.full_like(colors, 0.5))).shading
        == "headlight"
    )


def test_a_thing_whose_every_part_has_its_color_stays_unlit():
    mesh = engine(GREYS)
    colors = np.random.default_rng(1).random((len(mesh.faces), 3, 3))  # each face its own, as in low-poly art
    split = replace(
        mesh,
        vertices=mesh.vertices[mesh.faces].reshape(-1, 3),
        faces=np.arange(3 * len(mesh.faces)).reshape(-1, 3),
        uvs=np.zeros((3 * len(mesh.faces), 2)),
        colors=np.concatenate([np.repeat(colors[:, :1], 3, axis=1), np.ones((len(colors), 3, 1))], axis=2).reshape(
            -1, 4
        ),
        materials=(Material(),) * 2,
    )
    choice = auto_shading(split)
    assert choice.shading == "unlit"
    assert choice.message.endswith("shading it unlit")


def test_a_texture_is_unlit_unless_it_shows_nothing():
    pixels = np.random.default_rng(2).integers(0, 256, (8, 8, 4)).astype(np.uint8)
    mesh = engine(GREYS)
    uvs = np.random.default_rng(3).random((len(mesh.vertices), 2))
    painted = replace(mesh, uvs=uvs, materials=(Material(texture=0),) * 2, textures=(Texture(pixels),))
    assert auto_shading(painted) == ("unlit", "")
    blank = replace(painted, textures=(Texture(np.full((2, 2, 4), 255, dtype=np.uint8)),))
    assert auto_shading(blank).shading == "headlight"


def test_dense_colors_need_no_light_to_compare_with():
    rng = np.random.default_rng(4)
    mesh = engine(GREYS)
    for _ in range(3):  # smaller and smaller faces
        a, b, c = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)
        quarters = [
            (a, (a + b) / 2, (a + c) / 2),
            ((a + b) / 2, b, (b + c) / 2),
            ((a + c) / 2, (b + c) / 2, c),
            ((a + b) / 2, (b + c) / 2, (a + c) / 2),
        ]
        corners = np.concatenate([np.stack(quarter, axis=1) for quarter in quarters]).reshape(-1, 3)
        mesh = replace(
            mesh, vertices=corners, faces=np.arange(len(corners)).reshape(-1, 3),
            face_materials=np.zeros(len(corners) // 3, dtype=int), uvs=np.zeros((len(corners), 2)),
            colors=np.ones((len(corners), 4)), materials=(Material(),),
        )  # fmt: skip
    colors = np.repeat(
        np.concatenate([rng.random((len(mesh.faces), 3)), np.ones((len(mesh.faces), 1))], axis=1), 3, axis=0
    )
    assert auto_shading(replace(mesh, colors=colors)) == (
        "unlit", "the colors of the mesh show its form: shading it unlit"
    )  # fmt: skip


def test_the_choice_does_not_depend_on_the_unit_of_length():
    mesh = engine(GREYS, shares=[0.9, 0.1])
    for scale in (1e-6, 1e6):
        assert auto_shading(replace(mesh, vertices=mesh.vertices * scale)) == auto_shading(mesh)


def test_what_is_asked_for_is_taken_without_a_word():
    mesh, said = engine(GREYS), []
    assert choose_shading(mesh, "unlit", said.append) == "unlit"
    assert choose_shading(mesh, "headlight", said.append) == "headlight"
    assert said == []
    with pytest.raises(ValueError, match="shading must be one of auto, unlit, headlight, got 'phong'"):
        choose_shading(mesh, "phong")


def test_steps_are_between_pixels_inside_the_silhouette():
    image = np.ones((1, 4, 4, 4))
    image[0, :, 2:, :3] = 0.9  # a step between columns 1 and 2
    image[0, 0, :, 3] = 0.5  # the first row is the rim
    found = steps(image)[0]
    np.testing.assert_array_equal(np.argwhere(found), [[1, 1], [2, 1], [3, 1]])
    np.testing.assert_allclose(found[found > 0], 0.1)


def test_light_that_is_baked_into_the_colors_shows_the_form():
    sphere = trimesh.creation.icosphere(subdivisions=4)
    shade = 0.55 + 0.3 * sphere.vertices[:, 1]  # brighter above, with no edge anywhere
    mesh = replace(
        engine(GREYS),
        vertices=np.asarray(sphere.vertices),
        faces=np.asarray(sphere.faces),
        face_materials=np.zeros(len(sphere.faces), dtype=int),
        uvs=np.zeros((len(shade), 2)),
        colors=np.stack([shade, shade, shade, np.ones_like(shade)], axis=1),
        materials=(Material(),),
    )
    assert auto_shading(mesh).shading == "unlit"
    halves = np.where(sphere.vertices[:, 1] > 0, 0.85, 0.25)
    flat = replace(mesh, colors=np.stack([halves, halves, halves, np.ones_like(halves)], axis=1))
    assert auto_shading(flat).shading == "headlight"


def test_pictures_points_and_fits_take_the_same_shading_and_say_it_once():
    mesh = engine(GREYS, shares=[0.9, 0.1])
    cameras = orbit(2, 32, 32)
    np.testing.assert_array_equal(
        render_mesh(mesh, cameras).images, render_mesh(mesh, cameras, shading="headlight").images
    )
    places = np.full((5, 3), 1 / 3)
    np.testing.assert_array_equal(
        surface_colors(mesh, np.arange(5), places), surface_colors(mesh, np.arange(5), places, "headlight")
    )
    said: list[str] = []
    render(mesh, RenderOptions(width=16), report=said.append)
    options = {"count": 64, "iterations": 1, "views": 4, "resolution": 24, "held_out": 1, "supersample": 1}
    auto = fit(mesh, FitOptions(**options), report=said.append)
    lit = fit(mesh, FitOptions(**options, shading="headlight"))
    np.testing.assert_array_equal(auto.gaussians.sh, lit.gaussians.sh)
    assert len(said) == 2
    assert all("with a headlight" in line for line in said)


def test_materials_that_are_unlit_stay_so_next_to_lit_ones():
    mesh = engine(GREYS, shares=[0.5, 0.5])
    mixed = replace(mesh, materials=(Material(factor=(0.5, 0.5, 0.5, 1.0), unlit=True), Material()))
    faces = np.array([np.flatnonzero(mesh.face_materials == k)[0] for k in (0, 1)])
    colors = surface_colors(mixed, faces, np.full((2, 3), 1 / 3), "headlight")
    np.testing.assert_allclose(colors[0, :3], 0.735357, atol=1e-5)  # linear 0.5
    assert (colors[1, :3] < 0.99).all()


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "shading"),
    [
        ("AlphaBlendModeTest.glb", "unlit"),
        ("BoxTextured.glb", "unlit"),
        ("CesiumMan.glb", "unlit"),
        ("FlightHelmet/FlightHelmet.gltf", "unlit"),
        ("Fox/Fox.gltf", "unlit"),
        ("Knight.glb", "unlit"),
        ("ShapeCollection.glb", "headlight"),
        ("TextureTransformTest/TextureTransformTest.gltf", "unlit"),
        ("TwoSidedPlane/TwoSidedPlane.gltf", "unlit"),
        ("VertexColorTest/VertexColorTest.gltf", "unlit"),
        ("bunny_no_texture.ply", "headlight"),
        ("cakeBirthday.glb", "unlit"),
        ("fuze/fuze.obj", "unlit"),
        ("greySnapper_vertColor.glb", "unlit"),
        ("kaykit_mug/mug_full.gltf", "unlit"),
        ("kenney_brick.glb", "unlit"),
        ("kenney_character.glb", "unlit"),
        ("pirate_meshopt.glb", "headlight"),
        ("suzanne_no_uv.obj", "headlight"),
    ],
)
def test_real_models_are_shaded_as_shows_their_form(shared_data, name, shading):
    assert auto_shading(load_mesh(shared_data / "models" / name)).shading == shading
