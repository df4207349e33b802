"""The meshopt decoder: the specification's own examples, streams built by hand, and meshoptimizer as the judge."""

import warnings

import numpy as np
import pytest

from gatlas.errors import GatlasError
from gatlas.io import load_mesh
from gatlas.io.meshes.gltf_accessors import read_accessor, read_indices
from gatlas.io.meshes.gltf_document import Document
from gatlas.io.meshes.meshopt import decompress
from gatlas.io.streams import read
from tests.helpers.gltf_files import TRIANGLE, Gltf


def attributes(content, count, stride, filter_name="NONE"):
    return decompress(bytes(content), mode="ATTRIBUTES", count=count, stride=stride, filter_name=filter_name)


def version_0(elements):
    """A stream of at most 16 elements, every delta a whole byte."""
    elements = np.asarray(elements, dtype=np.uint8)
    count, stride = elements.shape
    deltas = np.diff(elements.astype(int), axis=0, prepend=elements[:1].astype(int)).astype(np.uint8)
    zigzag = np.where(deltas & 128, ~(deltas << 1), deltas << 1).astype(np.uint8)
    padded = np.zeros((16, stride), dtype=np.uint8)
    padded[:count] = zigzag
    columns = b"".join(b"\x03" + padded[:, k].tobytes() for k in range(stride))
    return b"\xa0" + columns + bytes(max(32 - stride, 0)) + elements[0].tobytes()


def test_the_example_of_the_specification():
    """Sixteen 4-bit deltas, of which the fourth and fifth are explicit."""
    deltas = bytes.fromhex("175ff0bc77a9210034b5")
    stream = b"\xa0" + b"\x02" + deltas + b"\x00" * 3 + bytes(32)
    out = np.frombuffer(attributes(stream, 16, 4), np.uint8).reshape(16, 4)
    expected = np.cumsum([-1, -4, -3, 26, -91, 0, -6, 6, -4, -4, 5, -5, 1, -1, 0, 0])
    np.testing.assert_array_equal(out[:, 0], expected % 256)
    assert not out[:, 1:].any()


def test_the_control_modes_of_version_1():
    """Byte 0: 1-bit deltas; byte 1: 1-bit with the other control mode; byte 2: zeros; byte 3: literal."""
    controls = 0 | 1 << 2 | 2 << 4 | 3 << 6
    first = b"\x01" + b"\x01\x80" + bytes([2, 4])  # one group in mode 1: bits 0 and 15 are explicit
    second = b"\x00" + b"\x00\x00"
    literal = bytes([2] * 16)
    tail = bytes(24 - 5) + bytes([10, 20, 30, 40]) + b"\x00"
    out = np.frombuffer(attributes(b"\xa1" + bytes([controls]) + first + second + literal + tail, 16, 4), np.uint8)
    out = out.reshape(16, 4)
    np.testing.assert_array_equal(out[:, 0], [11] * 15 + [13])
    np.testing.assert_array_equal(out[:, 1:3], np.tile([20, 30], (16, 1)))
    np.testing.assert_array_equal(out[:, 3], 41 + np.arange(16))


def words_of(stored, baseline, code):
    """Two elements of one channel, of literal deltas."""
    columns = np.asarray(stored).view(np.uint8).reshape(2, 4)
    stream = b"\xa1\xff" + b"".join(columns[:, k].tobytes() for k in range(4)) + bytes(19)
    return attributes(stream + np.asarray(baseline).tobytes() + bytes([code]), 2, 4)


def test_16_bit_deltas_of_version_1():
    """Zigzag: 0 1 2 stand for 0 -1 1."""
    out = words_of(np.array([[0, 1], [2, 0]], dtype="<u2"), np.array([5, 0], dtype="<u2"), 1)
    np.testing.assert_array_equal(np.frombuffer(out, "<u2"), [5, 65535, 6, 65535])


@pytest.mark.parametrize(("rotation", "stored"), [(0, 0x1234), (8, 0x123400), (12, 0x1234000)])
def test_32_bit_xors_of_version_1(rotation, stored):
    """The encoder turned the XOR to the left."""
    out = words_of(np.array([[stored], [0]], dtype="<u4"), np.array([7], dtype="<u4"), rotation << 4 | 2)
    np.testing.assert_array_equal(np.frombuffer(out, "<u4"), [0x1234 ^ 7] * 2)


