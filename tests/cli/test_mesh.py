"""gatlas mesh: a splat or an atlas to a mesh that other programs open."""

import io as stdio
import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import trimesh

from gatlas import io
from gatlas.cli import mesh as cli_mesh
from gatlas.geometry.frames import scaled
from gatlas.io.streams import Blob
from gatlas.render import mesh_quality
from gatlas.types import Origin
from tests.cli.test_errors import only_message
from tests.helpers.egg import AXES, CENTER, SCALE, ellipsoid

SMALL = ("--views", 12, "--resolution", 64, "--grid", 40, "--triangles", 300, "--texture", 32)


@pytest.fixture
def egg(tmp_path, egg_bytes):
    (tmp_path / "egg.ply").write_bytes(egg_bytes)
    return "egg.ply"


@pytest.fixture
def measured_coarsely(monkeypatch):
    """Measure a mesh in few small pictures and at few points."""
    for name, value in {"VIEWS": 3, "SIDE": 64, "POINTS": 5000, "LOOKS": 12, "LOOK_SIDE": 64}.items():
        monkeypatch.setattr(mesh_quality, name, value)


def bounds(mesh):
    return np.array([np.asarray(mesh.vertices).min(axis=0), np.asarray(mesh.vertices).max(axis=0)])


OWN_BOUNDS = np.array([-AXES, AXES]) * SCALE + np.array(CENTER)


@pytest.mark.parametrize("name", ["egg.glb", "egg.obj", "mesh.ply"])
def test_a_mesh_in_the_object_s_own_units_in_every_format(gatlas, egg, tmp_path, name):
    gatlas("mesh", egg, *SMALL, "-o", name)
    made = io.load_mesh(tmp_path / name)
    assert 100 < len(made.faces) <= 300
    np.testing.assert_allclose(bounds(made), OWN_BOUNDS, atol=0.1 * SCALE)
    loaded = trimesh.load(tmp_path / name)
    np.testing.assert_allclose(loaded.bounds, bounds(made), rtol=1e-5)
    welded = trimesh.load(tmp_path / name, force="mesh", process=True)
    welded.merge_vertices(merge_tex=True, merge_norm=True)
    assert welded.is_watertight
    assert welded.volume > 0.5 * 4 / 3 * np.pi * AXES.prod() * SCALE**3  # wound outward
    assert bool(made.textures) == (name != "mesh.ply")


def colors_towards(mesh, axis):
    """The mean color of the faces that look along an axis."""
    from gatlas.meshes.colors import face_normals, unit
    from gatlas.meshes.sample import surface_colors

    chosen = np.flatnonzero(unit(face_normals(mesh))[:, axis] > 0.9)
    return surface_colors(mesh, chosen, np.full((len(chosen), 3), 1 / 3), "unlit")[:, :3].mean(axis=0)


@pytest.mark.parametrize("texture", [32, 0])
def test_the_colors_are_where_the_splat_has_them(gatlas, egg, tmp_path, texture):
    gatlas("mesh", egg, *SMALL, "--texture", texture, "-o", "egg.glb")
    mesh = io.load_mesh(tmp_path / "egg.glb")
    assert mesh.materials[0].unlit
    for axis in range(3):
        expected = np.full(3, 0.5)
        expected[axis] = 0.9
        np.testing.assert_allclose(colors_towards(mesh, axis), expected, atol=0.1)


def test_standard_output_is_glb_and_an_atlas_is_decoded(gatlas, egg, tmp_path):
    gatlas("atlas-encode", egg, "--size", 30, "-o", "egg.npz")
    decoded = gatlas("atlas-decode", "egg.npz").stdout
    from_splat = gatlas("mesh", *SMALL, stdin=decoded).stdout
    assert from_splat.startswith(b"glTF")
    assert gatlas("mesh", *SMALL, stdin=(tmp_path / "egg.npz").read_bytes()).stdout == from_splat
    assert len(io.load_mesh(Blob("-", from_splat)).textures) == 1


def test_the_same_bytes_again_and_on_any_number_of_threads(gatlas, egg):
    made = {gatlas("mesh", egg, *SMALL, "--threads", threads).stdout for threads in (1, 2, 1)}
    assert len(made) == 1


