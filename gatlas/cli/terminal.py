"""Messages and progress bars on standard error."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gatlas.config import Options, Report
    from gatlas.io import Blob


def verb() -> str:
    """Return the verb of this command line, for messages; empty if there is none yet."""
    return next((word for word in sys.argv[1:] if not word.startswith("-")), "")


class UnfailingStream:
    """Standard error whose failures, as on a full disk, lose messages and not the result. A closed pipe is an error."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write as much as can be written."""
        with _kept_going():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what can be flushed."""
        with _kept_going():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _kept_going() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError:
        pass


_reports: list[Report] = []  # where messages go instead of standard error, innermost last

LONGEST = 10_000  # letters of a message; of a longer one the middle is left out


def message(message: str) -> None:
    """Print one message on standard error, prefixed with the verb; control characters of names in it are escaped."""
    if _reports:
        _reports[-1](message)
        return
    from gatlas.io.visible import visible

    if len(message) > LONGEST:  # of names and values in a file that no person made
        message = f"{message[: LONGEST // 2]} … {message[-LONGEST // 2 :]}"
    line = f"{' '.join(filter(None, ('gatlas', verb())))}: {message}"
    print(visible(line), file=sys.stderr, flush=True)


@contextmanager
def messages_to(report: Report) -> Iterator[None]:
    """Inside the block, messages go to `report`, and no bar is drawn."""
    _reports.append(report)
    try:
        yield
    finally:
        _reports.pop()


def finite(value: float) -> float | None:
    """Return the value for a JSON report, None for infinity, as the PSNR of equal pictures is."""
    return value if math.isfinite(value) else None


KINDS = {".json": "a report", ".png": "a picture", ".npz": "a checkpoint"}  # of output options, by suffix


def check_outputs(output: str, options: Options, *, noun: str | None, force: bool) -> None:
    """Raise a GatlasError, before any work, where an output could not be written; without a noun it is a folder."""
    from gatlas import io
    from gatlas.config import output_fields
    from gatlas.io.outputs import refuse_shared_names

    io.check_output(output, force=force, folder=noun is None, noun=noun or "")
    others = output_fields(options)
    for name, field in others.items():
        path, kind = getattr(options, name), field.info.output
        if kind:
            io.check_output(path, force=force or not field.info.once, suffix=kind, what=KINDS[kind])
        else:
            io.check_output(path, force=force or not field.info.once, folder=True)
    refuse_shared_names(output, *(getattr(options, name) for name in others))


@contextmanager
def about(source: str | Blob) -> Iterator[None]:
    """Inside the block, the message of a GatlasError gets the name of the input as a prefix."""
    from gatlas.errors import GatlasError

    try:
        yield
    except GatlasError as error:
        name = source if isinstance(source, str) else source.name
        raise GatlasError(f"{'standard input' if name == '-' else name}: {error}") from None


@contextmanager
def progress_bar(title: str, total: int, shown: str = "{:.1f} dB") -> Iterator[Callable[[int, float], None] | None]:
    """A progress bar on standard error, updated with (steps done, value); None if standard error is no terminal.

    `shown` is how the value is written; as it stands it is a PSNR. A value that is not known yet (NaN) is not shown.
    """
    with _bar(title, total) as bar:
        if bar is None:
            yield None
        else:
            yield lambda done, value: bar(completed=done, text="" if math.isnan(value) else shown.format(value))


@contextmanager
def counting_bar(title: str, total: int | None) -> Iterator[Callable[[], None]]:
    """A bar on standard error, where that is a terminal; its function is called once a thing that is done."""
    with _bar(title, total) as bar:
        yield (lambda: None) if bar is None else (lambda: bar(advance=1))


@contextmanager
def _bar(title: str, total: int | None) -> Iterator[Callable[..., None] | None]:
    """Yield the function that updates a bar, with a `text` after the count; None if standard error is no terminal."""
    if _reports or not sys.stderr.isatty():
        yield None
        return
    from functools import partial

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from gatlas.io.visible import visible

    columns = (
        TextColumn("{task.description}", markup=False),  # a name may hold [brackets]
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield partial(bar.update, bar.add_task(visible(title), total=total, text=""))
