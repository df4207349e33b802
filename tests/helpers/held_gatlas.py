"""gatlas that waits in the midst of its work until it is signalled: `HOLD_AT=WHERE python held_gatlas.py VERB ...`.

Without it a test that signals a process at work would have to be in time. WHERE is the file name of an object of a
batch or a step of a training. There the work leaves a file `held` in the working directory, and it goes on when there
is a file `told`, which the process leaves once it has taken note of a signal. Under torchrun both names end in RANK.
"""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # run as a program

from tests.helpers.waiting import wait_until


def hold_where_asked():
    """Put the wait into the verb of this command line."""
    where, verb = os.environ["HOLD_AT"], sys.argv[1]
    _tell_of_signals()
    if verb == "train":
        _hold_at_step(where)
    else:
        _hold_at_object(where)


def _hold_at_step(where):
    from gatlas.train.loop import Loop

    take_step = Loop.take_step

    def held(loop, step, micro):
        if str(step) == where:
            _hold()
        take_step(loop, step, micro)

    Loop.take_step = held


def _hold_at_object(where):
    from gatlas.cli.verb import Verb

    function_of = Verb.function

    def held(verb):
        def run(source, *rest, **options):
            if isinstance(source, str) and os.path.basename(source) == where:
                _hold()
            return function_of(verb)(source, *rest, **options)

        return run

    Verb.function = held


def _tell_of_signals():
    """Have every handler that is set from now on leave `told` when it has run."""
    set_handler = signal.signal

    def set_telling(number, handler):
        def handle(number, frame):
            handler(number, frame)
            _mark("told").touch()

        return set_handler(number, handle if callable(handler) else handler)

    signal.signal = set_telling


def _hold():
    _mark("held").touch()
    wait_until(_mark("told").exists, "a signal")


def _mark(name):
    return Path(name + os.environ.get("RANK", ""))


# The second name: a worker that is not forked inherits nothing of what its parent has changed.
if __name__ in ("__main__", "__mp_main__") and "HOLD_AT" in os.environ:
    hold_where_asked()
if __name__ == "__main__":
    from gatlas.cli import main

    main()
