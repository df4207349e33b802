"""Facts and faults of files of every kind."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.inspection import inspect
from gatlas.io.splats import ply_chunks
from gatlas.types import Origin
from tests.helpers.atlas_sets import random_atlas
from tests.helpers.command_line import run_here
from tests.helpers.gltf_files import Gltf
from tests.helpers.splat_files import gaussians_of

NORMALIZED = Origin("pot", (1.0, 2.0, 3.0), 4.0, True)


def ball(n=200, origin=NORMALIZED, **changes):
    made = gaussians_of(n, origin=origin)
    means = 0.7 * made.means / np.linalg.norm(made.means, axis=1, keepdims=True)
    return replace(made, means=means.astype(np.float32), scales=0.1 * made.scales, **changes)


def saved(path, gaussians):
    io.save_gaussians(path, gaussians)
    return str(path)


@pytest.mark.parametrize("name", ["x.ply", "x.compressed.ply", "x.spz", "x.sog", "x.glb"])
def test_a_sound_splat_has_facts_and_no_faults(tmp_path, name):
    ours = ball()
    found = inspect(saved(tmp_path / name, ours))
    assert found.findings == []
    assert (found.kind, found.facts["Gaussians"], found.facts["SH degree"]) == ("splat", 200, 0)
    assert found.facts["name"] == "pot"
    assert found.facts["source"] == {"center": [1, 2, 3], "scale": 4}
    np.testing.assert_allclose(found.facts["bounds"]["from"], ours.means.min(axis=0), atol=2e-3)
    np.testing.assert_allclose(found.facts["opacity"]["50%"], np.median(ours.opacities), atol=0.01)
    anisotropy = np.median(ours.scales.max(axis=1) / ours.scales.min(axis=1))
    np.testing.assert_allclose(found.facts["anisotropy"]["50%"], anisotropy, rtol=0.05)


def faults(found):
    return [finding.fault for finding in found.findings]


def test_floaters_and_invisible_gaussians_are_found_and_the_remedies_help(tmp_path):
    opacities = np.full(200, 0.5, np.float32)
    opacities[:60] = 0.001
    means = ball().means.copy()
    means[-1] = 50
    path = saved(tmp_path / "x.ply", replace(ball(origin=Origin()), means=means, opacities=opacities))
    found = inspect(path)
    assert faults(found) == [
        "30% of the Gaussians are invisible (opacity below 1/255)",
        "0.71% of the visible Gaussians are floaters, far from the rest",
    ]
    remedy = found.findings[1].remedy.removeprefix("gatlas ").replace("OUTPUT.ply", "y.ply").split()
    assert run_here(remedy, tmp_path).returncode == 0
    assert len(io.load_gaussians(tmp_path / "y.ply")) == 199


def test_invalid_gaussians_are_counted_by_their_faults(tmp_path):
    path = tmp_path / "x.ply"
    content = bytearray((io.read(saved(path, ball()))).data)
    content[-16:] = bytes(16)  # the last quaternion
    content[-4 * 14 - 4 * 14 : -4 * 14 - 4 * 13] = np.float32(np.nan).tobytes()
    path.write_bytes(content)
    found = inspect(str(path))
    assert found.facts["Gaussians"] == 200
    assert faults(found) == [
        "2 of its 200 Gaussians cannot be shown: 1 with a position that is NaN or infinite, 1 with a rotation that is "
        "the zero quaternion, NaN or infinite"
    ]
    assert found.findings[0].remedy == f"gatlas convert {path} --drop-invalid -o OUTPUT.ply"


def test_a_header_that_no_longer_holds_is_found(tmp_path):
    moved = replace(ball(), means=ball().means + np.float32(100))
    assert "another program moved or scaled it" in faults(inspect(saved(tmp_path / "x.ply", moved)))[-1]


def test_a_large_splat_is_read_in_parts_with_the_same_facts(tmp_path, monkeypatch):
    path = saved(tmp_path / "x.ply", ball(origin=Origin("a")))
    whole = inspect(path)
    monkeypatch.setattr(ply_chunks, "ROWS", 64)
    parts = inspect(path)
    for key in ("Gaussians", "bounds", "opacity", "anisotropy", "floaters"):
        assert parts.facts[key] == whole.facts[key], key
    (tmp_path / "x.ply").write_bytes(io.read(path).data[:-1])
    assert faults(inspect(path)) == ["truncated: header promises 200 Gaussians, there are 199"]


def test_the_vertical_axis_of_a_header_is_noted(tmp_path):
    path = saved(tmp_path / "x.ply", ball())
    content = io.read(path).data
    (tmp_path / "x.ply").write_bytes(content.replace(b"comment gatlas frame y-down", b"comment Vertical Axis: z"))
    assert inspect(path).notes == [f"{path}: read as z up, as its header says ('Vertical Axis: z'); --up overrides it"]


def test_atlases_statistics_pictures_and_meshes(tmp_path):
    io.save_atlas(tmp_path / "a.npz", random_atlas(size=8))
    assert inspect(str(tmp_path / "a.npz")).facts["size"] == [8, 8]
    io.save_image(tmp_path / "a.png", np.zeros((3, 5, 4), np.float32))
    assert inspect(str(tmp_path / "a.png")).facts["size"] == [5, 3]
    mesh = Gltf()
    mesh.primitive()
    (tmp_path / "m.glb").write_bytes(mesh.glb())
    found = inspect(str(tmp_path / "m.glb"))
    assert (found.kind, found.facts["triangles"], found.findings) == ("mesh", 1, [])


def test_a_manifest_counts_the_newest_line_of_each_object(tmp_path):
    lines = [
        {"key": "a", "status": "failed", "error": "no memory"},
        {"key": "b", "status": "failed", "error": "a.glb: damaged"},
        {"key": "a", "status": "ok"},
    ]
    text = "\n".join(map(json.dumps, lines)) + '\n{"key": "c", "sta'
    (tmp_path / "manifest-0-of-1.jsonl").write_text(text)
    for name in (tmp_path, tmp_path / "manifest-0-of-1.jsonl"):
        found = inspect(str(name))
        assert found.facts == {"objects": 2, "status": {"failed": 1, "ok": 1}}
        assert faults(found) == ["1 objects failed (b: a.glb: damaged)"]


def test_a_folder_of_views_says_which_pictures_are_missing(tmp_path):
    frame = {"transform_matrix": np.eye(4).tolist()}
    frames = [{**frame, "file_path": f"{i}.png"} for i in range(2)]
    index = {"camera_angle_x": 0.5, "w": 4, "h": 4, "frames": frames}
    (tmp_path / "transforms.json").write_text(json.dumps(index))
    io.save_image(tmp_path / "0.png", np.zeros((4, 4, 3), np.float32))
    found = inspect(str(tmp_path))
    assert (found.kind, found.facts["cameras"]) == ("views", 2)
    assert faults(found) == ["1 of 2 pictures are missing: 1.png"]


def test_a_model_folder_without_weights_is_found(tmp_path):
    (tmp_path / "gatlas.json").write_text('{"format": 1, "system": "x", "config": {"size": 8}}')
    found = inspect(str(tmp_path))
    assert (found.kind, found.facts["system"], found.facts["config"]) == ("model", "x", {"size": 8})
    assert faults(found) == ["it has no weights (*.safetensors)"]


@pytest.mark.parametrize("content", [b"hello", b"\x4b\x67\0\0" + bytes(60), b"ply\nformat ascii 1.0\nend_header\n"])
def test_a_file_that_cannot_be_read_is_said_to_be_so(tmp_path, content):
    (tmp_path / "x.ply").write_bytes(content)
    found = inspect(str(tmp_path / "x.ply"))
    assert found.kind == "unreadable"
    assert len(found.findings) == 1


def test_no_such_file():
    with pytest.raises(GatlasError, match="there is no such file or folder"):
        inspect("nothing.ply")


def test_the_verb_exits_with_1_where_it_is_to_check(tmp_path):
    saved(tmp_path / "good.ply", ball())
    saved(tmp_path / "bad.ply", replace(ball(), opacities=np.zeros(200, np.float32)))
    assert run_here(["info", "good.ply", "bad.ply"], tmp_path).returncode == 0
    assert run_here(["info", "--check", "good.ply"], tmp_path).returncode == 0
    checked = run_here(["info", "--check", "--json", "good.ply", "bad.ply"], tmp_path)
    assert checked.returncode == 1
    good, bad = json.loads(checked.stdout)
    assert (good["name"], good["findings"]) == ("good.ply", [])
    assert bad["findings"][0]["fault"] == "no Gaussian is visible: all opacities are below 1/255"
    (tmp_path / "x.txt").write_text("hello")
    assert run_here(["info", "x.txt"], tmp_path).returncode == 1


def test_a_look_at_a_splat_imports_neither_torch_nor_numba(tmp_path):
    path = saved(tmp_path / "x.ply", ball())
    code = (
        "import sys; from gatlas.inspection import inspect; inspect(sys.argv[1]); "
        "assert not {'torch', 'numba', 'scipy', 'PIL'} & set(sys.modules), set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, path], check=True)
