"""Splats in glTF: attributes of every kind, nodes that move and stretch, SPZ inside, damage; Khronos's validator."""

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.geometry.rotations import quats_to_matrices
from gatlas.geometry.sh import SH_C0, eval_sh
from gatlas.io.splats.gltf_heads import is_gltf_splat_file
from gatlas.io.splats.spz import encode_spz
from gatlas.types import Origin
from tests.helpers.command_line import run_here
from tests.helpers.gltf_files import Gltf, blob
from tests.helpers.splat_files import gaussians_of

KHR = "KHR_gaussian_splatting"
N = 4


def columns(degree=0):
    g = gaussians_of(N, degree=degree)
    return {
        "POSITION": g.means,
        f"{KHR}:ROTATION": g.quats[:, [1, 2, 3, 0]],
        f"{KHR}:SCALE": g.scales,
        f"{KHR}:OPACITY": g.opacities,
        **{f"{KHR}:SH_DEGREE_{d}_COEF_{i}": g.sh[:, d * d + i] for d in range(degree + 1) for i in range(2 * d + 1)},
    }, g


def document(values, node=None, extension=None, codes=None, required=()):
    scene = Gltf()
    attributes = {
        name: scene.accessor(array, *((codes or {}).get(name) or ("f4",))[:1],
                             **({"normalized": True} if name in (codes or {}) else {}))
        for name, array in values.items() if name != "POSITION"
    }  # fmt: skip
    scene.primitive(
        values["POSITION"],
        node=node,
        attributes=attributes,
        mode=0,
        extensions={KHR: {"kernel": "ellipse", "colorSpace": "srgb_rec709_display", **(extension or {})}},
    )
    scene.root["extensionsUsed"] = [KHR]
    scene.root["extensionsRequired"] = list(required)
    return scene


def load(scene, **options):
    return io.load_gaussians(blob(scene.glb()), **options)


def covariances(g):
    axes = quats_to_matrices(g.quats.astype(float)) * g.scales[:, None]
    return axes @ axes.transpose(0, 2, 1)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_the_attributes_are_the_gaussians(degree):
    values, ours = columns(degree)
    g = load(document(values))
    for name in ("means", "quats", "scales", "opacities", "sh"):
        np.testing.assert_allclose(getattr(g, name), getattr(ours, name), atol=2e-6, err_msg=name)
    assert g.origin == Origin("thing")


def test_scales_of_drafts_are_logarithms():
    values, ours = columns()
    values[f"{KHR}:SCALE"] = np.log(ours.scales)
    np.testing.assert_allclose(load(document(values)).scales, ours.scales, rtol=1e-6)


def test_colors_and_opacities_may_be_those_of_the_points():
    values, _ = columns()
    del values[f"{KHR}:OPACITY"], values[f"{KHR}:SH_DEGREE_0_COEF_0"]
    values["COLOR_0"] = np.full((N, 4), [51, 102, 255, 128])
    g = load(document(values, codes={"COLOR_0": ("u1",)}))
    np.testing.assert_allclose(g.sh[:, 0] * SH_C0 + 0.5, [[0.2, 0.4, 1]] * N, atol=1e-6)
    np.testing.assert_allclose(g.opacities, 128 / 255)


def test_quaternions_of_bytes_are_normalized():
    values, _ = columns()
    values[f"{KHR}:ROTATION"] = np.tile([0, 0, 90, 90], (N, 1))
    half = np.sqrt(0.5)
    np.testing.assert_allclose(load(document(values, codes={f"{KHR}:ROTATION": ("i1",)})).quats,
                               [[half, 0, 0, half]] * N, atol=1e-6)  # fmt: skip


@pytest.mark.parametrize("scale", [[2, 2, 2], [1, 2, 0.5], [-1, 1, 1]])
def test_a_node_turns_moves_and_stretches(scale):
    """The covariance of each Gaussian is that of its points: M C M^T."""
    values, ours = columns(1)
    half = float(np.sqrt(0.5))
    node = {"translation": [1, 2, 3], "rotation": [0, 0, half, half], "scale": scale}  # x to y
    g = load(document(values, node))
    matrix = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]]) @ np.diag(scale)
    np.testing.assert_allclose(g.means, ours.means @ matrix.T + [1, 2, 3], atol=1e-5)
    np.testing.assert_allclose(covariances(g), matrix @ covariances(ours) @ matrix.T, atol=1e-5)
    rotation = matrix / np.abs(np.array(scale))
    directions = np.eye(3)[[0, 1, 2, 0]]
    np.testing.assert_allclose(eval_sh(g.sh, directions @ rotation.T), eval_sh(ours.sh, directions), atol=1e-5)


def test_instances_and_meshes_are_all_shown():
    values, _ = columns()
    scene = document(values, {"translation": [1, 0, 0]})
    scene.root["nodes"].append({"mesh": 0})
    assert len(load(scene)) == 2 * N


@pytest.mark.parametrize("name", [f"{KHR}_compression_spz", f"{KHR}_compression_spz_2"])
def test_an_spz_inside_has_the_axes_of_the_gltf(name):
    """As CesiumJS and three.js loaders take it: nothing is turned."""
    ours = gaussians_of(N, degree=1)
    ours = replace(ours, sh=0.1 * ours.sh)
    scene = document(columns()[0], required=[KHR, name])
    scene.root["meshes"][0]["primitives"][0]["extensions"][KHR]["extensions"] = {
        name: {"bufferView": scene.view(encode_spz(ours, spz_version=3))}
    }
    g = load(scene, as_stored=True)
    np.testing.assert_allclose(g.means, ours.means * [-1, -1, 1], atol=2e-4)  # our SPZ is y down
    assert g.sh.shape == (N, 4, 3)


