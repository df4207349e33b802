"""A search for the cameras of photos that is killed goes on behind the stages, photos and pairs that were done."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gatlas.sfm import recover_cameras
from tests.helpers.corner_photos import save_corner

pytest.importorskip("pycolmap")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs signals")]

ROOT = Path(__file__).parents[2]
SEARCH = """
import os, signal, sys
from contextlib import contextmanager
from gatlas.sfm import recover_cameras

@contextmanager
def bar(title, total):
    left = [int(sys.argv[4])]
    def count():
        print(title, flush=True)
        left[0] -= 1
        if title == sys.argv[3] and left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    yield count

recover_cameras(sys.argv[1], out=sys.argv[2], bar=bar)
"""


def search(folder, out, stage="none", number=0):
    """Search in a process that kills itself after so many things of a stage; return its exit status."""
    words = [sys.executable, "-c", SEARCH, str(folder), str(out), stage, str(number)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def corner(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills") / "photos"
    save_corner(folder)
    return folder, recover_cameras(folder, out=str(folder.parent / "cameras"))


@pytest.mark.parametrize("number", [1, 4])
@pytest.mark.parametrize("stage", ["features", "matches", "cameras"])
def test_a_kill_in_a_stage_loses_nothing_before_it(corner, tmp_path, stage, number):
    folder, whole = corner
    killed = search(folder, tmp_path / "cameras", stage, number)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "cameras" / "photos.json").exists()
    again = search(folder, tmp_path / "cameras")
    assert again.returncode == 0, again.stderr
    for name in ("cameras.bin", "images.bin", "points3D.bin"):
        assert (tmp_path / "cameras" / name).read_bytes() == (whole.folder / name).read_bytes()
    assert not (tmp_path / "cameras" / "work").exists()


def test_a_term_ends_it_without_a_trace_of_the_library(corner, tmp_path):
    folder, _ = corner
    script = SEARCH.replace("SIGKILL", "SIGTERM")
    words = [sys.executable, "-c", script, str(folder), str(tmp_path / "cameras"), "matches", "1"]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGTERM
    assert ended.stderr == ""
