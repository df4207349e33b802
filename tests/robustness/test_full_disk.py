"""A full disk, in each verb and in the middle of a checkpoint: one line, and what was there before is there after."""

import os
import shutil
import subprocess

import pytest

from tests.robustness.forked import Child, run
from tests.robustness.scenarios import SCENARIOS, results

pytestmark = pytest.mark.slow

SIZE = 1 << 20  # bytes of the small disk


@pytest.fixture
def disk(inputs):
    """A disk of one megabyte beside the inputs, of which `fill(free)` leaves so many bytes free."""
    place = inputs / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},nr_inodes=0", "tmpfs", place]
    if (
        os.geteuid()
        or shutil.which("mount") is None
        or subprocess.run(mount, check=False, capture_output=True).returncode
    ):
        place.rmdir()
        pytest.skip("a small disk needs the right to mount one")

    def fill(free):
        state = os.statvfs(place)
        (place / "filler").write_bytes(bytes(max(0, state.f_bavail * state.f_frsize - free)))

    place.joinpath("work").mkdir()
    try:
        yield place / "work", fill
    finally:
        subprocess.run(["umount", place], check=True)
        place.rmdir()


OTHERS = {
    "sidecar": (
        *("atlas-encode", "../../in/a.ply", "--size", "6", "--check", "--report", "r.json", "-o", "a.npz", "--force"),
    ),
    "decode": ("atlas-decode", "../../made/a.npz", "-o", "x.ply", "--force"),
    "statistics": ("normalize-stats", "../../made/a.npz", "-o", "s.npz", "--report", "s.json", "--force"),
    "sheet": ("render", "../../in/a.ply", "--orbit", "2", "--width", "64", "--threads", "1", "-o", "x.png", "--force"),
    "fit": (
        *("fit", "../../made/mesh.obj", "-o", "x.ply", "-n", "60", "--iterations", "2", "--views", "2", "--resolution"),
        *("16", "--threads", "1", "--report", "x.json", "--views-out", "views", "--force"),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def made(inputs):
    """An atlas and a mesh."""
    (inputs / "made").mkdir()
    run(("atlas-encode", "../in/a.ply", "--size", "6", "-o", "a.npz"), inputs / "made")
    corners = [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]
    faces = ["1 2 4 3", "5 7 8 6", "1 5 6 2", "3 4 8 7", "1 3 7 5", "2 6 8 4"]
    lines = [f"v {x} {y} {z}" for x, y, z in corners] + [f"f {face}" for face in faces]
    (inputs / "made" / "mesh.obj").write_text("\n".join(lines) + "\n")
    return inputs / "made"


def words_of(name):
    words = SCENARIOS[name].words if name in SCENARIOS else OTHERS[name]
    return [word.replace("../in", "../../in") if name in SCENARIOS else word for word in words]


@pytest.mark.parametrize("free", [0, 4096, 12288])
@pytest.mark.parametrize("name", [*(name for name in SCENARIOS if name != "train"), *OTHERS])
def test_a_full_disk_is_one_line_and_the_same_command_completes_once_there_is_room(inputs, made, disk, name, free):
    place, fill = disk
    words = words_of(name)
    if "--force" in words:
        run(words, place, beside=inputs / "child")
    before = results(place)
    fill(free)
    child = Child(words, place, beside=inputs / "child")
    code, said = child.wait(), child.said()
    assert "Traceback" not in said
    found = results(place)
    assert code in (0, 1, 3), said
    full = [line for line in said.splitlines() if "No space left on device" in line]
    assert bool(full) == bool(code), said
    assert len(full) <= 5  # one per object of a batch, and its end
    hidden = [path for path in found if any(part.startswith(".gatlas") for part in path.split("/"))]
    assert not hidden
    if "--force" in words and "out/" not in words:
        assert {key: found.get(key) for key in before} == before
    (place.parent / "filler").unlink()
    run(words, place, beside=inputs / "child")
    made = results(place)
    shutil.rmtree(place)
    place.mkdir()
    run(words, place, beside=inputs / "child")
    assert made == results(place)


@pytest.mark.parametrize("step", range(6))
def test_a_disk_that_fills_up_in_the_middle_of_a_training_leaves_its_last_checkpoint(inputs, disk, step):
    place, fill = disk
    words = words_of("train")
    run(words, place, beside=inputs / "child")
    whole = results(place)
    used = sum(len(path.read_bytes()) for path in place.rglob("*") if path.is_file())
    shutil.rmtree(place)
    place.mkdir()
    fill(used * (step + 1) // 7)
    child = Child(words, place, beside=inputs / "child")
    code, said = child.wait(), child.said()
    assert "Traceback" not in said
    (place.parent / "filler").unlink()
    assert code == 0 or "the checkpoint needs" in said or "No space left on device" in said
    if code:
        run(words, place, beside=inputs / "child")
    assert results(place) == whole
