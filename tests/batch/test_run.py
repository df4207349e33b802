"""A batch without the command line: a Python function on many objects, resumed, stopped and reported."""

import json
import signal
import tarfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from gatlas import io
from gatlas.batch import Batchable, BatchOptions, BatchWork, run_batch
from gatlas.errors import GatlasError, Requeue
from gatlas.io.sets.shard_index import FEWEST, index_path, shard_index
from gatlas.io.sets.shards import ShardWriter, list_members
from gatlas.prune import PruneOptions, prune
from gatlas.types import Gaussians, Origin
from tests.helpers.full_disk import files_limited_to

SPLATS = Batchable(".ply", (".ply",))


def prune_one(source, output, options, *, force, report):
    kept = prune(io.load_gaussians(source), options, report=report)
    report(f"kept {len(kept)}")
    io.save_gaussians(output, kept, force=force)
    return {"count": len(kept)}


PRUNE = BatchWork("prune", prune_one, PruneOptions(count=10, score="opacity"), SPLATS)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to work in, with three splats in splats/."""
    monkeypatch.chdir(tmp_path)
    Path("splats").mkdir()
    for seed, name in enumerate("abc"):
        rng = np.random.default_rng(seed)
        values = {"means": (20, 3), "quats": (20, 4), "scales": (20, 3), "opacities": (20,), "sh": (20, 1, 3)}
        arrays = {key: rng.uniform(0.1, 0.9, size=size).astype(np.float32) for key, size in values.items()}
        io.save_gaussians(f"splats/{name}.ply", Gaussians(**arrays, origin=Origin(name=name)))
    return tmp_path


@pytest.mark.parametrize(
    ("output", "manifest"), [("small/", "small/manifest-0-of-1.jsonl"), ("x.tar", "x.manifest.jsonl")]
)
def test_a_full_disk_is_one_line_and_leaves_no_empty_manifest(folder, output, manifest):
    with files_limited_to(100), pytest.raises(GatlasError) as caught:
        run_batch(PRUNE, ["splats"], output)
    assert str(caught.value) == f"{manifest}: File too large: stopped; run the same command to resume"
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == ["a.ply", "b.ply", "c.ply"]
    assert run_batch(PRUNE, ["splats"], output).done == 3


def test_a_disk_that_fills_up_keeps_the_lines_that_are_recorded(folder):
    recorded = run_batch(PRUNE, ["splats/a.ply"], "small/").manifest
    before = recorded.read_bytes()
    with files_limited_to(len(before) + 10), pytest.raises(GatlasError, match="File too large"):
        run_batch(PRUNE, ["splats"], "small/")
    assert recorded.read_bytes() == before


@pytest.mark.parametrize("linked", [False, True], ids=["told by names", "looked at"])
def test_a_result_among_the_inputs_stays_one_when_its_object_fails_later(folder, linked):
    if linked:
        Path("splats/c.ply").rename("c.ply")
        Path("splats/c.ply").symlink_to("../c.ply")
    again = partial(run_batch, PRUNE, ["splats"], "splats/{stem}-small.ply")
    assert again().done == 3
    Path("splats/a.ply").write_bytes(b"no splat")
    made = Path("splats/a-small.ply").read_bytes()
    for options in (BatchOptions(), BatchOptions(retry_failed=True)):
        outcome = again(options)
        assert (outcome.done, outcome.failed) == (0, 1)
    assert Path("splats/a-small.ply").read_bytes() == made
    with pytest.raises(GatlasError, match=r"a-small\.ply: is an input, and a result would be written over it"):
        run_batch(replace(PRUNE, name="render"), ["splats"], "splats/{stem}-small.ply")


def test_a_python_user_prunes_many_splats(folder):
    messages, seen = [], []
    outcome = run_batch(
        PRUNE,
        ["splats"],
        "small/",
        BatchOptions(jobs=2),
        report=messages.append,
        on_object=lambda ended, total: seen.append((ended, total)),
    )
    assert (outcome.total, outcome.done, outcome.earlier, outcome.failed, outcome.stopped) == (3, 3, 0, 0, False)
    assert outcome.manifest == Path("small/manifest-0-of-1.jsonl")
    assert outcome.notes == {"kept 10": 3}
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert messages == []
    for name in "abc":
        prune_one(f"splats/{name}.ply", f"{name}.ply", PRUNE.options, force=False, report=messages.append)
        assert Path(f"{name}.ply").read_bytes() == Path(f"small/{name}.ply").read_bytes()
    again = run_batch(PRUNE, ["splats"], "small/")
    assert (again.done, again.earlier) == (0, 3)


def test_a_dry_run_returns_the_plan_and_makes_nothing(folder):
    run_batch(PRUNE, ["splats/a.ply"], "small/")
    outcome = run_batch(PRUNE, ["splats"], "small/", BatchOptions(dry_run=True))
    assert [task.key for task in outcome.plan.todo] == ["b", "c"]
    assert [task.key for task in outcome.plan.done] == ["a"]
    assert not Path("small/b.ply").exists()


def test_an_object_that_fails_is_reported_and_recorded(folder):
    Path("splats/bad.ply").write_bytes(b"junk")
    messages = []
    outcome = run_batch(PRUNE, ["splats"], "small.tar", report=messages.append)
    assert (outcome.done, outcome.failed) == (3, 1)
    assert len(messages) == 1
    assert messages[0].startswith("splats/bad.ply: ")
    with tarfile.open("small.tar") as archive:
        assert archive.getnames() == ["a.ply", "b.ply", "c.ply"]
    lines = {line["id"]: line for line in map(json.loads, Path("small.manifest.jsonl").read_text().splitlines())}
    assert lines["bad"]["status"] == "failed"
    assert lines["a"]["count"] == 10


def test_a_batch_that_is_asked_to_stop_finishes_what_runs_and_is_resumed(folder):
    ended = []
    stopping = {"on_object": lambda done, total: ended.append(done), "should_stop": lambda: len(ended) > 1}
    outcome = run_batch(PRUNE, ["splats"], "small/", **stopping)
    assert outcome.stopped
    assert outcome.done == 1
    outcome = run_batch(PRUNE, ["splats"], "small/")
    assert (outcome.done, outcome.earlier, outcome.stopped) == (2, 1, False)


def save_and_stop(source, output, options, *, force, report):
    stopped = []
    signal.signal(signal.SIGUSR1, lambda *_: stopped.append(True))
    Path("ready").touch()
    for _ in range(6000):
        time.sleep(0.01)
        if stopped:
            raise Requeue("saved")


def test_a_function_that_saves_its_state_is_asked_to_and_its_object_counts_as_not_done(folder):
    work = BatchWork("slow", save_and_stop, PruneOptions(), SPLATS)
    outcome = run_batch(work, ["splats/a.ply"], "small/", should_stop=Path("ready").exists)
    assert outcome.stopped
    assert (outcome.done, outcome.failed) == (0, 0)
    assert not Path("small/manifest-0-of-1.jsonl").exists()


def test_a_fault_of_the_function_is_that_of_one_object(folder):
    outcome = run_batch(BatchWork("faulty", prune_b_wrongly, PRUNE.options, SPLATS), ["splats"], "small/")
    assert (outcome.done, outcome.failed) == (2, 1)


def prune_b_wrongly(source, output, options, *, force, report):
    if source.endswith("b.ply"):
        raise ZeroDivisionError
    return prune_one(source, output, options, force=force, report=report)


def test_what_is_wrong_for_all_objects_is_an_error(folder):
    batch = partial(run_batch, PRUNE)
    Path("empty").mkdir()
    for inputs, output, options, message in (
        (["splats"], "one.ply", {}, "holds one object"),
        (["empty"], "one.ply", {}, "there are no .* files in it"),  # not that it is many
        ([], "small/", {}, "no input"),
        (["splats"], "small/", {"tar": True}, "--tar is for standard output"),
        (["splats"], "splats/", {}, "is an input, and a result would be written over it"),
    ):
        with pytest.raises(GatlasError, match=message):
            batch(inputs, output, BatchOptions(**options))


def test_members_of_a_tar_that_is_read_once_go_to_standard_output_only(folder):
    run_batch(PRUNE, ["splats"], "small.tar")
    with pytest.raises(GatlasError, match="a tar from a pipe cannot be read again"):
        run_batch(PRUNE, io.stream_members("small.tar"), "smaller/")


def copied(source, output, options, *, force, report):
    Path(output).write_bytes(b"atlas")


def test_a_tar_of_many_results_has_its_index_beside_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with ShardWriter("in.tar") as shard:
        for number in range(FEWEST):
            shard.add(f"o{number}", ".ply", b"splat")
    run_batch(BatchWork("copy", copied, PRUNE.options, SPLATS), ["in.tar"], "out.tar")
    assert index_path("out.tar").exists()
    assert shard_index("out.tar").members == list_members("out.tar")
