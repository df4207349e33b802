"""OBJ and PLY meshes, and what all the formats share."""

import warnings

import numpy as np
import pytest
import trimesh

from gatlas.errors import GatlasError
from gatlas.io import load_mesh
from gatlas.io.meshes.polygons import triangulate
from gatlas.io.streams import read
from tests.helpers.gltf_files import RED_BLUE, Gltf, blob

SQUARE = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"


def obj(text, path="thing.obj"):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load_mesh(blob(text.encode(), path))


def corners(mesh):
    return mesh.vertices[mesh.faces]


def area(triangles):
    a, b, c = np.moveaxis(triangles, 1, 0)
    return 0.5 * np.cross(b - a, c - a)


def test_an_obj_square():
    mesh = obj(SQUARE + "f 1/1 2/2 3/3 4/4\n")
    np.testing.assert_array_equal(corners(mesh), [[[0, 0, 0], [1, 0, 0], [1, 1, 0]], [[0, 0, 0], [1, 1, 0], [0, 1, 0]]])
    np.testing.assert_array_equal(mesh.uvs[mesh.faces[0]], [[0, 1], [1, 1], [1, 0]])  # v runs down
    assert mesh.origin.name == "thing"


@pytest.mark.parametrize(
    "face", ["f -4 -3 -2 -1", "f 1//1 2//1 3//1 4//1", "f 1/1/1 2/2/1 3/3/1 4/4/1", "f 1 2 \\\n 3 4", "f\t1 2 3 4"]
)
def test_every_way_to_write_a_face(face):
    np.testing.assert_array_equal(area(corners(obj(SQUARE + face + "\n"))).sum(axis=0), [0, 0, 1])


def test_negative_indices_count_back_from_where_they_stand():
    first, second = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf -3 -2 -1\n", "v 0 0 5\nv 1 0 5\nv 0 1 5\nf -3 -2 -1\n"
    np.testing.assert_array_equal(corners(obj(first + second))[:, :, 2], [[0, 0, 0], [5, 5, 5]])


def test_obj_vertex_colors_are_srgb():
    text = "v 0 0 0 1 0.5 0\nv 1 0 0 1 0.5 0\nv 0 1 0 1 0.5 0\nf 1 2 3\n"
    np.testing.assert_allclose(obj(text).colors, [[1, 0.21404, 0, 1]] * 3, atol=1e-5)
    np.testing.assert_allclose(
        obj(text.replace(" 1 0.5 0", " 255 127.5 0")).colors, [[1, 0.21404, 0, 1]] * 3, atol=1e-5
    )


def test_an_obj_texture_whose_name_has_spaces(tmp_path):
    (tmp_path / "my paint.mtl").write_text(
        "newmtl red thing\nKd 0.5 0 0\nmap_Kd -s 2 3 1 -o .5 0 0 -clamp on my tex.png\n"
        "newmtl plain\nKd 0.5 0 1\nd 0.25\n"
    )
    (tmp_path / "my tex.png").write_bytes(RED_BLUE)
    faces = "usemtl red thing\nf 1/1 2/2 3/3\nusemtl plain\nf 1 3 4\n"
    mesh = obj("mtllib my paint.mtl\n" + SQUARE + faces, tmp_path / "thing.obj")
    painted, plain = (mesh.materials[i] for i in mesh.face_materials)
    assert (painted.texture, painted.factor, painted.alpha_mode) == (0, (1, 1, 1, 1), "OPAQUE")
    assert mesh.textures[0].wrap == ("clamp", "clamp")
    np.testing.assert_array_equal(mesh.textures[0].pixels[0, :, :3], [[255, 0, 0], [0, 0, 255]])
    np.testing.assert_allclose(mesh.uvs[mesh.faces[0]], [[0.5, 1], [2.5, 1], [2.5, -2]])
    np.testing.assert_allclose(plain.factor, [0.21404, 0, 1, 0.25], atol=1e-5)
    assert (plain.texture, plain.alpha_mode) == (-1, "BLEND")


def test_a_texture_with_a_path_of_another_machine_is_found_beside(tmp_path):
    (tmp_path / "a.mtl").write_text("newmtl m\nmap_Kd C:\\art\\tex.png\nmap_d C:\\art\\tex.png\n")
    (tmp_path / "tex.png").write_bytes(RED_BLUE)
    text = "mtllib a.mtl\n" + SQUARE + "usemtl m\nf 1/1 2/2 3/3\n"
    with pytest.warns(UserWarning, match="C:/art/tex.png is not there; tex.png next to the mesh is taken$") as caught:
        mesh = load_mesh(blob(text.encode(), tmp_path / "thing.obj"))
    assert len(caught) == 1
    assert (mesh.materials[0].texture, mesh.materials[0].alpha_mode) == (0, "MASK")


