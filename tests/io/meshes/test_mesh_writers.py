"""Meshes written as GLB, OBJ and PLY: read back by our readers and by other programs."""

import json
import os
import shutil
import subprocess
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh

from gatlas.errors import GatlasError
from gatlas.io import load_mesh, save_mesh
from gatlas.io.meshes.gltf_writer import encode_glb, smooth_normals
from gatlas.types import Material, Mesh, Origin, Texture
from tests.helpers.meshes import textured_tetrahedron

WRITTEN = (".glb", ".obj", ".ply")


def colored(mesh, seed=0):
    """The mesh without its texture, its vertices in random colors."""
    colors = np.ones((len(mesh.vertices), 4), dtype=np.float32)
    colors[:, :3] = np.random.default_rng(seed).integers(0, 256, (len(colors), 3)) / np.float32(255)
    return replace(mesh, colors=colors, materials=(Material(unlit=True),), textures=())


def textured(**material):
    mesh = textured_tetrahedron()
    uvs = np.random.default_rng(0).random(mesh.uvs.shape).astype(np.float32)
    return replace(mesh, uvs=uvs, materials=(Material(texture=0, **{"unlit": True, **material}),))


def read_back(tmp_path, mesh, suffix):
    save_mesh(tmp_path / f"thing{suffix}", mesh)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load_mesh(tmp_path / f"thing{suffix}")


def corners(mesh, field="vertices"):
    return np.asarray(getattr(mesh, field))[mesh.faces]


@pytest.mark.parametrize("suffix", [".glb", ".obj"])
@pytest.mark.parametrize("wrap", ["repeat", "clamp"])
def test_a_textured_mesh_is_read_back_as_it_was(tmp_path, suffix, wrap):
    mesh = textured()
    mesh = replace(mesh, textures=(replace(mesh.textures[0], wrap=(wrap, wrap)),))
    found = read_back(tmp_path, mesh, suffix)
    np.testing.assert_array_equal(corners(found), corners(mesh))
    np.testing.assert_array_equal(corners(found, "uvs"), corners(mesh, "uvs"))
    np.testing.assert_array_equal(found.colors, 1)
    np.testing.assert_array_equal(found.textures[0].pixels, mesh.textures[0].pixels)
    assert found.textures[0].wrap == (wrap, wrap)
    assert found.materials[0].unlit == (suffix == ".glb")  # OBJ has no word for it that all agree on


@pytest.mark.parametrize("suffix", WRITTEN)
def test_vertex_colors_are_read_back_as_they_were(tmp_path, suffix):
    mesh = colored(textured_tetrahedron())
    found = read_back(tmp_path, mesh, suffix)
    np.testing.assert_array_equal(corners(found), corners(mesh))
    if suffix == ".ply":  # sRGB bytes
        shown = [np.rint(255 * _srgb(corners(each, "colors"))) for each in (found, mesh)]
        np.testing.assert_array_equal(*shown)
    else:
        np.testing.assert_allclose(corners(found, "colors"), corners(mesh, "colors"), rtol=1e-6, atol=1e-7)


def _srgb(linear):
    from gatlas.images.srgb import linear_to_srgb

    return linear_to_srgb(np.asarray(linear, dtype=np.float64))


def test_what_a_glb_material_says_is_read_back(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (4, 6, 4), dtype=np.uint8)
    materials = (
        Material("a", (0.5, 0.25, 1.0, 0.75), 0, "BLEND", double_sided=False),
        Material("b", texture=1, alpha_mode="MASK", alpha_cutoff=0.25, emissive=(3.0, 1.5, 0.75), emissive_texture=1),
    )
    mesh = replace(
        textured_tetrahedron(),
        materials=materials,
        face_materials=np.array([0, 1, 1, 0], dtype=np.int32),
        textures=(Texture(picture, ("clamp", "mirror")), Texture(picture[:, ::-1])),
        emissive_uvs=np.random.default_rng(1).random((12, 2)).astype(np.float32),
    )
    found = read_back(tmp_path, mesh, ".glb")
    assert [replace(each, texture=-1, emissive_texture=-1) for each in found.materials] == [
        replace(each, texture=-1, emissive_texture=-1) for each in materials
    ]
    np.testing.assert_array_equal(found.textures[found.materials[0].texture].pixels, picture)
    np.testing.assert_array_equal(found.textures[found.materials[1].texture].pixels, picture[:, ::-1])
    emitted = found.textures[found.materials[1].emissive_texture].pixels
    np.testing.assert_array_equal(emitted[..., :3], picture[:, ::-1, :3])
    one = np.flatnonzero(mesh.face_materials == 1)  # its faces come behind those of the first
    np.testing.assert_array_equal(corners(found, "emissive_uvs")[2:], corners(mesh, "emissive_uvs")[one])


