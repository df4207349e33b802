"""Names and numbers in meshes: quotes, blanks, comments, other attributes, other scales."""

import warnings

import numpy as np
import pytest

from gatlas.errors import GatlasError
from gatlas.io import load_mesh
from tests.helpers.gltf_files import RED_BLUE, Gltf, blob

SQUARE = "v 0 0 0\nv 1 0 0\nv 1 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nusemtl m\nf 1/1 2/2 3/3\n"


def silently(content, path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load_mesh(blob(content, path))


@pytest.mark.parametrize(
    "line",
    ['"a b.mtl"', "'a b.mtl'", '"c.mtl" "a b.mtl"', 'c.mtl "a b.mtl"', "a b.mtl # made by hand", '".\\a b.mtl"'],
)
def test_libraries_in_quotes_and_before_comments_are_found(tmp_path, line):
    (tmp_path / "a b.mtl").write_text("newmtl m\nKd 1 0 0\n")
    (tmp_path / "c.mtl").write_text("newmtl other\nKd 0 1 0\n")
    mesh = silently(f"mtllib {line}\n{SQUARE}".encode(), tmp_path / "x.obj")
    assert mesh.materials[mesh.face_materials[0]].factor == (1, 0, 0, 1)


@pytest.mark.parametrize("place", ["x", "x/materials"])
def test_textures_lie_next_to_the_mesh_or_next_to_its_library(tmp_path, place):
    (tmp_path / "x/materials").mkdir(parents=True)
    (tmp_path / "x/materials/a.mtl").write_text("newmtl m\nmap_Kd tex.png\n")
    (tmp_path / place / "tex.png").write_bytes(RED_BLUE)
    mesh = silently(f"mtllib materials/a.mtl\n{SQUARE}".encode(), tmp_path / "x/x.obj")
    np.testing.assert_array_equal(mesh.textures[0].pixels[0, :, :3], [[255, 0, 0], [0, 0, 255]])


@pytest.mark.parametrize(
    "line",
    [
        "-s 1 1 1  -o 0 0 0 my  tex.png",
        "\t-s\t1\t1\t1\t-clamp on my  tex.png",
        '-colorspace sRGB "my  tex.png"',
        "my  tex.png # c",
    ],
)
def test_options_of_a_map_are_divided_by_any_blanks(tmp_path, line):
    (tmp_path / "my  tex.png").write_bytes(RED_BLUE)
    for keyword in ("map_Kd", "map_Ke"):
        (tmp_path / "a.mtl").write_text(f"newmtl m\n{keyword} {line}\n")
        mesh = silently(f"mtllib a.mtl\n{SQUARE}".encode(), tmp_path / "x.obj")
        np.testing.assert_array_equal(mesh.textures[0].pixels[0, :, :3], [[255, 0, 0], [0, 0, 255]])


@pytest.mark.parametrize(("line", "expected"), [("1 0 0 # red", (1, 0, 0)), ("0", (0, 0, 0))])
def test_a_color_before_a_comment_and_one_number_for_all_three(tmp_path, line, expected):
    (tmp_path / "a.mtl").write_text(f"newmtl m\nKd {line}\n")
    assert silently(f"mtllib a.mtl\n{SQUARE}".encode(), tmp_path / "x.obj").materials[0].factor[:3] == expected


@pytest.mark.parametrize("line", ["Kd spectral x.rfl", "Ke xyz 0.1 0.1 0.1"])
def test_a_color_that_is_no_rgb_is_said(tmp_path, line):
    (tmp_path / "a.mtl").write_text(f"newmtl m\n{line}\n")
    with pytest.warns(UserWarning, match=r"x\.obj: material 'm': its K[de] is left out, which is no RGB"):
        load_mesh(blob(f"mtllib a.mtl\n{SQUARE}".encode(), tmp_path / "x.obj"))


def ply(properties, values, comments=()):
    lines = ["ply", "format ascii 1.0", *(f"comment {text}" for text in comments), "element vertex 3"]
    lines += [f"property float {name}" for name in ("x", "y", "z", *properties)]
    lines += ["element face 1", "property list uchar int vertex_indices", "end_header"]
    lines += [" ".join(map(str, (*point, *values))) for point in ((0, 0, 0), (1, 0, 0), (1, 1, 0))]
    return "\n".join([*lines, "3 0 1 2", ""]).encode()


@pytest.mark.parametrize("line", ['TextureFile "my tex.png"', "TextureFile: my tex.png", "TextureFile my tex.png"])
def test_a_texture_file_in_quotes_is_found(tmp_path, line):
    (tmp_path / "my tex.png").write_bytes(RED_BLUE)
    assert len(silently(ply("st", (0.5, 0.5), [line]), tmp_path / "x.ply").textures) == 1


def test_colors_of_a_ply_in_floats_up_to_255():
    whole = silently(ply(("red", "green", "blue", "alpha"), (255.0, 0.0, 127.5, 255.0)), "x.ply").colors
    share = silently(ply(("red", "green", "blue", "alpha"), (1.0, 0.0, 0.5, 1.0)), "x.ply").colors
    np.testing.assert_allclose(whole, share)
    assert whole[0, 0] == 1


@pytest.mark.parametrize("name", ["COLOR_1", "_COLOR_0", "COLOR", "_Color", "_vertex_color"])
def test_vertex_colors_under_another_name_are_taken_and_said(name):
    gltf = Gltf()
    gltf.primitive(attributes={name: gltf.accessor([[0, 51, 255]] * 3, "u1", normalized=True)})
    with pytest.warns(UserWarning, match=f"thing.glb: taken: {name} as the vertex colors: there is no COLOR_0"):
        mesh = load_mesh(blob(gltf.glb(), "thing.glb"))
    np.testing.assert_allclose(mesh.colors, [[0, 0.2, 1, 1]] * 3, rtol=1e-6)


@pytest.mark.parametrize(("code", "full"), [("u1", 255), ("u2", 65535)])
def test_integer_colors_without_the_mark_are_meant_as_shares(code, full):
    gltf = Gltf()
    gltf.primitive(attributes={"COLOR_0": gltf.accessor([[0, full // 5, full]] * 3, code)})
    np.testing.assert_allclose(silently(gltf.glb(), "x.glb").colors, [[0, 0.2, 1, 1]] * 3, rtol=1e-6)


def test_a_file_that_hides_everything_says_so():
    gltf = Gltf()
    gltf.primitive()
    gltf.root["nodes"][0]["extensions"] = {"KHR_node_visibility": {"visible": False}}
    with pytest.raises(GatlasError, match=r"no triangles to show: nodes that the file hides \(KHR_node_visibility\)"):
        load_mesh(blob(gltf.glb(), "x.glb"))
