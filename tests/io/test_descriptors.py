"""Paths of open descriptors, pipes, devices and sockets: written into and read as they stand, never replaced."""

import os
import pty
import socket
import sys
import tarfile
import threading
from io import BytesIO
from pathlib import Path

import pytest

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.io import descriptors, outputs
from gatlas.io.sets.scratch import replacing
from tests.helpers.command_line import expect, run_here
from tests.helpers.splat_files import gaussians_of


def write(out, data=b"payload", **options):
    outputs.write(out, [data], **{"force": False, "suffix": ".bin", "what": "bytes", **options})


@pytest.fixture
def opened():
    """Function that opens a file like the shell and returns its descriptor."""
    numbers = []

    def open_(path, flags):
        numbers.append(os.open(path, flags | os.O_CREAT, 0o644))
        return numbers[-1]

    yield open_
    for number in numbers:
        os.close(number)


APPEND, WRITE = os.O_WRONLY | os.O_APPEND, os.O_WRONLY
NAMES = ("/dev/fd/{}", "/proc/self/fd/{}", f"/proc/{os.getpid()}/fd/{{}}", "/proc/thread-self/fd/{}")


def names_of(number):
    return [name.format(number) for name in NAMES if os.path.exists(name.format(number))]


@pytest.mark.parametrize("flags", [APPEND, WRITE])
def test_what_an_open_descriptor_leads_to_keeps_what_was_written_before_and_after(tmp_path, opened, flags):
    file = opened(tmp_path / "f.bin", flags)
    inode = (tmp_path / "f.bin").stat().st_ino
    os.write(file, b"head")
    names = names_of(file)
    assert names
    for name in names:
        write(name)
    os.write(file, b"tail")
    assert (tmp_path / "f.bin").read_bytes() == b"head" + b"payload" * len(names) + b"tail"
    assert (tmp_path / "f.bin").stat().st_ino == inode
    assert os.listdir(tmp_path) == ["f.bin"]


def test_a_link_to_a_descriptor_is_one_too(tmp_path, opened):
    file = opened(tmp_path / "f.bin", APPEND)
    (tmp_path / "out").symlink_to(f"/dev/fd/{file}")
    (tmp_path / "again").symlink_to("out")
    write(tmp_path / "again")
    assert (tmp_path / "f.bin").read_bytes() == b"payload"
    assert (tmp_path / "out").is_symlink()


@pytest.mark.parametrize("force", [False, True])
def test_the_file_that_a_stream_is_redirected_to_is_written_into_under_its_own_name(tmp_path, opened, force):
    file = opened(tmp_path / "log.bin", WRITE)
    os.link(tmp_path / "log.bin", tmp_path / "other.bin")
    os.write(file, b"head")
    write(tmp_path / "other.bin", force=force)
    os.write(file, b"tail")
    assert (tmp_path / "log.bin").read_bytes() == b"headpayloadtail"


def test_a_file_that_is_only_read_is_replaced(tmp_path, opened):
    (tmp_path / "x.bin").write_bytes(b"old")
    reader = opened(tmp_path / "x.bin", os.O_RDONLY)
    write(tmp_path / "x.bin", force=True)
    assert (os.read(reader, 10), (tmp_path / "x.bin").read_bytes()) == (b"old", b"payload")


def test_a_descriptor_that_is_not_open_or_not_for_writing_is_one_line(tmp_path, opened):
    (tmp_path / "x.bin").write_bytes(b"old")
    for number in (opened(tmp_path / "x.bin", os.O_RDONLY), 999):
        with pytest.raises(GatlasError, match=rf"^/dev/fd/{number}: "):
            write(f"/dev/fd/{number}", force=True)
    assert (tmp_path / "x.bin").read_bytes() == b"old"


def test_a_socket_takes_every_byte_and_is_read_to_its_end():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    content = bytes(range(256)) * 4000
    received = []

    def receive():
        while piece := theirs.recv(1 << 16):
            received.append(piece)

    reader = threading.Thread(target=receive)
    reader.start()
    write(f"/dev/fd/{ours.fileno()}", content)
    ours.shutdown(socket.SHUT_WR)
    reader.join()
    assert b"".join(received) == content
    theirs.sendall(b"answer")
    theirs.close()
    ours.setblocking(True)
    assert io.read(f"/dev/fd/{ours.fileno()}").data == b"answer"
    ours.close()


def test_the_null_device_stays_a_device():
    write("/dev/null")
    write("/dev/null", force=True)
    assert Path("/dev/null").is_char_device()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_device_is_one_line():
    with pytest.raises(GatlasError, match=r"^/dev/full: No space left on device$"):
        write("/dev/full")


