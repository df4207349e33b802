"""Folders of training runs: whole or not at all, whatever happens."""

import json
import os
import resource
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gatlas.errors import GatlasError
from gatlas.io.runs import train_run as folder
from gatlas.io.runs.train_log import LOG, append_log, truncate_log

META = {"format": 1}


def fill_run(path):
    Path(path, "gatlas.json").write_text("{}")


def fill_net(path, stored):
    Path(path, "weights").write_text("averaged")


@pytest.fixture
def run(tmp_path):
    """An opened run."""
    path = tmp_path / "run"
    with folder.opened(path, fill_run, fresh=True, resume=False):
        yield path


def save(run, step, *, keep=3, size=4, fill=fill_net):
    tensors = {"weight": torch.full((size,), float(step))}
    return folder.save_checkpoint(run, step, tensors, META, part="net", fill=fill, keep=keep)


def names(path):
    return sorted(each.name for each in path.iterdir() if each.name != ".lock")


def test_a_checkpoint_comes_back_and_the_part_means_it(run):
    saved = save(run, 100)
    found = folder.find_checkpoint(run, "latest")
    assert (found.step, found.folder) == (100, saved)
    assert found == folder.find_checkpoint(run, "100")
    assert torch.equal(folder.load_tensors(found)["weight"], torch.full((4,), 100.0))
    assert (run / "net" / "weights").read_text() == "averaged"
    assert os.readlink(run / "net") == "checkpoint-000100/net"


def test_only_the_newest_are_kept(run):
    for step in (10, 20, 30, 40):
        save(run, step, keep=2)
    assert names(run) == ["checkpoint-000030", "checkpoint-000040", "gatlas.json", "net"]


def test_a_run_that_went_back_replaces_the_later_ones(run):
    for step in (10, 20, 30):
        save(run, step)
    save(run, 20)
    assert folder.list_steps(run) == [10, 20]
    assert os.readlink(run / "net") == "checkpoint-000020/net"


def test_every_file_has_the_mode_of_the_umask(run):
    before = os.umask(0o022)
    try:
        saved = save(run, 1)
    finally:
        os.umask(before)
    assert {file.stat().st_mode & 0o777 for file in saved.rglob("*") if file.is_file()} == {0o644}


def test_a_fresh_run_refuses_a_folder_with_files(tmp_path):
    (tmp_path / "run").mkdir()
    folder.check_new(tmp_path / "run")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(GatlasError, match="exists and is not empty: use --resume latest"):
        folder.check_new(tmp_path / "run")
    with (
        pytest.raises(GatlasError, match="not a training run"),
        folder.opened(tmp_path / "run", fill_run, fresh=True, resume=True),
    ):
        pass
    assert names(tmp_path / "run") == ["notes.txt"]
    with pytest.raises(GatlasError, match="there is no folder"):
        folder.check_new(tmp_path / "none" / "run")


def test_a_run_that_cannot_be_begun_leaves_nothing(tmp_path):
    def fail(path):
        fill_run(path)
        raise GatlasError("no")

    with pytest.raises(GatlasError, match=r"^no$"), folder.opened(tmp_path / "run", fail, fresh=True, resume=False):
        pass
    assert names(tmp_path) == []


def test_a_run_without_a_checkpoint_is_begun_anew(run):
    (run / "text_encoder").mkdir()
    (run / ".gatlas-0123.tmp").mkdir()

    def fill(path):
        Path(path, "gatlas.json").write_text("[]")
        Path(path, "text_encoder").mkdir()
        Path(path, "text_encoder", "config.json").write_text("{}")

    os.rename(run, run.parent / "other")  # the fixture holds the lock of the first
    path = run.parent / "other"
    (path / ".lock").unlink()
    with folder.opened(path, fill, fresh=True, resume=True):
        assert names(path) == ["gatlas.json", "text_encoder"]
        assert (path / "gatlas.json").read_text() == "[]"
        assert names(path / "text_encoder") == ["config.json"]
    os.rename(path, run)


def test_two_processes_cannot_train_in_one_folder(run):
    with (
        pytest.raises(GatlasError, match="another process trains in this folder"),
        folder.opened(run, fill_run, fresh=False, resume=True),
    ):
        pass


def test_a_step_that_is_not_there_is_said_with_those_that_are(run):
    assert folder.find_checkpoint(run, "latest") is None
    with pytest.raises(GatlasError, match="no checkpoint of step 5: there is none"):
        folder.find_checkpoint(run, "5")
    save(run, 10)
    with pytest.raises(GatlasError, match="no checkpoint of step 5: there are 10"):
        folder.find_checkpoint(run, "5")
    with pytest.raises(GatlasError, match="must be latest or the step"):
        folder.find_checkpoint(run, "last")