def test_whole_bytes_of_version_0():
    elements = np.random.default_rng(0).integers(0, 256, (16, 4)).astype(np.uint8)
    assert attributes(version_0(elements), 16, 4) == elements.tobytes()


def test_triangles_by_edge_and_by_vertex():
    """A fan: three new vertices, then the last edge and a new one, then an edge and a vertex of the ring."""
    table = bytes([0x00]) + bytes(15)
    stream = b"\xe1" + bytes([0xF0, 0x00, 0x02]) + table
    indices = np.frombuffer(decompress(stream, mode="TRIANGLES", count=9, stride=4), "<u4")
    # The newest edge of (0 1 2) is (0 2); that of (0 2 3) is (0 3); two before vertex 3 came 1.
    np.testing.assert_array_equal(indices, [0, 1, 2, 0, 2, 3, 0, 3, 1])


def test_explicit_triangles():
    """0xff with three explicit indices: deltas 5, then -1, then +3, zigzag."""
    stream = b"\xe1" + b"\xff" + b"\xff" + bytes([10, 1, 6]) + bytes(16)
    indices = decompress(stream, mode="TRIANGLES", count=3, stride=2)
    np.testing.assert_array_equal(np.frombuffer(indices, "<u2"), [5, 4, 7])


def test_indices_follow_two_baselines():
    """The lowest bit picks the baseline; 0x81 0x04 is 0x201, the specification's example."""
    stream = b"\xd1" + bytes([4 << 1 << 1, 1 | 3 << 2, 2, 0x81, 0x04]) + bytes(4)
    # 16: baseline 0, +4; 13: baseline 1, +3; 2: baseline 0, ~0 = -1; 0x201: baseline 1, +128.
    indices = decompress(stream, mode="INDICES", count=4, stride=4)
    np.testing.assert_array_equal(np.frombuffer(indices, "<u4"), [4, 3, 3, 131])


def filtered(words, code, filter_name):
    words = np.asarray(words, dtype=code)
    stream = version_0(words.view(np.uint8).reshape(len(words), -1))
    return np.frombuffer(attributes(stream, len(words), words.itemsize * words.shape[1], filter_name), code)


def test_octahedral_vectors():
    out = filtered([[0, 0, 127, 7], [127, 0, 127, -3], [64, -127, 127, 0]], "<i1", "OCTAHEDRAL").reshape(-1, 4)
    np.testing.assert_array_equal(out[:2], [[0, 0, 127, 7], [127, 0, 0, -3]])
    x, y = 64 / 127, -1.0
    z = 1 - abs(x) - abs(y)
    vector = np.array([x + z, y - z, z])
    np.testing.assert_allclose(out[2, :3], 127 * vector / np.linalg.norm(vector), atol=0.51)


def test_quaternions():
    """10 bits; the index of the largest in the two lowest bits of the last: a cycle of the components."""
    out = filtered([[0, 0, 0, 511], [0, 511, 0, 508]], "<i2", "QUATERNION").reshape(-1, 4)
    np.testing.assert_array_equal(out[0], [0, 0, 0, 32767])
    np.testing.assert_allclose(out[1] / 32767, [np.sqrt(0.5), 0, np.sqrt(0.5), 0], atol=1e-4)


def test_exponentials_are_exact():
    words = np.array([[(-3 << 24) | 5, (2 << 24) | (-7 & 0xFFFFFF)]], dtype=np.int64).astype(np.int32)
    out = attributes(version_0(words.view(np.uint8)), 1, 8, "EXPONENTIAL")
    np.testing.assert_array_equal(np.frombuffer(out, "<f4"), [0.625, -28])


