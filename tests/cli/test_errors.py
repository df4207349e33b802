"""Rubbish in: one clear line each, exit status 1, no partial file, no traceback."""

import os
import signal
import subprocess
import sys

import pytest

from tests.helpers.waiting import LIMIT, running, wait_until


def only_message(run):
    """The message, which must be all that standard error holds."""
    lines = run.stderr.strip().splitlines()
    assert lines[0].startswith("gatlas "), run.stderr
    assert len(lines) <= 3
    assert run.stdout == b""
    return run.stderr


READERS = [["prune"], ["atlas-encode"], ["atlas-decode"], ["render"], ["mesh"], ["fit"]]


@pytest.mark.parametrize("words", READERS)
def test_an_empty_input(gatlas, tmp_path, words):
    assert "empty" in only_message(gatlas(*words, "-", "-o", "out", stdin=b"", code=1))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", READERS)
def test_a_file_that_is_not_there(gatlas, tmp_path, words):
    assert "nowhere.x" in only_message(gatlas(*words, "nowhere.x", "-o", "out", code=1))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", [".", "images"])
def test_photos_without_cameras_that_cannot_be_read(gatlas, tmp_path, folder):
    (tmp_path / "photos" / folder).mkdir(parents=True)
    (tmp_path / "photos" / folder / "a.jpg").write_bytes(b"any")
    message = only_message(gatlas("fit", "photos", "-o", "s.ply", code=1))
    assert "a.jpg: the picture cannot be read" in message


@pytest.mark.parametrize("words", READERS)
def test_a_text_file(gatlas, tmp_path, words):
    (tmp_path / "letter.txt").write_text("Dear reader,\nthis is a letter.\n")
    assert "letter.txt" in only_message(gatlas(*words, "letter.txt", "-o", "out", code=1))
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("words", [["prune"], ["atlas-encode"], ["render"]])
def test_a_truncated_ply(gatlas, tmp_path, splat_bytes, words):
    (tmp_path / "cut.ply").write_bytes(splat_bytes[:-100])
    assert "truncated" in only_message(gatlas(*words, "cut.ply", "-o", "out", code=1))
    assert [path.name for path in tmp_path.iterdir()] == ["cut.ply"]


@pytest.mark.parametrize("words", [["prune"], ["atlas-encode"]])
def test_a_ply_without_opacity(gatlas, tmp_path, words):
    header = "ply\nformat binary_little_endian 1.0\nelement vertex 1\n"
    properties = "".join(f"property float {axis}\n" for axis in "xyz")
    (tmp_path / "points.ply").write_bytes(f"{header}{properties}end_header\n".encode() + bytes(12))
    assert "opacity" in only_message(gatlas(*words, "points.ply", "-o", "out", code=1))


@pytest.mark.parametrize("words", [["fit"], ["render"]])
def test_a_glb_without_meshes(gatlas, tmp_path, words):
    document = b'{"asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": []}]}'
    document += b" " * (-len(document) % 4)
    chunk = len(document).to_bytes(4, "little") + b"JSON" + document
    (tmp_path / "bare.glb").write_bytes(
        b"glTF" + (2).to_bytes(4, "little") + (12 + len(chunk)).to_bytes(4, "little") + chunk
    )
    assert "bare.glb" in only_message(gatlas(*words, "bare.glb", "-o", "out", code=1))
    assert [path.name for path in tmp_path.iterdir()] == ["bare.glb"]


def test_a_folder_that_may_not_be_written(gatlas, splat, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "locked" in only_message(gatlas("prune", splat, "-o", "locked/x.ply", code=1))


def test_a_splat_is_no_mesh(gatlas, splat):
    assert "mesh" in only_message(gatlas("fit", splat, code=1))


def test_an_unwritable_folder_is_found_before_any_work(gatlas, splat, tmp_path):
    message = only_message(gatlas("prune", splat, "-o", "no/such/folder/x.ply", code=1))
    assert "no/such/folder" in message


def test_an_existing_output_is_kept(gatlas, splat, tmp_path):
    (tmp_path / "out.ply").write_text("precious")
    assert "--force" in only_message(gatlas("prune", splat, "-o", "out.ply", code=1))
    assert (tmp_path / "out.ply").read_text() == "precious"
    gatlas("prune", splat, "--force", "-o", "out.ply")
    assert (tmp_path / "out.ply").read_bytes() == splat.read_bytes()


def test_wrong_usage_is_status_2(gatlas, splat):
    gatlas("prune", splat, "--count", "none", code=2)
    gatlas("prune", splat, "--count", "0", code=2)
    gatlas("fly", code=2)


def test_a_reader_that_dies_ends_the_writer_quietly(splat, tmp_path):
    line = f"{sys.executable} -m gatlas prune {splat} | head -c 10 > /dev/null; echo ${{PIPESTATUS[0]}}"
    run = subprocess.run(["bash", "-c", line], capture_output=True, cwd=tmp_path, check=False)
    assert run.stdout.decode().strip() in ("141", "0")  # 0: all of it fitted into the pipe before head went
    assert b"Traceback" not in run.stderr
    assert b"Broken" not in run.stderr


def test_a_broken_pipe_ends_a_large_write_with_141(tmp_path):
    program = (
        "import numpy as np\nfrom gatlas import io\nfrom gatlas.types import Gaussians\n"
        "import gatlas.cli.app as cli, gatlas.io\nn = 300_000\n"
        "g = Gaussians(np.zeros((n, 3), np.float32), np.tile(np.float32([1, 0, 0, 0]), (n, 1)),"
        " np.ones((n, 3), np.float32), np.full(n, 0.5, np.float32), np.zeros((n, 1, 3), np.float32))\n"
        "cli.app = lambda *_: io.save_gaussians('-', g)\ncli.main()\n"
    )
    line = f'{sys.executable} -c "$PROGRAM" 2>said | head -c 10 > /dev/null; echo ${{PIPESTATUS[0]}}'
    run = subprocess.run(
        ["bash", "-c", line], capture_output=True, cwd=tmp_path, check=False, env={**os.environ, "PROGRAM": program}
    )
    assert run.stdout.decode().strip() == "141"
    assert (tmp_path / "said").read_text() == ""


def test_a_failing_upstream_fails_the_reader_too(tmp_path):
    line = f"{sys.executable} -m gatlas prune nowhere.ply | {sys.executable} -m gatlas atlas-encode -o x.npz"
    run = subprocess.run(["bash", "-c", line], capture_output=True, cwd=tmp_path, check=False)
    assert run.returncode == 1  # of the last command, without pipefail
    assert b"the command before this one" in run.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_middle_leaves_nothing_behind(example, tmp_path, number):
    words = ["fit", str(example), "-n", "500", "--views", "4", "--resolution", "64", "--iterations", "500000"]
    words += ["--preview", "now.png", "-o", "obj.ply"]
    with running([sys.executable, "-m", "gatlas", *words], cwd=tmp_path, stderr=subprocess.PIPE) as process:
        wait_until((tmp_path / "now.png").exists, "a preview", process)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=LIMIT)
    assert process.returncode == {signal.SIGTERM: 143, signal.SIGINT: 130}[number]
    assert b"Traceback" not in stderr
    assert [path.name for path in tmp_path.iterdir()] == ["now.png"]
