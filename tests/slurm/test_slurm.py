"""The example jobs on a real Slurm: arrays, a bad object, preemption, dependencies, a killed task, training."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.helpers.box_meshes import write_box_captions, write_boxes
from tests.helpers.slurm_cluster import Cluster, free_port, missing

ROOT = Path(__file__).parents[2]
JOB = ROOT / "examples/slurm/job.sbatch"
HELD = ROOT / "tests/helpers/held_gatlas.py"
GATLAS = f'#!/bin/sh\nexec "{sys.executable}" "{HELD}" "$@"\n'
TORCHRUN = f"""#!/bin/sh
for word do # "-m gatlas" is {HELD.name}
    shift
    case $word in
        -m) ;;
        gatlas) set -- "$@" "{HELD}" ;;
        *) set -- "$@" "$word" ;;
    esac
done
exec "{sys.executable}" -m torch.distributed.run "$@"
"""
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
    """A folder to submit from, where gatlas and torchrun are this Python's and wait at $HOLD_AT for a signal."""
    (tmp_path / "bin").mkdir()
    for name, script in (("gatlas", GATLAS), ("torchrun", TORCHRUN)):
        program = tmp_path / "bin" / name
        program.write_text(script)
        program.chmod(0o755)
    monkeypatch.setitem(cluster.environment, "PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path


@pytest.fixture
def meshes(folder):
    """Eleven boxes and a bad one."""
    return write_boxes(folder / "meshes", 11)


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


def test_an_array_with_a_bad_object_and_a_preempted_task_gives_what_one_process_gives(
    cluster, folder, meshes, monkeypatch
):
    gatlas = folder / "bin/gatlas"
    monkeypatch.setitem(cluster.environment, "HOLD_AT", "box03.obj")  # the first task's second object
    fit = submit(cluster, folder, "--array=0-3", "-J", "fit", JOB, "fit", meshes, *FIT, "-o", "splats/")
    encode = submit(
        cluster, folder, f"--dependency=afterok:{fit}", "--array=0-3", JOB,
        "atlas-encode", "splats/", "--size", 8, "-o", "atlases/",
    )  # fmt: skip
    stats = submit(
        cluster, folder, f"--dependency=afterok:{encode}", JOB, "normalize-stats", "atlases/", "-o", "stats.npz"
    )
    # Preempt the first task at work: the object is finished, and another is left.
    cluster.wait_until((folder / "held").exists, 180, "box03")
    cluster.signal(f"{fit}_0", (folder / "told").exists)
    log = folder / f"fit-{fit}_0.log"
    cluster.wait_until(lambda: "run the same command to resume" in log.read_text(), 120, "the task to stop")
    cluster.wait_until(lambda: finished(cluster, stats), 400, "the statistics")

    assert "stopped: 1 of 3 done, 1 failed; run the same command to resume" in log.read_text(), log.read_text()
    assert "2 of 3 done (1 earlier)" in log.read_text(), log.read_text()
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


def test_a_killed_task_is_requeued_and_every_result_is_there_once(cluster, folder, meshes, monkeypatch):
    monkeypatch.setitem(cluster.environment, "HOLD_AT", "box02.obj")  # the second task's second object
    job = submit(cluster, folder, "--array=0-1", "-J", "killed", JOB, "fit", meshes, *FIT, "-o", "splats/")
    cluster.wait_until((folder / "held").exists, 180, "box02")
    task = cluster.job(f"{job}_1")["JobId"]
    pids = [line.split()[0] for line in cluster.run("scontrol", "listpids", task).splitlines()[1:]]
    for pid in pids:
        words = Path(f"/proc/{pid}/cmdline")
        if words.exists() and f"{HELD}\0fit".encode() in words.read_bytes():
            os.kill(int(pid), 9)
    cluster.wait_until(lambda: states(cluster, job).get(f"{job}_1") == "FAILED", 120, "the task to fail")
    (folder / "told").touch()  # the second start does not wait
    cluster.run("scontrol", "requeue", f"{job}_1")
    cluster.wait_until(lambda: all(state == "COMPLETED" for state in states(cluster, job).values()), 300, "the array")
    lines = manifest_lines(folder / "splats")
    # An object whose worker was killed before the process that records it has a line of that too.
    done = sorted(line["id"] for line in lines if line["status"] == "ok")
    assert done == [f"box{number:02d}" for number in range(11)]
    assert len(list((folder / "splats").glob("*.ply"))) == 11
    assert not [path for path in (folder / "splats").iterdir() if path.name.startswith(".")]


def test_a_chain_of_jobs_leads_from_meshes_to_samples_though_training_is_preempted(cluster, folder):
    meshes = write_boxes(folder / "meshes", 3)
    captions = write_box_captions(folder / "captions.csv", 3)
    options = {
        "FIT": " ".join(map(str, FIT)),
        "ENCODE": "--size 8",
        "TRAIN": "--preset small --steps 40 --set schedule_steps=40 --set sample_every=0 --batch 1 --log-every 1",
        "SAMPLE": "--prompt box --steps 2",
        "PROCESSES_PER_NODE": "2",
        "PORT": str(free_port()),
        "HOLD_AT": "3",
        "OMP_NUM_THREADS": "1",
    }
    said = subprocess.run(
        [ROOT / "examples/slurm/dataset.sh", meshes, captions, "made", "2"],
        cwd=folder, env={**cluster.environment, **options}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    jobs = dict(part.split() for part in said.stdout.strip().split(", "))
    assert list(jobs) == ["fit", "encode", "stats", "train", "sample"]

    # Preempt the training in its third step.
    made = folder / "made"

    def both(name):
        return all((folder / f"{name}{rank}").exists() for rank in (0, 1))

    cluster.wait_until(lambda: both("held"), 300, "the third step")
    cluster.signal(jobs["train"], lambda: both("told"))
    cluster.wait_until(lambda: int(cluster.job(jobs["train"])["Restarts"]) == 1, 120, "the training to be requeued")
    cluster.wait_until(lambda: finished(cluster, jobs["sample"]), 400, "the samples")

    steps = [json.loads(line)["step"] for line in (made / "run/log.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 41))
    text = (folder / f"gatlas-train-{jobs['train']}.log").read_text()
    assert "on 2 processes" in text, text
    assert "resuming after 3 steps" in text, text
    assert len(list((made / "samples").glob("*.npz"))) == 1
