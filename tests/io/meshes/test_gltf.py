"""glTF and GLB: every feature that decides geometry or base colour is read, what is not read is refused by name."""

import base64
import io
import json
import struct
import warnings

import numpy as np
import pytest
from PIL import Image

from gatlas.errors import GatlasError
from gatlas.io import load_gaussians, load_mesh
from gatlas.types import Mesh
from tests.helpers.gltf_files import RED_BLUE, TRIANGLE, Gltf, blob, png


def moved(by):
    return TRIANGLE + np.array(by)


UVS = np.array([[0, 0], [1, 0], [0, 1]])


def read(gltf, path="thing.glb"):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load_mesh(gltf.blob(path))


def one_primitive(**extra):
    gltf = Gltf()
    gltf.primitive(**extra)
    return gltf


def corners(mesh):
    """Positions of the corners of each face."""
    return mesh.vertices[mesh.faces]


def test_a_plain_triangle():
    mesh = read(one_primitive())
    np.testing.assert_array_equal(corners(mesh), [TRIANGLE])
    assert mesh.origin.name == "thing"
    assert mesh.textures == ()
    np.testing.assert_array_equal(mesh.colors, np.ones((3, 4)))


def test_a_pipe_gives_an_object_without_a_name():
    assert read(one_primitive(), path=None).origin.name == ""


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (4, [[0, 1, 2]]),
        (5, [[0, 1, 2], [1, 3, 2], [2, 3, 4]]),
        (6, [[1, 2, 0], [2, 3, 0], [3, 4, 0]]),
    ],
)
def test_triangles_strips_and_fans(mode, expected):
    positions = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    mesh = read(one_primitive(positions=positions, mode=mode))
    np.testing.assert_array_equal(corners(mesh), positions[np.array(expected)])


@pytest.mark.parametrize("code", ["u1", "u2", "u4"])
def test_indices_of_every_width(code):
    gltf = Gltf()
    gltf.primitive(indices=gltf.accessor([2, 0, 1], code))
    np.testing.assert_array_equal(corners(read(gltf)), [TRIANGLE[[2, 0, 1]]])


def test_points_and_lines_are_left_out_and_said():
    gltf = one_primitive()
    gltf.primitive(positions=TRIANGLE + 7, mode=1)
    with pytest.warns(UserWarning, match="^thing.glb: not shown: points and lines$"):
        assert len(load_mesh(gltf.blob()).faces) == 1


def test_unused_vertices_do_not_count():
    gltf = Gltf()
    gltf.primitive(positions=[*TRIANGLE, [9, 9, 9]], indices=gltf.accessor([0, 1, 2], "u1"))
    assert read(gltf).vertices.max() == 1


def test_translation_rotation_and_scale_apply_from_right_to_left():
    half = np.sqrt(0.5)
    node = {"translation": [10, 0, 0], "rotation": [0, 0, half, half], "scale": [2, 1, 1]}  # a quarter turn about z
    mesh = read(one_primitive(node=node))
    np.testing.assert_allclose(corners(mesh)[0], [[10, 0, 0], [10, 2, 0], [9, 0, 0]], atol=1e-12)


def test_matrices_are_stored_column_by_column():
    matrix = np.eye(4)
    matrix[:3, 3] = 1, 2, 3
    mesh = read(one_primitive(node={"matrix": matrix.T.ravel().tolist()}))
    np.testing.assert_array_equal(corners(mesh)[0], moved([1, 2, 3]))


def test_nodes_hang_on_nodes_and_share_meshes():
    gltf = one_primitive(node={"translation": [1, 0, 0]})
    gltf.root["nodes"] += [{"mesh": 0, "scale": [2, 2, 2]}, {"children": [0, 1], "translation": [0, 0, 5]}]
    gltf.root["scenes"] = [{"nodes": [2]}]
    np.testing.assert_array_equal(corners(read(gltf)), [moved([1, 0, 5]), TRIANGLE * 2 + [0, 0, 5]])


def test_only_the_default_scene_is_read():
    gltf = one_primitive()
    gltf.primitive(positions=TRIANGLE + 5)
    gltf.root |= {"scenes": [{"nodes": [0]}, {"nodes": [1]}], "scene": 1}
    np.testing.assert_array_equal(corners(read(gltf)), [TRIANGLE + 5])


def test_a_mirrored_node_is_wound_the_other_way_round():
    mesh = read(one_primitive(node={"scale": [-1, 1, 1]}))
    a, b, c = corners(mesh)[0]
    assert np.cross(b - a, c - a)[2] > 0


