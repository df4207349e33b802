"""The command line: `gatlas VERB [INPUT] [-o OUTPUT] [options]`.

Each verb is one file that parses, loads, calls and saves. Nothing heavy is imported before a verb runs.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from gatlas import __version__
from gatlas.cli.command import build_command
from gatlas.cli.man import man
from gatlas.cli.verbs import VERBS
from gatlas.errors import GatlasError, Requeue


def _show_help(ctx: Any, _: Any, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from gatlas.io.streams import show

        show(f"{ctx.get_help()}\n")
        raise typer.Exit


class _ToldHelp:
    """Help that fails where standard output is full or closed."""

    def get_help_option(self, ctx: Any) -> Any:
        option = super().get_help_option(ctx)  # type: ignore[misc]  # of the command that this is mixed into
        if option is not None:
            option.callback = _show_help
        return option


class _Group(_ToldHelp, TyperGroup):
    pass


class _Command(_ToldHelp, TyperCommand):
    pass


app = typer.Typer(
    cls=_Group,
    name="gatlas",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("fit", cls=_Command)(build_command(VERBS["fit"]))
app.command("prune", cls=_Command)(build_command(VERBS["prune"]))
app.command("atlas-encode", cls=_Command)(build_command(VERBS["atlas-encode"]))
app.command("atlas-decode", cls=_Command)(build_command(VERBS["atlas-decode"]))
app.command("normalize-stats", cls=_Command)(build_command(VERBS["normalize-stats"]))
app.command("train", cls=_Command)(build_command(VERBS["train"]))
app.command("sample", cls=_Command)(build_command(VERBS["sample"]))
app.command("pose-pnp", cls=_Command)(build_command(VERBS["pose-pnp"]))
app.command("render", cls=_Command)(build_command(VERBS["render"]))
app.command("man", cls=_Command)(man)


def _print_version(wanted: bool) -> None:
    if wanted:
        from gatlas.io.streams import show

        show(f"gatlas {__version__}\n")
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


def _reserve_closed_streams() -> None:
    """Where a daemon closed standard input, output or error: no file that is opened later takes its number.

    What libraries write to standard error would stand in that file. Messages have a place too: where there is none,
    `print` takes standard output, which carries results.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest that is free: this number
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", errors="backslashreplace")  # noqa: SIM115


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line, that of the process or `argv` (without the program's name).

    What a user can fix is printed without a traceback, with exit status 1.
    """
    _reserve_closed_streams()
    from gatlas.cli.terminal import say

    if hasattr(signal, "SIGPIPE"):  # a reader that has gone ends the tool quietly
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, _on_terminate)
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, _on_requeue)
    warnings.showwarning = _print_warning
    # Messages of ours, whatever PYTHONWARNINGS says of the warnings that a programmer should see.
    warnings.filterwarnings("default", category=UserWarning, module="gatlas")
    try:
        app(None if argv is None else list(argv))
    except GatlasError as error:
        say(str(error))
        sys.exit(1)
    except Requeue as stop:
        from gatlas.cli.interrupt import EXIT_REQUEUE

        say(str(stop))
        sys.exit(EXIT_REQUEUE)
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
