"""Bytes out: what is refused before the work, and that a file appears whole or not at all."""

import os
import pty
import subprocess
import sys
import threading

import numpy as np
import pytest

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.io import outputs
from tests.helpers.full_disk import files_limited_to
from tests.helpers.splat_files import one_gaussian


def write(out, data=b"payload", **options):
    outputs.write(out, [data], **{"force": False, "suffix": ".bin", "what": "bytes", **options})


class Stdout:
    """A raw standard output, as under PYTHONUNBUFFERED: each write takes `take` bytes at most."""

    def __init__(self, take=None, error=None, terminal=False):
        self.taken, self.take, self.error, self.terminal, self.buffer = b"", take, error, terminal, self

    def isatty(self):
        return self.terminal

    def flush(self):
        pass

    def write(self, data):
        if self.error:
            raise self.error
        part = bytes(data)[: self.take]
        self.taken += part
        return len(part)


# Writing files


def test_a_file_appears_with_the_mode_of_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        write(tmp_path / "x.bin")
    finally:
        os.umask(old)
    assert (tmp_path / "x.bin").read_bytes() == b"payload"
    assert (tmp_path / "x.bin").stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [tmp_path / "x.bin"]


def test_an_existing_file_is_kept_without_force(tmp_path):
    (tmp_path / "x.bin").write_bytes(b"precious")
    with pytest.raises(GatlasError, match=r"x\.bin exists: use --force to overwrite it$"):
        write(tmp_path / "x.bin")
    assert (tmp_path / "x.bin").read_bytes() == b"precious"
    write(tmp_path / "x.bin", force=True)
    assert (tmp_path / "x.bin").read_bytes() == b"payload"


