"""Many objects through one verb: shards, resume, failures, tars and worker processes."""

import fcntl
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.helpers.waiting import LIMIT, read_next, running, wait_until

ENCODE = ("--size", 10)
SMALL = ("--views", 2, "--resolution", 32)
HELD = str(Path(__file__).parents[1] / "helpers" / "held_gatlas.py")


@pytest.fixture
def splats(tmp_path, splat_bytes):
    """Five splats of differing bytes in a folder."""
    folder = tmp_path / "splats"
    folder.mkdir()
    for name in "abcde":
        (folder / f"{name}.ply").write_bytes(splat_bytes.replace(b"ball", name.encode() * 4))
    return folder


def write_many(folder, count, splat_bytes):
    """Splats of differing bytes, s00.ply, s01.ply and so on."""
    folder.mkdir()
    for number in range(count):
        (folder / f"s{number:02d}.ply").write_bytes(splat_bytes.replace(b"ball", f"{number:04d}".encode()))


def lines(path):
    return {line["id"]: line for line in map(json.loads, path.read_text().splitlines())}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_batch_gives_the_bytes_of_single_calls(gatlas, splats, tmp_path):
    gatlas("atlas-encode", splats, *ENCODE, "--jobs", 2, "-o", "many/")
    (tmp_path / "one").mkdir()
    for splat in splats.iterdir():
        gatlas("atlas-encode", splat, *ENCODE, "-o", f"one/{splat.stem}.npz")
        single = (tmp_path / "one" / f"{splat.stem}.npz").read_bytes()
        assert (tmp_path / "many" / f"{splat.stem}.npz").read_bytes() == single
    assert names(tmp_path / "many") == ["a.npz", "b.npz", "c.npz", "d.npz", "e.npz", "manifest-0-of-1.jsonl"]
    line = lines(tmp_path / "many/manifest-0-of-1.jsonl")["c"]
    assert line["status"] == "ok"
    assert line["count"] == 100
    assert line["gap"] == 0
    assert len(line["input_sha256"]) == 64


INSTANT = ("--profile", "instant", "-n", 40)


@pytest.fixture
def glbs(gatlas, splats, tmp_path):
    """A folder of two GLB files: a mesh and a splat."""
    (tmp_path / "glbs").mkdir()
    gatlas("convert", splats / "a.ply", "-o", "glbs/splat.glb")
    shutil.copy(Path(__file__).parents[2] / "examples/rocket.glb", tmp_path / "glbs/mesh.glb")
    return tmp_path / "glbs"


def test_splats_in_glb_among_meshes_are_left_out_and_named(gatlas, glbs, tmp_path):
    said = "glbs/splat.glb: splats in glTF, not meshes: left out; to make meshes of them, give them to gatlas mesh"
    assert [
        said in gatlas("fit", "glbs", *INSTANT, *more).stderr
        for more in (("--dry-run", "-o", "fits/"), ("-o", "fits/"))
    ]
    run = gatlas("fit", "glbs", *INSTANT, "--shard", "1/2", "-o", "tars-{shard}.tar")  # whose only object it is
    assert said in run.stderr
    assert names(tmp_path / "fits") == ["manifest-0-of-1.jsonl", "mesh.ply"]
    assert list(lines(tmp_path / "fits/manifest-0-of-1.jsonl")) == ["mesh"]
    assert (tmp_path / "tars-00001.tar").exists()


def test_splats_in_glb_alone_are_no_meshes(gatlas, glbs):
    (glbs / "mesh.glb").unlink()
    (said,) = gatlas("fit", "glbs", *INSTANT, "-o", "fits/", code=1).stderr.splitlines()
    assert said.startswith("gatlas fit: glbs/splat.glb: splats in glTF, not meshes, and there is nothing else: to make")
    run = gatlas("mesh", "glbs", "-o", "meshes/", code=1)
    assert run.stderr.endswith("files in it; splats in glTF are taken where they are named, as glbs/splat.glb\n")


def test_a_splat_in_glb_that_is_named_as_a_mesh_fails(gatlas, glbs):
    run = gatlas("fit", "glbs/splat.glb", "glbs/mesh.glb", *INSTANT, "-o", "fits/", code=3)
    assert "glbs/splat.glb: a splat in glTF (KHR_gaussian_splatting), not a mesh." in run.stderr
    assert "1 of 2 done, 1 failed" in run.stderr


def test_a_bad_object_does_not_stop_the_batch(gatlas, splats, tmp_path):
    (splats / "bad.ply").write_bytes(b"junk")
    run = gatlas("atlas-encode", splats, *ENCODE, "-o", "out/", code=3)
    assert "bad.ply: not a splat PLY" in run.stderr
    assert "5 of 6 done, 1 failed" in run.stderr
    line = lines(tmp_path / "out/manifest-0-of-1.jsonl")["bad"]
    assert line["status"] == "failed"
    assert "not a splat PLY" in line["error"]
    again = gatlas("atlas-encode", splats, *ENCODE, "-o", "out/", code=3)
    assert "5 of 6 done (5 earlier), 1 failed" in again.stderr
    (splats / "bad.ply").write_bytes((splats / "a.ply").read_bytes())
    assert "6 of 6 done (5 earlier)" in gatlas("atlas-encode", splats, *ENCODE, "-o", "out/").stderr