def test_up_turns_the_object(gatlas, egg, tmp_path):
    gatlas("mesh", egg, *SMALL, "-o", "stored.glb")
    (tmp_path / "plain.ply").write_bytes(
        b"".join(line + b"\n" for line in (tmp_path / egg).read_bytes().split(b"\n") if b"gatlas" not in line)[:-1]
    )
    gatlas("mesh", "plain.ply", *SMALL, "--up", "z", "-o", "turned.glb")
    made = bounds(io.load_mesh(tmp_path / "turned.glb"))
    extents = made[1] - made[0]
    np.testing.assert_allclose(extents, 2 * AXES[[0, 2, 1]], atol=0.15)  # the file's z is up, its y lies


@pytest.mark.usefixtures("measured_coarsely")
def test_a_report_holds_what_was_measured_and_a_reference_what_it_is_measured_against(gatlas, egg, tmp_path):
    sphere = trimesh.creation.icosphere(3)
    sphere.apply_transform(np.diag([*AXES * SCALE, 1]))
    sphere.apply_translation(CENTER)
    sphere.export(tmp_path / "source.ply")
    run = gatlas("mesh", egg, *SMALL, "--reference", "source.ply", "--report", "egg.json", "-o", "egg.glb")
    report = json.loads((tmp_path / "egg.json").read_text())
    assert report["watertight"] is True
    assert report["triangles"] == len(io.load_mesh(tmp_path / "egg.glb").faces)
    assert report["splat"]["iou"] > 0.85
    assert report["splat"]["psnr"] > 20
    assert report["reference"]["iou"] > 0.93
    assert report["reference"]["chamfer"] < 0.05
    assert report["arguments"]["triangles"] == 300
    assert "watertight; against the splat IoU 0." in run.stderr
    assert "against source.ply IoU 0.9" in run.stderr


