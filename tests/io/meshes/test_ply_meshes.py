"""PLY meshes as real programs write them: mixed polygons, strips, textures per corner, colors under any name."""

import io
import warnings

import numpy as np
import plyfile
import pytest

from gatlas.errors import GatlasError
from gatlas.io import load_mesh
from gatlas.io.streams import read
from tests.helpers.gltf_files import RED_BLUE, blob, png

POINTS = np.array([[0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0], [3, 1, 0], [1, -1, 0], [0.5, 0.5, 0]], dtype=float)
GREEN = png([[[0, 255, 0]]])


def vertices(**columns):
    table = np.zeros(len(POINTS), [(name, "f4") for name in "xyz"] + [(k, v.dtype) for k, v in columns.items()])
    for axis, name in enumerate("xyz"):
        table[name] = POINTS[:, axis]
    for name, values in columns.items():
        table[name] = values
    return plyfile.PlyElement.describe(table, "vertex")


def faces(polygons, name="face", **columns):
    fields = [("vertex_indices", object)] + [(k, {"texcoord": object, "texnumber": "i4"}.get(k, "u1")) for k in columns]
    table = np.zeros(len(polygons), fields)
    for k, polygon in enumerate(polygons):
        table["vertex_indices"][k] = np.array(polygon, dtype="i4")
        for key, values in columns.items():
            table[key][k] = np.array(values[k], dtype="f4") if key == "texcoord" else values[k]
    types = {"vertex_indices": "i4", "texcoord": "f4"}
    return plyfile.PlyElement.describe(table, name, val_types=types)


FORMS = {"text": {"text": True}, "little": {"byte_order": "<"}, "big": {"byte_order": ">"}}


def written(elements, form="little", comments=()):
    out = io.BytesIO()
    plyfile.PlyData(elements, comments=list(comments), **FORMS[form]).write(out)
    return out.getvalue()


def mesh_of(content, path="thing.ply"):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load_mesh(blob(content, path))


def triangles(mesh):
    """The corners of each triangle from its smallest on, sorted."""
    found = [np.roll(t, -np.lexsort(t.T[::-1])[0], axis=0).tolist() for t in mesh.vertices[mesh.faces]]
    return sorted(found)


def area(mesh):
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)
    return np.cross(b - a, c - a)[:, 2].sum() / 2


@pytest.mark.parametrize("form", FORMS)
def test_triangles_quads_and_polygons_together(form):
    mesh = mesh_of(written([vertices(), faces([[0, 1, 2, 3], [1, 4, 2], [3, 0, 5, 1, 2]])], form))
    assert len(mesh.faces) == 2 + 1 + 3
    assert area(mesh) == 4 + 1 + 5
    assert triangles(mesh) == triangles(
        mesh_of(written([vertices(), faces([[0, 1, 2], [0, 2, 3], [1, 4, 2], [3, 0, 5], [3, 5, 1], [3, 1, 2]])]))
    )


def test_a_quad_with_a_dent_is_cut_inside():
    for turn in range(4):
        mesh = mesh_of(written([vertices(), faces([np.roll([0, 1, 6, 3], turn)])]))
        corners = mesh.vertices[mesh.faces]
        assert area(mesh) == 1
        assert (np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2] > 0).all()


def test_faces_of_fewer_than_three_corners_are_left_out():
    assert len(mesh_of(written([vertices(), faces([[0, 1], [0, 1, 2], [3], []])])).faces) == 1