def test_an_obj_of_several_materials_is_read_back(tmp_path):
    materials = (Material("red one", (0.5, 0.0, 0.0, 1.0)), Material("", (0.0, 0.25, 0.5, 0.5), alpha_mode="BLEND"))
    mesh = replace(
        colored(textured_tetrahedron()),
        materials=materials,
        face_materials=np.array([1, 0, 0, 1], dtype=np.int32),
    )
    found = read_back(tmp_path, mesh, ".obj")
    np.testing.assert_array_equal(corners(found), corners(mesh)[[1, 2, 0, 3]])
    for one, other in zip(found.materials, materials, strict=True):
        np.testing.assert_allclose(one.factor, other.factor, atol=1e-7)
        assert one.alpha_mode == other.alpha_mode


def test_a_ply_has_the_colors_of_material_and_vertex(tmp_path):
    mesh = replace(
        colored(textured_tetrahedron()),
        materials=(Material(factor=(0.5, 0.5, 0.5, 1.0)), Material(emissive=(0.25, 0.0, 0.0))),
        face_materials=np.array([0, 1, 0, 1], dtype=np.int32),
    )
    found = read_back(tmp_path, mesh, ".ply")
    expected = corners(mesh, "colors")[..., :3] * np.array([0.5, 1.0, 0.5, 1.0])[:, None, None]
    expected[[1, 3], :, 0] += 0.25
    np.testing.assert_allclose(_srgb(corners(found, "colors")[..., :3]), _srgb(expected), atol=0.5 / 255 + 1e-6)


def test_a_mesh_far_from_the_origin_keeps_its_form_in_every_format(tmp_path):
    mesh = colored(textured_tetrahedron())
    mesh = replace(mesh, vertices=mesh.vertices * 0.01 + np.array([5.1e6, 20.0, -3.2e6]))
    for suffix in WRITTEN:
        np.testing.assert_allclose(corners(read_back(tmp_path, mesh, suffix)), corners(mesh), rtol=0, atol=1e-7)


@pytest.mark.parametrize("suffix", WRITTEN)
def test_trimesh_loads_the_same_bounds(tmp_path, suffix):
    mesh = colored(textured_tetrahedron()) if suffix == ".ply" else textured()
    mesh = replace(mesh, vertices=mesh.vertices * np.float32([1, 2, 3]) + np.float32([10, 0, -5]))
    save_mesh(tmp_path / f"thing{suffix}", mesh)
    loaded = trimesh.load(tmp_path / f"thing{suffix}")
    np.testing.assert_allclose(loaded.bounds, [mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)], rtol=1e-6)
    if suffix != ".ply":
        shown = loaded.to_geometry() if isinstance(loaded, trimesh.Scene) else loaded
        assert shown.visual.uv is not None


def test_normals_are_written_where_light_falls_and_only_there():
    lit, unlit = (json.loads(encode_glb(textured(unlit=unlit))[1]) for unlit in (False, True))
    assert "NORMAL" in lit["meshes"][0]["primitives"][0]["attributes"]
    assert "NORMAL" not in unlit["meshes"][0]["primitives"][0]["attributes"]
    assert unlit["materials"][0]["extensions"] == {"KHR_materials_unlit": {}}
    assert "extensions" not in lit["materials"][0]


def test_normals_at_one_place_are_one_and_those_of_a_cube_lie_on_its_diagonals():
    box = trimesh.creation.box()
    seams = box.vertices[box.faces].reshape(-1, 3)  # no two faces share a vertex
    normals = smooth_normals(seams, np.arange(len(seams)).reshape(-1, 3))
    for corner in np.unique(seams, axis=0):
        at = (seams == corner).all(axis=1)
        assert len(np.unique(normals[at], axis=0)) == 1
        # A side has one or two triangles at a corner, each of the same area: no component is 0 or the only one.
        assert (np.sign(normals[at][0]) == np.sign(corner)).all()
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)


def test_the_same_mesh_gives_the_same_bytes():
    assert b"".join(encode_glb(textured())) == b"".join(encode_glb(textured()))


@pytest.mark.parametrize("many", [False, True])
def test_gltf_validator_finds_no_errors(tmp_path, many):
    script = _validator()
    mesh = textured(unlit=not many)
    if many:
        uvs = mesh.uvs[:, ::-1].copy()
        materials = (Material(texture=0, alpha_mode="MASK"), Material(emissive=(2.0, 0, 0), emissive_texture=0))
        mesh = replace(
            colored(mesh), materials=materials, textures=mesh.textures, emissive_uvs=uvs,
            face_materials=np.array([0, 1, 1, 0], dtype=np.int32), origin=Origin(name="two"),
            vertices=mesh.vertices + 1e7,
        )  # fmt: skip
    save_mesh(tmp_path / "thing.glb", mesh)
    found = json.loads(
        subprocess.run(["node", "-e", script, tmp_path / "thing.glb"], capture_output=True, text=True).stdout
    )
    assert found["issues"]["numErrors"] == 0, found["issues"]["messages"]
    assert found["issues"]["numWarnings"] == 0, found["issues"]["messages"]


