"""The kind of a stream is known by its content, never by a flag."""

import io as stdio
from pathlib import Path

import numpy as np
import pytest

from gatlas import io

PLY = (
    b"ply\nformat ascii 1.0\nelement vertex 1\n%selement face %d\nproperty list uchar int vertex_indices\nend_header\n"
)
XYZ = b"".join(b"property float %s\n" % axis for axis in (b"x", b"y", b"z"))
SPLAT = b"".join(b"property float %s\n" % name for name in (b"opacity", b"scale_0", b"rot_0"))


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (PLY % (XYZ + SPLAT, 0), "splat"),
        ((PLY % (XYZ + SPLAT, 0)).replace(b"\n", b"\r\n"), "splat"),
        (PLY % (XYZ, 3), "mesh"),
        (PLY % (XYZ, 0), "points"),
        (PLY % (b"property uint packed_position\n", 0), "splat"),
        (PLY % (b"", 0), "unknown"),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xf3s\x0f\x0e\x00\xb5h\xf4\xc2\x04\x00\x00\x00", "splat"),
        (b"glTF\x02\x00\x00\x00", "mesh"),
        (b'{"asset": {"version": "2.0"}}', "mesh"),
        (b'\xef\xbb\xbf\n {"frames": []}', "cameras"),
        (b"[1, 2]", "json"),
        (b'{"frames": [', "json"),
        (b"# a comment\nmtllib a.mtl\nv 0 0 1.5e-3\nf 1 1 1\n", "mesh"),
        (b"# a heading\nversion 1 2 3\n", "unknown"),
        (b"\x89PNG\r\n\x1a\n", "image"),
        (b"\xff\xd8\xff\xe0", "image"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image"),
        (b"PK\x03\x04 cut short", "npz"),
        (b"hello", "unknown"),
    ],
)
def test_the_content_tells_the_kind(data, kind):
    assert io.Blob("x", data).kind == kind


@pytest.mark.parametrize(
    ("names", "kind"),
    [(("offset", "rotation"), "atlas"), (("mean", "m2"), "stats"), (("a",), "npz")],
)
def test_the_arrays_tell_the_kind_of_an_npz(names, kind):
    payload = stdio.BytesIO()
    np.savez(payload, **dict.fromkeys(names, np.zeros(1)))
    assert io.Blob("x", payload.getvalue()).kind == kind


def test_a_format_without_a_signature_is_known_by_its_name_in_a_shard_too():
    data = bytes(32)
    assert io.Blob("a.splat", data, Path("a.splat")).kind == "splat"
    assert io.Blob("set.tar:a.SPLAT", data, key="a").kind == "splat"
    assert io.Blob("standard input", data).kind == "unknown"


@pytest.mark.shared
def test_real_files_are_told_apart(shared_data):
    models = [p for p in (shared_data / "models").rglob("*") if p.suffix in (".glb", ".gltf", ".obj")]
    assert models
    assert {io.read(path).kind for path in models} == {"mesh"}
    assert io.read(shared_data / "models" / "bunny_no_texture.ply").kind == "mesh"
    assert io.read(shared_data / "splats" / "gaussianverse_9350303.ply").kind == "splat"
    assert io.read(shared_data / "splats" / "playcanvas_guitar.compressed.ply").kind == "splat"
