"""The command line: `gatlas VERB [INPUT] [-o OUTPUT] [options]`.

Each verb is one file that parses, loads, calls and saves. Nothing heavy is imported before a verb runs.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from typing import Annotated, Any

import typer

from gatlas import __version__
from gatlas.cli.atlas_decode import atlas_decode
from gatlas.cli.atlas_encode import atlas_encode
from gatlas.cli.fit import fit
from gatlas.cli.man import man
from gatlas.cli.normalize_stats import normalize_stats
from gatlas.cli.pose_pnp import pose_pnp
from gatlas.cli.prune import prune
from gatlas.cli.render import render
from gatlas.cli.sample import sample
from gatlas.cli.train import train
from gatlas.errors import GatlasError

app = typer.Typer(
    name="gatlas",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("fit")(fit)
app.command("prune")(prune)
app.command("atlas-encode")(atlas_encode)
app.command("atlas-decode")(atlas_decode)
app.command("normalize-stats")(normalize_stats)
app.command("train")(train)
app.command("sample")(sample)
app.command("pose-pnp")(pose_pnp)
app.command("render")(render)
app.command("man")(man)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"gatlas {__version__}")
        raise typer.Exit


@app.callback()
def gatlas(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """3D objects as Gaussians, Gaussians as images, and diffusion models on those images.

    Results go to standard output or to -o OUTPUT; everything else goes to standard error.
    INPUT left out or "-" is standard input.

    Example: gatlas fit obj.glb | gatlas atlas-encode -o obj.npz
    """


def _print_warning(message: Any, category: type[Warning], *_: Any, **__: Any) -> None:
    if not issubclass(category, (DeprecationWarning, PendingDeprecationWarning, FutureWarning)):
        from gatlas.cli.terminal import say

        say(f"warning: {message}")


def _on_terminate(number: int, _: Any) -> None:
    raise SystemExit(128 + number)  # unwinds, so that temporary files are removed


def _on_requeue(number: int, _: Any) -> None:
    """What a queue sends before it takes the machine away: nothing is half-written, so the same command starts anew."""
    from gatlas.cli.interrupt import EXIT_REQUEUE

    raise SystemExit(EXIT_REQUEUE)


def main() -> None:
    """Run the command line. What a user can fix is printed without a traceback, with exit status 1."""
    from gatlas.cli.terminal import say

    if hasattr(signal, "SIGPIPE"):  # a reader that has gone ends the tool quietly
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, _on_terminate)
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, _on_requeue)
    warnings.showwarning = _print_warning
    try:
        app()
    except GatlasError as error:
        say(str(error))
        sys.exit(1)
    except RuntimeError as error:
        if "no locator available" not in str(error):  # what numba says where it can keep compiled kernels nowhere
            raise
        say("there is no folder to keep compiled kernels in: set NUMBA_CACHE_DIR to one that can be written")
        sys.exit(1)
    except MemoryError:
        say("not enough memory for this input")
        sys.exit(1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nothing is left to flush into the closed pipe at exit
        sys.exit(141)
