"""The device that renders or runs a network: the user's choice, checked against the machine."""

from __future__ import annotations

import warnings

from gatlas.errors import GatlasError

DEVICES = ("auto", "cpu", "cuda")


def computes_bf16() -> bool:
    """Return True where the CUDA device computes bfloat16 itself; older ones emulate it, slowly."""
    import torch

    return torch.cuda.get_device_capability()[0] >= 8


def choose_device(device: str, *, gsplat: bool = True) -> str:
    """Return "cpu" or "cuda"; "auto" is CUDA where it can be used: where torch finds it and `gsplat` runs on it.

    A network that renders nothing needs no `gsplat`. "auto" with a GPU on which gsplat does not run is a warning and
    the CPU; "cuda" that cannot be used is a GatlasError. "cpu" is returned without importing torch.
    """
    if device not in DEVICES:
        raise ValueError(f"device must be one of {', '.join(DEVICES)}, got {device!r}")
    if device == "cpu":
        return "cpu"
    import torch

    found = torch.cuda.is_available()
    if device == "auto" and not found:
        return "cpu"
    if gsplat:
        from gatlas.raster.cuda import why_unusable

        reason = why_unusable()
    else:
        reason = None if found else "torch finds no CUDA device"
    if reason is None:
        return "cuda"
    if device == "cuda":
        raise GatlasError(f"--device cuda cannot be used: {reason}")
    warnings.warn(f"using the CPU, since gsplat does not run on the GPU: {reason}", stacklevel=2)
    return "cpu"