@pytest.mark.usefixtures("measured_coarsely")
def test_a_reference_with_another_vertical_axis(gatlas, egg, tmp_path):
    sphere = trimesh.creation.icosphere(3)
    sphere.apply_transform(np.diag([*AXES * SCALE, 1]))
    sphere.apply_translation(CENTER)
    lying = np.array([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
    sphere.apply_transform(lying)
    sphere.export(tmp_path / "source.ply")
    words = ["mesh", egg, *SMALL, "--reference", "source.ply", "--reference-up", "z", "--report", "egg.json"]
    gatlas(*words, "-o", "egg.glb")
    assert json.loads((tmp_path / "egg.json").read_text())["reference"]["iou"] > 0.93


def test_lit_says_what_it_is(gatlas, egg, tmp_path):
    run = gatlas("mesh", egg, *SMALL, "--lit", "-o", "egg.glb")
    assert "--lit: viewers add their light to colors that hold the light of the splat already" in run.stderr
    assert not io.load_mesh(tmp_path / "egg.glb").materials[0].unlit
    run = gatlas("mesh", egg, *SMALL, "--lit", "--unlit", "-o", "unlit.glb")
    assert "--lit" not in run.stderr
    assert io.load_mesh(tmp_path / "unlit.glb").materials[0].unlit


def test_ply_says_that_it_has_no_texture(gatlas, egg):
    assert "PLY holds vertex colors: no texture is made" in gatlas("mesh", egg, *SMALL, "-o", "mesh.ply").stderr


def test_a_mesh_of_a_mesh_s_splat_renders_like_the_splat(gatlas, egg, tmp_path):
    from PIL import Image

    gatlas("mesh", egg, *SMALL, "--triangles", 2000, "--grid", 64, "--texture", 128, "-o", "egg.glb")
    for name in (egg, "egg.glb"):
        gatlas("render", name, "--width", 64, "-o", f"{name}.png")
    one, other = (np.asarray(Image.open(tmp_path / f"{name}.png")).astype(float) for name in (egg, "egg.glb"))
    # Each is framed by its own bounds.
    assert np.abs(one - other).mean() < 12


@pytest.mark.usefixtures("measured_coarsely")
def test_a_batch_and_its_resumption(gatlas, tmp_path, egg_bytes):
    (tmp_path / "splats").mkdir()
    for name in "abc":
        (tmp_path / "splats" / f"{name}.ply").write_bytes(
            egg_bytes.replace(b"gatlas name egg", b"gatlas name " + name.encode() * 3)
        )
    (tmp_path / "splats" / "broken.ply").write_bytes(egg_bytes[:1000])
    run = gatlas("mesh", "splats", *SMALL, "--report", "{stem}.json", "-o", "meshes/", code=3)
    assert "3 of 4 done, 1 failed" in run.stderr
    assert sorted(os.listdir(tmp_path / "meshes")) == ["a.glb", "b.glb", "c.glb", "manifest-0-of-1.jsonl"]
    lines = map(json.loads, (tmp_path / "meshes/manifest-0-of-1.jsonl").read_text().splitlines())
    (line,) = (line for line in lines if line["id"] == "b")
    assert line["triangles"] > 100
    assert line["iou"] > 0.85
    single = gatlas("mesh", "splats/b.ply", *SMALL).stdout
    assert (tmp_path / "meshes/b.glb").read_bytes() == single
    again = gatlas("mesh", "splats", *SMALL, "--report", "{stem}.json", "-o", "meshes/", code=3)
    assert "3 of 4 done (3 earlier), 1 failed" in again.stderr


def test_shards_and_tars_and_ply_of_many(gatlas, tmp_path, egg_bytes):
    (tmp_path / "splats").mkdir()
    for name in "ab":
        (tmp_path / "splats" / f"{name}.ply").write_bytes(egg_bytes)
    gatlas("mesh", "splats", *SMALL, "--shard", "1/2", "-o", "{stem}-mesh.ply")
    assert not (tmp_path / "a-mesh.ply").exists()
    assert len(io.load_mesh(tmp_path / "b-mesh.ply").faces) > 100
    tar = gatlas("mesh", "splats", *SMALL, "--tar").stdout
    import tarfile

    with tarfile.open(fileobj=stdio.BytesIO(tar)) as members:
        assert members.getnames() == ["a.glb", "b.glb"]
    assert "cannot be written as .obj" in gatlas("mesh", "splats", *SMALL, "-o", "{stem}.obj", code=1).stderr


def test_what_is_no_splat_is_one_line(gatlas, egg, tmp_path, example):
    faint = replace(ellipsoid(20), opacities=np.full(20, 0.01, dtype=np.float32))
    io.save_gaussians(tmp_path / "faint.ply", faint)
    (tmp_path / "there.glb").write_text("kept")
    for words, fault in [
        ((example,), "a mesh, not a splat"),
        (("nowhere.ply",), "nowhere.ply"),
        ((egg, "-o", "there.glb"), "there.glb exists: use --force"),
        ((egg, "-o", "egg.stl"), "cannot be written as .stl: name the output egg.glb"),
        ((egg, "-o", "egg.gltf"), "cannot be written as .gltf: name the output egg.glb"),
        ((egg, "--reference-up", "z", "-o", "x.glb"), "give --reference MESH with it"),
        ((egg, "--reference", "nowhere.glb", "-o", "x.glb"), "nowhere.glb"),
        (("faint.ply", "-o", "x.glb"), "faint.ply: "),
    ]:
        assert fault in only_message(gatlas("mesh", *words, *SMALL, code=1))
    assert sorted(os.listdir(tmp_path)) == ["egg.ply", "faint.ply", "there.glb"]
    assert (tmp_path / "there.glb").read_text() == "kept"


def test_an_atlas_has_no_vertical_axis_to_choose(gatlas, egg):
    gatlas("atlas-encode", egg, "--size", 30, "-o", "egg.npz")
    assert "--up is for splats" in gatlas("mesh", "egg.npz", "--up", "z", "-o", "x.glb", code=1).stderr


def test_an_object_that_was_not_normalized_keeps_its_place(gatlas, tmp_path):
    own = scaled(ellipsoid(), CENTER, SCALE)
    io.save_gaussians(tmp_path / "own.ply", replace(own, origin=Origin(name="own")))
    gatlas("mesh", "own.ply", *SMALL, "-o", "own.glb")
    np.testing.assert_allclose(bounds(io.load_mesh(tmp_path / "own.glb")), OWN_BOUNDS, atol=0.1 * SCALE)


@pytest.mark.parametrize("moment", ["surface", "a texture of"])
def test_what_is_stopped_in_the_middle_leaves_no_file(gatlas, egg, tmp_path, monkeypatch, moment):
    """At a message, by the process itself: what comes after the first one takes less time than a busy machine may take
    to wake up another process that waits for it."""
    said = cli_mesh.message

    def stop(text):
        said(text)
        if moment in text:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(cli_mesh, "message", stop)
    run = gatlas("mesh", egg, *SMALL, "-o", "egg.obj", code=128 + signal.SIGTERM)
    assert moment in run.stderr.splitlines()[-1]
    assert os.listdir(tmp_path) == ["egg.ply"]
