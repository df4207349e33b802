"""A verb of the command line: its name, options and inputs, and the function that runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gatlas.batch.options import Batchable
from gatlas.config import Options
from gatlas.lazy import load_name

if TYPE_CHECKING:
    from gatlas.io import Blob

    Input = str | Blob  # a batch passes members of a tar
else:
    Input = Any


@dataclass(frozen=True)
class Verb:
    """A command: what it is called, what it takes and which function runs it.

    `run` is called with (inputs, output, options, force=..., given=...), where `given` are the names of the options
    that the command line holds. With `batch`, it is called once per object with (source, output, options, force=...)
    and returns what the manifest records of the object; where it `gathers` the objects itself, once with (inputs,
    output, options, options of the batch, force=..., threads=...). A verb with `parts` only groups them: `gatlas score
    PART ...`.
    """

    name: str
    run: str  # "module:function", imported when the command runs
    options_class: str  # "module:class", imported when the command line is built
    inputs: Any = None  # typer.Argument; None: the verb has no inputs
    inputs_type: Any = list[str] | None
    output: Any = None  # typer.Option; None: the verb has no output
    output_default: str | None = "-"  # None: it is given, or `run` says why not
    overwrites: bool = True  # --force overwrites an existing output
    threads: bool = False
    batch: Batchable | None = None
    gathers: bool = False  # with `batch`: `run` makes one result of all objects, and gets the options of the batch, too
    parts: tuple[Verb, ...] = ()

    @property
    def options(self) -> type[Options]:
        """The options class."""
        options: type[Options] = load_name(self.options_class)
        return options

    def function(self) -> Callable[..., Any]:
        """Return the function that runs the verb."""
        run: Callable[..., Any] = load_name(self.run)
        return run


def set_threads(count: int | None) -> None:
    """Set the number of threads of the kernels, where one was asked for."""
    if count is not None:
        from gatlas.raster.threads import set_num_threads

        set_num_threads(count)
