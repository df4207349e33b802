"""Which device renders, by what the user asked for and what the machine can do."""

from __future__ import annotations

import warnings

from gatlas.errors import GatlasError

DEVICES = ("auto", "cpu", "cuda")


def choose_device(device: str) -> str:
    """ "cpu" or "cuda". "auto" is CUDA where gsplat runs on it; a GPU on which it does not is a warning.

    That "cuda" is asked for and cannot be had is a GatlasError. Only "cpu" is answered without importing torch.
    """
    if device not in DEVICES:
        raise ValueError(f"device must be one of {', '.join(DEVICES)}, got {device!r}")
    if device == "cpu":
        return "cpu"
    import torch

    if device == "auto" and not torch.cuda.is_available():
        return "cpu"
    from gatlas.raster.cuda import why_unusable

    reason = why_unusable()
    if reason is None:
        return "cuda"
    if device == "cuda":
        raise GatlasError(f"--device cuda cannot be used: {reason}")
    warnings.warn(f"using the CPU, since gsplat does not run on the GPU: {reason}", stacklevel=2)
    return "cpu"