def _validator():
    """The script that prints the report of the validator; the test is skipped where it is not installed."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    for folder in filter(None, [os.environ.get("GATLAS_NODE_MODULES"), *os.environ.get("NODE_PATH", "").split(":")]):
        if (Path(folder) / "gltf-validator").is_dir():
            module = json.dumps(str(Path(folder) / "gltf-validator"))
            return (
                f"require({module}).validateBytes(new Uint8Array(require('fs').readFileSync(process.argv[1])))"
                ".then(report => console.log(JSON.stringify(report)))"
            )
    pytest.skip("gltf-validator is in no folder of NODE_PATH: npm install gltf-validator")


def test_an_obj_appears_with_its_files_and_says_their_names(tmp_path):
    save_mesh(tmp_path / "my chair.obj", textured())
    assert sorted(os.listdir(tmp_path)) == ["my chair.mtl", "my chair.obj", "my chair.png"]
    assert "mtllib my chair.mtl" in (tmp_path / "my chair.obj").read_text()
    assert "map_Kd my chair.png" in (tmp_path / "my chair.mtl").read_text()


@pytest.mark.parametrize("there", ["thing.obj", "thing.mtl", "thing.png"])
def test_no_file_of_an_obj_overwrites_one_without_force(tmp_path, there):
    (tmp_path / there).write_text("kept")
    with pytest.raises(GatlasError, match=f"{there} exists: use --force"):
        save_mesh(tmp_path / "thing.obj", textured())
    assert os.listdir(tmp_path) == [there]
    assert (tmp_path / there).read_text() == "kept"
    save_mesh(tmp_path / "thing.obj", textured(), force=True)
    assert len(load_mesh(tmp_path / "thing.obj").textures) == 1


def test_an_obj_whose_writing_fails_leaves_no_file(tmp_path, monkeypatch):
    replaced = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: replaced(a, b) if not str(b).endswith(".obj") else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_mesh(tmp_path / "thing.obj", textured())
    assert os.listdir(tmp_path) == []


def test_an_obj_through_a_link_replaces_what_the_link_names(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "thing.obj").write_text("old")
    (tmp_path / "thing.obj").symlink_to("real/thing.obj")
    save_mesh(tmp_path / "thing.obj", colored(textured_tetrahedron()), force=True)
    assert (tmp_path / "thing.obj").is_symlink()
    assert load_mesh(tmp_path / "thing.obj").faces.shape == (4, 3)


def test_a_pipe_takes_no_obj(tmp_path):
    os.mkfifo(tmp_path / "thing.obj")
    with pytest.raises(GatlasError, match="takes one file"):
        save_mesh(tmp_path / "thing.obj", textured())


@pytest.mark.parametrize(
    ("suffix", "mesh", "fault"),
    [
        (".ply", textured(), "no texture"),
        (".obj", textured(factor=(0.5, 1, 1, 1)), "a color beside a texture"),
        (".obj", textured(alpha_mode="BLEND"), "translucent"),
        (".obj", textured(unlit=False, emissive=(2.0, 1.0, 1.0)), "brighter than 1"),
        (".glb", replace(textured(), faces=np.zeros((0, 3), np.int32), face_materials=np.zeros(0, np.int32)), "no tri"),
        (".glb", replace(textured(), vertices=np.full((12, 3), np.nan)), "12 of 12 vertices are not finite"),
        (".gltf", textured(), "cannot be written as .gltf: name the output thing.glb"),
    ],
)
def test_what_cannot_be_written_is_one_line(tmp_path, suffix, mesh, fault):
    with pytest.raises(GatlasError, match=fault):
        save_mesh(tmp_path / f"thing{suffix}", mesh)
    assert os.listdir(tmp_path) == []


def test_an_index_out_of_range_is_the_caller_s_mistake():
    mesh = textured()
    with pytest.raises(ValueError, match="faces"):
        encode_glb(replace(mesh, faces=mesh.faces + 1))


def test_standard_output_is_glb(capfdbinary):
    save_mesh("-", textured())
    written = capfdbinary.readouterr().out
    assert written == b"".join(encode_glb(textured()))


def test_more_vertices_than_two_bytes_count(tmp_path):
    count = 70_000
    vertices = np.random.default_rng(0).random((count, 3)).astype(np.float32)
    faces = np.arange(count - count % 3, dtype=np.int32).reshape(-1, 3)
    mesh = Mesh(
        vertices, faces, np.zeros(len(faces), np.int32), np.zeros((count, 2)), np.ones((count, 4)), (Material(),)
    )
    np.testing.assert_array_equal(corners(read_back(tmp_path, mesh, ".glb")), corners(mesh))
