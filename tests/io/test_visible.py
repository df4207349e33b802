"""Names and texts of others cannot steer the terminal."""

import os
import pty
import sys
import threading

import pytest

from gatlas import io
from gatlas.cli import terminal
from gatlas.io import outputs
from gatlas.io.visible import visible
from tests.helpers.command_line import expect, run_here
from tests.helpers.splat_files import gaussians_of
from tests.helpers.terminals import read_to_the_end

ESCAPE = "\x1b]0;owned\x07\x1b[31m"


def test_control_characters_are_spelled_out_and_nothing_else_changes():
    spelled = visible("\x1b[31m\x07\r\x00\x7f\x9b\x85 \u202e\u2066\u200f\u2028")
    assert spelled == r"\x1b[31m\x07\r\x00\x7f\x9b\x85 \u202e\u2066\u200f\u2028"
    plain = "Brücke ñ 橋 🌉 שלום\nsecond line \\x1b"
    assert visible(plain) == plain
    assert visible("a\tb") == r"a\tb"
    assert visible("a\tb", tabs=True) == "a\tb"


@pytest.mark.parametrize(
    "words",
    [
        ["prune", f"no{ESCAPE}.ply"],  # an error
        ["prune", f"not a splat{ESCAPE}.ply", "-o", "x.ply"],  # an error about a file's content
        ["prune", f"--no{ESCAPE}"],  # typer's own errors
        [f"no{ESCAPE}"],
        ["prune", "x.ply", "--shard", f"1/2{ESCAPE}"],
        ["man", f"no{ESCAPE}"],
        ["prune", ".", "-o", "out/"],  # messages of a batch
    ],
)
def test_no_message_holds_control_characters_of_a_name(tmp_path, words):
    (tmp_path / f"not a splat{ESCAPE}.ply").write_bytes(b"ply\n")
    run = run_here(words, tmp_path)
    assert run.returncode != 0
    assert r"\x1b]0;owned\x07\x1b[31m" in run.stderr
    assert not set(run.stderr) & {"\x1b", "\x07"}


def test_the_object_that_a_manifest_names_is_whole_and_its_message_escaped(tmp_path):
    io.save_gaussians(tmp_path / f"a{ESCAPE}.ply", gaussians_of(20))
    run = expect(run_here(["prune", ".", "-n", 10, "--score", "opacity", "-o", "out/"], tmp_path), 0)
    assert not set(run.stderr) & {"\x1b", "\x07"}
    assert (tmp_path / "out" / f"a{ESCAPE}.ply").is_file()


@pytest.fixture
def terminal_of():
    """Function that returns what a real terminal is sent while `work` has it as one of the streams of sys."""

    def shown(name, work, monkeypatch):
        main, other = pty.openpty()
        sent = bytearray()
        reader = threading.Thread(target=read_to_the_end, args=(main, sent))
        reader.start()
        with open(other, "w") as stream:
            monkeypatch.setattr(sys, name, stream)
            work()
        reader.join()
        os.close(main)
        return sent.decode()

    return shown


def test_a_bar_shows_the_name_of_what_is_done_escaped_and_its_brackets(terminal_of, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")

    def work():
        with terminal.counting_bar(f"a[red]{ESCAPE}", 2) as advance:
            advance()

    sent = terminal_of("stderr", work, monkeypatch)
    assert r"a[red]\x1b]0;owned\x07" in sent
    assert "\x1b]0;" not in sent


def test_a_terminal_shows_a_plan_escaped_and_a_pipe_gets_the_bytes_of_names(terminal_of, monkeypatch, tmp_path):
    (tmp_path / f"a{ESCAPE}.ply").write_bytes(b"ply\n")
    sent = terminal_of("stdout", lambda: outputs.show(f"do\ta{ESCAPE}.ply\n"), monkeypatch)
    assert sent.split() == ["do", r"a\x1b]0;owned\x07\x1b[31m.ply"]
    run = expect(run_here(["prune", ".", "-n", 10, "-o", "out/", "--dry-run"], tmp_path), 0)
    assert ESCAPE.encode() in run.stdout
