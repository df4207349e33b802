"""A tar whose members point outside it: nothing is written or read there, and no link or device is followed."""

import io
import tarfile

import pytest

from gatlas import io as files
from tests.helpers.command_line import run_here
from tests.helpers.splat_files import gaussians_of


@pytest.fixture
def make_tar(tmp_path):
    """Function that writes `in/x.tar` with a splat under a name, or with another kind of member."""
    files.save_gaussians(tmp_path / "a.ply", gaussians_of(30))
    (tmp_path / "in").mkdir()

    def make(name, kind=tarfile.REGTYPE):
        content = (tmp_path / "a.ply").read_bytes()
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, str(tmp_path / "a.ply")
        member.size = len(content) if kind == tarfile.REGTYPE else 0
        with tarfile.open(tmp_path / "in/x.tar", "w") as tar:
            tar.addfile(member, io.BytesIO(content))

    return make


def paths(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


@pytest.mark.parametrize("name", ["../evil.ply", "a/../../evil.ply", "/../evil.ply"])
@pytest.mark.parametrize("kind", ["list", "pipe"])
def test_a_member_outside_the_tar_is_refused(tmp_path, make_tar, name, kind):
    make_tar(name)
    before, stdin = paths(tmp_path), (tmp_path / "in/x.tar").read_bytes() if kind == "pipe" else b""
    words = ["--tar"] if kind == "pipe" else ["in/x.tar", "-o", "in/out/"]
    run = run_here(["prune", *words, "-n", "5", "--score", "opacity"], tmp_path, stdin=stdin)
    assert run.returncode == 1
    assert f"{name!r} would lie outside the tar's own folder" in run.stderr
    assert paths(tmp_path) == before


def test_an_absolute_member_stays_in_the_folder_of_results(tmp_path, make_tar):
    make_tar(f"{tmp_path}/evil.ply")
    before = paths(tmp_path)
    assert run_here(["prune", "in/x.tar", "-n", "5", "--score", "opacity", "-o", "in/out/"], tmp_path).returncode == 0
    new = paths(tmp_path) - before
    assert new == {f"in/out{tmp_path}/evil.ply", "in/out/manifest-0-of-1.jsonl"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path, make_tar, kind):
    make_tar("x.ply", kind)
    before = paths(tmp_path)
    run = run_here(["prune", "in/x.tar", "-n", "5", "--score", "opacity", "-o", "in/out/"], tmp_path)
    assert run.returncode == 1
    assert "'x.ply' is a link in the tar" in run.stderr or "'x.ply' is no ordinary file in the tar" in run.stderr
    assert paths(tmp_path) == before