def test_linear_colors_are_shown_in_srgb_and_refused_with_harmonics():
    values, _ = columns()
    values[f"{KHR}:SH_DEGREE_0_COEF_0"] = np.full((N, 3), (0.21404114 - 0.5) / SH_C0)
    g = load(document(values, extension={"colorSpace": "lin_rec709_display"}))
    np.testing.assert_allclose(g.sh * SH_C0 + 0.5, 0.5, atol=1e-5)
    with pytest.raises(GatlasError, match="its colors are linear"):
        load(document(columns(1)[0], extension={"colorSpace": "lin_rec709_display"}))


def test_a_kernel_that_is_not_known_is_said():
    said = []
    load(document(columns()[0], extension={"kernel": "box"}), report=said.append)
    assert said == ["thing.glb: its kernel 'box' is shown as an ellipse"]


def without(name, degree=0):
    values, _ = columns(degree)
    del values[name]
    return document(values)


def shorter():
    values, _ = columns()
    return document({**values, f"{KHR}:OPACITY": values[f"{KHR}:OPACITY"][1:]})


@pytest.mark.parametrize(
    ("scene", "words"),
    [
        (without(f"{KHR}:SCALE"), f"its Gaussians have no {KHR}:SCALE"),
        (without(f"{KHR}:OPACITY"), "have no opacities or no colors"),
        (without(f"{KHR}:SH_DEGREE_1_COEF_1", 1), "a part of the coefficients of degree 1"),
        (shorter(), "the attributes of its Gaussians have different lengths"),
        (document(columns()[0], {"scale": [0, 1, 1]}), "a position that is NaN"),
        (document(columns()[0], required=["EXT_other"]), "needs EXT_other, which gatlas does not read"),
    ],
)
def test_damage_is_one_line(scene, words):
    with pytest.raises(GatlasError, match=words) as caught:
        load(scene)
    assert str(caught.value).startswith("thing.glb: ")
    assert "\n" not in str(caught.value)


def test_a_glb_of_splats_leads_to_what_takes_it_and_one_of_a_mesh_to_fit(tmp_path):
    io.save_gaussians(tmp_path / "s.glb", gaussians_of(40))
    assert run_here(["prune", "s.glb", "-n", 5, "--score", "opacity", "-o", "p.glb"], tmp_path).returncode == 0
    assert len(io.load_gaussians(tmp_path / "p.glb")) == 5
    refused = run_here(["fit", "s.glb", "-o", "f.ply"], tmp_path)
    assert refused.stderr == (
        f"gatlas fit: s.glb: a splat in glTF ({KHR}), not a mesh.\n"
        "To make a mesh of it, run: gatlas mesh s.glb -o s-mesh.glb\n"
    )
    mesh = Gltf()
    mesh.primitive()
    (tmp_path / "m.glb").write_bytes(mesh.glb())
    assert "To fit it, run: gatlas fit m.glb -o m.ply" in run_here(["prune", "m.glb", "-o", "x.ply"], tmp_path).stderr


def test_khronos_validator_objects_to_nothing_but_names_that_it_does_not_know(tmp_path):
    """Version 2.0.0-dev.3.10 knows no attributes of the extension; those of splat-transform get the same."""
    io.save_gaussians(tmp_path / "s.glb", gaussians_of(20, degree=1, origin=Origin("a", normalized=True)))
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    folders = [os.environ.get("GATLAS_NODE_MODULES"), *os.environ.get("NODE_PATH", "").split(":")]
    found = next((Path(folder) / "gltf-validator" for folder in filter(None, folders)
                  if (Path(folder) / "gltf-validator").is_dir()), None)  # fmt: skip
    if found is None:
        pytest.skip("gltf-validator is in no folder of NODE_PATH: npm install gltf-validator")
    script = (
        f"require({json.dumps(str(found))}).validateBytes(new Uint8Array(require('fs').readFileSync(process.argv[1])))"
        ".then(report => console.log(JSON.stringify(report)))"
    )
    run = subprocess.run(["node", "-e", script, tmp_path / "s.glb"], capture_output=True, text=True)
    messages = json.loads(run.stdout)["issues"]["messages"]
    others = [
        each for each in messages if each["code"] != "UNSUPPORTED_EXTENSION" and f"/{KHR}:" not in each["pointer"]
    ]
    assert others == []


@pytest.mark.shared
def test_a_real_glb_of_splats_is_the_splat_that_it_was_made_of(shared_data):
    """As the SOG of the same 500 Gaussians: only on the outside of a box."""
    cases = shared_data / "cases"
    g = io.load_gaussians(cases / "khr_gaussian_splatting" / "box.glb")
    same = io.load_gaussians(cases / "sog_meta_json" / "v2" / "meta.json")
    assert len(g) == len(same) == 500
    nearest = np.linalg.norm(g.means[:, None] - same.means[None], axis=2).min(axis=1)
    assert nearest.max() < 1e-3


@pytest.mark.parametrize(
    "content", [b"", b"glTF", b"glTF" + bytes(8) + b"\xff\xff\xff\xff" + b"KHR_gaussian_splatting", b"{"]
)
def test_a_damaged_file_is_no_splat_by_its_head(tmp_path, content):
    for name in ("x.glb", "x.gltf"):
        (tmp_path / name).write_bytes(content)
        assert not is_gltf_splat_file(tmp_path / name)
    assert not is_gltf_splat_file(tmp_path / "gone.glb")
