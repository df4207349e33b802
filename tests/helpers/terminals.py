"""What a terminal is sent."""

import contextlib
import os
import pty
import subprocess
import sys


def read_to_the_end(terminal, sent):
    """Append to `sent` all that reaches a terminal, in whatever pieces, until its other side closes (EIO on Linux)."""
    with contextlib.suppress(OSError):
        while piece := os.read(terminal, 1 << 16):
            sent += piece


def in_a_terminal(words, folder, *, columns, lines, term="xterm-256color"):
    """What a gatlas command writes to a terminal of so many characters, and its messages."""
    main, other = pty.openpty()
    environment = {**os.environ, "TERM": term, "COLUMNS": str(columns), "LINES": str(lines)}
    for name in ("KITTY_WINDOW_ID", "TERM_PROGRAM", "LC_TERMINAL", "TMUX"):
        environment.pop(name, None)
    words = [sys.executable, "-m", "gatlas", *words]
    sent = bytearray()
    with subprocess.Popen(words, cwd=folder, env=environment, stdout=other, stderr=subprocess.PIPE) as process:
        os.close(other)
        read_to_the_end(main, sent)
        os.close(main)
        messages = process.stderr.read().decode()
        assert process.wait() == 0, messages
    return sent.decode().replace("\r\n", "\n"), messages