def test_a_terminal_by_its_path_gets_a_file_instead(tmp_path, monkeypatch, capsys):
    main, terminal = pty.openpty()
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate((os.ttyname(terminal), f"/dev/fd/{terminal}")):
        write(name, name=f"toy{number}")
        assert (tmp_path / f"toy{number}.bin").read_bytes() == b"payload"
    assert capsys.readouterr().err == "toy0.bin\ntoy1.bin\n"
    os.close(main)
    os.close(terminal)


def test_two_names_of_standard_output_are_refused():
    with pytest.raises(GatlasError, match="two outputs cannot both go to standard output"):
        outputs.refuse_shared_names("-", "/dev/stdout")


def test_a_result_is_moved_into_a_pipe_and_not_over_it(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "made").write_bytes(b"payload")
    read = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    with replacing(tmp_path / "pipe", tmp_path / "made"):
        pass
    reader.join()
    assert (read, (tmp_path / "pipe").is_fifo(), (tmp_path / "made").exists()) == ([b"payload"], True, False)


def test_a_pipe_is_read_by_the_name_of_its_descriptor_and_names_no_object():
    reading, writing = os.pipe()
    os.write(writing, b"abc")
    os.close(writing)
    blob = io.read(f"/dev/fd/{reading}")
    assert (blob.data, blob.path, blob.stem) == (b"abc", None, "")
    os.close(reading)


def test_no_ordinary_path_is_a_descriptor(tmp_path):
    (tmp_path / "fd").mkdir()
    (tmp_path / "fd" / "1").touch()
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path / "fd" / "1", tmp_path / "loop", "", "1", "-", "\0/1", tmp_path):
        assert descriptors.named_descriptor(path) is None
        assert not descriptors.takes_writes(path)


# The command line


@pytest.fixture(scope="module")
def splat(tmp_path_factory):
    path = tmp_path_factory.mktemp("splat") / "b.ply"
    io.save_gaussians(path, gaussians_of(60))
    return path


def prune(splat, *words, **options):
    return expect(run_here(["prune", splat, "-n", 20, *words], splat.parent, **options), 0)


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_dev_stdout_is_standard_output(splat, force):
    alone = prune(splat).stdout
    assert alone.startswith(b"ply\n")
    for name in ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
        assert prune(splat, "-o", name, *force).stdout == alone


def test_dev_stdin_is_standard_input(splat):
    content = splat.read_bytes()
    piped = expect(run_here(["prune", "-n", 20], splat.parent, stdin=content), 0).stdout
    for name in ("/dev/stdin", "/dev/fd/0"):
        run = expect(run_here(["prune", name, "-n", 20], splat.parent, stdin=content), 0)
        assert run.stdout == piped


def test_a_report_goes_behind_what_its_descriptor_holds(splat, opened, tmp_path):
    file = opened(tmp_path / "r.json", APPEND)
    os.write(file, b"KEEPME\n")
    prune(splat, "-o", tmp_path / "x.ply", "--report", f"/dev/fd/{file}")
    content = (tmp_path / "r.json").read_bytes()
    assert content.startswith(b"KEEPME\n{")
    assert content.endswith(b"}\n")


def test_many_objects_into_a_descriptor_are_a_tar_behind_what_it_holds(splat, opened, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        (tmp_path / "in" / f"{name}.ply").write_bytes(splat.read_bytes())
    stream = expect(run_here(["prune", "in", "-n", 20, "--tar"], tmp_path), 0).stdout
    file = opened(tmp_path / "x.tar", APPEND)
    os.write(file, b"head")
    for name in (f"/dev/fd/{file}", "x.tar"):
        expect(run_here(["prune", "in", "-n", 20, "-o", name], tmp_path), 0)
    content = (tmp_path / "x.tar").read_bytes()
    assert content == b"head" + stream + stream
    with tarfile.open(fileobj=BytesIO(stream)) as tar:
        assert tar.getnames() == ["a.ply", "b.ply"]
    assert sorted(os.listdir(tmp_path)) == ["in", "x.tar"]


def test_a_manifest_that_is_a_stream_of_the_command_is_refused(splat, opened, tmp_path):
    (tmp_path / "out").mkdir()
    manifest = tmp_path / "out" / "manifest-0-of-1.jsonl"
    os.write(opened(manifest, APPEND), b"KEEPME\n")
    run = expect(run_here(["prune", splat, "-n", 20, "-o", "out/"], tmp_path), 1)
    assert "manifest-0-of-1.jsonl: a stream of this command is redirected into it" in run.stderr
    assert manifest.read_bytes() == b"KEEPME\n"


def test_our_own_stdout_is_flushed_before_its_descriptor_is_written(tmp_path, opened, monkeypatch):
    file = opened(tmp_path / "f", APPEND)
    with open(file, "w", closefd=False) as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        stream.write("printed before ")
        write(f"/dev/fd/{file}")
    assert (tmp_path / "f").read_bytes() == b"printed before payload"
