"""`gatlas WORDS...` in children of this process, which has imported everything: a start costs milliseconds."""

import os
import signal
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path

# Events of Python's audit hooks before which a child can be killed: each is a call that changes a folder or a file.
EVENTS = {
    "open",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.mkdir",
    "os.truncate",
    "os.symlink",
    "shutil.rmtree",
    "os.chmod",
}


class Child:
    """A gatlas in a session of its own, in a folder; its messages go to a file `beside` that, or another path."""

    def __init__(self, words, cwd, *, kill_at=None, beside=None):
        """Start it. With `kill_at` it kills itself and its workers before so many of EVENTS."""
        beside = beside or cwd
        self.messages, self.count = Path(f"{beside}.messages"), Path(f"{beside}.count")
        self.words = list(map(str, words))
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._run(cwd, kill_at)

    def _run(self, cwd, kill_at):
        code = 70
        try:
            os.setsid()
            os.chdir(cwd)
            for number, path, flags in (
                (0, os.devnull, os.O_RDONLY),
                (1, os.devnull, os.O_WRONLY),
                (2, self.messages, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
            ):
                opened = os.open(path, flags, 0o644)
                os.dup2(opened, number)
                os.close(opened)
            sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
            sys.stderr = open(2, "w", errors="backslashreplace", closefd=False)  # noqa: SIM115
            sys.argv = ["gatlas", *self.words]
            self._watch(kill_at)
            from gatlas.cli import main

            main(self.words)
            code = 0
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            self.count.write_text(str(self._seen()))
            os._exit(code)

    def _watch(self, kill_at):
        me, seen = os.getpid(), 0

        def hook(event, words):
            nonlocal seen
            if event not in EVENTS or os.getpid() != me:
                return
            if event == "open" and not _writes(words):
                return
            seen += 1
            if seen == kill_at:
                os.killpg(0, signal.SIGKILL)

        sys.addaudithook(hook)
        self._seen = lambda: seen

    def kill(self, *, alone=False):
        """Kill it and its workers, at once; or it `alone`, whose workers see that it has gone."""
        try:
            (os.kill if alone else os.killpg)(self.pid, signal.SIGKILL)
        except ProcessLookupError:  # it has not made its session yet
            os.kill(self.pid, signal.SIGKILL)

    def wait(self, limit=120):
        """Return the exit status, negative for the signal that ended it."""
        deadline = time.monotonic() + limit
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._wait_for_workers(deadline)
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > deadline:
                self.kill()
                os.waitpid(self.pid, 0)
                raise AssertionError(f"{self.words} hangs: {self.said()}")
            time.sleep(0.002)

    def _wait_for_workers(self, deadline):
        """Wait until no process of its session is left: they must end with it."""
        with suppress(ProcessLookupError):
            while time.monotonic() < deadline:
                os.killpg(self.pid, 0)
                time.sleep(0.002)
            raise AssertionError(f"{self.words}: its workers outlive it")

    def said(self):
        """Return the messages so far."""
        return self.messages.read_text() if self.messages.exists() else ""


def _writes(words):
    _, mode, flags = words
    return bool(flags & (os.O_WRONLY | os.O_RDWR)) if isinstance(flags, int) else "r" not in str(mode)


def run(words, cwd, code=0, *, beside=None):
    """Run a command to its end; return its messages. It must end with `code` and without a traceback."""
    child = Child(words, cwd, beside=beside)
    ended = child.wait()
    said = child.said()
    assert "Traceback" not in said, said
    assert ended == code, f"{words}: {ended}: {said}"
    return said