def test_run_again_does_only_what_is_missing_or_changed(gatlas, splats, tmp_path, splat_bytes):
    gatlas("atlas-encode", splats, *ENCODE, "-o", "out/")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.npz")}
    (tmp_path / "out/b.npz").unlink()
    (splats / "c.ply").write_bytes(splat_bytes.replace(b"ball", b"oooo"))
    gatlas("atlas-encode", splats, *ENCODE, "-o", "out/")
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.npz")}
    assert {name for name in before if before[name] != after[name]} == {"b.npz", "c.npz"}


def test_results_of_other_options_are_not_made_anew_unasked(gatlas, splats, tmp_path):
    gatlas("atlas-encode", splats, *ENCODE, "-o", "out/")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    words = ("atlas-encode", splats, "--size", 11, "-o", "out/")
    assert "other\t" in gatlas(*words, "--dry-run").stdout.decode()
    said = gatlas(*words, code=1).stderr
    assert "out/a.npz and 4 more were made with other options: use --force" in said
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert "5 of 5 done\n" in gatlas(*words, "--force").stderr


def test_two_verbs_share_a_folder(gatlas, splats, tmp_path):
    for _ in range(2):
        gatlas("atlas-encode", splats, *ENCODE, "-o", "out/")
        said = gatlas("prune", splats, "-n", 10, "-o", "out/").stderr
    assert "5 of 5 done (5 earlier)" in said


def test_the_engine_is_read_from_the_command_line(gatlas, splats):
    said = gatlas("prune", splats, "-n", 10, "-o", "out/", "--engine", "dask", "--timeout", 3, code=1).stderr
    assert "--engine dask takes no --timeout" in said
    said = gatlas("prune", splats, "-n", 10, "-o", "out/", "--engine", "cluster", code=2).stderr
    assert "'processes', 'dask', 'ray'" in said


def test_tasks_of_an_array_need_a_tar_each(gatlas, splats):
    gatlas("prune", splats, "-n", 10, "--shard", "0/2", "-o", "one.tar")
    said = gatlas("prune", splats, "-n", 10, "--shard", "1/2", "-o", "one.tar", code=1).stderr
    assert "one.tar: holds a, which is not among these inputs" in said
    assert "one-{shard}.tar" in said


def test_what_is_wrong_with_all_outputs_is_said_once(gatlas, splats, tmp_path):
    for words, said in (
        (("--report", "{stem}.png"), "name the output {stem}.json"),
        (("--report", "out/{stem}.log", "-o", "out/{stem}.log"), "two outputs have the same name"),
    ):
        run = gatlas("prune", splats, "-n", 10, "-o", "out/", *words, code=1)
        assert said in run.stderr
        assert run.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_the_shards_together_are_the_whole(gatlas, splats, tmp_path, shards):
    for index in range(shards):
        gatlas("atlas-encode", splats, *ENCODE, "--shard", f"{index}/{shards}", "-o", "out/")
    manifests = [lines(tmp_path / f"out/manifest-{index}-of-{shards}.jsonl") for index in range(shards)]
    assert sorted(key for manifest in manifests for key in manifest) == list("abcde")
    assert len(list((tmp_path / "out").glob("*.npz"))) == 5
    assert "5 earlier" in gatlas("atlas-encode", splats, *ENCODE, "-o", "out/").stderr


@pytest.fixture
def slurm_array(monkeypatch):
    """Set the variables of a task of an array."""

    def task(**numbers):
        for name, number in numbers.items():
            monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(number))

    return task


def test_a_slurm_array_sets_the_shard(gatlas, slurm_array, splats, tmp_path):
    slurm_array(ID=5, MIN=3, MAX=7, STEP=2, COUNT=3)
    assert "shard 1/3" in gatlas("atlas-encode", splats, *ENCODE, "-o", "out/").stderr
    assert names(tmp_path / "out") == ["b.npz", "e.npz", "manifest-1-of-3.jsonl"]


def test_a_lost_task_that_runs_again_alone_is_told_its_shard_and_then_makes_its_objects_only(
    gatlas, slurm_array, splats, tmp_path
):
    for task in (0, 1, 3):
        slurm_array(ID=task, MIN=0, MAX=3, COUNT=4)
        gatlas("prune", splats, "-n", 10, "-o", "s-{shard}.tar")
    slurm_array(ID=2, MIN=2, MAX=2, COUNT=1)
    run = gatlas("prune", splats, "-n", 10, "-o", "s-{shard}.tar", code=1)
    assert "s-{shard}.tar: was made as shards of 4, and this Slurm array has 1 task: give --shard 2/4" in run.stderr
    gatlas("prune", splats, "-n", 10, "-o", "s-{shard}.tar", "--shard", "2/4")
    held = []
    for path in sorted(tmp_path.glob("s-*.tar")):
        with tarfile.open(path) as archive:
            held += archive.getnames()
    assert held == ["a.ply", "e.ply", "b.ply", "c.ply", "d.ply"]


