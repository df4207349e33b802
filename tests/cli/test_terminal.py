"""Standard streams that are closed or full, signals that come twice, and what the command line says of it."""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from gatlas.cli import interrupt
from gatlas.cli.app import app
from gatlas.errors import GatlasError
from gatlas.raster import threads

GATLAS = f"{sys.executable} -m gatlas"
FEW = "-n 50 --score opacity"  # no kernel is needed
TEXTS = ["--help", "--version", "fit --help", "man fit"]


@pytest.fixture(scope="module")
def atlas(tmp_path_factory, splat_bytes):
    """An atlas of 10 x 10 cells."""
    folder = tmp_path_factory.mktemp("atlas")
    (folder / "ball.ply").write_bytes(splat_bytes)
    assert shell(f"{GATLAS} atlas-encode ball.ply --size 10 -o ball.npz", folder).returncode == 0
    return folder / "ball.npz"


def shell(line, cwd, **more):
    return subprocess.run(["bash", "-c", line], cwd=cwd, capture_output=True, text=True, check=False, **more)


# Closed streams


def test_messages_stay_out_of_the_result_where_standard_error_is_closed(splat, tmp_path):
    assert shell(f"{GATLAS} prune {splat} {FEW} > told.ply", tmp_path).returncode == 0
    assert shell(f"{GATLAS} prune {splat} {FEW} > untold.ply 2>&-", tmp_path).returncode == 0
    assert (tmp_path / "untold.ply").read_bytes() == (tmp_path / "told.ply").read_bytes()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_messages_that_find_no_room_lose_neither_the_result_nor_the_status(splat, tmp_path):
    assert shell(f"{GATLAS} prune {splat} {FEW} > told.ply", tmp_path).returncode == 0
    for line, status in ((f"{splat} {FEW} > untold.ply", 0), ("nowhere.ply", 1), (f"{splat} --no-such-option", 2)):
        assert shell(f"{GATLAS} prune {line} 2> /dev/full", tmp_path).returncode == status
    assert (tmp_path / "untold.ply").read_bytes() == (tmp_path / "told.ply").read_bytes()
    assert shell(f"{GATLAS} prune {splat} {FEW} -o many/ 2> /dev/full", tmp_path).returncode == 0
    assert (tmp_path / "many/ball.ply").stat().st_size > 0


def test_a_daemon_without_any_stream_gets_its_results(splat, atlas, tmp_path):
    closed = "<&- >&- 2>&-"
    assert shell(f"{GATLAS} normalize-stats {atlas} -o stats.npz {closed}", tmp_path).returncode == 0
    assert shell(f"{GATLAS} prune {splat} {FEW} -o many/ {closed}", tmp_path).returncode == 0
    assert (tmp_path / "stats.npz").stat().st_size > 0
    assert (tmp_path / "many/ball.ply").stat().st_size > 0


def test_no_file_takes_the_number_of_a_closed_stream(tmp_path):
    program = """
import os, subprocess, sys
import gatlas.cli.app as cli

def run(*_):
    with open("numbers", "w") as file:
        child = subprocess.run([sys.executable, "-c", "import os; os.fstat(0), os.fstat(1), os.fstat(2)"])
        print(file.fileno() > 2, child.returncode, sys.stdin, sys.stdout, file=file)

cli.app = run
cli.main()
"""
    run = shell(f'{sys.executable} -c "$PROGRAM" <&- >&- 2>&-', tmp_path, env={**os.environ, "PROGRAM": program})
    assert run.returncode == 0
    assert (tmp_path / "numbers").read_text() == "True 0 None None\n"


def test_a_message_with_a_name_that_is_no_text_stops_nothing_where_nobody_hears_it(splat, tmp_path):
    (tmp_path / os.fsdecode(b"\xff.ply")).write_bytes(b"junk")
    assert shell(f"{GATLAS} prune $'\\xff.ply' {splat} {FEW} -o many/ 2>&-", tmp_path).returncode == 3
    assert (tmp_path / "many/ball.ply").exists()


