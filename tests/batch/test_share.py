"""The tasks of a shard that names alone give are those that all tasks give, each made and looked at."""

import json
import os
import random
import re
from pathlib import Path

import pytest

from gatlas import io
from gatlas.batch import Batchable, BatchOptions, BatchWork, listing, places, run_batch
from gatlas.batch.manifest import FolderResults
from gatlas.batch.share import folder_share, streamed_share, tar_share
from gatlas.config import Options
from gatlas.errors import GatlasError
from gatlas.io import ShardWriter

WORK = BatchWork("prune", print, Options(), Batchable(".ply", (".ply", ".splat")))
NAMES = ["a.ply", "b.PLY", "c.splat", "v1.2.ply", "a-small.ply", "x/a.ply", "x/y/d.ply", "z-1/e.ply", "q.txt.ply"]
TEMPLATES = [
    "out/{stem}.ply",
    "in/{stem}.ply",
    "in/{stem}-small.ply",
    "in/{stem}",
    "in/out/{stem}.ply",
    "{stem}/{stem}.ply",
    "in/{stem}/m.ply",
    "out/{stem}/",
    "out/p-{stem}.npz",
    "out/{stem}.txt",
    "link/{stem}.ply",
    "out/../in/x/{stem}.ply",
]


def slow_share(items, template, share, known, tar=None, sources=(), work=WORK):
    """Return the tasks of a share by making and checking those of all objects."""
    tasks = listing.make_tasks(work, items, template)
    if template is not None:
        tasks = places.without_products(tasks, known(), work.name)
        places.refuse_captions(tasks, lambda task: work.outputs(task.key).values())
    elif tar is not None:
        tasks = places.without_members(tasks, tar, sources)
    places.refuse_equal_names(tasks)
    places.refuse_overwriting(tasks)
    return tasks[share[0] :: share[1]]


def fast_share(items, template, share, known, work=WORK):
    """Return the tasks of a share by the names, with what is left to check of them."""
    tasks = folder_share(work, items, share, template, known)
    places.refuse_found(tasks, known(), work.name)
    return [task._replace(found="") for task in tasks]


def assert_share_is_that_of_all(items, template, share, known, work=WORK):
    """Check a share against its slow twin; an input in the way of a result is reported by the share of the result."""
    slow = outcome(lambda: slow_share(list(items), template, share, known, work=work))
    if isinstance(slow, str):
        shares = [(index, share[1]) for index in range(share[1])]
        assert slow in [outcome(lambda each=each: fast_share(items, template, each, known, work)) for each in shares]
    else:
        assert outcome(lambda: fast_share(items, template, share, known, work)) == slow


def outcome(make):
    try:
        return make()
    except GatlasError as error:
        return str(error)


def make_inputs(rng):
    """Make a random set of objects in the current folder: files, folders, links, a tar; return words that name them."""
    for name in rng.sample(NAMES, rng.randint(1, len(NAMES))):
        Path("in", name).parent.mkdir(parents=True, exist_ok=True)
        Path("in", name).write_bytes(b"splat")
    Path("out").mkdir(exist_ok=True)
    if rng.random() < 0.3:
        os.symlink("in", "link")
    if rng.random() < 0.3:
        os.symlink("../out/a.ply", "in/linked.ply")
        Path("out/a.ply").write_bytes(b"splat")
    if rng.random() < 0.3:
        Path("more").mkdir()
        os.symlink("../out", "more/deep")
        Path("out/k.ply").write_bytes(b"splat")
    with ShardWriter("set.tar") as shard:
        for key in rng.sample(["t", "x/a", "in/u", "w"], 3):
            shard.add(key, ".ply", b"splat")
            shard.add(key, ".txt", b"text")
    words = ["in", "set.tar", "more", "in/*.ply", "in/a.ply", "./in"]
    return [word for word in rng.sample(words, rng.randint(1, 3)) if not word.startswith("in/") or os.path.exists(word)]


def write_manifests(rng, folder, items, template):
    """Write manifests of some objects, as an earlier run of this or another verb would have, in a random order."""
    lines = []
    for item in items:
        for number in range(rng.randint(0, 2)):
            line = {"id": item.key, "status": rng.choice(["ok", "failed"]), "verb": rng.choice(["prune", "fit"])}
            lines.append(line | {"input": rng.choice([item.name, "other"]), "ended": rng.choice([1, 2, number])})
    rng.shuffle(lines)
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(2):
        text = "".join(json.dumps(line) + "\n" for line in lines[index::2])
        (folder / f"manifest-{index}-of-2.jsonl").write_text(text + '{"id": "to')