def test_a_process_that_died_before_it_removed_the_oldest_leaves_them_to_the_next(run):
    for step in (10, 20, 30, 40):
        save(run, step, keep=9)
    folder.remove_old(run, 30, 2)
    assert folder.list_steps(run) == [20, 30, 40]


class Disk:
    """A disk of which so many bytes are free beside what checkpoints have taken or freed."""

    def __init__(self, run, free):
        self.run, self.total = run, free + self.taken(run)

    @staticmethod
    def taken(run):
        return sum(each.stat().st_size for each in run.glob("checkpoint-*/**/*") if each.is_file())

    def __call__(self, path):
        assert Path(path).is_dir()
        return SimpleNamespace(free=self.total - self.taken(self.run))


def test_where_there_is_room_nothing_is_removed_before_the_new_checkpoint_is_whole(run, monkeypatch):
    for step in (10, 20, 30):
        save(run, step)
    monkeypatch.setattr("shutil.disk_usage", Disk(run, 1000))
    assert folder.make_room(run, 40, 1, 1000) == []
    assert folder.list_steps(run) == [10, 20, 30]


def test_a_short_disk_lets_go_of_the_oldest_beyond_keep_as_few_as_it_takes(run, monkeypatch):
    for step in (10, 20, 30, 40):
        saved = save(run, step, keep=9)
    size = sum(each.stat().st_size for each in saved.rglob("*") if each.is_file())
    monkeypatch.setattr("shutil.disk_usage", Disk(run, 100))
    assert folder.make_room(run, 50, 2, 100 + size // 2, remove_oldest=False) == []
    assert folder.list_steps(run) == [10, 20, 30, 40]
    assert folder.make_room(run, 50, 2, 100 + size // 2) == [10]
    assert folder.make_room(run, 50, 2, 100 + 3 * size - 8) == [20, 30]
    assert folder.list_steps(run) == [40]


@pytest.mark.parametrize("keep", [1, 2])
def test_the_last_whole_checkpoint_stays_on_a_short_disk(run, monkeypatch, keep):
    save(run, 10)
    monkeypatch.setattr("shutil.disk_usage", Disk(run, 100))
    said = r"checkpoint-000020: the disk has 0\.00 MB free; the checkpoint needs 2\.50 GB: free some space$"
    with pytest.raises(GatlasError, match=said):
        folder.make_room(run, 20, keep, 2_500_000_000)
    assert folder.list_steps(run) == [10]


def test_a_disk_that_is_too_small_whatever_goes_keeps_all(run, monkeypatch):
    for step in (10, 20, 30):
        save(run, step, keep=9)
    monkeypatch.setattr("shutil.disk_usage", Disk(run, 2_000_000))
    said = r"free and 0\.00 MB in checkpoints that --keep 3 lets go; .* needs 9\.00 MB: .* lower --keep, which is 3$"
    with pytest.raises(GatlasError, match=said) as caught:
        folder.make_room(run, 40, 3, 9_000_000)
    assert "\n" not in str(caught.value)
    assert folder.list_steps(run) == [10, 20, 30]


@pytest.mark.fuzz
def test_a_flipped_byte_of_the_newest_checkpoint_is_found_and_the_one_before_named(run):
    save(run, 10)
    saved = save(run, 20)
    found = folder.find_checkpoint(run, "latest")
    tensors = folder.load_tensors(found)
    rng, told = np.random.default_rng(0), []
    files = [path for path in sorted(saved.rglob("*")) if path.is_file()]
    for path in [*files, *rng.choice(files, 60)]:
        content = path.read_bytes()
        at = rng.integers(len(content))
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << rng.integers(8)]) + content[at + 1 :])
        try:
            same = folder.find_checkpoint(run, "latest")
        except GatlasError as error:
            told.append(str(error).removeprefix(f"{path}: damaged: "))
        else:  # a blank became another
            assert same == found
            assert torch.equal(folder.load_tensors(same)["weight"], tensors["weight"])
        path.write_bytes(content)
    assert len(told) > 50
    assert all(each.endswith("; the one before it is whole: --resume 10") and "/" not in each for each in told)
    assert folder.find_checkpoint(run, "latest") == found