def test_a_task_of_a_slurm_array_does_the_one_input_that_it_names(gatlas, slurm_array, splats, tmp_path):
    slurm_array(ID=2, MIN=0, MAX=3, COUNT=4)
    gatlas("prune", splats / "c.ply", "-n", 10, "-o", "out/")
    assert names(tmp_path / "out") == ["c.ply", "manifest-2-of-4.jsonl"]


def test_what_a_task_of_a_slurm_array_was_given_is_not_shared_out_again(gatlas, slurm_array, splats, tmp_path):
    slurm_array(ID=1, MIN=0, MAX=1, COUNT=2)
    stream = gatlas("prune", splats, "-n", 10, "--tar").stdout
    (tmp_path / "piped.tar").write_bytes(gatlas("prune", "-n", 5, "--tar", stdin=stream).stdout)
    gatlas("prune", splats, "-n", 10, "-o", "s-{shard}.tar")
    run = gatlas("prune", "s-00001.tar", "-n", 5, "-o", "named.tar")
    assert "s-00001.tar is taken whole, as this task's own input: give --shard 1/2 for a share" in run.stderr
    gatlas("prune", "s-00001.tar", "-n", 5, "--shard", "1/2", "-o", "asked.tar")
    for name, held in {"piped": ["b.ply", "d.ply"], "named": ["b.ply", "d.ply"], "asked": ["d.ply"]}.items():
        with tarfile.open(tmp_path / f"{name}.tar") as archive:
            assert archive.getnames() == held


