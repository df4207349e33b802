"""The library of SPZ's authors, in its build for npm (@spz-loader/core), reads version 3 as it was meant."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from gatlas import io
from tests.helpers.raster_scenes import gaussians

pytestmark = pytest.mark.slow
PARTS = {"positions": 3, "scales": 3, "rotations": 4, "alphas": 1, "colors": 3, "sh": 45}
# The build takes Node for a browser: its own way of telling them apart ends in an error there.
PROGRAM = """
import fs from 'fs';
process.type = 'renderer'; globalThis.window = globalThis; globalThis.document = {};
const { loadSpz } = await import(process.argv[2]);
const cloud = await loadSpz(new Uint8Array(fs.readFileSync(process.argv[3])));
const out = { degree: cloud.shDegree };
for (const name of %s) out[name] = Array.from(cloud[name]);
console.log(JSON.stringify(out));
"""


@pytest.fixture
def library():
    """The module's file."""
    for folder in filter(None, [os.environ.get("GATLAS_NODE_MODULES"), *os.environ.get("NODE_PATH", "").split(":")]):
        path = Path(folder) / "@spz-loader" / "core" / "dist" / "index.js"
        if path.is_file() and shutil.which("node"):
            return path
    pytest.skip("@spz-loader/core is in no folder of GATLAS_NODE_MODULES or NODE_PATH: npm install @spz-loader/core")


def test_it_reads_what_we_write_as_we_do(library, tmp_path):
    io.save_gaussians(tmp_path / "x.spz", gaussians(50, 3, degree=3), spz_version=3)
    ours = io.load_gaussians(tmp_path / "x.spz")
    (tmp_path / "read.mjs").write_text(PROGRAM % json.dumps(list(PARTS)))
    words = ["node", str(tmp_path / "read.mjs"), library.as_uri(), str(tmp_path / "x.spz")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["degree"] == 3
    theirs = {name: np.array(found[name]).reshape(-1, count) for name, count in PARTS.items()}
    half_turn = np.array([-1, -1, 1])  # about z: the file is y down, as PLY files are
    np.testing.assert_allclose(theirs["positions"], ours.means * half_turn, atol=1e-6)
    np.testing.assert_allclose(theirs["scales"], ours.scales, rtol=1e-5)
    np.testing.assert_allclose(theirs["alphas"][:, 0], ours.opacities, atol=1e-5)
    np.testing.assert_allclose(theirs["colors"], 0.5 + 0.28209479 * ours.sh[:, 0], atol=1e-3)
    np.testing.assert_allclose(np.abs(theirs["sh"].reshape(-1, 15, 3)), np.abs(ours.sh[:, 1:]), atol=1e-5)
    w, x, y, z = (ours.quats / np.linalg.norm(ours.quats, axis=1, keepdims=True)).T
    turned = np.stack([-y, x, w, -z], axis=1)  # x y z w of the half turn and then ours
    cosine = np.abs((theirs["rotations"] * turned).sum(axis=1))
    np.testing.assert_allclose(cosine, 1, atol=1e-5)
