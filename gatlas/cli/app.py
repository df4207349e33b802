"""The typer application: verbs, signals, warnings, and the exit status of errors."""

from __future__ import annotations

import functools
import inspect
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from gatlas import __version__
from gatlas.cli.command import build_command
from gatlas.cli.verbs import VERBS
from gatlas.errors import GatlasError, Requeue, first_sentence


def _show_help(ctx: Any, _: Any, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from gatlas.io.outputs import show

        show(f"{ctx.get_help()}\n")
        raise typer.Exit


@contextmanager
def _visible_usage_errors() -> Iterator[None]:
    """Escape the control characters of arguments in the messages that typer prints by itself."""
    try:
        yield
    except Exception as error:
        if hasattr(error, "format_message"):  # of typer's own copy of click
            from gatlas.io.visible import visible

            error.message = visible(error.message)  # type: ignore[attr-defined]
        raise


class _SafeOutput:
    """A command whose help fails if standard output is full, and whose usage errors escape what steers a terminal."""

    def make_context(self, *words: Any, **more: Any) -> Any:
        with _visible_usage_errors():
            return super().make_context(*words, **more)  # type: ignore[misc]  # of the command that this is mixed into

    def invoke(self, ctx: Any) -> Any:
        with _visible_usage_errors():
            return super().invoke(ctx)  # type: ignore[misc]

    def get_help_option(self, ctx: Any) -> Any:
        option = super().get_help_option(ctx)  # type: ignore[misc]
        if option is not None:
            option.callback = _show_help
        return option


class _Group(_SafeOutput, TyperGroup):
    """The verbs; the command line of one is built when it is asked for, so that no verb loads the options of others."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return _command_of(cmd_name) if cmd_name in VERBS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that a word names; typer suggests verbs for a word with a typing error from `commands`."""
        names: Any = dict.fromkeys(VERBS)
        self.commands = self.commands or names
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the verbs with the first sentence of their help, without building their command lines."""
        limit = formatter.width - 6 - max(map(len, VERBS))
        helps = {
            name: _Command(name, help=inspect.cleandoc(verb.options.__doc__ or "")) for name, verb in VERBS.items()
        }
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.get_short_help_str(limit)) for name, command in helps.items()])


class _Command(_SafeOutput, TyperCommand):
    pass


class _Parts(_SafeOutput, TyperGroup):
    pass


app = typer.Typer(
    cls=_Group,
    name="gatlas",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@functools.cache
def _command_of(name: str) -> Any:
    """Return the click command of a verb, a group where it has parts."""
    verb = VERBS[name]
    plain: dict[str, Any] = {"rich_markup_mode": None, "pretty_exceptions_enable": False, "add_completion": False}
    if not verb.parts:
        single = typer.Typer(**plain)
        single.command(name, cls=_Command)(build_command(verb))
        return typer.main.get_command(single)
    group = typer.Typer(cls=_Parts, name=name, no_args_is_help=True, subcommand_metavar="MEASURE ...", **plain)
    group.callback(help=verb.options.describe())(lambda: None)
    for part in verb.parts:
        group.command(part.name, cls=_Command)(build_command(part))
    return typer.main.get_command(group)


def click_group() -> Any:
    """Return the command line as a click group with all its commands, for the manual pages."""
    group: Any = typer.main.get_command(app)
    group.commands = {name: _command_of(name) for name in VERBS}
    return group


def _print_version(wanted: bool) -> None:
    if wanted:
        from gatlas.io.outputs import show

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
        from gatlas.cli import terminal

        terminal.message(f"warning: {message}")


def _on_terminate(number: int, _: Any) -> None:
    raise SystemExit(128 + number)  # unwinds, so that temporary files are removed


def _on_requeue(number: int, _: Any) -> None:
    """Exit with the status that requests a requeue: outputs are whole or absent, so the command can be rerun."""
    from gatlas.cli.interrupt import EXIT_REQUEUE

    raise SystemExit(EXIT_REQUEUE)


def _reserve_closed_streams() -> None:
    """Open the null device as standard input, output or error where a daemon has closed it.

    Otherwise a file that is opened later would take its number and receive what libraries write there, and `print`
    without standard error would use standard output, which carries results.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest that is free: this number
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", errors="backslashreplace")  # noqa: SIM115


def _let_idle_threads_sleep() -> None:
    """Have the OpenMP threads of torch sleep between two operations, unless the user has set how they wait.

    By default they spin: on a machine with other work, a core that spins is missing where it is waited for, and a
    training takes ten times as long. It is read when torch is loaded.
    """
    if not any(name in os.environ for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line, that of the process or `argv` (without the program's name).

    Errors that a user can fix are printed in one line, with exit status 1.
    """
    _reserve_closed_streams()
    _let_idle_threads_sleep()
    from gatlas.cli.terminal import UnfailingStream, message

    if not isinstance(sys.stderr, UnfailingStream):
        sys.stderr = UnfailingStream(sys.stderr)
    if hasattr(signal, "SIGPIPE"):  # a closed pipe ends the tool quietly
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, _on_terminate)
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, _on_requeue)
    warnings.showwarning = _print_warning
    # Our own warnings are messages, whatever PYTHONWARNINGS sets for those of libraries.
    warnings.filterwarnings("default", category=UserWarning, module="gatlas")
    try:
        app(None if argv is None else list(argv))
    except GatlasError as error:
        message(str(error))
        sys.exit(1)
    except Requeue as stop:
        from gatlas.cli.interrupt import EXIT_REQUEUE

        message(str(stop))
        sys.exit(EXIT_REQUEUE)
    except RuntimeError as error:
        if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported for this
            message(
                f"the memory of the GPU is full: {first_sentence(error)}. Less is needed with --device cpu, a smaller "
                "--batch, --count or --resolution, whichever the command has"
            )
            sys.exit(1)
        if "no locator available" not in str(error):  # numba's message if it has no cache folder
            raise
        message("there is no folder to keep compiled kernels in: set NUMBA_CACHE_DIR to one that can be written")
        sys.exit(1)
    except MemoryError:
        message("not enough memory for this input")
        sys.exit(1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nothing is left to flush into the closed pipe at exit
        sys.exit(141)