def test_gpu_instances():
    gltf = Gltf()
    at = gltf.accessor([[0, 0, 0], [0, 0, 4]])
    gltf.primitive(node={"extensions": {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": at}}}})
    np.testing.assert_array_equal(corners(read(gltf)), [TRIANGLE, moved([0, 0, 4])])


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ([[0, 0.5, 1]] * 3, "f4"),
        ([[0, 0.5, 1, 0.25]] * 3, "f4"),
        ([[0, 51, 255]] * 3, "u1"),
        ([[0, 13107, 65535, 65535]] * 3, "u2"),
    ],
)
def test_vertex_colors_are_linear(values, code):
    gltf = Gltf()
    colors = gltf.accessor(values, code, **({} if code == "f4" else {"normalized": True}))
    gltf.primitive(attributes={"COLOR_0": colors})
    scale = {"f4": 1, "u1": 255, "u2": 65535}[code]
    expected = [*(np.array(values[0][:3]) / scale), values[0][3] / scale if len(values[0]) > 3 else 1]
    np.testing.assert_allclose(read(gltf).colors, [expected] * 3, rtol=1e-6)


def test_interleaved_attributes():
    rows = np.hstack([TRIANGLE, UVS]).astype("<f4")
    gltf = Gltf()
    view = gltf.view(rows.tobytes(), byteStride=20)
    gltf.primitive(material=gltf.textured(RED_BLUE))
    attributes = gltf.root["meshes"][0]["primitives"][0]["attributes"]
    attributes["POSITION"] = gltf.describe(view, 3, 3, "f4")
    attributes["TEXCOORD_0"] = gltf.describe(view, 3, 2, "f4", byteOffset=12)
    mesh = read(gltf)
    np.testing.assert_array_equal(corners(mesh), [TRIANGLE])
    np.testing.assert_array_equal(mesh.uvs, UVS)


def test_sparse_accessors_replace_values():
    gltf = one_primitive()
    places, news = gltf.view(np.array([2], "<u2").tobytes()), gltf.view(np.array([[0, 7, 0]], "<f4").tobytes())
    gltf.root["accessors"][0]["sparse"] = {
        "count": 1,
        "indices": {"bufferView": places, "componentType": 5123},
        "values": {"bufferView": news},
    }
    np.testing.assert_array_equal(corners(read(gltf))[0, 2], [0, 7, 0])


def test_quantized_positions_and_texture_coordinates():
    gltf = Gltf()
    gltf.root["extensionsRequired"] = ["KHR_mesh_quantization", "KHR_texture_transform"]
    info = {"extensions": {"KHR_texture_transform": {"scale": [1 / 4, 1 / 2]}}}
    gltf.primitive(node={"scale": [0.5, 0.5, 0.5]}, material=gltf.textured(RED_BLUE, info))
    gltf.root["meshes"][0]["primitives"][0]["attributes"] = {
        "POSITION": gltf.accessor([[127, 0, 0], [0, 127, 0], [-128, 0, 0]], "i1", normalized=True),
        "TEXCOORD_0": gltf.accessor([[4, 0], [0, 2], [4, 2]], "u2"),
    }
    mesh = read(gltf)
    np.testing.assert_allclose(corners(mesh)[0], np.array([[1, 0, 0], [0, 1, 0], [-1, 0, 0]]) / 2)
    np.testing.assert_allclose(mesh.uvs, [[1, 0], [0, 1], [1, 1]])


def textured(info=None, sampler=None, attributes=None, picture=RED_BLUE, **material):
    gltf = Gltf()
    given = {"TEXCOORD_0": UVS} if attributes is None else attributes
    gltf.primitive(
        attributes={name: gltf.accessor(values) for name, values in given.items()},
        material=gltf.textured(picture, info, sampler, **material),
    )
    return gltf


def test_textures_and_samplers():
    mesh = read(textured(sampler={"wrapS": 33071, "wrapT": 33648}))
    np.testing.assert_array_equal(mesh.textures[0].pixels, [[[255, 0, 0, 255], [0, 0, 255, 255]]])
    assert mesh.textures[0].wrap == ("clamp", "mirror")
    np.testing.assert_array_equal(mesh.uvs, UVS)
    assert mesh.materials[mesh.face_materials[0]].texture == 0


def test_the_second_set_of_texture_coordinates():
    mesh = read(textured({"texCoord": 1}, attributes={"TEXCOORD_0": UVS, "TEXCOORD_1": UVS + 3}))
    np.testing.assert_array_equal(mesh.uvs, UVS + 3)


def test_a_texture_transform_scales_then_turns_then_moves():
    transform = {"offset": [0.5, 0.25], "rotation": np.pi / 2, "scale": [2, 3]}
    mesh = read(textured({"extensions": {"KHR_texture_transform": transform}}))
    # A quarter turn counter-clockwise, as seen with v down, takes +u to -v and +v to +u.
    np.testing.assert_allclose(mesh.uvs, [[0.5, 0.25], [0.5, 0.25 - 2], [0.5 + 3, 0.25]], atol=1e-6)


def test_a_texture_transform_may_choose_the_coordinates():
    info = {"texCoord": 0, "extensions": {"KHR_texture_transform": {"texCoord": 1}}}
    mesh = read(textured(info, attributes={"TEXCOORD_0": UVS, "TEXCOORD_1": UVS + 3}))
    np.testing.assert_array_equal(mesh.uvs, UVS + 3)


def test_alpha_modes_and_factors():
    gltf = textured(alphaMode="MASK", alphaCutoff=0.25, doubleSided=True, name="leaf")
    gltf.root["materials"][0]["pbrMetallicRoughness"]["baseColorFactor"] = [0.1, 0.2, 0.3, 0.4]
    material = read(gltf).materials[0]
    assert material.factor == (0.1, 0.2, 0.3, 0.4)
    assert (material.alpha_mode, material.alpha_cutoff, material.double_sided) == ("MASK", 0.25, True)
    assert material.name == "leaf"


def test_specular_glossiness_gives_its_diffuse_color():
    gltf = Gltf()
    extension = {"KHR_materials_pbrSpecularGlossiness": {"diffuseFactor": [1, 0, 0, 1]}}
    gltf.primitive(material=gltf.material(extensions=extension))
    assert read(gltf).materials[0].factor == (1, 0, 0, 1)


def test_opaque_textures_lose_their_alpha():
    clear = png([[[9, 8, 7, 0]]])
    assert read(textured(picture=clear)).textures[0].pixels.tolist() == [[[9, 8, 7, 255]]]
    assert read(textured(picture=clear, alphaMode="BLEND")).textures[0].pixels.tolist() == [[[9, 8, 7, 0]]]


def encoded(image, kind="PNG", **options):
    payload = io.BytesIO()
    image.save(payload, kind, **options)
    return payload.getvalue()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (encoded(Image.fromarray(np.full((1, 1), 0x8000, np.uint16))), (128, 128, 128, 255)),
        (encoded(Image.new("L", (1, 1), 77)), (77, 77, 77, 255)),
        (encoded(Image.new("LA", (1, 1), (77, 50))), (77, 77, 77, 50)),
        (encoded(Image.new("1", (1, 1), 1)), (255, 255, 255, 255)),
        (encoded(Image.new("RGB", (1, 1), (10, 20, 30)).quantize(2)), (10, 20, 30, 255)),
        (encoded(Image.new("P", (1, 1), 0), transparency=0), (0, 0, 0, 0)),
        (encoded(Image.new("RGBA", (1, 1), (9, 99, 200, 30)), "WEBP", lossless=True, exact=True), (9, 99, 200, 30)),
    ],
    ids=["16-bit grey", "grey", "grey-alpha", "bilevel", "palette", "palette-alpha", "webp"],
)
def test_pictures_of_every_kind(content, expected):
    assert tuple(read(textured(picture=content, alphaMode="BLEND")).textures[0].pixels[0, 0]) == expected


