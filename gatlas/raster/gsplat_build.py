"""gsplat's kernels: built by one process at a time, and the reason in one line where they cannot be built or run.

gsplat comes without compiled kernels on PyPI: the first process that uses it compiles them with nvcc into the extension
folder of torch, and deletes what it finds half-built there, also what another process is building.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from gatlas.locks import exclusive

LOCK = "gatlas-gsplat.lock"
BUILD_COMMAND = "python -m gatlas.cli.build_gsplat"
_NOISE = ("ninja: build stopped", "compilation terminated")  # last lines of a build that do not say what is wrong


@contextmanager
def exclusive_build() -> Iterator[None]:
    """Wait until no other process of this machine or home builds gsplat's kernels, and keep others waiting meanwhile.

    Where gsplat is installed with compiled kernels, or the folder has no locks, nothing is waited for.
    """
    if find_spec("gsplat") is None or find_spec("gsplat.csrc") is not None:
        yield
        return
    with exclusive(os.path.join(_build_root(), LOCK), _warn_of_wait):
        yield


def _warn_of_wait() -> None:
    warnings.warn("another process is building gsplat's kernels, which takes minutes: waiting", stacklevel=6)


def describe_failure(error: BaseException) -> str:
    """Return why gsplat does not run, in one line: the cause, and the toolkit and the GPU that it concerns."""
    chain = [error]
    while (before := chain[-1].__cause__ or chain[-1].__context__) is not None and before not in chain:
        chain.append(before)
    # gsplat tries several ways to load its kernels, each of which fails: the build, if one was tried, says why.
    for each in chain:
        text = str(each)
        if "Error building extension" in text or "mismatches the version" in text or "Ninja is required" in text:
            return f"its kernels could not be built with {_toolkit()}: {last_useful_line(text)}"
        if "CUDA_HOME" in text:
            return f"its kernels could not be built: {_advice()}"
        if "no kernel image" in text:
            return (
                f"its kernels were built for another GPU than this one ({_architecture()}): delete the folder "
                f"gsplat_cuda of {_build_root()}, unset TORCH_CUDA_ARCH_LIST and run {BUILD_COMMAND}"
            )
    if isinstance(error, AttributeError) and "NoneType" in str(error):  # its backend is None without a toolkit
        return f"it has no compiled kernels: {_advice()}"
    return f"{type(error).__name__}: {last_useful_line(str(error))}"


def last_useful_line(log: str) -> str:
    """Return the last line of a build log with an error in it, else the last that is not empty."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    useful = [line for line in lines if "error:" in line.lower()]
    rest = [line for line in lines if not line.startswith(_NOISE)]
    return next((chosen[-1] for chosen in (useful, rest, lines) if chosen), "no reason given")


def _advice() -> str:
    return (
        f"there is no CUDA toolkit: install the one of CUDA {_cuda_version()} (nvcc on PATH, or CUDA_HOME) and a C++ "
        f"compiler, then run {BUILD_COMMAND}"
    )


def _toolkit() -> str:
    from torch.utils.cpp_extension import CUDA_HOME

    return f"nvcc of {CUDA_HOME or 'no toolkit'}, torch's CUDA {_cuda_version()}, for {_architecture()}"


def _cuda_version() -> str:
    import torch

    return torch.version.cuda or "(none: torch is built for the CPU)"


def _architecture() -> str:
    import torch

    if not torch.cuda.is_available():
        return "no GPU"
    return "sm_{}{}".format(*torch.cuda.get_device_capability())


def _build_root() -> str:
    from torch.utils.cpp_extension import get_default_build_root

    return os.environ.get("TORCH_EXTENSIONS_DIR") or get_default_build_root()