@pytest.mark.parametrize("words", TEXTS)
def test_text_for_a_closed_standard_output_is_a_failure(tmp_path, words):
    run = shell(f"{GATLAS} {words} >&-", tmp_path)
    assert run.returncode == 1
    assert run.stderr.endswith(": standard output is closed\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.parametrize("words", TEXTS)
def test_text_for_a_full_standard_output_is_a_failure(tmp_path, words):
    run = shell(f"{GATLAS} {words} > /dev/full", tmp_path)
    assert run.returncode == 1
    assert run.stderr.count("\n") == 1
    assert run.stderr.endswith(": standard output: No space left on device\n")


# Signals


@pytest.fixture
def clock(monkeypatch):
    """What `interrupt` takes for the time, in seconds."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(interrupt, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def test_a_second_sigterm_ends_work_that_does_not_stop(clock):
    with interrupt.stopping(None) as stop:
        signal.raise_signal(signal.SIGTERM)
        assert stop()
        clock.now += interrupt.ECHO_SECONDS + 1
        with pytest.raises(SystemExit, match=str(128 + signal.SIGTERM)):
            signal.raise_signal(signal.SIGTERM)


def test_the_echo_of_a_sigterm_is_no_second_one(clock):
    with interrupt.stopping(None) as stop:
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)
            clock.now += interrupt.ECHO_SECONDS / 4
        assert stop()


def test_the_sigterm_after_a_warning_of_the_queue_is_the_first_one(clock):
    with interrupt.stopping(None) as stop:
        signal.raise_signal(signal.SIGUSR1)
        clock.now += 60
        signal.raise_signal(signal.SIGTERM)
        assert stop()


def test_a_batch_whose_object_hangs_ends_by_a_second_sigterm(splat, tmp_path):
    os.mkfifo(tmp_path / "never.ply")
    program = (
        "import sys\nfrom gatlas.cli import interrupt, main\ninterrupt.ECHO_SECONDS = 0\n"
        f"sys.argv = ['gatlas', 'prune', {str(splat)!r}, 'never.ply', '--score', 'opacity', '-o', 'out/']\nmain()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stderr=subprocess.PIPE)
    writer, deadline = None, time.monotonic() + 60
    while writer is None and time.monotonic() < deadline:
        try:
            writer = os.open(tmp_path / "never.ply", os.O_WRONLY | os.O_NONBLOCK)  # fails until the worker reads it
        except OSError:
            time.sleep(0.05)
    try:
        while process.poll() is None and time.monotonic() < deadline:
            process.send_signal(signal.SIGTERM)
            time.sleep(0.1)
        # Killed by it: one more came when the process was about to end.
        assert process.poll() in (128 + signal.SIGTERM, -signal.SIGTERM)
    finally:
        process.kill()
        process.communicate()
        os.close(writer)
    assert not [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


# Options and order


@pytest.mark.parametrize(("asked", "given"), [("999999999999", 3), ("4", 3), ("2", 2)])
def test_there_are_no_more_threads_than_processors(monkeypatch, splat, asked, given):
    taken = []

    def take(count):
        taken.append(count)
        raise GatlasError("enough")

    monkeypatch.setattr(threads, "available_cpus", lambda: 3)
    monkeypatch.setattr(threads, "set_num_threads", take)
    CliRunner().invoke(app, ["prune", str(splat), "--threads", asked])
    assert taken == [given]


def test_a_warning_of_ours_stays_a_message_where_python_makes_errors_of_warnings(atlas, tmp_path):
    line = f"{sys.executable} -W error -m gatlas normalize-stats {atlas} {atlas} -o stats.npz"
    run = shell(line, tmp_path)
    assert run.returncode == 0, run.stderr
    assert "warning: files that are named twice are taken once: 1 left out\n" in run.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_statistics_do_not_stand_where_their_report_failed(gatlas, atlas, tmp_path):
    run = gatlas("normalize-stats", atlas, "-o", "stats.npz", "--report", "/dev/full", code=1)
    assert run.stderr == "gatlas normalize-stats: /dev/full: No space left on device\n"
    assert not (tmp_path / "stats.npz").exists()


def test_an_atlas_of_an_impossible_name_is_one_line(gatlas, tmp_path):
    assert gatlas("normalize-stats", "x" * 300, "-o", "stats.npz", code=1).stderr.count("\n") == 1