def test_cmyk_jpegs():
    content = encoded(Image.new("RGB", (8, 8), (200, 100, 50)).convert("CMYK"), "JPEG", quality=100, subsampling=0)
    pixel = read(textured(picture=content)).textures[0].pixels[4, 4]
    np.testing.assert_allclose(pixel, [200, 100, 50, 255], atol=3)


def test_large_textures_are_reduced_in_linear_light():
    stripes = np.zeros((2, 4096, 3), np.uint8)
    stripes[:, ::2] = 255
    pixels = read(textured(picture=png(stripes))).textures[0].pixels
    assert pixels.shape == (1, 2048, 4)
    assert (pixels[..., :3] == 188).all()  # sRGB of half the light


def test_reduced_textures_take_no_color_from_clear_texels():
    pixels = np.zeros((1, 4096, 4), np.uint8)
    pixels[:, ::2] = 255, 0, 0, 255
    reduced = read(textured(picture=png(pixels), alphaMode="BLEND")).textures[0].pixels
    assert reduced[0, 0].tolist() == [255, 0, 0, 128]


@pytest.mark.parametrize("uri", ["a b%20c.png", "a%20b%20c.png", "a b c.png"])
def test_external_textures_with_spaces(tmp_path, uri):
    (tmp_path / ("a b%20c.png" if uri == "a b%20c.png" else "a b c.png")).write_bytes(RED_BLUE)
    assert len(read(textured(picture=uri), tmp_path / "thing.glb").textures) == 1