def test_colors():
    """8 bits, which the highest bit of alpha tells."""
    out = np.frombuffer(attributes(version_0([[100, 20, 246, 0xC0]]), 1, 4, "COLOR"), np.uint8)
    # cg = -10: r = 130, g = 90, b = 90 of 255; alpha is 0x40 in 7 bits, doubled
    np.testing.assert_array_equal(out, [130, 90, 90, 128])


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("stride", [4, 12, 64, 256])
def test_attributes_that_meshoptimizer_wrote(version, stride):
    judge = pytest.importorskip("meshoptimizer")
    rng = np.random.default_rng(stride)
    judge.encode_vertex_version(version)
    for count in (1, 16, 17, 300):
        noise = rng.integers(0, 256, (count, stride)).astype(np.uint8)
        smooth = (np.cumsum(rng.integers(-3, 4, (count, stride)), axis=0) % 256).astype(np.uint8)
        floats = np.cumsum(rng.normal(size=(count, stride // 4)), axis=0).astype(np.float32).view(np.uint8)
        for elements in (noise, smooth, np.ascontiguousarray(floats)):
            stream = bytes(judge.encode_vertex_buffer(elements, count, stride))
            assert stream[0] == 0xA0 + version
            assert attributes(stream, count, stride) == elements.tobytes()


def test_indices_that_meshoptimizer_wrote():
    judge = pytest.importorskip("meshoptimizer")
    rng = np.random.default_rng(0)
    judge.encode_index_version(1)
    grid = np.arange(900).reshape(30, 30)
    cells = [grid[:-1, :-1], grid[:-1, 1:], grid[1:, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]]
    for indices in (np.stack(cells, axis=-1).reshape(-1), rng.integers(0, 500, 1800)):
        indices = indices.astype(np.uint32)
        stream = bytes(judge.encode_index_buffer(indices, len(indices), int(indices.max()) + 1))
        ours = np.frombuffer(decompress(stream, mode="TRIANGLES", count=len(indices), stride=4), "<u4")
        np.testing.assert_array_equal(ours, np.ravel(judge.decode_index_buffer(len(indices), 4, stream)))
        stream = bytes(judge.encode_index_sequence(indices, len(indices), int(indices.max()) + 1))
        assert decompress(stream, mode="INDICES", count=len(indices), stride=4) == indices.tobytes()


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        (b"", {}, "wrong header"),
        (b"\xa2" + bytes(40), {}, "wrong header"),
        (b"\xa0" + bytes(34), {}, "cut short or too long"),
        (b"\xa0" + bytes(38), {}, "cut short or too long"),
        (b"\xa0" + bytes(40), {"count": 1 << 40}, "cut short or too long"),
        (b"\xa0", {"stride": 6}, "cannot be 6 bytes"),
        (b"\xa0", {"filter_name": "QUATERNION"}, "cannot be 4 bytes with the filter QUATERNION"),
        (b"\xa0", {"mode": "POINTS"}, "there is no meshopt mode 'POINTS'"),
        (b"\xa1\xaa" + bytes(23) + b"\x03", {}, "unknown channel mode 3"),
        (b"\xe1\x00" + bytes(16), {"mode": "TRIANGLES", "count": 3}, "damaged"),  # an edge that has not been
        (b"\xe1", {"mode": "TRIANGLES", "count": 4}, "cannot have 4 elements"),
        (b"\xd1\xff\xff\xff\xff\xff\x01" + bytes(4), {"mode": "INDICES", "count": 1}, "damaged"),
        (b"\xd1", {"mode": "INDICES", "count": 1}, "cut short"),
    ],
)
def test_damage_is_a_value_error(content, options, words):
    with pytest.raises(ValueError, match=words):
        decompress(content, **{"mode": "ATTRIBUTES", "count": 1, "stride": 4, **options})


def compressed(name="KHR_meshopt_compression", **changes):
    """A triangle whose positions are compressed and whose plain copy is missing."""
    positions = TRIANGLE.astype("<f4").view(np.uint8).reshape(3, 12)
    gltf = Gltf()
    gltf.primitive()
    stream = version_0(positions)
    view = gltf.root["bufferViews"][0]
    source = gltf.root["bufferViews"].pop(gltf.view(stream))
    extension = {"buffer": 0, "byteOffset": source["byteOffset"], "byteLength": len(stream), "byteStride": 12}
    view.update(buffer=1, byteStride=12)
    view["extensions"] = {name: {**extension, "count": 3, "mode": "ATTRIBUTES", **changes}}
    gltf.root["extensionsRequired"] = [name]
    return gltf


@pytest.mark.parametrize("name", ["EXT_meshopt_compression", "KHR_meshopt_compression"])
def test_a_compressed_view_is_read(name):
    np.testing.assert_array_equal(load_mesh(compressed(name).blob()).vertices, TRIANGLE)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"count": 4}, "4 elements of 12 bytes are no buffer view of 36 bytes"),
        ({"byteLength": 60}, "its meshopt stream is cut short or too long"),
        ({"byteOffset": 9999}, "is cut short"),
        ({"mode": "LINES"}, "no meshopt mode 'LINES'"),
        ({"filter": "COLOR"}, "cannot be 12 bytes with the filter COLOR"),
    ],
)
def test_a_damaged_view_is_one_line(changes, words):
    with pytest.raises(GatlasError, match=words) as caught:
        load_mesh(compressed(**changes).blob())
    assert "\n" not in str(caught.value)