def test_nothing_outside_the_folder_of_an_obj_is_opened(tmp_path):
    (tmp_path / "secret.png").write_bytes(RED_BLUE)
    (tmp_path / "secret.mtl").write_text("newmtl m\nKd 1 0 0\n")
    (tmp_path / "model").mkdir()
    faces = SQUARE + "usemtl m\nf 1/1 2/2 3/3\n"
    for name in ("../secret", str(tmp_path / "secret"), "..\\secret"):
        with pytest.warns(UserWarning, match=r"secret.mtl is missing.*only files in the folder of the mesh are read"):
            mesh = load_mesh(blob(f"mtllib {name}.mtl\n{faces}".encode(), tmp_path / "model" / "thing.obj"))
        assert mesh.materials[0].factor == (1, 1, 1, 1)
        (tmp_path / "model" / "a.mtl").write_text(f"newmtl m\nmap_Kd {name}.png\n")
        with pytest.warns(UserWarning, match=r"secret.png is missing.*only files in the folder of the mesh are read"):
            mesh = load_mesh(blob(f"mtllib a.mtl\n{faces}".encode(), tmp_path / "model" / "thing.obj"))
        assert mesh.textures == ()


def test_names_of_an_obj_in_another_case_are_found_and_said_in_one_line(tmp_path):
    (tmp_path / "Paint.MTL").write_text("newmtl m\nmap_Kd Tex.PNG\n")
    (tmp_path / "tex.png").write_bytes(RED_BLUE)
    text = "mtllib paint.mtl\n" + SQUARE + "usemtl m\nf 1/1 2/2 3/3\n"
    with pytest.warns(
        UserWarning, match=r"paint.mtl is not there; Paint.MTL next to the mesh is taken, and 1 more so$"
    ) as caught:
        mesh = load_mesh(blob(text.encode(), tmp_path / "thing.obj"))
    assert len(caught) == 1
    assert len(mesh.textures) == 1


def test_escape_sequences_in_names_of_an_obj_are_quoted(tmp_path):
    (tmp_path / "a.mtl").write_text("newmtl m\x1b[2J\nmap_Kd gone\x1b]0;x\x07.png\nmap_d other.png\nTr 0.5\n")
    text = "mtllib a.mtl\nmtllib b\x1b[1m.mtl\n" + SQUARE + "usemtl m\x1b[2J\nf 1/1 2/2 3/3\nusemtl n\x1b\nf 1 2 3\n"
    with pytest.warns(UserWarning, match=r"\\x1b") as caught:
        load_mesh(blob(text.encode(), tmp_path / "thing.obj"))
    said = [str(each.message) for each in caught]
    assert len(said) == 5
    assert all(line.isprintable() and "\\x1b" in line for line in said)


def test_a_missing_library_or_texture_is_one_warning(tmp_path):
    text = "mtllib gone.mtl\n" + SQUARE + "usemtl m\nf 1 2 3\n"
    with pytest.warns(UserWarning, match="material library gone.mtl is missing") as caught:
        mesh = load_mesh(blob(text.encode(), tmp_path / "thing.obj"))
    assert len(caught) == 1
    assert mesh.materials[0].factor == (1, 1, 1, 1)
    (tmp_path / "gone.mtl").write_text("newmtl m\nKd 1 0 0\nmap_Kd lost.png\n")
    with pytest.warns(UserWarning, match="texture lost.png is missing") as caught:
        mesh = load_mesh(blob(text.encode(), tmp_path / "thing.obj"))
    assert len(caught) == 1
    assert mesh.materials[0].factor == (1, 0, 0, 1)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (SQUARE, "has no triangles"),
        (SQUARE + "f 1 2 9\n", "refers to a vertex that does not exist"),
        (SQUARE + "f 1 2 x\n", "line 9: 'x' is not a corner of a face"),
        (SQUARE + "f 0 1 2\n", "line 9: '0' is not a corner"),
        ("v 0 0\n" + SQUARE + "f 1 2 3\n", "a line 'v' has the wrong count of numbers"),
        ("v 0 0 a\n" + SQUARE + "f 1 2 3\n", "a line 'v' does not hold numbers"),
        ("v 0 0 nan\n" + SQUARE + "f 1 2 3\n", "1 of 3 vertices are not finite"),
    ],
)
def test_damaged_obj_files(text, match):
    with pytest.raises(GatlasError, match=f"^thing.obj: .*{match}") as caught:
        obj(text)
    assert "\n" not in str(caught.value)