def test_a_texture_in_a_data_uri():
    uri = "data:image/png;base64," + base64.b64encode(RED_BLUE).decode()
    assert len(read(textured(picture=uri)).textures) == 1


def test_an_external_buffer(tmp_path):
    gltf = one_primitive()
    (tmp_path / "the buffer.bin").write_bytes(gltf.binary)
    mesh = load_mesh(blob(gltf.json("the%20buffer.bin"), tmp_path / "thing.gltf"))
    np.testing.assert_array_equal(corners(mesh), [TRIANGLE])


def test_a_buffer_in_a_data_uri_needs_no_folder():
    gltf = one_primitive()
    uri = "data:application/octet-stream;base64," + base64.b64encode(gltf.binary).decode()
    assert len(load_mesh(blob(gltf.json(uri), None)).faces) == 1


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        ("gone.png", "thing.glb: texture gone.png is missing"),
        (b"rubbish", "thing.glb: texture number 0 cannot be read"),
    ],
)
def test_a_missing_or_damaged_texture_is_one_warning(picture, message):
    gltf = textured(picture=picture)
    gltf.primitive(material=0)  # two users of the texture
    with pytest.warns(UserWarning, match=message) as caught:
        mesh = load_mesh(gltf.blob())
    assert len(caught) == 1
    assert mesh.materials[0].texture == -1


def skinned(joint_translation, weights=((1, 0, 0, 0),) * 3, code="f4"):
    gltf = Gltf()
    scale = {"f4": 1, "u1": 255}[code]
    gltf.primitive(
        attributes={
            "JOINTS_0": gltf.accessor([[0, 1, 0, 0]] * 3, "u1"),
            "WEIGHTS_0": gltf.accessor(
                np.array(weights) * scale, code, **({} if code == "f4" else {"normalized": True})
            ),
        },
        node={"skin": 0, "translation": [100, 0, 0]},
    )
    binds = np.tile(np.eye(4), (2, 1, 1))
    binds[0, :3, 3] = 0, 0, 1
    gltf.root["nodes"] += [{"translation": joint_translation}, {}]
    columns = binds.transpose(0, 2, 1).reshape(2, 16)
    gltf.root["skins"] = [{"joints": [1, 2], "inverseBindMatrices": gltf.accessor(columns)}]
    return gltf


@pytest.mark.parametrize("code", ["f4", "u1"])
def test_skins_stand_in_their_rest_pose_and_their_node_does_not_count(code):
    np.testing.assert_allclose(corners(read(skinned([0, 5, 0], code=code)))[0], moved([0, 5, 1]))


def test_skinned_vertices_are_blended_by_their_weights():
    mesh = read(skinned([0, 5, 0], weights=((0.5, 0.5, 0, 0),) * 3))
    np.testing.assert_allclose(corners(mesh)[0], moved([0, 2.5, 0.5]))


def test_morph_targets_have_their_default_weights():
    gltf = Gltf()
    targets = [{"POSITION": gltf.accessor(np.full((3, 3), 1.0))}, {"POSITION": gltf.accessor(np.full((3, 3), 8.0))}]
    gltf.primitive(targets=targets)
    gltf.root["meshes"][0]["weights"] = [0.5, 0]
    np.testing.assert_array_equal(corners(read(gltf))[0], TRIANGLE + 0.5)
    gltf.root["nodes"][0]["weights"] = [0, 1]
    np.testing.assert_array_equal(corners(read(gltf))[0], TRIANGLE + 8)


