"""A batch on Dask or Ray gives what one process gives, and a worker that dies in the middle loses nothing."""

import hashlib
import json
import os
import signal
import sys
import types
from pathlib import Path

import pytest

from gatlas.batch import Batchable, BatchOptions, BatchWork, run_batch
from gatlas.config import Options
from gatlas.errors import GatlasError

COUNT = 100


def hashed(source, output, options, *, force, report):
    """Write the digest of a file; in the middle of the set, end the process that does it, once."""
    content = Path(source).read_bytes()
    if content == b"object 50" and Path("kill").exists():
        Path("kill").unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    if content == b"object 7":
        raise GatlasError(f"{source}: an object that fails")
    Path(output).write_bytes(hashlib.sha256(content).digest() * 8)
    report("hashed")
    return {"length": len(content)}


WORK = BatchWork("hash", hashed, Options(), Batchable(".bin", (".obj",)))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # the workers find this module
    Path("in").mkdir()
    for number in range(COUNT):
        Path(f"in/o{number:03d}.obj").write_bytes(b"object %d" % number)


def contents(place):
    return {path.name: path.read_bytes() for path in Path(place).iterdir() if path.suffix != ".jsonl"}


def lines(place):
    found = map(json.loads, Path(place, "manifest-0-of-1.jsonl").read_text().splitlines())
    lasting = ("id", "status", "input_sha256", "output_sha256", "options", "notes", "length", "error")
    return sorted([{key: line.get(key) for key in lasting} for line in found], key=lambda line: line["id"])


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_a_batch_with_a_worker_killed_in_the_middle_is_that_of_one_process(engine):
    pytest.importorskip("distributed" if engine == "dask" else "ray")
    run_batch(WORK, ["in"], "alone/")
    Path("kill").touch()
    said = []
    outcome = run_batch(WORK, ["in"], "out/", BatchOptions(engine=engine, jobs=2), report=said.append)
    assert not Path("kill").exists()
    assert (outcome.done, outcome.failed, outcome.stopped) == (COUNT - 1, 1, False)
    assert said == ["in/o007.obj: an object that fails"]
    assert contents("out") == contents("alone")
    assert lines("out") == lines("alone")
    again = run_batch(WORK, ["in"], "out/", BatchOptions(engine=engine, jobs=2))
    assert (again.done, again.earlier) == (0, COUNT - 1)


@pytest.mark.slow
def test_a_tar_made_by_dask_has_the_bytes_of_one_process():
    pytest.importorskip("distributed")
    Path("in/o007.obj").unlink()
    run_batch(WORK, ["in"], "alone.tar")
    run_batch(WORK, ["in"], "out.tar", BatchOptions(engine="dask", jobs=2))
    assert Path("out.tar").read_bytes() == Path("alone.tar").read_bytes()


@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_an_engine_that_is_not_installed_names_its_extra(engine, monkeypatch):
    monkeypatch.setitem(sys.modules, engine, None)
    with pytest.raises(
        GatlasError, match=rf"^--engine {engine}: {engine} is not installed: pip install 'gatlas\[{engine}\]'$"
    ):
        run_batch(WORK, ["in"], "out/", BatchOptions(engine=engine))
    assert not list(Path("out").glob("*.bin"))


@pytest.mark.parametrize(
    ("options", "output", "message"),
    [
        ({"engine": "dask", "timeout": 3.0}, "out/", "--engine dask takes no --timeout"),
        ({"engine": "ray", "cluster": "auto", "tar": True}, "-", "must go to a disk that all its machines see"),
        ({"cluster": "tcp://x:1"}, "out/", "say which with --engine"),
    ],
)
def test_what_an_engine_cannot_do_is_refused(options, output, message):
    with pytest.raises(GatlasError, match=message):
        run_batch(WORK, ["in"], output, BatchOptions(**options))


def test_a_cluster_that_does_not_answer_is_named(monkeypatch):
    ray = types.ModuleType("ray")
    ray.remote = lambda **_: lambda function: function

    def refuse(**_):
        raise ConnectionError("no answer\nfrom it")

    ray.init = refuse
    monkeypatch.setitem(sys.modules, "ray", ray)
    with pytest.raises(GatlasError, match=r"^--cluster x:1: no cluster of Ray answers: no answer from it$"):
        run_batch(WORK, ["in"], "out/", BatchOptions(engine="ray", cluster="x:1"))


def test_an_engine_takes_no_pipe():
    with pytest.raises(GatlasError, match="takes files, folders and tars on disk, not a pipe"):
        run_batch(WORK, iter(()), "-", BatchOptions(engine="dask"))
