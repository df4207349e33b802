"""Draco primitives, encoded by DracoPy itself, and the real mesh that needs them."""

import sys
import warnings

import numpy as np
import pytest

from gatlas.errors import GatlasError
from gatlas.io import load_mesh
from gatlas.io.streams import read
from tests.helpers.gltf_files import Gltf

EXTENSION = "KHR_draco_mesh_compression"
VERTICES = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0.5]], dtype=np.float32)
FACES = np.array([[0, 1, 2], [0, 2, 3]], dtype=np.uint32)
UVS = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=np.float32)


def draco(stream, attributes=None):
    """A mesh of one primitive whose accessors have no content of their own."""
    gltf = Gltf()
    accessors = {
        "POSITION": gltf.describe(None, 4, 3, "f4"),
        "TEXCOORD_0": gltf.describe(None, 4, 2, "f4"),
    }
    # DracoPy numbers the attributes so.
    numbers = attributes or {"TEXCOORD_0": 0, "POSITION": 1}
    extension = {"bufferView": gltf.view(stream), "attributes": numbers}
    primitive = {
        "attributes": accessors,
        "indices": gltf.describe(None, 6, 1, "u2"),
        "extensions": {EXTENSION: extension},
    }
    gltf.root["meshes"].append({"primitives": [primitive]})
    gltf.root["nodes"].append({"mesh": 0})
    gltf.root["extensionsRequired"] = [EXTENSION]
    return gltf.blob()


@pytest.fixture(scope="module")
def stream():
    encoder = pytest.importorskip("DracoPy")
    return encoder.encode(VERTICES, FACES, tex_coord=UVS.astype(float), quantization_bits=14)


def test_a_compressed_primitive_is_read(stream):
    mesh = load_mesh(draco(stream))
    corners = mesh.vertices[mesh.faces]
    assert corners.shape == (2, 3, 3)
    order = [np.abs(corners.reshape(-1, 3) - vertex).sum(axis=1).argmin() for vertex in VERTICES]
    np.testing.assert_allclose(corners.reshape(-1, 3)[order], VERTICES, atol=1e-4)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (normals[:, 2] > 0).all()  # the winding stays


def test_without_dracopy_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "DracoPy", None)
    with pytest.raises(GatlasError) as error:
        load_mesh(draco(b"DRACO"))
    assert (
        str(error.value) == f"thing.glb: is compressed with {EXTENSION}: to read it, run: pip install 'gatlas[draco]'"
    )


def refused(blob, words):
    with pytest.raises(GatlasError, match=words) as caught:
        load_mesh(blob)
    assert "\n" not in str(caught.value)


def test_damage_is_one_line(stream):
    refused(draco(b"hello"), "its Draco data cannot be read")
    refused(draco(stream[: len(stream) // 2]), "its Draco data cannot be read")
    refused(draco(stream, {"POSITION": 7}), "its Draco data have no attribute 7 for POSITION")


@pytest.mark.fuzz
def test_damaged_streams_never_crash(stream):
    rng = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(stream[: rng.integers(12, len(stream) + 1)])
        for at in rng.integers(11, len(damaged), 2):
            damaged[at] = rng.integers(256)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                load_mesh(draco(bytes(damaged)))
            except GatlasError as error:
                assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.shared
def test_a_real_compressed_mesh_has_the_bounds_that_its_file_says(shared_data):
    pytest.importorskip("DracoPy")
    blob = read(shared_data / "models" / "market_les-paul.gltf")
    mesh = load_mesh(blob)
    assert (len(mesh.faces), len(mesh.materials)) == (156256, 8)
    # The first accessors of positions say -0.112 .. 0.159, -0.310 .. 0.684, -0.084 .. 0.022 before their nodes.
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), [0.3469, 1.0197, 0.1048], atol=1e-3)