def refused(gltf, match, path="thing.glb"):
    with pytest.raises(GatlasError, match=match) as caught:
        load_mesh(gltf if hasattr(gltf, "data") else gltf.blob(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["KHR_texture_basisu", "X_new"],
)
def test_what_is_required_and_not_read_is_named(name):
    gltf = one_primitive()
    gltf.root["extensionsRequired"] = [name]
    refused(gltf, f"^thing.glb: needs {name}, which gatlas does not read")


def test_unlit_materials_are_marked():
    gltf = one_primitive(material=0)
    gltf.material(extensions={"KHR_materials_unlit": {}})
    assert read(gltf).materials[0].unlit
    gltf.root["materials"][0] = {}
    assert not read(gltf).materials[0].unlit


def test_materials_that_only_shine_are_no_obstacle():
    gltf = one_primitive()
    gltf.root["extensionsRequired"] = ["KHR_materials_unlit", "KHR_materials_clearcoat"]
    assert len(read(gltf).faces) == 1


def test_draco_that_is_not_required_is_read_from_its_plain_copy():
    gltf = one_primitive(extensions={"KHR_draco_mesh_compression": {}})
    assert len(read(gltf).faces) == 1


def test_ktx2_textures_are_refused():
    refused(textured(picture=b"\xabKTX 20\xbb\r\n\x1a\n"), "texture number 0 is KTX2")
    gltf = textured()
    gltf.root["textures"] = [{"extensions": {"KHR_texture_basisu": {"source": 0}}}]
    refused(gltf, "has textures in KHR_texture_basisu")


def test_an_empty_scene():
    gltf = Gltf()
    refused(gltf, "^thing.glb: has no triangles")
    gltf.primitive(mode=0)
    refused(gltf, "^thing.glb: has no triangles")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vertices_that_are_not_finite(value):
    refused(one_primitive(positions=[[0, 0, 0], [1, 0, 0], [0, value, 0]]), "1 of 3 vertices are not finite")


def test_no_extent():
    refused(one_primitive(positions=np.ones((3, 3))), "has no extent")


def test_a_node_below_itself():
    gltf = one_primitive()
    gltf.root["nodes"] += [{"children": [2]}, {"children": [1]}]
    refused(gltf, "its nodes form a loop")


def test_an_index_out_of_range():
    gltf = Gltf()
    gltf.primitive(indices=gltf.accessor([0, 1, 3], "u1"))
    refused(gltf, "refers to vertex 3 of 3")


def test_a_missing_buffer():
    gltf = one_primitive()
    refused(blob(gltf.json("gone.bin"), "thing.gltf"), "^thing.gltf: its buffer gone.bin is missing$")
    refused(blob(gltf.json("gone.bin"), None), "^standard input: its buffer gone.bin is missing: a mesh from a pipe")


def test_truncated_and_damaged_files():
    content = one_primitive().glb()
    refused(blob(content[:10]), "is cut short")
    refused(blob(content[:-10]), "is cut short")
    refused(blob(content.replace(b'"asset"', b"'asset'")), "its JSON is damaged")
    refused(blob(b'{"asset": {"version": "1.0"}}'), "is glTF 1.0: gatlas reads glTF 2")
    refused(blob(b"[1]"), "not a mesh")
    refused(blob(b"{"), "its JSON is damaged")


def test_rubbish_is_an_error_or_a_mesh():
    content = textured(sampler={}, info={"extensions": {"KHR_texture_transform": {"scale": [1, 1]}}}).glb()
    size = struct.unpack_from("<I", content, 12)[0] + 20
    rng = np.random.default_rng(0)
    for _ in range(1000):
        damaged = bytearray(content)
        for place in rng.integers(20, size, size=rng.integers(1, 4)):
            damaged[place] = rng.choice(list(b'0123456789-{}[]",:eE.')) if rng.random() < 0.7 else rng.integers(256)
        if rng.random() < 0.1:
            damaged = damaged[: rng.integers(len(damaged))]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                assert isinstance(load_mesh(blob(bytes(damaged))), Mesh)
            except GatlasError:
                continue


def test_json_of_the_wrong_types_is_an_error_or_a_mesh():
    """Every value of the document in turn becomes something else."""
    gltf = textured(sampler={"wrapS": 33071}, info={"extensions": {"KHR_texture_transform": {"scale": [1, 1]}}})
    gltf.root |= {"scenes": [{"nodes": [0]}], "scene": 0, "buffers": []}
    text = gltf.json("data:;base64," + base64.b64encode(gltf.binary).decode())

    def replaced(node, other):
        """Copies of a JSON tree with one of its values replaced."""
        yield other
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in items:
            for new in replaced(value, other):
                copy = dict(node) if isinstance(node, dict) else list(node)
                copy[key] = new
                yield copy

    for other in (None, -1, 1e300, 1e999, 7, "x", [], {}, [{}], [None], True):
        for root in replaced(json.loads(text), other):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    load_mesh(blob(json.dumps(root).encode()))
                except GatlasError:
                    continue


def chunked(text, binary, *, pad=b" ", pad_binary=b"\0", counted=True):
    """A GLB whose chunks are padded with what is given, and whether their lengths count the padding."""
    content = b""
    for kind, chunk, padding in ((b"JSON", text, pad), (b"BIN\0", binary, pad_binary)):
        padded = chunk + padding * (-len(chunk) % 4)
        content += struct.pack("<I4s", len(padded if counted else chunk), kind) + padded
    return struct.pack("<4sII", b"glTF", 2, 12 + len(content)) + content


@pytest.mark.parametrize("extra", range(4))
@pytest.mark.parametrize("pad", [b" ", b"\0", b""])
@pytest.mark.parametrize("pad_binary", [b"\0", b""])
@pytest.mark.parametrize("counted", [True, False])
def test_chunks_of_any_padding_are_read(extra, pad, pad_binary, counted):
    gltf = one_primitive(indices=None)
    del gltf.root["meshes"][0]["primitives"][0]["indices"]
    binary = gltf.binary + bytes(extra)
    root = {**gltf.root, "buffers": [{"byteLength": len(binary)}], "extras": "x" * extra}
    content = chunked(json.dumps(root).encode(), binary, pad=pad, pad_binary=pad_binary, counted=counted)
    np.testing.assert_array_equal(corners(load_mesh(blob(content))), [TRIANGLE])


def test_a_last_chunk_that_counts_padding_which_is_not_there_is_whole():
    gltf = one_primitive()
    text = json.dumps({**gltf.root, "buffers": [{"byteLength": len(gltf.binary)}]}).encode()
    content = bytearray(chunked(text, gltf.binary))
    size = content.index(b"BIN\0") - 4
    content[size : size + 4] = struct.pack("<I", len(gltf.binary) + 3)
    np.testing.assert_array_equal(corners(load_mesh(blob(bytes(content)))), [TRIANGLE])
    refused(blob(bytes(content[:-1])), "is cut short")


@pytest.mark.parametrize("wrong", [0, 20, -4, 4, 1000])
def test_a_wrong_length_of_the_file_is_no_harm_where_all_chunks_are_there(wrong):
    content = bytearray(one_primitive().glb())
    content[8:12] = struct.pack("<I", wrong if wrong in (0, 20) else len(content) + wrong)
    np.testing.assert_array_equal(corners(load_mesh(blob(bytes(content)))), [TRIANGLE])


def test_a_file_that_ends_after_its_first_chunk_is_cut_short():
    content = one_primitive().glb()
    refused(blob(content[: content.index(b"BIN\0") - 4]), "is cut short: [0-9]+ of [0-9]+ bytes")


def test_what_follows_the_file_is_not_read():
    content = one_primitive().glb()
    np.testing.assert_array_equal(corners(load_mesh(blob(content + b"garbage of whatever length"))), [TRIANGLE])


def test_hidden_nodes_and_what_is_below_them_are_left_out():
    gltf = one_primitive()
    gltf.primitive(positions=moved([5, 0, 0]), node={"extensions": {"KHR_node_visibility": {"visible": False}}})
    gltf.primitive(positions=moved([7, 0, 0]), node={"extensions": {"KHR_node_visibility": {"visible": True}}})
    gltf.primitive(positions=moved([9, 0, 0]))
    gltf.root["nodes"][1]["children"] = [3]
    gltf.root["extensionsRequired"] = ["KHR_node_visibility"]
    np.testing.assert_array_equal(corners(read(gltf)), [TRIANGLE, moved([7, 0, 0])])


def test_emission_is_read_with_its_strength_and_texture():
    gltf = Gltf()
    strong = {"KHR_materials_emissive_strength": {"emissiveStrength": 4}}
    material = gltf.textured(
        RED_BLUE,
        emissiveFactor=[0.5, 0.25, 0],
        emissiveTexture={"index": gltf.texture(png([[[0, 255, 0]]]))},
        extensions=strong,
    )
    gltf.primitive(attributes={"TEXCOORD_0": gltf.accessor(UVS)}, material=material)
    mesh = read(gltf)
    (found,) = mesh.materials
    assert (found.emissive, found.texture, found.emissive_texture) == ((2, 1, 0), 0, 1)
    assert mesh.emissive_uvs is None
    np.testing.assert_array_equal(mesh.textures[1].pixels, [[[0, 255, 0, 255]]])


def test_an_emissive_texture_has_its_own_coordinates():
    gltf = Gltf()
    info = {
        "index": gltf.texture(RED_BLUE), "texCoord": 1, "extensions": {"KHR_texture_transform": {"offset": [0.5, 0]}}
    }  # fmt: skip
    material = gltf.textured(RED_BLUE, emissiveFactor=[1, 1, 1], emissiveTexture=info)
    attributes = {"TEXCOORD_0": gltf.accessor(UVS), "TEXCOORD_1": gltf.accessor(UVS / 2)}
    gltf.primitive(attributes=attributes, material=material)
    mesh = read(gltf)
    np.testing.assert_allclose(mesh.uvs, UVS)
    np.testing.assert_allclose(mesh.emissive_uvs, UVS / 2 + [0.5, 0])


def test_an_emissive_texture_alone_brings_its_coordinates():
    gltf = Gltf()
    info = {"index": gltf.texture(RED_BLUE), "texCoord": 1}
    material = gltf.material(emissiveFactor=[1, 1, 1], emissiveTexture=info)
    gltf.primitive(attributes={"TEXCOORD_1": gltf.accessor(UVS / 2)}, material=material)
    mesh = read(gltf)
    np.testing.assert_allclose(mesh.uvs, UVS / 2)
    assert (mesh.materials[0].texture, mesh.materials[0].emissive_texture) == (-1, 0)


def test_an_unlit_material_emits_nothing():
    gltf = one_primitive()
    gltf = Gltf()
    material = gltf.material(emissiveFactor=[1, 1, 1], extensions={"KHR_materials_unlit": {}})
    gltf.primitive(material=material)
    assert (read(gltf).materials[0].unlit, read(gltf).materials[0].emissive) == (True, (0, 0, 0))


def test_a_missing_emissive_texture_does_not_light_the_whole_surface():
    gltf = Gltf()
    material = gltf.material(emissiveFactor=[1, 1, 1], emissiveTexture={"index": gltf.texture("gone.png")})
    gltf.primitive(material=material)
    with pytest.warns(UserWarning, match="texture gone.png is missing"):
        mesh = load_mesh(gltf.blob())
    assert mesh.materials[0].emissive == (0, 0, 0)


def test_the_diffuse_color_of_specular_glossiness_is_the_base_color():
    gltf = Gltf()
    glossy = {"diffuseFactor": [0.5, 0.25, 0, 1], "diffuseTexture": {"index": gltf.texture(RED_BLUE)}}
    material = gltf.material(
        extensions={"KHR_materials_pbrSpecularGlossiness": glossy},
        pbrMetallicRoughness={"baseColorFactor": [1, 1, 1, 1]},
    )
    gltf.primitive(attributes={"TEXCOORD_0": gltf.accessor(UVS)}, material=material)
    assert (read(gltf).materials[0].factor, read(gltf).materials[0].texture) == ((0.5, 0.25, 0, 1), 0)


@pytest.mark.parametrize(
    ("extensions", "said"),
    [
        (
            {"KHR_materials_transmission": {"transmissionFactor": 1}},
            r"transparency of glass \(KHR_materials_transmission\)",
        ),
        ({"KHR_materials_transmission": {}, "KHR_materials_clearcoat": {"clearcoatFactor": 1}}, None),
        ({"ACME_paint": {}}, "materials' ACME_paint"),
        ({"ACME_\x1b[2J": {}}, r"materials' ACME_\\x1b\[2J"),
    ],
)
def test_what_a_material_has_and_no_picture_shows_is_said(extensions, said):
    gltf = Gltf()
    gltf.primitive(material=gltf.material(extensions=extensions))
    gltf.primitive(material=gltf.material(extensions=extensions))
    if said is None:
        read(gltf)
    else:
        with pytest.warns(UserWarning, match=f"^thing.glb: not shown: {said}$") as caught:
            load_mesh(gltf.blob())
        assert len(caught) == 1


def test_what_is_not_shown_is_one_line_however_much_it_is():
    gltf = Gltf()
    gltf.primitive(material=gltf.material(extensions={f"ACME_{k}{'x' * 9000}": {} for k in range(40)}))
    with pytest.warns(UserWarning, match="not shown: materials' ACME_0x+….* and 35 more$") as caught:
        load_mesh(gltf.blob())
    assert len(str(caught[0].message)) < 1500


SPLAT = {"attributes": {"POSITION": 0}, "mode": 0, "extensions": {"KHR_gaussian_splatting": {"kernel": "ellipse"}}}


@pytest.mark.parametrize("mode", [{}, {"mode": 0}])
@pytest.mark.parametrize("path", ["box.glb", "box.gltf"])
def test_a_splat_in_gltf_is_named_with_what_to_do(path, mode):
    gltf = Gltf()
    gltf.root["meshes"] = [{"primitives": [{k: v for k, v in SPLAT.items() if k != "mode"} | mode]}]
    gltf.root["nodes"] = [{"mesh": 0}]
    content = gltf.glb() if path.endswith("glb") else gltf.json("a.bin")
    advice = r"a splat in glTF \(KHR_gaussian_splatting\), not a mesh\.\nTo make a mesh of it, run: gatlas mesh"
    with pytest.raises(GatlasError, match=advice):
        load_mesh(blob(content, path))
    with pytest.raises(GatlasError, match="damaged glTF"):
        load_gaussians(blob(content, path))
    assert blob(content, path).kind == "splat"


def test_triangles_next_to_a_splat_are_shown_and_the_splat_is_said():
    gltf = one_primitive()
    gltf.root["meshes"].append({"primitives": [SPLAT]})
    gltf.root["nodes"].append({"mesh": 1})
    assert gltf.blob().kind == "mesh"
    with pytest.warns(UserWarning, match=r"not shown: Gaussians \(KHR_gaussian_splatting\)$"):
        assert len(load_mesh(gltf.blob()).faces) == 1


@pytest.mark.parametrize(
    "name",
    [
        "textures\\my tex.png",
        "Textures/My%20Tex.PNG",
        "C:\\Users\\me\\textures\\my tex.png",
        "file:///home/x/my%20tex.png",
    ],
)
def test_texture_paths_of_other_machines_are_found_and_said(tmp_path, name):
    (tmp_path / "textures").mkdir()
    for place in (tmp_path / "textures", tmp_path):
        (place / "my tex.png").write_bytes(RED_BLUE)
    gltf = Gltf()
    gltf.primitive(attributes={"TEXCOORD_0": gltf.accessor(UVS)}, material=gltf.textured(name))
    source = gltf.blob(tmp_path / "thing.glb")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mesh = load_mesh(source)
    assert len(mesh.textures) == 1
    assert len(caught) == (not name.startswith("textures"))
    assert all(
        "is not there; " in str(each.message) and "next to the mesh is taken" in str(each.message) for each in caught
    )


@pytest.mark.parametrize(
    "how", ["../secret.bin", "{folder}/secret.bin", "file://{folder}/secret.bin", "..\\secret.bin", "%2e%2e/secret.bin"]
)
def test_nothing_outside_the_folder_is_opened(tmp_path, how):
    gltf = one_primitive()
    (tmp_path / "secret.bin").write_bytes(gltf.binary)
    (tmp_path / "model").mkdir()
    name = how.format(folder=tmp_path)
    refused(
        blob(gltf.json(name), tmp_path / "model" / "thing.gltf"), "is missing: only files in the folder of the mesh"
    )
    inside = tmp_path / "model" / "secret.bin"
    inside.write_bytes(gltf.binary)
    with pytest.warns(UserWarning, match="secret.bin next to the mesh is taken"):
        load_mesh(blob(gltf.json(name), tmp_path / "model" / "thing.gltf"))


def test_escape_sequences_in_names_are_not_sent_to_the_terminal(tmp_path):
    gltf = one_primitive()
    refused(blob(gltf.json("gone\x1b[31m.bin"), tmp_path / "thing.gltf"), r"its buffer 'gone\\x1b\[31m.bin' is missing")
    gltf.root["extensionsRequired"] = ["ACME_\x1b]0;x\x07"]
    refused(gltf.blob(), r"needs ACME_\\x1b\]0;x\\x07, which gatlas does not read")


@pytest.mark.parametrize("required", [[["a"]], [{"a": 1}], [None], [3]])
def test_required_extensions_that_are_no_names_are_damage(required):
    gltf = one_primitive()
    gltf.root["extensionsRequired"] = required
    refused(gltf.blob(), "'extensionsRequired' must be a list of names")


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "count"),
    [("cube.glb", 12), ("nulpad.glb", 12), ("unaligned.glb", 12), ("../messages/nodevis.gltf", 12)],
)
def test_sloppy_files_are_read(shared_data, name, count):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load_mesh(shared_data / "cases" / "glb_chunks" / name).faces) == count


@pytest.mark.shared
def test_a_real_splat_in_gltf_is_named(shared_data):
    path = shared_data / "cases" / "khr_gaussian_splatting" / "box.glb"
    with pytest.raises(GatlasError, match="a splat in glTF"):
        load_mesh(path)
    assert len(load_gaussians(path)) == 500