def test_a_lost_file_of_a_checkpoint_is_named_and_the_last_whole_one(run):
    for step in (10, 20, 30):
        saved = save(run, step)
    next((saved / "net").iterdir()).unlink()
    with pytest.raises(GatlasError, match=r"checkpoint-000030/net/.*: damaged: .*: --resume 20$"):
        folder.find_checkpoint(run, "latest")
    (run / "checkpoint-000020" / folder.TENSORS).write_bytes(b"")
    with pytest.raises(GatlasError, match=r"the one before it is whole: --resume 10$"):
        folder.find_checkpoint(run, "latest")
    (run / "checkpoint-000010" / folder.META).write_bytes(b"")
    with pytest.raises(GatlasError, match=r"there is none before it$"):
        folder.find_checkpoint(run, "latest")


def test_a_checkpoint_without_checksums_as_earlier_versions_wrote_it_is_read(run):
    saved = save(run, 10)
    meta = json.loads((saved / folder.META).read_text())
    del meta["files"], meta["sha256"]
    (saved / folder.META).write_text(json.dumps(meta))
    assert folder.find_checkpoint(run, "latest").meta == meta


def test_a_damaged_checkpoint_is_one_line(run):
    saved = save(run, 10)
    content = (saved / folder.TENSORS).read_bytes()
    (saved / folder.TENSORS).write_bytes(content[:-3])
    with pytest.raises(GatlasError, match=r"training\.safetensors"):
        folder.load_tensors(folder.find_checkpoint(run, "10"))
    (saved / folder.META).write_text("{")
    with pytest.raises(GatlasError, match=r"training\.json: damaged"):
        folder.find_checkpoint(run, "latest")


def in_child(work):
    """The exit status of a forked process that runs `work`."""
    child = os.fork()
    if child == 0:
        try:
            torch.set_num_threads(1)  # the threads of the parent are not in the child: it would wait for them
            work()
        except GatlasError as error:
            Path("said.txt").write_text(str(error))
            os._exit(1)
        except BaseException:
            os._exit(2)
        os._exit(0)
    return child


@pytest.mark.parametrize("part", ["tensors", "network"])
def test_a_full_disk_is_one_line_and_keeps_what_was_there(run, monkeypatch, part):
    save(run, 10)
    monkeypatch.chdir(run.parent)

    def fill_much(path, stored):
        Path(path, "weights").write_bytes(bytes(100_000))

    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        save(run, 20, size=40_000 if part == "tensors" else 4, fill=fill_much if part == "network" else fill_net)

    _, status = os.waitpid(in_child(work), 0)
    assert os.waitstatus_to_exitcode(status) == 1
    said = Path("said.txt").read_text()
    assert "checkpoint-000020" in said
    assert "File too large" in said
    assert "\n" not in said
    assert names(run) == ["checkpoint-000010", "gatlas.json", "net"]
    assert folder.load_tensors(folder.find_checkpoint(run, "latest"))["weight"][0] == 10


def test_a_kill_at_any_moment_leaves_checkpoints_that_load(tmp_path, monkeypatch):
    """A moment is each look at the disk and each change of it, from the opening of the run to the end of a save."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "run"
    with folder.opened(path, fill_run, fresh=True, resume=False):
        for step in (1, 2):
            save(path, step, keep=2)
    moments, status = 0, -signal.SIGKILL
    while status == -signal.SIGKILL:
        before = folder.list_steps(path)[-1]
        moments += 1

        def work(left=moments, step=before + 1):
            def kill_at_the_last(event, _):
                nonlocal left
                left -= event == "open" or event.startswith(("os.", "shutil."))
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(kill_at_the_last)
            with folder.opened(path, fill_run, fresh=False, resume=True):
                save(path, step, keep=2)

        status = os.waitstatus_to_exitcode(os.waitpid(in_child(work), 0)[1])
        steps = folder.list_steps(path)
        assert steps[-1] >= before
        for step in steps:
            tensors = folder.load_tensors(folder.find_checkpoint(path, str(step)))
            assert (tensors["weight"] == step).all()
        assert (path / "net" / "weights").read_text() == "averaged"
    assert status == 0
    assert folder.list_steps(path) == [before, before + 1]
    assert moments > 20
    assert not list(path.glob(".gatlas-*"))


def test_the_log_is_cut_behind_a_step_and_before_half_a_line(run):
    for step in (10, 20, 30):
        append_log(run, {"step": step, "loss": 1 / step})
    with (run / LOG).open("a") as file:
        file.write('{"step": 35, "lo')
    assert [entry["step"] for entry in truncate_log(run, 20)] == [10, 20]
    append_log(run, {"step": 25})
    lines = (run / LOG).read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [10, 20, 25]
