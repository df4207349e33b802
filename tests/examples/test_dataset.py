"""examples/dataset.sh as it stands: from a folder of meshes to samples, and once more."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from box_meshes import write_box_captions, write_boxes

from gatlas import io

ROOT = Path(__file__).parents[2]
OPTIONS = {
    "FIT": "-n 64 --iterations 20 --views 8 --resolution 64 --lambda-lpips 0",
    "ENCODE": "--size 16",
    "TRAIN": "--preset small --steps 6 --batch 2 --checkpoint-every 3 --set sample_every=0 --set schedule_steps=6",
    "SAMPLE": "--prompt cube --steps 2",
}


@pytest.mark.slow
def test_a_folder_of_meshes_becomes_a_model_and_samples_and_a_second_run_makes_nothing_again(tmp_path):
    meshes, captions = write_boxes(tmp_path / "meshes", 3), write_box_captions(tmp_path / "captions.csv", 3)
    program = tmp_path / "bin/gatlas"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gatlas "$@"\n')
    program.chmod(0o755)
    dataset = tmp_path / "made"

    def run():
        done = subprocess.run(
            [ROOT / "examples/dataset.sh", meshes, captions, dataset],
            env={**os.environ, **OPTIONS, "PATH": f"{program.parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    run()
    lines = [json.loads(line) for path in dataset.glob("*.jsonl") for line in path.read_text().splitlines()]
    assert sorted(line["id"] for line in lines if line["status"] != "ok") == ["bad"]
    (splat,) = (dataset / "generated").glob("*.ply")
    assert 0 < len(io.load_gaussians(splat)) <= 256
    log = dataset / "run/log.jsonl"
    before = {path: path.read_bytes() for path in (dataset / "splats.tar", dataset / "atlases.tar", splat, log)}

    said = run()
    assert "earlier" in said
    assert {path: path.read_bytes() for path in before} == before
