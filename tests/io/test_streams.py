"""Bytes in: what is read, what is refused, and how errors of the system are told."""

import errno
import io as stdio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.io import streams
from tests.helpers.splat_files import one_gaussian


class Stdin:
    def __init__(self, data=b"", terminal=False):
        self.buffer, self.terminal = stdio.BytesIO(data), terminal

    def isatty(self):
        return self.terminal


# Reading


def test_a_file_is_read_whole_and_named(tmp_path):
    (tmp_path / "teapot.v2.ply").write_bytes(b"abc")
    blob = io.read(str(tmp_path / "teapot.v2.ply"))
    assert (blob.data, blob.name, blob.stem) == (b"abc", str(tmp_path / "teapot.v2.ply"), "teapot.v2")


def test_a_device_without_an_end_is_refused_before_it_fills_the_memory():
    with pytest.raises(GatlasError, match="/dev/zero: is a device, which has no end: name a file"):
        io.read("/dev/zero")
    with pytest.raises(GatlasError, match="/dev/null: the file is empty"):
        io.read("/dev/null")


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


# Errors of the system, and folders


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


def test_a_name_with_a_zero_byte_is_one_line():
    for use in (streams.read, streams.make_folder):
        with pytest.raises(GatlasError, match=r"^'a\\x00b': no name of a file: it holds a zero byte") as caught:
            use("a\0b")
        assert "\n" not in str(caught.value)