@pytest.mark.fuzz
def test_damaged_streams_never_crash():
    rng = np.random.default_rng(0)
    streams = [
        ("ATTRIBUTES", version_0(rng.integers(0, 256, (16, 8))), 16, 8),
        ("ATTRIBUTES", b"\xa1" + bytes([0b11100100, 0b11100100]) + rng.bytes(80), 16, 8),
        ("TRIANGLES", b"\xe1" + rng.bytes(40), 48, 4),
        ("INDICES", b"\xd1" + rng.bytes(40), 20, 4),
    ]
    for mode, stream, count, stride in streams:
        for _ in range(300):
            damaged = bytearray(stream[: rng.integers(1, len(stream) + 1)])
            for at in rng.integers(1, max(len(damaged), 2), 3):
                if at < len(damaged):
                    damaged[at] = rng.integers(256)
            try:
                content = decompress(bytes(damaged), mode=mode, count=count, stride=stride)
            except ValueError:
                continue
            assert len(content) == count * stride


@pytest.mark.shared
def test_the_cubes_of_the_khronos_test_agree(shared_data):
    """Five rows of cubes: the first is plain, the others are its copies under more and more compression."""
    document = Document(read(shared_data / "models" / "MeshoptCubeTest" / "MeshoptCubeTest.gltf"))
    cubes = {}
    for node in document.root["nodes"]:
        if node["name"].startswith("Cube_"):
            (primitive,) = document.root["meshes"][node["mesh"]]["primitives"]
            content = {"indices": read_indices(document, primitive["indices"])}
            for name, accessor in primitive["attributes"].items():
                content[name] = read_accessor(document, accessor, (3, 4))
            x, y, _ = node["translation"]
            scale = node.get("scale", [1, 1, 1])
            content["POSITION"] = content["POSITION"] * scale
            cubes[x, y] = content
    assert len(cubes) == 25
    for (x, _), content in cubes.items():
        plain = cubes[x, 16]
        corners = {name: values[content["indices"]] for name, values in content.items() if name != "indices"}
        wanted = {name: values[plain["indices"]] for name, values in plain.items() if name != "indices"}
        for name, values in wanted.items():
            # A triangle may begin at another of its corners.
            cycles = [np.roll(corners[name].reshape(12, 3, -1), k, axis=1) for k in range(3)]
            errors = np.min([np.abs(c - values.reshape(12, 3, -1)).max(axis=(1, 2)) for c in cycles], axis=0)
            assert errors.max() < (1e-6 if name == "POSITION" else 0.012), name


@pytest.mark.shared
def test_the_compressed_pirate_agrees_with_meshoptimizer(shared_data):
    judge = pytest.importorskip("meshoptimizer")
    document = Document(read(shared_data / "models" / "pirate_meshopt.glb"))
    for number, view in enumerate(document.root["bufferViews"]):
        extension = view["extensions"]["EXT_meshopt_compression"]
        start, size = extension.get("byteOffset", 0), extension["byteLength"]
        stream = document.buffer(0)[start : start + size]
        count, stride = extension["count"], extension["byteStride"]
        if extension["mode"] == "TRIANGLES":
            theirs = np.ravel(judge.decode_index_buffer(count, 4, stream)).astype("<u2")
        elif extension.get("filter") != "OCTAHEDRAL":
            theirs = np.ravel(judge.decode_vertex_buffer(count, stride, stream))
        else:
            continue
        assert document.view(number) == theirs.tobytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load_mesh(document.blob).faces) == 5010
