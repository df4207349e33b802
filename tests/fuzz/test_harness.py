"""The fuzzer itself: it finds every kind of fault in readers that are made to have it, and its inputs are valid."""

import os
import random
import signal
import time
import warnings

import numpy as np
import pytest

from gatlas.errors import GatlasError
from tests.fuzz import campaign, child, verdicts
from tests.fuzz.damage import OWN, damaged
from tests.fuzz.damage_bytes import BYTES
from tests.fuzz.readers import READERS, Reader, prepare

HEAVY = {"atlas", "base", "run", "checkpoint", "re10k", "lpips", "view_network"}
SEEDS = [{"a.json": b'{"a": [1, 2.5, "b"], "c": {"d": null}}', "b.txt": b"one 2 3.5\n"}]


GROWTH = 64 << 20


def _deep():
    return _deep()


def _hang():
    while True:
        pass


def _refuse(words):
    raise GatlasError(words)


FAULTS = {
    "exc_TypeError": lambda: len(3),
    "exc_RecursionError": _deep,
    "memoryerror": lambda: np.empty(1 << 45, np.uint8),
    "memory": lambda: np.ones(GROWTH + (16 << 20), np.uint8),
    "nonfinite": lambda: {"means": [np.array([0, np.nan], np.float32)]},
    "printed": lambda: os.write(2, b"a library's own words\n"),
    "warning": lambda: warnings.warn("overflow", RuntimeWarning, stacklevel=1),
    "message": lambda: _refuse("a.json: " + "x" * 30_000),
    "killed": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "slow": _hang,
    "hang": lambda: time.sleep(600),
}


@pytest.fixture
def small_memory(monkeypatch):
    """A limit of memory that is reached soon."""
    monkeypatch.setattr(child, "GROWTH", GROWTH)


@pytest.mark.parametrize("status", FAULTS)
def test_a_fault_of_each_kind_is_found_and_saved(status, small_memory, monkeypatch, tmp_path):
    monkeypatch.setattr(campaign, "HANG", 2.0 if status == "hang" else 60.0)
    for module in (child, campaign):
        monkeypatch.setattr(module, "make_input", _numbered)
    monkeypatch.setitem(
        READERS, "toy", Reader(lambda folder: _read(folder, FAULTS[status]), lambda: SEEDS, seconds=0.3)
    )
    outcome = campaign.fuzz("toy", seed=1, count=5, save=tmp_path)
    assert outcome.counts == {status: 1, "ok": 4}
    (saved,) = tmp_path.iterdir()
    assert saved.name.startswith(f"toy_{status}")
    assert f"status {status}" in (saved / "WHY.txt").read_text()
    assert (saved / "b.txt").read_bytes() == b"2"


def _numbered(name, seeds, seed, number, fixed):
    return seeds[0], {"b.txt": b"%d" % number}, "b.txt"


def _read(folder, fault):
    return fault() if (folder / "b.txt").read_bytes() == b"2" else {"a": 1.5}


def test_a_saved_failure_is_seen_again_and_a_mended_one_is_good(monkeypatch, tmp_path):
    def read(folder):
        if b"2" in (folder / "b.txt").read_bytes():
            raise error

    error = TypeError("no")
    for module in (child, campaign):
        monkeypatch.setattr(module, "make_input", _numbered)
    monkeypatch.setitem(READERS, "toy", Reader(read, lambda: SEEDS))
    campaign.fuzz("toy", seed=1, count=5, save=tmp_path)
    monkeypatch.undo()
    monkeypatch.setitem(READERS, "toy", Reader(read, lambda: SEEDS))
    ((_, entry),) = campaign.replay(tmp_path)
    assert entry["status"] == "exc_TypeError"
    error = GatlasError("b.txt: holds a 2")
    ((_, entry),) = campaign.replay(tmp_path)
    assert entry["status"] == "refused"


def test_an_input_is_laid_out_without_what_the_one_before_left(tmp_path):
    child.lay_out(tmp_path, {"a": b"1", "sub/b": b"2"}, {})
    (tmp_path / "made" / "deep").mkdir(parents=True)
    (tmp_path / "made" / "deep" / "c").write_bytes(b"3")
    (tmp_path / "link").symlink_to("sub")
    child.lay_out(tmp_path, {"sub/b": b"4"}, {})
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["sub", "sub/b"]
    assert (tmp_path / "sub" / "b").read_bytes() == b"4"


def test_a_plain_refusal_is_no_failure(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    reader = Reader(lambda folder: _refuse("a.txt: no splat.\nTo fit it, run: gatlas fit a.txt"), lambda: SEEDS)
    assert child.examine(reader, tmp_path)["status"] == "refused"


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("", "empty"),
        ("x" * 30_000, "30000 letters"),
        ("a.ply: holds\x1b[2J", "holds"),
        ("a.ply:\n" * 5, "lines"),
        ("a.ply: Traceback (most recent call last)", "traceback"),
    ],
)
def test_a_message_that_is_no_plain_line_is_a_failure(message, words, monkeypatch):
    monkeypatch.setattr(verdicts, "visible", str)  # as if the terminal were sent what a message holds
    assert words in verdicts.unplain(message)
    assert verdicts.unplain("a.ply: not a splat PLY: d\u00e9j\u00e0 vu") is None


def test_the_same_seed_damages_alike_and_another_otherwise():
    inputs = [[child.make_input("toy", SEEDS, seed, number, ()) for number in range(40)] for seed in (1, 1, 2)]
    assert inputs[0] == inputs[1] != inputs[2]


@pytest.mark.parametrize("kind", OWN)
def test_damage_to_a_kind_of_file_takes_any_bytes(kind):
    """Several damages follow each other, so each is given what another one left."""
    rng = random.Random(kind)
    for content in (b"", b"\0", b"PK\x03\x04", b"{}", b"ply\nend_header\n", b"glTF" + bytes(40), rng.randbytes(700)):
        for how in {*OWN[kind], *BYTES}:
            for _ in range(8):
                assert isinstance(how(content, rng), bytes)


def test_most_damaged_inputs_differ_from_the_valid_one():
    rng = random.Random(0)
    seed = READERS["atlas"].seeds()[0]
    changed = [damaged(seed, rng)[0] for _ in range(100)]
    assert sum(files["a.npz"] != seed["a.npz"] for files in changed) > 90


@pytest.mark.parametrize("name", [name for name in READERS if name not in HEAVY and not name.startswith("cli_")])
def test_the_valid_inputs_of_a_reader_are_read(name):
    """Those of the others are checked by each campaign."""
    reader = READERS[name]
    for files in prepare(reader):
        found = campaign.read_once(reader, files, seconds=100.0)  # kernels may have to be compiled
        assert found["status"] == "ok", (sorted(files), found)


def test_a_campaign_fails_where_a_valid_input_is_refused(monkeypatch):
    monkeypatch.setitem(READERS, "toy", Reader(lambda folder: _refuse("a.json: no"), lambda: SEEDS))
    outcome = campaign.fuzz("toy", seed=1, count=2)
    assert outcome.counts == {"refused": 2}
    assert list(outcome.failures) == ["toy_valid_input_refused: a.json: no"]
