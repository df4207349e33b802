"""Compilation of the kernels: cached on disk, releasing the GIL, with one message when it takes a while."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from numba.core import event

from gatlas.jit import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compile with numba for the argument types of the first call, once per machine.

    Floating point may be reordered freely where it decides nothing: the solver's numbers are integers below 2^53, so
    that every order gives the same bits. NaN and signed zero do not occur.
    """
    flags = {"nnan", "nsz", "contract"}
    compiled: Any
    try:
        compiled = njit(cache=True, nogil=True, error_model="numpy", fastmath=flags)(function)
    except RuntimeError:  # numba finds no folder that it may write: every process compiles for itself
        compiled = njit(nogil=True, error_model="numpy", fastmath=flags)(function)
    return compiled


class _Notice(event.Listener):
    """Says once, on standard error, that kernels of this package are being compiled."""

    shown = False

    def on_start(self, event: Any) -> None:
        module = event.data["dispatcher"].py_func.__module__
        if not _Notice.shown and module.startswith("gatlas.transport"):
            _Notice.shown = True
            print("gatlas: compiling kernels (once) ...", file=sys.stderr, flush=True)

    def on_end(self, event: Any) -> None:
        pass


@contextmanager
def compile_notice() -> Iterator[None]:
    """Within it, the first kernel that has to be compiled is announced on standard error."""
    with event.install_listener("numba:compile", _Notice()):
        yield
