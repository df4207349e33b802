"""The example jobs on a real Slurm: arrays, a bad object, preemption, dependencies, a killed task, training."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from cluster import Cluster, missing

ROOT = Path(__file__).parents[2]
JOB = ROOT / "examples/slurm/job.sbatch"
FIT = ("-n", 64, "--iterations", 300, "--views", 8, "--resolution", 64, "--lambda-lpips", 0)

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module")
def cluster():
    reason = missing()
    if reason:
        pytest.skip(reason)
    work = tempfile.mkdtemp(prefix="gatlas-slurm-")
    os.chmod(work, 0o755)  # munge's user reads in it
    try:
        with Cluster(work) as started:
            yield started
    finally:
        shutil.rmtree(work)


@pytest.fixture
def folder(cluster, tmp_path, monkeypatch):
    """A folder to submit from, where `gatlas` is this Python's and compiled kernels are found."""
    program = tmp_path / "bin/gatlas"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gatlas "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    monkeypatch.setitem(cluster.environment, "PATH", path)
    return tmp_path


@pytest.fixture
def meshes(folder):
    """Eleven boxes and a bad one."""
    made = folder / "meshes"
    made.mkdir()
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
    faces = ["1 2 4 3", "5 7 8 6", "1 5 6 2", "3 4 8 7", "1 3 7 5", "2 6 8 4"]
    for number in range(11):
        points = corners * [1, 1 + number / 5, 2 - number / 8]
        text = [f"v {x} {y} {z}" for x, y, z in points] + [f"f {face}" for face in faces]
        (made / f"box{number:02d}.obj").write_text("\n".join(text) + "\n")
    (made / "bad.obj").write_text("v 0 0 0\n")
    return made


def submit(cluster, folder, *words):
    return cluster.run("sbatch", "--parsable", *words, cwd=folder)


def states(cluster, job):
    """State of every task of an array, or of the job."""
    shown = cluster.run("squeue", "--noheader", "--array", "--states=all", "--format=%i %T", "--jobs", job)
    return dict(line.split() for line in shown.splitlines())


def finished(cluster, job):
    found = states(cluster, job)
    if any(state in ("FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL") for state in found.values()):
        raise AssertionError(f"{found}\n{cluster.logs()}")
    return bool(found) and all(state == "COMPLETED" for state in found.values())


def manifest_lines(folder):
    return [json.loads(line) for path in folder.glob("manifest-*.jsonl") for line in path.read_text().splitlines()]


def test_an_array_with_a_bad_object_and_a_preempted_task_gives_what_one_process_gives(cluster, folder, meshes):
    gatlas = folder / "bin/gatlas"
    fit = submit(cluster, folder, "--array=0-3", "-J", "fit", JOB, "fit", meshes, *FIT, "-o", "splats/")
    encode = submit(
        cluster, folder, f"--dependency=afterok:{fit}", "--array=0-3", JOB,
        "atlas-encode", "splats/", "--size", 8, "-o", "atlases/",
    )  # fmt: skip
    stats = submit(
        cluster, folder, f"--dependency=afterok:{encode}", JOB, "normalize-stats", "atlases/", "-o", "stats.npz"
    )
    # Preempt the first task as soon as it has its first result.
    manifest = folder / "splats/manifest-0-of-4.jsonl"
    cluster.wait_until(lambda: manifest.exists() and manifest.read_text().count("\n"), 180, "a first result")
    cluster.signal(f"{fit}_0")
    log = folder / f"fit-{fit}_0.log"
    cluster.wait_until(lambda: "the same command goes on" in log.read_text(), 120, "the task to stop")
    cluster.wait_until(lambda: finished(cluster, stats), 400, "the statistics")

    assert "earlier)" in log.read_text(), log.read_text()
    assert int(cluster.job(f"{fit}_0")["Restarts"]) == 1
    lines = manifest_lines(folder / "splats")
    assert sorted(line["id"] for line in lines) == ["bad", *(f"box{number:02d}" for number in range(11))]
    assert [line["id"] for line in lines if line["status"] != "ok"] == ["bad"]
    assert len(list((folder / "atlases").glob("*.npz"))) == 11
    assert not [path for path in folder.rglob("*") if path.name.startswith(".gatlas")]

    alone = folder / "alone"
    alone.mkdir()
    run = {"cwd": alone, "capture_output": True, "text": True, "check": False}
    single = subprocess.run([gatlas, "fit", meshes, *map(str, FIT), "-o", "splats/"], **run)
    assert single.returncode == 3, single.stderr
    assert subprocess.run([gatlas, "atlas-encode", "splats/", "--size", "8", "-o", "atlases/"], **run).returncode == 0
    assert subprocess.run([gatlas, "normalize-stats", "atlases/", "-o", "stats.npz"], **run).returncode == 0
    assert (alone / "stats.npz").read_bytes() == (folder / "stats.npz").read_bytes()


def test_a_killed_task_is_requeued_and_every_result_is_there_once(cluster, folder, meshes):
    job = submit(cluster, folder, "--array=0-1", "-J", "killed", JOB, "fit", meshes, *FIT, "-o", "splats/")
    manifest = folder / "splats/manifest-1-of-2.jsonl"
    cluster.wait_until(lambda: manifest.exists() and manifest.read_text().count("\n"), 180, "a first result")
    task = cluster.job(f"{job}_1")["JobId"]
    pids = [line.split()[0] for line in cluster.run("scontrol", "listpids", task).splitlines()[1:]]
    for pid in pids:
        words = Path(f"/proc/{pid}/cmdline")
        if words.exists() and b"gatlas\0fit" in words.read_bytes():
            os.kill(int(pid), 9)
    cluster.wait_until(lambda: states(cluster, job).get(f"{job}_1") == "FAILED", 120, "the task to fail")
    cluster.run("scontrol", "requeue", f"{job}_1")
    cluster.wait_until(lambda: all(state == "COMPLETED" for state in states(cluster, job).values()), 300, "the array")
    lines = manifest_lines(folder / "splats")
    assert sorted(line["id"] for line in lines) == ["bad", *(f"box{number:02d}" for number in range(11))]
    assert len(list((folder / "splats").glob("*.ply"))) == 11
    assert not [path for path in (folder / "splats").iterdir() if path.name.startswith(".")]