def test_a_file_that_appears_meanwhile_is_kept(tmp_path):
    def chunks():
        yield b"payload"
        (tmp_path / "x.bin").write_bytes(b"precious")

    with pytest.raises(GatlasError, match="exists"):
        outputs.write(tmp_path / "x.bin", chunks(), force=False, suffix=".bin", what="bytes")
    assert (tmp_path / "x.bin").read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [tmp_path / "x.bin"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_a_failure_in_the_middle_leaves_nothing_behind(tmp_path, failure):
    def chunks():
        yield b"half"
        raise failure

    with pytest.raises(failure):
        outputs.write(tmp_path / "x.bin", chunks(), force=False, suffix=".bin", what="bytes")
    assert list(tmp_path.iterdir()) == []


def test_a_failing_write_keeps_the_old_file(tmp_path):
    def chunks():
        yield b"half"
        raise OSError(28, "No space left on device")

    (tmp_path / "x.bin").write_bytes(b"precious")
    with pytest.raises(GatlasError, match=r"x\.bin: No space left on device$"):
        outputs.write(tmp_path / "x.bin", chunks(), force=True, suffix=".bin", what="bytes")
    assert (tmp_path / "x.bin").read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [tmp_path / "x.bin"]


@pytest.mark.parametrize("before", [b"", b"first line\n"])
def test_what_cannot_be_appended_whole_is_not_appended(tmp_path, before):
    path = tmp_path / "x.jsonl"
    if before:
        path.write_bytes(before)
    with files_limited_to(15), pytest.raises(OSError, match="too large"):
        outputs.append(path, [b"of the second line, the head\n", b"and more\n"], synced=True)
    assert [each.read_bytes() for each in tmp_path.iterdir()] == ([before] if before else [])


def test_what_is_appended_is_behind_what_was_there(tmp_path):
    sizes = [outputs.append(tmp_path / "x", chunks, synced=True) for chunks in ([b"one", b""], [b"two"])]
    assert sizes == [3, 6]
    assert (tmp_path / "x").read_bytes() == b"onetwo"


def test_a_link_is_written_through(tmp_path):
    (tmp_path / "real.bin").write_bytes(b"old")
    (tmp_path / "x.bin").symlink_to("real.bin")
    write(tmp_path / "x.bin", force=True)
    assert (tmp_path / "x.bin").is_symlink()
    assert (tmp_path / "real.bin").read_bytes() == b"payload"


def test_a_named_pipe_is_written_to_and_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write(tmp_path / "pipe")
    reader.join()
    assert read == [b"payload"]
    assert (tmp_path / "pipe").is_fifo()


# Refusing outputs before the work


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(GatlasError, match=r"out/x\.bin: there is no folder .*out: create it first"):
        io.check_output(tmp_path / "out" / "x.bin", force=False)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(GatlasError, match="is not writable"):
        io.check_output(tmp_path / "x.bin", force=False)


@pytest.mark.parametrize("out", ["", "new/"])
def test_a_folder_as_output_is_refused(tmp_path, out):
    with pytest.raises(GatlasError, match="is a folder; the output must be a file"):
        io.check_output(f"{tmp_path}/{out}", force=True)


def test_a_suffix_that_promises_something_else_is_refused(tmp_path):
    with pytest.raises(GatlasError, match=r"x\.npz: Gaussians cannot be written as \.npz: name the output x\.ply"):
        io.save_gaussians(tmp_path / "x.npz", one_gaussian())
    for suffix in (".gz", ".htm", ".txt", ".bmp"):
        with pytest.raises(GatlasError, match="cannot be written as"):
            io.save_gaussians(tmp_path / f"x{suffix}", one_gaussian())
    for name in ("x.ply", "x.PLY", "x.v1", "x"):
        io.save_gaussians(tmp_path / name, one_gaussian())


def test_an_output_folder_may_be_missing_or_empty(tmp_path):
    io.check_output(tmp_path / "new", force=False, folder=True)
    io.check_output(tmp_path, force=False, folder=True)
    (tmp_path / "x").touch()
    io.check_output(tmp_path, force=True, folder=True)
    with pytest.raises(GatlasError, match="exists and is not empty: use --force"):
        io.check_output(tmp_path, force=False, folder=True)
    with pytest.raises(GatlasError, match="is a file; the output must be a folder"):
        io.check_output(tmp_path / "x", force=True, folder=True)
    with pytest.raises(GatlasError, match="there is no folder"):
        io.check_output(tmp_path / "a" / "b", force=True, folder=True)


def test_a_folder_cannot_go_to_standard_output():
    with pytest.raises(GatlasError, match="a folder cannot go to standard output: name one with -o"):
        io.check_output("-", force=False, folder=True)


def test_a_path_under_a_file_is_one_line(tmp_path):
    (tmp_path / "x").touch()
    with pytest.raises(GatlasError):
        io.check_output(tmp_path / "x" / "y.ply", force=False)


# Standard output


def test_short_writes_are_continued(monkeypatch):
    stdout = Stdout(take=3)
    monkeypatch.setattr(sys, "stdout", stdout)
    outputs.write("-", [b"0123456789", np.arange(4, dtype="<u2")], force=False, suffix=".bin", what="bytes")
    assert stdout.taken == b"0123456789\0\0\1\0\2\0\3\0"


def test_a_closed_pipe_is_left_to_the_command_line(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Stdout(error=BrokenPipeError(32, "Broken pipe")))
    with pytest.raises(BrokenPipeError):
        write("-")


def test_a_full_disk_behind_standard_output_is_one_line(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Stdout(error=OSError(28, "No space left on device")))
    with pytest.raises(GatlasError, match=r"^standard output: No space left on device$"):
        write("-")


def test_a_closed_standard_output_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(GatlasError, match="standard output is closed"):
        io.check_output("-", force=False)
    with pytest.raises(GatlasError, match=r"^standard output is closed$"):
        outputs.write_stdout([b"x"])


def test_text_is_shown_with_the_bytes_of_names(monkeypatch):
    stdout = Stdout()
    monkeypatch.setattr(sys, "stdout", stdout)
    outputs.show(os.fsdecode("é".encode() + b"\xff\n"))
    assert stdout.taken == "é".encode() + b"\xff\n"


@pytest.mark.parametrize(
    ("name", "file"),
    [("bunny", "bunny.bin"), ("", "gatlas.bin"), ("../etc/x\n", "_etc_x_.bin"), ("..", "gatlas.bin")],
)
def test_a_terminal_gets_a_file_and_its_path_instead(monkeypatch, tmp_path, capsys, name, file):
    stdout = Stdout(terminal=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdout", stdout)
    write("-", name=name)
    assert (tmp_path / file).read_bytes() == b"payload"
    assert capsys.readouterr().err == f"{file}\n"
    assert stdout.taken == b""
    with pytest.raises(GatlasError, match="exists: use --force"):
        write("-", name=name)


def test_a_terminal_shows_json(monkeypatch, tmp_path):
    stdout = Stdout(terminal=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdout", stdout)
    io.save_json("-", {"psnr": 30.5})
    assert stdout.taken == b'{\n  "psnr": 30.5\n}\n'
    assert list(tmp_path.iterdir()) == []


def test_json_has_no_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        io.save_json(tmp_path / "x.json", float("nan"))
    assert list(tmp_path.iterdir()) == []


WRITER = "from gatlas.io import outputs; outputs.write('-', [bytes(3_000_000)], force=False, suffix='.bin', what='x')"


def test_an_unbuffered_pipe_gets_every_byte():
    run = subprocess.run([sys.executable, "-u", "-c", WRITER], capture_output=True, check=True)
    assert len(run.stdout) == 3_000_000


def test_a_pipe_that_never_waits_gets_every_byte():
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    process = subprocess.Popen([sys.executable, "-u", "-c", WRITER], stdout=writing)
    os.close(writing)
    with open(reading, "rb") as pipe:
        assert len(pipe.read()) == 3_000_000
    assert process.wait() == 0


def test_a_real_terminal_gets_no_binary(tmp_path):
    main, terminal = pty.openpty()
    code = "from gatlas.io import outputs; outputs.write('-', [b'x'], force=False, suffix='.bin', what='x', name='toy')"
    run = subprocess.run(
        [sys.executable, "-c", code], stdout=terminal, stderr=subprocess.PIPE, cwd=tmp_path, check=True
    )
    os.close(terminal)
    os.close(main)
    assert run.stderr == b"toy.bin\n"
    assert (tmp_path / "toy.bin").read_bytes() == b"x"