@pytest.mark.parametrize("form", FORMS)
def test_triangle_strips(form):
    strips = faces([[0, 1, 3, 2, -1, 1, 4, 2], [5, 1, 0]], name="tristrips")
    mesh = mesh_of(written([vertices(), strips], form))
    assert triangles(mesh) == sorted(
        triangles(mesh_of(written([vertices(), faces([[0, 1, 3], [1, 2, 3], [1, 4, 2], [0, 5, 1]])])))
    )
    assert area(mesh) == 4 + 1 + 1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "names", ["red green blue", "diffuse_red diffuse_green diffuse_blue", "r g b", "Red Green Blue"]
)
def test_vertex_colors_under_all_their_names(form, names):
    columns = {
        name: np.full(len(POINTS), value, dtype="u1") for name, value in zip(names.split(), (128, 0, 255), strict=True)
    }
    mesh = mesh_of(written([vertices(**columns), faces([[0, 1, 2]])], form))
    np.testing.assert_allclose(mesh.colors, [[0.2158605, 0, 1, 1]] * 3, atol=1e-6)


def test_colors_of_16_bits_keep_their_range():
    columns = {name: np.full(len(POINTS), 32768, dtype="u2") for name in ("red", "green", "blue")}
    mesh = mesh_of(written([vertices(**columns), faces([[0, 1, 2]])]))
    np.testing.assert_allclose(mesh.colors[:, 0], 0.214048, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_colors_per_face(form):
    element = faces([[0, 1, 2, 3], [1, 4, 2]], red=[255, 0], green=[0, 255], blue=[0, 0])
    mesh = mesh_of(written([vertices(), element], form))
    shown = {tuple(map(tuple, p)): c for p, c in zip(mesh.vertices[mesh.faces], mesh.colors[mesh.faces], strict=True)}
    np.testing.assert_array_equal(shown[(2, 0, 0), (3, 1, 0), (2, 2, 0)], [[0, 1, 0, 1]] * 3)
    np.testing.assert_array_equal(shown[(0, 0, 0), (2, 0, 0), (2, 2, 0)], [[1, 0, 0, 1]] * 3)


def test_colors_of_faces_count_where_all_vertices_have_one():
    grey = {name: np.full(len(POINTS), 192, dtype="u1") for name in ("red", "green", "blue")}
    by_face = faces([[0, 1, 2], [1, 4, 2]], red=[255, 0], green=[0, 255], blue=[0, 0])
    assert len(np.unique(mesh_of(written([vertices(**grey), by_face])).colors, axis=0)) == 2


def corner_uvs(*points):
    return np.array(points, dtype=float).reshape(-1)


@pytest.mark.parametrize("form", FORMS)
def test_texture_coordinates_per_corner(tmp_path, form):
    (tmp_path / "my tex.png").write_bytes(RED_BLUE)
    square, triangle = corner_uvs([0, 0], [1, 0], [1, 1], [0, 1]), corner_uvs([0.25, 0.5], [0.5, 0.5], [0.75, 0])
    grey = {name: np.full(len(POINTS), 192, dtype="u1") for name in ("red", "green", "blue")}
    element = faces([[0, 1, 2, 3], [1, 4, 2]], texcoord=[square, triangle])
    content = written([vertices(**grey), element], form, ["TextureFile   my tex.png "])
    mesh = mesh_of(content, tmp_path / "thing.ply")
    assert [material.texture for material in mesh.materials] == [0]
    np.testing.assert_array_equal(mesh.colors, 1)  # the grey that a program leaves next to a texture does not darken it
    by_position = {
        (tuple(p), tuple(uv)) for p, uv in zip(mesh.vertices[mesh.faces[0]], mesh.uvs[mesh.faces[0]], strict=True)
    }
    assert by_position == {((2, 0, 0), (0.25, 0.5)), ((3, 1, 0), (0.5, 0.5)), ((2, 2, 0), (0.75, 1))}  # v runs down
    assert {(tuple(p), tuple(uv)) for p, uv in zip(mesh.vertices, mesh.uvs, strict=True)} >= {((0, 2, 0), (0, 0))}


def test_several_textures_and_faces_without_one(tmp_path):
    (tmp_path / "a.png").write_bytes(RED_BLUE)
    (tmp_path / "b.png").write_bytes(GREEN)
    uv = corner_uvs([0, 0], [1, 0], [1, 1])
    element = faces([[0, 1, 2], [0, 2, 3], [1, 4, 2], [0, 5, 1]], texcoord=[uv, uv, uv, []], texnumber=[1, 0, 7, 0])
    comments = ["TextureFile a.png", "TextureFile b.png"]
    mesh = mesh_of(written([vertices(), element], comments=comments), tmp_path / "thing.ply")
    shown = {}
    for corners, material in zip(mesh.vertices[mesh.faces], mesh.face_materials, strict=True):
        texture = mesh.materials[material].texture
        shown[tuple(map(tuple, corners[:, :2].tolist()))] = None if texture < 0 else mesh.textures[texture].pixels.shape
    assert list(shown.values()).count(None) == 2  # of texture 7, and without coordinates
    assert shown[(0, 0), (2, 0), (2, 2)] == (1, 1, 4)
    assert shown[(0, 0), (2, 2), (0, 2)] == (1, 2, 4)


@pytest.mark.parametrize("names", ["s t", "u v", "texture_u texture_v"])
def test_split_vertices_with_a_texture_print_nothing(tmp_path, capfd, names):
    (tmp_path / "tex.png").write_bytes(RED_BLUE)
    columns = {
        name: np.full(len(POINTS), value, dtype="f4") for name, value in zip(names.split(), (0.25, 0.125), strict=True)
    }
    content = written([vertices(**columns), faces([[0, 1, 2]])], comments=["TextureFile tex.png"])
    mesh = mesh_of(content, tmp_path / "thing.ply")
    np.testing.assert_array_equal(mesh.uvs, [[0.25, 0.875]] * 3)
    assert mesh.materials[0].texture == 0
    assert capfd.readouterr() == ("", "")


def test_a_missing_texture_leaves_the_colors():
    grey = {name: np.full(len(POINTS), 255 * (name == "red"), dtype="u1") for name in ("red", "green", "blue")}
    uv = corner_uvs([0, 0], [1, 0], [1, 1])
    content = written([vertices(**grey), faces([[0, 1, 2]], texcoord=[uv])], comments=["TextureFile gone.png"])
    with pytest.warns(UserWarning, match="texture gone.png is missing"):
        mesh = load_mesh(blob(content, "/nowhere/thing.ply"))
    np.testing.assert_array_equal(mesh.colors, [[1, 0, 0, 1]] * 3)


@pytest.mark.parametrize("form", FORMS)
def test_only_what_is_cut_short_is_called_truncated(form):
    content = written([vertices(), faces([[0, 1, 2, 3], [1, 4, 2]])], form)
    assert len(mesh_of(content).faces) == 3
    assert len(mesh_of(content + b"\n\n").faces) == 3
    for stop in (len(content) - (8 if form == "text" else 1), len(content) - 30):
        with pytest.raises(GatlasError, match=r"^thing\.ply: truncated") as caught:
            mesh_of(content[:stop])
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (b"4 0 1 2 3", b"4 0 1 2 9", "refers to a vertex that does not exist"),
        (b"4 0 1 2 3", b"4 0 1 2 -1", "refers to a vertex that does not exist"),
        (b"4 0 1 2 3", b"4 0 1 2 x", "'x', which is no number"),
        (b"4 0 1 2 3", b"4 0 1 2 1.5", "not whole"),
        (b"4 0 1 2 3", b"9 0 1 2 3", "truncated or damaged"),
        (b"4 0 1 2 3", b"-4 0 1 2 3", "damaged|truncated"),
        (b"4 0 1 2 3", b"1e300 0 1 2 3", "not whole"),
        (b"property float x", b"property float w", "no x, y and z"),
        (b"vertex_indices", b"something_else", None),
        (b"list uchar int", b"list uchar float", "no list of vertices"),
    ],
)
def test_damaged_texts(old, new, match):
    content = written([vertices(), faces([[0, 1, 2, 3], [1, 4, 2]])], "text")
    assert old in content
    if match is None:
        assert len(mesh_of(content.replace(old, new)).faces) == 3  # the only list of a face is its corners
        return
    with pytest.raises(GatlasError, match=f"^thing.ply: .*({match})") as caught:
        mesh_of(content.replace(old, new))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (b"element vertex 7", b"element vertex 0\nelement vertex 7", "two elements of one name"),
        (b"property float x", b"property list uchar float x", "no x, y and z|truncated|not whole"),
    ],
)
def test_strange_headers_are_refused(old, new, match):
    content = written([vertices(), faces([[0, 1, 2]])], "text").replace(old, new)
    with pytest.raises(GatlasError, match=match):
        mesh_of(content.replace(b"\n0 0 0", b"\n1 0 0 0"))


