"""Advice of the form "run: gatlas ..." is followed, word by word, and leads to what was wanted."""

import re
import shlex

import pytest

from tests.helpers.command_line import run_here

ADVISED = {  # what a verb is given that another verb makes what it wants from
    "prune": ("rocket.glb", ["-n", 3]),
    "atlas-encode": ("rocket.glb", ["--size", 2]),
    "pose-pnp": ("rocket.glb", None),
    "atlas-decode": ("ball.ply", []),
}
QUICK = {"fit": ["-n", 16, "--iterations", 0, "--views", 1, "--resolution", 16, "--lambda-lpips", 0]}
QUICK["atlas-encode"] = ["--size", 4]


@pytest.mark.parametrize("verb", ADVISED)
@pytest.mark.parametrize("folder", ["plain", "with a blank"])
def test_advice_to_run_gatlas_leads_to_what_was_wanted(verb, folder, tmp_path, example, splat_bytes):
    (tmp_path / folder).mkdir()
    name, options = ADVISED[verb]
    given = tmp_path / folder / name
    given.write_bytes(example.read_bytes() if name.endswith(".glb") else splat_bytes)
    words = ["photo.png", "--scene", given, "--fov", 40] if verb == "pose-pnp" else [given, *options]
    refused = run_here([verb, *words, "-o", "out.json" if verb == "pose-pnp" else "out"], tmp_path)
    assert refused.returncode == 1, refused.stderr
    (advice,) = re.findall(r"run: gatlas (.*)", refused.stderr)
    advised = shlex.split(advice)
    followed = run_here([*advised, *QUICK[advised[0]]], tmp_path)
    assert followed.returncode == 0, followed.stderr
    if verb != "pose-pnp":
        made = tmp_path / advised[advised.index("-o") + 1]
        assert run_here([verb, made, *options, "-o", "out"], tmp_path).returncode == 0