def test_concave_polygons_are_cut_into_triangles_inside_them():
    outline = np.array([[0, 0], [4, 0], [4, 4], [2, 1], [0, 4]])  # an M; a fan from its first corner would leave it
    for plane in ([0, 1], [1, 2], [2, 0], [1, 0]):
        polygon = np.zeros((5, 3))
        polygon[:, plane] = outline
        triangles = polygon[triangulate(polygon, np.array([5]))]
        whole = np.cross(polygon, np.roll(polygon, -1, axis=0)).sum(axis=0) / 2
        np.testing.assert_allclose(area(triangles).sum(axis=0), whole)
        assert (area(triangles) @ whole > 0).all()


def test_polygons_of_all_sizes_keep_their_area():
    sizes = np.array([3, 7, 4, 7])
    corners = np.concatenate([[[np.cos(t), np.sin(t), 0] for t in 2 * np.pi * np.arange(n) / n] for n in sizes])
    triangles = triangulate(corners, sizes)
    assert len(triangles) == (sizes - 2).sum()
    expected = (sizes / 2 * np.sin(2 * np.pi / sizes)).sum()
    np.testing.assert_allclose(area(corners[triangles])[:, 2].sum(), expected)


PLY = """ply
format ascii 1.0
{comment}element vertex 4
property float x
property float y
property float z
{properties}element face {faces}
property list uchar int vertex_indices
end_header
0 0 0{0}
1 0 0{0}
1 1 0{0}
0 1 0{0}
"""


def ply(properties="", values="", polygons="4 0 1 2 3\n", comment="", path="thing.ply"):
    text = PLY.format(" " + values, properties=properties, faces=len(polygons.splitlines()), comment=comment)
    return load_mesh(blob((text + polygons).encode(), path))


def test_a_ply_square():
    mesh = ply()
    np.testing.assert_array_equal(area(corners(mesh)).sum(axis=0), [0, 0, 1])
    np.testing.assert_array_equal(mesh.colors, np.ones((4, 4)))


@pytest.mark.parametrize(("kind", "values"), [("uchar", "255 128 0"), ("float", "1 0.50196 0")])
def test_ply_vertex_colors_are_srgb(kind, values):
    properties = "".join(f"property {kind} {name}\n" for name in ("red", "green", "blue"))
    np.testing.assert_allclose(ply(properties, values).colors, [[1, 0.21586, 0, 1]] * 4, atol=1e-4)


def test_a_ply_texture(tmp_path):
    (tmp_path / "my tex.png").write_bytes(RED_BLUE)
    properties = "property float s\nproperty float t\n"
    mesh = ply(properties, "0.25 0.125", comment="comment TextureFile my tex.png\n", path=tmp_path / "thing.ply")
    assert mesh.materials[0].texture == 0
    np.testing.assert_array_equal(mesh.uvs, [[0.25, 0.875]] * 4)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("ply\nformat ascii 1.0\nelement vertex 1\n{xyz}end_header\n0 0 0\n", "a point cloud, not a mesh"),
        (
            "ply\nformat ascii 1.0\nelement vertex 2\n{xyz}{face}end_header\n0 0 0\n",
            "truncated: its header promises 3 lines, there are 1",
        ),
        ("ply\nformat binary_little_endian 1.0\nelement vertex 2\n{xyz}{face}end_header\n0 0 0\n", "truncated"),
        ("ply\nformat ascii 1.0\n", "no line 'end_header'"),
    ],
)
def test_ply_files_without_a_mesh(content, match):
    xyz = "property float x\nproperty float y\nproperty float z\n"
    face = "element face 1\nproperty list uchar int vertex_indices\n"
    with pytest.raises(GatlasError, match=f"^thing.ply: .*{match}") as caught:
        load_mesh(blob(content.format(xyz=xyz, face=face).encode(), "thing.ply"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"solid x\nfacet", b"\x00" * 100, b"hello", b"\x89PNG\r\n\x1a\n"])