def test_a_texture_outside_the_folder_is_not_opened(tmp_path):
    (tmp_path / "secret.png").write_bytes(RED_BLUE)
    (tmp_path / "model").mkdir()
    uv = corner_uvs([0, 0], [1, 0], [1, 1])
    for name in ("../secret.png", str(tmp_path / "secret.png")):
        content = written([vertices(), faces([[0, 1, 2]], texcoord=[uv])], comments=[f"TextureFile {name}"])
        with pytest.warns(UserWarning, match="only files in the folder of the mesh are read"):
            assert load_mesh(blob(content, tmp_path / "model" / "thing.ply")).textures == ()


def test_files_that_are_joined_are_refused():
    content = written([vertices(), faces([[0, 1, 2]])])
    with pytest.raises(GatlasError, match="joined end to end"):
        mesh_of(content + content)


def test_a_header_that_promises_too_much_takes_no_memory():
    content = written([vertices(), faces([[0, 1, 2]])])
    for element in (b"face 1", b"vertex 7"):
        with pytest.raises(GatlasError, match="truncated"):
            mesh_of(content.replace(b"element " + element, b"element " + element.split()[0] + b" 999999999999999999"))


def test_a_text_keeps_the_digits_that_float_would_lose():
    header, body = written([vertices(), faces([[0, 1, 2]])], "text").split(b"end_header\n")
    rows = body.split(b"\n")
    rows[:7] = b"5000000 0 0", b"5000002.03 0 0", b"5000002.01 2 0", *([b"5000000 0 0"] * 4)
    mesh = mesh_of(header + b"end_header\n" + b"\n".join(rows))
    assert mesh.vertices[:, 0].tolist() == [5000000, 5000002.03, 5000002.01]


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("ply_mesh_mixed_faces/mixed.ply", 12),
        ("ply_mesh_mixed_faces/mixed_ascii.ply", 12),
        ("ply_mesh_meshlab_texture/fuze.ply", 1000),
        ("ply_mesh_meshlab_texture/fuze_ascii.ply", 1000),
        ("ply_mesh_meshlab_texture/st_tex.ply", 12),
        ("messages/tristrip.ply", 12),
        ("messages/diffuse.ply", 12),
    ],
)
def test_real_ply_meshes_are_read_without_a_word(shared_data, capfd, name, count):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mesh = load_mesh(read(shared_data / "cases" / name))
    assert len(mesh.faces) == count
    assert len(mesh.textures) == ("texture" in name)
    if "diffuse" in name:
        np.testing.assert_allclose(mesh.colors, [[0.2158605, 0, 1, 1]] * 8, atol=1e-6)
    assert capfd.readouterr() == ("", "")


@pytest.mark.shared
def test_a_textured_ply_is_the_obj_that_it_was_made_from(shared_data):
    ply = load_mesh(read(shared_data / "cases" / "ply_mesh_meshlab_texture" / "fuze.ply"))
    obj = load_mesh(read(shared_data / "models" / "fuze" / "fuze.obj"))
    np.testing.assert_allclose(ply.vertices[ply.faces], obj.vertices[obj.faces], atol=1e-6)
    np.testing.assert_allclose(ply.uvs[ply.faces], obj.uvs[obj.faces], atol=1e-5)
    np.testing.assert_array_equal(ply.textures[0].pixels, obj.textures[0].pixels)
