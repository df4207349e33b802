"""The optimisation of a fixed number of Gaussians against views."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

from gatlas.raster import rasterize
from gatlas.raster.ssim import ssim
from gatlas.rotations import normalize_quats
from gatlas.sh import dc_to_rgb, rgb_to_dc
from gatlas.types import LOG_SCALE_RANGE, Gaussians

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatlas.types import Views

# Adam's learning rates; world units of an object of radius 1. Positions move a thirtieth of a pixel of a 256^2 view.
LEARNING_RATES = {"means": 3.3e-4, "quats": 8e-3, "log_scales": 4e-2, "logits": 5e-2, "rgb": 1e-2}
FINAL_RATE = 0.02  # of the first, reached by one cosine: the decay, not the length, brings most of the gain
SSIM_WEIGHT = 0.2

Progress = Callable[[int, float], None]  # (steps done, last loss)

# Called between steps with (steps done, parameters by name, Adam): it may change rows of both in place, not add any.
Between = Callable[[int, dict[str, torch.Tensor], torch.optim.Adam], None]


def optimize(
    gaussians: Gaussians,
    views: Views,
    iterations: int,
    rng: np.random.Generator,
    *,
    coarse: tuple[Views, int] | None = None,
    progress: Progress | None = None,
    between: Between | None = None,
) -> Gaussians:
    """The Gaussians (numpy in, numpy out, the same number) after `iterations` steps of Adam, one RGBA view a step.

    With `coarse`, the first so many of the steps take other, usually smaller, pictures.

    Loss: 0.8 L1 + 0.2 (1 - SSIM), both pictures over the same random background. Colours stay in [0, 1] and scales in
    LOG_SCALE_RANGE. The scene must have about radius 1.
    """
    if views.images.shape[-1] != 4:
        raise ValueError(f"views must be RGBA, got {views.images.shape[-1]} channels")
    with _one_torch_thread():
        parameters = _parameters(gaussians)
        groups = [{"params": [parameters[name]], "lr": rate} for name, rate in LEARNING_RATES.items()]
        adam = torch.optim.Adam(groups, eps=1e-15, fused=True)
        decay = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: _cosine(step, iterations))
        early, early_steps = coarse or (views, 0)
        order = [(early, view) for view in _view_order(len(early), min(early_steps, iterations), rng)]
        order += [(views, view) for view in _view_order(len(views), iterations - len(order), rng)]
        for step, (pictures, view) in enumerate(order):
            background = torch.from_numpy(rng.random(3, dtype=np.float32))
            rgba = torch.from_numpy(np.ascontiguousarray(pictures.images[view : view + 1], dtype=np.float32))
            target = rgba[..., :3] * rgba[..., 3:] + background * (1 - rgba[..., 3:])
            image = rasterize(_activated(parameters), pictures.cameras[int(view)], background=background).colors
            loss = (1 - SSIM_WEIGHT) * (image - target).abs().mean() + SSIM_WEIGHT * (1 - ssim(image, target))
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()
            decay.step()
            with torch.no_grad():
                parameters["rgb"].clamp_(0.0, 1.0)
                parameters["log_scales"].clamp_(*LOG_SCALE_RANGE)
            if between is not None:
                between(step + 1, parameters, adam)
            if progress is not None:
                progress(step + 1, float(loss.detach()))
    final = _activated({name: parameter.detach() for name, parameter in parameters.items()})
    return Gaussians(
        means=final.means.numpy(),
        quats=normalize_quats(final.quats.numpy()),
        scales=final.scales.numpy(),
        opacities=final.opacities.numpy(),
        sh=final.sh.numpy(),
        origin=gaussians.origin,
    )


def _parameters(gaussians: Gaussians) -> dict[str, torch.Tensor]:
    opacities = np.clip(gaussians.opacities, 1e-4, 1 - 1e-4)
    raw = {
        "means": gaussians.means,
        "quats": gaussians.quats,
        "log_scales": np.log(gaussians.scales),
        "logits": np.log(opacities / (1 - opacities)),
        "rgb": dc_to_rgb(gaussians.sh[:, 0]),
    }
    return {name: torch.tensor(value, dtype=torch.float32, requires_grad=True) for name, value in raw.items()}


def _activated(parameters: dict[str, torch.Tensor]) -> Gaussians:
    return Gaussians(
        means=parameters["means"],
        quats=parameters["quats"],
        scales=parameters["log_scales"].exp(),
        opacities=parameters["logits"].sigmoid(),
        sh=rgb_to_dc(parameters["rgb"])[:, None],
    )


def _cosine(step: int, steps: int) -> float:
    return FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * min(step / max(steps, 1), 1.0)))


def _view_order(views: int, iterations: int, rng: np.random.Generator) -> np.ndarray:
    """Every view once, in random order, before any comes again."""
    epochs = -(-iterations // views)
    order = [rng.permutation(views) for _ in range(epochs)]
    return np.concatenate([*order, np.empty(0, dtype=np.int64)])[:iterations].astype(np.int64)


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Torch's own threads only get in the kernels' way: the tensors of this loop are small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