def test_other_files_are_no_meshes(content):
    with pytest.raises(
        GatlasError, match=r"^thing.stl: (a picture, )?not a mesh: gatlas reads GLB, glTF, OBJ and PLY$"
    ):
        load_mesh(blob(content, "thing.stl"))


def test_texture_coordinates_that_are_not_finite_are_a_warning():
    gltf = Gltf()
    uvs = gltf.accessor([[0, 0], [np.nan, 0], [0, 1]])
    gltf.primitive(attributes={"TEXCOORD_0": uvs}, material=gltf.textured(RED_BLUE))
    with pytest.warns(UserWarning, match="1 of its texture coordinates are not numbers"):
        mesh = load_mesh(gltf.blob())
    assert np.isfinite(mesh.uvs).all()


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("AlphaBlendModeTest.glb", (61, 6)),
        ("BoxTextured.glb", (12, 1)),
        ("CesiumMan.glb", (4672, 1)),
        ("FlightHelmet/FlightHelmet.gltf", (94722, 5)),
        ("Fox/Fox.gltf", (576, 1)),
        ("Knight.glb", (6952, 1)),
        ("MeshoptCubeTest/MeshoptCubeTest.gltf", (320, 0)),
        ("ShapeCollection.glb", (3542, 0)),
        ("TextureTransformTest/TextureTransformTest.gltf", (24, 5)),
        ("TwoSidedPlane/TwoSidedPlane.gltf", (2, 1)),
        ("VertexColorTest/VertexColorTest.gltf", (36, 2)),
        ("bunny_no_texture.ply", (16301, 0)),
        ("cakeBirthday.glb", (1332, 0)),
        ("fuze/fuze.obj", (1000, 1)),
        ("greySnapper_vertColor.glb", (2754, 1)),
        ("kaykit_mug/mug_full.gltf", (426, 1)),
        ("kaykit_mug_grey16/kaykit_mug_grey16.gltf", (426, 1)),
        ("kenney_brick.glb", (188, 1)),
        ("kenney_character.glb", (550, 1)),
        ("market_les-paul.gltf", (156256, 0)),
        ("pirate_meshopt.glb", (5010, 0)),
        ("suzanne_no_uv.obj", (968, 0)),
    ],
)
def test_real_meshes_are_read(shared_data, name, expected):
    source = read(shared_data / "models" / name)
    if "les-paul" in name:
        pytest.importorskip("DracoPy")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*MeshoptCubeTest.gltf: texture .* is missing")  # they are not in the folder
        mesh = load_mesh(source)
    assert (len(mesh.faces), len(mesh.textures)) == expected
    assert np.isfinite(mesh.vertices).all()


@pytest.mark.shared
@pytest.mark.parametrize("name", ["BoxTextured.glb", "ShapeCollection.glb", "kenney_character.glb", "fuze/fuze.obj"])
def test_geometry_agrees_with_trimesh(shared_data, name):
    path = shared_data / "models" / name
    mesh = load_mesh(read(path))
    other = trimesh.load(path, force="mesh", process=False)
    np.testing.assert_allclose([mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)], other.bounds, atol=1e-6)
    own = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert own.area == pytest.approx(other.area, rel=1e-5)
    assert own.volume == pytest.approx(other.volume, rel=1e-4)  # signed: the winding agrees


@pytest.mark.shared
def test_skinned_figures_stand_upright(shared_data):
    for name in ("CesiumMan.glb", "Knight.glb", "Fox/Fox.gltf"):
        mesh = load_mesh(read(shared_data / "models" / name))
        low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
        assert abs(low[1]) < 0.01 * (high - low)[1]  # on the ground


@pytest.mark.shared
def test_16_bit_grey_is_not_saturated(shared_data):
    mesh = load_mesh(read(shared_data / "models" / "kaykit_mug_grey16" / "kaykit_mug_grey16.gltf"))
    assert 20 < mesh.textures[0].pixels[..., 0].mean() < 235


def test_a_mesh_whose_triangles_are_all_lines_is_refused():
    text = "v 0 0 0\nv 1 1 1\nv 2 2 2\nv 0.5 0.5 0.5\nf 1 2 3\nf 1 3 4\n"
    with pytest.raises(GatlasError, match=r"^thing\.obj: has no area: each of its triangles is a line or a point$"):
        load_mesh(blob(text.encode(), "thing.obj"))