@pytest.mark.filterwarnings("ignore:files that are named twice")
@pytest.mark.parametrize("seed", range(150))
def test_a_share_of_names_is_that_of_all_tasks(seed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = random.Random(seed)
    words = make_inputs(rng)
    template, share = rng.choice(TEMPLATES), (rng.randrange(3), 3)
    try:
        items = listing.list_all(WORK, words or ["set.tar"], ["gone.ply"] * (rng.random() < 0.2))
    except GatlasError:
        return  # nothing lies in one of them
    folder = listing.results_folder(template)
    write_manifests(rng, folder, items, template)
    known = FolderResults(folder, 0, 1, "prune").known
    assert_share_is_that_of_all(items, template, share, known)
    tar = re.compile(re.escape(str(tmp_path / rng.choice(["set.tar", "none.tar"]))))
    slow = outcome(lambda: slow_share(list(items), None, share, None, tar, words))
    assert outcome(lambda: tar_share(WORK, items, share, tar, words)) == slow
    if tar.pattern.endswith(r"none\.tar"):
        assert outcome(lambda: streamed_share(WORK, items, share)) == slow


STEMS = ["a", "b", "a-small", "b-small", "a-small-small", "p-a", "p-b", "x/a", "x/a-small", "x/p-a", "a.v", "v-small"]
AMONG = [
    *("in/{stem}-small.ply", "./in/{stem}-small.ply", "in/x/{stem}-small.ply", "in/p-{stem}.ply", "in/{stem}.v.ply"),
    *("in/{stem}.ply", "in/{stem}.compressed.ply", "in/x/../{stem}-small.PLY", "link/{stem}-small.ply", "{stem}.ply"),
]
COMPRESSED = BatchWork("prune", print, Options(), Batchable(".ply", (".compressed.ply", ".ply", ".splat")))


@pytest.mark.parametrize("seed", range(150))
def test_a_share_without_results_among_the_inputs_is_that_of_all_tasks(seed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = random.Random(seed)
    template = rng.choice(AMONG)
    for stem in rng.sample(STEMS, rng.randint(2, 5)):
        ending = rng.choice([".ply", ".ply", ".ply", ".PLY", ".splat", ".compressed.ply"])
        made = [template.replace("{stem}", stem)] if rng.random() < 0.5 and template.startswith("in/") else []
        for path in map(Path, [f"in/{stem}{ending}", *made]):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"splat")
    if rng.random() < 0.2:
        os.symlink("in", "link")
    if rng.random() < 0.1:
        Path("in/a-small.ply").unlink(missing_ok=True)
        Path("in/a-small.ply").mkdir(parents=True)
        Path("in/a-small.ply/c.ply").write_bytes(b"splat")
    folder = rng.choice(["in", "in", "./in", "in/x", str(tmp_path / "in"), "link"])
    holds_some = any(path.is_file() for path in Path(folder).rglob("*"))
    items = listing.list_all(COMPRESSED, [folder if holds_some else "in"], [])
    lines = {}
    for item in items:
        made_it = rng.random() < 0.95
        lines[item.key] = {"status": "ok", "verb": "prune", "input": item.name if made_it else "other"}
    share = (rng.randrange(3), 3)
    assert_share_is_that_of_all(items, template, share, lambda keys=None: lines, COMPRESSED)


@pytest.mark.parametrize("seed", range(20))
def test_the_lines_of_some_objects_are_among_those_of_all(seed, tmp_path):
    rng = random.Random(seed)
    keys = ["a", "b", 'quo"te', "back\\slash", "ümlaut", "x/y", "\udc80"]
    items = [io.Item(key, Path(key)) for key in keys]
    write_manifests(rng, tmp_path, items, None)
    raw = '{"id": "ümlaut", "verb": "prune", "ended": 9}\n{"status": "ok", "id": "a", "verb": "prune", "ended": 9}\n'
    twice = '{"id": "a", "verb": "prune", "ended": 10, "id": "b"}\n'
    (tmp_path / "manifest-7-of-9.jsonl").write_text(raw + twice + "[1]\n{}\n")
    results = FolderResults(tmp_path, 0, 1, "prune")
    wanted = rng.sample(keys, 3)
    assert results.known(wanted) == {key: line for key, line in results.known().items() if key in wanted}
    assert results.known()["b"]["ended"] == 10


def test_results_apart_from_the_inputs_make_the_tasks_of_their_share_alone(tmp_path, monkeypatch):
    """The path that keeps a task of a large array small: nobody looks at the other objects."""
    monkeypatch.chdir(tmp_path)
    for number in range(9):
        Path("in").mkdir(exist_ok=True)
        Path(f"in/{number}.ply").write_bytes(b"splat")
    items = listing.list_all(WORK, ["in"], [])
    monkeypatch.setattr(places, "refuse_overwriting", None)
    tasks = folder_share(WORK, items, (1, 3), "out/{stem}.ply", lambda keys: pytest.fail("manifests were read"))
    assert [task.key for task in tasks] == ["1", "4", "7"]


def test_results_among_the_inputs_make_the_tasks_of_their_share_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for name in ("a", "a-small", "b", "c", "c-small", "d-small"):
        Path(f"in/{name}.ply").write_bytes(b"splat")
    items = listing.list_all(WORK, ["in"], [])
    monkeypatch.setattr(places, "refuse_overwriting", None)
    read = pytest.fail
    shares = [folder_share(WORK, items, (i, 2), "in/{stem}-small.ply", lambda keys: read("was read")) for i in (0, 1)]
    found = [[(task.key, task.found) for task in tasks] for tasks in shares]
    assert found == [[("a", "in/a-small.ply"), ("c", "in/c-small.ply")], [("b", ""), ("d-small", "")]]


def test_an_input_with_the_name_of_a_result_is_refused_by_the_share_of_that_result(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for name in ("a", "a-small", "b"):
        Path(f"in/{name}.ply").write_bytes(b"splat")
    options = [BatchOptions(shard=f"{index}/2", dry_run=True) for index in range(2)]
    with pytest.raises(GatlasError, match=r"^in/a-small\.ply: is an input, and a result would be written over it"):
        run_batch(WORK, ["in"], "in/{stem}-small.ply", options[0])
    plan = run_batch(WORK, ["in"], "in/{stem}-small.ply", options[1]).plan
    assert [task.key for task in plan.todo] == ["b"]
