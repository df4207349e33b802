"""examples/dataset.sh as it stands: from a folder of meshes to samples, and once more; and the jobs of Slurm's."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gatlas import io
from tests.helpers.box_meshes import write_box_captions, write_boxes

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


def test_the_chain_of_jobs_asks_for_gpus_where_they_serve(tmp_path):
    program = tmp_path / "bin/sbatch"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nprintf "%s " "$@" >> "$JOBS"; echo >> "$JOBS"; wc -l < "$JOBS"\n')
    program.chmod(0o755)
    options = {
        "SBATCH": "-A project",
        "TRAIN_SBATCH": "--gpus-per-node=8",
        "SAMPLE_SBATCH": "--gpus=1",
        "TRAIN": "--base sd/",
        "JOBS": str(tmp_path / "jobs"),
        "PATH": f"{program.parent}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        [ROOT / "examples/slurm/dataset.sh", "meshes", "captions.csv", "made", "3"],
        cwd=tmp_path, env={**os.environ, **options}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    fit, encode, stats, train, sample = (tmp_path / "jobs").read_text().splitlines()
    assert all("-A project" in job for job in (fit, encode, stats, train, sample))
    assert not any("--gpus" in job for job in (fit, encode, stats))
    assert "afterok:3" in train
    before, _, after = train.partition("train.sbatch")
    assert "--gpus-per-node=8" in before
    assert "--base sd/" in after
    assert "--gpus=1" in sample.partition("job.sbatch")[0]
