"""Waiting for what another process does: for the event, with a limit only after which a test says what it lacks."""

import os
import select
import subprocess
import time
from contextlib import contextmanager

LIMIT = 600  # seconds: many times what a slow machine takes


def wait_until(ready, what, process=None):
    """Until `ready()`. That `process` ends before, or that it never comes, is an AssertionError that names `what`."""
    deadline = time.monotonic() + LIMIT
    while not ready():
        if process is not None and process.poll() is not None and not ready():
            said = process.stderr.read() if process.stderr else ""
            raise AssertionError(f"exit status {process.returncode} before {what}: {said}")
        assert time.monotonic() < deadline, f"waited {LIMIT} s for {what}"
        time.sleep(0.02)


def read_next(descriptor, what):
    """The next bytes of a pipe, waited for; none at its end."""
    assert select.select([descriptor], [], [], LIMIT)[0], f"waited {LIMIT} s for {what}"
    return os.read(descriptor, 1 << 20)


@contextmanager
def running(words, **options):
    """A process that does not outlive the block."""
    with subprocess.Popen(words, **options) as process:
        try:
            yield process
        finally:
            process.kill()  # nothing happens where it has ended