def test_a_dry_run_prints_the_plan_and_does_nothing(gatlas, splats, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.npz").write_bytes(b"somebody's")
    run = gatlas("atlas-encode", splats, *ENCODE, "-o", "out/", "--dry-run")
    plan = [line.split("\t") for line in run.stdout.decode().splitlines()]
    assert [words[0] for words in plan] == ["do", "do", "do", "do", "exists"]
    assert plan[0][1:] == [f"{splats}/b.ply", "->", "out/b.npz"]
    assert names(tmp_path / "out") == ["a.npz"]


def test_the_plan_names_files_that_are_no_utf8(splats):
    (splats / "a.ply").rename(splats / os.fsdecode(b"\xff.ply"))
    words = [sys.executable, "-m", "gatlas", "prune", str(splats), "-o", "out/", "--dry-run"]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    assert b"\xff.ply\n" in subprocess.run(words, env=environment, capture_output=True, check=True).stdout


def test_an_unowned_file_is_kept(gatlas, splats, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.npz").write_bytes(b"somebody's")
    run = gatlas("atlas-encode", splats, *ENCODE, "-o", "out/", code=3)
    assert "out/a.npz exists and is of another input" in run.stderr
    assert (tmp_path / "out/a.npz").read_bytes() == b"somebody's"
    gatlas("atlas-encode", splats, *ENCODE, "-o", "out/", "--force")
    assert (tmp_path / "out/a.npz").read_bytes().startswith(b"PK")


@pytest.mark.parametrize("place", ["out/", "out.tar"])
def test_an_unowned_report_is_kept(gatlas, splats, tmp_path, place):
    (tmp_path / "said").mkdir()
    (tmp_path / "said/b.json").write_text("somebody's")
    words = ("prune", splats, *SMALL, "--report", "said/{stem}.json", "-o", place)
    run = gatlas(*words, "-n", 10, code=3)
    assert "said/b.json exists and is of another input" in run.stderr
    assert (tmp_path / "said/b.json").read_text() == "somebody's"
    assert json.loads((tmp_path / "said/c.json").read_text())["count"] == 10
    (tmp_path / "said/b.json").unlink()
    assert "5 of 5 done (4 earlier)" in gatlas(*words, "-n", 10).stderr
    (tmp_path / "said/c.json").unlink()
    if place == "out/":  # its own reports may be replaced, and one that is gone is made again
        assert "5 of 5 done (4 earlier)" in gatlas(*words, "-n", 10).stderr
    else:
        assert "without a file that is asked for" in gatlas(*words, "-n", 10, code=1).stderr
    gatlas(*words, "-n", 20, "--force")
    assert {json.loads(path.read_text())["count"] for path in (tmp_path / "said").iterdir()} == {20}
    assert not list(tmp_path.rglob(".*"))


def test_an_object_of_a_stream_keeps_an_unowned_report(gatlas, splats, tmp_path):
    (tmp_path / "b.json").write_text("somebody's")
    run = gatlas("prune", splats, "-n", 10, *SMALL, "--report", "{stem}.json", "--tar", code=3)
    assert "b.json exists" in run.stderr
    assert (tmp_path / "b.json").read_text() == "somebody's"
    assert json.loads((tmp_path / "c.json").read_text())["count"] == 10


def test_no_batch_writes_over_its_inputs(gatlas, splats, tmp_path):
    before = {path.name: path.read_bytes() for path in splats.iterdir()}
    for words in ((), ("--force",)):
        run = gatlas("prune", splats, "-n", 10, "-o", "splats", *words, code=1)
        assert "is an input, and a result would be written over it" in run.stderr
    assert {path.name: path.read_bytes() for path in splats.iterdir()} == before


def test_results_below_the_folder_that_is_read_are_not_read(gatlas, splats, tmp_path):
    for place in ("splats/small/", "splats/small.tar"):
        gatlas("prune", splats, "-n", 10, "-o", place)
        assert "5 of 5 done (5 earlier)" in gatlas("prune", splats, "-n", 10, "-o", place).stderr
        shutil.rmtree(splats / "small", ignore_errors=True)


def test_the_results_of_other_inputs_are_kept(gatlas, splats, tmp_path):
    gatlas("prune", splats, "-n", 10, "-o", "out/")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    splats.rename(tmp_path / "others")
    for path in (tmp_path / "others").iterdir():
        path.write_bytes(path.read_bytes() + b"\n")
    assert "use --force" in gatlas("prune", "others", "-n", 10, "-o", "out/", code=3).stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_a_result_outlives_a_bad_version_of_its_input(gatlas, splats, tmp_path):
    gatlas("prune", splats, "-n", 10, "-o", "out/")
    good = (splats / "a.ply").read_bytes()
    (splats / "a.ply").write_bytes(b"junk")
    gatlas("prune", splats, "-n", 10, "-o", "out/", code=3)
    (splats / "a.ply").write_bytes(good)
    assert "5 of 5 done (5 earlier)" in gatlas("prune", splats, "-n", 10, "-o", "out/").stderr


def test_an_output_that_cannot_be_stored_does_not_stop_the_batch_and_leaves_nothing(gatlas, splats, tmp_path):
    (splats / "deep").mkdir()
    (splats / "a.ply").rename(splats / "deep/a.ply")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/deep").write_bytes(b"a file")
    run = gatlas("prune", splats, "-n", 10, "--jobs", 2, "-o", "out/", code=3)
    assert "out/deep" in run.stderr
    assert "4 of 5 done, 1 failed" in run.stderr
    assert lines(tmp_path / "out/manifest-0-of-1.jsonl")["deep/a"]["status"] == "failed"
    assert not list((tmp_path / "out").glob(".gatlas*"))


FULL = r"""
import errno, os, pathlib, sys
from gatlas.cli import main
really_open = os.open
def open_on_a_full_disk(path, flags, *rest, **more):
    if flags & os.O_CREAT and ".gatlas-batch" in str(path) and len(list(pathlib.Path("out").glob("*.ply"))) >= 2:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
    return really_open(path, flags, *rest, **more)
os.open = open_on_a_full_disk
main()
"""


def test_a_full_disk_ends_the_batch_and_nothing_counts_as_failed_for_good(gatlas, splats, tmp_path):
    words = [sys.executable, "-c", FULL, "prune", str(splats), "-n", "10", "-o", "out/"]
    run = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 1, run.stderr
    assert "No space left on device" in run.stderr
    assert "stopped, since every other object would fail too; run the same command to resume" in run.stderr
    assert names(tmp_path / "out") == ["a.ply", "b.ply", "manifest-0-of-1.jsonl"]
    assert sorted(lines(tmp_path / "out/manifest-0-of-1.jsonl")) == ["a", "b", "c"]  # d and e were not tried
    assert "5 of 5 done (2 earlier)" in gatlas("prune", splats, "-n", 10, "-o", "out/").stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_behind_standard_output_is_no_fault_of_an_object(splats):
    words = [sys.executable, "-m", "gatlas", "prune", str(splats), "-n", "10", "--tar"]
    with open("/dev/full", "wb") as full:
        run = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert run.returncode == 1
    (said,) = run.stderr.splitlines()
    assert said.startswith("gatlas prune: standard output: No space left on device: stopped")
    assert "run the same command to start over" in said


def test_a_verb_that_saves_nothing_on_the_way_asks_to_be_queued_again(splats, tmp_path):
    words = [sys.executable, "-m", "gatlas", "normalize-stats", "-o", "stats.npz"]
    with running(words, cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0) as waiting:
        os.set_blocking(waiting.stdin.fileno(), False)
        left = memoryview(b"PK\x03\x04" + bytes(4 << 20))  # of an NPZ, and more than any pipe holds: it has been read
        while left:
            assert select.select([], [waiting.stdin], [], LIMIT)[1], "it reads nothing"
            left = left[os.write(waiting.stdin.fileno(), left) :]
        waiting.send_signal(signal.SIGUSR1)
        waiting.stdin.close()  # a signal that comes between two reads of Python's waits for the end of the second
        assert waiting.wait(LIMIT) == 75
    assert not (tmp_path / "stats.npz").exists()


def test_an_empty_output_is_refused(gatlas, splats):
    assert "the name of the output is empty" in gatlas("prune", splats, "-o", "", code=1).stderr


def test_names_of_every_length_and_byte_are_kept(gatlas, splats, tmp_path):
    odd = ["n" * 251, "two\nlines", "v1.2", "[x]", "-dash", "ü ñ ", os.fsdecode(b"\xff")]
    for path, name in zip(sorted(splats.iterdir()), odd, strict=False):
        path.rename(splats / f"{name}.ply")
    for name in odd[5:]:
        shutil.copy(splats / "v1.2.ply", splats / f"{name}.ply")
    gatlas("prune", splats, "-n", 10, "-o", "out/")
    assert {path.stem for path in (tmp_path / "out").glob("*.ply")} == set(odd)


def test_a_time_limit_needs_a_batch(gatlas, splats):
    assert "--timeout is for many objects" in gatlas("prune", splats / "a.ply", "--timeout", 5, code=1).stderr


def test_an_engine_that_one_result_does_not_use_is_said(gatlas, splats, tmp_path):
    run = gatlas("prune", splats / "a.ply", "-n", 10, "--engine", "dask", "-o", "one.ply")
    assert "--engine dask is not used, as one result is made here" in run.stderr
    assert (tmp_path / "one.ply").exists()


def test_the_shells_pipes_are_inputs(splats, tmp_path):
    words = f"{sys.executable} -m gatlas prune <(cat {splats}/a.ply) <(cat {splats}/b.ply) -n 10 -o out/"
    subprocess.run(["bash", "-c", words], cwd=tmp_path, check=True, capture_output=True)
    assert len(list((tmp_path / "out").glob("*.ply"))) == 2


def test_two_inputs_of_one_name_are_refused_before_anything_runs(gatlas, splats, tmp_path, splat_bytes):
    (tmp_path / "a.ply").write_bytes(splat_bytes)
    run = gatlas("atlas-encode", splats / "a.ply", tmp_path / "a.ply", "-o", "out/", code=1)
    assert "two inputs have the name 'a'" in run.stderr
    assert not (tmp_path / "out").exists()


def test_folders_inside_a_folder_are_mirrored(gatlas, splats, tmp_path):
    (splats / "deep").mkdir()
    (splats / "a.ply").rename(splats / "deep/a.ply")
    gatlas("atlas-encode", splats, *ENCODE, "-o", "out/")
    assert (tmp_path / "out/deep/a.npz").exists()


def test_inputs_come_from_a_list(gatlas, splats, tmp_path):
    found = "\n".join(str(splats / f"{name}.ply") for name in "bd")
    gatlas("atlas-encode", "--files-from", "-", *ENCODE, "-o", "lines/", stdin=found.encode())
    gatlas("atlas-encode", "--files-from", "-", "-0", *ENCODE, "-o", "nulls/", stdin=found.replace("\n", "\0").encode())
    assert names(tmp_path / "lines") == names(tmp_path / "nulls") == ["b.npz", "d.npz", "manifest-0-of-1.jsonl"]


def test_a_file_of_a_list_that_is_gone_does_not_stop_the_batch(gatlas, splats, tmp_path):
    found = "\n".join(str(splats / name) for name in ("b.ply", "gone.ply", "d.ply", "gone.ply"))
    run = gatlas("prune", "--files-from", "-", "-n", 10, "-o", "out/", stdin=found.encode(), code=3)
    assert "gone.ply: No such file or directory" in run.stderr
    assert "2 of 3 done, 1 failed" in run.stderr
    assert lines(tmp_path / "out/manifest-0-of-1.jsonl")["gone"]["status"] == "failed"
    shutil.copy(splats / "a.ply", splats / "gone.ply")
    again = gatlas("prune", "--files-from", "-", "-n", 10, "-o", "out/", stdin=found.encode())
    assert "3 of 3 done (2 earlier)" in again.stderr
    assert "gone.ply" not in gatlas("prune", splats / "b.ply", "-n", 10, "-o", "out/").stderr
    gatlas("prune", splats / "b.ply", splats / "nowhere.ply", "-n", 10, "-o", "out/", code=1)


def test_an_option_that_names_an_output_needs_the_stem(gatlas, splats, tmp_path):
    run = gatlas("atlas-encode", splats, *ENCODE, "--report", "check.json", "-o", "out/", code=1)
    assert "put {stem} into its name" in run.stderr
    gatlas("atlas-encode", splats, *ENCODE, "--report", "checks/{stem}.json", "-o", "out/{stem}-atlas.npz")
    assert names(tmp_path / "checks") == [f"{name}.json" for name in "abcde"]
    assert (tmp_path / "out/a-atlas.npz").exists()


def test_a_name_with_a_stem_promises_what_it_holds(gatlas, splats):
    assert "name the output {stem}.ply" in gatlas("prune", splats, "-o", "out/{stem}.png", code=1).stderr


def test_views_go_into_a_folder_each(gatlas, splats, tmp_path):
    words = ("render", splats / "a.ply", splats / "b.ply", "--orbit", 2, "--width", 16, "-o", "views/{stem}/")
    gatlas(*words)
    assert (tmp_path / "views/b/transforms.json").exists()
    assert "2 earlier" in gatlas(*words).stderr


def test_a_tar_holds_the_objects_in_order(gatlas, splats, tmp_path):
    gatlas("atlas-encode", splats, *ENCODE, "--jobs", 2, "-o", "atlases.tar")
    with tarfile.open(tmp_path / "atlases.tar") as archive:
        assert archive.getnames() == [f"{name}.npz" for name in "abcde"]
    assert sorted(lines(tmp_path / "atlases.manifest.jsonl")) == list("abcde")
    before = (tmp_path / "atlases.tar").read_bytes()
    assert "5 of 5 done (5 earlier)" in gatlas("atlas-encode", splats, *ENCODE, "-o", "atlases.tar").stderr
    assert (tmp_path / "atlases.tar").read_bytes() == before
    gatlas("atlas-decode", "atlases.tar", "-o", "back/")
    assert names(tmp_path / "back") == [*(f"{name}.ply" for name in "abcde"), "manifest-0-of-1.jsonl"]


def test_a_tar_of_other_options_is_not_mixed(gatlas, splats):
    gatlas("atlas-encode", splats, *ENCODE, "-o", "atlases.tar")
    run = gatlas("atlas-encode", splats, "--size", 11, "-o", "atlases.tar", code=1)
    assert "use --force to make it anew" in run.stderr
    gatlas("atlas-encode", splats, "--size", 11, "-o", "atlases.tar", "--force")


def test_tars_stream_through_pipes(gatlas, splats, tmp_path):
    encoded = gatlas("atlas-encode", splats, *ENCODE, "--tar").stdout
    decoded = gatlas("atlas-decode", stdin=encoded).stdout
    assert gatlas("atlas-decode", "--tar", stdin=encoded).stdout == decoded
    (tmp_path / "back.tar").write_bytes(decoded)
    with tarfile.open(tmp_path / "back.tar") as archive:
        assert archive.getnames() == [f"{name}.ply" for name in "abcde"]
    assert "measured 5 atlases" in gatlas("normalize-stats", "-o", "stats.npz", stdin=encoded).stderr


def test_a_closed_pipe_leaves_nothing(splats, tmp_path):
    (tmp_path / "scratch").mkdir()
    words = f"{sys.executable} -m gatlas prune splats/ -n 100 --tar 2>said | head -c 10; exit ${{PIPESTATUS[0]}}"
    environment = {**os.environ, "TMPDIR": str(tmp_path / "scratch")}
    run = subprocess.run(["bash", "-c", words], cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert run.returncode in (0, 141)  # head may be slow
    assert (tmp_path / "said").read_text().splitlines()[-1:] == (
        ["gatlas prune: 5 of 5 done"] if run.returncode == 0 else []
    )
    assert names(tmp_path / "scratch") == []


def test_captions_in_a_tar_go_along(gatlas, splats, tmp_path):
    (splats / "a.txt").write_text("a ball")
    with tarfile.open(tmp_path / "splats.tar", "w") as archive:
        for name in ("a.ply", "a.txt", "b.ply"):
            archive.add(splats / name, name)
    gatlas("atlas-encode", "splats.tar", *ENCODE, "-o", "atlases.tar")
    with tarfile.open(tmp_path / "atlases.tar") as archive:
        assert archive.getnames() == ["a.npz", "a.txt", "b.npz"]


def test_captions_in_a_stream_go_along(gatlas, splats, tmp_path):
    (splats / "a.txt").write_text("a ball")
    with tarfile.open(tmp_path / "splats.tar", "w") as archive:
        for name in ("a.ply", "a.txt", "b.ply"):
            archive.add(splats / name, name)
        archive.add(splats / "c.ply", "a.v2.ply")
    pruned = gatlas("prune", "-n", 10, "--tar", stdin=(tmp_path / "splats.tar").read_bytes()).stdout
    (tmp_path / "again.tar").write_bytes(gatlas("prune", "-n", 5, "--tar", stdin=pruned).stdout)
    with tarfile.open(tmp_path / "again.tar") as archive:
        assert archive.getnames() == ["a.ply", "a.txt", "b.ply", "a_v2.ply"]
        assert archive.extractfile("a.txt").read() == b"a ball"


def test_two_objects_of_one_name_in_a_stream_are_one_line(gatlas, splats, tmp_path):
    with tarfile.open(tmp_path / "splats.tar", "w") as archive:
        for name in ("a.ply", "b.ply", "a.ply"):
            archive.add(splats / name, name)
    run = gatlas("prune", "-n", 10, "--tar", stdin=(tmp_path / "splats.tar").read_bytes(), code=1)
    assert "two objects have the name 'a'" in run.stderr


@pytest.fixture
def captioned(splats, tmp_path):
    """A tar of two splats with a caption each."""
    with tarfile.open(tmp_path / "captioned.tar", "w") as archive:
        for name in "ab":
            (splats / f"{name}.txt").write_text(f"the ball {name}")
            archive.add(splats / f"{name}.ply", f"{name}.ply")
            archive.add(splats / f"{name}.txt", f"{name}.txt")
    return tmp_path / "captioned.tar"


def test_a_caption_is_not_written_over_an_unowned_file(gatlas, captioned, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.txt").write_text("precious")
    words = ("prune", captioned, "-n", 10, "-o", "out/")
    plan = gatlas(*words, "--dry-run").stdout.decode().splitlines()
    assert [line.split("\t")[0] for line in plan] == ["do", "exists"]
    run = gatlas(*words, code=3)
    assert "out/a.txt exists and is of another input" in run.stderr
    assert (tmp_path / "out/a.txt").read_text() == "precious"
    assert not (tmp_path / "out/a.ply").exists()
    assert (tmp_path / "out/b.txt").read_text() == "the ball b"
    gatlas(*words, "--force")
    assert (tmp_path / "out/a.txt").read_text() == "the ball a"
    assert (
        "2 of 2 done" in gatlas("prune", captioned, "-n", 5, "-o", "out/", "--force").stderr
    )  # its own captions may be replaced


def test_a_caption_has_a_place_of_its_own(gatlas, captioned, tmp_path):
    run = gatlas("prune", captioned, "-n", 10, "--report", "out/{stem}.txt", "-o", "out/", code=1)
    assert "out/a.txt: the .txt beside" in run.stderr
    assert not (tmp_path / "out").exists()


def test_a_shard_without_objects_is_a_tar_without_objects(gatlas, splats, tmp_path):
    words = ("prune", splats / "a.ply", splats / "b.ply", "-n", 10, "-o", "s-{shard}.tar")
    for shard in ("0/3", "1/3", "2/3", "2/3"):
        gatlas(*words, "--shard", shard)
    assert not list(tmp_path.glob("*.partial"))
    assert "2 of 2 done" in gatlas("prune", "s-{00000..00002}.tar", "-n", 5, "-o", "out/").stderr
    gatlas("prune", "s-00002.tar", "-n", 5, "-o", "next.tar")
    empty = (tmp_path / "s-00002.tar").read_bytes()
    assert gatlas("prune", "-n", 5, "--tar", stdin=empty).stdout == (tmp_path / "next.tar").read_bytes() == empty
    gatlas("prune", splats / "a.ply", splats / "b.ply", splats / "c.ply", *words[3:], "--shard", "2/3")
    with tarfile.open(tmp_path / "s-00002.tar") as archive:
        assert archive.getnames() == ["c.ply"]


def test_one_object_through_a_pipe_needs_a_name_in_a_folder(gatlas, splats):
    run = gatlas("prune", "-o", "out/", stdin=(splats / "a.ply").read_bytes(), code=1)
    assert "standard input is one object and has no name for out/: name its result, -o out/NAME.ply" in run.stderr


def test_many_objects_need_a_place_for_many(gatlas, splats):
    run = gatlas("atlas-encode", splats / "a.ply", splats / "b.ply", "-o", "one.npz", code=1)
    assert "holds one object: for many, name a folder, DIR/, or x.tar" in run.stderr


def test_a_signal_ends_the_batch_between_objects_and_the_same_command_resumes_it(gatlas, splats, tmp_path):
    words = ("atlas-encode", splats, *ENCODE, "-o", "out/")
    command = [sys.executable, HELD, *map(str, words)]
    environment = {**os.environ, "HOLD_AT": "c.ply"}
    with running(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as batch:
        wait_until((tmp_path / "held").exists, "the third object", batch)
        batch.send_signal(signal.SIGUSR1)
        _, said = batch.communicate(timeout=LIMIT)
    assert batch.returncode == 75, said
    assert "run the same command to resume" in said
    assert names(tmp_path / "out") == ["a.npz", "b.npz", "c.npz", "manifest-0-of-1.jsonl"]
    assert "5 of 5 done (3 earlier)" in gatlas(*words).stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_stream_that_is_stopped_while_it_waits_is_no_whole_tar(gatlas, splats, tmp_path, number):
    whole = gatlas("prune", splats, "-n", 10, "--tar").stdout
    words = [sys.executable, "-m", "gatlas", "prune", "-n", "5", "--tar"]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with running(words, cwd=tmp_path, bufsize=0, **pipes) as waiting:
        waiting.stdin.write(whole[: whole.index(b"c.ply")])  # a and b, whole
        first = read_next(waiting.stdout.fileno(), "a, which is not held back until more comes")
        waiting.send_signal(number)
        assert waiting.wait(LIMIT) == 75
        said = waiting.stderr.read().decode()
        (tmp_path / "cut.tar").write_bytes(first + waiting.stdout.read())
    assert "the tar on standard output is incomplete; run the same command to start over" in said
    assert "breaks off before its end mark" in gatlas("prune", "cut.tar", "-o", "x.tar", code=1).stderr


def test_a_stream_of_files_that_is_stopped_is_no_whole_tar(gatlas, splats, tmp_path, splat_bytes):
    for number in range(60):
        (splats / f"x{number:02d}.ply").write_bytes(splat_bytes)
    # More than the pipe holds: the stream cannot come to its end while its first part is read.
    words = [sys.executable, "-m", "gatlas", "prune", str(splats), "-n", "90", "--tar"]
    heard, told = os.pipe()
    if hasattr(fcntl, "F_SETPIPE_SZ"):  # which on a kernel with large pages holds a megabyte
        fcntl.fcntl(told, fcntl.F_SETPIPE_SZ, 1)
    with open(heard, "rb", buffering=0) as stream, running(words, stdout=told, stderr=subprocess.PIPE) as stopped:
        os.close(told)
        first = read_next(heard, "the first object")
        stopped.send_signal(signal.SIGTERM)
        (tmp_path / "cut.tar").write_bytes(first + stream.read())
        _, said = stopped.communicate(timeout=LIMIT)
    assert stopped.returncode == 75, said
    assert "breaks off before its end mark" in gatlas("prune", "cut.tar", "-o", "x.tar", code=1).stderr


def test_an_upstream_that_breaks_off_breaks_the_stream(gatlas, splats, tmp_path):
    whole = gatlas("prune", splats, "-n", 10, "--tar").stdout
    run = gatlas("prune", "-n", 5, "--tar", stdin=whole[: whole.index(b"c.ply") + 700], code=1)
    assert "standard input: truncated" in run.stderr
    assert not run.stdout.endswith(bytes(1024))


def manifest_of(folder):
    found = [*folder.glob("out/manifest-*.jsonl"), *folder.glob("out.manifest.jsonl")]
    return b"".join(path.read_bytes() for path in found)


def wait_for_lines(batch, folder, count):
    """Until the manifest of the batch that runs in `folder` has so many lines, or the batch has ended."""
    wait_until(lambda: manifest_of(folder).count(b"\n") >= count or batch.poll() is not None, f"{count} lines")


@pytest.mark.slow
@pytest.mark.parametrize("place", ["out/", "out.tar"])
def test_killed_at_random_moments_the_batch_comes_to_the_same_bytes(tmp_path, heavy_splat_bytes, place):
    write_many(tmp_path / "splats", 30, heavy_splat_bytes)
    words = [sys.executable, "-m", "gatlas", "atlas-encode", "../splats", "--size", "32", "--jobs", "2", "-o", place]

    def start(folder):
        return subprocess.Popen(words, cwd=folder, stderr=subprocess.DEVNULL, start_new_session=True)

    calm, stormy = tmp_path / "calm", tmp_path / "stormy"
    calm.mkdir()
    batch = start(calm)
    wait_for_lines(batch, calm, 1)
    began = time.monotonic()
    assert batch.wait(LIMIT) == 0
    span = (time.monotonic() - began) / 29  # of an object

    def check_the_end():
        assert content(stormy) == content(calm)
        (manifest,) = stormy.rglob("*manifest*")
        # A kill between a line and its result's rename leaves the line, and the object has another when it is made
        # again.
        newest = {line["id"]: line["status"] for line in map(json.loads, manifest.read_text().splitlines())}
        assert newest == {f"s{number:02d}": "ok" for number in range(30)}
        assert not [path for path in stormy.rglob("*") if path.name.startswith(".")]

    rng = random.Random(0)
    done = []  # results after each kill
    for _ in range(100):
        stormy.mkdir(exist_ok=True)
        batch = start(stormy)
        # However fast the machine is, each kill falls behind some more results and into the making of another.
        wait_for_lines(batch, stormy, manifest_of(stormy).count(b"\n") + rng.randint(1, 6))
        time.sleep(rng.random() * span)
        with suppress(ProcessLookupError):
            os.killpg(batch.pid, signal.SIGKILL)  # the workers too, as when a node goes down
        if batch.wait(LIMIT) == -signal.SIGKILL:
            done.append(manifest_of(stormy).count(b'"ok"'))
            if len(done) == 20:
                break
        else:  # it came to its end before the kill
            check_the_end()
            shutil.rmtree(stormy)
    assert len(done) == 20
    assert len({count for count in done if 0 < count < 30}) > 2, done  # else hardly any was killed at work
    subprocess.run(words, cwd=stormy, check=True, capture_output=True)
    check_the_end()


def content(folder):
    """Bytes of every result under a folder, by its path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "manifest" not in path.name
    }


def test_a_list_without_names_is_named(gatlas, tmp_path):
    (tmp_path / "list.txt").write_text("\n \n")
    run = gatlas("atlas-encode", "--files-from", "list.txt", *ENCODE, "-o", "out/", code=1)
    assert run.stderr == "gatlas atlas-encode: list.txt: there are no names of files in it\n"
