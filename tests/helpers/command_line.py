"""`gatlas WORDS...` run inside the test's own process, which costs no start-up.

Tests of what a process is, its signals, pipes, closed streams and imports, start one: `python -m gatlas`.
"""

import os
import signal
import sys
import warnings
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryFile
from types import SimpleNamespace


def run_here(words, cwd, stdin=b""):
    """Run the command line in this process; the result has returncode, stdout and stderr (bytes and str).

    What the verbs change in the process is put back: folder, streams, signal handlers, warnings, threads of kernels.
    """
    from gatlas.cli import main

    words = list(map(str, words))
    with _standard_streams(stdin) as (out, err), _process_state(cwd, words):
        try:
            main(words)
        except SystemExit as end:
            code = end.code or 0
        sys.stdout.flush()
        sys.stderr.flush()
        return SimpleNamespace(returncode=code, stdout=_content(out), stderr=_content(err).decode())


def expect(run, code):
    """Return the run, which must have ended with this exit status and without a traceback."""
    assert run.returncode == code, run.stderr
    assert "Traceback" not in run.stderr
    return run


@contextmanager
def _standard_streams(stdin):
    """Have the descriptors 0, 1 and 2 and their streams in sys be files; yield those of output and error.

    Descriptors, as libraries and worker processes write to those.
    """
    with ExitStack() as files:
        ends = [files.enter_context(TemporaryFile()) for _ in range(3)]
        ends[0].write(stdin)
        ends[0].seek(0)
        streams = sys.stdin, sys.stdout, sys.stderr
        kept = [os.dup(number) for number in range(3)]
        for number, end in enumerate(ends):
            os.dup2(end.fileno(), number)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", errors="backslashreplace", closefd=False)  # noqa: SIM115
        try:
            yield ends[1:]
        finally:
            sys.stdin, sys.stdout, sys.stderr = streams
            for number, descriptor in enumerate(kept):
                os.dup2(descriptor, number)
                os.close(descriptor)


@contextmanager
def _process_state(cwd, words):
    from gatlas.raster import threads

    folder, argv = os.getcwd(), sys.argv
    numbers = (signal.SIGINT, signal.SIGPIPE, signal.SIGTERM, signal.SIGUSR1)
    handlers = {number: signal.getsignal(number) for number in numbers}
    os.chdir(cwd)
    sys.argv = ["gatlas", *words]
    try:
        with warnings.catch_warnings():
            yield
    finally:
        os.chdir(folder)
        sys.argv = argv
        for number, handler in handlers.items():
            signal.signal(number, handler)
        threads.set_num_threads(None)


def _content(file):
    file.seek(0)
    return file.read()
