"""Splat formats that are known and not read: one message that leads somewhere, whatever is wanted of the file."""

import re
import shlex
import struct

import pytest

from gatlas import io
from gatlas.errors import GatlasError
from tests.helpers.command_line import run_here

CONVERT = "to convert it, run: npx @playcanvas/splat-transform"


FILES = {
    "lod-meta.json": (b'{"lodLevels": 1, "filenames": ["0/meta.json"], "tree": {}}', "a streamed SOG splat, "),
    "meta.lcc": (b'{"version": "4.0", "totalSplats": 3, "totalLevel": 1}', "an LCC splat, "),
    "meta.lcc2": (b'{"total_splats": 3, "total_levels": 1}', "an LCC splat, "),
    "a.splatv": (b"\x4b\x67\0\0" + bytes(60), "a moving splat (splaTV), "),
    "a.rad": (b"RAD0" + bytes(60), "a RAD splat, "),
    "a.spz": (struct.pack("<4sII", b"NGSP", 5, 3) + bytes(40), "is SPZ of version 5, "),
}


@pytest.fixture(params=FILES, scope="module")
def unread(request, tmp_path_factory):
    """The path of a file of such a format, and how the message begins."""
    content, words = FILES[request.param]
    path = tmp_path_factory.mktemp("splat files") / request.param
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path, words


def test_the_message_says_what_it_is_and_what_to_do(unread):
    path, words = unread
    with pytest.raises(GatlasError) as caught:
        io.load_gaussians(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: {words}")
    assert "\n" not in message
    assert CONVERT in message or message.endswith("save it as a .ply splat in the program that made it")


@pytest.mark.parametrize("verb", ["render", "prune", "atlas-encode", "fit"])
def test_every_verb_says_the_same_and_none_sends_to_another(unread, verb, tmp_path):
    path, words = unread
    run = run_here([verb, path, "-o", tmp_path / ("x.png" if verb == "render" else "x")], tmp_path)
    assert run.returncode == 1
    if path.suffix != ".spz" or verb != "fit":  # an SPZ is read in other versions: fit says only that it is no mesh
        assert "run: gatlas" not in run.stderr
        assert f"gatlas {verb}: {path}: {words}" in run.stderr


def test_the_converter_is_called_with_the_name_of_the_file(unread):
    path, _ = unread
    with pytest.raises(GatlasError) as caught:
        io.load_gaussians(path)
    if (found := re.search(r"run: npx \S+ (.*) OUTPUT\.ply", str(caught.value))) and path.suffix != ".spz":
        assert shlex.split(found[1]) == [str(path)]


def test_a_pipe_has_no_name_to_call_the_converter_with():
    with pytest.raises(GatlasError, match=r"splat-transform INPUT\.lcc OUTPUT\.ply$"):
        io.load_gaussians(io.Blob("standard input", FILES["meta.lcc"][0]))


def test_records_are_not_taken_for_a_ksplat():
    record = struct.pack("<6f8B", 0, 1, 2, 1, 1, 1, *[255] * 4, 255, 128, 128, 128)
    assert io.Blob("a.splat", record * 300, key="a").format.name == ".splat"


@pytest.mark.shared
@pytest.mark.parametrize("name", ["minimal-v4.spz", "minimal.ksplat"])
def test_real_files_of_a_converter_are_read(shared_data, name):
    g = io.load_gaussians(shared_data / "cases" / "sog_meta_json" / name)
    assert sorted(map(tuple, abs(g.means).round(3).tolist())) == [(0, 0, 0), (0, 0, 1), (1, 0, 0), (1, 0, 1)]
