"""Bytes in and out: what is read, what is refused, and that a file appears whole or not at all."""

import errno
import io as stdio
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.io import streams
from gatlas.types import Gaussians, Origin


def write(out, data=b"payload", **options):
    streams.write(out, [data], **{"force": False, "suffix": ".bin", "what": "bytes", **options})


def one_gaussian(name=""):
    return Gaussians(
        means=np.zeros((1, 3), np.float32),
        quats=np.float32([[1, 0, 0, 0]]),
        scales=np.ones((1, 3), np.float32),
        opacities=np.float32([0.5]),
        sh=np.zeros((1, 1, 3), np.float32),
        origin=Origin(name),
    )


class Stdin:
    def __init__(self, data=b"", terminal=False):
        self.buffer, self.terminal = stdio.BytesIO(data), terminal

    def isatty(self):
        return self.terminal


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


# Reading


def test_a_file_is_read_whole_and_named(tmp_path):
    (tmp_path / "teapot.v2.ply").write_bytes(b"abc")
    blob = io.read(str(tmp_path / "teapot.v2.ply"))
    assert (blob.data, blob.name, blob.stem) == (b"abc", str(tmp_path / "teapot.v2.ply"), "teapot.v2")


def test_a_dash_is_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", Stdin(b"abc"))
    blob = io.read("-")
    assert (blob.data, blob.name, blob.path, blob.stem) == (b"abc", "standard input", None, "")


def test_an_empty_standard_input_blames_the_command_before(monkeypatch):
    monkeypatch.setattr(sys, "stdin", Stdin())
    with pytest.raises(GatlasError, match=r"^standard input is empty: the command before this one in the pipe failed"):
        io.read("-")


def test_a_terminal_is_no_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", Stdin(terminal=True))
    with pytest.raises(GatlasError, match="name a file, or pipe one in"):
        io.read("-")


def test_a_closed_standard_input_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(GatlasError, match="closed"):
        io.read("-")


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(GatlasError, match=r"^.*x\.ply: No such file or directory$"):
        io.read(tmp_path / "x.ply")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(GatlasError, match="is a folder"):
        io.read(tmp_path)


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "x.ply").touch()
    with pytest.raises(GatlasError, match=r"x\.ply: the file is empty"):
        io.read(tmp_path / "x.ply")


def test_a_named_pipe_is_read_and_names_no_object(tmp_path):
    os.mkfifo(tmp_path / "63")
    writer = threading.Thread(target=(tmp_path / "63").write_bytes, args=(b"abc",))
    writer.start()
    blob = io.read(tmp_path / "63")
    writer.join()
    assert (blob.data, blob.stem) == (b"abc", "")


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
        streams.write(tmp_path / "x.bin", chunks(), force=False, suffix=".bin", what="bytes")
    assert (tmp_path / "x.bin").read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [tmp_path / "x.bin"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_a_failure_in_the_middle_leaves_nothing_behind(tmp_path, failure):
    def chunks():
        yield b"half"
        raise failure

    with pytest.raises(failure):
        streams.write(tmp_path / "x.bin", chunks(), force=False, suffix=".bin", what="bytes")
    assert list(tmp_path.iterdir()) == []


def test_a_failing_write_keeps_the_old_file(tmp_path):
    def chunks():
        yield b"half"
        raise OSError(28, "No space left on device")

    (tmp_path / "x.bin").write_bytes(b"precious")
    with pytest.raises(GatlasError, match=r"x\.bin: No space left on device$"):
        streams.write(tmp_path / "x.bin", chunks(), force=True, suffix=".bin", what="bytes")
    assert (tmp_path / "x.bin").read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [tmp_path / "x.bin"]


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


def test_an_error_of_the_system_is_one_line_about_the_path_or_the_file_that_it_names(tmp_path):
    missing = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "old.ply", None, "new.ply")
    for named, place in ((False, "run"), (True, "new.ply")):
        with pytest.raises(GatlasError) as caught, streams.os_errors("run", named=named):
            raise missing
        assert str(caught.value) == f"{place}: No such file or directory"
    with pytest.raises(GatlasError, match=r"^run: torn$"), streams.os_errors("run", named=True):
        raise OSError("torn")


def test_a_full_disk_is_known_after_its_error_became_one_line():
    with pytest.raises(GatlasError) as caught, streams.os_errors("chair.ply"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert streams.is_disk_full(caught.value)


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


def test_a_folder_is_known_by_its_slash_or_by_being_there(tmp_path):
    assert io.is_folder(tmp_path)
    assert io.is_folder("new/")
    assert not io.is_folder("new")
    assert not io.is_folder("-")


def test_an_output_below_a_folder_that_may_not_be_entered_is_one_line(monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", refuse)
    with pytest.raises(GatlasError, match=r"^locked/x\.ply: Permission denied$"):
        io.is_folder("locked/x.ply")


# Standard output


def test_short_writes_are_continued(monkeypatch):
    stdout = Stdout(take=3)
    monkeypatch.setattr(sys, "stdout", stdout)
    streams.write("-", [b"0123456789", np.arange(4, dtype="<u2")], force=False, suffix=".bin", what="bytes")
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
        streams.write_stdout([b"x"])


def test_text_is_shown_with_the_bytes_of_names(monkeypatch):
    stdout = Stdout()
    monkeypatch.setattr(sys, "stdout", stdout)
    streams.show(os.fsdecode("é".encode() + b"\xff\n"))
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


WRITER = "from gatlas.io import streams; streams.write('-', [bytes(3_000_000)], force=False, suffix='.bin', what='x')"


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
    code = "from gatlas.io import streams; streams.write('-', [b'x'], force=False, suffix='.bin', what='x', name='toy')"
    run = subprocess.run(
        [sys.executable, "-c", code], stdout=terminal, stderr=subprocess.PIPE, cwd=tmp_path, check=True
    )
    os.close(terminal)
    os.close(main)
    assert run.stderr == b"toy.bin\n"
    assert (tmp_path / "toy.bin").read_bytes() == b"x"


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, gatlas.io; print({'numpy', 'torch', 'PIL', 'plyfile'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"set()\n"


def test_reading_a_splat_loads_neither_torch_nor_plyfile(tmp_path):
    io.save_gaussians(tmp_path / "x.ply", one_gaussian())
    code = (
        "import sys; from gatlas import io; io.load_gaussians(sys.argv[1]);"
        "print({'torch', 'plyfile', 'scipy', 'PIL'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code, tmp_path / "x.ply"], capture_output=True, check=True)
    assert run.stdout == b"set()\n"


DEAF = """
import os, signal
from gatlas.io import streams

class Heard(Exception):
    pass

def hear(number, frame):
    raise Heard

signal.signal(signal.SIGUSR1, hear)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])  # so that it interrupts no system call
select, turns = streams.select.select, 0

def select_after_a_signal(*words):
    global turns
    turns += 1
    if turns == 1:
        os.kill(os.getpid(), signal.SIGUSR1)
    else:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
    return select(*words)

streams.select.select = select_after_a_signal
try:
    streams.read("-")
except Heard:
    print("heard")
"""


def test_a_signal_that_no_read_of_standard_input_sees_is_heard_all_the_same():
    words = [sys.executable, "-c", DEAF]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.wait(60) == 0
        assert process.stdout.read() == b"heard\n"
